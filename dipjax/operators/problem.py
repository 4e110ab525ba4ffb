"""The problem: one measurement, the operator that made it, and the size of the image we want.

Everything that may differ between the runs of one batch is a leaf here; only `shape` is static. There is one constructor per task,
and it is the place where the arrays are checked: all raise a ValueError that names the argument. Arrays are floats, or complex where
the image is; float64 stays float64 where JAX has 64 bits switched on, all else becomes float32. Values may have any range. To add a
task, add a function; `general` takes any operator.

Examples:
  >>> picture, problem = np.full((8, 8, 3), 0.5, np.float32), dipjax.problem
  >>> problem.denoising(picture, truth=picture).shape
  (8, 8, 3)
  >>> problem.inpainting(picture, known=np.eye(8) == 0).shape
  (8, 8, 3)
  >>> problem.super_resolution(picture, 1.5).shape
  (12, 12, 3)
  >>> problem.deblurring(picture, dipjax.psfs.box(3), boundary="valid").shape
  (10, 10, 3)
  >>> problem.deblurring(picture, 3).operator
  UnknownBlur(boundary='reflect', level=None)
  >>> problem.flash(picture, flash_image=picture).guide.shape
  (8, 8, 3)
  >>> problem.feature_inversion(picture, lambda image: image.mean((0, 1))).measurement.shape
  (3,)
  >>> problem.activation_maximisation(lambda image: image[..., 0], (8, 8, 3)).measurement.shape
  (8, 8)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dipjax.core.problem import Problem, stack
from dipjax.operators import checks, psfs, resampling
from dipjax.operators.linear import Blur, Identity, Mask, UnknownBlur

__all__ = [
    "Problem",
    "activation_maximisation",
    "deblurring",
    "denoising",
    "feature_inversion",
    "flash",
    "general",
    "inpainting",
    "stack",
    "super_resolution",
]

_LARGEST_FACTOR = 256
_DETAIL = 16.0  # times less than its mean is the power of a picture in the detail that a blur takes (benchmarks/results/back_projection.md)
_LEVELS = 1e-4, 1.0


def denoising(measurement: ArrayLike, *, truth: ArrayLike | None = None) -> Problem:
    """Returns the problem of a noisy picture, volume or signal: `y = x + noise`.

    Args:
      measurement: `(H, W, C)`, `(D, H, W, C)` or `(W, C)`, real or complex.
      truth: the same shape, for the metrics alone.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    measurement = checks.finite("measurement", checks.image("measurement", measurement))
    return _problem(measurement, Identity(), measurement.shape, truth)


def inpainting(measurement: ArrayLike, known: ArrayLike, *, truth: ArrayLike | None = None) -> Problem:
    """Returns the problem of a picture, a volume or a signal, of which only some pixels are known: `y = known x`.

    Args:
      measurement: `(H, W, C)`; what it holds at unknown pixels is not looked at, and may be NaN.
      known: `(H, W)`, `(H, W, 1)` or `(H, W, C)`, True or 1 where a pixel was measured; a fraction where it was partly.
      truth: `(H, W, C)`, for the metrics alone.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    measurement = checks.image("measurement", measurement)
    known = checks.known_pixels(known, measurement)
    measurement = checks.finite("measurement", np.where(known > 0, measurement, 0))
    return _problem(measurement * known, Mask(jnp.asarray(known)), measurement.shape, truth)


def super_resolution(
    measurement: ArrayLike, factor: float, *, kernel: resampling.Kernel = resampling.LANCZOS2, truth: ArrayLike | None = None
) -> Problem:
    """Returns the problem of a small picture, to be enlarged: y is x as `operators.Downsample` or `Resize` shrink it.

    Args:
      measurement: `(h, w, C)`.
      factor: from 1 to 256, how many times longer both sides become, rounded to whole pixels.
      kernel: of `resampling`, how the picture was made small.
      truth: `(H, W, C)`, for the metrics alone.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    measurement = checks.finite("measurement", checks.image("measurement", measurement, planar=True))
    is_number = isinstance(factor, (int, float, np.integer, np.floating)) and not isinstance(factor, bool)
    if not (is_number and 1 <= factor <= _LARGEST_FACTOR):
        raise ValueError(f"factor: found {factor!r}, expected a number from 1 to {_LARGEST_FACTOR}.")
    if not isinstance(kernel, resampling.Kernel):
        raise ValueError(f"kernel: found {kernel!r}, expected one of `resampling`, such as `resampling.LANCZOS2`.")
    height, width, channels = measurement.shape
    if factor == int(factor):
        operator, shape = resampling.Downsample(int(factor), kernel), (height * int(factor), width * int(factor), channels)
    else:
        operator, shape = resampling.Resize((height, width), kernel), (*(enlarged(side, factor) for side in (height, width)), channels)
    return _problem(measurement, operator, shape, truth)


