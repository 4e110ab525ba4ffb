"""Settings, one function each: `fast`, found by measurement, and `paper`, those of the official notebooks."""

from dipjax.recipes.fast import *  # noqa: F403
