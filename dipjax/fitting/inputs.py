"""The generator's fixed input z.

An input is a value with `__call__(key, problem) -> z (..., D)`, for an image `(..., C)` of `problem.shape`; for a generator that makes
several pixels of each one of z, it is smaller by that `stride`, rounded up. To add one, add a frozen dataclass.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

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


REGISTRY = {"noise": Noise, "normal": Normal, "meshgrid": Meshgrid, "guide": Guide}
"""Every input, for the tables of tests and records."""
