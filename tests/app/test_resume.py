"""Commands that are killed, asked to leave or cut short, and go on."""

import contextlib
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app.conftest import RGB
from tests.app.processes import dipjax, write_photo

# So many steps that it cannot end before it is killed, on however fast a machine.
COMMAND = ("denoise", "photo.png", "--generator", "siren", "--option", "width=8", "--seeds", "2", "--stop", "none")
KEPT = ("--checkpoint", "kept", "--checkpoint-every", "0.05")


def outputs(name, steps=6000):
    return (*COMMAND, "--steps", str(steps), "-o", f"{name}.png", "--json", f"{name}.json", "--curve", f"{name}.csv")


def wait_for(path, child):
    while not Path(path).exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)


def newest():
    """Returns when the newest checkpoint was written, 0 if there is none; a writer that was killed leaves it in the place of the older."""
    times = [0]
    for path in Path("kept").glob("*.dipjax*"):
        with contextlib.suppress(FileNotFoundError):  # on its way to that place
            times.append(path.stat().st_mtime_ns)
    return max(times)


def record(name):
    """Returns what does not depend on the time, nor on the names of files."""
    content = json.loads(Path(f"{name}.json").read_text())
    for part in ("seconds", "compile_seconds", "command", "output"):
        del content[part]
    for part in ("checkpoint", "checkpoint_every"):
        del content["options"][part]
    return content


@pytest.mark.slow
def test_a_command_that_is_killed_and_told_to_leave_ends_as_one_that_was_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo()
    with dipjax(*outputs("alone")) as child:
        child.communicate()
    for number, code, wait in ((signal.SIGKILL, -9, 0.3), (signal.SIGKILL, -9, 0.0), (signal.SIGTERM, 143, 0.5), (signal.SIGHUP, 129, 0.5)):
        before = newest()
        with dipjax(*(("resume", "kept") if before else (*outputs("killed"), *KEPT))) as child:
            wait_for("kept/00000.dipjax", child)
            while newest() <= before and child.poll() is None:
                time.sleep(0.02)
            time.sleep(wait)
            child.send_signal(number)
            out, err = child.communicate()
        assert child.returncode in (code, 0), err
        if child.returncode == code != -9:
            assert "saved" in out and "dipjax resume" in out
            assert not Path("killed.png").exists()
    with dipjax("resume", "kept") as child:
        out, err = child.communicate()
    assert child.returncode == 0, err
    assert Path("killed.png").read_bytes() == Path("alone.png").read_bytes()
    assert Path("killed.csv").read_bytes() == Path("alone.csv").read_bytes()
    assert record("killed") == record("alone")


@pytest.mark.slow
def test_enlarging_goes_on_in_another_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo()
    words = ("superres", "photo.png", "--factor", "2", "-o", "out.png", *COMMAND[2:], "--steps", "3", *KEPT)
    with dipjax(*words) as child:
        child.communicate()
    Path("out.png").unlink()
    with dipjax("resume", "kept", "--steps", "5") as child:
        _, err = child.communicate()
    assert child.returncode == 0, err
    assert Path("out.png").exists()


@pytest.fixture
def begun(folder, run):
    """A command that was cut short."""
    code, _, err = run("denoise", "photo.png", "-o", "out.png", "--stop", "none", "--steps", 4, "--checkpoint", "kept")
    assert code == 0, err
    return folder


def test_what_is_done_is_not_done_again(begun, run):
    before = Path("out.png").stat().st_mtime_ns
    code, out, _ = run("resume", "kept")
    assert code == 0 and "nothing is left to do, wrote" in out
    assert Path("out.png").stat().st_mtime_ns == before


def test_more_steps_replace_what_the_run_itself_has_written(begun, run):
    content = json.loads(Path("kept/command.json").read_text())
    assert content["ending"] == "done"
    code, _, err = run("resume", "kept", "--steps", 6)
    assert code == 0, err
    assert run("denoise", "photo.png", "-o", "other.png", "--stop", "none", "--steps", 6)[0] == 0
    assert Path("out.png").read_bytes() == Path("other.png").read_bytes()


def test_a_file_of_somebody_else_is_not_replaced(begun, run):
    code, _, err = run("denoise", "photo.png", "-o", "clean.png", "--stop", "none", "--steps", 4, "--checkpoint", "kept")
    assert code == 4 and "already exists" in err
    assert json.loads(Path("kept/command.json").read_text())["arguments"][3] == "out.png"


def test_the_folder_of_another_picture_is_refused_and_stays_as_it_was(begun, run):
    before = {path.name: path.read_bytes() for path in Path("kept").iterdir()}
    Image.fromarray(np.ascontiguousarray(RGB[:, ::-1])).save("second.png")
    code, _, err = run("denoise", "second.png", "--stop", "none", "--steps", 4, "--checkpoint", "kept")
    assert code == 3 and "is of another problem" in err
    assert {path.name: path.read_bytes() for path in Path("kept").iterdir()} == before
    code, _, err = run("denoise", "photo.png", "-o", "b.png", "--stop", "none", "--steps", 4, "--seeds", 2, "--checkpoint", "kept")
    assert code == 3 and "other seeds" in err


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 1}', '{"schema": 9, "arguments": [], "begun": [], "folder": ""}'])
def test_a_journal_that_is_damaged_or_of_another_version_is_refused(begun, run, content):
    Path("kept/command.json").write_text(content)
    code, _, err = run("resume", "kept")
    assert code == 3 and "cannot read" in err


def test_there_must_be_something_to_resume(folder, run):
    code, _, err = run("resume", "nowhere")
    assert code == 3 and "there is no run to resume in 'nowhere'" in err


@pytest.mark.parametrize("words", [("--checkpoint", ""), ("--checkpoint-every", "0"), ("--checkpoint-every", "nan")])
def test_options_of_checkpoints_are_checked(folder, run, words):
    assert run("denoise", "photo.png", *words)[0] == 2
