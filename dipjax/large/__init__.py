"""Pictures that are larger than the memory: what a restoration needs, and tiles."""

from dipjax.large import memory, tiling

__all__ = ["memory", "tiling"]
