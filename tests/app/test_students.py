"""`dipjax distill` and `dipjax apply`, from files to files."""

import dataclasses
import io
import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax.after import student
from dipjax.app import students
from dipjax.files import ImageError
from dipjax.tasks.options import Diverged
from dipjax.tasks.ranges import Range
from tests.app.processes import TINY, dipjax
from tests.app.test_cli import rotated_jpeg
from tests.app.test_signals import AT_ONCE, SIGNALS, interrupt

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
    assert [one["name"] for one in made.about["pictures"]] == ["0.png", "1.png"] and made.about["teachers"]["seeds"] == 2
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
    assert code == 3 and "colour.png: found 3 channels of whole numbers, but in/0.png has 1 channels of whole numbers" in err
    Image.new("L", (40, 8)).save("in/colour.png")
    code, _, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 3 and "found 40 x 8 pixels, expected at least" in err
    tifffile.imwrite("in/colour.tif", np.zeros((3, 40, 36), np.uint8), photometric="minisblack")
    code, _, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 3 and "cannot learn from 'in/colour.tif': found 3 pages, expected one; write each to a file of its own" in err
    assert not list(Path().glob("net.student.teachers/*"))


def write_impulses(name):
    """Writes a picture half of whose pixels are black or white."""
    Image.fromarray(np.random.default_rng(0).choice(np.uint8([0, 128, 255]), (40, 36), p=[0.1, 0.8, 0.1])).save(name)


def test_pictures_with_several_kinds_of_noise_are_refused_before_the_teachers_unless_asked_for(noisy, run, monkeypatch):
    write_impulses("in/2.png")
    with monkeypatch.context() as patch:
        patch.setattr(students.many, "restore", lambda *arguments, **how: pytest.fail("a teacher began"))
        code, _, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 3 and "found 2 with white noise and 1 with impulse noise" in err and "or give anyway" in err
    code, out, err = run("distill", "in", "-o", "net.student", *TEACH, "--anyway")
    assert code == 0 and "note: of the pictures there are 2 with white noise" in err and "net.student, for white noise" in out


def test_every_map_of_uncertainty_lies_beside_its_teacher(noisy, run):
    for number in (1, 2):
        Path(f"dr/{number}").mkdir(parents=True)
        write(f"dr/{number}/a.png", seed=number)
    write("dr/1/a.tif", seed=3)
    code, out, err = run("distill", "dr", "--recursive", "-o", "net.student", *TEACH)
    assert code == 0 and "3 teachers of 3" in out, err
    maps = {str(path.relative_to("net.student.teachers")) for path in Path("net.student.teachers").rglob("*.std.tif")}
    assert maps == {"1/a.png.std.tif", "1/a.tif.std.tif", "2/a.png.std.tif"}


def test_teachers_without_a_map_of_their_uncertainty_count_alike(noisy, run):
    assert run("denoise", "in", "-o", "made/", "--seeds", 2, "--steps", 2)[0] == 0
    code, out, err = run("distill", "in", "--teachers", "made", "-o", "net.student", *TEACH)
    assert code == 0 and "2 done before" in out, err
    assert "note: beside the teachers of 0.png, 1.png there is no map of their uncertainty" in err


def test_names_that_begin_with_a_minus_are_names(noisy, run):
    write("-x.png")
    code, out, err = run("distill", "--output=-net.student", *TEACH, "--", "-x.png")
    assert code == 0 and "wrote -net.student" in out, err


def test_a_picture_that_no_teacher_can_restore_is_named(noisy, run, monkeypatch):
    alone = students.command.Run.alone

    def broken(run):
        if len(done := list(Path("net.student.teachers").glob("*.png"))) == 1:
            raise Diverged(f"all seeds diverged after {len(done)}")
        return alone(run)

    monkeypatch.setattr(students.command.Run, "alone", broken)
    code, _, err = run("distill", "in", "-o", "net.student", *TEACH)
    assert code == 1 and "take 'in/1.png' away, and give it again" in err


