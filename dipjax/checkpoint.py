"""Runs that outlive their process: states, their curves and their recipe in files, and the folder of one restoration.

Its files are those of `container`, in which nothing is ever executed. One is written complete or not at all, and the one before stays
beside it, as NAME.1; where the newer is damaged, the older counts.

Examples:
  >>> checkpoint, data = dipjax.checkpoint, dipjax.problem.denoising(np.full((8, 8, 1), 0.5, np.float32))
  >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
  >>> result = dipjax.restore(recipe, dipjax.seeds(0, 2), data, num_steps=2)
  >>> checkpoint.save("runs.dipjax", checkpoint.Checkpoint(recipe, result.state, result.metrics), data)
  >>> found = checkpoint.load("runs.dipjax", data)
  >>> found.state.step, found.metrics.loss.shape
  (array([2, 2], dtype=int32), (2, 2))
  >>> folder = checkpoint.Folder("folder", recipe)
  >>> folder.saw(0, data, result, is_last=True)
  >>> folder.begin(0, dipjax.seeds(0, 2), data)[0].step
  array([2, 2], dtype=int32)
"""

import hashlib
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dipjax import container, files, record
from dipjax.container import Damaged
from dipjax.core import check
from dipjax.core.problem import Problem, spread
from dipjax.core.recipe import Recipe
from dipjax.core.state import Metrics, Result, State

_HEADER = ("recipe", "problem", "step", "seconds", "compile_seconds")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of a function, which is another in every process
_KEYS = ("threefry2x32", "rbg", "unsafe_rbg")
_CURVES = ("float16", "bfloat16", "float32", "float64")


class Checkpoint(NamedTuple):
    """Where runs are.

    Attributes:
      recipe: the method.
      state: leaves `(..., ...)`, of runs `...` as in `Result`.
      metrics: the curves so far, `(..., T)`.
      seconds: spent in steps.
      compile_seconds: spent in compilation.
    """

    recipe: Recipe
    state: State
    metrics: Metrics
    seconds: float = 0.0
    compile_seconds: float = 0.0


def save(path: str | os.PathLike, checkpoint: Checkpoint, problem: Problem) -> None:
    """Writes a checkpoint, complete or not at all, and keeps the one before it.

    Args:
      path: the file.
      checkpoint: for example `Checkpoint(recipe, result.state, result.metrics)`.
      problem: what the runs are of. Only digests of it are kept, by which another one is refused.

    Raises:
      OutputError: it cannot be written.
    """
    path = Path(path)
    named = [(name, *_plain(leaf)) for name, leaf in _named((checkpoint.state, checkpoint.metrics))]
    header = {
        "recipe": json.loads(checkpoint.recipe.to_json()),
        "problem": _digests(problem),
        "step": int(np.max(checkpoint.state.step)),
        "seconds": checkpoint.seconds,
        "compile_seconds": checkpoint.compile_seconds,
        "made_with": record.made_with(),
    }

    def put_aside():
        if path.exists():
            with files.writing(path):
                os.replace(path, _older(path))

    container.write(path, "checkpoint", header, named, before=put_aside)


def load(path: str | os.PathLike, problem: Problem, *, recipe: Recipe | None = None, problem_axis: Any = None) -> Checkpoint:
    """Reads a checkpoint; where its file is damaged the one before it, with a warning.

    Args:
      path: the file.
      problem: what the runs are of; another one than that of `save` is refused.
      recipe: the method, which must be that of the file; None takes the one in the file, which has no parts of the user's own.
      problem_axis: as for `restore`.

    Returns:
      The checkpoint. `iterate(recipe, checkpoint.state, problem, ...)` goes on from there, bit for bit as if nothing had happened.

    Raises:
      ValueError: there is none, both are damaged, it is of another problem or recipe, or of another schema.
    """
    path = Path(path)
    try:
        return _load(path, problem, recipe, problem_axis)
    except Damaged as error:
        if not _older(path).exists():
            raise ValueError(str(error)) from error
        try:
            found = _load(_older(path), problem, recipe, problem_axis)
        except Damaged as other:
            raise ValueError(f"{error}; so is the one before it") from other
        if path.exists():  # else its process ended between two generations
            warnings.warn(f"{error}; the one before it is taken, of step {int(np.max(found.state.step))}", RuntimeWarning, stacklevel=2)
        os.replace(_older(path), path)  # what is damaged must not become the older one
        return found


