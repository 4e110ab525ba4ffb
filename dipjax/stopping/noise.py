"""What a measurement says of its own noise."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import ndimage
from scipy.special import gammainc, gammaincinv

from dipjax.compiling import compiled
from dipjax.core.problem import Problem

PATCH = 8  # pixels on a side
_FAR_OFF = 4.0  # standard deviations of the residual around a median, and ...
_FARTHER = 0.1  # ... of the range: what a pixel must exceed to be an impulse
_FEW = 0.005  # of the numbers, white or black ones: less may be what is in the picture, ...
_MANY = 0.02  # ... and together
_CLIPPED = 0.05  # of a patch: more of it at the ends of the range, and its noise is cut off
_GROUPS = 8  # of brightness
_APART = 0.2  # of their logarithms: groups that are less so differ by their noise alone
_TENTH = 0.8  # of the variance, which the tenth of the patches that vary least have: the median over 23 pictures of three channels
_GRAIN = 5 / 255  # deviation of the grain and fine texture that photographs have, whose removal nobody asked for; twice its square counts
_FREEDOM = 26  # degrees of it, in every channel of a patch: the fit to pure noise, of 32 to 512 pixels on a side and 1 to 4 channels
_NORMAL = 0.6745  # median of the absolute values of normal numbers of deviation 1
CORRELATED = 0.3  # correlation over one pixel, above which noise is not white
SURELY = 0.85  # of the variance by `white_noise`: the true one is 0.86 to 1.35 times as much (benchmarks/results/noise.md)
FAR = 0.1  # correlation over two pixels, from which noise is correlated farther than between neighbours


def noise_correlation(picture: Array) -> tuple[Array, Array]:
    """Returns the correlation of the noise over one and over two pixels of a real picture `(h, w, C)`, measured where it is flattest.

    From the tenth of all patches of 8 x 8 pixels that vary least around a plane. White noise has -0.05 to 0.1; noise that a camera has
    interpolated 0.5 and more.
    """
    axis = np.linspace(-1, 1, PATCH)
    plane = np.stack([np.ones((PATCH, PATCH)), *np.meshgrid(axis, axis)], -1).reshape(-1, 3)
    rest = jnp.asarray(np.eye(PATCH**2) - plane @ np.linalg.pinv(plane), picture.dtype)
    patches = _patches(picture).reshape(-1, picture.shape[-1], PATCH**2)
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


def white_noise(picture: Array) -> tuple[Array, Array]:
    """Returns the variance of the white noise of a real picture `(h, w, C)`, the mean over its pixels, and how it grows with brightness.

    The variance is taken to be proportional to a power of the brightness: about 0 for noise of one strength, 1 for photons, 2 for
    speckle. Both are measured from the finest differences, to which textures contribute little, where these are least: in the tenth of
    the patches of 8 x 8 pixels, of those that are not clipped, of every group of equal brightness. How it grows is told by every channel
    for itself, because one may be clipped, or noisier, where another is not. The variance is infinite where too little of the picture is
    not clipped. Measured in benchmarks/results/noise.md.
    """
    patches = jnp.moveaxis(_patches(picture), 1, 0)
    differences = jnp.diff(jnp.diff(patches, axis=-1), axis=-2) / 2
    power, brightness = jnp.mean(differences**2, (2, 3)), jnp.maximum(jnp.mean(patches, (2, 3)) - picture.min(), 1e-3)
    clipped = jnp.mean((patches <= picture.min()) | (patches >= picture.max()), (2, 3))
    least = jnp.finfo(power.dtype).eps
    usable = (clipped <= _CLIPPED) & (power > least)
    known = usable.sum(1) >= 2 * _GROUPS
    levels, variances = jax.vmap(_by_brightness)(power, usable, brightness)
    exponent = _slope(levels, jnp.where(known[:, None], variances, jnp.inf))
    scale = brightness ** jnp.clip(exponent, 0, 2)
    # Of all channels together it is the surer: textures then hide less in the tenth that varies least.
    whole = (jnp.mean(clipped, 0) <= _CLIPPED) & (jnp.mean(power, 0) > least)
    together = _of_tenth(power / scale, whole) * scale.mean()
    alone = jax.vmap(_of_tenth)((power / scale)[:, None], usable) * scale.mean(1)
    variance = jnp.where(whole.sum() >= 2 * _GROUPS, together, jnp.mean(alone, where=known))
    return jnp.where(known.any(), variance, jnp.inf), exponent


def _of_tenth(power, usable):
    """Returns the variance by the tenth of the patches whose power `(C, N)` is least, in all of the channels together."""
    power, share = jnp.mean(power, 0), _TENTH * _share_of_tenth(len(power)) / _share_of_tenth(3)
    return _least(power, usable, power)[1] / share


def _by_brightness(power, usable, brightness):
    """Returns the logarithms of brightness and of the least power, of groups of patches of equal brightness."""
    rank = jnp.argsort(jnp.argsort(jnp.where(usable, brightness, jnp.inf)))
    group = jnp.where(usable, rank * _GROUPS // jnp.maximum(usable.sum(), 1), -1)
    parts = [_least(power, group == g, brightness) for g in range(_GROUPS)]
    levels, variances = zip(*parts, strict=True)
    return jnp.log(jnp.stack(levels)), jnp.log(jnp.stack(variances))


def _share_of_tenth(channels):
    """Returns the share of the variance that the tenth of the patches of pure noise has which vary least.

    Their mean squares are distributed as chi squared, of which this is the mean up to the first decile; more numbers vary less.
    """
    half = _FREEDOM * channels / 2
    return float(gammainc(half + 1, gammaincinv(half, 0.1)) / 0.1)


@compiled(runs_once=True)
def of_picture(picture: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Returns `noise_correlation` and `white_noise` of a picture, as one compiled program."""
    return noise_correlation(picture), white_noise(picture)


