"""The method: fit a generator f(z) to one measurement y by minimising loss(A f(z), y), and average its outputs.

Every function here is written for one image and one key, a *run*; `batching` lays many runs out. The loop is `run`, and there is no
other. It knows neither generators nor operators nor losses: those come in a `Recipe` (the method) and a `Problem` (the data).
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from dipjax import metrics
from dipjax.core import hashing, layouts
from dipjax.core.problem import Problem
from dipjax.fitting import losses

_PERFECT_FIT = 100.0  # dB; an exact fit is no reason to undo all that follows
_CALMING = 0.9  # what a good step leaves of a raised tolerance for bad ones
_FIRST_STEPS = 10  # the average starts over about a tenth of the steps taken; from step 990 on it is the official one


@dataclass(frozen=True)
class Recipe:
    """The method. Hashable: it decides the compiled program, and equal recipes share one."""

    generator: Any  # a linen module, or anything hashable with init(key, z) -> params and apply(params, z (h, w, D)) -> (H, W, C) or larger
    input: Callable[[Array, Problem], Array]  # (key, problem) -> z (h, w, D), see `inputs`
    num_steps: int
    optimizer: optax.GradientTransformation
    loss: losses.Loss = losses.mse
    penalty: losses.Penalty | None = None
    input_noise: float = 0.0  # standard deviation of the normal noise added to z afresh in every step
    smoothing: float = 0.99  # weight of the past in the exponential average of the outputs; 0 keeps the last output
    backtracking: float | None = None  # dB; a step whose output fits the measurement so much worse than the last is undone
    precision: str | None = None  # of matrix products and convolutions, see `jax.default_matmul_precision`


class Kept(NamedTuple):
    """What backtracking returns to: the last step that was not undone."""

    fit: Array  # (), PSNR of the prediction against the measurement
    tolerance: Array  # (), dB; doubles with every step that is undone, so that no run tries the same for ever
    params: Any
    opt_state: Any


class State(NamedTuple):
    """What the next step of one run needs."""

    step: Array  # (), int32
    key: Array  # ()
    z: Array  # (h, w, D), (H, W, D) for most generators
    params: Any
    opt_state: Any
    average: Array  # (H, W, C), the estimate
    alive: Array  # (), bool; False for good after the first step that is not finite
    kept: Kept | None  # None without backtracking


class Metrics(NamedTuple):
    """What a human reads of one step; the PSNRs are NaN without a truth."""

    loss: Array  # ()
    psnr: Array  # (), of this step's output
    psnr_average: Array  # (), of the estimate


class Result(NamedTuple):
    """The state of all runs after some steps. `...` is the shape of the keys: (), (K,) seeds, or (N,) or (N, K) with N problems."""

    state: State  # leaves (..., ...)
    metrics: Metrics  # NumPy arrays (..., num_steps)
    num_steps: int  # taken by every run
    seconds: float  # spent in steps, compilation not counted
    compile_seconds: float
    over_seeds: bool  # whether the last axis of the keys runs over seeds of one problem

    @property
    def images(self) -> Array:
        """Every run's estimate, `(..., H, W, C)`."""
        return self.state.average

    @property
    def alive(self) -> Array:
        """Which runs are finite, `(...)`."""
        return self.state.alive

    @property
    def image(self) -> Array:
        """The estimate: the mean over the living seeds, `(H, W, C)` or `(N, H, W, C)`; NaN where no seed lives."""
        return self._over_living_seeds(self.images)

    @property
    def std(self) -> Array:
        """The standard deviation over the living seeds, per pixel and channel; zero for a single seed."""
        if not self.over_seeds:
            return jnp.zeros_like(self.images)
        return jnp.sqrt(self._over_living_seeds((self.images - jnp.expand_dims(self.image, -4)) ** 2))

    def _over_living_seeds(self, values):
        if not self.over_seeds:
            return jnp.where(self.alive[..., None, None, None], values, jnp.nan)
        return jnp.mean(values, axis=-4, where=self.alive[..., None, None, None])


def seeds(key: Array | int, num_seeds: int) -> Array:
    """Returns the keys `(num_seeds,)` of an ensemble; seed k is the same however many there are."""
    key = jax.random.key(key) if isinstance(key, (int, np.integer)) else key
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_seeds))


