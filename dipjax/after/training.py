"""Training on many pictures with the one loop of the core: a batch of patches is one image of more axes, new in every step.

A run of a deep image prior has one input z and one measurement for all steps. Here both change: `take` puts the next batch in the place
of the last one and takes a step of the same compiled program. So optimizers, schedules, losses and the check for numbers that are
not finite are those of the core, and nothing is trained by a second loop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array

from dipjax.core import loop
from dipjax.core.problem import Problem
from dipjax.core.recipe import Recipe
from dipjax.core.state import State
from dipjax.tasks.options import Diverged


@dataclass(frozen=True)
class Batched:
    """A generator of one picture, for a batch `(B, H, W, C)` of them with shared parameters."""

    generator: Any

    def init(self, key: Array, z: Array) -> Any:
        """Returns the parameters."""
        return self.generator.init(key, z[0])

    def apply(self, params: Any, z: Array) -> Array:
        """Maps the pictures one by one."""
        return jax.vmap(self.generator.apply, (None, 0))(params, z)


def take(recipe: Recipe, state: State, problem: Problem, num_steps: int) -> tuple[State, float]:
    """Takes one step with the batch of `problem`, whose guide is the input, in a training of `num_steps`.

    Returns:
      The state, and the loss before the step.

    Raises:
      Diverged: a number was not finite.
    """
    state, metrics = loop.run(recipe, state._replace(z=problem.guide), problem, 1, num_steps)
    if not state.alive:
        raise Diverged("the training came to a number that is not finite; try another rng, or check the pictures")
    return state, float(metrics.loss[0])


def places(random: np.random.Generator, pictures: list[np.ndarray], side: int, number: int) -> Iterator[tuple]:
    """Yields where patches lie that are drawn at random: the number of the picture, rows, columns; large pictures are drawn more often."""
    sizes = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], float)
    for index in random.choice(len(pictures), number, p=sizes / sizes.sum()):
        height, width = pictures[index].shape[:2]
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        yield int(index), slice(top, top + side), slice(left, left + side)


def turned(patches: np.ndarray, which: int) -> np.ndarray:
    """Returns square patches `(..., S, S, C)` in one of the eight positions that a square has."""
    patches = np.rot90(patches, which % 4, axes=(-3, -2))
    return patches[..., ::-1, :, :] if which >= 4 else patches
