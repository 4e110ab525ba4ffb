"""When to stop: rules that watch a run from inside the compiled step, each for itself.

A rule is a frozen dataclass with two pure methods. `init(key, problem, estimate)` returns what it remembers before the first step, where
`estimate` is the image and the unknowns, `(image, *unknowns)`, in zeros. `update(memory, look)` returns a `Verdict`. What the run gives is
the estimate of the best moment so far, whether the rule stopped the run or something else did; a stopped run is frozen. A rule may also
have `hide(memory, prediction, measurement)`: the prediction that the loss sees, for example with the measurement itself where entries are
held out, which leaves no residual and no gradient there; and `seen(memory, problem)`, the problem as the input may see it. To add a rule,
add a class in `dipjax.stopping`, and a row to its registry, where `--stop` finds it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax.core.problem import Problem
from dipjax.core.recipe import Recipe
from dipjax.core.state import Metrics, State, Watch, given


class Look(NamedTuple):
    """What a rule sees of a step.

    Attributes:
      step: `()`, counted from 0.
      output: what the generator made in this step, the image `(H, W, C)` and the unknowns.
      estimate: the same of the running average.
      prediction: the measurement that the estimate predicts.
      problem: the data of the run.
      loss: the recipe's: `(prediction, measurement) -> ()`.
    """

    step: Array
    output: tuple
    estimate: tuple
    prediction: Any
    problem: Problem
    loss: Any


class Best(NamedTuple):
    """The best moment so far.

    Attributes:
      score: `()`, the lower the better; infinite before there is one.
      step: `()`, its step.
      estimate: the image `(H, W, C)` and the unknowns.
    """

    score: Array
    step: Array
    estimate: tuple


class Verdict(NamedTuple):
    """What a rule says after a step.

    Attributes:
      memory: what it remembers for the next one, of the same structure, shapes and types.
      best: the best moment so far.
      score: `()`, of this step, the lower the better.
      stop: `()`, bool.
    """

    memory: Any
    best: Best
    score: Array
    stop: Array


def nothing(problem: Problem, estimate: tuple) -> Best:
    """Returns the best moment before there is one."""
    return Best(jnp.array(jnp.inf, problem.dtype), jnp.int32(0), estimate)


def better(best: Best, score: Array, look: Look, estimate: tuple | None = None) -> Best:
    """Returns the better of the best moment and this one."""
    new = Best(score.astype(best.score.dtype), look.step, look.estimate if estimate is None else estimate)
    return where(score < best.score, new, best)


def where(condition: Array, tree: Any, other: Any) -> Any:
    """Returns one of two equal trees."""
    return jax.tree.map(partial(jnp.where, condition), tree, other)


def begin(recipe: Recipe, key: Array, problem: Problem, estimate: tuple) -> Watch | None:
    """Returns what the recipe's rule knows of a run before the first step; None without a rule."""
    if recipe.stopping is None:
        return None
    zero = jnp.zeros((), problem.dtype)
    scores = (None, None) if problem.truth is None else (zero, zero)
    last = Metrics(zero, *scores, (zero,) * len(recipe.watch), zero)
    memory = recipe.stopping.init(jax.random.fold_in(key, 2**32 - 1), problem, estimate)  # no step has this number
    return Watch(memory, nothing(problem, estimate), jnp.bool(False), last)


def watched(recipe: Recipe, state: State, new: State, now: Metrics, output: tuple, problem: Problem) -> tuple[State, Metrics]:
    """Asks the rule about a step, from `state` to `new`; a run that has ended before it stays as it was."""
    if recipe.stopping is None:
        return new, now
    image, unknowns = output
    estimate = (new.average, *new.unknowns)
    look = Look(state.step, (image, *unknowns), estimate, problem.operator(*estimate), problem, recipe.loss)
    memory, best, score, stop = recipe.stopping.update(state.watch.memory, look)
    now = now._replace(score=jnp.where(jnp.isnan(score), jnp.inf, score).astype(now.loss.dtype))
    new = new._replace(watch=Watch(memory, best, stop, now))
    return where(state.watch.stopped | ~state.alive, (state, state.watch.last), (new, now))


_WORSE = 0.1  # of the median of the scores above it, and ...
_FARTHER = 2.0  # ... times the median distance from the others: what a seed must exceed in both to be left out


def outcome(gather: Callable, averages: np.ndarray, alive: np.ndarray, over_seeds: bool) -> tuple:
    """Returns what runs with a stopping rule give; and where it has stopped them, their steps, those to what they give, who is left out."""
    scores = gather(lambda state: state.watch.best.score)
    images = given(scores, gather(lambda state: state.watch.best.estimate[0]), averages)
    best_steps = np.where(np.isfinite(scores), gather(lambda state: state.watch.best.step) + 1, 0)
    left_out = disagreeing(images, alive, scores) if over_seeds else None
    return images, (gather(lambda state: state.watch.stopped), gather(lambda state: state.step), best_steps, left_out)


def disagreeing(images: np.ndarray, alive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns which of `K` seeds predict what they have not seen worse than the others, and also lie far from them, `(..., K)`.

    Of fewer than three living seeds none can be said to be the odd one, and of more at most every third is.

    Args:
      images: `(..., K, H, W, C)`.
      alive: `(..., K)`.
      scores: `(..., K)`, the lower the better.
    """
    odd = np.zeros(alive.shape, bool)
    for at in np.ndindex(alive.shape[:-1]):
        living = np.flatnonzero(alive[at] & np.isfinite(scores[at]))
        middle = np.median(scores[at][living]) if len(living) > 2 else np.inf
        worse = living[scores[at][living] > middle + _WORSE * abs(middle)]
        if not len(worse):
            continue
        # From the median of the others, which an odd one among them does not move.
        distance = np.array([np.mean(np.abs(images[at][k] - np.median(images[at][living[living != k]], axis=0)) ** 2) for k in living])
        far = living[distance > _FARTHER**2 * np.median(distance)]
        both = sorted(set(worse) & set(far), key=lambda k: -scores[at][k])
        odd[at][both[: len(living) // 3]] = True
    return odd
