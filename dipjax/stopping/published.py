"""Rules that others have published: by the outputs alone, or by the strength of the noise."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dipjax.core.problem import Problem
from dipjax.core.rule import Look, Verdict, better, nothing
from dipjax.stopping.checks import check, check_sigma
from dipjax.stopping.noise import noise_variance


@dataclass(frozen=True)
class WindowedVariance:
    """ES-WMV: stops where the outputs of a window of steps vary least (Wang et al., Early stopping for deep image prior, 2021).

    The estimate is the output of that moment. Memory grows with `window` pictures for every run.

    Attributes:
      window: steps, from 2.
      patience: stops after so many steps, from 1, without a smaller variance.

    Raises:
      ValueError: a number is out of its range.
    """

    window: int = 100
    patience: int = 1000

    def __post_init__(self):
        """Checks the settings."""
        check("window", self.window, self.window >= 2, "a whole number of steps from 2")
        check("patience", self.patience, self.patience >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Returns an empty window."""
        del key
        image = estimate[0]
        ring = jnp.zeros((self.window, *image.shape), image.dtype)
        return ring, image, jnp.zeros((), problem.dtype), nothing(problem, estimate)

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Takes the newest output into the window and drops the oldest: mean and sum of squares follow exactly, in O(N)."""
        ring, mean, squares, best = memory
        new, place = look.output[0], look.step % self.window
        old = ring[place]
        ring = ring.at[place].set(new)
        # At the end of a window both are computed afresh, so that rounding does not pile up.
        moved = mean + (new - old) / self.window
        change = jnp.sum(jnp.real((new - old) * jnp.conj((new - moved) + (old - mean))))
        whole = ring.mean(0)
        fresh = place == self.window - 1
        mean = jnp.where(fresh, whole, moved)
        squares = jnp.where(fresh, jnp.sum(jnp.abs(ring - whole) ** 2), squares + change).astype(squares.dtype)
        full = look.step >= self.window - 1
        score = jnp.where(full, squares / (self.window * new.size), jnp.inf).astype(best.score.dtype)
        best = better(best, score, look, look.output)
        return Verdict((ring, mean, squares, best), best, score, full & (look.step - best.step >= self.patience))


@dataclass(frozen=True)
class AveragedVariance:
    """ES-EMV: like ES-WMV with exponential averages instead of a window, which need the memory of one picture (Wang et al., 2021).

    The estimate is the exponential average of the outputs.

    Attributes:
      weight: of the newest output, between 0 and 1.
      patience: stops after so many steps, from 1, without a smaller variance.
      start: steps before which nothing is compared, from 0.

    Raises:
      ValueError: a number is out of its range.
    """

    weight: float = 0.1
    patience: int = 1000
    start: int = 100

    def __post_init__(self):
        """Checks the settings."""
        check("weight", self.weight, 0 < self.weight < 1, "a number between 0 and 1")
        check("patience", self.patience, self.patience >= 1, "a whole number of steps from 1")
        check("start", self.start, self.start >= 0, "a whole number of steps from 0")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Returns empty averages."""
        del key
        return estimate, jnp.zeros((), problem.dtype), nothing(problem, estimate)

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Takes the newest output into the averages."""
        mean, variance, best = memory
        first = look.step == 0
        weight = jnp.where(first, 1, self.weight).astype(variance.dtype)
        distance = jnp.mean(jnp.abs(look.output[0] - mean[0]) ** 2)
        variance = jnp.where(first, 0, (1 - weight) * (variance + weight * distance)).astype(variance.dtype)
        mean = jax.tree.map(lambda old, new: (old + weight * (new - old)).astype(old.dtype), mean, look.output)
        counts = look.step > self.start
        score = jnp.where(counts, variance, jnp.inf).astype(best.score.dtype)
        best = better(best, score, look, mean)
        return Verdict((mean, variance, best), best, score, counts & (look.step - best.step >= self.patience))


@dataclass(frozen=True)
class Discrepancy:
    """The discrepancy principle: stops when the average fits the measurement as closely as its noise allows (Morozov, 1966).

    Stops at `mean |A x - y|^2 <= tau^2 sigma^2`.

    Attributes:
      sigma: standard deviation of the noise, in the units of the measurement, positive; None: estimated.
      tau: positive; more stops sooner.

    Raises:
      ValueError: a number is out of its range.
    """

    sigma: float | None = None
    tau: float = 1.0

    def __post_init__(self):
        """Checks the settings."""
        check_sigma(self.sigma)
        check("tau", self.tau, self.tau > 0, "a positive number")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Estimates the noise where it is not given."""
        del key
        return noise_variance(self.sigma, problem), nothing(problem, estimate)

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Compares the residual with the noise."""
        variance, best = memory
        score = jnp.abs(_mean_square(look) - self.tau**2 * variance).astype(best.score.dtype)
        best = better(best, score, look)
        return Verdict((variance, best), best, score, _mean_square(look) <= self.tau**2 * variance)


@dataclass(frozen=True)
class Sure:
    """Stein's unbiased estimate of the error, for Gaussian noise and a squared loss: takes the moment at which it is least.

    `|A x - y|^2 / N - sigma^2 + 2 sigma^2 d`, where d is the share of the noise that was fitted. It is measured: the run fits the
    measurement with a little noise more, whose component in the prediction is d (Stein, 1981; pseudo-noise as in the orthogonal stopping
    criterion of 2019). No derivative is needed.

    Attributes:
      sigma: standard deviation of the noise, in the units of the measurement, positive; None: estimated.
      pseudo: standard deviation of what is added, in units of sigma, positive.
      patience: as in `HeldOut`, not negative.
      least: as in `HeldOut`, from 1.

    Raises:
      ValueError: a number is out of its range.
    """

    sigma: float | None = None
    pseudo: float = 0.3
    patience: float = 0.5
    least: int = 100

    def __post_init__(self):
        """Checks the settings."""
        check_sigma(self.sigma)
        check("pseudo", self.pseudo, self.pseudo > 0, "a positive number")
        check("patience", self.patience, self.patience >= 0, "a number that is not negative")
        check("least", self.least, self.least >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Draws the noise that is added."""
        variance = noise_variance(self.sigma, problem)
        leaves, structure = jax.tree.flatten(problem.measurement)
        size = self.pseudo * jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).eps))
        keys = jax.random.split(key, len(leaves))
        added = [size * jax.random.rademacher(k, y.shape, problem.dtype) for k, y in zip(keys, leaves, strict=True)]
        return variance, jax.tree.unflatten(structure, added), nothing(problem, estimate)

    def hide(self, memory: tuple, prediction: Any, measurement: Any) -> Any:
        """Returns the prediction less what is added to the measurement: the residual that counts."""
        del measurement
        return jax.tree.map(lambda p, noise: p - noise.astype(p.dtype), prediction, memory[1])

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Computes the estimate of the error."""
        variance, added, best = memory
        residual = jax.tree.map(jnp.subtract, look.prediction, look.problem.measurement)
        inner = lambda a, b: sum(map(lambda x, y: jnp.sum(jnp.real(x) * y), *map(jax.tree.leaves, (a, b))))  # noqa: E731
        fitted = inner(residual, added) / inner(added, added)  # the chance correlation with the measurement is gone with it
        score = (_mean_square(look) - variance + 2 * variance * fitted).astype(best.score.dtype)
        best = better(best, score, look)
        stop = look.step - best.step > self.patience * best.step + self.least
        return Verdict((variance, added, best), best, score, stop)


def _mean_square(look):
    parts = jax.tree.leaves(jax.tree.map(lambda p, y: jnp.abs(p - y) ** 2, look.prediction, look.problem.measurement))
    return sum(part.sum() for part in parts) / sum(part.size for part in parts)
