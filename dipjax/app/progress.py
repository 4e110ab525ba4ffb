"""What a restoration shows while it works, and how it is stopped.

`follow` runs the compiled work in a second thread, so that the first one stays free to show the time, to notice Ctrl-C at once,
even during compilation, and to end when the time is up. What the threads share are `Snapshot`s: NumPy arrays, which can be read
without waiting for the computation. A display is a context manager that gives `show(snapshot or None, seconds)`; to add one, add a
function.
"""

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

_WORKER = "dipjax-worker"


class Snapshot(NamedTuple):
    """The runs of one picture after some steps."""

    images: np.ndarray  # (K, H, W, C), every seed's estimate
    alive: np.ndarray  # (K,), False where a seed diverged
    metrics: tuple[np.ndarray, ...]  # loss, psnr, psnr_average as in `train.Metrics`; (K, T), NaN behind num_steps
    num_steps: int
    seconds: float
    compile_seconds: float

    @property
    def image(self) -> np.ndarray:
        """The estimate: the mean over the living seeds, (H, W, C)."""
        return self.images[self.alive].mean(axis=0)

    @property
    def std(self) -> np.ndarray:
        """The standard deviation over the living seeds, (H, W, C)."""
        return self.images[self.alive].std(axis=0)


class Followed(NamedTuple):
    """How the work ended."""

    snapshot: Snapshot | None  # None if it was interrupted before the first step
    ending: str  # "done", "budget" or "interrupted"
    exit_code: int


def follow(
    results: Iterator, num_steps: int, *, budget: float | None = None, score: Callable[[np.ndarray], float] | None = None
) -> Followed:
    """Takes the results of `train.iterate` while showing what happens on stderr.

    Args:
        results: the iterator; all its work is done in another thread.
        num_steps: how many steps there will be.
        budget: seconds after which to stop, compilation included; at least one step is taken.
        score: gives the PSNR of an estimate (H, W, C), to be shown.

    Returns:
        The last snapshot and why there are no more. What the work raises is raised here.
    """
    inbox, stop = queue.SimpleQueue(), threading.Event()
    # A daemon, because nothing can interrupt a compilation and the program must not wait for it.
    worker = threading.Thread(target=_work, args=(results, inbox, stop), name=_WORKER, daemon=True)
    start, latest, ending, exit_code = time.perf_counter(), None, "done", 0
    try:
        with _display(num_steps, budget, score) as show:
            show(None, 0.0)
            worker.start()
            while True:
                with contextlib.suppress(queue.Empty):
                    message = inbox.get(timeout=0.1)
                    if message is None:
                        break
                    if isinstance(message, BaseException):
                        raise message
                    latest = message
                elapsed = time.perf_counter() - start
                show(latest, elapsed)
                if budget is not None and elapsed >= budget and latest and latest.num_steps:
                    ending = "budget"
                    break
    except KeyboardInterrupt as interruption:
        ending, exit_code = "interrupted", interruption.args[0] if interruption.args else 130
    stop.set()
    return Followed(latest if latest and latest.num_steps else None, ending, exit_code)


def is_working(patience: float) -> bool:
    """Tells whether a computation is still running after so many seconds."""
    for thread in threading.enumerate():
        if thread.name == _WORKER:
            thread.join(patience)
    return any(thread.name == _WORKER for thread in threading.enumerate())


def _work(results, inbox, stop):
    try:
        for result in results:
            arrays = (np.asarray(result.images), np.asarray(result.alive), tuple(result.metrics))
            inbox.put(Snapshot(*arrays, result.num_steps, result.seconds, result.compile_seconds))
            if stop.is_set():
                break
        inbox.put(None)
    except BaseException as error:
        inbox.put(error)


def _display(num_steps, budget, score):
    """Chooses a bar for a terminal and lines for a file or a pipe."""
    return (_bar if sys.stderr.isatty() else _lines)(num_steps, budget, _describer(score))


@contextlib.contextmanager
def _bar(num_steps, budget, describe):
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("compiling", total=None, words="")

        def show(snapshot, elapsed):
            if snapshot is None:
                bar.update(row, words=duration(elapsed))
            else:
                words = f"{describe(snapshot)}, {_time_left(snapshot, num_steps, budget, elapsed)}"
                step = f"step {snapshot.num_steps}/{num_steps}"
                bar.update(row, description=step, total=num_steps, completed=snapshot.num_steps, words=words)

        yield show


@contextlib.contextmanager
def _lines(num_steps, budget, describe, every: float = 5.0):
    last_line, written = -every, None

    def show(snapshot, elapsed):
        nonlocal last_line, written
        nothing_new = snapshot is not None and snapshot is written
        just_compiled = snapshot is not None and written is None
        done = snapshot is not None and snapshot.num_steps == num_steps
        if nothing_new or (not just_compiled and not done and elapsed < last_line + every):
            return
        last_line, written = elapsed, snapshot
        if snapshot is None:
            line = f"compiling, {duration(elapsed)}"
        elif just_compiled:
            line = f"compiled in {duration(snapshot.compile_seconds)}"
        else:
            left = _time_left(snapshot, num_steps, budget, elapsed)
            line = f"step {snapshot.num_steps}/{num_steps}, {describe(snapshot)}, {left}"
        print(line, file=sys.stderr, flush=True)

    yield show


def _describer(score):
    """Returns `describe(snapshot)`, which computes the words of one snapshot once."""
    described, words = None, ""

    def describe(snapshot):
        nonlocal described, words
        if snapshot is not described:
            described, words = snapshot, _words(snapshot, score)
        return words

    return describe


def _words(snapshot, score):
    if not snapshot.num_steps or not snapshot.alive.any():
        return "starting" if snapshot.alive.any() else "every seed diverged"
    words = [f"loss {snapshot.metrics[0][snapshot.alive, snapshot.num_steps - 1].mean():.5f}"]
    words += [f"PSNR {score(snapshot.image):.2f} dB"] if score else []
    words += [f"{snapshot.num_steps / snapshot.seconds:.3g} steps/s"]
    return ", ".join(words)


def _time_left(snapshot, num_steps, budget, elapsed):
    if not snapshot.num_steps:
        return "time left unknown"
    left = (num_steps - snapshot.num_steps) * snapshot.seconds / snapshot.num_steps
    left = left if budget is None else min(left, max(0.0, budget - elapsed))
    return f"{duration(left)} left"


def duration(seconds: float) -> str:
    """Writes a time for people: '7.3 s', '2 min 05 s', '3 h 20 min'."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
