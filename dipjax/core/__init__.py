"""The method, to be read in fifteen minutes: `loop` first, then `drive`, which calls it, and the records they share."""

from dipjax.core import layouts, rule

__all__ = ["layouts", "rule"]
