"""The command line as a program: what comes before and after a command, so that no picture is lost to a signal, a terminal or a pipe.

The command runs in a thread of its own. The first thread waits, and looks every tenth of a second whether a signal has come; so it is
noticed at once during imports, reading and compilation too, which nothing can interrupt.
"""

import os
import sys
import threading
from typing import NoReturn

from dipjax.app import signals, streams

_QUICK = {"doctor", "generators", "--help", "-h", "--version"}  # commands that compute next to nothing
_WAIT = 0.05  # seconds between two looks


def main(arguments: list[str] | None = None) -> int:
    """Runs one command line and returns its exit code; without arguments it is the program, takes those of the process, and leaves."""
    if arguments is not None:
        from dipjax.app import cli

        return cli.run(cli.parse(arguments))
    streams.open_closed()
    signals.install()
    streams.guard()
    arguments = sys.argv[1:]
    if arguments and arguments[0] not in _QUICK:
        from dipjax.app import startup

        startup.use_huge_pages()
    codes = []
    worker = threading.Thread(target=_work, args=(arguments, codes), daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(_WAIT)
        if (wanted := signals.requested()) and not signals.is_taken_over():
            streams.complain("interrupted; nothing is written, because not one step was finished")
            _leave(wanted)
    return _leave(signals.requested() or codes[0])


def _work(arguments, codes):
    code = 1
    try:
        from dipjax.app import cli

        code = cli.run(cli.parse(arguments))
    except SystemExit as leaving:  # argparse says so where it has printed help, or an error
        code = leaving.code if isinstance(leaving.code, int) else 0
    except BaseException as error:
        streams.complain(f"{type(error).__name__}: {error}")
    finally:
        codes.append(code)


def _leave(code) -> NoReturn:
    """Ends the process at once: Python would wait for a computation, and complain about a pipe that is gone."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
