"""What a run carries from step to step, what it tells of a step, and what a person gets: `State`, `Metrics`, `Result`.

Examples:
  >>> data = dipjax.problem.denoising(np.full((8, 8, 1), 0.5, np.float32))
  >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
  >>> result = dipjax.restore(recipe, dipjax.seeds(0, 2), data, num_steps=3)
  >>> result.images.shape, result.state.z.shape, result.metrics.loss.shape, result.metrics.psnr is None
  ((2, 8, 8, 1), (2, 8, 8, 32), (2, 3), True)
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Kept(NamedTuple):
    """What backtracking returns to: the last step that was not undone.

    Attributes:
      fit: `()`, PSNR in dB of the prediction against the measurement.
      tolerance: `()`, dB; doubles with every step that is undone, so that no run tries the same for ever.
      params: of that step.
      opt_state: of that step.
    """

    fit: Array
    tolerance: Array
    params: Any
    opt_state: Any


class Watch(NamedTuple):
    """What a stopping rule knows of a run.

    Attributes:
      memory: the rule's own.
      best: `rule.Best`: the score, the step and the estimate that the run gives.
      stopped: `()`, bool; True for good, and nothing of the state changes any more.
      last: of the last step that was taken.
    """

    memory: Any
    best: Any
    stopped: Array
    last: "Metrics"


class State(NamedTuple):
    """What the next step of one run needs.

    Attributes:
      step: `()`, int32, the steps taken.
      key: `()`, of the noise that is drawn in steps.
      z: `(h, w, D)`, `(H, W, D)` for most generators.
      params: of the generator.
      opt_state: of the optimizer.
      average: `(H, W, C)`, the estimate: an average of the outputs.
      unknowns: the same average of what the generator makes beside the image, `()` for most.
      alive: `()`, bool; False for good after the first step that is not finite.
      kept: None without backtracking.
      watch: None without a stopping rule.
    """

    step: Array
    key: Array
    z: Array
    params: Any
    opt_state: Any
    average: Array
    unknowns: tuple
    alive: Array
    kept: Kept | None
    watch: Watch | None = None


class Metrics(NamedTuple):
    """What a human reads of one step. What is unknown is None; a step that is not finite counts as infinitely bad, never as NaN.

    Attributes:
      loss: `()`, without the penalty.
      psnr: `()`, dB, of this step's output; None without a truth.
      psnr_average: `()`, dB, of the estimate; None without a truth.
      watched: `()`, one for each function in `Recipe.watch`.
      score: `()`, the stopping rule's, the lower the better; None without one.
    """

    loss: Array
    psnr: Array | None
    psnr_average: Array | None
    watched: tuple = ()
    score: Array | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """All runs after some steps, in NumPy. `...` is the shape of the keys: `()`, `(K,)` seeds, or `(N,)` or `(N, K)` with N problems.

    Attributes:
      images: `(..., H, W, C)`, every run's estimate.
      alive: `(...)`, False where a run came to a number that is not finite; its estimate is the last good one.
      metrics: arrays `(..., T)`, one column for every step of this call.
      num_steps: T, taken by every run that did not stop before; the curves of those that did go on level.
      seconds: spent in steps, compilation not counted.
      compile_seconds: spent in compilation.
      over_seeds: whether the last axis of `...` runs over seeds of one problem.
      make_state: fetches what only a continuation needs.
      stopped: `(...)`, where the stopping rule ended a run; None without a rule, as the next two.
      steps: `(...)`, the steps that each run has taken, those before this call included.
      best_steps: `(...)`, after how many steps each run had the estimate it gives; 0 where it is the latest.
      left_out: `(...)`, seeds that disagree with all others, see `rule.disagreeing`; None: not looked for.
      make_uncertainty: of parts that were put together, see `tiling`.
      left_out_of: the same as `left_out` of such parts: the number of the part, and that of the seed.
    """

    images: np.ndarray
    alive: np.ndarray
    metrics: Metrics
    num_steps: int
    seconds: float
    compile_seconds: float
    over_seeds: bool
    make_state: Callable[[], State]
    stopped: np.ndarray | None = None
    steps: np.ndarray | None = None
    best_steps: np.ndarray | None = None
    left_out: np.ndarray | None = None
    make_uncertainty: Callable[[], Any] | None = None
    left_out_of: tuple[tuple[int, int], ...] = ()

    @cached_property
    def state(self) -> State:
        """What continues these runs, see `iterate`; leaves `(..., ...)`."""
        return self.make_state()

    @property
    def counted(self) -> np.ndarray:
        """Which runs count: those that live and are not left out, `(...)`."""
        return self.alive if self.left_out is None else self.alive & ~self.left_out

    @property
    def image(self) -> np.ndarray:
        """The estimate: the mean over the seeds that count, `(H, W, C)` or `(N, H, W, C)`; NaN where no seed lives."""
        axis = self.counted.ndim - 1 if self.over_seeds else ()
        return _of_these(np.mean, self.images, self.counted, axis)

    @property
    def std(self) -> np.ndarray:
        """The standard deviation over the seeds that count (unbiased), per pixel and channel; NaN, undefined, for fewer than two."""
        return deviation(self.images, self.counted) if self.over_seeds else np.full_like(self.images.real, np.nan)

    @property
    def unknowns(self) -> tuple:
        """What every run's generator makes beside its estimate, such as a psf: arrays `(..., ...)`, none for most generators."""
        state = self.state
        if state.watch is None:
            return jax.tree.map(np.asarray, state.unknowns)
        best = state.watch.best
        return tuple(given(best.score, *pair) for pair in zip(best.estimate[1:], state.unknowns, strict=True))

    def _repr_html_(self) -> str:
        from dipjax.files import card

        return card.of_result(self)


def given(scores: np.ndarray, best: np.ndarray, averages: np.ndarray) -> np.ndarray:
    """Returns what runs with a stopping rule give `(..., ...)`: the best, and the average of runs that have no score yet."""
    return np.where(_beside(np.isfinite(scores), best), best, averages)


def _beside(of_runs, values):
    """Returns what there is of every run `(...)` in a shape that goes with values `(..., ...)`."""
    return of_runs.reshape(*of_runs.shape, *(1,) * (values.ndim - of_runs.ndim))


def deviation(images: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Returns the unbiased standard deviation of `images (..., K, H, W, C)` over the living of `K` seeds; NaN for fewer than two."""
    return _of_these(partial(np.std, ddof=1), images, alive, alive.ndim - 1)


def _of_these(function, values, these, axis):
    """Returns what NumPy computes over an axis of the values that are marked, the first axes of them; NaN of none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy warns of the NaN
        return function(values, axis, where=_beside(these, values))


def psnr(image: Array, truth: Array) -> Array:
    """Returns the peak signal-to-noise ratio in dB, `10 log10(1 / mean |image - truth|^2)`, unclipped, for a range of 1; jittable.

    NumPy arrays are computed with NumPy: they need not wait for what the device is computing.

    Args:
      image: `(..., C)`, real or complex.
      truth: the same shape.

    Returns:
      `()`, infinite for equal images.
    """
    if isinstance(image, np.ndarray) and isinstance(truth, np.ndarray):
        with np.errstate(divide="ignore"):
            return -10 * np.log10(np.mean(np.abs(image - truth) ** 2, dtype=np.float64))
    return -10 * jnp.log10(jnp.mean(jnp.abs(image - truth) ** 2))
