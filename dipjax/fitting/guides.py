"""Quick classical restorations that a network sees beside noise, so that it need not find by training what is easy to know.

A guide is a value with `__call__(key, problem) -> (H, W, D)`, jittable. One that libraries make on the host comes in two parts, `begin` and
`finish`, as an input does, see `inputs`. It is made once, before the first step. To add one, add a frozen dataclass.

Examples:
  >>> data = dipjax.problem.denoising(np.random.default_rng(0).random((16, 16, 1), np.float32))
  >>> dipjax.guides.NonLocalMeans(strength=0.8)(jax.random.key(0), data).shape
  (16, 16, 1)
  >>> views = dipjax.instruments.tomography(np.ones((16, 8), np.float32), dipjax.radon.views(8))
  >>> dipjax.guides.LeastSquares()(jax.random.key(0), views).shape
  (16, 16, 1)
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import ndimage

from dipjax.compiling import is_traced
from dipjax.core.problem import Problem
from dipjax.files.masks import nearest
from dipjax.operators import checks, instruments
from dipjax.stopping.noise import CORRELATED, around, noise_deviation, of_picture

_SMALLEST = 16  # pixels on a side
_LEAST_NOISE = 0.3  # of that of all channels
_GROWS = 0.3  # exponent of the brightness in the variance of the noise, from which it counts: 0 for one strength, 1 for photons
_STEEPEST = 1.5
_MOST_WINDOWS = 1_000_000  # of 25 numbers each


@dataclass(frozen=True)
class NonLocalMeans:
    """Non-local means of a noisy picture; impulses are first replaced by what goes on smoothly from around them, biharmonic.

    What a mask says is not known becomes like the nearest pixel that is.

    Where the noise grows with the brightness, as that of photons does, it works on a power of the picture whose noise does not (Anscombe,
    The transformation of Poisson, binomial and negative-binomial data, 1948, with the exponent that `stopping.noise` finds).

    Every run adds a little noise of its own before: guides that err alike would make seeds that err alike, whose mean is hardly better
    than one of them (benchmarks/results/guide.md).

    It takes noise that is correlated between neighbours for structure: there the guide is zero everywhere, and so it is for what is no
    picture of at least 16 x 16 pixels.

    Reference: Buades, Coll, Morel, A non-local algorithm for image denoising, CVPR 2005; in scikit-image.

    Attributes:
      strength: how different the patches may be that are averaged, in standard deviations of the noise.
      added: noise of each run's own, in the same units.
      correlation: of the noise between neighbours, above which there is no guide.
      impulse: a pixel that is 0 or 1 is an impulse where it is so much farther from the median around it.
      few: share of the pixels: fewer impulses are left alone.
    """

    strength: float = 0.6
    added: float = 0.5
    correlation: float = CORRELATED
    impulse: float = 0.2
    few: float = 0.01

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns the guide of one run, `(H, W, C)` as the measurement; where there is none, zeros of the image's shape."""
        return self.finish(self.begin(key, problem))

    def begin(self, key: Array, problem: Problem) -> Array | tuple:
        """Returns what `finish` needs, or zeros."""
        picture = problem.measurement
        if not isinstance(picture, (jax.Array, np.ndarray)) or picture.ndim != 3 or min(picture.shape[:2]) < _SMALLEST:
            return jnp.zeros(problem.shape, problem.dtype)
        picture = jnp.real(jnp.asarray(picture))
        noise = jax.random.normal(key, picture.shape, picture.dtype)
        operator = getattr(problem.operator, "operator", problem.operator)  # what is in a frame
        known = jnp.broadcast_to(jnp.asarray(getattr(operator, "known", True)) > 0, picture.shape)
        return picture, noise, known

    def finish(self, begun: Array | tuple) -> Array | np.ndarray:
        """Returns the guide."""
        if not isinstance(begun, tuple):
            return begun
        traced = is_traced(begun)
        picture, *_ = begun = begun if traced else tuple(map(np.asarray, begun))
        # Threads, in which this may be called, have settings of their own of how precisely JAX computes.
        (correlation, _), (_, exponent) = of_picture(picture.astype(np.float32))
        shape = jax.ShapeDtypeStruct(picture.shape, picture.dtype)
        made = partial(jax.pure_callback, self._on_host, shape, vmap_method="sequential") if traced else self._on_host
        return made(*begun, correlation, exponent)

    def _on_host(self, picture, noise, known, correlation, exponent):
        from skimage.restoration import denoise_nl_means, inpaint_biharmonic

        picture, noise, known = np.asarray(picture), np.asarray(noise), np.asarray(known).all(axis=-1)
        correlation, exponent = float(correlation), float(exponent)
        if correlation > self.correlation:
            return np.zeros_like(picture)
        if known.any() and not known.all():
            picture = nearest(picture, known)
        clean, at_end = picture, (picture <= 0) | (picture >= 1)
        if at_end.any(axis=-1).mean() > self.few:  # else there are no more impulses
            far = at_end.copy()
            far[at_end] = np.abs(picture[at_end] - _medians(picture, at_end)) > self.impulse
            impulses = far.any(axis=-1)
            clean = inpaint_biharmonic(picture, impulses, channel_axis=-1) if impulses.mean() > self.few else picture
        # Noise of photons grows with brightness; of this power of it the noise is alike everywhere.
        power = 1 - min(exponent, _STEEPEST) / 2 if exponent > _GROWS else 1.0
        floor = clean.min() if power < 1 else 0
        stable = (clean - floor) ** power
        # Each channel in units of its own noise.
        least = max(_LEAST_NOISE * noise_deviation(stable), 1e-4)  # where most of a channel is black or clipped it shows none
        unit = np.array([max(noise_deviation(channel), least) for channel in np.moveaxis(stable, -1, 0)[..., None]], picture.dtype)
        own, sigma = stable / unit + self.added * noise, math.hypot(1, self.added)
        how = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
        made = unit * denoise_nl_means(own, h=self.strength * sigma, sigma=sigma, **how).reshape(picture.shape)
        if power < 1:  # what the power makes of a mean is not the mean of it, by half of its curvature times the variance
            made, back = np.maximum(made, 0), 1 / power
            made = floor + made**back + back * (back - 1) / 2 * np.maximum(made, unit) ** (back - 2) * unit**2
        return made.astype(picture.dtype)  # what is gray comes back without channels


