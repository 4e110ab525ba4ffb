"""Resampling: the operators `Downsample` and `Resize`, and the kernels that change the size of an image, as matrices of one axis.

A `Kernel` is a weight function of the distance between an input and an output pixel, in output pixels. `matrix` turns it into the
`(size / factor, size)` matrix of one axis, so that a two-dimensional resampling is `rows @ image @ columns.T`. Output pixel j sits
at input coordinate `(j + 1/2) factor - 1/2`, which is right for even and for odd factors. To add a kernel, add a `Kernel`.

Examples:
  >>> image, resampling = np.ones((9, 6, 1), np.float32), dipjax.resampling
  >>> dipjax.operators.Downsample(3, resampling.BICUBIC)(image).shape
  (3, 2, 1)
  >>> dipjax.operators.Resize((6, 4))(image).shape, resampling.shrink(image, 1.5, resampling.LANCZOS3).shape
  ((6, 4, 1), (6, 4, 1))
  >>> resampling.matrix(4, 2, resampling.BOX)
  array([[0.5, 0.5, 0. , 0. ],
         [0. , 0. , 0.5, 0.5]])
  >>> triangle = resampling.Kernel(lambda distance: 1 - distance, 1.0, replicate=True)
  >>> resampling.matrix(4, 2, triangle)[0]
  array([0.5  , 0.375, 0.125, 0.   ])
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import struct
from dipjax.operators import checks
from dipjax.operators.linear import Compose, Mask, unspoilt


class Kernel(NamedTuple):
    """A resampling kernel, whose weights follow the distance between an input and an output pixel, in output pixels.

    Attributes:
      weight: `weight(distance)`, of distances of any shape.
      support: the distance beyond which the weight is zero.
      replicate: taps outside the image: True takes the edge pixel, False drops them and renormalises.
      is_area: True: a pixel weighs as much of it as lies inside the support, whatever `weight` says.
    """

    weight: Callable[[np.ndarray], np.ndarray]
    support: float
    replicate: bool
    is_area: bool = False


def _lanczos2(distance):
    return np.sinc(distance) * np.sinc(distance / 2)


def _lanczos3(distance):
    return np.sinc(distance) * np.sinc(distance / 3)


def _cubic(distance):
    # Keys' cubic convolution with a = -1/2.
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, far)


LANCZOS2 = Kernel(_lanczos2, 2.0, replicate=True)
"""Lanczos with two lobes and replicated edges: the official super-resolution operator (models/downsampler.py, phase 0.5)."""

LANCZOS3 = Kernel(_lanczos3, 3.0, replicate=True)
"""Lanczos with three lobes and replicated edges."""

BICUBIC = Kernel(_cubic, 2.0, replicate=False)
"""Bicubic with anti-aliasing: what Pillow's `resize(..., BICUBIC)` computes."""

BOX = Kernel(np.ones_like, 0.5, replicate=True, is_area=True)
"""The mean of every factor x factor block, of parts of pixels too: what a camera pixel of that size sees."""


def matrix(size: int, factor: float, kernel: Kernel) -> np.ndarray:
    """Returns the `(size / factor, size)` float64 matrix that shrinks one axis; every row sums to one.

    Args:
      size: pixels of the axis.
      factor: from 1.
      kernel: one of this module, or another.
    """
    num_out = int(size / factor + 1e-9)
    centres = (np.arange(num_out) + 0.5) * factor - 0.5
    reach = int(np.ceil(kernel.support * factor))
    positions = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 2)
    distances = np.abs(positions - centres[:, None]) / factor
    if kernel.is_area:
        weights = ((kernel.support - distances) * factor + 0.5).clip(0, 1)
    else:
        weights = np.where(distances < kernel.support, kernel.weight(distances), 0.0)
    if not kernel.replicate:
        weights *= (positions >= 0) & (positions < size)
    weights /= weights.sum(1, keepdims=True)
    result = np.zeros((num_out, size))
    np.add.at(result, (np.arange(num_out)[:, None], positions.clip(0, size - 1)), weights)
    return result


def shrink(image: Array, factor: float | tuple[float, float], kernel: Kernel) -> Array:
    """Returns `image (H, W, C)` shrunk to `(H / factor, W / factor, C)`, rounded down.

    In full precision: where it defines the measurement, TF32 would change the problem, and it costs nothing beside a generator.

    Args:
      image: `(H, W, C)`.
      factor: from 1; of two factors the first is that of the height.
      kernel: one of this module, or another.

    Raises:
      ValueError: a factor is below 1, or larger than the image.
    """
    image = checks.inexact(image)
    factors = factor if isinstance(factor, tuple) else (factor, factor)
    for each, side in zip(factors, image.shape, strict=False):
        if not 1 <= each <= side:
            raise ValueError(f"factor: found {each:g} for {side} pixels along a side, expected a number from 1 to {side}.")
    rows, columns = (matrix(*pair, kernel).astype(image.dtype) for pair in zip(image.shape, factors, strict=False))
    image = jnp.einsum("hH,HWC->hWC", rows, image, precision="highest")
    return jnp.einsum("wW,hWC->hwC", columns, image, precision="highest")


@struct.dataclass
class Downsample:
    """Shrinks the image by an integer factor, `(H, W, C) -> (H // factor, W // factor, C)`: super-resolution.

    Attributes:
      factor: a whole number from 1.
      kernel: one of `LANCZOS2` (the official operator), `LANCZOS3`, `BICUBIC` (Pillow's) or `BOX`.
    """

    factor: int = struct.field(pytree_node=False)
    kernel: Kernel = struct.field(pytree_node=False, default=LANCZOS2)

    def __call__(self, image: Array) -> Array:
        """Returns the smaller image."""
        return shrink(image, self.factor, self.kernel)

    @property
    def stride(self) -> int:
        """The pixels of the image along a side of a measured one."""
        return self.factor

    @property
    def reach(self) -> int:
        """How far a measured pixel sees."""
        return self._margin() * self.factor

    def cut(self, measurement, rows: slice, columns: slice, shape: tuple) -> tuple:
        """Returns the measurement of a part of the image, without the pixels that see more than the part, and its operator."""
        small = tuple(slice(part.start // self.factor, part.stop // self.factor) for part in (rows, columns))
        seen = unspoilt((rows, columns), shape, [(self._margin(),) * 2] * 2, stride=self.factor)
        return measurement[small] * seen, Compose((self, Mask(seen)))

    def _margin(self):
        return int(np.ceil(self.kernel.support - 0.5))


@struct.dataclass
class Resize:
    """Shrinks the image to `size (h, w)`, by whatever factor, `(H, W, C) -> (h, w, C)`: super-resolution by 1.5 or 2.5.

    It cannot be cut into tiles.

    Attributes:
      size: `(h, w)`.
      kernel: as for `Downsample`.
    """

    size: tuple[int, int] = struct.field(pytree_node=False)
    kernel: Kernel = struct.field(pytree_node=False, default=LANCZOS2)

    def __call__(self, image: Array) -> Array:
        """Returns the smaller image."""
        return shrink(image, tuple(large / small for large, small in zip(image.shape, self.size, strict=False)), self.kernel)
