"""What a camera keeps of a colour picture: one colour in each pixel, which `Bayer` takes, and which demosaicing completes.

To add another mosaic, add a row to `PATTERNS`.

Examples:
  >>> image = np.ones((8, 8, 3), np.float32)
  >>> raw = dipjax.operators.Bayer("GRBG")(image)
  >>> raw.shape, dipjax.operators.camera.bilinear(np.asarray(raw), "GRBG").shape
  ((8, 8, 1), (8, 8, 3))
  >>> dipjax.operators.camera.filters("GRBG", (2, 2))[..., 1]  # where green is seen
  array([[1., 0.],
         [0., 1.]], dtype=float32)
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import struct

PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
"""The colours of the filters of two by two pixels, the upper row first."""


@struct.dataclass
class Bayer:
    """Keeps of every pixel the one colour that lies behind its filter: `(H, W, 3) -> (H, W, 1)`, demosaicing.

    Reference: Bayer, Color imaging array, US patent 3,971,065, 1976.

    Attributes:
      pattern: one of `PATTERNS`.
    """

    pattern: str = struct.field(pytree_node=False, default="RGGB")
    reach, stride = 0, 2

    def __call__(self, image: Array) -> Array:
        """Returns the picture behind the mosaic."""
        image = jnp.asarray(image)
        return jnp.sum(image * filters(self.pattern, image.shape[:2]).astype(image.dtype), -1, keepdims=True, dtype=image.dtype)

    def cut(self, measurement, rows: slice, columns: slice, shape: tuple) -> tuple:
        """Returns the measurement of a part of the image, which begins at even numbers, and its operator."""
        del shape
        return measurement[rows, columns], self


def filters(pattern: str, shape: tuple[int, int]) -> np.ndarray:
    """Returns `(H, W, 3)`, 1 where a pixel sees that colour, else 0.

    Args:
      pattern: one of `PATTERNS`.
      shape: `(H, W)`.

    Raises:
      ValueError: the pattern is none of `PATTERNS`.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern: found {pattern!r}, expected one of {', '.join(PATTERNS)}.")
    height, width = shape
    tile = np.stack([np.reshape([letter == colour for letter in pattern], (2, 2)) for colour in "RGB"], -1)
    return np.tile(tile, (-(-height // 2), -(-width // 2), 1))[:height, :width].astype(np.float32)


def bilinear(raw: np.ndarray, pattern: str) -> np.ndarray:
    """Returns the colours `(H, W, 3)` of a picture `(H, W, 1)` behind a mosaic: what was measured, else the mean of what is nearest.

    Args:
      raw: `(H, W, 1)`.
      pattern: one of `PATTERNS`.
    """
    from scipy.ndimage import convolve

    seen = filters(pattern, raw.shape[:2])
    near = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4.0
    sums, weights = ([convolve(plane, near, mode="constant") for plane in np.moveaxis(part, -1, 0)] for part in (raw * seen, seen))
    # A side of one pixel leaves some colour unseen.
    means = [total / np.maximum(weight, 1e-6) for total, weight in zip(sums, weights, strict=True)]
    return np.where(seen > 0, raw, np.stack(means, -1)).astype(raw.dtype)
