"""What a restoration shows while it works, and how it is stopped.

`follow` has the work done in a second thread and its state shown by further ones, so that it is itself never kept waiting: neither by a
compilation, nor by a terminal that was halted, nor by a pipe that nobody reads. A display is a context manager that gives
`show(result or None, seconds)` and has a thread of its own; to add one, add a function.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dipjax.app import blocks, signals, streams
from dipjax.core.state import Result
from dipjax.tasks.restore import Followed

if TYPE_CHECKING:
    from dipjax.app.live import Scene

_GLANCE = 0.1  # seconds between two looks at what the others did
_LINES = 5.0, 60.0  # seconds from one line to the next, at first and after hours, for a file or a pipe
_PICTURE = 1.0  # seconds from one drawing of the same picture to the next
_LAST_LOOK = 2.0  # seconds that a display has to end
_DUMB = {"dumb", "unknown"}  # terminals without a movable cursor


class _Board:
    """What the threads share. Each attribute has one thread that sets it, always as a whole."""

    def __init__(self):
        self.latest = self.error = None  # by the worker
        self.ended = threading.Event()  # by the worker: no more results will come
        self.closed = threading.Event()  # by `follow`: no more results are wanted


def follow(
    results: Iterator[Result],
    num_steps: int,
    *,
    budget: float | None = None,
    callback: None = None,
    score: Callable[[np.ndarray], float] | None = None,
    task: Any = None,
    scene: "Scene | None" = None,
    preview: bool = False,
) -> Followed:
    """Takes results while they come and shows on stderr what happens: the `follow` of the command line for `tasks.restore`.

    Args:
        results: the iterator; all its work is done in another thread.
        num_steps: how many steps there will be.
        budget: seconds after which to stop, compilation included; at least one step is taken.
        callback: of no use here; it is for Python.
        score: gives the PSNR of an estimate (H, W, C), to be shown.
        task: the `Task`, for displays that show the picture.
        scene: where the pages of `--live` look.
        preview: whether the picture is drawn under the bar, in a terminal that can.

    Returns:
        The last result and why there are no more. What the work raises is raised here.
    """
    del callback
    signals.protect()
    board, start, ending, exit_code = _Board(), time.perf_counter(), "done", 0
    _start(_work, results, board)
    look = (lambda result: blocks.picture(task, result)) if preview else None
    displays = [lambda: _terminal(num_steps, budget, score, look)]
    displays += [lambda: scene.display(task, num_steps, lambda *now: _line(*now, num_steps, budget), _describer(score))] if scene else []
    threads = [_start(_show, board, start, display) for display in displays]
    try:
        while not board.ended.wait(_GLANCE):
            if signals.requested():
                ending, exit_code = "interrupted", signals.exit_code()
                break
            if budget is not None and time.perf_counter() >= start + budget and _has_steps(board.latest):
                ending = "budget" if board.latest.num_steps < num_steps else "done"
                break
    finally:
        board.closed.set()
        for thread in threads:
            thread.join(_LAST_LOOK)
    if board.error and ending == "done":
        if not _has_steps(board.latest):
            raise board.error
        # What was reached before is not lost: out of memory in a later tile, say.
        streams.complain(f"the work ended early, and what there is will be written: {type(board.error).__name__}: {board.error}")
        ending, exit_code = "failed", 1
    return Followed(board.latest if _has_steps(board.latest) else None, ending, exit_code)


def _start(target, *arguments):
    # Daemons, because nothing can interrupt a compilation or a halted terminal, and the program must not wait for them.
    thread = threading.Thread(target=target, args=arguments, name=f"dipjax{target.__name__}", daemon=True)
    thread.start()
    return thread


def _work(results, board):
    try:
        for result in results:
            board.latest = result
            if board.closed.is_set():
                break
    except BaseException as error:
        board.error = error
    board.ended.set()


def _has_steps(result):
    return result is not None and result.num_steps > 0


def _show(board, start, display):
    # Whatever becomes of the display, the work goes on.
    with contextlib.suppress(Exception), display() as show:
        closed = False
        while not closed:
            show(board.latest, time.perf_counter() - start)
            closed = board.closed.wait(_GLANCE)
        show(board.latest, time.perf_counter() - start)


@contextlib.contextmanager
def _terminal(num_steps, budget, score, look):
    latest = None
    with _display(num_steps, budget, _describer(score), look) as shows:

        def show(result, elapsed):
            nonlocal latest
            latest = result
            shows(result, elapsed)

        yield show
    if signals.requested() and _has_steps(latest):
        streams.tell("dipjax: interrupted; what there is will be written, Ctrl-C again leaves at once")


def _display(num_steps, budget, describe, look):
    """Chooses a bar for a terminal, with the picture below it if that is asked for, and lines for a file or a pipe."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "").lower() in _DUMB:
        return _lines(num_steps, budget, describe)
    return _bar(num_steps, budget, describe, look)


