"""Compressed sensing: a few sums of all pixels with random weights, as a camera with a single pixel takes them.

`gaussian` and `hadamard` make the operators from a seed; `problem.general(measurement, operator, shape)` makes the problem.

Examples:
  >>> image, sensing = np.ones((6, 8, 1), np.float32), dipjax.operators.sensing
  >>> sensing.gaussian(10, (6, 8))(image).shape
  (10, 1)
  >>> operator = sensing.hadamard(0.5, (6, 8))
  >>> operator(image).shape, int(operator.mask.sum())
  ((8, 8, 1), 24)
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import struct
from dipjax.operators.checks import inexact, is_real, random, sides, whole

_MOST_NUMBERS = 2**28  # of a matrix: one GiB


@struct.dataclass
class Matrix:
    """Multiplies the pixels of every channel with a matrix, `(H, W, C) -> (M, C)`: any linear measurement of a small image.

    Attributes:
      rows: `(M, H * W)`, pixels row after row.
    """

    rows: Array

    def __call__(self, image: Array) -> Array:
        """Returns the measurement `(M, C)`."""
        image = inexact(image)
        return jnp.dot(jnp.asarray(self.rows).astype(image.dtype), image.reshape(-1, image.shape[-1]), precision="highest")


@struct.dataclass
class Hadamard:
    """Takes some of the Walsh-Hadamard transform of an image whose pixels have random signs: `mask * H(signs * image)`, orthonormal.

    Sums and differences alone, which take no matrix. The image is surrounded with zeros, at its lower and right end, up to the size of
    the mask, whose sides are powers of two: `(H, W, C) -> (P, Q, C)`. What was not taken is zero.

    Attributes:
      mask: `(P, Q)`, 1 where taken.
      signs: `(P, Q)`, 1 or -1.
    """

    mask: Array
    signs: Array

    def __call__(self, image: Array) -> Array:
        """Returns the measurement `(P, Q, C)`."""
        image, size = inexact(image), self.mask.shape
        image = jnp.pad(image, [*((0, large - small) for large, small in zip(size, image.shape, strict=False)), (0, 0)])
        image = image * jnp.asarray(self.signs).astype(image.dtype)[..., None]
        for axis in (0, 1):
            image = _butterflies(image, axis)
        return image * (jnp.asarray(self.mask).astype(image.dtype) / (size[0] * size[1]) ** 0.5)[..., None]


def gaussian(num_measurements: int, shape: tuple[int, int], *, seed: int = 0) -> Matrix:
    """Returns sums with normal weights of variance `1 / num_measurements`, which in the mean keep an image's sum of squares.

    Args:
      num_measurements: M, from 1.
      shape: `(H, W)`; the matrix has M H W numbers, at most 2^28.
      seed: of NumPy's generator.

    Raises:
      ValueError: a number is out of its range.
    """
    size = int(np.prod(sides("shape", shape)))
    if size > _MOST_NUMBERS:
        raise ValueError(f"shape: found {shape}, expected at most {_MOST_NUMBERS:,} pixels; take `hadamard`, which has no matrix.")
    if not (whole(num_measurements) and num_measurements >= 1 and num_measurements * size <= _MOST_NUMBERS):
        raise ValueError(f"num_measurements: found {num_measurements!r}, expected a whole number from 1 to {_MOST_NUMBERS // size:,}.")
    rows = random(seed).standard_normal((num_measurements, size), np.float32)
    return Matrix(jnp.asarray(rows / np.float32(np.sqrt(num_measurements))))


def hadamard(share: float, shape: tuple[int, int], *, seed: int = 0) -> Hadamard:
    """Returns sums with random signs, as many as a `share` of the numbers of an image.

    Args:
      share: above 0, at most 1.
      shape: `(H, W)`.
      seed: of NumPy's generator.

    Raises:
      ValueError: a number is out of its range.
    """
    height, width = sides("shape", shape)
    if not (is_real(share) and 0 < share <= 1):
        raise ValueError(f"share: found {share!r}, expected a number above 0, at most 1.")
    size, draw = tuple(1 << (side - 1).bit_length() for side in (height, width)), random(seed)
    number, places = max(1, round(share * height * width)), size[0] * size[1]
    mask = np.zeros(places, np.float32)
    mask[draw.choice(places, number, replace=False)] = 1
    return Hadamard(jnp.asarray(mask.reshape(size)), jnp.asarray(draw.choice(np.float32([-1, 1]), size)))


def _butterflies(image, axis):
    """Returns the unscaled Walsh-Hadamard transform along an axis, in the order of Hadamard's matrix."""
    shape = image.shape
    near = 1
    while near < shape[axis]:
        pairs = image.reshape(*shape[:axis], -1, 2, near, *shape[axis + 1 :])
        one, other = (jnp.take(pairs, side, axis + 1) for side in (0, 1))
        image = jnp.stack([one + other, one - other], axis + 1).reshape(shape)
        near *= 2
    return image
