"""What a network leaves of its measurement, put back: kriging, which is regression with a Gaussian process.

A network fits fine detail last, and is stopped before it has all of it. So its image x does not quite agree with the measurement y, even
where that has hardly any noise. The rest r = y - A x tells by how much it is off there, and smoothness by how much it is off nearby, where
nothing was measured. With errors of covariance a^2 S and noise of variance s^2 the expected error is

    e = S A^T (A S A^T + level I)^(-1) r,  level = s^2 / a^2,

and `x + e` is the result, once the brightness of all is right. S has the spectrum `(f^2 + low^2)^(-1.5)` with f in cycles per pixel: errors
are smooth, and far from all that was measured nothing else is added. Between channels it is as the fine detail of x: colours rise and fall
together, and so do the errors of a network that has not drawn all of it. So one colour that was measured corrects the others too. Pixels
that were measured come out nearly as they were, samples of a spectrum too; what lies between follows.

The variance of the errors is that of r beyond that of the noise, which must be known: what a network leaves of a picture without any noise
looks as much like noise as noise does.

Of a noisy picture every pixel was measured, and nothing lies between. What can be told from its noise is what repeats, not what is smooth:
there S is that of similar patches, see `patches`.

Reference: Matheron, Principles of geostatistics, Economic Geology 1963; Rasmussen, Williams, Gaussian processes for machine learning, 2006.

Examples:
  >>> picture = np.add.outer(np.arange(16.0), np.arange(16.0))[..., None] / 32
  >>> data = dipjax.problem.inpainting(picture.astype(np.float32), np.random.default_rng(0).random((16, 16)) > 0.5)
  >>> estimates = np.full((2, 16, 16, 1), 0.4, np.float32)
  >>> better = dipjax.kriging.put_back(data, estimates)
  >>> better.shape, bool(abs(better - picture).mean() < 0.1 * abs(estimates - picture).mean())
  ((2, 16, 16, 1), True)
"""

import jax
import jax.numpy as jnp
import numpy as np

from dipjax import patches
from dipjax.compiling import compiled
from dipjax.core.problem import Problem
from dipjax.operators.instruments import linear_parts
from dipjax.operators.linear import Identity

_LOW, _POWER = 0.1, 1.5  # of the spectrum of errors
_ALIKE = 0.95  # of the covariance of the channels is that of the image's, the rest a channel's own
_REACH = 32  # pixels, beyond which errors have nothing in common
_LEAST = 0.01  # level
_DOUBT = 1.15  # times the variance of the noise, as well as that is known: what is more is error
_STEPS = 100  # of conjugate gradients


def put_back(problem: Problem, images: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Adds to estimates what they leave of the measurement.

    Args:
      problem: one, without a batch; its operator is linear, but for what it adds.
      images: `(K, ..., C)`; one that is not finite stays as it is.
      noise: standard deviation of the noise of the measurement, of complex numbers that of their absolute value.

    Returns:
      `(K, ..., C)`.
    """
    made = np.array(images)
    finite = [k for k, image in enumerate(made) if np.isfinite(image).all()]
    problem = problem.replace(truth=None, guide=None)
    inside = _of_picture(problem)
    for k in finite:
        if inside is None:
            alike = _alike(made[k])
            # The root is taken here: a program that calls LAPACK cannot be kept (`compiling`).
            covariances = (matrix.astype(problem.dtype) for matrix in (alike, np.linalg.cholesky(alike)))
            made[k] += _errors(problem, made[k], noise, *covariances)
        else:
            made[k][inside] = patches.put_back(np.asarray(problem.measurement)[inside], made[k][inside], noise)
    return made


def _of_picture(problem):
    """Returns the rows and columns of a noisy picture, large enough for patches, as it may lie in a frame; None of all else."""
    operator = getattr(problem.operator, "operator", problem.operator)
    is_small = min(problem.shape[:2]) < patches.SMALLEST
    if not isinstance(operator, Identity) or len(problem.shape) != 3 or is_small or jnp.iscomplexobj(problem.measurement):
        return None
    inside = np.broadcast_to(getattr(problem.operator, "inside", True), (*problem.shape[:2], 1))[..., 0]
    return tuple(slice(*np.flatnonzero(inside.any(axis))[[0, -1]] + [0, 1]) for axis in (1, 0)) if inside.any() else None


@compiled()
def _errors(problem, image, noise, alike, root):
    """Returns the expected error of one estimate; `alike` is the covariance of the errors of its channels, and `root` its lower root."""
    (forward, back, measured), tiny = linear_parts(problem), jnp.finfo(problem.dtype).tiny
    left, ones = jax.tree.map(jnp.subtract, measured, forward(image)), jnp.ones(problem.shape, problem.dtype)
    brightness = forward(ones)
    brighter = jnp.sum(back(left)) / jnp.maximum(_square(brightness), tiny)  # by how much all of the image is too dark
    left = jax.tree.map(lambda part, one: part - brighter * one, left, brightness)
    # What S does to the entries, on average, is that of one draw of errors; what was not measured stays zero.
    drawn = _smoothed(jax.random.normal(jax.random.key(0), problem.shape, problem.dtype), 0.5)
    usual = forward(_product(drawn, root.T))
    number = jnp.maximum(sum(jnp.sum(part != 0) for part in jax.tree.leaves(usual)), 1)
    error = jnp.maximum(_square(left) / number - _DOUBT * noise**2, tiny)
    least = _LEAST * jnp.diagonal(alike).min()  # so that a channel with little detail, too, comes out where it was measured
    level = jnp.maximum(_square(usual) / number, tiny) * jnp.maximum(noise**2 / error, least)

    def smooth(entries):
        return _product(_smoothed(back(entries), 1.0), alike)

    def matrix(entries):
        return jax.tree.map(lambda made, entry: made + level * entry, forward(smooth(entries)), entries)

    return brighter * ones + smooth(jax.scipy.sparse.linalg.cg(matrix, left, maxiter=_STEPS, tol=1e-5)[0])


def _alike(image):
    """Returns the covariance of the errors of the channels, `(C, C)`."""
    channels, covariance = image.shape[-1], 0.0
    for axis in range(image.ndim - 1):
        details = np.diff(image.astype(np.float64), axis=axis).reshape(-1, channels)
        covariance += details.T @ details
    mean = max(np.trace(covariance) / channels, np.finfo(np.float32).tiny)
    alike = _ALIKE * covariance / mean + (1 - _ALIKE) * np.eye(channels)
    return alike * channels / np.trace(alike)


def _product(one, other):
    return jnp.matmul(one, other, precision="highest")


def _smoothed(image, power):
    """Returns S^power times an image `(..., C)`, as if beyond its edges were zeros; the diagonal of S is one."""
    axes, sides = tuple(range(image.ndim - 1)), [side + _REACH for side in image.shape[:-1]]
    grids = jnp.meshgrid(*(jnp.fft.fftfreq(side).astype(image.dtype) for side in sides), indexing="ij")
    spectrum = (sum(grid**2 for grid in grids) + _LOW**2) ** -_POWER
    spectrum = (spectrum / spectrum.mean())[..., : sides[-1] // 2 + 1, None] ** power
    made = jnp.fft.irfftn(jnp.fft.rfftn(image, sides, axes) * spectrum, sides, axes)
    return made[tuple(slice(side) for side in image.shape[:-1])].astype(image.dtype)


def _square(entries):
    return sum(jnp.sum(jnp.abs(part) ** 2) for part in jax.tree.leaves(entries))
