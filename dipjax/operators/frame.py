"""A picture in a larger frame, so that pictures of many sizes share a compiled program.

What is in the frame is made up: the picture mirrored at its lower and right edge. No loss, no score and no estimate looks at it.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import struct

_FINEST = 8  # pixels between two sizes
_COARSEST = 128


@struct.dataclass
class Framed:
    """Measures the part of an image that is `inside`, and gives what was measured elsewhere: no residual, and no gradient.

    Attributes:
      operator: what measures the whole.
      inside: `(h, w, 1)`, True where there is something to fit.
      measurement: `(h, w, c)`.
    """

    operator: Callable
    inside: Array
    measurement: Array

    def __call__(self, image: Array, *unknowns: Array) -> Array:
        """Returns the measurement that the operator predicts, and the true one outside."""
        return jnp.where(self.inside, self.operator(image, *unknowns), self.measurement)

    @property
    def stride(self) -> int:
        """That of the operator."""
        return self.operator.stride

    @property
    def reach(self) -> int:
        """That of the operator."""
        return self.operator.reach

    @property
    def whiten(self) -> Callable:
        """That of the operator; there is none where the operator has none."""
        return self.operator.whiten

    @property
    def cut(self) -> Callable:
        """What cuts a part, as `operators.linear` says; there is none where the operator has none."""
        cut = self.operator.cut

        def of_part(measurement, rows, columns, shape):
            part, operator = cut(measurement, rows, columns, shape)
            inside, _ = cut(np.broadcast_to(np.asarray(self.inside, np.float32), measurement.shape), rows, columns, shape)
            return part, Framed(operator, np.asarray(inside[..., :1]) > 0, part)

        return of_part


def size(number: int) -> int:
    """Returns the size that so many pixels along a side are framed to: four to an octave, at least 8 and at most 128 pixels apart.

    So it is at most a quarter larger, and a tenth in the mean.
    """
    step = min(max(2 ** max((number - 1).bit_length() - 3, 0), _FINEST), _COARSEST)
    return -(-number // step) * step


def framed(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns an array `(h, w, ...)` with rows and columns after its own, mirrored, up to the height and width of `shape`."""
    missing = [(0, large - small) for large, small in zip(shape, array.shape, strict=False)]
    return np.pad(array, missing + [(0, 0)] * (array.ndim - 2), mode="symmetric")
