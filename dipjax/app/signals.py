"""Signals that ask the program to end: the handlers only set a flag, and whoever works looks at it.

INT (Ctrl-C), TERM and HUP (the terminal is gone) ask alike: save what there is, then end with 128 and the number of the signal. A
handler that raised would do so anywhere: inside a C extension that is being loaded, or where an exception is swallowed.

At first nothing is worth saving, and the program's main thread leaves at once, see `program`. From `protect` on it waits for the work,
which looks at `requested`, saves, and ends by itself; `expose` undoes that, and says what is then true of work that ends at once. What the
process was told to ignore stays ignored: `nohup`, jobs of scripts.
"""

import contextlib
import os
import signal
import time

_NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
INTERRUPTED = 128 + signal.SIGINT  # the exit code after Ctrl-C
_ONE_PRESS = 0.5  # seconds; `timeout`, `npm` and others pass on a Ctrl-C that the terminal has sent as well


class _State:
    """One for the process, as signals are."""

    requested: int | None = None  # the first signal
    since = 0.0
    protected = False
    words = "nothing is written, because not one step was finished"


def install() -> None:
    """Installs the handlers; in the main thread, before anything that takes time is imported."""
    for number in _NUMBERS:
        if signal.getsignal(number) not in {signal.SIG_IGN, None}:
            signal.signal(number, _request)
    _let_in()


def requested() -> int | None:
    """Returns the first signal that asked the program to end, or None."""
    return _State.requested


def request() -> None:
    """Asks the program to end, as Ctrl-C does; asked again, it changes nothing."""
    if _State.requested is None:
        _State.requested, _State.since = signal.SIGINT, time.monotonic()


def exit_code() -> int:
    """Returns 128 and the number of that signal, as a shell does, or 0."""
    return 128 + _State.requested if _State.requested else 0


def protect() -> None:
    """Says that from now on the work looks at `requested` itself and saves what there is."""
    _State.protected = True


def expose(words: str) -> None:
    """Says that from now on there is nothing to save, and what is to be said if the program ends now."""
    _State.protected, _State.words = False, words


def words() -> str:
    """Returns what is to be said of work that has nothing to save, and was interrupted."""
    return f"dipjax: interrupted: {_State.words}\n"


def protected() -> bool:
    """Returns whether the work ends by itself."""
    return _State.protected


@contextlib.contextmanager
def held():
    """Makes signals wait, also for a program that takes the place of this one, until its `install`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
    try:
        yield
    finally:
        _let_in()


def _let_in():
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)


def _request(number, frame):
    del frame
    now = time.monotonic()
    if _State.requested is None:
        _State.requested, _State.since = number, now
    elif number == signal.SIGINT and now > _State.since + _ONE_PRESS:
        os._exit(128 + number)  # whenever that is: files appear complete or not at all
