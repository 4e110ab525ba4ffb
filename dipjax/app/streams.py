"""What the program says, on stdout and stderr, which may break at any time: no word is worth a restoration.

A pipe loses its reader, a terminal closes, a log fills the disk, a descriptor was never open, an encoding lacks a letter: the
`Guarded` streams go on as if nothing were the matter. Every line goes through `say`, `note` or `complain`, which escape what a file's
name might do to a terminal.
"""

import contextlib
import os
import sys


class Guarded:
    """A text stream whose `write` and `flush` never raise; once it has failed it is silent."""

    def __init__(self, stream):
        """Guards a stream, or None where there is none."""
        self._stream, self.failure = stream, None

    def write(self, text: str) -> int:
        """Writes what can be written, and returns the length of the text."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """Passes on what is buffered, if that can be."""
        self._try("flush")

    def isatty(self) -> bool:
        """Returns whether this is a terminal, as far as is known still there."""
        return bool(self._try("isatty"))

    def __getattr__(self, name):
        """Gives all else as the stream itself has it: encoding, fileno, buffer."""
        return getattr(self._stream, name)

    def _try(self, method, *arguments):
        if self._stream is None or self.failure:
            return None
        try:
            return getattr(self._stream, method)(*arguments)
        except BlockingIOError:  # another program has set the descriptor not to wait: this text is lost, the next may fit
            return None
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.failure = error
            _send_nowhere(self._stream)
            return None


def install() -> None:
    """Guards stdout and stderr, and sees to it that no file which is opened later takes the place of one that is closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free, this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Guarded(stream))


class _State:
    """One for the process, as its streams are."""

    speaks_on_stderr = False


def keep_stdout() -> None:
    """Keeps stdout for a picture: what would be said there is told on stderr."""
    _State.speaks_on_stderr = True


def say(text: str = "") -> None:
    """Writes a line of the result to stdout."""
    _write(sys.stderr if _State.speaks_on_stderr else sys.stdout, text)


def tell(text: str) -> None:
    """Writes a line about the progress to stderr."""
    _write(sys.stderr, text)


def note(sentence: str) -> None:
    """Writes to stderr what the user should know."""
    tell(f"dipjax: note: {sentence}")


def complain(sentence: str) -> None:
    """Writes to stderr what is wrong."""
    tell(f"dipjax: error: {sentence}")


def _write(stream, text):
    if not text.isprintable():
        from dipjax.files import printable  # late: NumPy and Pillow come with it

        text = printable(text)
    print(f"{text}\n", end="", file=stream, flush=True)  # in one piece: other threads write too


def _send_nowhere(stream):
    """Points a broken descriptor at the null device, or what is still buffered would raise once more when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, stream.fileno())
        os.close(null)