def test_with_checkpoints_another_network_is_taught_by_the_same_teachers(noisy, run):
    words = ("distill", "in", "--teachers", "made", *TEACH, "--checkpoint", "kept")
    assert run(*words, "-o", "net.student")[0] == 0
    code, _, err = run(*words, "-o", "net.student", "--width", 5)
    assert code == 4 and "already exists" in err  # what another command has written is not replaced
    code, out, err = run(*words, "-o", "wide.student", "--width", 5)
    assert code == 0 and "2 done before" in out, err
    assert student.load("wide.student").network.width == 5
    assert "wide.student" in run("resume", "kept")[1]


def test_of_one_picture_there_is_a_record_and_what_does_not_fit_is_named(taught, run):
    code, _, err = run("apply", "net.student", "in/0.png", "-o", "out.png", "--json", "out.json")
    assert code == 0, err
    assert json.loads(Path("out.json").read_text())["output"] == {"file": "out.png"}
    assert "already exists" in run("apply", "net.student", "in/0.png", "-o", "other.png", "--json", "out.json")[2]
    assert not Path("other.png").exists()
    made = student.load("net.student")
    student.save("colour.student", dataclasses.replace(made, network=student.Residual(3, 4, 2), params=colour_params()))
    code, _, err = run("apply", "colour.student", "in/0.png")
    assert code == 3 and "cannot restore 'in/0.png': found 1 channels, expected 3" in err


def colour_params():
    return jax.tree.map(np.asarray, student.Residual(3, 4, 2).init(jax.random.key(0), np.zeros((8, 8, 3), np.float32)))


LEARN = ("distill", "in", "-o", "net.student", *TINY, "--width", "2", "--layers", "2")
NOT_MADE = "dipjax: interrupted: the network was not made; its teachers are kept in 'net.student.teachers/', and the same command goes on\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("after", ["compiled", "training: "])
def test_a_distillation_that_is_interrupted_says_what_there_is(noisy, number, after):
    steps = ("--steps", "1000000") if after == "compiled" else ("--steps", "1", "--training-steps", "1000000")
    with dipjax(*LEARN, *steps) as child:
        _, err, seconds = interrupt(child, number, after=after)
    assert child.returncode == 128 + number and err.endswith(NOT_MADE) and err.count("interrupted: ") == 1
    assert not Path("net.student").exists() and Path("net.student.teachers/0.png").exists()
    assert "Traceback" not in err and seconds < AT_ONCE


@pytest.mark.slow
def test_many_pictures_end_between_two_and_it_is_said_how_many_there_are(noisy):
    params = jax.tree.map(np.asarray, student.Residual(1, 2, 2).init(jax.random.key(0), np.zeros((8, 8, 1), np.float32)))
    made = student.Student(student.Residual(1, 2, 2), params, Range(0.0, 1.0), student.Degradation("white", 0.1, 0.1), {})
    student.save("net.student", made)
    for number in range(2, 400):
        shutil.copy("in/0.png", f"in/{number}.png")
    with dipjax("apply", "net.student", "in", "-o", "out", "--anyway") as child:
        while "wrote" not in child.stdout.readline():
            pass
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    number = len(list(Path("out").glob("*.png")))
    assert child.returncode == 143 and "interrupted: " not in err
    assert 0 < number < 400 and f"400 pictures: {number} restored, {400 - number} left" in out


def test_the_network_replaces_nothing_that_is_read(noisy, run, monkeypatch):
    monkeypatch.setattr(students.many, "restore", lambda *arguments, **how: pytest.fail("a teacher began"))
    before = Path("in/0.png").read_bytes()
    code, _, err = run("distill", "in", "-o", "in/0.png", "--teachers", "teachers", "--force", *TEACH)
    assert code == 4 and "would replace a file that is read" in err and Path("in/0.png").read_bytes() == before
