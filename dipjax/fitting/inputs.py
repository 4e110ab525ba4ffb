"""The generator's fixed input z.

An input is a function `(key, problem) -> z (H, W, D)` with `(H, W, C) = problem.shape`; for a generator that makes several pixels
of each one of z, it is smaller by that `stride`, rounded up. The factories are cached: two calls with
equal arguments return the same function, so that equal recipes are equal and nothing recompiles. To add one, add a function.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jax import Array

Input = Callable[[Array, object], Array]


@cache
def noise(depth: int = 32, *, scale: float = 0.1, stride: int = 1, grain: int = 1) -> Input:
    """Returns uniform noise in [0, scale) with `depth` channels: the official input (utils/common_utils.py, get_noise).

    `grain`: of how many pixels the sides of a square are that share one value. The official input has 1; with 8 super-resolution by 4 and
    deblurring restore better and sooner, other tasks do not (benchmarks/results/grain.md).
    """

    def sample(key, problem):
        height, width = _size(problem, stride)
        values = scale * jax.random.uniform(key, (-(-height // grain), -(-width // grain), depth), jnp.float32)
        return jnp.repeat(jnp.repeat(values, grain, 0), grain, 1)[:height, :width]

    return sample


@cache
def normal(depth: int = 32, *, scale: float = 0.1, stride: int = 1) -> Input:
    """Returns normal noise with standard deviation `scale` and `depth` channels."""

    def sample(key, problem):
        return scale * jax.random.normal(key, (*_size(problem, stride), depth), jnp.float32)

    return sample


def _size(problem, stride):
    return [-(-side // stride) for side in problem.shape[:2]]


def meshgrid(key: Array, problem) -> Array:
    """Returns the two coordinates x and y, each from 0 to 1: a smooth input, good for filling large holes."""
    del key
    height, width, _ = problem.shape
    y, x = jnp.meshgrid(jnp.linspace(0, 1, height, dtype=jnp.float32), jnp.linspace(0, 1, width, dtype=jnp.float32), indexing="ij")
    return jnp.stack([x, y], -1)


def guide(key: Array, problem) -> Array:
    """Returns the image in `problem.guide (H, W, D)`: another picture of the same scene, such as one taken with a flash."""
    del key
    if problem.guide is None:
        raise ValueError("guide: found none in the problem, expected a picture (H, W, D), as `problem.flash` sets it.")
    return problem.guide
