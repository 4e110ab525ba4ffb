"""A student: a light network that restores new pictures of one degradation in one forward pass, and its file.

The file is a `container`: numbers, and a header in JSON that says what the network is, for which noise it was made and by whom it was
taught. Nothing in it is executed.

Examples:
  >>> from dipjax.after import degradation, student
  >>> from dipjax.tasks.ranges import Range
  >>> network, noisy = student.Residual(1, width=4, num_layers=2), np.full((8, 8, 1), 0.5, np.float32)
  >>> params = jax.tree.map(np.asarray, network.init(jax.random.key(0), noisy))
  >>> made = dipjax.Student(network, params, Range(0.0, 1.0), degradation.Degradation("white", 0.1, 0.1), {})
  >>> student.save("night.student", made)
  >>> student.load("night.student").restore(noisy).shape
  (8, 8, 1)
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dipjax import container, record
from dipjax.after import degradation
from dipjax.after.degradation import Degradation
from dipjax.compiling import compiled
from dipjax.generators.residual import Residual
from dipjax.large import tiling
from dipjax.operators import checks
from dipjax.tasks.ranges import Range, filled

_WORD = "student"
_HEADER = ("network", "range", "degradation", "about")
_MOST = {"channels": 64, "width": 1024, "num_layers": 100}  # of a network
_TILE = 512  # pixels along a side; a larger picture is restored in tiles of this size, by one compiled program


@dataclass(frozen=True, eq=False)
class Student:
    """A network that was taught, and what it was taught for: what `dipjax.distill` makes.

    Attributes:
      network: what maps pictures `(H, W, C)`.
      params: a tree of NumPy arrays.
      span: the values that are 0 and 1 for the network, in the units of the pictures.
      degradation: of the pictures that it learned from.
      about: where it comes from; for JSON.
    """

    network: Residual
    params: Any
    span: Range
    degradation: Degradation
    about: dict[str, Any]

    def check(self, pixels: np.ndarray) -> tuple[bool, str]:
        """Says whether a picture `(H, W, C)` is one for this network at all, and what is doubtful; the latter is empty if nothing is.

        Raises:
          ValueError: its channels are not those of the network.
        """
        channels = self.network.channels
        if channels not in (1, pixels.shape[-1]):
            raise ValueError(
                f"found {pixels.shape[-1]} channels, expected {channels}, those of the network; make one of such pictures, or of gray ones,"
                " which restores every channel for itself"
            )
        far = (self.span.beyond(pixels) != 0).any(axis=-1)
        if far.any() and self.span.beyond(np.array(fills := filled(pixels))).any():  # which neither noise nor highlights do
            return False, f"the picture fills {Range(*fills)}, but the network was made for {self.span}; is it in other units?"
        fits, doubt = degradation.compare(degradation.estimate(self.span.inside(pixels)), self.degradation)
        told = f"{far.sum()} of the pixels lie far outside of {self.span}, for which the network was made, and stay so" * bool(far.any())
        return fits, "; ".join(filter(None, (doubt, told)))

    def restore(self, pixels: np.ndarray) -> np.ndarray:
        """Restores a picture `(H, W, C)`, in its units; a network for gray pictures takes the channels one by one.

        What lies more than the width of the range outside of it is restored as if it lay there, and put back by the rest.
        """
        inside = self.span.inside(pixels)
        if self.network.channels != inside.shape[-1]:
            made = np.concatenate([self._whole(inside[..., i : i + 1]) for i in range(inside.shape[-1])], -1)
        else:
            made = self._whole(inside)
        return np.asarray(self.span.outside(made + self.span.beyond(pixels)), pixels.dtype)

    def _whole(self, picture):
        shape = picture.shape[:2]
        if max(shape) <= _TILE:
            return np.asarray(forward(self.network, self.params, picture))
        grid, made = tiling.cover(shape, _TILE, None, reach=self.network.reach), np.zeros_like(picture)
        for part, window in zip(grid.parts, grid.windows(), strict=True):
            made[part] += window * np.asarray(forward(self.network, self.params, picture[part]))
        return made


@compiled(static_argnames="network")
def forward(network: Residual, params: Any, picture: np.ndarray) -> jax.Array:
    """Returns what a network makes of a picture `(H, W, C)`; compiled once for every size."""
    return network.apply(params, picture)


def check_network(network: Residual) -> None:
    """Refuses a network that a file could not hold; raises a ValueError."""
    for name, most in _MOST.items():
        checks.count(name, getattr(network, name), most=most)


def save(path: str | os.PathLike, student: Student, *, force: bool = False) -> None:
    """Writes a student, complete or not at all.

    Args:
      path: the file.
      student: the network.
      force: whether an existing file may be replaced.

    Raises:
      OutputError: the file exists and `force` is not given, or cannot be written.
    """
    arrays = [(name, np.dtype(leaf.dtype).name, np.asarray(leaf)) for name, leaf in _named(student.params)]
    header = {
        "network": record.encode(student.network),
        "range": [student.span.low, student.span.high],
        "degradation": student.degradation._asdict(),
        "about": student.about,
    }
    container.write(path, _WORD, header, arrays, force=force)


def load(path: str | os.PathLike) -> Student:
    """Reads a student.

    Raises:
      ValueError: there is none, it is damaged, or of another version.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"student: found {type(path).__name__}, expected a Student, or the name of its file.")
    path = Path(path)
    try:
        header, start = container.header(path, _WORD, _HEADER)
    except container.Damaged as error:
        raise ValueError(f"{error}; expected a file that `dipjax distill` wrote") from error
    try:
        network, span, found = _understood(header)
        entries = [(entry["name"], entry["dtype"], tuple(entry["shape"])) for entry in header["arrays"]]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"student: {path} has a header that is not understood") from error
    expected = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((8, 8, network.channels), np.float32))
    named = [(name, np.dtype(leaf.dtype).name, leaf.shape) for name, leaf in _named(expected)]
    if entries != named:
        raise ValueError(f"student: {path} has other arrays than its network; it is of another version.")
    read = container.read(path, start, {name: (kind, shape) for name, kind, shape in named})
    params = jax.tree.unflatten(jax.tree.structure(expected), list(read.values()))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise ValueError(f"student: {path} has numbers that are not finite")
    return Student(network, params, span, found, header["about"])


def _understood(header):
    """Returns network, range and degradation of a header, or raises whatever is wrong with it."""
    network, found, (low, high) = record.loads(json.dumps(header["network"])), Degradation(**header["degradation"]), header["range"]
    numbers = [low, high, found.least, found.most, 0.0 if found.exponent is None else found.exponent]
    if not (isinstance(network, Residual) and isinstance(header["about"], dict) and all(map(checks.is_real, numbers))):
        raise TypeError
    check_network(network)
    if not (np.isfinite(list(map(float, numbers))).all() and low < high and 0 <= found.least <= found.most):
        raise ValueError
    if found.kind not in degradation.KINDS:
        raise LookupError
    return network, Range(float(low), float(high)), found


def _named(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(place), leaf) for place, leaf in leaves]
