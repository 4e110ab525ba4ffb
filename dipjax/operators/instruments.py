"""Problems of instruments: what a scanner, a beam or a sensor has measured of an image, rather than a picture of it.

One constructor each, as in `problem`, and with the same promises: arrays are checked and copied, a ValueError names the argument. For sums
with random weights (`sensing`), a JPEG file (`jpeg`), or operators of other libraries (`foreign`) `problem.general` is enough.
A generator draws numbers in [0, 1]: where an image has others, scale the measurement, as `tasks.ct` does.

Examples:
  >>> instruments = dipjax.instruments
  >>> kspace = np.ones((8, 8), np.complex64) * (np.arange(8) % 2)
  >>> data = instruments.mri(kspace, is_complex=True)
  >>> data.measurement.shape, data.shape, instruments.least_squares(data, 1).shape
  ((8, 8, 1), (8, 8, 2), (8, 8, 2))
  >>> instruments.non_uniform_mri(np.ones(24, np.complex64), dipjax.operators.fourier.radial(3, 8), (8, 8)).shape
  (8, 8, 1)
  >>> instruments.phase_retrieval(np.ones((16, 16), np.float32), np.ones((8, 8))).shape
  (8, 8, 1)
  >>> instruments.tomography(np.full((8, 4), 900), dipjax.radon.views(4), photons=1000).shape
  (8, 8, 1)
  >>> instruments.demosaicing(np.ones((8, 8), np.float32), "RGGB").shape
  (8, 8, 3)
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dipjax.compiling import compiled
from dipjax.core.problem import Problem
from dipjax.operators import camera, checks
from dipjax.operators.fourier import Complex, Fourier, FourierMagnitude, NonUniformFourier
from dipjax.operators.linear import Compose
from dipjax.operators.problem import general
from dipjax.operators.radon import Radon, Transmission

_LINEAR = 1e-3  # by which share of A(x) may A(x + y) - A(y) differ from it, for rounding


def mri(
    kspace: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    coils: ArrayLike | None = None,
    is_complex: bool = False,
    truth: ArrayLike | None = None,
) -> Problem:
    """Returns the problem of a magnetic resonance image of which some lines or samples of the centred spectrum were measured.

    Args:
      kspace: `(H, W)`, or of K coils `(K, H, W)`; complex. What it holds where nothing was sampled is not looked at.
      mask: `(H, W)`, or `(W,)` for columns, True or 1 where sampled; None takes what is not zero in `kspace`.
      coils: `(K, H, W)`, complex: how each coil sees each pixel; for several coils they must be known.
      is_complex: whether the image is complex, of two channels, its real and its imaginary part; else it is real, of one.
      truth: `(H, W, 1)` or `(H, W, 2)`, for the metrics alone.

    Returns:
      The problem, whose operator is `operators.Fourier`, of a measurement `(H, W, 1)` or `(K, H, W, 1)`.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    kspace = _complex("kspace", kspace)
    if kspace.ndim != (2 if coils is None else 3) or kspace.size == 0:
        expected = "(H, W), or (K, H, W) together with `coils`" if coils is None else "(K, H, W)"
        raise ValueError(f"kspace: found shape {kspace.shape}, expected {expected}.")
    shape = kspace.shape[-2:]
    mask = (kspace != 0).reshape(-1, *shape).any(0) if mask is None else _zero_to_one("mask", mask, shape)
    if not mask.any():
        raise ValueError("mask: found no sample, expected some to restore from.")
    kspace = checks.finite("kspace", np.where(mask > 0, kspace, 0)) * mask
    if coils is not None:
        coils = checks.finite("coils", _complex("coils", coils))
        if coils.shape != kspace.shape:
            raise ValueError(f"coils: found shape {coils.shape}, expected {kspace.shape}, that of `kspace`.")
        if not coils.any():
            raise ValueError("coils: found zeros only, expected how each coil sees each pixel.")
        coils = jnp.asarray(coils)
    operator = Fourier(jnp.asarray(mask.astype(kspace.real.dtype)), coils)
    return _of_spectrum(kspace[..., None], operator, shape, is_complex, truth)


