"""Arrays in a file that nothing executes: a line with the schema, a header in JSON, the arrays, and the SHA-256 of everything before.

The length of the header (8 bytes) stands before it, and it names every array with its type and shape, under "arrays". A file is written
complete or not at all. Before an array is allocated, digest, schema, names, shapes and types are known to be right. `checkpoint`
keeps runs in such files and `after.student` networks; each gives its files a word of its own.
"""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dipjax import files

SCHEMA = 1
_PIECE = 2**20  # bytes that are read at once
_DIGEST = hashlib.sha256().digest_size


class Damaged(Exception):
    """Says that a file is not what was written."""


def write(
    path: str | os.PathLike,
    word: str,
    header: dict,
    arrays: Iterable[tuple[str, str, np.ndarray]],
    *,
    force: bool = True,
    before: Callable[[], None] | None = None,
) -> None:
    """Writes a file.

    Args:
      path: the file.
      word: what such a file is, "checkpoint" for example.
      header: what JSON can hold.
      arrays: name, kind and numbers of each; the kind is the name of their type, or "key:" and the implementation of random keys.
      force: whether a file that exists is replaced.
      before: called when all is ready to be written, for example to put aside what is there.

    Raises:
      OutputError: it cannot be written.
    """
    arrays = list(arrays)
    entries = [{"name": name, "dtype": kind, "shape": list(array.shape)} for name, kind, array in arrays]
    text = json.dumps({"arrays": entries} | header).encode()
    numbers = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for *_, array in arrays)
    pieces, digest = [_line(word), struct.pack("<Q", len(text)), text, *numbers], hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    if before:
        before()
    files.write(path, [*pieces, digest.digest()], force=force)


def header(path: Path, word: str, names: Iterable[str]) -> tuple[dict[str, Any], int]:
    """Returns the header of a file, and where the arrays begin.

    Args:
      path: the file.
      word: as for `write`.
      names: what must be in the header.

    Raises:
      Damaged: it is not whole.
      ValueError: it is of another schema.
    """
    line_expected, name = _line(word), _name(word)
    try:
        with path.open("rb") as file:
            size, line = os.fstat(file.fileno()).st_size, file.read(len(line_expected))
            if line.startswith(name) and line != line_expected and line.endswith(b"\n") and line[len(name) : -1].isdigit():
                raise ValueError(
                    f"{word}: {path} has schema {line[len(name) : -1].decode()}, expected {SCHEMA}; it was written by another version"
                    " of dipjax, which can read it."
                )
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            start = len(line_expected) + 8 + length
            if line != line_expected or start + _DIGEST > size:
                raise Damaged(f"{word}: {path} is damaged or no {word}")
            digest = hashlib.sha256(line + head)
            text = file.read(length)
            digest.update(text)
            left = size - start - _DIGEST
            while left and (piece := file.read(min(left, _PIECE))):
                digest.update(piece)
                left -= len(piece)
            if digest.digest() != file.read():
                raise Damaged(f"{word}: {path} is damaged, its digest differs")
        content = json.loads(text)
        total = sum(_size(entry["dtype"], entry["shape"]) for entry in content["arrays"])
        known = set(names) <= set(content)
    except OSError as error:
        raise Damaged(f"{word}: {path} cannot be read: {error.strerror or error}") from error
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged(f"{word}: {path} has a header that is not understood") from error
    except ValueError as error:
        if str(error).startswith(f"{word}: "):
            raise
        raise Damaged(f"{word}: {path} has a header that is not understood") from error
    if not known or total != size - start - _DIGEST:
        raise Damaged(f"{word}: {path} has a header that does not fit its arrays")
    return content, start


def read(path: Path, start: int, shapes: dict[str, tuple[str, tuple]], wrap: Callable = lambda array, kind: array) -> dict[str, Any]:
    """Returns the arrays of a file by name.

    Args:
      path: the file.
      start: where they begin.
      shapes: kind and shape of each, in the order of the file; they must be known to be right.
      wrap: makes of numbers and their kind what is returned.
    """
    with path.open("rb") as file:
        file.seek(start)
        return {name: wrap(_read(file, *found), found[0]) for name, found in shapes.items()}


def dtype(kind: str) -> np.dtype:
    """Returns the type of the numbers of a kind."""
    return np.dtype(np.uint32 if kind.startswith("key:") else jnp.dtype(kind))


def _name(word):
    return f"dipjax {word} ".encode()


def _line(word):
    return _name(word) + b"%d\n" % SCHEMA


def _size(kind, shape):
    # Whole numbers of Python: nothing overflows, whatever the file says.
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError("sides")
    number = 1
    for side in shape:
        number *= side
    return number * dtype(kind).itemsize


def _read(file, kind, shape):
    array = np.empty(shape, dtype(kind))
    file.readinto(array.reshape(-1).view(np.uint8))
    return array
