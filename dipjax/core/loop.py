"""The method: fit a generator f(z) to one measurement y by minimising loss(A f(z), y), and average its outputs.

Every function here but `finished` is traced, and written for one image and one key: a *run*. There is no other loop. It knows neither
generators nor operators nor losses: those come in a `Recipe` (the method) and a `Problem` (the data). What the host does around it is in
`drive`.

Examples:
  >>> data = dipjax.problem.denoising(np.full((8, 8, 1), 0.5, np.float32))
  >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
  >>> state = dipjax.init(recipe, jax.random.key(0), data)
  >>> state, metrics = dipjax.train_step(recipe, state, data)
  >>> int(state.step), state.average.shape, metrics.loss.shape
  (1, (8, 8, 1), ())
  >>> state, metrics = dipjax.run(recipe, state, data, 2)
  >>> int(state.step), metrics.loss.shape
  (3, (2,))
"""

import contextlib
import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from dipjax import hashing, vector
from dipjax.compiling import compiled
from dipjax.core.problem import Problem
from dipjax.core.recipe import MSE, Recipe, transformation
from dipjax.core.rule import begin, watched, where
from dipjax.core.state import Kept, Metrics, State, psnr

LONGEST_CHUNK = 1000  # steps that one call of the compiled loop can take: so long is the room for their metrics
_PERFECT_FIT = 100.0  # dB; an exact fit is no reason to undo all that follows
_CALMING = 0.9  # what a good step leaves of a raised tolerance for bad ones
_FIRST_STEPS = 10  # the average starts over about a tenth of the steps taken; from step 990 on it is the official one


def init(recipe: Recipe, key: Array, problem: Problem) -> State:
    """Draws the input and the parameters of one run.

    Args:
      recipe: the method. Whether it fits the problem is checked by `iterate`, not here.
      key: `()`, typed.
      problem: the data, of one image.

    Returns:
      The state before the first step: z `(h, w, D)`, the parameters, an average `(H, W, C)` of zeros.
    """
    return finished(recipe, begun(recipe, key, problem))


def finished(recipe: Recipe, state: State) -> State:
    """Returns a state that has `begun` with its input: the host's part, with which a program would not be kept for the next start."""
    return state._replace(z=recipe.input.finish(state.z)) if hasattr(recipe.input, "finish") else state


@compiled(runs_once=True, static_argnames="recipe")
def begun(recipe: Recipe, key: Array, problem: Problem) -> State:
    """Returns what `init` does without the host's part, if the input has one: the one program that does so, whoever asks."""
    z_key, params_key, noise_key = jax.random.split(key, 3)
    z = jax.eval_shape(recipe.input, z_key, problem)
    z = jnp.zeros(z.shape, z.dtype) if hasattr(recipe.input, "finish") else recipe.input(z_key, problem)
    params = recipe.generator.init(hashing.light(params_key), z)
    opt_state = own_noise(transformation(recipe.optimizer, 0.0).init(params), noise_key)
    average, *unknowns = jax.eval_shape(partial(generate, recipe), params, z, problem)
    average, *unknowns = (jnp.zeros(array.shape, array.dtype) for array in (average, *unknowns))
    kept = nothing_kept(recipe, problem, params, opt_state)
    watch = begin(recipe, noise_key, problem, (average, *unknowns))
    seen = recipe.stopping.seen(watch.memory, problem) if hasattr(recipe.stopping, "seen") else problem
    z = getattr(recipe.input, "begin", recipe.input)(z_key, seen)
    return State(jnp.int32(0), noise_key, z, params, opt_state, average, tuple(unknowns), jnp.bool(True), kept, watch)


def nothing_kept(recipe: Recipe, problem: Problem, params: Any, opt_state: Any) -> Kept | None:
    """Returns what backtracking remembers before the first step."""
    if recipe.backtracking is None:
        return None
    return Kept(jnp.array(-jnp.inf, problem.dtype), jnp.array(recipe.backtracking, problem.dtype), params, opt_state)


def own_noise(opt_state: Any, key: Array) -> Any:
    """Gives the optimizers that draw noise, such as `optax.add_noise`, a key that follows from the run's: seeds must differ."""
    draws = lambda part: hasattr(part, "rng_key")  # noqa: E731, the field's name in optax
    own = lambda part: part._replace(rng_key=_like(part.rng_key, jax.random.fold_in(key, 0))) if draws(part) else part  # noqa: E731
    return jax.tree.map(own, opt_state, is_leaf=draws)