def _older(path):
    return path.with_name(f"{path.name}.1")


def _load(path, problem, recipe, problem_axis):
    header, start = container.header(path, "checkpoint", _HEADER)
    if recipe is None:
        recipe = Recipe.from_json(json.dumps(header["recipe"]))
    elif other := _difference(header["recipe"], json.loads(recipe.to_json()), "recipe"):
        raise ValueError(f"checkpoint: {path} is of another recipe: {other}; take another folder, or the same settings.")
    if others := [name for name, digest in _digests(problem).items() if header["problem"].get(name) != digest]:
        raise ValueError(f"checkpoint: {path} is of another problem, its {others[0]} differs; take another folder, or the same input.")
    shapes = {entry["name"]: (entry["dtype"], tuple(entry["shape"])) for entry in header["arrays"]}
    runs = shapes.get(".step", ("", ()))[1]
    expected = _expected(recipe, problem, problem_axis, runs, shapes)
    named = _named(expected)
    for name, leaf in named:
        numbers = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        kind = shapes[".key"][0] if _is_key(leaf) else np.dtype(leaf.dtype).name
        if shapes.get(name) != (kind, numbers.shape):
            found = shapes.get(name, "nothing")
            raise ValueError(f"checkpoint: {path} has {found} as {name}, expected {(kind, numbers.shape)}; it is of another version.")
    if len(shapes) != len(named):
        raise ValueError(f"checkpoint: {path} has other parts than this recipe has; it is of another version.")
    read = container.read(path, start, shapes, _wrapped)
    state, metrics = jax.tree.unflatten(jax.tree.structure(expected), [read[name] for name, _ in named])
    return Checkpoint(recipe, state, metrics, header["seconds"], header["compile_seconds"])


def _expected(recipe, problem, problem_axis, runs, shapes):
    """Returns the state and the curves of such runs without numbers; nothing is computed."""
    kind, _, impl = shapes.get(".key", ("", ()))[0].partition(":")
    if kind != "key" or impl not in _KEYS:
        raise Damaged(f"checkpoint: found keys of the kind {kind}:{impl}, expected one of {', '.join(_KEYS)}")
    key = jax.eval_shape(lambda: jax.random.key(0, impl=impl)).dtype
    state = check.fits(recipe, problem, spread(problem, problem_axis))
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*runs, *leaf.shape), key if _is_key(leaf) else leaf.dtype), state)
    kind, shape = shapes.get("metrics.loss", ("", ()))
    if shape[:-1] != runs or kind not in _CURVES:
        raise Damaged("checkpoint: found no curves, or of another number of runs")
    curve = jax.ShapeDtypeStruct(shape, container.dtype(kind))
    known = (curve, curve) if problem.truth is not None else (None, None)
    return state, Metrics(curve, *known, (curve,) * len(recipe.watch), None if recipe.stopping is None else curve)


def _plain(leaf):
    """Returns the kind of an array, and its numbers."""
    if not _is_key(leaf):
        return np.dtype(leaf.dtype).name, np.asarray(leaf)
    return f"key:{jax.random.key_impl(leaf)}", np.asarray(jax.random.key_data(leaf))


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _wrapped(array, kind):
    return jax.random.wrap_key_data(array, impl=kind.removeprefix("key:")) if kind.startswith("key:") else array


