"""Settings, one function each: `fast`, found by measurement, `paper`, those of the official notebooks, and `choose` among them."""

from dipjax.recipes import fast, paper
from dipjax.recipes.by_name import choose, for_generator
from dipjax.recipes.setting import Setting

__all__ = ["Setting", "choose", "fast", "for_generator", "paper"]