@contextlib.contextmanager
def _bar(num_steps, budget, describe, look):
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    console = Console(file=sys.stderr)
    spinner = SpinnerColumn("dots" if console.encoding.startswith("utf") else "line")
    columns = (spinner, TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    bar = Progress(*columns, console=console)
    row, drawing = bar.add_task("compiling", total=None, words=""), _Drawing(console, look)
    # It draws when told to and leaves the streams alone: no further thread, and nothing to be undone if this one hangs.
    options = {"transient": True, "auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
    with Live(get_renderable=lambda: Group(bar.get_renderable(), *drawing.drawn), console=console, **options) as live:

        def show(result, elapsed):
            if drawing.is_settled(result, elapsed):
                return
            if result is None:
                bar.update(row, words=duration(elapsed))
            else:
                words = f"{describe(result)}, {_time_left(result, num_steps, budget, elapsed)}"
                step = f"step {result.num_steps}/{num_steps}"
                bar.update(row, description=step, total=num_steps, completed=result.num_steps, words=words)
            live.refresh()

        yield show


class _Drawing:
    """The picture below a bar; without `look`, or in a terminal that cannot show it, nothing."""

    def __init__(self, console, look):
        self._console, self._look = console, look if look and blocks.are_shown_by(console) else None
        self._result, self._next, self.drawn = None, 0.0, ()

    def is_settled(self, result, elapsed):
        """Draws a result that is new; says whether nothing is to be done: a picture is many letters, and is not sent ten times a second."""
        if self._look is None or not _has_steps(result):
            return False
        if result is self._result:
            if elapsed < self._next:
                return True
        else:
            self._result = result
            with contextlib.suppress(Exception):  # it costs only itself
                self.drawn = (blocks.drawn(self._look(result), *self._console.size),)
        self._next = elapsed + _PICTURE
        return False


@contextlib.contextmanager
def _lines(num_steps, budget, describe):
    next_line, compiled, told = 0.0, False, None

    def show(result, elapsed):
        nonlocal next_line, compiled, told
        lines, due = [], elapsed >= next_line
        if result is None:
            lines += [f"compiling, {duration(elapsed)}"] if due else []
        elif not compiled:
            compiled = True
            lines += [f"compiled in {duration(result.compile_seconds)}"]
            due = False
        if _has_steps(result) and result is not told and (due or result.num_steps == num_steps):
            told = result
            lines += [_line(result, elapsed, describe, num_steps, budget)]
        for line in lines:
            next_line = elapsed + min(max(_LINES[0], elapsed / 20), _LINES[1])
            streams.tell(line)

    yield show


def _line(result, elapsed, describe, num_steps, budget):
    return f"step {result.num_steps}/{num_steps}, {describe(result)}, {_time_left(result, num_steps, budget, elapsed)}"


def _describer(score):
    """Returns `describe(result)`, which computes the words of one result once."""
    described, words = None, ""

    def describe(result):
        nonlocal described, words
        if result is not described:
            described, words = result, _words(result, score)
        return words

    return describe


def told(result: Result) -> str:
    """Returns how far a result is, in a line."""
    return f"step {result.num_steps}, {_words(result, None)}"


def _words(result, score):
    if not result.num_steps or not result.alive.any():
        return "starting" if result.alive.any() else "every seed diverged"
    words = [f"loss {result.metrics.loss[result.alive, result.num_steps - 1].mean():.5f}"]
    words += [f"PSNR {score(result.image):.2f} dB"] if score else []
    if result.stopped is not None:
        best = result.best_steps[result.alive & (result.best_steps > 0)]
        words += [f"best at step {int(np.median(best))}"] if best.size else []
        words += [f"{int(result.stopped.sum())} of {result.stopped.size} seeds stopped"] if result.stopped.any() else []
    words += [f"{result.num_steps / max(result.seconds, 1e-9):.3g} steps/s"]
    return ", ".join(words)


def _time_left(result, num_steps, budget, elapsed):
    if not result.num_steps:
        return "time left unknown"
    left = (num_steps - result.num_steps) * result.seconds / result.num_steps
    left = left if budget is None else min(left, max(0.0, budget - elapsed))
    return f"{'' if result.stopped is None else 'at most '}{duration(left)} left"


def duration(seconds: float) -> str:
    """Writes a time for people: '7.3 s', '2 min 05 s', '3 h 20 min', '12 days'."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"