def _patches(picture):
    """Returns overlapping patches of a picture, `(N, C, 8, 8)`."""
    starts = [np.arange(0, size - PATCH + 1, max(PATCH // 2, size // 64)) for size in picture.shape[:2]]
    rows, columns = (start[:, None] + np.arange(PATCH) for start in starts)
    patches = picture[rows][:, :, columns].transpose(0, 2, 4, 1, 3)
    return patches.reshape(-1, picture.shape[-1], PATCH, PATCH)


def _least(values, usable, brightness):
    """Returns the mean brightness and the mean value of the tenth of the patches, of the usable ones, whose values are least."""
    order = jnp.argsort(jnp.where(usable, values, jnp.inf))
    number = jnp.clip(usable.sum() // 10, 4, None)
    counts = (jnp.arange(len(values)) < number) & usable[order]
    mean = lambda part: jnp.sum(jnp.where(counts, part[order], 0)) / jnp.maximum(counts.sum(), 1)  # noqa: E731
    return mean(brightness), mean(values)


def _slope(x, y):
    """Returns the median of the slopes between all pairs of points of one row, each weighted by how far they are apart (Sen, 1968)."""
    first, second = np.triu_indices(x.shape[1], 1)
    apart, higher = ((values[:, second] - values[:, first]).ravel() for values in (x, y))
    known = jnp.isfinite(apart) & jnp.isfinite(higher) & (jnp.abs(apart) > _APART)
    slopes = jnp.where(known, higher / jnp.where(known, apart, 1), 0)
    weights = jnp.where(known, jnp.abs(apart), 0)
    order = jnp.argsort(slopes)
    summed = jnp.cumsum(weights[order])
    return slopes[order][jnp.argmax(summed >= summed[-1] / 2)]


def noise_variance(sigma: float | None, problem: Problem) -> Array:
    """Returns the variance of the noise: given, or from the finest differences."""
    if sigma is not None:
        return jnp.array(sigma**2, problem.dtype)
    parts = [finest(y).ravel() for y in jax.tree.leaves(problem.measurement)]
    return ((jnp.median(jnp.concatenate(parts)) / _NORMAL) ** 2).astype(problem.dtype)


def noise_deviation(picture: np.ndarray) -> float:
    """Returns the standard deviation of the noise of a picture `(H, W, C)` from the finest differences; JAX computes nothing.

    Pixels that are NaN do not count; 0 where no others lie together.
    """
    differences = finest(picture)
    known = differences[np.isfinite(differences)]
    return float(np.median(known) / _NORMAL) if known.size else 0.0


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


def white_variance(picture: np.ndarray) -> float:
    """Returns the variance of `white_noise` of a picture `(H, W, C)`; infinite where it is not known, as of one that is too small."""
    return float(of_picture(picture)[1][0]) if min(picture.shape[:2]) >= PATCH else math.inf


def beyond_grain(variance: float) -> float:
    """Returns what counts of the variance of the noise of a picture in [0, 1]: none of grain as photographs have it, all of much more."""
    return variance * float(np.clip(variance / _GRAIN**2 - 1, 0, 1))


def around(picture: np.ndarray) -> np.ndarray:
    """Returns the 5 x 5 pixels around every one of a picture `(H, W, C)`, mirrored at its edges: a view, `(H, W, C, 5, 5)`."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(picture, ((2, 2), (2, 2), (0, 0)), "symmetric"), (5, 5), axis=(0, 1))


def impulses(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns which pixels of a picture `(H, W, C)` were replaced by black or white ones, as by salt and pepper, and the median around all.

    Impulses have the least or the largest value that there is, and lie far from that median. In a pixel that has such values alone, one
    that is far makes impulses of all. Both are `(H, W, C)`.
    """
    median = ndimage.median_filter(picture, (5, 5, 1), mode="mirror")
    residual, at_end = picture - median, (picture == picture.min()) | (picture == picture.max())
    far = at_end & (np.abs(residual) > max(_FAR_OFF * np.median(np.abs(residual)) / _NORMAL, _FARTHER))
    return far | (far.any(axis=-1, keepdims=True) & at_end.all(axis=-1, keepdims=True)), median


def has_impulses(picture: np.ndarray) -> bool:
    """Says whether pixels of a picture `(H, W, C)` in [0, 1] are `impulses`, and not only a few, nor of one kind."""
    return may_have_impulses(picture) and are_impulses(picture, impulses(picture)[0])


def may_have_impulses(picture: np.ndarray) -> bool:
    """Says whether so many pixels are the least and the largest that they could be `impulses`, which takes no medians."""
    return are_impulses(picture, np.True_)


def are_impulses(picture: np.ndarray, hit: np.ndarray) -> bool:
    """Says whether what `impulses` found in a picture `(H, W, C)` in [0, 1], `hit`, are not only a few, nor of one kind.

    Edges lie as far, but seldom at both ends; noise of photons and of other kinds ends there, but is not far off among its like.
    """
    black, white = (float(np.mean(hit & (picture == end))) for end in (picture.min(), picture.max()))
    return black + white > _MANY and min(black, white) > _FEW
