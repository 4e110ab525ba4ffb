"""Contestants in processes of their own that take turns: machines are shared, and JAX fixes its number of devices when it starts.

The script calls `alternate` with one command per contestant, and is itself that command: with `--worker` it prepares and compiles
everything and then calls `serve`, which answers every line of the input with one round of measurements.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date

import numpy as np

from dipjax.app import startup


def serve(measure: Callable[[], dict]) -> None:
    """Says that everything is ready, then measures once for every line of the input."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def alternate(commands: dict[str, tuple[list[str], dict[str, str]]], num_rounds: int) -> dict[str, list[dict]]:
    """Returns what every contestant measured in each round; a command is `(arguments, what to add to the environment)`.

    All of them, PyTorch too, get the huge pages that the command line of dipjax asks for.
    """
    processes = {}
    for name, (arguments, environment) in commands.items():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, *arguments], env=os.environ | startup.HUGE_PAGES | environment, **pipes)
        if process.stdout.readline() != "ready\n":  # one after the other: compilations would only slow each other down
            raise SystemExit(f"{name}: its process failed")
        processes[name] = process
    rounds = {name: [] for name in processes}
    for _ in range(num_rounds):
        for name, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            rounds[name].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return rounds


def each(commands: dict[str, tuple[list[str], dict[str, str]]]) -> None:
    """Runs every contestant to its end, one after the other."""
    for arguments, environment in commands.values():
        subprocess.run([sys.executable, *arguments], env=os.environ | environment, check=True)


def seconds(function: Callable[[], object]) -> float:
    """Returns how long a call takes; it must end only when its work has."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def spread(values: list[float], digits: int = 0) -> str:
    """Writes the median with the smallest and the largest."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def made() -> str:
    """Says where and with what: device, versions, commit and date. Imports JAX."""
    import jax

    command = ["git", "-C", os.path.dirname(__file__), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    device = f"{startup.num_cores()} cores of {platform.machine()}"
    if jax.default_backend() != "cpu":
        device = jax.devices()[0].device_kind
    versions = f"JAX {jax.__version__}"
    if "torch" in sys.modules:
        versions += f", PyTorch {sys.modules['torch'].__version__}"
    return f"{device}, {versions}, commit {commit}, {date.today()}"
