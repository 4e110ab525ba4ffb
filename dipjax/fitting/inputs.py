"""The generator's fixed input z.

An input is a value with `__call__(key, problem) -> z (..., D)`, for an image `(..., C)` of `problem.shape`; for a generator that makes
several pixels of each one of z, it is smaller by that `stride`, rounded up. To add one, add a frozen dataclass.

An input of which libraries make a part on the host is one in two: `begin(key, problem)` is traced and returns a pytree of arrays, of which
`finish(begun)` makes z, of arrays of NumPy outside of compiled programs and with `jax.pure_callback` inside of them.

Examples:
  >>> picture, key, inputs = np.zeros((16, 12, 3), np.float32), jax.random.key(0), dipjax.inputs
  >>> data = dipjax.problem.flash(picture, flash_image=picture)
  >>> inputs.Noise(32)(key, data).shape, inputs.Normal(4, stride=8)(key, data).shape
  ((16, 12, 32), (2, 2, 4))
  >>> inputs.Meshgrid()(key, data).shape, inputs.Guide()(key, data).shape, inputs.Guided()(key, data).shape
  ((16, 12, 2), (16, 12, 3), (16, 12, 11))
  >>> inputs.BandLimited(8)(key, data).shape, inputs.Fourier(8, highest=0.25)(key, data).shape
  ((16, 12, 8), (16, 12, 8))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax.compiling import is_traced
from dipjax.core.problem import Problem
from dipjax.fitting.guides import NonLocalMeans
from dipjax.operators import checks


@dataclass(frozen=True)
class Noise:
    """Uniform noise in [0, scale) with `depth` channels: the official input (utils/common_utils.py, get_noise).

    Attributes:
      depth: channels D of z.
      scale: of its values, positive.
      stride: pixels of the image for each one of z, on each side; that of the generator.
      grain: of how many pixels the sides of a square are that share one value. The official input has 1; with 8 super-resolution by 4
        and deblurring restore better and sooner, other tasks do not (benchmarks/results/grain.md).

    Raises:
      ValueError: a number is out of its range.
    """

    depth: int = 32
    scale: float = 0.1
    stride: int = 1
    grain: int = 1

    def __post_init__(self):
        """Checks the settings."""
        _check(self)
        checks.count("stride", self.stride)
        checks.count("grain", self.grain)

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z `(h, w, depth)`, in the problem's dtype."""
        sides = _sides(problem, self.stride)
        grains = [-(-side // self.grain) for side in sides]
        values = self.scale * jax.random.uniform(key, (*grains, self.depth), problem.dtype)
        if self.grain > 1:
            for axis in range(len(sides)):
                values = jnp.repeat(values, self.grain, axis)
        return values[tuple(slice(side) for side in sides)]


@dataclass(frozen=True)
class BandLimited:
    """Noise without fine detail: as `Noise`, but of no frequency beyond `highest`, and as strong; a smooth input gives a smoother image.

    Attributes:
      depth: channels D of z.
      scale: of its values: mean and deviation are those of uniform noise in [0, scale); positive.
      highest: frequency in cycles per pixel; up to a half of one, which is all that pixels can show. One wave along a small side is
        always there.

    Raises:
      ValueError: a number is out of its range.
    """

    depth: int = 32
    scale: float = 0.1
    highest: float = 0.125

    def __post_init__(self):
        """Checks the settings."""
        _check(self)
        checks.positive("highest", self.highest, most=0.5)

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z `(H, W, depth)`, in the problem's dtype."""
        dtype = jnp.finfo(problem.dtype).dtype
        axes = tuple(range(len(problem.shape) - 1))
        shares = [jnp.fft.fftfreq(side).astype(dtype) / max(self.highest, 1 / side) for side in problem.shape[:-1]]
        is_slow = sum(part**2 for part in jnp.meshgrid(*shares, indexing="ij")) <= 1
        is_varying = is_slow.at[(0,) * len(axes)].set(False)[..., None]
        spectrum = jnp.fft.fftn(jax.random.normal(key, (*problem.shape[:-1], self.depth), dtype), axes=axes)
        waves = jnp.real(jnp.fft.ifftn(jnp.where(is_varying, spectrum, 0), axes=axes)).astype(dtype)
        deviation = jnp.sqrt(jnp.mean(waves**2, axes, keepdims=True))
        return self.scale * (0.5 + waves / jnp.maximum(deviation, jnp.finfo(dtype).tiny) / 12**0.5)


@dataclass(frozen=True)
class Fourier:
    """Fourier features: every channel is one wave over the image, of a frequency and a phase drawn at random.

    A wave knows where every pixel is, as `Meshgrid` does, but more finely: `highest` says how fine detail comes in early.

    Reference: Tancik et al., Fourier features let networks learn high frequency functions in low dimensional domains, NeurIPS 2020.

    Attributes:
      depth: channels D of z.
      scale: waves run from 0 to it; positive.
      highest: as for `BandLimited`; along each axis.

    Raises:
      ValueError: a number is out of its range.
    """

    depth: int = 32
    scale: float = 0.1
    highest: float = 0.125

    def __post_init__(self):
        """Checks the settings."""
        _check(self)
        checks.positive("highest", self.highest, most=0.5)

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z `(H, W, depth)`, in the problem's dtype."""
        dtype, sides = jnp.finfo(problem.dtype).dtype, problem.shape[:-1]
        first, second = jax.random.split(key)
        frequencies = jax.random.uniform(first, (len(sides), self.depth), dtype, -self.highest, self.highest)
        turns = jax.random.uniform(second, (self.depth,), dtype)
        for axis, side in enumerate(sides):
            places = jnp.arange(side, dtype=dtype).reshape([-1 if i == axis else 1 for i in range(len(sides))] + [1])
            turns = turns + places * frequencies[axis]
        return self.scale * (0.5 + 0.5 * jnp.cos(2 * jnp.pi * turns))


@dataclass(frozen=True)
class Normal:
    """Normal noise with mean zero: what get_noise of the official code draws for `noise_type="n"`.

    Attributes:
      depth: channels D of z.
      scale: its standard deviation, positive.
      stride: pixels of the image for each one of z, on each side; that of the generator.

    Raises:
      ValueError: a number is out of its range.
    """

    depth: int = 32
    scale: float = 0.1
    stride: int = 1

    def __post_init__(self):
        """Checks the settings."""
        _check(self)
        checks.count("stride", self.stride)

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z `(h, w, depth)`, in the problem's dtype."""
        return self.scale * jax.random.normal(key, (*_sides(problem, self.stride), self.depth), problem.dtype)


def _check(noise):
    checks.count("depth", noise.depth)
    checks.positive("scale", noise.scale)


def _sides(problem, stride):
    return [-(-side // stride) for side in problem.shape[:-1]]


@dataclass(frozen=True)
class Meshgrid:
    """The coordinates, each from 0 to 1, the last axis (x) first: a smooth input, good for filling large holes (inpainting.ipynb, vase)."""

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z `(H, W, 2)`, with one channel for each axis of space."""
        del key
        axes = [jnp.linspace(0, 1, side, dtype=problem.dtype) for side in problem.shape[:-1]]
        return jnp.stack(jnp.meshgrid(*axes, indexing="ij")[::-1], -1)


@dataclass(frozen=True)
class Guide:
    """The image in `problem.guide (..., D)`: another picture of the same scene, such as one taken with a flash."""

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z `(H, W, D)`.

        Raises:
          ValueError: the problem has no guide.
        """
        del key
        if problem.guide is None:
            raise ValueError("guide: found none in the problem, expected a picture (H, W, D), as `problem.flash` sets it.")
        return jnp.asarray(problem.guide, problem.dtype)


@dataclass(frozen=True)
class Guided:
    """Noise, and beside it a quick restoration of the measurement, from which the network need only learn the rest.

    What a stopping rule holds out is hidden from it too.

    Attributes:
      guide: a value of `guides`; it runs once for every run, before its first step.
      noise: an input without a stride.

    A generator that looks at z when it draws its parameters sees zeros, because the guide comes after them.
    """

    guide: Callable = NonLocalMeans()
    noise: Any = Noise(8)

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z `(H, W, D)`, the channels of the noise first.

        Raises:
          ValueError: the guide has another height or width than the noise, which has that of the image.
        """
        return self.finish(self.begin(key, problem))

    def begin(self, key: Array, problem: Problem) -> tuple:
        """Returns the noise, and the guide or what it begins with."""
        begin = getattr(self.guide, "begin", self.guide)
        return self.noise(key, problem), begin(jax.random.fold_in(key, 1), problem)  # noise and guide have nothing in common

    def finish(self, begun: tuple) -> Array | np.ndarray:
        """Returns z."""
        noise, made = begun
        made = self.guide.finish(made) if hasattr(self.guide, "finish") else made
        if made.shape[:-1] != noise.shape[:-1]:
            raise ValueError(
                f"guide: found shape {made.shape}, expected {(*noise.shape[:-1], 'D')} as the noise, which must have no stride."
            )
        numpy = jnp if is_traced(noise, made) else np
        return numpy.concatenate([noise, made.astype(noise.dtype)], -1)


REGISTRY = {
    "guided": Guided, "noise": Noise, "normal": Normal, "band-limited": BandLimited, "fourier": Fourier, "meshgrid": Meshgrid,
    "guide": Guide,
}  # fmt: skip
"""Every input, for the tables of tests and records."""
