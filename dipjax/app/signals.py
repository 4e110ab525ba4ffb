"""Signals that ask for an end: Ctrl-C (INT), TERM, and HUP where the terminal is gone.

A handler only takes a note. Whoever works looks at it; nothing is torn apart by an exception at a place that does not expect one. The
second Ctrl-C leaves at once: files are put in place in one step, so none is half written.
"""

import os
import signal

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_noted: list[int] = []
_takers: list[bool] = []


def install() -> None:
    """Takes note of signals from now on, but for those that whoever started the program has it ignore (nohup)."""
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def _note(number, frame):
    del frame
    if number == signal.SIGINT and _noted:
        os._exit(128 + number)
    _noted.append(number)


def requested() -> int | None:
    """Returns the exit code that the first signal asks for, 128 and its number, None if none has come."""
    return 128 + _noted[0] if _noted else None


def take_over() -> None:
    """Says that whoever calls looks at `requested` itself from now on, and brings what it has to an end; other work is left at once."""
    _takers.append(True)


def is_taken_over() -> bool:
    """Says whether `take_over` was called."""
    return bool(_takers)
