"""A picture from stdin and to stdout: nothing else comes there, and nothing is lost where it breaks."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dipjax import app
from dipjax.app import streams
from tests.app.processes import TINY, Terminal, environment, write_photo

COMMAND = [sys.executable, "-m", "dipjax", "denoise"]
STEPS = [*TINY, "--steps", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo()


def call(*words, data=None, **options):
    options = {"capture_output": True, "env": environment()} | options
    return subprocess.run([*COMMAND, *words, *STEPS], input=data, check=False, **options)


@pytest.mark.slow
def test_a_picture_goes_through_a_pipe_in_its_own_format(tmp_path):
    Image.open("photo.png").save("photo.bmp")
    through = call("-", data=Path("photo.bmp").read_bytes())
    assert through.returncode == 0, through.stderr
    assert through.stdout.startswith(b"BM") and b"steps, 1 seed" in through.stderr
    to_file = call("-", "-o", "b.bmp", "--json", "b.json", data=Path("photo.bmp").read_bytes())
    assert to_file.returncode == 0 and Path("b.bmp").read_bytes() == through.stdout and b"wrote b.json" in to_file.stdout
    assert call("photo.bmp", "-o", "-").stdout == through.stdout


class Stdin:
    def __init__(self, data):
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize(("words", "data", "code", "sentence"), [
    (("-",), b"", 3, "it is empty"),
    (("-",), b"no picture at all", 3, "not a picture of a kind"),
    (("-", "photo.png"), b"", 2, "expected one"),
    (("-", "--checkpoint", "kept"), b"", 2, "expected files"),
    (("missing.png", "-o", "-"), b"", 3, "No such file"),
])  # fmt: skip
def test_what_cannot_be_is_said_on_stderr_and_nothing_comes_on_stdout(words, data, code, sentence, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Stdin(data))
    monkeypatch.setattr(streams._State, "speaks_on_stderr", False)
    assert app.main(["denoise", *words, *STEPS]) == code
    out, err = capsys.readouterr()
    assert out == "" and sentence in err


@pytest.mark.slow
def test_where_stdout_breaks_the_picture_is_kept():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = call("photo.png", "-o", "-", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 4
    name = re.search(r"the picture is in '(.*)'", done.stderr.decode())[1]
    with Image.open(name) as picture:
        assert picture.size == (20, 24)


def test_no_picture_is_written_to_a_terminal():
    with Terminal(["denoise", "photo.png", "-o", "-", *STEPS]) as terminal:
        terminal.wait_for(None)
    assert "cannot write a picture to a terminal" in terminal.shown
