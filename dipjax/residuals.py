"""What a restoration leaves of its measurement, and whether it looks like noise.

Independent noise has nothing in common from one pixel to the next. What neighbours share in the residual is structure: of the picture
that was not restored, or of noise that is itself correlated. What neighbours have opposite is noise that was fitted.
"""

from typing import NamedTuple

import numpy as np

from dipjax.core.problem import Problem


class Residual(NamedTuple):
    """The measurement minus what the estimate predicts of it.

    Attributes:
      values: `(h, w, c)`, NaN where nothing was measured; of complex numbers the real parts, then the imaginary ones.
      correlation: of neighbours, over rows and columns, from -1 to 1; NaN where there are none.
      chance: its standard deviation, were the noise independent.
    """

    values: np.ndarray
    correlation: float
    chance: float


def residual(image: np.ndarray, problem: Problem, *unknowns: np.ndarray) -> Residual:
    """Finds what an image leaves of its measurement.

    Args:
      image: the estimate, of the problem's shape.
      problem: one picture with a measurement `(h, w, c)`, or `(k, h, w, c)` of k coils.
      unknowns: what the operator takes after the image, such as a psf that was found.

    Examples:
      >>> from dipjax.residuals import residual
      >>> ramp = np.linspace(-0.1, 0.1, 16, dtype=np.float32)[:, None, None] * np.ones((16, 16, 1), np.float32)
      >>> round(residual(np.zeros_like(ramp), dipjax.problem.denoising(ramp)).correlation, 1)  # all of it is structure
      1.0
    """
    values = np.asarray(problem.measurement) - np.asarray(problem.operator(image, *unknowns))
    if values.ndim > 3:
        values = np.moveaxis(values, 0, -2).reshape(*values.shape[1:3], -1)
    if np.iscomplexobj(values):
        values = np.concatenate([values.real, values.imag], -1)
    # Where nothing was measured, a mask and a frame make both of them equal.
    values = np.where((values == 0).all(axis=-1, keepdims=True), values.dtype.type(np.nan), values)
    inside = np.broadcast_to(np.asarray(getattr(problem.operator, "inside", True)), (*values.shape[:2], 1))[..., 0]
    if inside.any():  # of a frame, see `operators.frame`
        values = values[: np.flatnonzero(inside.any(axis=1))[-1] + 1, : np.flatnonzero(inside.any(axis=0))[-1] + 1]
    return Residual(values, *_correlation(values))


def _correlation(values):
    """Returns the correlation of neighbours, an offset of all counted as structure, and its standard deviation by chance."""
    together = square = pairs = 0.0
    for pair in ((values[1:], values[:-1]), (values[:, 1:], values[:, :-1])):
        both = np.isfinite(pair).all(axis=0)
        one, other = (side[both].astype(np.float64) for side in pair)
        together += (one * other).sum()
        square += (one**2 + other**2).sum() / 2
        pairs += both.any(axis=-1).sum()  # channels may share their noise
    return (float(together / square), float(pairs**-0.5)) if square else (np.nan, np.nan)
