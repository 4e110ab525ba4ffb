"""JPEG as an operator: what compression makes of a picture, differentiable, so that a picture can be sought that compresses to the file.

Cosine transforms of 8 x 8 blocks, as products of matrices; their coefficients are rounded to multiples of a table's entries, which the
file holds. `tables` takes them from an opened file of Pillow's.

Examples:
  >>> jpeg, steps = dipjax.operators.jpeg, np.full((8, 8), 16.0)
  >>> dipjax.operators.JPEG(steps, steps, rounding=jpeg.cubic)(np.ones((16, 8, 1), np.float32)).shape
  (16, 8, 1)
  >>> jpeg.straight_through(jnp.array([0.2, 1.9])).tolist(), jpeg.cubic(jnp.array([0.5, 2.0])).tolist()
  ([0.0, 2.0], [0.125, 2.0])
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dipjax import struct
from dipjax.operators import checks

_COSINES = np.sqrt(2 / 8) * np.cos(np.outer(np.arange(8), 2 * np.arange(8) + 1) * np.pi / 16)
_COSINES[0] /= np.sqrt(2)
# JFIF 1.02: luminance, and differences of blue and red from it.
_TO_LUMA = np.array([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
_WHITE = 255


def straight_through(values: Array) -> Array:
    """Rounds values of any shape, with the gradient of the identity.

    Reference: Bengio, Leonard, Courville, Estimating or propagating gradients through stochastic neurons, 2013.
    """
    return values + lax.stop_gradient(jnp.round(values) - values)


def cubic(values: Array) -> Array:
    """Rounds values x of any shape nearly, to `n + (x - n)^3` beside the whole number n: its gradient is largest where a step is near.

    Reference: Shin, Song, JPEG-resistant adversarial images, 2017.
    """
    whole = jnp.round(lax.stop_gradient(values))
    return whole + (values - whole) ** 3


@struct.dataclass
class JPEG:
    """Compresses a gray or RGB picture in [0, 1] and decompresses it, without clipping: `(H, W, C) -> (H, W, C)`. It is not linear.

    As libjpeg does by default: with `halved` chroma each of its pixels is the mean of two by two, and a decoder interpolates.

    Reference: ITU-T T.81, 1992.

    Attributes:
      luma: `(8, 8)`, the steps of the coefficients, of values from 0 to 255.
      chroma: `(8, 8)`, the same of both chroma planes.
      halved: True is 4:2:0, False 4:4:4.
      rounding: of coefficients in units of their steps, such as `straight_through` or `cubic`.
    """

    luma: Array
    chroma: Array
    halved: bool = struct.field(pytree_node=False, default=True)
    rounding: Callable[[Array], Array] = struct.field(pytree_node=False, default=straight_through)

    def __call__(self, image: Array) -> Array:
        """Returns the picture as it comes out of the file."""
        image = checks.inexact(image)
        if image.shape[-1] == 1:
            return (self._coded(image[..., 0] * _WHITE - 128, self.luma)[..., None] + 128) / _WHITE
        planes = jnp.einsum("pc,hwc->phw", _TO_LUMA.astype(image.dtype), image, precision="highest") * _WHITE
        planes = straight_through(planes)  # the samples of a file are whole numbers, before and after
        luma = self._coded(planes[0] - 128, self.luma) + 128
        chroma = [self._chroma(plane) for plane in planes[1:]]
        back = np.linalg.inv(_TO_LUMA).astype(image.dtype)
        return jnp.einsum("cp,phw->hwc", back, jnp.stack([luma, *chroma]), precision="highest") / _WHITE

    def _chroma(self, plane):
        if not self.halved:
            return self._coded(plane, self.chroma)
        height, width = plane.shape
        plane = jnp.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
        small = plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean((1, 3))
        coded = self._coded(straight_through(small), self.chroma)
        return _doubled(_doubled(coded).T).T[:height, :width]

    def _coded(self, plane, table):
        """Returns a plane of numbers around zero with its coefficients rounded."""
        height, width = plane.shape
        plane = jnp.pad(plane, ((0, -height % 8), (0, -width % 8)), mode="edge")
        blocks = plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8)
        cosines, table = _COSINES.astype(plane.dtype), jnp.asarray(table).astype(plane.dtype)
        coefficients = jnp.einsum("ur,arbc,vc->aubv", cosines, blocks, cosines, precision="highest")
        steps = table[:, None]
        coefficients = self.rounding(coefficients / steps) * steps
        return jnp.einsum("ur,aubv,vc->arbc", cosines, coefficients, cosines, precision="highest").reshape(plane.shape)[:height, :width]


def tables(quantization: dict[int, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tables of luminance and chroma `(8, 8)` from what Pillow says of an opened JPEG, its `quantization`.

    Raises:
      ValueError: it holds no table of 64 positive numbers.

    Examples:
      >>> from PIL import Image
      >>> Image.new("L", (8, 8)).save("photo.jpg", quality=50)
      >>> with Image.open("photo.jpg") as photo:
      ...     luma, chroma = dipjax.operators.jpeg.tables(photo.quantization)
      >>> luma[0, :3], luma.shape
      (array([16., 11., 10.], dtype=float32), (8, 8))
    """
    try:
        found = [np.asarray(table, np.float32) for _, table in sorted(dict(quantization).items())]
    except (TypeError, ValueError):
        found = []
    if not found or any(table.size != 64 or not ((table > 0) & np.isfinite(table)).all() for table in found):
        raise ValueError(f"quantization: found {quantization!r}, expected tables of 64 positive numbers, as Pillow reads them.")
    luma, chroma = (found * 2)[:2]
    return luma.reshape(8, 8), chroma.reshape(8, 8)


def _doubled(plane):
    """Doubles the rows: each is three quarters of the nearer one and a quarter of the farther."""
    before, after = jnp.concatenate([plane[:1], plane[:-1]]), jnp.concatenate([plane[1:], plane[-1:]])
    pairs = jnp.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], 1)
    return pairs.reshape(2 * plane.shape[0], plane.shape[1])
