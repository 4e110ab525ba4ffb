"""The problem: one measurement, the operator that made it, and the size of the image we want.

Everything that may differ between the runs of one batch is a leaf here; only `shape` is static.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array


@struct.dataclass
class Problem:
    """What is known of one picture: `measurement = operator(image) + noise` with an image of `shape`."""

    measurement: Array  # (h, w, c)
    operator: Callable  # any callable pytree (H, W, C) -> (h, w, c)
    shape: tuple[int, int, int] = struct.field(pytree_node=False)  # (H, W, C)
    truth: Array | None = None  # (H, W, C), read by the metrics alone
    guide: Array | None = None  # (H, W, D), another picture of the scene, read by `inputs.guide` alone


def stack(problems: list[Problem]) -> Problem:
    """Stacks problems of the same kind and size along a new first axis, for `restore(..., problem_axis=0)`."""
    structures = {jax.tree.structure(problem) for problem in problems}
    shapes = {tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(problem)) for problem in problems}
    if len(structures) != 1 or len(shapes) != 1:
        raise ValueError(
            "problems: found different operators, sizes or fields, expected at least one problem and all alike;"
            " restore pictures of different sizes in separate calls."
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
