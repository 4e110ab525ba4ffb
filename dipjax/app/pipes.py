"""A picture from stdin, and to stdout: `dipjax denoise - < noisy.png > restored.png`. What is said goes to stderr then."""

import contextlib
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipjax import files
from dipjax.app import many, streams
from dipjax.files import ImageError, OutputError
from dipjax.files.opening import MAX_PIXELS, most_bytes
from dipjax.tasks.options import Misused

NAME = "-"


def are_used(given: Namespace) -> bool:
    """Says whether a command reads from stdin or writes to stdout."""
    return NAME in given.input or given.output == NAME


def handled(given: Namespace, work: many.Work, done: Callable[[Namespace], str]) -> int:
    """Does what a command is to do with the pictures that it names, from stdin or to stdout too; as `many.planned` and `restore`."""
    if are_used(given):
        return restore(given, lambda given: many.finished(work(given)))
    if many.are_many(given) or given.ray:
        return many.restore(many.planned(given, done), given, work)
    (given.input,) = given.input
    return many.finished(work(given)).exit_code


def restore(given: Namespace, one: Callable[[Namespace], Any]) -> int:
    """Restores one picture from stdin, or to stdout, and returns the exit code.

    Raises:
      Misused: it cannot be.
      ImageError: there is nothing on stdin, or too much.
      OutputError: stdout is a terminal, or broken; the picture is kept in a file.
    """
    if len(given.input) > 1:
        raise Misused(f"input: found {len(given.input)} pictures and {NAME!r}, expected one: a picture from stdin to stdout")
    if getattr(given, "checkpoint", None):
        raise Misused("--checkpoint: found a picture from stdin or to stdout, expected files: a run that goes on must find them again")
    (given.input,) = given.input
    to_stdout = given.output == NAME or (given.output is None and given.input == NAME)
    if to_stdout:
        if sys.stdout.isatty():
            raise OutputError("cannot write a picture to a terminal; give -o FILE, or send stdout to a file or a pipe")
        streams.keep_stdout()
    with tempfile.TemporaryDirectory(prefix="dipjax-") as folder:
        if given.input == NAME:
            given.input = _spooled(Path(folder) / "stdin", given.max_pixels or MAX_PIXELS)
        if to_stdout:
            given.goes_to_stdout = True
            given.output = str(Path(folder) / f"stdout{files.default_output(given.input, 'out').suffix}")
        code = one(given).exit_code
        if to_stdout and Path(given.output).exists():
            _send(Path(given.output))
    return code


def _spooled(path, most):
    """Keeps what comes from stdin in a file, and returns its name."""
    limit, total = most_bytes(most), 0
    try:
        source = sys.stdin.buffer
        with path.open("wb") as file:
            while piece := source.read(2**20):
                total += len(piece)
                if total > limit:
                    raise ImageError(f"stdin has more than {limit:,} bytes, expected a picture; lift the limit with --max-pixels")
                file.write(piece)
    except (OSError, AttributeError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot read stdin: {getattr(error, 'strerror', None) or 'it is closed'}") from error
    return str(path)


def _send(path):
    try:
        stream = getattr(sys.stdout, "buffer", None)
        if stream is None:
            raise OSError("it is closed")
        stream.write(path.read_bytes())
        stream.flush()
    except (OSError, ValueError) as error:
        kept = Path(tempfile.mkdtemp(prefix="dipjax-")) / path.name
        shutil.copy(path, kept)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.close()
        raise OutputError(
            f"cannot write to stdout: {getattr(error, 'strerror', None) or error}; the picture is in {str(kept)!r}"
        ) from error