def non_uniform_mri(
    samples: ArrayLike,
    frequencies: ArrayLike,
    shape: tuple[int, int],
    *,
    is_complex: bool = False,
    truth: ArrayLike | None = None,
) -> Problem:
    """Returns the problem of an image `(H, W)` whose spectrum was measured at any places, such as those of `fourier.radial`.

    Args:
      samples: `(M,)`, complex.
      frequencies: `(M, 2)`, rows and columns, in periods per pixel, from -1/2 to 1/2.
      shape: height and width.
      is_complex: as for `mri`.
      truth: as for `mri`.

    Returns:
      The problem, whose operator is `operators.NonUniformFourier`, of a measurement `(M, 1)`.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    samples = checks.finite("samples", _complex("samples", samples))
    frequencies = checks.finite("frequencies", checks.floats("frequencies", frequencies))
    if samples.ndim != 1 or not samples.size or frequencies.shape != (samples.size, 2) or np.iscomplexobj(frequencies):
        raise ValueError(f"frequencies: found shape {frequencies.shape}, expected (M, 2) for samples (M,), found {samples.shape}.")
    if np.abs(frequencies).max() > 1 / 2:
        raise ValueError(f"frequencies: found {np.abs(frequencies).max():.4g}, expected at most 1/2, in periods per pixel.")
    return _of_spectrum(samples[:, None], NonUniformFourier(jnp.asarray(frequencies)), checks.sides("shape", shape), is_complex, truth)


def phase_retrieval(magnitudes: ArrayLike, support: ArrayLike, *, oversampling: int = 2, truth: ArrayLike | None = None) -> Problem:
    """Returns the problem of an object inside a known support, of whose spectrum only the magnitudes were measured.

    Args:
      magnitudes: `(h, w)`, not negative, of the centred, orthonormal spectrum of the object among zeros.
      support: `(H, W)`, True or 1 where the object may be; `oversampling` times its sides are those of `magnitudes`.
      oversampling: a whole number from 1; below 2 the magnitudes do not determine the object.
      truth: `(H, W, 1)`, for the metrics alone.

    Returns:
      The problem, whose operator is `operators.FourierMagnitude`, of a measurement `(h, w, 1)`.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    magnitudes = checks.finite("magnitudes", checks.floats("magnitudes", magnitudes))
    if np.iscomplexobj(magnitudes) or not (magnitudes >= 0).all():
        raise ValueError("magnitudes: found complex or negative numbers, expected magnitudes.")
    if not (checks.whole(oversampling) and oversampling >= 1):
        raise ValueError(f"oversampling: found {oversampling!r}, expected a whole number from 1.")
    support = _zero_to_one("support", support)
    shape = support.shape
    if len(shape) != 2 or magnitudes.shape != tuple(oversampling * side for side in shape):
        raise ValueError(f"support: found shape {shape}, expected {oversampling} times smaller sides than {magnitudes.shape}.")
    if not support.any():
        raise ValueError("support: found no pixel in it, expected where the object may be.")
    operator = FourierMagnitude(jnp.asarray(support), int(oversampling))
    return general(magnitudes[..., None], operator, (*shape, 1), truth=truth)


