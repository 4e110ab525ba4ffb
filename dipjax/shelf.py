"""What had to be found out before a program could begin, kept in a folder for its next start: shapes, bytes, compiled programs.

JAX keeps compiled programs too, but finds them by their code, so that everything is traced and lowered before it can look: half of the
time of a second start. Here the key is what the code follows from: the name of a function, its settings by value, its arrays by shape and
type, and the environment, that is the sources of dipjax, the versions of what they use, and the settings of JAX when `use` was called.
That holds only in a process that changes no function, no class and no setting of JAX while it runs, so the command line asks for it and
the library keeps nothing by itself. Settings with classes or functions of anybody else are not kept: only their names would be known.

What is read is unpickled and run: the folder must be writable by the user alone.

Examples:
  >>> from dipjax import shelf
  >>> shelf.is_used()
  False
  >>> shelf.remembered(np.size)(np.zeros(3))  # which is called every time
  3
"""

import contextlib
import functools
import hashlib
import io
import os
import pickle
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dipjax.machine import num_cores, variables

PROGRAM, FOUND = ".program", ".found"  # how files end
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
_KNOWN = {"dipjax", "builtins", "collections", "functools", *_PACKAGES}  # of which the environment tells all
_MOST_BYTES = 500_000_000  # of the folder; a program is some megabytes


class _Shelf(NamedTuple):
    folder: Path
    reads: bool
    environment: tuple


_USED: dict[str, _Shelf] = {}  # what is in use, if anything


def use(folder: Path | None, *, reads: bool = True) -> None:
    """Keeps from now on what is found in a folder, which is made; None for nothing and nowhere.

    Args:
      folder: where.
      reads: whether what is kept is read too.

    Raises:
      OSError: the folder cannot be made, or it is not known which dipjax this is.
    """
    if folder is None:
        _USED.clear()
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    _USED["one"] = _Shelf(folder, reads, _environment())


def is_used() -> bool:
    """Says whether anything is kept."""
    return bool(_USED)


def files(folder: Path, *kinds: str) -> list[Path]:
    """Returns what is kept in a folder: all, or files of some kinds."""
    return [path for kind in kinds or (PROGRAM, FOUND) for path in folder.glob(f"*{kind}")]


def _environment():
    """Returns what the code of every program follows from beside its arguments."""
    here = Path(__file__).parent
    sources = hashlib.sha256()
    for path in (paths := sorted(here.rglob("*.py"))):
        text = path.read_bytes()
        sources.update(f"{path.relative_to(here)} {len(text)}\n".encode() + text)
    try:
        versions = [metadata.version(name) for name in _PACKAGES]
    except metadata.PackageNotFoundError as error:
        raise OSError(f"{error} cannot be asked for its version") from error
    if not paths:
        raise OSError("dipjax is installed without its sources")
    flags = os.environ.get("XLA_FLAGS", "")
    in_file = Path(flags).read_bytes() if flags.strip() and not flags.strip().startswith("--") else b""
    settings = sorted((name, repr(value)) for name, value in jax.config.values.items())
    device = jax.devices()[0]
    machine = (
        platform.machine(),
        num_cores(),
        device.platform,
        device.device_kind,
        jax.local_device_count(),
    )  # XLA shares work among cores
    return sources.hexdigest(), sys.version, versions, sorted(variables().items()), in_file, settings, machine


def described(tree: Any) -> tuple:
    """Returns what programs know of a tree while they are traced, which can be hashed: of its arrays the shapes and types."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(map(_described, leaves))


def _described(leaf):
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        return leaf
    sharding = getattr(leaf, "sharding", None)
    is_usual = sharding is None or sharding.device_set == {jax.local_devices()[0]}
    return tuple(leaf.shape), str(leaf.dtype), bool(getattr(leaf, "weak_type", False)), None if is_usual else str(sharding)


class _Pickler(pickle.Pickler):
    """Gives equal keys equal bytes, whatever objects their parts share, and refuses what others have made."""

    def __init__(self, file):
        super().__init__(file)
        self.fast = True

    def reducer_override(self, part):
        if hasattr(part, "__qualname__") and not _is_known(part):
            raise pickle.PicklingError(part.__qualname__)
        return NotImplemented


def _is_known(part):
    """Says whether the environment tells all of a class or a function that there is to its name."""
    return str(part.__module__).partition(".")[0] in _KNOWN and "<" not in part.__qualname__


def place(function: Callable, key: Any, kind: str) -> Path | None:
    """Returns the file, of a kind, for a call of a function; None where nothing is kept, or its name and the key do not tell all of it."""
    shelf = _USED.get("one")
    if shelf is None or not _is_known(function):
        return None
    text = io.BytesIO()
    try:
        _Pickler(text).dump((shelf.environment, function.__module__, function.__qualname__, key))
    except Exception:  # whatever the user's own parts raise
        return None
    return shelf.folder / (hashlib.sha256(text.getvalue()).hexdigest() + kind)


def read(file: Path | None) -> Any:
    """Returns what was written there; None where nothing was, or it cannot be read any more."""
    shelf = _USED.get("one")
    if file is None or shelf is None or not shelf.reads:
        return None
    try:
        content = file.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # used last goes last
        return pickle.loads(content[32:])
    except Exception:  # unpickling may raise anything
        return None


def write(file: Path | None, value: Any) -> None:
    """Writes it, the whole or nothing; what cannot be written is made again the next time."""
    if file is None or value is None:
        return
    with contextlib.suppress(Exception):
        content = pickle.dumps(value)
        beside = file.with_name(f"{os.getpid()}.{file.name}")  # which counts, and goes, should this process be killed
        try:
            beside.write_bytes(hashlib.sha256(content).digest() + content)
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
        _clear(file.parent)


def _clear(folder):
    """Removes what was not used for longest, where there is too much."""
    found = []
    for path in files(folder):
        with contextlib.suppress(OSError):  # another process clears too
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= _MOST_BYTES:
            return
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        total -= size


def remembered(function: Callable) -> Callable:
    """Makes a function keep what it returns; that must follow from its settings, and from the shapes and types of its arrays."""

    @functools.wraps(function)
    def once(*arguments, **named):
        if not is_used():
            return function(*arguments, **named)
        by_value = lambda leaf: (leaf.item(), leaf.dtype.str) if isinstance(leaf, np.generic) else leaf  # noqa: E731
        file = place(function, described(jax.tree.map(by_value, (arguments, named))), FOUND)
        found = read(file)
        if found is None:
            found = function(*arguments, **named)
            write(file, found)
        return found

    return once
