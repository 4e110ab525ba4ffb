"""Point spread functions: what a camera makes of one bright point.

Each function returns a non-negative float32 array `(k, l)` that sums to one, with its centre at `(k // 2, l // 2)`.
"""

import numpy as np


def gaussian(sigma: float, *, truncate: float = 4.0) -> np.ndarray:
    """Returns a Gaussian of standard deviation `sigma` pixels, cut off at `truncate` standard deviations."""
    _check(sigma > 0, "sigma", sigma, "a positive number of pixels")
    radius = max(1, int(truncate * sigma + 0.5))
    profile = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return normalized(np.outer(profile, profile))


def box(size: int) -> np.ndarray:
    """Returns a `size x size` square of equal weights."""
    _check(size >= 1, "size", size, "at least 1 pixel")
    return normalized(np.ones((size, size)))


def motion(length: float, angle: float = 0.0) -> np.ndarray:
    """Returns a straight motion of `length` pixels; `angle` in degrees, counter-clockwise from the horizontal.

    The line is sampled densely and every sample shared bilinearly among its four pixels, so any angle and length works.
    """
    _check(length > 0, "length", length, "a positive number of pixels")
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


def normalized(psf) -> np.ndarray:
    """Returns `psf` as float32 with sum one.

    Raises:
      ValueError: not two-dimensional, not finite, negative somewhere, or zero everywhere.
    """
    psf = np.asarray(psf, np.float64)
    _check(psf.ndim == 2 and psf.size > 0, "psf", f"an array of shape {psf.shape}", "a two-dimensional array (k, l)")
    _check(bool(np.isfinite(psf).all() and psf.min() >= 0), "psf", "negative or non-finite values", "non-negative values")
    _check(psf.sum() > 0, "psf", "zeros only", "a positive sum")
    return (psf / psf.sum()).astype(np.float32)


def _check(condition, name, found, expected):
    if not condition:
        raise ValueError(f"{name}: found {found}, expected {expected}.")
