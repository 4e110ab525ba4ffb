"""The measurement's own range: what is black and what is white where a picture fills only part of what its numbers could say.

Networks draw in [0, 1]. 12-bit values in a 16-bit file, a faded print, a map in any unit are brought there, and back afterwards.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dipjax.files.masks import nearest

_LEAST_FILLED = 0.5  # of the nominal range: a picture that fills so much of it is taken as it is
_OVERSHOOT = 0.1  # of the nominal range, which noise may leave
_RARE = 0.1  # per cent of the pixels, at either end, which may lie beyond
_MARGIN = 1 / 16  # of what is found: room for what a median takes away from edges and points
_MOST_PIXELS = 2_000_000  # that are looked at
_FARTHEST = 1.0  # widths of the range: a measured value beyond is brought so near


@dataclass(frozen=True)
class Range:
    """The values that become 0 and 1.

    Attributes:
      low: what becomes 0.
      high: what becomes 1, above it.
      found: whether it was, in the picture; else it is the nominal one, or the caller's.
    """

    low: float
    high: float
    found: bool = False

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Returns the values with the range at [0, 1]."""
        return (values - self.low) / (self.high - self.low)

    def inside(self, values: np.ndarray) -> np.ndarray:
        """Returns `scaled` in float32; what lies more than the width of the range outside, such as a hot pixel, is brought to that."""
        return self.scaled(values).clip(-_FARTHEST, 1 + _FARTHEST).astype(np.float32)

    def beyond(self, values: np.ndarray) -> np.ndarray:
        """Returns what `inside` takes from `scaled` where it lies too far outside, else 0."""
        scaled = self.scaled(values)
        return scaled - scaled.clip(-_FARTHEST, 1 + _FARTHEST)

    def outside(self, values: np.ndarray) -> np.ndarray:
        """Undoes `inside`."""
        return values * np.float64(self.high - self.low) + self.low if (self.low, self.high) != (0.0, 1.0) else values

    def __str__(self) -> str:
        """Says it for people."""
        return f"{self.low:.6g} to {self.high:.6g}"


def brought(problem: Any, span: Range) -> Any:
    """Returns a linear problem for the image at [0, 1]: the measurement y becomes `(y - low A(1)) / width`.

    Since `A(low + width x) = low A(1) + width A(x)`. Of what is no picture the own range says nothing.
    """
    from dipjax.operators.instruments import of_white  # imports JAX

    return problem.replace(measurement=(problem.measurement - span.low * of_white(problem)) / (span.high - span.low))


def choose(wish: str | tuple[float, float], values: np.ndarray) -> Range:
    """Returns the range of a picture.

    Args:
      wish: "full" for [0, 1], the nominal range of every integer type; two numbers for those; "auto" for the nominal range where the
        picture fills half of it and does not leave it, else for what it fills.
      values: `(H, W, C)`, NaN where nothing was measured.

    What a picture fills is read off its medians over 5 x 5 pixels, so that neither hot pixels nor salt and pepper (of 30 % of the pixels)
    count, however far they lie off; of those medians the rarest 0.1 % at both ends are left out, and a sixteenth is added. What is
    bright and only a few pixels large is cut off: stars want "full", or numbers.
    """
    if wish == "full":
        return Range(0.0, 1.0)
    if wish != "auto":
        return Range(float(wish[0]), float(wish[1]))
    if _is_nominal(values):
        return Range(0.0, 1.0)
    low, high = filled(values)
    if high - low >= _LEAST_FILLED and low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return Range(0.0, 1.0)
    if not high > low:  # one value everywhere: what else there is decides, or its size
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not high > low:
        return Range(0.0, 1.0) if 0 <= low <= 1 else Range(low - abs(low) / 2, low + abs(low) / 2, found=True)
    margin = _MARGIN * (high - low)
    return Range(low - margin, high + margin, found=True)


def _is_nominal(values):
    """Says whether every fourth pixel each way tells already that a picture fills half of its nominal range and does not leave it.

    As many of these medians as all the rarest lie at least as far inside as the rarest of all medians do.
    """
    from dipjax.stopping.noise import around  # imports JAX

    values = _looked_at(values)
    if not (values.min(initial=0) >= -_OVERSHOOT and values.max(initial=1) <= 1 + _OVERSHOOT):  # nor is it where one is NaN
        return False
    medians, rarest = np.sort(np.median(around(values)[::4, ::4], axis=(-2, -1)), axis=None), math.ceil(_RARE / 100 * values.size)
    return medians.size > rarest and bool(medians[-1 - rarest] - medians[rarest] >= _LEAST_FILLED)


def filled(values: np.ndarray) -> tuple[float, float]:
    """Returns what a picture `(H, W, C)` fills, without what is rare, as `choose` reads it off."""
    medians = _medians(values)
    return float(np.percentile(medians, _RARE)), float(np.percentile(medians, 100 - _RARE))


def _medians(values):
    """Returns the medians of the 5 x 5 pixels around every measured one; of a very large picture every n-th pixel stands for all."""
    from scipy.ndimage import median_filter

    values = _looked_at(values)
    known = np.isfinite(values).all(axis=-1)
    if not known.any():
        return np.zeros(1)
    if not known.all():  # a hole is filled with the pixel nearest to it
        values = nearest(values, known)
    return median_filter(values, size=(5, 5, 1), mode="reflect")[known]


def _looked_at(values):
    stride = math.ceil(math.sqrt(values.shape[0] * values.shape[1] / _MOST_PIXELS))
    return values[::stride, ::stride]
