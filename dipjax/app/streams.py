"""What is said on the screen, and streams that cannot fail: a terminal, a pipe or a full disk must never cost a picture."""

import contextlib
import io
import os
import sys
from typing import Any


class Guarded(io.TextIOBase):
    """A text stream that gives up in silence where the one behind it breaks, and writes what its encoding lacks in escapes."""

    def __init__(self, stream: Any):
        """Guards `stream`, which may be None."""
        self._stream = stream  # None once it is broken

    def write(self, text: str) -> int:
        """Writes what can be written."""
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    encoding = self.encoding or "ascii"
                    self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError):  # ValueError: it is closed
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Writes what waits."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None

    def isatty(self) -> bool:
        """Says whether it is a terminal that still listens."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Returns its descriptor."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        """Returns True."""
        return True

    @property
    def encoding(self) -> str | None:
        """That of the stream behind it."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:
        """What becomes of letters that the encoding lacks."""
        return "backslashreplace"


def open_closed() -> None:
    """Opens those of the three standard descriptors that are closed: else the next file would take their place, and be written into."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free, which is this one


def guard() -> None:
    """Puts a `Guarded` in front of standard output and standard error."""
    sys.stdout, sys.stderr = Guarded(sys.stdout), Guarded(sys.stderr)


def say(sentence: str) -> None:
    """Says a result on standard output."""
    _print(sentence, sys.stdout)


def note(sentence: str) -> None:
    """Says on standard error what one should know."""
    _print(f"dipjax: note: {sentence}", sys.stderr)


def complain(sentence: str) -> None:
    """Says on standard error what went wrong."""
    _print(f"dipjax: error: {sentence}", sys.stderr)


def _print(sentence, stream):
    from dipjax.files import printable

    print(printable(sentence), file=stream, flush=True)
