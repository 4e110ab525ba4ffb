"""Many hosts: every process of `jax.distributed` takes its share of the runs, on devices of its own, and all of them get the result.

    jax.distributed.initialize()  # in every process, before anything else of JAX
    result = pod.restore(recipe, seeds(0, 64), problem, num_steps=3000)
    if jax.process_index() == 0:
        np.save("restored.npy", result.image)

All processes ask for the same. While they restore they share nothing, and what they have restored is gathered once, at the end: a process
that is lost costs the whole work. Many pictures that need not end together are better handed out by `dipjax --ray`, or as a folder for
each process. The command line does not use this module, because it shows and keeps what is not finished yet.

Examples:
  One process alone may ask as well:

  >>> data = dipjax.problem.denoising(np.full((8, 8, 1), 0.5, np.float32))
  >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
  >>> dipjax.pod.restore(recipe, dipjax.seeds(0, 2), data, num_steps=2).images.shape
  (2, 8, 8, 1)
"""

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.multihost_utils import process_allgather

from dipjax.core import check, drive, rule
from dipjax.core.layouts import Layout
from dipjax.core.problem import Problem, spread
from dipjax.core.recipe import Recipe
from dipjax.core.state import Result, State

_LONGEST = 2000  # bytes of what a process says before anything is gathered
_FOREVER = 1000 * 3600 * 24 * 365  # milliseconds
_meetings = itertools.count()  # the same number in all processes, because each of them has come as often
_OF_RULES = ("stopped", "steps", "best_steps")


def restore(
    recipe: Recipe,
    key: Array | State,
    problem: Problem,
    *,
    num_steps: int,
    problem_axis: Any = None,
    batching: Layout | None = None,
    callback: Callable[[Result], Any] | None = None,
) -> Result:
    """Restores one image, or many, on the devices of all processes, each of which must call it.

    A run does not depend on who takes it: with the layout `ONE_BY_ONE` all is bit for bit as from `dipjax.restore`.

    Args:
      recipe: the method.
      key: as for `dipjax.restore`, of all runs; their number need not divide by that of the processes.
      problem: the data of all runs.
      num_steps: the steps of every run.
      problem_axis: as for `dipjax.restore`.
      batching: the layout of a process' own runs on its own devices; None takes the fastest.
      callback: called in every process with the result of its own runs; it cannot end them, because the others would not know.

    Returns:
      The result of all runs, the same in every process. Its `state` is gathered when it is asked for, which all processes must do.

    Raises:
      ValueError: the recipe does not fit the problem.
      RuntimeError: another process has failed, or was asked for something else; which one, and what it says.
    """

    def check_all():
        check.kinds(recipe, problem, batching, num_steps)
        flags = spread(problem, problem_axis)
        check.fits(recipe, problem, flags)
        return flags, check.start(key, problem, flags)

    def restore_own():
        runs = _own(math.prod(shape))
        keys = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(shape) :])[runs], key)
        leaves, structure = jax.tree.flatten(problem)
        which = runs // shape[-1] if over_seeds else runs  # of the problems
        own = jax.tree.unflatten(structure, [leaf[which] if flag else leaf for leaf, flag in zip(leaves, flags, strict=True)])
        axis = jax.tree.unflatten(structure, [0 if flag else None for flag in flags])
        how = {"num_steps": num_steps, "problem_axis": axis, "batching": batching}
        return drive.restore(recipe, keys, own, **how, callback=callback and partial(_told, callback))

    (flags, shape), asked = _each(check_all, lambda _: _digest(recipe, key, problem, num_steps))
    if others := [index for index, digest in enumerate(asked) if digest != asked[0]]:
        raise RuntimeError(f"process {others[0]} of {len(asked)}: it was asked for something else than process 0")
    over_seeds = len(shape) > any(flags)
    result, lengths = _each(restore_own, lambda result: result.num_steps)
    return _gathered(result, shape, over_seeds=over_seeds, length=max(lengths))


def _told(callback, result):
    callback(result)


def _own(num_runs):
    """Returns the runs of this process, as many as any other has: the last one fills what is left."""
    share, index = -(-num_runs // jax.process_count()), jax.process_index()
    return np.arange(index * share, (index + 1) * share).clip(max=num_runs - 1)


def _each(does, tell):
    """Does something in every process; returns what this one makes of it and what each tells of its own, once all have done it."""
    made, failure = None, None
    try:
        made = does()
        words = {"told": tell(made)}
    except Exception as error:
        failure, words = error, {"error": f"{type(error).__name__}: {error}"[: _LONGEST // 7]}
    _wait()
    line = json.dumps(words).encode().ljust(_LONGEST)
    said = [json.loads(bytes(row)) for row in process_allgather(np.frombuffer(line, np.uint8))]
    if failure is not None:
        raise failure
    for index, one in enumerate(said):
        if "error" in one:
            raise RuntimeError(f"process {index} of {len(said)}: {one['error']}")
    return made, [one["told"] for one in said]


def _wait():
    """Waits until all processes are here, for as long as they live: a program that communicates gives up after half a minute."""
    with contextlib.suppress(ImportError, AttributeError):  # of another JAX: there is no public way to wait without a program
        from jax._src import distributed

        if (client := distributed.global_state.client) is not None:
            client.wait_at_barrier(f"dipjax {next(_meetings)}", timeout_in_ms=_FOREVER)


def _digest(recipe, key, problem, num_steps):
    """Returns the SHA-256 of all that decides the result."""
    keys = key.key if isinstance(key, State) else key
    digest = hashlib.sha256(f"{recipe.to_json()} {num_steps}".encode())
    for leaf in [jax.random.key_data(keys), *jax.tree.leaves(problem)]:
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _gathered(result, shape, *, over_seeds, length):
    """Returns the result of all runs `shape`, the curves of which have this length."""

    def whole(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(whole(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        leaves = process_allgather(np.asarray(leaf))  # (P, M, ...)
        rest = leaves.shape[2:]
        return leaves.reshape(-1, *rest)[: math.prod(shape)].reshape((*shape, *rest))

    def state():
        return jax.tree.map(whole, result.state)

    level = np.arange(length).clip(max=result.num_steps - 1)  # what has ended goes on level
    metrics = jax.tree.map(lambda curve: whole(curve[:, level]), result.metrics)
    images, alive = whole(result.images), whole(result.alive)
    seconds, compile_seconds = process_allgather(np.float32([result.seconds, result.compile_seconds])).max(0).tolist()
    ends = ()
    if result.stopped is not None:
        scores = whole(result.state.watch.best.score)
        left_out = rule.disagreeing(images, alive, scores) if over_seeds else None
        ends = (*(whole(getattr(result, name)) for name in _OF_RULES), left_out)
    return Result(images, alive, metrics, length, seconds, compile_seconds, over_seeds, state, *ends)
