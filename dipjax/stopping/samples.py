"""The mean of samples in the place of a moment: no rule of stopping, but of what a run gives."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dipjax.core.problem import Problem
from dipjax.core.rule import Best, Look, Verdict, nothing
from dipjax.stopping.checks import check


@dataclass(frozen=True)
class Samples:
    """Gives the mean of outputs at a distance, and keeps their variance; never stops. For `optimizers.Langevin` (Cheng et al., 2019).

    Attributes:
      start: steps before the first sample, from 0.
      every: steps from one to the next, from 1.

    Raises:
      ValueError: a number is out of its range.
    """

    start: int = 7000
    every: int = 50

    def __post_init__(self):
        """Checks the settings."""
        check("start", self.start, self.start >= 0, "a whole number of steps from 0")
        check("every", self.every, self.every >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> "Sampled":
        """Returns no samples."""
        del key
        return Sampled(jnp.int32(0), jnp.zeros(estimate[0].shape, problem.dtype), nothing(problem, estimate))

    def update(self, memory: "Sampled", look: Look) -> Verdict:
        """Takes a sample where one is due."""
        due = (look.step >= self.start) & ((look.step - self.start) % self.every == 0)
        number = memory.number + due
        mean = memory.best.estimate
        share = (due / jnp.maximum(number, 1)).astype(memory.squares.dtype)
        new = jax.tree.map(lambda old, output: (old + share * (output - old)).astype(old.dtype), mean, look.output)
        change = jnp.real((look.output[0] - mean[0]) * jnp.conj(look.output[0] - new[0]))
        squares = memory.squares + jnp.where(due, change, 0)
        score = jnp.where(number > 0, -number, jnp.inf).astype(memory.best.score.dtype)
        best = Best(score, jnp.where(due, look.step, memory.best.step), new)
        return Verdict(Sampled(number, squares.astype(memory.squares.dtype), best), best, score, jnp.bool(False))


class Sampled(NamedTuple):
    """What `Samples` remembers.

    Attributes:
      number: `()`, of samples.
      squares: `(H, W, C)`, the sum of squared distances from the mean.
      best: the mean.
    """

    number: Array
    squares: Array
    best: Best
