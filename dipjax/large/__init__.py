"""Work that is larger than a machine: what a restoration needs of memory, tiles, and many hosts."""

from dipjax.large import memory, pod, tiling

__all__ = ["memory", "pod", "tiling"]
