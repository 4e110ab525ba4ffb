"""Finds out whether compiled programs can be kept on this CPU: once, beside the first run, in processes of its own.

jaxlib does not everywhere read back what it wrote for a CPU: some versions refuse every program, at worst the process dies of it. So
one process compiles the program of a tiny restoration and keeps it, and another must read it back and compute the same. The verdict is
kept beside the programs, in a folder for this version of jaxlib and this CPU.
"""

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import dipjax

WORKS, FAILS = "works", "fails"
_FILE = "verdict"
_LONGEST = 600  # seconds for each of the two
_COMPLAINT = "cpu_aot_loader"  # the part of XLA that says why it will not have a program


def verdict(folder: Path) -> str | None:
    """Returns `WORKS`, `FAILS`, or None where it is not known."""
    try:
        found = (folder / _FILE).read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return found if found in {WORKS, FAILS} else None


@functools.cache
def begin(folder: Path) -> None:
    """Starts the trial beside this process, once, whose end ends it too; without a verdict it is begun anew the next time."""
    if sys.executable:
        with contextlib.suppress(OSError):
            quiet = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
            child = subprocess.Popen(_command("decide", folder), start_new_session=True, **quiet)
            atexit.register(child.terminate)


def decide(folder: str) -> None:
    """Runs the trial and writes the verdict."""
    if hasattr(os, "nice"):
        os.nice(10)
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        first, second = (_told(kept) for _ in range(2))
    works = bool(first and second) and second[0] > first[0] and second[1] == first[1]
    file = Path(folder, f"{_FILE}.{os.getpid()}")
    file.write_text(WORKS if works else FAILS)
    file.replace(file.with_name(_FILE))


def _end(*_):
    """Ends what this process started, then this process, which clears its folder: neither stays behind.

    The whole group at once: an exception that arrives while `subprocess` starts a process leaves that one running, or waits for it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)  # `begin` made it a group of its own
    sys.exit(143)


def _told(kept):
    """Returns what a process says of a restoration: how many programs it read, and the sum of the result. None where it failed."""
    try:
        done = subprocess.run(_command("restore", kept), capture_output=True, text=True, timeout=_LONGEST, check=False)
        number, total = done.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return (int(number), total) if done.returncode == 0 and _COMPLAINT not in done.stderr else None


def _command(function, folder):
    """Has another process call a function of this very module, wherever that is started."""
    here = str(Path(dipjax.__file__).parents[1])
    code = f"import sys; sys.path.append({here!r}); from dipjax.app import trial; trial.{function}(sys.argv[1])"
    return [sys.executable, "-P", "-c", code, str(folder)]


def restore(kept: str) -> None:
    """Restores a tiny picture with the programs that are kept; the network is the one that people use, with as many kernels."""
    import numpy as np

    from dipjax import compiling, shelf
    from dipjax.core import drive
    from dipjax.operators import problem
    from dipjax.recipes import choose

    shelf.use(Path(kept))
    picture = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16, 1)
    result = drive.restore(choose("denoise", "fast")(1).recipe, drive.seeds(0, 1), problem.denoising(picture), num_steps=2)
    print(compiling.Program.num_read, repr(float(result.images.sum())))