def _medians(picture, where):
    """Returns the medians of the 5 x 5 pixels around some entries of a finite picture; a filter of all takes many times as long for few."""
    if not 0 < where.sum() <= min(_MOST_WINDOWS, where.size / 4):
        return ndimage.median_filter(picture, (5, 5, 1))[where]
    return np.median(around(picture)[where], axis=(-2, -1))


@dataclass(frozen=True)
class LeastSquares:
    """What some steps of conjugate gradients from zero find for a linear operator: sharper than what was measured, and noisier.

    It shows the network edges where they are, and the network leaves out its noise and its ripples: for a sinogram of few views a better
    picture in a fraction of the steps. Where much was not measured at all, such as most lines of a spectrum or most pixels, it shows
    what is not there, and is worse than none (benchmarks/results/guide.md).

    Reference: Hestenes, Stiefel, Methods of conjugate gradients for solving linear systems, 1952; that they are to end early, Hanke,
    Conjugate gradient type methods for ill-posed problems, 1995.

    Attributes:
      num_steps: of conjugate gradients, positive: more are sharper and noisier.

    Raises:
      ValueError: the number of steps is none.
    """

    num_steps: int = 10

    def __post_init__(self):
        """Checks the number."""
        checks.count("num_steps", self.num_steps)

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns the guide `(..., C)`, the same for every run that sees the same.

        Raises:
          ValueError: the operator takes more than the image, such as a psf that is not known.
        """
        del key
        checks.image_alone("guide", problem.operator, problem.shape, problem.dtype, "give another guide, or none")
        return instruments.conjugate_gradients(problem, self.num_steps)


REGISTRY = {"non-local means": NonLocalMeans, "least squares": LeastSquares}
"""Every guide, for the tables of tests and records."""
