"""Records with arrays that JAX traces and settings that it compares: operators, and the problems that they are in.

`flax.struct.dataclass` makes such classes too, but JAX 0.10 compares two of them by their fields alone. Where those are alike, as in
`Identity` and `Complex`, `jax.jit` may run the program of the one for the other. A class that is registered with functions of its own is
told from others by every version of JAX. `field` is Flax's: `pytree_node=False` makes a setting, other `kwargs` and the `metadata` are
those of `dataclasses.field`.

Examples:
  >>> from dipjax import struct
  >>> @struct.dataclass
  ... class Darker:
  ...     factor: jax.Array
  ...     name: str = struct.field(pytree_node=False, default="darker")
  >>> jax.tree.map(lambda leaf: 2 * leaf, Darker(0.5)).replace(name="same")
  Darker(factor=1.0, name='same')
"""

import dataclasses
from functools import partial
from typing import Any, dataclass_transform

import jax
from flax import struct
from jax.tree_util import GetAttrKey

__all__ = ["dataclass", "field"]

field = struct.field


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def dataclass(cls: type | None = None, *, told: str | None = None) -> Any:
    """Makes a class a frozen dataclass and a pytree, as `flax.struct.dataclass` does.

    Args:
      cls: the class; its fields are children of the tree, and those of `field(pytree_node=False)` settings.
      told: the field, if any, whose own classes are settings too, because it may hold what others have made with Flax.
    """
    if cls is None:
        return partial(dataclass, told=told)
    cls = dataclasses.dataclass(frozen=True)(cls)
    arrays, settings = [], []
    for part in dataclasses.fields(cls):
        (arrays if part.metadata.get("pytree_node", True) else settings).append(part.name)

    def values(made, names):
        return tuple(getattr(made, name) for name in names)

    def fixed(made):
        return values(made, settings), told and _classes(jax.tree.structure(getattr(made, told)))

    jax.tree_util.register_pytree_with_keys(
        cls,
        lambda made: (tuple(zip(map(GetAttrKey, arrays), values(made, arrays), strict=True)), fixed(made)),
        lambda set_to, children: cls(**dict(zip((*arrays, *settings), (*children, *set_to[0]), strict=True))),
        lambda made: (values(made, arrays), fixed(made)),
    )
    cls.replace = dataclasses.replace
    return cls


def _classes(structure):
    node = structure.node_data()
    return node and node[0], *map(_classes, structure.children())
