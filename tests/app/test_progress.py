"""What is shown during a restoration, and that nothing which happens to the display happens to the work."""

import os
import re
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import rich.live  # noqa: F401, now, because the work of these tests takes less time than that
import rich.progress  # noqa: F401

from dipjax.app import blocks, progress, signals
from tests.app.processes import DENOISE, FAKE, Terminal, environment, python, write_photo


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Looks often, and no signal came before."""
    monkeypatch.setattr(progress, "_GLANCE", 0.01)
    monkeypatch.setattr(signals._State, "requested", None)
    yield
    monkeypatch.setattr(signals._State, "protected", False)


def result(steps, *, seconds=1.0, alive=(True, True), loss=0.25):
    image = np.full((2, 2, 1), 0.5)
    metrics = SimpleNamespace(loss=np.full((len(alive), steps), loss))
    fields = {"images": np.stack([image] * len(alive)), "image": image, "metrics": metrics, "compile_seconds": 1.0, "stopped": None}
    return SimpleNamespace(num_steps=steps, seconds=seconds, alive=np.array(alive), **fields)


def results(*steps, wait=0.03, then=None):
    for number in steps:
        time.sleep(wait)
        yield result(number)
    if then:
        then()


def test_lines_tell_of_compilation_steps_loss_psnr_speed_and_time_left(capsys):
    followed = progress.follow(results(0, 1, 2, 4), 4, score=lambda image: 10 * float(image.mean()))
    assert (followed.result.num_steps, followed.ending, followed.exit_code) == (4, "done", 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["compiling, 0.0 s", "compiled in 1.0 s", "step 4/4, loss 0.25000, PSNR 5.00 dB, 4 steps/s, 0.0 s left"]


def test_the_end_is_told_even_where_all_went_too_fast_to_be_seen(capsys):
    progress.follow(results(0, 9, wait=0), 9)
    assert capsys.readouterr().err.splitlines()[-1].startswith("step 9/9")


def test_a_slow_step_is_told_once(capsys):
    step = result(3)
    with progress._lines(9, None, progress._describer(None)) as show:
        show(None, 0.0)
        show(result(0), 4.0)
        for seconds in (10.0, 20.0, 30.0):
            show(step, seconds)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["compiling", "compiled in 1.0 s", "step 3/9"]


def test_dead_seeds_are_left_out_of_the_loss_and_said_where_there_are_no_others():
    assert progress._words(result(1, alive=(False, False)), None) == "every seed diverged"
    dying = result(1, alive=(True, False))
    dying.metrics.loss[1] = np.inf
    assert "loss 0.25000" in progress._words(dying, None)


def test_the_budget_counts_from_the_start_and_waits_for_one_step():
    start = time.perf_counter()
    followed = progress.follow(results(0, 1, *range(2, 1000), wait=0.2), 1000, budget=0.1)
    assert (followed.ending, followed.exit_code) == ("budget", 0)
    assert followed.result.num_steps == 1
    assert 0.4 <= time.perf_counter() - start < 2


def test_a_billion_steps_need_no_more_memory_than_one():
    followed = progress.follow(results(0, 1, *range(2, 1000)), 1_000_000_000, budget=0.2)
    assert (followed.ending, followed.result.metrics.loss.shape[1]) == ("budget", followed.result.num_steps)


def test_a_signal_gives_the_result_so_far_or_none(monkeypatch, capsys):
    def request():
        signals._State.requested = 15
        time.sleep(5)

    for steps, expected in (((0,), None), ((0, 1, 2), 2)):
        monkeypatch.setattr(signals._State, "requested", None)
        followed = progress.follow(results(*steps, then=request), 9)
        assert (followed.ending, followed.exit_code) == ("interrupted", 143)
        assert (followed.result and followed.result.num_steps) == expected
    assert signals.protected()
    assert capsys.readouterr().err.count("Ctrl-C again") == 1


def test_no_more_work_is_done_after_the_end():
    before = threading.enumerate()
    followed = progress.follow(results(*range(1000)), 1000, budget=0.1)
    time.sleep(0.2)
    assert followed.ending == "budget"
    assert set(threading.enumerate()) <= set(before)


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt, SystemExit])
def test_what_the_work_raises_is_raised_here(error):
    def fail():
        raise error("here")

    with pytest.raises(error, match="here"):
        progress.follow(results(0, then=fail), 9)
    followed = progress.follow(results(0, 1, then=fail), 9)  # from the first step on there is a picture to save
    assert (followed.result.num_steps, followed.ending, followed.exit_code) == (1, "failed", 1)


def test_where_the_display_fails_the_work_goes_on(monkeypatch, capsys):
    def fail(*arguments):
        raise RuntimeError("no display")

    for name in ("_display", "_lines", "_words", "_time_left"):
        with monkeypatch.context() as patch:
            patch.setattr(progress, name, fail)
            assert progress.follow(results(0, 1, 9), 9, score=fail).ending == "done"
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert progress.follow(results(0, 1, 9), 9).ending == "done"
    assert "Traceback" not in capsys.readouterr().err


def test_a_pipe_that_nobody_reads_holds_up_neither_the_work_nor_the_budget(monkeypatch):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    monkeypatch.setattr(progress, "_LAST_LOOK", 0.1)
    with os.fdopen(writer, "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert progress.follow(results(0, 1, 9), 9).ending == "done"
        monkeypatch.undo()
        os.close(reader)  # sets the display free, whose pipe is broken now
        for thread in threading.enumerate():
            if thread.name == "dipjax_show":
                thread.join(5)
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_without_a_movable_cursor_gets_lines(term, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", term)
    progress.follow(results(0, 1, 9), 9)
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.startswith("compiling, 0.0 s\n")


@pytest.mark.parametrize(("variable", "coloured"), [("NO_COLOR", False), ("TERM_PROGRAM", True)])
def test_a_bar_in_a_terminal_shows_step_loss_psnr_speed_and_time_left(monkeypatch, capsys, variable, coloured):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "150", variable: "1"}.items():
        monkeypatch.setenv(name, value)
    progress.follow(results(0, 1, 5, 9), 9, score=lambda image: 20.0)
    err = capsys.readouterr().err
    assert all(word in err for word in ("compiling", "step ", "loss", "PSNR 20.00 dB", "steps/s", "left"))
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", err)) == coloured
    assert "\x1b[?25h" in err  # the cursor is back


def test_a_bar_in_a_terminal_whose_encoding_has_no_drawings_is_made_of_letters():
    code = FAKE + "import rich.live, rich.progress\nsys.stderr._stream.isatty = lambda: True\nprogress.follow(results(0, 0.1, 0.1, 0.1), 9)"
    with python(code, env=environment(PYTHONIOENCODING="ascii", TERM="xterm")) as child:
        _, err = child.communicate()
    assert child.returncode == 0
    assert "step 2/9" in err
    assert "\\u" not in err


@pytest.mark.slow
def test_a_terminal_shows_the_bar_and_its_cursor_comes_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo()
    with Terminal([*DENOISE, "--steps", "1000000", "--budget", "0.5"]) as terminal:
        terminal.wait_for(None)
        assert terminal.child.wait(timeout=20) == 0
    assert "loss" in terminal.shown
    assert "wrote out.png" in terminal.shown
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min"), (7 * 3600, "7 h 00 min"), (1e6, "11 days")],
)
def test_times_are_for_people(seconds, words):
    assert progress.duration(seconds) == words


# The picture below the bar.


def stripes(height=4, width=6):
    image = np.zeros((height, width, 3), np.float32)
    image[::2] = (1, 0.5, 0)
    image[1::2] = (0, 0, 1)
    return image


def test_a_letter_is_two_pixels_one_above_the_other():
    text = blocks.drawn(stripes(), 80, 30)
    assert text.plain == "\n".join(["\N{UPPER HALF BLOCK}" * 6] * 2)
    assert {(span.style.color.triplet, span.style.bgcolor.triplet) for span in text.spans} == {((255, 128, 0), (0, 0, 255))}


@pytest.mark.parametrize(
    ("shape", "window", "letters"),
    [
        ((512, 512, 3), (120, 40), (24, 48)),
        ((100, 1000, 1), (120, 40), (3, 64)),
        ((1000, 10, 2), (80, 10), (6, 1)),
        ((1, 1, 3), (2, 2), (1, 1)),
    ],
)
def test_a_picture_keeps_its_form_and_fits_the_window(shape, window, letters):
    lines = blocks.drawn(np.full(shape, np.nan), *window).plain.split("\n")
    assert (len(lines), {len(line) for line in lines}) == (letters[0], {letters[1]})


@pytest.mark.parametrize(("variables", "is_drawn"), [
    ({"COLORTERM": "truecolor"}, True), ({}, True), ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, False), ({"TERM": "dumb"}, False),
    ({"TERM": "xterm"}, False),
])  # fmt: skip
def test_the_picture_is_drawn_where_the_terminal_can(monkeypatch, capsys, variables, is_drawn):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    # Colours of its own, because rich remembers how it has written one.
    monkeypatch.setattr(blocks, "picture", lambda task, result: stripes() * (1 if "COLORTERM" in variables else 0.8))
    for name in ("NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"} | variables).items():
        monkeypatch.setenv(name, value)
    progress.follow(results(0, 1, 5, 9), 9, preview=True)
    err = capsys.readouterr().err
    assert ("\N{UPPER HALF BLOCK}" in err) == is_drawn
    assert bool(re.search(r"38;2;255;128;0;48;2;0;0;255m", err)) == (is_drawn and "COLORTERM" in variables)
    assert bool(re.search(r"38;5;\d+;48;5;\d+m", err)) == (is_drawn and "COLORTERM" not in variables)
    assert "step" in err


def test_no_picture_is_drawn_in_a_file_or_unasked(monkeypatch, capsys):
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setattr(blocks, "picture", pytest.fail)
    progress.follow(results(0, 1, 9), 9, preview=True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress.follow(results(0, 1, 9), 9)
    assert "\N{UPPER HALF BLOCK}" not in capsys.readouterr().err


def test_a_picture_that_cannot_be_made_costs_neither_the_work_nor_the_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(blocks, "picture", lambda task, result: result.no_such_thing)
    assert progress.follow(results(0, 1, 9), 9, preview=True).ending == "done"
    assert "step 9/9" in capsys.readouterr().err
