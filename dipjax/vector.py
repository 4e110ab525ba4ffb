"""Parameters as one vector, for as long as a program takes steps.

A network has a hundred arrays of parameters, most of them tiny. To update, to check and to choose between two of each of them takes
hundreds of kernels, which were a third of what the compiler had to do. Where the optimizer treats every number alike, the steps work on
one vector instead; the numbers are the same.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree


@dataclass(frozen=True)
class OfVector:
    """A generator that takes its parameters as one vector.

    Attributes:
      generator: the one that takes a tree.
      structure: of the tree.
      shapes: of its leaves.
    """

    generator: Any
    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    def apply(self, params: Array, z: Array) -> Any:
        """Returns what the generator makes."""
        return self.generator.apply(self.tree(params), z)

    def tree(self, params: Array) -> Any:
        """Returns the parameters as the generator's tree."""
        leaves = lax.split(params, [int(np.prod(shape)) for shape in self.shapes])
        return jax.tree.unflatten(self.structure, [leaf.reshape(shape) for leaf, shape in zip(leaves, self.shapes, strict=True)])


def for_vector(recipe: Any, state: Any) -> Any:
    """Returns the recipe for a state `packed`; itself where nobody says that its optimizer treats all numbers alike.

    The optimizer's own class says so by `is_elementwise`; one that is derived from it may do anything. And what it remembers must be the
    same for the vector as for the tree.

    Args:
      recipe: of `dipjax.core`.
      state: of one run, arrays or their shapes.
    """
    leaves, structure = jax.tree.flatten(state.params)
    if not vars(type(recipe.optimizer)).get("is_elementwise", False) or len({leaf.dtype for leaf in leaves}) != 1:
        return recipe
    vector = jax.ShapeDtypeStruct((sum(leaf.size for leaf in leaves),), leaves[0].dtype)
    if not alike(jax.eval_shape(recipe.optimizer(0.0).init, vector), state.opt_state):
        return recipe
    return replace(recipe, generator=OfVector(recipe.generator, structure, tuple(leaf.shape for leaf in leaves)))


def alike(tree: Any, other: Any) -> bool:
    """Says whether two trees have the same structure, shapes and types."""
    leaves, others = jax.tree.leaves(tree), jax.tree.leaves(other)
    same = jax.tree.structure(tree) == jax.tree.structure(other)
    return same and all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(leaves, others, strict=True))


def packed(recipe: Any, state: Any) -> Any:
    """Returns a state with its parameters as one vector, if the recipe is `for_vector`; of one run."""
    return _changed(state, lambda params: ravel_pytree(params)[0]) if isinstance(recipe.generator, OfVector) else state


def unpacked(recipe: Any, state: Any) -> Any:
    """Returns a state that was `packed` as it was."""
    return _changed(state, recipe.generator.tree) if isinstance(recipe.generator, OfVector) else state


def _changed(state, how):
    kept = state.kept and state.kept._replace(params=how(state.kept.params))
    return state._replace(params=how(state.params), kept=kept)
