"""The problem: one measurement, the operator that made it, and the size of the image we want.

Everything that may differ between the runs of one batch is a leaf here; only `shape` is static.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dipjax import struct


@struct.dataclass(told="operator")
class Problem:
    """What is known of one picture: `measurement = operator(image) + noise` with an image of `shape`.

    Several problems of one kind make a batch: `stack` gives the leaves a first axis. What all of them share, such as a psf, can be kept
    once: `problem_axis` of `restore` then says of each field, or of each leaf, whether it has that axis (0) or not (None).
    The functions of `dipjax.problem` make problems, and check them.

    Attributes:
      measurement: `(h, w, c)`, or any pytree of real or complex arrays.
      operator: any callable pytree: image `(..., C)`, and what else the generator makes -> the measurement.
      shape: `(H, W, C)`, or `(..., C)` with any number of axes of space; static.
      truth: `(..., C)`, read by the metrics alone.
      guide: `(..., D)`, another picture of the scene, read by `inputs.Guide` alone.

    Examples:
      >>> data = dipjax.problem.denoising(np.zeros((8, 8, 1), np.float32))
      >>> data.shape, data.dtype, data.truth is None
      ((8, 8, 1), dtype('float32'), True)
    """

    measurement: Any
    operator: Callable
    shape: tuple[int, ...] = struct.field(pytree_node=False)
    truth: Array | None = None
    guide: Array | None = None

    @property
    def dtype(self) -> jnp.dtype:
        """The type of the image and of all that is computed: that of the measurement's real numbers."""
        return max((jnp.finfo(leaf.dtype).dtype for leaf in jax.tree.leaves(self.measurement)), key=lambda dtype: dtype.itemsize)


def stack(problems: list[Problem]) -> Problem:
    """Stacks problems of the same kind and size along a new first axis, for `restore(..., problem_axis=0)`.

    Raises:
      ValueError: they have other operators, sizes or fields.

    Examples:
      >>> data = dipjax.problem.denoising(np.zeros((8, 8, 1), np.float32))
      >>> batch = dipjax.problem.stack([data, data, data])
      >>> batch.measurement.shape, batch.shape
      ((3, 8, 8, 1), (8, 8, 1))
    """
    structures = {jax.tree.structure(problem) for problem in problems}
    shapes = {tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(problem)) for problem in problems}
    if len(structures) != 1 or len(shapes) != 1:
        raise ValueError(
            "problems: found different operators, sizes or fields, expected at least one problem and all alike;"
            " restore pictures of different sizes in separate calls."
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)


def spread(problem: Problem, axis: Any) -> list[bool]:
    """Says of every leaf of a batch of problems whether it has one entry for each, from what the caller gave as `problem_axis`.

    Args:
      problem: the batch.
      axis: 0 or None, or a `Problem` with these, or with trees of these, in its fields, as `in_axes` of `jax.vmap`.

    Raises:
      ValueError: something else.
    """

    def marked(mark, part):
        if not (mark is None or (type(mark) is int and mark == 0)):
            raise ValueError("another mark")
        return [mark is not None] * len(jax.tree.leaves(part))

    flags = []
    for field in ("measurement", "operator", "truth", "guide"):
        given = getattr(axis, field) if isinstance(axis, Problem) else axis
        try:
            flags += jax.tree.leaves(jax.tree.map(marked, given, getattr(problem, field), is_leaf=lambda leaf: leaf is None))
        except ValueError as error:
            raise ValueError(f"problem_axis: found {given!r} for the {field}, expected None, 0, or its structure of these.") from error
    return flags
