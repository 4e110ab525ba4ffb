"""The host's part of the method: runs in groups, steps in chunks of about half a second, results in between.

Progress, plots, files, time limits and Ctrl-C live in the loop around `iterate`, never in a callback inside a compiled program.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import vector
from dipjax.compiling import compiled, forget, threads, undisturbed
from dipjax.core import check, layouts, loop, rule
from dipjax.core.layouts import Layout
from dipjax.core.problem import Problem, spread
from dipjax.core.recipe import Recipe, transformation
from dipjax.core.state import Result, State

# Every size keeps about 640 memory maps, of which Linux allows a process 65,530, and some 65 MiB.
_MOST_PROGRAMS = 12


def seeds(key: Array | int, num_seeds: int) -> Array:
    """Returns the keys `(num_seeds,)` of an ensemble; seed k is the same however many there are.

    Args:
      key: `()`, typed, or a whole number.
      num_seeds: K, how many.

    Examples:
      >>> dipjax.seeds(0, 4).shape
      (4,)
    """
    return _folded(jax.random.key(key) if isinstance(key, (int, np.integer)) else key, np.arange(num_seeds))


_folded = compiled(runs_once=True)(jax.vmap(jax.random.fold_in, (None, 0)))


@compiled(static_argnames=("recipe", "layout", "structure"))
def _advance(recipe, layout, structure, states, own, shared, num_steps, total):
    """Takes the steps of one group: `own` are the leaves of the problems that each run has for itself, `shared` the others."""

    def one(state, own, shared, num_steps, total):
        return loop.chunk(recipe, state, _whole(structure, own, shared), num_steps, total)

    return layout(one, (0, 0, None, None, None))(states, own, shared, num_steps, total)


def _whole(structure, own, shared):
    """Puts a problem together again, of two lists of leaves, each with None where the other has the leaf."""
    return jax.tree.unflatten(structure, [other if leaf is None else leaf for leaf, other in zip(own, shared, strict=True)])


def iterate(
    recipe: Recipe,
    start: Array | State,
    problem: Problem,
    *,
    num_steps: int,
    problem_axis: Any = None,
    batching: Layout | None = None,
    chunk_seconds: float = 0.5,
) -> Iterator[Result]:
    """Yields the result after the compilation, and then after every chunk of steps, until `num_steps` are taken or no run is left.

    Args:
      recipe: the method.
      start: keys, as for `restore`, or the `State` of runs that go on: `result.state`. Its count of steps goes on too, so that a run
        of 100 steps continued with `num_steps=300` equals a run of 300; set `step` to zeros to begin a schedule anew. Another
        optimizer than that of the state starts afresh at its parameters.
      problem: the data, as for `restore`.
      num_steps: the steps of every run, those of `start` included.
      problem_axis: as for `restore`.
      batching: a layout from `layouts`; None takes the fastest for this machine.
      chunk_seconds: about how long a chunk takes; it has at least one step.

    Yields:
      The result so far: `images (..., H, W, C)` and curves `(..., T)`, of T = 0 steps at first.

    Raises:
      ValueError: the recipe does not fit the problem, or `start` not the recipe.

    Examples:
      >>> data = dipjax.problem.denoising(np.full((8, 8, 1), 0.5, np.float32))
      >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
      >>> *_, result = dipjax.iterate(recipe, jax.random.key(0), data, num_steps=3)
      >>> *_, longer = dipjax.iterate(recipe, result.state, data, num_steps=5)
      >>> result.num_steps, longer.num_steps, int(longer.state.step)
      (3, 2, 5)
    """
    check.kinds(recipe, problem, batching, num_steps)
    flags = spread(problem, problem_axis)
    shape = check.start(start, problem, flags)
    shapes = check.fits(recipe, problem, flags, start)
    start = jax.tree.map(_on_host, start)
    start_step = int(np.max(start.step, initial=0)) if isinstance(start, State) else 0
    over_seeds = len(shape) > any(flags)
    num_runs = math.prod(shape)
    layout = layouts.chosen(batching, num_runs, problem.shape[:-1])
    if _advance.num_ready >= _MOST_PROGRAMS:
        forget()

    clock = time.perf_counter()
    calls = _Calls(recipe, problem, flags, shape[-1] if over_seeds else 1, np.int32(num_steps))
    groups = layout.groups(num_runs)
    # The program that all chunks share takes longest; the runs begin while it is compiled. Tracing stays in this thread and its settings.
    with threads() as pool, undisturbed():
        compiling = pool.submit(_advance.prepared(recipe, layout, calls.structure, *calls.arguments(layout.shapes(shapes), groups[0], 0)))
        runs = _Runs(layout, groups, shape, calls.first_states(start, len(shape), np.concatenate(groups), pool))
        advance = compiling.result()
    runs.curves = jax.tree.map(lambda leaf: np.empty((num_runs, 0), leaf.dtype), advance.out_info[1])
    compile_seconds, seconds = time.perf_counter() - clock, 0.0
    taken, num_left, size = 0, int(num_steps) - start_step, 1

    def result():
        images, alive = (runs.gather(lambda state, name=name: getattr(state, name)) for name in ("average", "alive"))
        images, ends = (images, ()) if recipe.stopping is None else rule.outcome(runs.gather, images, alive, over_seeds)
        metrics = jax.tree.map(lambda curve: curve[:, :taken].reshape(*shape, taken), runs.curves)
        return Result(images, alive, metrics, taken, seconds, compile_seconds, over_seeds, runs.keep(), *ends)

    yield result()
    while taken < num_left and (on := runs.going()).any():
        size = min(size, num_left - taken, loop.LONGEST_CHUNK)
        clock = time.perf_counter()
        # After the first chunk a rule has the last step's numbers, at which the curves of ended runs stay.
        ended = runs.regrouped(on) if recipe.stopping is not None and taken else [False] * len(runs.groups)
        runs.take(advance, calls.arguments, size, ended)
        elapsed = time.perf_counter() - clock
        taken, seconds = taken + size, seconds + elapsed
        if recipe.stopping is not None and not runs.going().any():  # how long a chunk was does not show
            taken = int(np.max(runs.gather(lambda state: state.step))) - start_step
        size = max(1, round(chunk_seconds * size / max(elapsed, 1e-6)))
        yield result()


def restore(
    recipe: Recipe,
    key: Array | State,
    problem: Problem,
    *,
    num_steps: int,
    problem_axis: Any = None,
    batching: Layout | None = None,
    callback: Callable[[Result], bool | None] | None = None,
) -> Result:
    """Restores one image, or many: the whole of `iterate`.

    Args:
      recipe: the method.
      key: one key `()` for one run; keys `(K,)` from `seeds` for K runs of one problem. With a batch of N problems, `(N,)` for one run
        of each, or `(N, K)` for K seeds of each. Or the `State` of such runs, to continue them.
      problem: the data; with `problem_axis=0` a batch from `problem.stack`.
      num_steps: the steps of every run.
      problem_axis: None, every run has the same problem; 0, run i has problem i; a `Problem` with 0 and None in its fields, where
        only some of them have an entry for each, as `in_axes` of `jax.vmap`.
      batching: a layout from `layouts`; None takes the fastest for this machine.
      callback: called with the result so far about twice a second; returning True ends the restoration.

    Returns:
      The result: its `image (H, W, C)` is the mean over seeds, `std` their standard deviation, `images (K, H, W, C)` every run's own.

    Raises:
      ValueError: the recipe does not fit the problem.

    Examples:
      >>> data = dipjax.problem.denoising(np.full((8, 8, 1), 0.5, np.float32))
      >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
      >>> result = dipjax.restore(recipe, dipjax.seeds(0, 2), data, num_steps=3)
      >>> result.image.shape, result.std.shape, result.images.shape, result.metrics.loss.shape
      ((8, 8, 1), (8, 8, 1), (2, 8, 8, 1), (2, 3))
    """
    for result in iterate(recipe, key, problem, num_steps=num_steps, problem_axis=problem_axis, batching=batching):
        if callback and callback(result):
            break
    return result


def _fitted(recipe, state, problem):
    """Returns the state as this recipe needs it: what another optimizer, or backtracking, remembers begins anew at the parameters."""
    new = check.first_state(recipe, state.key, problem)
    state = state._replace(**{name: np.asarray(getattr(state, name), getattr(new, name).dtype) for name in ("step", "alive", "z")})
    for name in ("z", "params", "average", "unknowns"):
        if not vector.alike(getattr(new, name), getattr(state, name)):
            raise ValueError(f"key: found a state whose {name} are of other shapes or types than those of this recipe and problem.")
    if not vector.alike(new.watch, state.watch):
        watch = rule.begin(recipe, state.key, problem, (state.average, *state.unknowns))
        state = state._replace(watch=watch)
    is_same = vector.alike(new.opt_state, state.opt_state)
    if is_same and vector.alike(new.kept, state.kept):
        return state
    opt_state = state.opt_state if is_same else loop.own_noise(transformation(recipe.optimizer, 0.0).init(state.params), state.key)
    kept = loop.nothing_kept(recipe, problem, state.params, opt_state)
    return state._replace(opt_state=opt_state, kept=kept)


class _Calls:
    """How the programs are called for some of the runs: with which recipe, and with which part of the data."""

    def __init__(self, recipe, problem, flags, runs_of_problem, total):
        leaves, self.structure = jax.tree.flatten(problem)
        self.recipe, self.runs_of_problem, self.total = recipe, runs_of_problem, total
        self.shared = jax.device_put([None if flag else leaf for leaf, flag in zip(leaves, flags, strict=True)])
        self.batch = [np.asarray(leaf) if flag else None for leaf, flag in zip(leaves, flags, strict=True)]

    def own(self, which):
        """Returns the leaves of the problem that runs have for themselves."""
        return jax.tree.map(lambda leaf: leaf[which // self.runs_of_problem], self.batch)

    def first_states(self, start, rank, which, pool):
        """Returns the first states of runs one after the other, of keys or states of a `rank`; those of keys are made in the pool."""
        start = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[rank:]), start)
        own = [(jax.tree.map(lambda leaf, run=run: leaf[run], start), _whole(self.structure, self.own(run), self.shared)) for run in which]
        if isinstance(start, State):
            return [_fitted(self.recipe, *one) for one in own]
        begun = pool.submit(loop.begun.prepared(self.recipe, *own[0]))
        return pool.map(lambda one: loop.finished(self.recipe, begun.result()(*one)), jax.device_put(own))

    def arguments(self, states, group, num_steps):
        """Returns those of `_advance` after the settings."""
        return states, self.own(group), self.shared, np.int32(num_steps), self.total


class _Runs:
    """Where each run lies in the groups, the groups' states, and the curves of all runs, metrics `(R, T)`."""

    def __init__(self, layout, groups, shape, first_states):
        self.layout, self.groups, self.shape = layout, groups, shape
        together = lambda *leaves: _of_keys(np.stack, leaves)  # noqa: E731, on the host, where that compiles nothing
        made = iter(first_states)
        self.states = [layout.placed(jax.tree.map(together, *(next(made) for _ in group))) for group in groups]

    def take(self, advance, arguments, size, ended):
        """Takes a chunk of `size` steps in all groups but those that have ended, whose curves stay level."""
        level = lambda group: jax.tree.map(lambda curve: curve[group, -1:].repeat(size, 1), self.curves)  # noqa: E731
        groups = zip(self.states, self.groups, ended, strict=True)
        done = [(state, level(group)) if over else advance(*arguments(state, group, size)) for state, group, over in groups]
        self.states, metrics = map(list, zip(*jax.block_until_ready(done), strict=True))
        # What was given out is never written to again.
        new = jax.tree.map(lambda *parts: np.concatenate([np.asarray(part)[:, :size] for part in parts])[self.places], *metrics)
        self.curves = jax.tree.map(lambda curve, more: np.concatenate([curve, more], 1), self.curves, new)

    @property
    def places(self):
        """The place of each run in the groups, one after the other; a run that is there again only fills the last group."""
        return np.unique(np.concatenate(self.groups), return_index=True)[1]

    def gather(self, get):
        """Returns `get(state)` of all runs `(*shape, ...)`."""
        return self._ordered([get(state) for state in self.states])

    def _ordered(self, leaves):
        joined = np.concatenate(leaves)[self.places]
        return joined.reshape((*self.shape, *joined.shape[1:]))

    def going(self):
        """Says of every group and its places which runs go on, `(G, W)`; what only fills a group does not count."""
        ended = lambda state: False if state.watch is None else np.asarray(state.watch.stopped)  # noqa: E731
        on = np.concatenate([np.asarray(state.alive) & np.logical_not(ended(state)) for state in self.states])
        return (on & np.isin(np.arange(on.size), self.places)).reshape(len(self.groups), -1)

    def regrouped(self, on):
        """Puts the runs that go on, see `going`, together, where they fill fewer groups; returns which groups have ended."""
        if -(-on.sum() // self.layout.width) < on.any(1).sum():
            order = np.argsort(~on.ravel(), kind="stable")
            state = jax.tree.map(lambda *leaves: _of_keys(np.concatenate, leaves), *self.states)
            parts = np.split(order, len(self.groups))
            self.states = [self.layout.placed(jax.tree.map(lambda leaf, part=part: leaf[part], state)) for part in parts]
            self.groups, on = [np.concatenate(self.groups)[part] for part in parts], on.ravel()[order].reshape(on.shape)
        return ~on.any(1)

    def keep(self):
        """Returns what fetches the state of all runs as it is now, a tree of host arrays `(*shape, ...)`."""
        now = copy.copy(self)  # both lists are replaced as a whole
        return lambda: jax.tree.map(lambda *leaves: _of_keys(now._ordered, leaves), *now.states)


def _on_host(leaf):
    """Returns an array of NumPy, of which a part can be taken without a program for every shape; keys stay as they are."""
    # What the caller has put in the place of an array may be float64, or a number.
    return leaf if _is_key(leaf) else np.asarray(leaf, jax.dtypes.canonicalize_dtype(np.asarray(leaf).dtype))


def _is_key(leaf):
    return isinstance(leaf, Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _of_keys(function, leaves):
    """Applies a function of NumPy arrays to arrays that may be keys."""
    if not _is_key(leaves[0]):
        return function(leaves)
    return jax.random.wrap_key_data(function([jax.random.key_data(leaf) for leaf in leaves]), impl=jax.random.key_impl(leaves[0]))
