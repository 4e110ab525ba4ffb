"""What a restoration shows while it works, and how it is stopped.

`follow` runs the compiled work in a second thread, so that its own stays free to show the time, to notice a signal even during
compilation, and to end when the time is up. What the threads share are `Result`s: NumPy arrays, which can be read without waiting for
the computation. A display is a context manager that gives `show(result or None, seconds)`; to add one, add a function.
"""

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from dipjax.app import signals
from dipjax.core.state import Result
from dipjax.tasks.restore import Followed

_WAIT = 0.05  # seconds between two looks at the time and at signals


def follow(
    results: Iterator[Result],
    num_steps: int,
    *,
    budget: float | None = None,
    callback: Callable[[Result], bool | None] | None = None,
    score: Callable[[np.ndarray], float] | None = None,
) -> Followed:
    """Takes the results of `iterate` while showing what happens on stderr.

    Args:
        results: the iterator; all its work is done in another thread.
        num_steps: how many steps there will be.
        budget: seconds after which to stop, compilation included; at least one step is taken.
        callback: told every result; returning True ends the work.
        score: gives the PSNR of an estimate (H, W, C), to be shown.

    Returns:
        The last result and why there are no more. What the work raises is raised here.
    """
    inbox, stop = queue.SimpleQueue(), threading.Event()
    # A daemon, because nothing can interrupt a compilation and the program must not wait for it.
    worker = threading.Thread(target=_work, args=(results, inbox, stop), daemon=True)
    start, latest, ending = time.perf_counter(), None, "done"
    try:
        with _display(num_steps, budget, score) as show:
            show(None, 0.0)
            worker.start()
            while True:
                with contextlib.suppress(queue.Empty):
                    message = inbox.get(timeout=_WAIT)
                    if message is None:
                        break
                    if isinstance(message, BaseException):
                        raise message
                    latest = message
                    if callback and callback(latest):
                        ending = "callback"
                        break
                elapsed = time.perf_counter() - start
                show(latest, elapsed)
                if signals.requested():
                    ending = "interrupted"
                    break
                if budget is not None and elapsed >= budget and latest and latest.num_steps:
                    ending = "budget" if latest.num_steps < num_steps else "done"
                    break
    except KeyboardInterrupt:  # where no handler of ours is installed
        ending = "interrupted"
    stop.set()
    exit_code = (signals.requested() or 130) if ending == "interrupted" else 0
    return Followed(latest if latest and latest.num_steps else None, ending, exit_code)


def _work(results, inbox, stop):
    try:
        for result in results:
            inbox.put(result)
            if stop.is_set():
                break
        inbox.put(None)
    except BaseException as error:
        inbox.put(error)


@contextlib.contextmanager
def _display(num_steps, budget, score):
    """Chooses a bar for a terminal and lines for a file or a pipe; one that fails is not shown any more, and the work goes on."""
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    display, works = (_bar if is_terminal else _lines)(num_steps, budget, _describer(score)), False
    with contextlib.suppress(Exception):
        inner = display.__enter__()
        works = True

    def show(result, elapsed):
        nonlocal works
        if works:
            try:
                inner(result, elapsed)
            except Exception:
                works = False

    try:
        yield show
    finally:
        with contextlib.suppress(Exception):
            display.__exit__(None, None, None)


@contextlib.contextmanager
def _bar(num_steps, budget, describe):
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    # Without a thread of its own, whose failure nobody would catch.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        row = bar.add_task("compiling", total=None, words="")

        def show(result, elapsed):
            if result is None:
                bar.update(row, words=duration(elapsed), refresh=True)
            else:
                words = f"{describe(result)}, {_time_left(result, num_steps, budget, elapsed)}"
                step = f"step {result.num_steps}/{num_steps}"
                bar.update(row, description=step, total=num_steps, completed=result.num_steps, words=words, refresh=True)

        yield show


@contextlib.contextmanager
def _lines(num_steps, budget, describe, every: float = 5.0):
    last_line, written = -every, None

    def show(result, elapsed):
        nonlocal last_line, written
        nothing_new = result is not None and result is written
        just_compiled = result is not None and written is None
        done = result is not None and result.num_steps == num_steps
        if nothing_new or (not just_compiled and not done and elapsed < last_line + every):
            return
        last_line, written = elapsed, result
        if result is None:
            line = f"compiling, {duration(elapsed)}"
        elif just_compiled:
            line = f"compiled in {duration(result.compile_seconds)}"
        else:
            left = _time_left(result, num_steps, budget, elapsed)
            line = f"step {result.num_steps}/{num_steps}, {describe(result)}, {left}"
        print(line, file=sys.stderr, flush=True)

    yield show


def _describer(score):
    """Returns `describe(result)`, which computes the words of one result once."""
    described, words = None, ""

    def describe(result):
        nonlocal described, words
        if result is not described:
            described, words = result, _words(result, score)
        return words

    return describe


def _words(result, score):
    if not result.num_steps or not result.alive.any():
        return "starting" if result.alive.any() else "every seed diverged"
    words = [f"loss {result.metrics.loss[result.alive, -1].mean():.5f}"]
    words += [f"PSNR {score(result.image):.2f} dB"] if score else []
    words += [f"{result.num_steps / max(result.seconds, 1e-9):.3g} steps/s"]
    return ", ".join(words)


def _time_left(result, num_steps, budget, elapsed):
    if not result.num_steps:
        return "time left unknown"
    left = (num_steps - result.num_steps) * result.seconds / result.num_steps
    left = left if budget is None else min(left, max(0.0, budget - elapsed))
    return f"{duration(left)} left"


def duration(seconds: float) -> str:
    """Writes a time for people: '7.3 s', '2 min 05 s', '3 h 20 min'."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
