"""Streams that break, in objects and in whole processes."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dipjax.app import streams
from tests.app.processes import DENOISE, dipjax, environment, python, write_photo

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
TALK = """
import sys
from dipjax.app import streams
streams.install()
for _ in range(3000):
    streams.say("a line that the reader may or may not want")
    streams.note("a line that the reader may or may not want")
with open("work", "w") as file:
    print("done", file.fileno(), file=file)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo()


class Broken(io.StringIO):
    """A stream that fails after some writes."""

    def __init__(self, error, num_good=0):
        super().__init__()
        self.error, self.num_good = error, num_good

    def write(self, text):
        self.num_good -= 1
        if self.num_good < 0:
            raise self.error
        return super().write(text)

    flush = isatty = lambda self: self.write("")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF])
def test_a_stream_that_broke_is_silent_and_never_raises(number):
    broken = Broken(OSError(number, os.strerror(number)), num_good=1)
    guarded = streams.Guarded(broken)
    assert [guarded.write(text) for text in ("one", "three", "")] == [3, 5, 0]
    guarded.flush()
    print("more", file=guarded, flush=True)
    assert not guarded.isatty()
    assert broken.getvalue() == "one"
    assert guarded.failure.errno == number


def test_a_stream_that_is_closed_or_was_never_there_takes_everything():
    closed = io.StringIO()
    closed.close()
    for guarded in (streams.Guarded(closed), streams.Guarded(None)):
        assert guarded.write("text") == 4
        guarded.flush()
        assert not guarded.isatty()
        assert getattr(guarded, "fileno", None) is None or guarded.failure


def test_a_stream_that_was_only_busy_goes_on():
    guarded = streams.Guarded(Broken(BlockingIOError(errno.EAGAIN, "")))
    guarded.write("lost")
    assert guarded.failure is None


def test_a_wrong_type_is_still_an_error():
    with pytest.raises(TypeError):
        streams.Guarded(io.StringIO()).write(b"bytes")


def test_what_a_stream_knows_of_itself_passes_through():
    with open("file", "w", encoding="latin-1") as file:
        guarded = streams.Guarded(file)
        assert (guarded.encoding, guarded.fileno()) == ("latin-1", file.fileno())


CLOSED = {
    "no reader": "| true",
    "a reader of one line": "| head -n 1",
    "stderr without a reader": "2>&1 >/dev/null | head -n 1",
    "both without a reader": "2>&1 | head -n 1",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "a full disk": ">/dev/full",
    "a full disk for both": ">/dev/full 2>&1",
}


@needs_dev_full
@pytest.mark.parametrize("name", CLOSED)
def test_the_work_is_done_and_nobody_complains_wherever_the_words_go(name):
    Path("talk.py").write_text(TALK)
    script = f"set -o pipefail; '{sys.executable}' talk.py {CLOSED[name]}"
    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stderr.splitlines()) <= {"dipjax: note: a line that the reader may or may not want"}
    word, descriptor = Path("work").read_text().split()
    assert word == "done"
    assert int(descriptor) > 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(encoding):
    code = "from dipjax.app import streams; streams.install(); streams.say('wrote 雪é.png'); streams.note('雪é')"
    with python(code, env=environment(PYTHONIOENCODING=encoding), encoding="latin-1" if encoding == "latin-1" else "utf-8") as child:
        out, err = child.communicate()
    assert child.returncode == 0
    expected = {"ascii": "\\u96ea\\xe9", "latin-1": "\\u96eaé", "utf-8": "雪é"}[encoding.removesuffix(":strict")]
    assert out == f"wrote {expected}.png\n"
    assert err == f"dipjax: note: {expected}\n"


@pytest.mark.parametrize("trick", ["\x1b]0;title\x07", "\n", "\r", "\u202egnp", "\x9b2J", "\udcff"])
@pytest.mark.parametrize("speak", [streams.say, streams.tell, streams.note, streams.complain])
def test_no_name_of_a_file_reaches_the_terminal_raw(speak, trick, capsys):
    speak(f"wrote a{trick}b.png")
    out, err = capsys.readouterr()
    assert trick not in (out + err)[:-1]
    assert (out + err).count("\n") == 1
    assert "b.png" in out + err


@needs_dev_full
@pytest.mark.parametrize("where", [">/dev/full 2>&1", "<&- >&- 2>&-"])
@pytest.mark.slow
def test_a_restoration_writes_all_its_files_though_nobody_hears_of_it(where):
    command = " ".join(map(str, ["-m dipjax", *DENOISE, "--steps 5 --json out.json --curve out.csv"]))
    script = f"set -o pipefail; '{sys.executable}' {command} {where}"
    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert all(Path(name).exists() for name in ("out.png", "out.json", "out.csv"))


def test_a_usage_error_escapes_what_was_typed():
    with dipjax("denoise", "photo.png", "--no\x1b[2Jsense") as child:
        out, err = child.communicate()
    assert (child.returncode, out) == (2, "")
    assert err.startswith("dipjax: error: ")
    assert "\x1b" not in err
