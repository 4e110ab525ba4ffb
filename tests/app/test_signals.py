"""Real signals, sent to whole processes in every phase of their lives."""

import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.app.processes import DENOISE, FAKE, Terminal, dipjax, python, write_photo

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT_ONCE = 2.0  # seconds, on a busy machine; 0.1 on a quiet one


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo()


def interrupt(child, number, *, after="", wait=0.2):
    """Sends a signal some time after a line on stderr; returns what was written, and the seconds until the end."""
    seen = ""
    while after not in seen:
        seen += child.stderr.readline()
    time.sleep(wait)
    start = time.perf_counter()
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    return out, seen + err, time.perf_counter() - start


PHASES = {
    "sleeping": "time.sleep(1000)",
    "waiting for a process": "subprocess.run(['sleep', '2'], stdout=-3, stderr=-3)",
    "busy": "while True: pass",
    "failing to be stopped": """
        while True:
            try: time.sleep(0.01)
            except BaseException: pass""",
}


@pytest.mark.parametrize(("phase", "number"), [*((phase, signal.SIGINT) for phase in PHASES), *(("sleeping", n) for n in SIGNALS[1:])])
def test_before_there_is_anything_to_save_a_signal_ends_the_program_at_once_and_it_says_so(phase, number):
    code = FAKE + f"def work():\n        streams.tell('here')\n        {PHASES[phase]}\nsys.exit(program.run(work))"
    with python(code) as child:
        _, err, seconds = interrupt(child, number, after="here", wait=0.1)
    assert child.returncode == 128 + number
    assert err == "here\ndipjax: interrupted: nothing is written, because not one step was finished\n"
    assert seconds < AT_ONCE


FOLLOW = (
    FAKE
    + """
def work():
    followed = progress.follow(results({seconds}), 100)
    if followed.result is None:
        raise KeyboardInterrupt(followed.exit_code)
    streams.say(f"{{followed.ending}}, {{followed.result.num_steps}} steps")
    time.sleep({saving})
    streams.say("saved")
    return followed.exit_code
sys.exit(program.run(work))
"""
)


@pytest.mark.parametrize("number", SIGNALS)
def test_during_the_compilation_too(number):
    with python(FOLLOW.format(seconds=1000, saving=0)) as child:
        out, err, seconds = interrupt(child, number, after="compiling")
    assert (child.returncode, out) == (128 + number, "")
    assert err.endswith("\ndipjax: interrupted: nothing is written, because not one step was finished\n")
    assert seconds < AT_ONCE


@pytest.mark.parametrize("number", SIGNALS)
def test_during_a_long_step_the_result_before_it_is_saved_at_once(number):
    with python(FOLLOW.format(seconds="0, 0.01, 0.01, 1000", saving=0)) as child:
        out, err, seconds = interrupt(child, number, after="compiled")
    assert (child.returncode, out) == (128 + number, "interrupted, 2 steps\nsaved\n")
    assert "Ctrl-C again leaves at once" in err
    assert seconds < AT_ONCE


def test_a_signal_while_the_result_is_saved_stops_nothing_and_tells_in_the_exit_code():
    with python(FOLLOW.format(seconds="0, 0.01", saving=1)) as child:
        out, _, _ = interrupt(child, signal.SIGTERM, after="compiled", wait=0.5)
    assert (child.returncode, out) == (143, "done, 1 steps\nsaved\n")


@pytest.mark.parametrize(("pause", "saved"), [(0.1, True), (0.8, False)])
def test_a_second_interruption_leaves_at_once_but_not_one_that_is_the_first_passed_on(pause, saved):
    with python(FOLLOW.format(seconds="0, 0.01, 1000", saving=2)) as child:
        for line in child.stderr:
            if line.startswith("compiled"):
                break
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        time.sleep(pause)
        start = time.perf_counter()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert ("saved" in out) == saved
    assert saved or time.perf_counter() - start < 1
    assert "Traceback" not in err


def test_a_halted_terminal_keeps_nobody_from_leaving():
    """Stderr is a pipe that is full, and nobody reads it: every write waits."""
    code = (
        FAKE
        + """
def work():
    os.write(1, b"here")
    streams.tell("x" * 1000000)
sys.exit(program.run(work))
"""
    )
    with python(code) as child:
        assert child.stdout.read(4) == "here"
        time.sleep(0.3)
        start = time.perf_counter()
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=20) == 143
        assert time.perf_counter() - start < 3
        child.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_process_was_started_to_ignore_it_ignores(number):
    """As under `nohup`, and in the background of a script."""
    ignore = f"import signal\nsignal.signal({number}, signal.SIG_IGN)\n"
    with python(ignore + FOLLOW.format(seconds="0, 0.01, 1", saving=0)) as child:
        out, _, _ = interrupt(child, number, after="compiled")
    assert (child.returncode, out) == (0, "done, 2 steps\nsaved\n")


def test_a_signal_is_not_lost_where_the_program_starts_again():
    code = """
import os, signal, sys
from dipjax.app import signals
signals.install()
if sys.argv[1:]:
    sys.exit(signals.exit_code())
with signals.held():
    os.kill(os.getpid(), signal.SIGTERM)
    assert not signals.requested()
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], "again"])
"""
    with python(code) as child:
        assert child.communicate() == ("", "")
    assert child.returncode == 143


@pytest.mark.parametrize("ending", ["return 3", "sys.exit(3)", "signals.protect(); os.kill(os.getpid(), 15); time.sleep(0.3); return 3"])
def test_the_exit_code_is_that_of_the_work(ending):
    with python(f"{FAKE}def work():\n    {ending}\nsys.exit(program.run(work))") as child:
        child.communicate()
    assert child.returncode == 3


def test_an_error_of_the_work_is_raised_where_the_program_waits():
    with python(f"{FAKE}def work():\n    raise OSError('no such luck')\nprogram.run(work)") as child:
        assert "no such luck" in child.communicate()[1]
    assert child.returncode == 1


EARLY = 0.15  # seconds until the handlers are there, on a busy machine; until then Python ends as it does without them
MOMENTS = (0.0, 0.06, 0.12, 0.2, 0.4, 0.8, 1.2, 1.7, 2.5, 4.0)


@pytest.mark.parametrize(("number", "moment"), [(SIGNALS[i % 3], moment) for i, moment in enumerate(MOMENTS)])
@pytest.mark.slow
def test_a_restoration_ends_well_whenever_the_signal_comes(number, moment):
    with dipjax(*DENOISE, "--steps", "1000000", "--stop", "none", "--json", "out.json") as child:
        time.sleep(moment)
        start = time.perf_counter()
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
        seconds = time.perf_counter() - start
    if moment <= EARLY and child.returncode == -number:
        return
    assert child.returncode == 128 + number, err
    assert "Traceback" not in err
    assert Path("out.png").exists() == Path("out.json").exists() == ("nothing is written" not in err)
    if Path("out.png").exists():
        assert "wrote out.png" in out
        with Image.open("out.png") as picture:
            picture.load()  # which fails where the file was cut off
            assert picture.size == (20, 24)
    assert {path.name for path in Path().iterdir()} <= {"photo.png", "out.png", "out.json"}
    assert seconds < AT_ONCE


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_the_restoration_and_the_picture_is_written():
    """Closing a terminal sends HUP, and breaks stdin, stdout and stderr."""
    with Terminal([*DENOISE, "--steps", "1000000", "--json", "out.json"]) as terminal:
        terminal.wait_for("loss")
        terminal.close()
        assert terminal.child.wait(timeout=20) == 129
    assert Path("out.png").exists()
    assert Path("out.json").exists()
