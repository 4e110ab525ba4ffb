"""Whole processes for the tests: real signals, real pipes and terminals."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
TINY = ("--generator", "siren", "--option", "width=8", "--seeds", "1")  # the restoration that compiles fastest
DENOISE = ("denoise", "photo.png", "-o", "out.png", *TINY)

# What stands for the library: a result is ready every so many seconds, the first one after the compilation.
FAKE = """
import os, signal, subprocess, sys, time
from types import SimpleNamespace
from dipjax.app import program, signals, streams
signals.install()
streams.install()
import numpy as np

# JAX needs a second to be imported, and nothing here needs JAX.
sys.modules["dipjax.core.state"] = SimpleNamespace(Result=None)
sys.modules["dipjax.tasks.restore"] = SimpleNamespace(Followed=lambda *fields: SimpleNamespace(**dict(zip(FIELDS, (*fields, 0)))))
FIELDS = ("result", "ending", "exit_code")
from dipjax.app import progress

def result(steps, loss=0.5):
    image = np.full((2, 2, 1), 0.25)
    metrics = SimpleNamespace(loss=np.full((1, steps), loss))
    return SimpleNamespace(
        num_steps=steps, seconds=0.1 * steps, compile_seconds=1.0, alive=np.array([True]), metrics=metrics, images=image[None], image=image,
        stopped=None,
    )

def results(*seconds):
    for steps, wait in enumerate(seconds):
        time.sleep(wait)
        yield result(steps)
"""


def environment(**variables):
    """Returns the variables for a process that computes on the CPU."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"} | variables


def start(command, **options):
    """Starts a process; what it writes can be read unless `options` say where it goes."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    return subprocess.Popen(command, **pipes | options)


def python(code, **options):
    """Starts Python with a program text."""
    return start([sys.executable, "-c", code], **options)


def dipjax(*arguments, **options):
    """Starts the command line."""
    return start([sys.executable, "-m", "dipjax", *map(str, arguments)], **options)


def write_photo():
    """Writes the picture that `DENOISE` restores."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")


# A terminal belongs to the first process of a session.
IN_A_SESSION = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """The command line in a terminal of its own."""

    def __init__(self, arguments, **variables):
        self._ours, theirs = os.openpty()
        command = [sys.executable, "-c", IN_A_SESSION, "-m", "dipjax", *arguments]
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self.child = subprocess.Popen(command, env=environment(TERM="xterm", COLUMNS="120") | variables, **streams)
        os.close(theirs)
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
        self.child.kill()
        self.child.wait()

    def wait_for(self, words):
        """Reads until some words have been shown, or None until the end."""
        while words is None or words not in self.shown:
            try:
                self.shown += os.read(self._ours, 10000).decode(errors="replace")
            except OSError:  # nobody has it open any more
                if words is None:
                    return
                raise

    def close(self):
        """Closes the window, once."""
        if self._ours is not None:
            os.close(self._ours)
        self._ours = None
