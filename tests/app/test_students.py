"""`dipjax distill` and `dipjax apply`, from files to files."""

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax.after import student
from dipjax.app import students
from dipjax.files import ImageError
from tests.app.test_cli import rotated_jpeg

pytestmark = pytest.mark.usefixtures("quick_compilation")
TEACH = ("--seeds", 2, "--steps", 2, "--width", 4, "--layers", 2, "--training-steps", 3)


def write(name, dtype=np.uint8, sigma=0.1, seed=0):
    largest = np.iinfo(dtype).max
    pixels = 0.5 + np.random.default_rng(seed).normal(0, sigma, (40, 36))
    tifffile.imwrite(name, (largest * pixels.clip(0, 1)).astype(dtype)) if name.endswith("tif") else Image.fromarray(
        (largest * pixels.clip(0, 1)).astype(dtype)
    ).save(name)


@pytest.fixture
def noisy(folder):
    Path("in").mkdir()
    for seed in range(2):
        write(f"in/{seed}.png", seed=seed)
    return folder


@pytest.fixture
def taught(noisy, run):
    code, out, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 0, err
    assert "2 teachers of 2" in out and "wrote net.student, for white noise" in out
    return noisy


@pytest.mark.slow
def test_a_network_is_taught_by_a_folder_and_goes_on_where_it_was_broken_off(taught, run):
    made = student.load("net.student")
    assert made.about["pictures"] == ["0.png", "1.png"] and made.about["teachers"]["seeds"] == 2
    assert made.degradation.least == pytest.approx(0.1, rel=0.2)
    before = Path("net.student.teachers/1.png").stat().st_mtime_ns
    code, _, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 4 and "already exists" in err
    Path("net.student").unlink()
    Path("net.student.teachers/0.png.json").write_text('{"begun": true}')  # as a process leaves it that was killed before it was done
    code, out, _ = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 0 and "2 pictures: 1 restored, 1 done before" in out
    assert Path("net.student.teachers/1.png").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_training_that_was_broken_off_is_resumed(noisy, run, monkeypatch):
    def broken(*lessons, **how):
        raise ImageError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(students.after, "teach", broken)
        assert run("distill", "in", "-o", "net.student", *TEACH, "--checkpoint", "kept")[0] == 3
    code, out, err = run("resume", "kept")
    assert code == 0, err
    assert "2 done before" in out and "wrote net.student" in out
    code, out, _ = run("resume", "kept")
    assert code == 0 and "nothing is left to do, wrote" in out and "net.student" in out


@pytest.mark.slow
def test_pictures_keep_their_kind_of_file(taught, run):
    write("deep.tif", np.uint16, seed=7)
    code, out, err = run("apply", "net.student", "deep.tif", "-o", "out.tif")
    assert code == 0, err
    made = tifffile.imread("out.tif")
    assert made.dtype == np.uint16 and made.shape == (40, 36)
    with Image.open("in/0.png") as picture:
        picture.convert("RGBA").save("alpha.png")
    assert run("apply", "net.student", "alpha.png")[0] == 0
    with Image.open("alpha.restored.png") as picture:
        assert picture.mode == "RGBA"
    rotated_jpeg("turned.jpg")
    assert run("apply", "net.student", "turned.jpg", "--anyway")[0] == 0
    with Image.open("turned.restored.jpg") as picture:
        assert picture.size == (24, 20)  # as it is to be seen
    tifffile.imwrite("stack.tif", np.stack([made] * 2), photometric="minisblack")
    assert run("apply", "net.student", "stack.tif", "-o", "pages.tif", "--anyway")[0] == 0
    assert tifffile.imread("pages.tif").shape == (2, 40, 36)


@pytest.mark.slow
def test_a_folder_is_restored_with_records_and_once(taught, run):
    code, out, err = run("apply", "net.student", "in", "-o", "out")
    assert code == 0, err
    assert json.loads(Path("out/0.png.json").read_text())["student"]["degradation"]["kind"] == "white"
    assert "2 done before" in run("apply", "net.student", "in", "-o", "out")[1]
    shutil.copy("net.student", "old.student")
    Path("net.student").unlink()
    assert run("distill", "in", "-o", "net.student", *TEACH[:-1], 4)[0] == 0
    assert "2 restored" in run("apply", "net.student", "in", "-o", "out")[1]  # another network


@pytest.mark.slow
def test_noise_of_another_strength_is_refused_unless_asked_for(taught, run):
    write("quiet.png", sigma=0.01)
    code, _, err = run("apply", "net.student", "quiet.png")
    assert code == 3 and "weaker than the white noise" in err and "--anyway" in err
    assert not Path("quiet.restored.png").exists()
    code, _, err = run("apply", "net.student", "quiet.png", "--anyway")
    assert code == 0 and "note: quiet.png: the picture has white noise" in err


@pytest.mark.slow
def test_a_picture_comes_from_stdin(taught, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(Path("in/0.png").read_bytes())))
    assert run("apply", "net.student", "-", "-o", "piped.png")[0] == 0
    assert run("apply", "net.student", "in/0.png", "-o", "direct.png")[0] == 0
    assert Path("piped.png").read_bytes() == Path("direct.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("apply", "photo.png", "photo.png"), 3, "photo.png is damaged or no student"),
        (("apply", "none.student", "photo.png"), 3, "cannot be read"),
        (("apply", "none.student"), 2, "required: IN"),
        (("distill", "in", "-o", "no/net.student"), 4, "there is no directory 'no'"),
        (("distill", "empty", "-o", "net.student"), 3, "there is no picture in 'empty'"),
        (("distill", "in", "-o", "net.student", "--layers", 1), 2, "expected a whole number from 2 to 50"),
        (("distill", "in"), 2, "required: -o/--output"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(noisy, run, arguments, code, words):
    Path("empty").mkdir()
    found, _, err = run(*arguments)
    assert found == code and words in err


def test_pictures_that_do_not_fit_together_are_refused_before_the_teachers(noisy, run, monkeypatch):
    monkeypatch.setattr(students.many, "restore", lambda *arguments, **how: pytest.fail("a teacher began"))
    Image.new("RGB", (40, 36)).save("in/colour.png")
    code, _, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 3 and "the pictures have 1 channels of whole numbers and 3 channels of whole numbers" in err
    Image.new("L", (40, 8)).save("in/colour.png")
    code, _, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 3 and "found 40 x 8 pixels, expected at least" in err


def test_the_network_replaces_nothing_that_is_read(noisy, run, monkeypatch):
    monkeypatch.setattr(students.many, "restore", lambda *arguments, **how: pytest.fail("a teacher began"))
    before = Path("in/0.png").read_bytes()
    code, _, err = run("distill", "in", "-o", "in/0.png", "--teachers", "teachers", "--force", *TEACH)
    assert code == 4 and "would replace a file that is read" in err and Path("in/0.png").read_bytes() == before
