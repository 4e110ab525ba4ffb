"""What a measurement says of its own noise."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import ndimage

from dipjax.core.problem import Problem

PATCH = 8  # pixels on a side
_FAR_OFF = 4.0  # standard deviations of the residual around a median, and ...
_FARTHER = 0.1  # ... of the range: what a pixel must exceed to be an impulse
_FEW = 0.005  # of the numbers, white or black ones: less may be what is in the picture, ...
_MANY = 0.02  # ... and together
FAR = 0.1  # correlation over two pixels, from which noise is correlated farther than between neighbours


def noise_correlation(picture: Array) -> tuple[Array, Array]:
    """Returns the correlation of the noise over one and over two pixels of a real picture `(h, w, C)`, measured where it is flattest.

    From the tenth of all patches of 8 x 8 pixels that vary least around a plane. White noise has -0.05 to 0.1; noise that a camera has
    interpolated 0.5 and more.
    """
    axis = np.linspace(-1, 1, PATCH)
    plane = np.stack([np.ones((PATCH, PATCH)), *np.meshgrid(axis, axis)], -1).reshape(-1, 3)
    rest = jnp.asarray(np.eye(PATCH**2) - plane @ np.linalg.pinv(plane), picture.dtype)
    starts = [np.arange(0, size - PATCH + 1, max(PATCH // 2, size // 64)) for size in picture.shape[:2]]
    rows, columns = (start[:, None] + np.arange(PATCH) for start in starts)
    patches = picture[rows][:, :, columns].transpose(0, 2, 4, 1, 3).reshape(-1, picture.shape[-1], PATCH**2)
    patches = jnp.einsum("ncp,pq->ncq", patches, rest, precision="highest").reshape(*patches.shape[:2], PATCH, PATCH)
    power = jnp.mean(patches**2, (1, 2, 3))
    # Where the range of the camera ends there is no noise.
    order = jnp.argsort(jnp.where(power > jnp.finfo(power.dtype).eps, power, jnp.inf))
    flattest = patches[order[: max(8, len(power) // 10)]]
    squares = jnp.maximum(jnp.mean(flattest**2), jnp.finfo(power.dtype).tiny)

    def over(lag):
        across, down = flattest[..., lag:] * flattest[..., :-lag], flattest[..., lag:, :] * flattest[..., :-lag, :]
        return (jnp.mean(across) + jnp.mean(down)) / 2 / squares

    return over(1), over(2)


def noise_variance(sigma: float | None, problem: Problem) -> Array:
    """Returns the variance of the noise: given, or from the finest differences."""
    if sigma is not None:
        return jnp.array(sigma**2, problem.dtype)
    parts = [finest(y).ravel() for y in jax.tree.leaves(problem.measurement)]
    return ((jnp.median(jnp.concatenate(parts)) / 0.6745) ** 2).astype(problem.dtype)


def finest(measurement: Array) -> Array:
    """Returns the absolute diagonal differences of neighbours, scaled to the noise, whose deviation is their median over 0.6745.

    Arrays of NumPy stay so: what is called back from a compiled program must not compute with JAX.

    Reference: Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994.
    """
    numpy = np if isinstance(measurement, np.ndarray) else jnp
    axes = [axis for axis in range(max(measurement.ndim - 1, 1)) if measurement.shape[axis] > 1]
    for axis in axes:
        measurement = numpy.diff(measurement, axis=axis)
    return numpy.abs(measurement) * 0.5 ** (len(axes) / 2)


def has_impulses(picture: np.ndarray) -> bool:
    """Says whether pixels of a picture `(H, W, C)` in [0, 1] were replaced by black and white, as by salt and pepper.

    Impulses have the least and the largest values that there are, and lie far from the median around them. Edges lie as far, but seldom
    at both ends; noise of photons and of other kinds ends there, but is not far off among its like.
    """
    residual = picture - ndimage.median_filter(picture, (5, 5, 1), mode="mirror")
    far = np.abs(residual) > max(_FAR_OFF * np.median(np.abs(residual)) / 0.6745, _FARTHER)
    black, white = (float(np.mean(far & (picture == end))) for end in (picture.min(), picture.max()))
    return black + white > _MANY and min(black, white) > _FEW