def _named(pair):
    """Returns the leaves of a state and of curves with their names."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(pair)
    return [("metrics" * place.idx + jax.tree_util.keystr(rest), leaf) for (place, *rest), leaf in leaves]


def _digests(problem):
    """Returns the SHA-256 of each part of a problem."""
    return {name: _digest(getattr(problem, name)) for name in ("shape", "measurement", "operator", "truth", "guide")}


def _digest(tree):
    leaves, structure = jax.tree.flatten(tree)
    digest = hashlib.sha256(_ADDRESS.sub("", str(structure)).encode())
    for leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _difference(there, here, place):
    """Says in words where two settings differ; empty if they do not."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in {**there, **here}:
            if words := _difference(there.get(name), here.get(name), f"{place}.{name}"):
                return words
        return ""
    return "" if there == here else f"{place} is {json.dumps(there)[:80]} there and {json.dumps(here)[:80]} here"


class Folder:
    """The checkpoints of one restoration, a file for each of its tiles: what `tiling.iterate` begins from, and tells how far it is."""

    def __init__(self, path: str | os.PathLike, recipe: Recipe, *, every: float = 60.0, warn: Callable[[str], None] = warnings.warn):
        """Makes the folder where there is none.

        Args:
          path: the folder.
          recipe: the method.
          every: seconds from one checkpoint to the next.
          warn: is told once where a checkpoint cannot be written; the work goes on.

        Raises:
          OutputError: it is none, or cannot be made.
        """
        self._path, self._recipe, self._every, self._warn = Path(path), recipe, every, warn
        with files.writing(self._path):
            self._path.mkdir(exist_ok=True)
        files.sweep(self._path)
        self._lock, self._last, self._latest, self._saved, self._failed = threading.Lock(), time.monotonic(), None, None, False

    def begin(self, index: int, keys: jax.Array, problem: Problem) -> tuple[jax.Array | State, Checkpoint | None]:
        """Returns from where a tile goes on: the keys, or a state and what was before it.

        Args:
          index: the number of the tile, from 0.
          keys: `(K,)`, its seeds.
          problem: the data of the tile.

        Raises:
          ValueError: what is in the folder is of other work, or damaged.
        """
        path = self._of(index)
        if not (path.exists() or _older(path).exists()):
            return keys, None
        found = load(path, problem, recipe=self._recipe)
        there, here = (np.asarray(jax.random.key_data(key)) for key in (found.state.key, _noise_keys(keys)))
        if not np.array_equal(there, here):
            raise ValueError(f"checkpoint: {path} is of other seeds or another rng; take another folder, or the same settings.")
        return found.state, found

    def saw(self, index: int, problem: Problem, result: Result, *, is_last: bool = False) -> None:
        """Is told how far a tile is, and saves it where that is due."""
        with self._lock:
            self._latest = (index, problem, result)
            if is_last or time.monotonic() >= self._last + self._every:
                self._save()

    def flush(self) -> bool:
        """Saves what was seen last; returns whether all of it is kept."""
        with self._lock:
            self._save()
            return self._latest is None or self._saved is self._latest[2]

    def remembered(self, name: str) -> Any:
        """Returns what `remember` has kept, None if there is nothing."""
        try:
            return json.loads((self._path / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def remember(self, name: str, value: Any) -> None:
        """Keeps a decision that must be the same when the work goes on."""
        try:
            files.write(self._path / f"{name}.json", json.dumps(value).encode(), force=True)
        except files.OutputError as error:
            self._tell(error)

    def _save(self):
        if self._latest is None or self._saved is self._latest[2]:
            return
        index, problem, result = self._latest
        self._last = time.monotonic()
        try:
            checkpoint = Checkpoint(self._recipe, result.make_state(), result.metrics, result.seconds, result.compile_seconds)
            save(self._of(index), checkpoint, problem)
            self._saved = result
        except files.OutputError as error:
            self._tell(error)

    def _tell(self, error):
        if not self._failed:
            self._warn(f"{error}; the work goes on without a checkpoint")
        self._failed = True

    def _of(self, index):
        return self._path / f"{index:05d}.dipjax"


def _noise_keys(keys):
    """Returns the keys that the states of runs hold, see `loop.init`."""
    return jax.vmap(lambda key: jax.random.split(key, 3)[2])(keys)
