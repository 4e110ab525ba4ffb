"""The problem: one measurement, the operator that made it, and the size of the image we want.

Everything that may differ between the runs of one batch is a leaf here; only `shape` is static. There is one constructor per task,
and it is the place where the arrays are checked. To add a task, add a function.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import operators
from dipjax.core.problem import Problem
from dipjax.operators import psfs, resampling


def denoising(measurement, *, truth=None) -> Problem:
    """Returns the problem of a noisy picture `(H, W, C)`.

    Raises:
      ValueError: an array of another rank, empty, or with values that are not finite; so for every constructor here.
    """
    measurement = _image("measurement", measurement)
    return _problem(measurement, operators.Identity(), measurement.shape, truth)


def inpainting(measurement, known, *, truth=None) -> Problem:
    """Returns the problem of a picture `(H, W, C)` of which only some pixels are known.

    Args:
      measurement: `(H, W, C)`; what it holds at unknown pixels is not used.
      known: `(H, W)`, `(H, W, 1)` or `(H, W, C)`, True or 1 where a pixel was measured.
      truth: `(H, W, C)`, for the metrics alone.
    """
    measurement = _image("measurement", measurement)
    known = jnp.asarray(known, jnp.float32)
    known = known[..., None] if known.ndim == 2 else known
    if known.shape not in {(*measurement.shape[:2], 1), measurement.shape}:
        raise ValueError(f"known: found shape {known.shape}, expected (H, W, 1) or (H, W, C) of {measurement.shape}.")
    if not bool(((known >= 0) & (known <= 1)).all()):
        raise ValueError("known: found values outside [0, 1], expected True (or 1) where a pixel was measured, else False.")
    if not bool(jnp.any(known > 0)):
        raise ValueError("known: no pixel is known, so there is nothing to restore from; is the mask inverted?")
    operator = operators.Mask(known)
    return _problem(operator(measurement), operator, measurement.shape, truth)


def super_resolution(measurement, factor: int, *, kernel=resampling.LANCZOS2, truth=None) -> Problem:
    """Returns the problem of a small picture `(h, w, C)`, to be `factor` times larger on both sides."""
    measurement = _image("measurement", measurement)
    if not (isinstance(factor, (int, np.integer)) and factor >= 1):
        raise ValueError(f"factor: found {factor!r}, expected a whole number of at least 1.")
    height, width, channels = measurement.shape
    shape = (height * int(factor), width * int(factor), channels)
    return _problem(measurement, operators.Downsample(int(factor), kernel), shape, truth)


def deblurring(measurement, psf, *, boundary: str = "reflect", truth=None) -> Problem:
    """Returns the problem of a picture blurred by a known `psf (k, l)`.

    `boundary` is "reflect", "circular" or "valid", see `operators.Blur`; with "valid" the image is larger than the measurement.
    """
    measurement = _image("measurement", measurement)
    psf = psfs.normalized(psf)
    if boundary not in {"reflect", "circular", "valid"}:
        raise ValueError(f'boundary: found {boundary!r}, expected "reflect", "circular" or "valid".')
    height, width, channels = measurement.shape
    if boundary != "valid" and (psf.shape[0] > height or psf.shape[1] > width):
        raise ValueError(f"psf: found shape {psf.shape}, expected one no larger than the picture, {(height, width)}.")
    margin = (psf.shape[0] - 1, psf.shape[1] - 1) if boundary == "valid" else (0, 0)
    shape = (height + margin[0], width + margin[1], channels)
    return _problem(measurement, operators.Blur(jnp.asarray(psf), boundary), shape, truth)


def flash(measurement, flash_image, *, truth=None) -> Problem:
    """Returns the problem of a noisy picture `(H, W, C)`, guided by `flash_image (H, W, D)`, one of the same scene taken with flash."""
    measurement, guide = _image("measurement", measurement), _image("flash_image", flash_image)
    if guide.shape[:2] != measurement.shape[:2]:
        raise ValueError(f"flash_image: found shape {guide.shape}, expected the height and width of {measurement.shape}.")
    return _problem(measurement, operators.Identity(), measurement.shape, truth).replace(guide=guide)


def feature_inversion(image, features: Callable[[Array], Array]) -> Problem:
    """Returns the problem of an image of which only features are known, such as a layer of a trained network.

    Args:
      image: `(H, W, C)`, whose features are the measurement; it is not looked at otherwise.
      features: `(H, W, C)` in [0, 1] -> an array; differentiable. What its network expects of pixels (their scale, mean and order) is up
        to it; several layers can be flattened and joined.
    """
    image = _image("image", image)
    operator = jax.tree_util.Partial(features)
    return Problem(operator(image), operator, image.shape)


def activation_maximisation(activation: Callable[[Array], Array], shape: tuple[int, int, int]) -> Problem:
    """Returns the problem of the image `(H, W, C)` of `shape` that excites `activation` most; fit it with `losses.maximise`.

    The official notebook sums a map over a window of 40 x 40 around its centre. For a class score it fits the score to 300 instead: for
    that, set the measurement to 300 and the loss to `losses.l1`.
    """
    operator = jax.tree_util.Partial(activation)
    prediction = jax.eval_shape(operator, jax.ShapeDtypeStruct(shape, jnp.float32))
    return Problem(jnp.zeros(prediction.shape, prediction.dtype), operator, shape)


def _problem(measurement, operator, shape, truth):
    if truth is not None:
        truth = _image("truth", truth)
        if truth.shape != shape:
            raise ValueError(f"truth: found shape {truth.shape}, expected {shape}.")
    return Problem(measurement, operator, shape, truth)


def _image(name, array):
    array = jnp.asarray(array, jnp.float32)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"{name}: found shape {array.shape}, expected a non-empty image (H, W, C).")
    if not bool(jnp.isfinite(array).all()):
        raise ValueError(f"{name}: found values that are not finite, expected numbers in [0, 1].")
    return array