def tomography(
    sinogram: ArrayLike,
    angles: ArrayLike,
    *,
    size: tuple[int, int] | None = None,
    photons: float | None = None,
    distance: float = math.inf,
    spacing: float = 1.0,
    truth: ArrayLike | None = None,
) -> Problem:
    """Returns the problem of an image whose sums along rays were measured, or how much light its rays let through.

    Args:
      sinogram: `(D, T)` or `(D, T, C)`, detectors and views, as `skimage.transform.radon` makes it; with `photons` counts of them.
      angles: `(T,)`, in degrees.
      size: `(H, W)` of the image; None is `(D, D)`.
      photons: how many each detector counts without an object; fit it with `losses.Poisson(photons)`. None: the sinogram holds sums.
      distance: of the source of a fan from the centre, in pixels; infinite: parallel beams.
      spacing: of the detectors, at the centre, in pixels.
      truth: `(H, W, C)`, for the metrics alone.

    Returns:
      The problem, whose operator is `operators.Radon`, with `photons` and `Transmission` behind it, of a measurement `(D, T, C)`.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    sinogram = checks.floats("sinogram", checks.numbers("sinogram", sinogram) if photons is not None else sinogram)
    sinogram = checks.finite("sinogram", sinogram[..., None] if sinogram.ndim == 2 else sinogram)
    if sinogram.ndim != 3 or sinogram.size == 0 or np.iscomplexobj(sinogram):
        raise ValueError(f"sinogram: found {checks.described(sinogram)}, expected real ones (D, T) or (D, T, C).")
    angles = checks.finite("angles", checks.floats("angles", checks.numbers("angles", angles)))
    if angles.shape != sinogram.shape[1:2]:
        raise ValueError(f"angles: found shape {angles.shape}, expected {sinogram.shape[1:2]}, one for each column of the sinogram.")
    size = checks.sides("size", (sinogram.shape[0],) * 2 if size is None else size)
    checks.positive("spacing", spacing)
    if not (checks.is_real(distance) and distance > math.hypot(*size) / 2):
        raise ValueError(f"distance: found {distance!r}, expected a number above {math.hypot(*size) / 2:.4g} pixels, outside the image.")
    operator = Radon(jnp.asarray(angles), sinogram.shape[0], float(distance), float(spacing))
    if photons is not None:
        checks.positive("photons", photons)
        if (sinogram < 0).any():
            raise ValueError("sinogram: found negative numbers, expected counts of photons.")
        sinogram, operator = sinogram / photons, Compose((operator, Transmission()))
    return general(sinogram, operator, (*size, sinogram.shape[-1]), truth=truth)


def demosaicing(raw: ArrayLike, pattern: str = "RGGB", *, truth: ArrayLike | None = None) -> Problem:
    """Returns the problem of a colour picture `(H, W, 3)` of which each pixel of a raw picture holds one colour.

    Args:
      raw: `(H, W)` or `(H, W, 1)`.
      pattern: one of `camera.PATTERNS`.
      truth: `(H, W, 3)`, for the metrics alone.

    Returns:
      The problem, whose operator is `operators.Bayer`, of a measurement `(H, W, 1)`.

    Raises:
      ValueError: an array is not as said here; the message names it.
    """
    raw = checks.read("raw", raw)
    raw = checks.finite("raw", checks.image("raw", raw[..., None] if raw.ndim == 2 else raw, planar=True))
    if raw.shape[-1] != 1 or np.iscomplexobj(raw):
        raise ValueError(f"raw: found {checks.described(raw)}, expected real ones (H, W) or (H, W, 1).")
    camera.filters(pattern, raw.shape[:2])  # which refuses what is no pattern
    return general(raw, camera.Bayer(pattern), (*raw.shape[:2], 3), truth=truth)


def least_squares(problem: Problem, num_steps: int = 10) -> np.ndarray:
    """Returns the image `(..., C)` that a few conjugate gradients from zero find for a linear problem: the quick reconstruction.

    After few steps what was not measured is still zero, and little of the noise is fitted; for one coil and samples on the grid it is
    the zero-filled image.

    Reference: Hestenes, Stiefel, Methods of conjugate gradients for solving linear systems, 1952.

    Args:
      problem: of a linear operator; one image, no batch.
      num_steps: of conjugate gradients, from 0.

    Raises:
      ValueError: the operator is not linear, or the number of steps is none.
    """
    checks.count("num_steps", num_steps, 0)
    found, deviation = _least_squares(problem, jnp.int32(num_steps))
    if not deviation < _LINEAR:
        raise ValueError("problem: found an operator that is not linear, expected one that is.")
    return np.asarray(found)


@compiled()
def _least_squares(problem, num_steps):
    some, other = (jax.random.uniform(jax.random.key(seed), problem.shape, problem.dtype) for seed in (0, 1))
    images = some, other, some + other, jnp.zeros_like(some)
    parts = jax.tree.leaves(jax.tree.map(lambda x, y, both, none: (both - y - x + none, x), *map(problem.operator, images)))
    wrong, right = (sum(jnp.sum(jnp.abs(part) ** 2) for part in half) for half in (parts[::2], parts[1::2]))
    return conjugate_gradients(problem, num_steps), jnp.sqrt(wrong / right)


def conjugate_gradients(problem: Problem, num_steps: Any) -> Array:
    """Returns what `least_squares` does; jittable, and whether the operator is linear is not checked.

    Args:
      problem: one image, no batch; its operator may add what does not depend on the image.
      num_steps: of conjugate gradients, an int or a scalar.
    """
    forward, back, measured = linear_parts(problem)
    return jax.scipy.sparse.linalg.cg(lambda image: back(forward(image)), back(measured), maxiter=num_steps, tol=1e-6)[0]


def linear_parts(problem: Problem) -> tuple[Callable, Callable, Any]:
    """Returns a problem's operator without what it adds, its adjoint, and the measurement without that; linear or not is not checked.

    Of a real image the adjoint is without an imaginary part. Operators of other libraries have no other transpose than that of `jax.vjp`.
    """
    added, transpose = jax.vjp(problem.operator, jnp.zeros(problem.shape, problem.dtype))

    def forward(image):
        return jax.tree.map(jnp.subtract, problem.operator(image), added)

    def back(measurement):
        fitting = lambda y, like: (jnp.conj(y) if jnp.iscomplexobj(like) else jnp.real(y)).astype(like.dtype)  # noqa: E731
        return transpose(jax.tree.map(fitting, measurement, added))[0]

    return forward, back, jax.tree.map(jnp.subtract, problem.measurement, added)


@compiled(runs_once=True)
def of_white(problem: Problem) -> Any:
    """Returns the measurement of an image of ones: with one program, where the operator by itself would take dozens."""
    return problem.operator(jnp.ones(problem.shape, problem.dtype))


def _of_spectrum(samples, operator, shape, is_complex, truth):
    operator = Compose((Complex(), operator)) if is_complex else operator
    return general(samples, operator, (*shape, 2 if is_complex else 1), truth=truth)


def _complex(name, value):
    array = checks.floats(name, value)
    return array.astype(np.result_type(array.dtype, np.complex64))


def _zero_to_one(name, value, shape=None):
    array = checks.read(name, value)
    shape = array.shape if shape is None else shape
    if array.dtype.kind not in "buif" or array.shape not in (shape, shape[-1:]):
        raise ValueError(f"{name}: found {array.dtype} numbers of shape {array.shape}, expected real ones {shape}.")
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"{name}: found values outside [0, 1], expected True (or 1) where it counts, else False.")
    return np.broadcast_to(array, shape).astype(np.float32)