def enlarged(side: int, factor: float) -> int:
    """Returns how many pixels a `side` has that is `factor` times longer."""
    return round(float(side * factor))


def deblurring(
    measurement: ArrayLike,
    psf: ArrayLike | int,
    *,
    boundary: str = "reflect",
    noise: float | None = None,
    truth: ArrayLike | None = None,
) -> Problem:
    """Returns the problem of a blurred picture: y is x as `operators.Blur` makes it, or `UnknownBlur` where nobody knows the blur.

    Args:
      measurement: `(h, w, C)`.
      psf: `(k, l)`, not negative, normalised to a sum of one; or, where it is not known, the number of pixels, from 2, along each side of
        one that holds it, for `generators.WithPsf`.
      boundary: "reflect", "circular" or "valid", see `operators.Blur`; with "valid" the image is larger than the measurement.
      noise: its standard deviation, in units of the measurement, from 0: `losses.BackProjection` trusts fine detail by it; if not given,
        some is assumed.
      truth: `(H, W, C)`, for the metrics alone.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    measurement = checks.finite("measurement", checks.image("measurement", measurement, planar=True))
    if boundary not in ("reflect", "circular", "valid"):
        raise ValueError(f'boundary: found {boundary!r}, expected "reflect", "circular" or "valid".')
    height, width, channels = measurement.shape
    if checks.whole(psf):
        if not 1 < psf <= min(height, width):
            raise ValueError(f"psf: found {psf} pixels along a side, expected from 2 to {min(height, width)}, those of the picture.")
        size, operator = (int(psf), int(psf)), UnknownBlur(boundary, _level(measurement, noise))
    else:
        psf = psfs.normalized(psf, dtype=measurement.real.dtype)
        size, operator = psf.shape, Blur(jnp.asarray(psf), boundary, _level(measurement, noise))
    if boundary != "valid" and (size[0] > height or size[1] > width):
        raise ValueError(f"psf: found shape {size}, expected one no larger than the picture, {(height, width)}.")
    margin = (size[0] - 1, size[1] - 1) if boundary == "valid" else (0, 0)
    shape = (height + margin[0], width + margin[1], channels)
    return _problem(measurement, operator, shape, truth)


def _level(measurement, noise):
    """Returns how weak detail may be that noise of a strength leaves of use, `()`, for `operators.Blur`; None if that is not known."""
    if noise is None:
        return None
    checks.not_negative("noise", noise)
    power = max(float(np.var(measurement)), np.finfo(np.float32).tiny)
    return jnp.float32(np.clip(_DETAIL * float(noise) ** 2 / power, *_LEVELS))


def flash(measurement: ArrayLike, flash_image: ArrayLike, *, truth: ArrayLike | None = None) -> Problem:
    """Returns the problem of a noisy picture, guided by one of the same scene taken with flash, which `inputs.Guide` shows the network.

    Args:
      measurement: `(H, W, C)`.
      flash_image: `(H, W, D)`, real.
      truth: `(H, W, C)`, for the metrics alone.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    measurement = checks.finite("measurement", checks.image("measurement", measurement))
    return _problem(measurement, Identity(), measurement.shape, truth, flash_image, "flash_image")


def feature_inversion(image: ArrayLike, features: Callable[[Array], Any]) -> Problem:
    """Returns the problem of an image of which only features are known, such as a layer of a trained network.

    Args:
      image: `(H, W, C)`, whose features are the measurement; it is not looked at otherwise.
      features: `(H, W, C)` -> an array, or a tree of them; differentiable. What its network expects of pixels (their scale, mean and
        order) is up to it.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    image, operator = checks.finite("image", checks.image("image", image)), checks.pytree("features", features)
    if np.iscomplexobj(image):
        raise ValueError("image: found complex numbers, expected real ones.")
    return general(operator(jnp.asarray(image)), operator, image.shape)


def activation_maximisation(activation: Callable[[Array], Array], shape: tuple[int, ...]) -> Problem:
    """Returns the problem of the image that excites some activation most; fit it with `losses.Maximise`.

    The official notebook sums a map over a window of 40 x 40 around its centre. For a class score it fits the score to 300 instead: for
    that, set the measurement to 300 and the loss to `losses.L1`.

    Args:
      activation: `(H, W, C)` -> an array, or a tree of them; differentiable.
      shape: of the image, `(H, W, C)`.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    operator, shape = checks.pytree("activation", activation), checks.image_shape(shape)
    prediction = checks.prediction(operator, shape, np.float32)
    return Problem(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), prediction), operator, shape)


