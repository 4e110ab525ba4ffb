"""Everything that is to be measured on a GPU, in one call and within a time limit.

    python -m benchmarks.on_gpu --out DIR [--minutes 9.5] [--data DIR] [--only NAME ...] [--list]

Runs the other scripts in the order of what their answers decide: how runs are laid out (the default of `batching`), a step against
PyTorch, memory, and then, with `--data`, the tables of the paper as far as time allows; those keep finished rows in DIR, so a next call
with the same DIR goes on. Every program compiles for about a minute on a GPU the first time; compiled programs are kept in DIR too. A
script that would outlast the limit is ended, and what it has written stays.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def jobs(out, data):
    """Returns {name: arguments of Python}, the most important first."""

    def job(name, *words):
        return [*map(str, words), "--json", str(out / f"{name}.json"), "--markdown", str(out / f"{name}.md")]

    layouts = ("-m", "benchmarks.speed", "seeds", "--devices", 1, "--layouts", "map", "vmap", "--runs", 1, 8)
    steps = ("-m", "benchmarks.speed", "step", "--sizes", 256, 512)
    words = {
        "seeds_256_fast": (*layouts,),
        "step_tf32": (*steps, 1024),
        "seeds_256_paper": (*layouts, "--recipe", "paper"),
        "step_float32": (*steps, "--precision", "highest"),
        "memory": ("-m", "benchmarks.speed", "memory", "--sizes", 256, 512),
        "seeds_512_fast": (*layouts, "--size", 512),
    }
    if data:
        for table in ("denoising", "superres", "inpainting"):
            for recipe in ("fast", "paper"):
                words[f"{table}_{recipe}"] = ("-m", "benchmarks.paper", table, "--data", data, "--recipe", recipe, "--seeds", 8)
    return {name: job(name, *one) for name, one in words.items()}


def run(arguments, out, seconds):
    """Runs one script; returns its exit code, or None where it was ended because its time was over."""
    environment = {"JAX_COMPILATION_CACHE_DIR": str(out / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}
    # A session of its own: with it end the processes that the script has started.
    process = subprocess.Popen([sys.executable, *arguments], env=os.environ | environment, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the commands and run nothing")
    arguments = parser.parse_args()
    listed = {name: words for name, words in jobs(arguments.out, arguments.data).items() if name in (arguments.only or [name])}
    if arguments.list:
        for name, words in listed.items():
            print(f"{name}: python {' '.join(words)}")
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    for name, words in listed.items():
        start, left = time.monotonic(), end - time.monotonic()
        if left < 60:
            print(f"{name}: not begun, {left:.0f} s are left", flush=True)
            continue
        code = run(words, arguments.out, left)
        outcome = "ended by the time limit" if code is None else f"exit code {code}"
        print(f"{name}: {outcome} after {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