def _like(old, key):
    return key if jnp.issubdtype(old.dtype, jax.dtypes.prng_key) else jax.random.key_data(key).astype(old.dtype)


@partial(jax.jit, static_argnames="recipe")
def train_step(recipe: Recipe, state: State, problem: Problem, progress: Array | float = 0.0) -> tuple[State, Metrics]:
    """Takes one gradient step on loss(A f(z + noise), y) + penalty(f(z + noise)).

    Output, loss and metrics belong to the parameters before the update, as in the paper. A step whose loss or update is not finite ends
    the run: its parameters and its average stay as they were.

    Args:
      recipe: the method.
      state: of one run.
      problem: the data, of one image.
      progress: `()`, from 0 to 1, which schedules follow.

    Returns:
      The next state, and metrics, each `()`.
    """
    z = state.z
    if recipe.input_noise:  # drawing it takes time even where nothing of it is added
        z = z + recipe.input_noise * noise(state)

    def objective(params):
        image, *unknowns = generate(recipe, params, z, problem)
        prediction = problem.operator(image, *unknowns)
        hide = getattr(recipe.stopping, "hide", None)
        seen = hide(state.watch.memory, prediction, problem.measurement) if hide else prediction
        whitened = getattr(recipe.loss, "whitened", None)
        seen = whitened(problem.operator, seen, problem.measurement) if whitened else seen
        loss = recipe.loss(seen, problem.measurement)
        return loss + penalty(recipe, image, problem, progress), (loss, (image, tuple(unknowns)), prediction)

    # None must not override what the caller has set.
    with jax.default_matmul_precision(recipe.precision) if recipe.precision else contextlib.nullcontext():
        (value, (loss, output, prediction)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    # What optimizers ask for that draw noise, search along lines or choose their step; the others ignore it.
    extra = {"value": value, "grad": grads, "key": _step_key(state)}
    extra["value_fn"] = lambda params, key=None: objective(params)[0]  # who searches along lines hands it what else is in `extra`
    with jax.numpy_dtype_promotion("standard"):  # which optax counts on
        updates, opt_state = transformation(recipe.optimizer, progress).update(grads, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
    # The window of the average grows to 1 / (1 - smoothing) steps, so that a short run is not dominated by its first outputs.
    weight = jnp.maximum(1 - recipe.smoothing, _FIRST_STEPS / (state.step.astype(z.dtype) + _FIRST_STEPS))
    average = optax.incremental_update(output, (state.average, state.unknowns), weight)

    new, kept = (params, opt_state, average), state.kept
    if recipe.backtracking is not None:
        new, kept = _undone_if_bad(recipe, state, problem, prediction, new)
    alive = state.alive & jnp.isfinite(value) & _is_finite(updates) & _is_finite(output)
    params, opt_state, (average, unknowns) = where(alive, new, (state.params, state.opt_state, (state.average, state.unknowns)))
    now = _metrics(recipe, loss, output[0], average, problem)
    new = State(state.step + 1, state.key, state.z, params, opt_state, average, unknowns, alive, kept)
    return watched(recipe, state, new, now, output, problem)


def noise(state: State) -> Array:
    """Returns the normal noise on the input of the next step, of deviation one and the shape of z."""
    return hashing.normal(_step_key(state), state.z.shape, state.z.dtype)


def _step_key(state):
    return jax.random.fold_in(hashing.light(state.key), state.step)


def generate(recipe: Recipe, params: Any, z: Array, problem: Problem) -> tuple:
    """Returns the image and what else the generator makes, such as a psf; what exceeds the size of the image is cropped."""
    image, *unknowns = made(recipe, params, z)
    return image[tuple(slice(side) for side in problem.shape[:-1])], *unknowns


@partial(jax.jit, static_argnames="recipe", inline=True)  # which remembers what it has traced
def made(recipe: Recipe, params: Any, z: Array) -> tuple:
    """Returns all that the generator makes, the image as large as it comes."""
    found = recipe.generator.apply(params, z)
    return found if isinstance(found, tuple) else (found,)


def penalty(recipe: Recipe, image: Array, problem: Problem, progress: Array) -> Array | float:
    """Returns the penalty of an image, which is told as much as it has arguments without a default for."""
    if recipe.penalty is None:
        return 0.0
    parameters = inspect.signature(recipe.penalty).parameters.values()
    asks = [p for p in parameters if p.default is p.empty and p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    return recipe.penalty(*(image, problem, progress)[: max(len(asks), 1)])


def _undone_if_bad(recipe, state, problem, prediction, new):
    """Returns to the last good step where the output fits the measurement so much worse than the last; the official notebooks' rescue.

    Parameters and optimizer return to the last good step, the average never sees the output, and the next step tries again with other
    noise, each time with twice the tolerance. The notebooks do so with 5 dB, but keep the optimizer and the average.
    """
    before = state.kept
    fit = jnp.minimum(-10 * jnp.log10(MSE()(prediction, problem.measurement)), _PERFECT_FIT)
    good = fit >= before.fit - before.tolerance
    new = where(good, new, (before.params, before.opt_state, (state.average, state.unknowns)))
    calmed = jnp.maximum(recipe.backtracking, _CALMING * before.tolerance)
    kept = Kept(fit, calmed.astype(fit.dtype), state.params, state.opt_state)
    return new, where(good, kept, before._replace(tolerance=2 * before.tolerance))


def _metrics(recipe, loss, image, average, problem):
    known = problem.truth is not None
    psnrs = (psnr(image, problem.truth), psnr(average, problem.truth)) if known else (None, None)
    watched = tuple(function(average, problem) for function in recipe.watch)
    worst = Metrics(jnp.inf, *((-jnp.inf, -jnp.inf) if known else (None, None)), (jnp.inf,) * len(watched))
    return jax.tree.map(lambda value, bad: jnp.where(jnp.isnan(value), bad, value), Metrics(loss, *psnrs, watched), worst)


def _is_finite(tree):
    # One long vector rather than a hundred short ones, each of which would cost a compiled kernel.
    return jnp.isfinite(ravel_pytree(tree)[0]).all()


@compiled(static_argnames="recipe")
def chunk(recipe: Recipe, state: State, problem: Problem, num_steps: Array | int, total: Array | int) -> tuple[State, Metrics]:
    """Takes up to `LONGEST_CHUNK` steps of a run of `total`; neither number is static, so that any of them is one compiled program.

    Returns:
      The state, and metrics `(LONGEST_CHUNK,)` of which the first `num_steps` are filled and the rest zero.
    """
    state = vector.packed(recipe := vector.for_vector(recipe, state), state)
    shapes = jax.eval_shape(partial(train_step, recipe), state, problem, jnp.zeros((), problem.dtype))[1]
    history = jax.tree.map(lambda value: jnp.zeros(LONGEST_CHUNK, value.dtype), shapes)
    total = jnp.asarray(total, jnp.int32).astype(jnp.float32)

    def step(i, carry):
        state, history = carry
        progress = jnp.minimum(state.step.astype(jnp.float32) / total, 1)  # half precision cannot count so far
        state, now = train_step(recipe, state, problem, progress.astype(problem.dtype))
        return state, jax.tree.map(lambda all_steps, value: all_steps.at[i].set(value), history, now)

    state, history = lax.fori_loop(0, num_steps, step, (state, history))
    return vector.unpacked(recipe, state), history


def run(recipe: Recipe, state: State, problem: Problem, num_steps: int, total: int | None = None) -> tuple[State, Metrics]:
    """Takes `num_steps` steps of a run that will have `total`, by default as many more: the compiled `chunk`, as often as it takes.

    Args:
      recipe: the method.
      state: of one run.
      problem: the data, of one image.
      num_steps: from 0.
      total: the steps from the run's beginning to its end, which schedules follow.

    Returns:
      The state, and metrics `(num_steps,)`.
    """
    numpy = jnp if isinstance(state.step, jax.core.Tracer) else np  # on the host no program is made for every number of steps
    total = state.step + num_steps if total is None else numpy.int32(total)
    pieces, left = [], int(num_steps)
    while left or not pieces:
        now = min(left, LONGEST_CHUNK)
        state, metrics = chunk(recipe, state, problem, now, total)
        pieces.append(jax.tree.map(lambda curve, now=now: numpy.asarray(curve)[:now], metrics))
        left -= now
    return state, jax.tree.map(lambda *curves: numpy.concatenate(curves), *pieces)