def general(
    measurement: Any,
    operator: Callable,
    shape: tuple[int, ...],
    *,
    unknowns: tuple = (),
    truth: ArrayLike | None = None,
    guide: ArrayLike | None = None,
) -> Problem:
    """Returns the problem of an image of `shape (..., C)` that any `operator` of yours has measured.

    Args:
      measurement: an array, or a tree of arrays, real or complex.
      operator: a differentiable function of an image, which predicts the measurement: arrays of the same shapes, in the same tree. Of
        a callable pytree, such as `jax.tree_util.Partial(function, arrays)`, the arrays may differ within a batch; those that
        another function closes over are part of the program.
      shape: of the image.
      unknowns: what the generator makes beside the image and the operator takes after it, as arrays or `jax.ShapeDtypeStruct`s
        whose values are not looked at.
      truth: `(..., C)` of that shape, for the metrics alone.
      guide: `(..., D)`, another picture of the scene, for `inputs.Guide`.

    Raises:
      ValueError: an array is not as said here; the message names it.

    Examples:
      >>> sums = np.ones((8, 1), np.float32)
      >>> dipjax.problem.general(sums, lambda image: image.sum(0), (8, 8, 1)).shape
      (8, 8, 1)
    """
    shape, operator = checks.image_shape(shape), checks.pytree("operator", operator)
    leaves, structure = jax.tree_util.tree_flatten_with_path(measurement)
    if not leaves:
        raise ValueError(f"measurement: found {measurement!r}, expected at least one array.")
    names = [f"measurement{jax.tree_util.keystr(path)}" for path, _ in leaves]
    arrays = [checks.finite(name, checks.floats(name, leaf)) for name, (_, leaf) in zip(names, leaves, strict=True)]
    measurement, dtype = jax.tree.unflatten(structure, arrays), _real_dtype(arrays)
    # Of a complex image, an operator such as the identity makes complex numbers.
    kinds = (dtype, np.result_type(dtype, np.complex64))[: 2 if _any_complex(arrays) else 1]
    predictions = [checks.prediction(operator, shape, kind, unknowns) for kind in kinds]
    if not any(checks.alike(prediction, measurement) for prediction in predictions):
        raise ValueError(
            f"operator: found a prediction of {checks.described(predictions[0])} for an image of shape {shape}, expected one like the"
            f" measurement, {checks.described(measurement)}."
        )
    return _problem(measurement, operator, shape, truth, guide)


def _problem(measurement, operator, shape, truth, guide=None, guide_name="guide"):
    """Checks what is beside the measurement, and gives it the measurement's precision."""
    arrays = jax.tree.leaves(measurement)
    dtype = _real_dtype(arrays)
    if truth is not None:
        truth = checks.finite("truth", checks.floats("truth", truth))
        if truth.shape != shape:
            raise ValueError(f"truth: found shape {truth.shape}, expected {shape}.")
        if np.iscomplexobj(truth) and not _any_complex(arrays):
            raise ValueError("truth: found complex numbers, expected real ones as in the measurement.")
        truth = jnp.asarray(truth.astype(np.result_type(dtype, np.complex64) if np.iscomplexobj(truth) else dtype))
    if guide is not None:
        guide = checks.finite(guide_name, checks.image(guide_name, guide))
        if guide.shape[:-1] != shape[:-1] or np.iscomplexobj(guide):
            found = checks.described(guide)
            raise ValueError(f"{guide_name}: found {found}, expected real numbers with the height and width of {shape}.")
        guide = jnp.asarray(guide.astype(dtype))
    return Problem(jax.tree.map(jnp.asarray, measurement), operator, shape, truth, guide)


def _real_dtype(arrays):
    return max((array.real.dtype for array in arrays), key=lambda dtype: dtype.itemsize)


def _any_complex(arrays):
    return any(np.iscomplexobj(array) for array in arrays)
