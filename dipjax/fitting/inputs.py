"""The generator's fixed input z.

An input is a value with `__call__(key, problem) -> z (..., D)`, for an image `(..., C)` of `problem.shape`; for a generator that makes
several pixels of each one of z, it is smaller by that `stride`, rounded up. To add one, add a frozen dataclass.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from dipjax.core.problem import Problem


@dataclass(frozen=True)
class Noise:
    """Uniform noise in [0, scale) with `depth` channels: the official input (utils/common_utils.py, get_noise).

    `grain`: of how many pixels the sides of a square are that share one value. The official input has 1; with 8 super-resolution by 4 and
    deblurring restore better and sooner, other tasks do not (benchmarks/results/grain.md).
    """

    depth: int = 32
    scale: float = 0.1
    stride: int = 1
    grain: int = 1

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z."""
        sides = _sides(problem, self.stride)
        grains = [-(-side // self.grain) for side in sides]
        values = self.scale * jax.random.uniform(key, (*grains, self.depth), problem.dtype)
        if self.grain > 1:
            for axis in range(len(sides)):
                values = jnp.repeat(values, self.grain, axis)
        return values[tuple(slice(side) for side in sides)]


@dataclass(frozen=True)
class Normal:
    """Normal noise with standard deviation `scale` and `depth` channels."""

    depth: int = 32
    scale: float = 0.1
    stride: int = 1

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z."""
        return self.scale * jax.random.normal(key, (*_sides(problem, self.stride), self.depth), problem.dtype)


def _sides(problem, stride):
    return [-(-side // stride) for side in problem.shape[:-1]]


@dataclass(frozen=True)
class Meshgrid:
    """The coordinates, each from 0 to 1, the last axis (x) first: a smooth input, good for filling large holes."""

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z, with one channel for each axis of space."""
        del key
        axes = [jnp.linspace(0, 1, side, dtype=problem.dtype) for side in problem.shape[:-1]]
        return jnp.stack(jnp.meshgrid(*axes, indexing="ij")[::-1], -1)


@dataclass(frozen=True)
class Guide:
    """The image in `problem.guide (..., D)`: another picture of the same scene, such as one taken with a flash."""

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z."""
        del key
        if problem.guide is None:
            raise ValueError("guide: found none in the problem, expected a picture (H, W, D), as `problem.flash` sets it.")
        return jnp.asarray(problem.guide, problem.dtype)


@dataclass(frozen=True)
class Guided:
    """Noise, and beside it the image in `problem.guide (H, W, D)`: a quick restoration, from which the network need only learn the rest.

    Without a guide in the problem its channels are zero. With held-out entries, each run sees the guide only where it was made from what
    the run sees: where it was not, the mean of what is around it.
    """

    noise: Any = Noise(8)
    depth: int = 3  # D

    def __call__(self, key: Array, problem: Problem) -> Array:
        """Returns z."""
        shape = (*problem.shape[:-1], self.depth)
        guide = jnp.zeros(shape, problem.dtype) if problem.guide is None else jnp.asarray(problem.guide, problem.dtype)
        if guide.shape != shape:
            raise ValueError(f"guide: found shape {guide.shape}, expected {shape}.")
        return jnp.concatenate([self.noise(key, problem), guide], -1)

    def hidden(self, z: Array, unseen: Array) -> Array:
        """Returns z with the guide filled in from its surroundings where `unseen (H, W, 1)` is True."""
        guide = z[..., -self.depth :]
        for size in (3, 11):  # a single pixel, and a block
            window = ((size,) * (guide.ndim - 1) + (1,), (1,) * guide.ndim, "SAME")
            number = lax.reduce_window((~unseen).astype(guide.dtype), 0, lax.add, *window)
            mean = lax.reduce_window(jnp.where(unseen, 0, guide), 0, lax.add, *window) / jnp.maximum(number, 1)
            guide, unseen = jnp.where(unseen, mean, guide), unseen & (number == 0)
        return jnp.concatenate([z[..., : -self.depth], guide], -1)


REGISTRY = {"guided": Guided, "noise": Noise, "normal": Normal, "meshgrid": Meshgrid, "guide": Guide}
"""Every input, for the tables of tests and records."""
