"""Point spread functions: what a camera makes of one bright point.

Each function returns a non-negative float32 array `(k, l)` that sums to one, with its centre at `(k // 2, l // 2)`, and raises a
ValueError for numbers that make no such array, or one larger than any camera's. To add one, add a function.

Examples:
  >>> dipjax.psfs.gaussian(1.0).shape, dipjax.psfs.motion(5, 30).shape
  ((9, 9), (9, 9))
  >>> dipjax.psfs.box(2)
  array([[0.25, 0.25],
         [0.25, 0.25]], dtype=float32)
  >>> dipjax.psfs.normalized([[1, 2, 1]])
  array([[0.25, 0.5 , 0.25]], dtype=float32)
"""

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

_LARGEST_SIDE = 4096  # pixels; a larger one is a slip, and would take gigabytes
_MANY_DEGREES = 360_000  # beyond that, float64 begins to lose the angle


def gaussian(sigma: float, *, truncate: float = 4.0) -> np.ndarray:
    """Returns a Gaussian of standard deviation `sigma` pixels, cut off at `truncate` standard deviations.

    Args:
      sigma: positive.
      truncate: positive; `k = l = 2 round(truncate sigma) + 1`, at least 3.

    Raises:
      ValueError: either is not positive, or the array would have more than 4096 pixels a side.
    """
    _check_number("sigma", sigma)
    _check_number("truncate", truncate)
    radius = max(1, int(truncate * sigma + 0.5))
    _check(
        2 * radius < _LARGEST_SIDE,
        "sigma",
        f"{sigma!r}, cut off at {truncate!r} deviations",
        f"a kernel of at most {_LARGEST_SIDE} pixels a side",
    )
    with np.errstate(over="ignore"):  # where sigma is nearly nothing
        profile = np.exp(-0.5 * (np.arange(-radius, radius + 1) / float(sigma)) ** 2)
    return normalized(np.outer(profile, profile))


def box(size: int) -> np.ndarray:
    """Returns a `size x size` square of equal weights.

    Raises:
      ValueError: the size is no whole number from 1 to 4096.
    """
    whole = isinstance(size, Integral) and not isinstance(size, bool)
    _check(whole and 1 <= size <= _LARGEST_SIDE, "size", repr(size), f"a whole number of pixels from 1 to {_LARGEST_SIDE}")
    return normalized(np.ones((size, size)))


def motion(length: float, angle: float = 0.0) -> np.ndarray:
    """Returns a straight motion of `length` pixels; `angle` in degrees, counter-clockwise from the horizontal.

    The line is sampled densely and every sample shared bilinearly among its four pixels, so any angle and length works.

    Raises:
      ValueError: the length is not positive, or either is too large.
    """
    _check_number("length", length)
    finite = isinstance(angle, Real) and not isinstance(angle, bool) and abs(angle) <= _MANY_DEGREES
    _check(finite, "angle", repr(angle), f"a number of degrees, at most {_MANY_DEGREES}")
    length, angle = float(length), float(angle)
    radius = int(np.ceil(length / 2)) + 1
    along = np.linspace(-(length - 1) / 2, (length - 1) / 2, max(2, int(16 * length))) if length > 1 else np.zeros(1)
    rows = radius - along * np.sin(np.deg2rad(angle))
    columns = radius + along * np.cos(np.deg2rad(angle))
    psf = np.zeros((2 * radius + 1, 2 * radius + 1))
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - rows % 1) * np.abs(1 - column - columns % 1)
            np.add.at(psf, (rows.astype(int) + row, columns.astype(int) + column), weight)
    return normalized(psf)


def normalized(psf: ArrayLike, *, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Returns a psf of sum one.

    Args:
      psf: `(k, l)`, real, not negative, somewhere positive.
      dtype: of the result.

    Raises:
      ValueError: not two-dimensional, not real, not finite, negative somewhere, or zero everywhere.
    """
    try:
        psf = np.asarray(psf)
    except Exception as error:
        raise ValueError(f"psf: found {type(psf).__name__}, which NumPy cannot read, expected an array (k, l).") from error
    _check(psf.dtype.kind in "buif", "psf", f"values of type {psf.dtype}", "real numbers")
    _check(psf.ndim == 2 and psf.size > 0, "psf", f"an array of shape {psf.shape}", "a two-dimensional array (k, l)")
    _check(bool(np.isfinite(psf).all() and psf.min() >= 0), "psf", "negative or non-finite values", "non-negative values")
    _check(psf.max() > 0, "psf", "zeros only", "a positive sum")
    psf = psf.astype(np.promote_types(psf.dtype, np.float64))
    psf = psf / psf.max()  # first, since a sum of large numbers is infinite
    return (psf / psf.sum()).astype(dtype)


def _check_number(name, value):
    number = isinstance(value, Real) and not isinstance(value, bool)
    _check(number and 0 < value <= _LARGEST_SIDE - 4, name, repr(value), f"a positive number of at most {_LARGEST_SIDE - 4}")


def _check(condition, name, found, expected):
    if not condition:
        raise ValueError(f"{name}: found {found}, expected {expected}.")