@partial(jax.jit, static_argnames="recipe")
def init(recipe: Recipe, key: Array, problem: Problem) -> State:
    """Draws the input and the parameters of one run."""
    z_key, params_key, noise_key = jax.random.split(key, 3)
    z = recipe.input(z_key, problem)
    params = recipe.generator.init(hashing.light(params_key), z)
    opt_state = recipe.optimizer.init(params)
    kept = None if recipe.backtracking is None else Kept(jnp.float32(-jnp.inf), jnp.float32(recipe.backtracking), params, opt_state)
    average = jnp.zeros(problem.shape, jnp.float32)
    return State(jnp.int32(0), noise_key, z, params, opt_state, average, jnp.bool(True), kept)


@partial(jax.jit, static_argnames="recipe")
def train_step(recipe: Recipe, state: State, problem: Problem) -> tuple[State, Metrics]:
    """Takes one gradient step on loss(A f(z + noise), y) + penalty(f(z + noise)).

    Output, loss and metrics belong to the parameters before the update, as in the paper. A step whose loss or update is not finite
    ends the run: its parameters and its average stay as they were. With `recipe.backtracking` a step whose output falls off by more
    than so many dB (against the measurement) is undone: parameters and optimizer return to the last good step, the average never
    sees the output, and the next step tries again with other noise, each time with twice the tolerance. The official notebooks do so
    with 5 dB, but keep the optimizer and the average.
    """
    z = state.z
    if recipe.input_noise:  # drawing it takes time even where nothing of it is added
        noise = jax.random.normal(jax.random.fold_in(state.key, state.step), z.shape, z.dtype)
        z = z + recipe.input_noise * noise

    def objective(params):
        image = _generate(recipe, params, z, problem)
        prediction = problem.operator(image)
        loss = recipe.loss(prediction, problem.measurement)
        return loss + (recipe.penalty(image) if recipe.penalty else 0.0), (loss, image, prediction)

    # None must not override what the caller has set.
    with jax.default_matmul_precision(recipe.precision) if recipe.precision else contextlib.nullcontext():
        (value, (loss, image, prediction)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    # What line searches and step-size rules of optax ask for; the others ignore it.
    extra = {"value": value, "grad": grads, "value_fn": lambda params: objective(params)[0]}
    updates, opt_state = optax.with_extra_args_support(recipe.optimizer).update(grads, state.opt_state, state.params, **extra)
    params = optax.apply_updates(state.params, updates)
    # The window of the average grows to 1 / (1 - smoothing) steps, so that a short run is not dominated by its first outputs.
    weight = jnp.maximum(1 - recipe.smoothing, _FIRST_STEPS / (state.step + _FIRST_STEPS)).astype(image.dtype)
    average = optax.incremental_update(image, state.average, weight)

    new, kept = (params, opt_state, average), None
    if recipe.backtracking is not None:
        before = state.kept
        fit = jnp.minimum(metrics.psnr(prediction, problem.measurement), _PERFECT_FIT)
        good = fit >= before.fit - before.tolerance
        new = _where(good, new, (before.params, before.opt_state, state.average))
        calmed = jnp.maximum(recipe.backtracking, _CALMING * before.tolerance)
        kept = _where(good, Kept(fit, calmed, state.params, state.opt_state), before._replace(tolerance=2 * before.tolerance))

    alive = state.alive & jnp.isfinite(value) & _is_finite(updates) & jnp.isfinite(image).all()
    params, opt_state, average = _where(alive, new, (state.params, state.opt_state, state.average))
    state = State(state.step + 1, state.key, state.z, params, opt_state, average, alive, kept)
    return state, Metrics(loss, _psnr(image, problem), _psnr(average, problem))


def _is_finite(tree):
    # One long vector rather than a hundred short ones, each of which would cost a compiled kernel.
    return jnp.isfinite(ravel_pytree(tree)[0]).all()


def _where(condition, tree, other):
    return jax.tree.map(partial(jnp.where, condition), tree, other)


def _generate(recipe, params, z, problem):
    """Returns the image; a generator that makes several pixels of each one of z may make more than fit."""
    height, width, _ = problem.shape
    return recipe.generator.apply(params, z)[:height, :width]


def _psnr(image, problem):
    return jnp.float32(jnp.nan) if problem.truth is None else metrics.psnr(image, problem.truth)


@partial(jax.jit, static_argnames="recipe")
def run(recipe: Recipe, state: State, problem: Problem, num_steps: Array | int) -> tuple[State, Metrics]:
    """Takes `num_steps` steps. The number is not static: any number, up to `recipe.num_steps`, is one compiled program.

    Returns:
      The state, and metrics `(recipe.num_steps,)` of which the first `num_steps` are filled and the rest NaN.
    """
    history = Metrics(*[jnp.full(recipe.num_steps, jnp.nan, jnp.float32)] * len(Metrics._fields))

    def step(i, carry):
        state, history = carry
        state, now = train_step(recipe, state, problem)
        return state, jax.tree.map(lambda all_steps, value: all_steps.at[i].set(value), history, now)

    return lax.fori_loop(0, num_steps, step, (state, history))


def _init_all(recipe, keys, problem, layout, problem_axis):
    return _initialiser(quick=jax.default_backend() == "cpu")(recipe, keys, problem, layout, problem_axis)


@cache
def _initialiser(*, quick):
    def initialise(recipe, keys, problem, layout, problem_axis):
        return layout(partial(init, recipe), in_axes=(0, problem_axis))(keys, problem)

    # Every seed runs it once: on a CPU, code that is not optimised is ready in half of the time.
    options = {"xla_backend_optimization_level": 0} if quick else None
    return jax.jit(initialise, static_argnames=("recipe", "layout", "problem_axis"), compiler_options=options)


@partial(jax.jit, static_argnames=("recipe", "layout", "problem_axis"))
def _run_all(recipe, states, problem, num_steps, layout, problem_axis):
    return layout(partial(run, recipe), in_axes=(0, problem_axis, None))(states, problem, num_steps)


def iterate(
    recipe: Recipe,
    keys: Array,
    problem: Problem,
    *,
    problem_axis: int | None = None,
    batching: Callable | None = None,
    chunk_seconds: float = 0.5,
) -> Iterator[Result]:
    """Yields the result after the compilation, and then after every chunk of steps until `recipe.num_steps`.

    Progress, plots, checkpoints, time limits and Ctrl-C live in the loop around it. Arguments are those of `restore`; a chunk holds
    as many steps as take about `chunk_seconds`, at least one.
    """
    check(recipe, problem, problem_axis=problem_axis)
    _check_keys(keys, problem, problem_axis)
    layout = batching or layouts.default(keys.size * problem.shape[0] * problem.shape[1])
    shape = keys.shape
    over_seeds = len(shape) > (problem_axis is not None)
    if problem_axis is not None and over_seeds:  # N problems with K seeds each are N K runs
        problem = jax.tree.map(lambda leaf: jnp.repeat(leaf, shape[-1], axis=0), problem)
    # Where runs are spread over devices, the last one is repeated until all devices have equally many; what is returned leaves it out.
    num_runs, num_filled = keys.size, getattr(layout, "num_filled", lambda num_runs: num_runs)(keys.size)
    keys = _repeat_last(keys.reshape(-1), num_filled)
    problem = problem if problem_axis is None else jax.tree.map(partial(_repeat_last, num_runs=num_filled), problem)

    start = time.perf_counter()
    states = _init_all(recipe, keys, problem, layout, problem_axis)
    # No step at all: this compiles the program that all chunks share.
    states, _ = jax.block_until_ready(_run_all(recipe, states, problem, 0, layout, problem_axis))
    compile_seconds, seconds = time.perf_counter() - start, 0.0

    history = Metrics(*(np.full((num_runs, recipe.num_steps), np.nan, np.float32) for _ in Metrics._fields))
    taken, chunk = 0, 1

    def result():
        unflatten = partial(jax.tree.map, lambda leaf: _first(leaf, num_runs).reshape(*shape, *leaf.shape[1:]))
        so_far = jax.tree.map(np.copy, history)
        return Result(unflatten(states), unflatten(so_far), taken, seconds, compile_seconds, over_seeds)

    yield result()
    while taken < recipe.num_steps and bool(states.alive.any()):
        chunk = min(chunk, recipe.num_steps - taken)
        start = time.perf_counter()
        states, now = jax.block_until_ready(_run_all(recipe, states, problem, chunk, layout, problem_axis))
        elapsed = time.perf_counter() - start
        for all_steps, values in zip(history, now, strict=True):
            all_steps[:, taken : taken + chunk] = np.asarray(values)[:num_runs, :chunk]
        taken, seconds = taken + chunk, seconds + elapsed
        yield result()
        chunk = max(1, int(chunk * chunk_seconds / elapsed))


def _repeat_last(array, num_runs):
    missing = num_runs - array.shape[0]
    return jnp.concatenate([array, jnp.repeat(array[-1:], missing, axis=0)]) if missing else array


def _first(array, num_runs):
    return array if array.shape[0] == num_runs else array[:num_runs]  # even a whole slice of every leaf takes time in every chunk


def restore(
    recipe: Recipe,
    key: Array,
    problem: Problem,
    *,
    problem_axis: int | None = None,
    batching: Callable | None = None,
    callback: Callable[[Result], bool | None] | None = None,
) -> Result:
    """Restores one image, or many: the whole of `iterate`.

    Args:
      recipe: the method.
      key: one key `()` for one run; keys `(K,)` from `seeds` for K runs of one problem. With stacked problems, `(N,)` for one run of
        each, or `(N, K)` for K seeds of each.
      problem: the data; stacked along a first axis with `problem.stack` for `problem_axis=0`.
      problem_axis: None, every run has the same problem; 0, run i has problem i.
      batching: a layout from `batching`, or `jax.vmap`; None takes the fastest for this machine.
      callback: called with the result so far about twice a second; returning True ends the restoration.

    Returns:
      The result: its `image` is the mean over seeds, `std` their standard deviation, `images` every run's own.

    Raises:
      ValueError: the recipe does not fit the problem.
    """
    for result in iterate(recipe, key, problem, problem_axis=problem_axis, batching=batching):
        if callback and callback(result):
            break
    return result


def check(recipe: Recipe, problem: Problem, *, problem_axis: int | None = None) -> None:
    """Raises a ValueError where the recipe does not fit the problem; computes nothing."""
    if problem_axis not in {None, 0}:
        raise ValueError(f"problem_axis: found {problem_axis!r}, expected None or 0.")
    if recipe.num_steps < 1:
        raise ValueError(f"num_steps: found {recipe.num_steps}, expected at least 1.")
    if recipe.backtracking is not None and not (recipe.backtracking > 0 and recipe.input_noise):
        raise ValueError(
            f"backtracking: found {recipe.backtracking} dB with input_noise {recipe.input_noise}, expected a positive number and some"
            " noise, without which an undone step would be the same again."
        )

    if problem_axis == 0:
        problem = jax.tree.map(lambda leaf: leaf[0], problem)
    z = jax.eval_shape(recipe.input, jax.random.key(0), problem)
    if z.ndim != 3:
        raise ValueError(f"input: found z of shape {z.shape}, expected (H, W, D), or smaller by the stride of the generator.")
    z, made = _shapes.eval_shape(recipe, problem)
    # One row or column less of z must not suffice: the crop is for what exceeds a multiple of the stride.
    excess = any(side < n or (k - 1) * side >= n * k for side, n, k in zip(made.shape, problem.shape[:2], z.shape, strict=False))
    if made.ndim != 3 or made.shape[2] != problem.shape[2]:
        raise ValueError(f"generator: found an image of shape {made.shape}, expected {problem.shape}, with as many channels.")
    if excess:
        raise ValueError(
            f"input: found z of shape {z.shape}, of which the generator makes an image of shape {made.shape}, expected one for"
            f" {problem.shape}; the `stride` of the input, see `inputs.noise`, must be that of the generator."
        )
    image = jax.ShapeDtypeStruct(problem.shape, made.dtype)
    prediction = jax.eval_shape(lambda problem, image: problem.operator(image), problem, image)
    if prediction.shape != problem.measurement.shape:
        raise ValueError(
            f"operator: found a prediction of shape {prediction.shape}, expected the measurement's {problem.measurement.shape}."
        )
    loss = jax.eval_shape(recipe.loss, prediction, problem.measurement)
    if loss.shape != ():
        raise ValueError(f"loss: found shape {loss.shape}, expected a scalar ().")
    penalty = jax.eval_shape(recipe.penalty or (lambda image: jnp.zeros(())), image)
    if penalty.shape != ():
        raise ValueError(f"penalty: found shape {penalty.shape}, expected a scalar ().")


@partial(jax.jit, static_argnames="recipe")  # never run: jit remembers what it has traced, and all tiles of a picture are alike
def _shapes(recipe, problem):
    state = init(recipe, jax.random.key(0), problem)
    return state.z, recipe.generator.apply(state.params, state.z)


def _check_keys(keys, problem, problem_axis):
    """Refuses anything but typed keys of one of the shapes that `restore` documents."""
    if not (isinstance(keys, Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"key: found {type(keys).__name__}, expected typed keys from `jax.random.key` or `seeds`.")
    first = () if problem_axis is None else jax.tree.leaves(problem)[0].shape[:1]
    if keys.size == 0 or keys.shape[: len(first)] != first or keys.ndim > len(first) + 1:
        expected = "() or (K,)" if problem_axis is None else f"({first[0]},) or ({first[0]}, K) for {first[0]} problems"
        raise ValueError(f"key: found shape {keys.shape}, expected {expected}.")
