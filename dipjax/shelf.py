"""What had to be found out before a program could begin, kept in a folder for its next start: shapes, bytes, compiled programs.

JAX keeps compiled programs too, but finds them by their code, so that everything is traced and lowered before it can look: half of the
time of a second start. Here the key is what the code follows from: the name of a function, its settings by value, its arrays by shape and
type, and the environment, that is the sources of dipjax, the versions of what they use, and the settings of JAX. That holds only in a
process that changes no function and no class while it runs, so the command line asks for it and the library keeps nothing by itself.

What is read is unpickled and run: the folder must be writable by the user alone.

Examples:
  >>> from dipjax import shelf
  >>> shelf.is_used()
  False
  >>> shelf.remembered(lambda x, factor: factor * x.size)(np.zeros(3), 2)  # which is called every time
  6
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
from typing import Any

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
_MOST_BYTES = 500_000_000  # of the folder; a program is some megabytes
PROGRAM, FOUND = ".program", ".found"  # how files end
_USED: dict[str, Any] = {}  # the folder and the environment


def use(folder: Path | None) -> None:
    """Keeps from now on what is found in a folder, which is made; None for nothing and nowhere.

    Raises:
      OSError: the folder cannot be made.
    """
    _USED.clear()
    if folder is not None:
        folder.mkdir(mode=0o700, exist_ok=True)
        _USED.update(folder=folder, environment=_environment())


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
    for path in sorted(here.rglob("*.py")):
        text = path.read_bytes()
        sources.update(f"{path.relative_to(here)} {len(text)}\n".encode() + text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # among which XLA shares a program's work
    device = jax.devices()[0]
    versions = [metadata.version(name) for name in _PACKAGES]
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith(("XLA_", "JAX_")))
    settings = sorted((name, repr(value)) for name, value in jax.config.values.items())
    machine = (platform.machine(), cores, device.platform, device.device_kind, jax.local_device_count())
    return sources.hexdigest(), sys.version, versions, variables, settings, machine


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


def place(key: Any, kind: str) -> Path | None:
    """Returns the file of a key, of a kind; None where nothing is kept, or the key has parts that only this process knows."""
    if not _USED:
        return None
    try:
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer)
        pickler.fast = True  # equal keys are equal bytes, whatever objects their parts share
        pickler.dump((_USED["environment"], key))
    except Exception:  # whatever the user's own parts raise
        return None
    return _USED["folder"] / (hashlib.sha256(buffer.getvalue()).hexdigest() + kind)


def read(file: Path | None) -> Any:
    """Returns what was written there; None where nothing was, or it cannot be read any more."""
    if file is None:
        return None
    try:
        content = file.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
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
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            beside.write_bytes(hashlib.sha256(content).digest() + content)
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
        _clear(file.parent)


def _clear(folder):
    """Removes what was not used for longest, where there is too much."""
    ages = sorted(((path, path.stat()) for path in files(folder)), key=lambda pair: pair[1].st_mtime)
    total = sum(status.st_size for _, status in ages)
    for path, status in ages:
        if total <= _MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= status.st_size


def remembered(function: Callable) -> Callable:
    """Makes a function keep what it returns; that must follow from its settings, and from the shapes and types of its arrays."""

    @functools.wraps(function)
    def once(*arguments, **named):
        file = place((function.__module__, function.__qualname__, described((arguments, named))), FOUND) if _USED else None
        found = read(file)
        if found is None:
            found = function(*arguments, **named)
            write(file, found)
        return found

    return once
