"""The checks at the boundary: what does not fit together is refused in one sentence, before anything is compiled."""

import contextlib
import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import shelf
from dipjax.core import loop
from dipjax.core.layouts import Layout
from dipjax.core.problem import Problem
from dipjax.core.recipe import Recipe
from dipjax.core.state import State

_MOST_STEPS = 2**31 - 1  # they are counted in 32 bits


@shelf.remembered
def fits(recipe: Recipe, problem: Problem, flags: list[bool], start: Array | State | None = None) -> State:
    """Returns the shapes of a run's state, or raises a ValueError where the recipe does not fit; `flags` as from `problem.spread`.

    `start` are the keys, or the states that have them, if they may be of another kind than those that `jax.random.key` makes.
    """
    if recipe.backtracking is not None and not (recipe.backtracking > 0 and recipe.input_noise):
        raise ValueError(
            f"backtracking: found {recipe.backtracking} dB with input_noise {recipe.input_noise}, expected a positive number and some"
            " noise, without which an undone step would be the same again."
        )
    leaves, structure = jax.tree.flatten(problem)
    if others := [leaf for leaf in leaves if not isinstance(leaf, (Array, np.ndarray, np.generic, int, float, complex))]:
        raise ValueError(f"problem: found {others[0]!r} among its arrays; `problem.general` makes a function an operator.")
    one = [jax.ShapeDtypeStruct(jnp.shape(x)[flag:], jnp.result_type(x)) for x, flag in zip(leaves, flags, strict=True)]
    problem = jax.tree.unflatten(structure, one)
    if not all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(problem.measurement)):
        raise ValueError("measurement: found whole numbers, expected real or complex ones; convert it, for pictures to [0, 1].")
    key = jax.random.key(0) if start is None else jax.ShapeDtypeStruct((), getattr(start, "key", start).dtype)
    z = jax.eval_shape(recipe.input, key, problem)
    rank = len(problem.shape)
    if z.ndim != rank:
        raise ValueError(f"input: found z of shape {z.shape}, expected {rank} axes as in {problem.shape}, the last one for channels.")
    with _suiting(recipe, problem, z):
        state = first_state(recipe, key, problem)
    made, *unknowns = loop.made.eval_shape(recipe, state.params, state.z)
    if made.ndim != rank or made.shape[-1] != problem.shape[-1]:
        raise ValueError(f"generator: found an image of shape {made.shape}, expected {problem.shape}, with as many channels.")
    # One row or column less of z must not suffice: the crop is for what exceeds a multiple of the stride.
    sides = zip(made.shape[:-1], problem.shape[:-1], z.shape[:-1], strict=True)
    if any(side < n or (k - 1) * side >= n * k for side, n, k in sides):
        raise ValueError(
            f"input: found z of shape {z.shape}, of which the generator makes an image of shape {made.shape}, expected one for"
            f" {problem.shape}; the `stride` of the input, see `inputs.Noise`, must be that of the generator."
        )
    image = jax.ShapeDtypeStruct(problem.shape, made.dtype)
    with _suiting(recipe, problem, z):
        prediction = jax.eval_shape(lambda problem, *parts: problem.operator(*parts), problem, image, *unknowns)
    found, expected = (jax.tree.map(lambda leaf: tuple(leaf.shape), tree) for tree in (prediction, problem.measurement))
    if found != expected:
        raise ValueError(f"operator: found a prediction of shape {found}, expected the measurement's {expected}.")
    loss = jax.eval_shape(recipe.loss, prediction, problem.measurement)
    penalty = jax.eval_shape(partial(loop.penalty, recipe), image, problem, jax.ShapeDtypeStruct((), problem.dtype))
    for name, value in (("loss", loss), ("penalty", penalty)):
        if jnp.shape(value) != ():
            raise ValueError(f"{name}: found shape {value.shape}, expected a scalar ().")
    return state


def first_state(recipe: Recipe, key: Array, problem: Problem) -> State:
    """Returns the shapes and types of the state that `loop.init` makes."""
    return loop.begun.eval_shape(recipe, key, problem)._replace(z=jax.eval_shape(recipe.input, key, problem))


@contextlib.contextmanager
def _suiting(recipe, problem, z):
    """Says what is wrong where a generator makes more, or less, beside the image than the operator takes."""
    try:
        yield
    except TypeError as error:
        image, *unknowns = loop.made.eval_shape(recipe, jax.eval_shape(recipe.generator.init, jax.random.key(0), z), z)
        if _takes(problem.operator, image, *unknowns):
            raise
        found = f"one that makes {len(unknowns)} unknowns beside the image" if unknowns else "one that makes an image alone"
        operator = type(problem.operator).__name__
        raise ValueError(f"generator: found {found}, expected what the operator {operator} takes; see `generators.WithPsf`.") from error


def _takes(function, *arguments):
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    return True


def start(keys: Array | State, problem: Problem, flags: list[bool]) -> tuple[int, ...]:
    """Returns the shape of the runs; refuses anything but typed keys, or a state, of one of the shapes that `restore` documents."""
    keys = keys.key if isinstance(keys, State) else keys
    if not (isinstance(keys, Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"key: found {type(keys).__name__}, expected typed keys from `jax.random.key` or `seeds`, or a State.")
    firsts = {np.shape(leaf)[:1] for leaf, flag in zip(jax.tree.leaves(problem), flags, strict=True) if flag}
    if len(firsts) > 1 or () in firsts:
        raise ValueError(f"problem: found first axes of {sorted(firsts)} entries, expected one entry for each problem of the batch.")
    first = next(iter(firsts), ())
    if keys.size == 0 or keys.shape[: len(first)] != first or keys.ndim > len(first) + 1:
        expected = f"({first[0]},) or ({first[0]}, K) for {first[0]} problems" if first else "() or (K,)"
        raise ValueError(f"key: found shape {keys.shape}, expected {expected}.")
    return keys.shape


def kinds(recipe: Recipe, problem: Problem, batching: Layout | None, num_steps: int) -> None:
    """Refuses what is no recipe, no problem, no layout or no number of steps."""
    for name, value, kind, expected in (
        ("recipe", recipe, Recipe, "a Recipe; a setting has one, `setting.recipe`"),
        ("problem", problem, Problem, "a Problem, which the functions of `problem` make"),
        ("batching", batching, Layout | None, "None or a layout such as `layouts.TOGETHER`"),
    ):
        if not isinstance(value, kind):
            raise ValueError(f"{name}: found {type(value).__name__}, expected {expected}.")
    if isinstance(num_steps, bool) or not isinstance(num_steps, (int, np.integer)) or not 1 <= num_steps <= _MOST_STEPS:
        raise ValueError(f"num_steps: found {num_steps!r}, expected a whole number from 1 to {_MOST_STEPS:,}.")
