"""The process, from its first line to its exit code.

All work, from the imports on, happens in a thread of its own. The main thread only waits, so that a signal is noticed at once in
every phase, be it in the middle of a compilation that nothing can interrupt.
"""

import os
import sys
import threading
from collections.abc import Callable

from dipjax.app import signals  # the other imports of dipjax come after its `install`

_GLANCE = 0.1  # seconds between two looks at the flag
_LAST_WORDS = 1.0  # seconds that a terminal, halted with Ctrl-S, may keep a process that has nothing else to do


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line of this process and returns its exit code; with `arguments` one of the caller's, in this thread."""
    if arguments is not None:
        return _command(arguments)
    signals.install()
    from dipjax.app import startup, streams

    streams.install()
    startup.use_no_screen()
    startup.use_huge_pages()
    return run(lambda: _command(sys.argv[1:]))


def _command(arguments):
    from dipjax.app import cli

    return cli.run(cli.parse(arguments))


def run(work: Callable[[], int]) -> int:
    """Runs `work() -> exit code` and returns its code, or a signal's; a KeyboardInterrupt of the work says that it has nothing to save.

    Does not return where Python could not end in good order, because a computation goes on that cannot be stopped.
    """
    endings = []

    def target():
        try:
            endings.append(work())
        except BaseException as error:  # SystemExit above all
            endings.append(error)

    worker = threading.Thread(target=target, name="dipjax-command", daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(_GLANCE)
        if signals.requested() and not signals.protected() and worker.is_alive():
            _leave(signals.exit_code(), signals.words())
    (ending,) = endings
    if isinstance(ending, KeyboardInterrupt):
        _leave(signals.exit_code() or signals.INTERRUPTED, signals.words())
    if isinstance(ending, BaseException):
        raise ending
    code = ending or signals.exit_code()
    if any(thread.daemon for thread in threading.enumerate()):
        _leave(code)
    return code


def _leave(code, words=""):
    def speak():
        sys.stderr.write(words)
        sys.stderr.flush()
        sys.stdout.flush()

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    speaker.join(_LAST_WORDS)
    os._exit(code)
