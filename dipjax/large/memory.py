"""How much memory a restoration will need, and how much there is: asked before anything is compiled.

The need is read off the traced training step: what it holds at its worst moment, with every value kept from where it is made to where it
is last used. That costs no compilation, and the trace is the one that the restoration needs anyway, if neither is on the `shelf`.
Against the compiler's own count (`memory_analysis()` of the loop, XLA for CPU, JAX 0.10.2) it is 3 % below to 8 % above for the fast and
the official network at 64 x 64 and 128 x 128. For a generator with `remat` it counts what that saves, which the compiler for CPU undoes:
there the true need is about 1.5 times as much. `benchmarks.speed memory` compares both with what a process really takes.

Examples:
  >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
  >>> one, two = (dipjax.problem.denoising(np.zeros((8, 8 * n, 1), np.float32)) for n in (1, 2))
  >>> dipjax.memory.needed(recipe, one, 4) < dipjax.memory.needed(recipe, two, 4)
  True
  >>> dipjax.memory.worst(jax.make_jaxpr(lambda x: (x + 1).sum())(jnp.ones(8)).jaxpr)  # eight numbers and their sum
  36
  >>> dipjax.memory.available() is None or dipjax.memory.available() > 0
  True
"""

import contextlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
from jax.extend import core

from dipjax import shelf, vector
from dipjax.compiling import undisturbed
from dipjax.core import check, layouts, loop
from dipjax.core.layouts import Layout
from dipjax.core.problem import Problem
from dipjax.core.recipe import Recipe

_GROUPS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),) + (
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)  # what a container may use and what it uses, in the second and in the first version of control groups


@shelf.remembered
@undisturbed()
def needed(recipe: Recipe, problem: Problem, num_seeds: int, layout: Layout | None = None) -> int:
    """Returns the bytes that `restore` will need on one device, for `num_seeds` runs of one problem.

    For every run its state, before and after a chunk of steps; for every run that is computed at the same time what a step keeps for
    the gradient, and the state once more.

    Args:
      recipe: the method.
      problem: the data; it may hold shapes instead of arrays.
      num_seeds: K, from 1.
      layout: None takes the fastest.
    """
    layout = layouts.chosen(layout, num_seeds, problem.shape[:-1])
    state = check.first_state(recipe, jax.random.key(0), problem)
    step = worst(_traced(recipe, layout, state, problem))
    state, data = (sum(map(_bytes, jax.tree.leaves(tree))) for tree in (state, problem))
    shared = jax.default_backend() == "cpu"  # all devices have one memory
    num_here = num_seeds if shared else -(-num_seeds // layout.num_devices)
    num_together = min(num_seeds, layout.width if shared else layout.at_once)
    return data + 2 * num_here * state + num_together * (step + state)


def _traced(recipe, layout, state, problem):
    """Returns a step of one run, traced as in the program of the layout, which takes it over: meshes are part of what JAX remembers."""
    recipe, layout = vector.for_vector(recipe, state), replace(layout, at_once=1)
    packed = layout.shapes(jax.eval_shape(partial(vector.packed, recipe), state))
    step, progress = partial(loop.train_step, recipe), jax.ShapeDtypeStruct((), problem.dtype)
    return _named("train_step", jax.make_jaxpr(layout(step, (0, None, None)))(packed, problem, progress).jaxpr)


def _named(name, jaxpr):
    """Returns the program of that name inside another one; None where it is not."""
    for equation in jaxpr.eqns:
        for inner in _programs(equation):
            if (found := inner if equation.params.get("name") == name else _named(name, inner)) is not None:
                return found
    return None


def available() -> int | None:
    """Returns the bytes that a restoration may use on one device, None where nothing can be learned.

    On an accelerator its limit, as JAX says it; on a CPU what is free now, or the rest of what the container may use, if that is less.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    known = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    for limit, used in _GROUPS:
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            known.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    if not known:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # all there is: better than nothing
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(known)) if known else None


def worst(jaxpr: core.Jaxpr) -> int:
    """Returns the largest number of bytes that a program, a `jaxpr`, holds at one time, its arguments not counted."""
    last_use = {}
    for i, equation in enumerate(jaxpr.eqns):
        last_use |= {variable: i for variable in equation.invars if isinstance(variable, core.Var)}
    last_use |= {variable: len(jaxpr.eqns) for variable in jaxpr.outvars if isinstance(variable, core.Var)}
    held, most = {}, 0
    for i, equation in enumerate(jaxpr.eqns):
        inside = max((worst(inner) for inner in _programs(equation)), default=0)
        most = max(most, sum(held.values()) + max(inside, sum(_bytes(variable.aval) for variable in equation.outvars)))
        held |= {variable: _bytes(variable.aval) for variable in equation.outvars if variable in last_use}
        for variable in equation.invars:
            if isinstance(variable, core.Var) and last_use[variable] == i:
                held.pop(variable, None)
    return most


def _programs(equation):
    """Yields the programs inside one equation: of a loop, a branch, a call."""
    for parameter in equation.params.values():
        for item in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
            program = getattr(item, "jaxpr", item)
            if hasattr(program, "eqns"):
                yield program


def _bytes(array):
    return array.size * getattr(array.dtype, "itemsize", 8) if hasattr(array, "dtype") else 0
