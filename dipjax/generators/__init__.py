"""Generators: networks that turn a fixed input z (H, W, D) into an image (H, W, C). One file each."""

from dipjax.generators.skip import Skip

__all__ = ["Skip"]
