"""`dipjax refine`, from files to a file."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from dipjax import app, metrics
from dipjax.after import refine as after
from dipjax.app import finish, signals
from dipjax.files import num_pages
from tests.after.test_distill import clean, noisy

pytestmark = pytest.mark.usefixtures("quick_compilation")


def write(name, picture):
    Path(name).parent.mkdir(exist_ok=True)
    Image.fromarray(np.uint8(255 * picture.clip(0, 1)).squeeze()).save(name)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("clean.png", clean(1))
    write("restored.png", clean(1) * 0.9 + 0.05)
    write("noisy.png", noisy(clean(1)))
    for seed in (2, 3):
        write(f"examples/{seed}.png", clean(seed))
    return tmp_path


REFINE = ("refine", "restored.png", "--of", "noisy.png", "--examples", "examples", "--steps", 2)


@pytest.mark.slow
def test_a_picture_is_refined_and_its_record_says_how(pictures, run):
    code, out, err = run(*REFINE, "--reference", "clean.png", "--json", "record.json", "-o", "out.png")
    assert code == 0, err
    assert "wrote out.png" in out and "PSNR" in out and "misfit" in out + err
    record = json.loads(Path("record.json").read_text())
    assert record["input"]["examples"] == 2 and len(record["misfit"]["before"]) == 2 and record["metrics"]["after"]["psnr"] > 15
    code, _, err = run(*REFINE, "-o", "out.png")
    assert code == 4 and "already exists" in err


@pytest.mark.slow
def test_what_would_fit_worse_is_written_as_it_was(pictures, run):
    write("restored.png", noisy(clean(1)))  # fits exactly
    code, _, err = run(*REFINE)
    assert code == 0 and "note: not refined" in err
    assert np.array_equal(*(np.asarray(Image.open(name)) for name in ("restored.png", "restored.refined.png")))


def test_what_cannot_be_is_refused_in_one_sentence(pictures, run):
    Path("empty").mkdir()
    write("colour/a.png", clean(1, channels=3))
    write("tiny/a.png", clean(1, (20, 20)))
    write("other.png", clean(1, (33, 44)))
    write("other_scene.png", clean(7))
    tifffile.imwrite("float.tif", np.float32(255) * clean(1)[..., 0])
    for examples, of, code, words in (
        ("empty", "noisy.png", 3, "there is no picture in 'empty'"),
        ("colour", "noisy.png", 3, "has 3 channels, expected 1"),
        ("tiny", "noisy.png", 3, "no example has 32 x 32 pixels"),
        ("examples", "other.png", 3, "of: found shape (33, 44, 1)"),
        ("examples", "none.png", 3, "cannot read 'none.png'"),
        ("examples", "float.tif", 3, "of: found numbers up to"),
        ("float.tif", "noisy.png", 3, "examples: found numbers up to"),
        ("examples", "other_scene.png", 3, "of: found a measurement that the restored picture misses"),
    ):
        found, _, err = run("refine", "restored.png", "--of", of, "--examples", examples, "-o", "out.png")
        assert found == code and words in err
    assert run("refine", "restored.png", "--of", "noisy.png")[0] == 2
    found, _, err = run(*REFINE, "-o", "noisy.png", "--force")
    assert found == 4 and "would replace a file that is read" in err
    before = Path("examples/2.png").read_bytes()
    for output in ("examples/2.png", "noisy.png"):
        found, _, err = run(*REFINE, "--json", output, "-o", "out.png", "--force")
        assert found == 4 and "would replace a file that is read" in err
    found, _, err = run(*REFINE, "-o", "examples/2.png", "--force")
    assert found == 4 and "would replace a file that is read" in err and Path("examples/2.png").read_bytes() == before
    for words, more in (
        ("--unknown: found", ("--unknown", 5)),
        ("--mask: found with --gaussian", ("--mask", "noisy.png", "--gaussian", 1)),
    ):
        found, _, err = run(*REFINE, *more)
        assert found == 2 and words in err


@pytest.fixture
def unchanging(monkeypatch):
    """A refinement that does nothing but to remember what it was given."""
    given = []

    def refine(restored, of, examples, **how):
        given.append((of, examples, how))
        return after.Refined(restored, False, (0.1, 0.1), (0.2, 0.2))

    monkeypatch.setattr(finish.after, "refine", refine)
    return given


def test_the_measurement_is_that_of_the_task_which_made_the_picture(pictures, run, unchanging):
    holes = np.random.default_rng(0).random((48, 44)) < 0.3
    Image.fromarray(holes).save("mask.png")
    write("small.png", clean(1)[::2, ::2])
    write("blurred.png", ndimage.gaussian_filter(clean(1), (2, 2, 0)))
    for of, more, name, operator in (
        ("noisy.png", (), "denoise", "Identity"),
        ("small.png", ("--kernel", "box"), "superres", "Downsample"),
        ("noisy.png", ("--mask", "mask.png"), "inpaint", "Mask"),
        ("blurred.png", ("--gaussian", 2), "deblur", "Blur"),
    ):
        code, out, err = run("refine", "restored.png", "--of", of, "--examples", "examples", *more, "-o", f"{name}.png")
        assert code == 0, err
        task = unchanging[-1][0]
        assert task.name == name and type(task.problem.operator).__name__ == operator and f"for what {name} was given" in out
    (known,) = [task.problem.operator.known for task, _, _ in unchanging if task.name == "inpaint"]
    np.testing.assert_array_equal(np.squeeze(known) == 0, holes)


def test_a_record_beside_the_picture_says_what_made_it(pictures, run, unchanging):
    for task, code, words in (
        ("denoise", 0, ""),
        ("inpaint", 3, "was made by inpaint, as 'restored.png.json' says, expected --mask"),
        ("superres", 3, "expected --of what that was given"),
        ("dejpeg", 3, "was made by dejpeg"),
        ("restore-photo", 3, "was made by restore-photo"),
    ):
        Path("restored.png.json").write_text(json.dumps({"task": task, "output": {"file": "restored.png"}}))
        found, _, err = run(*REFINE, "-o", "out.png", "--force")
        assert found == code and words in err
    Path("restored.png.json").write_text(json.dumps({"task": "dejpeg", "output": {"file": "another.png"}}))
    assert run(*REFINE, "-o", "out.png", "--force")[0] == 0


def test_what_was_not_refined_is_the_same_file(pictures, run, unchanging):
    Image.open("restored.png").save("restored.jpg", quality=70)
    before = Path("restored.jpg").read_bytes()
    more = ("--of", "noisy.png", "--examples", "examples")
    assert run("refine", "restored.jpg", *more, "-o", "out.jpg")[0] == 0
    assert Path("out.jpg").read_bytes() == before
    time = Path("restored.jpg").stat().st_mtime_ns
    assert run("refine", "restored.jpg", *more, "-o", "restored.jpg", "--force")[0] == 0
    assert (Path("restored.jpg").read_bytes(), Path("restored.jpg").stat().st_mtime_ns) == (before, time)
    assert run("refine", "restored.jpg", *more, "-o", "out.png")[0] == 0
    np.testing.assert_array_equal(np.asarray(Image.open("out.png")), np.asarray(Image.open("restored.jpg")))


def test_what_is_lost_and_what_was_changed_is_said(pictures, run, unchanging):
    exif = Image.Exif()
    exif[271] = "A camera"
    Image.open("restored.png").save("restored.jpg", exif=exif)
    Path("restored.jpg").rename("named.png")
    code, _, err = run("refine", "named.png", "--of", "noisy.png", "--examples", "examples", "-o", "out.pgm")
    assert code == 0 and "note: out.pgm: EXIF" in err and "cannot be kept" in err and "its content is JPEG" in err


def test_several_pages_and_several_pictures_are_refined_one_by_one(pictures, run, unchanging):
    page = np.asarray(Image.open("restored.png"))
    measured = np.asarray(Image.open("noisy.png"))
    tifffile.imwrite("stack.tif", np.stack([page, page]), photometric="minisblack")
    tifffile.imwrite("of.tif", np.stack([measured, page]), photometric="minisblack")
    code, out, err = run("refine", "stack.tif", "--of", "of.tif", "--examples", "examples", "-o", "out.tif", "--json", "out.json")
    assert code == 0 and num_pages("out.tif") == 2, err
    assert [page["ending"] for page in json.loads(Path("out.json").read_text())["pages"]] == ["done", "done"]
    one, other = (np.asarray(task.problem.measurement) for task, _, _ in unchanging)
    assert np.abs(one[..., 0] - measured / 255).max() < 1e-6 and np.abs(other[..., 0] - page / 255).max() < 1e-6
    assert run("refine", "stack.tif", "--of", "noisy.png", "--examples", "examples", "-o", "out.png")[0] == 4
    for name in ("many/a.png", "of/a.png", "many/b.png", "of/b.png"):
        write(name, clean(1))
    code, out, _ = run("refine", "many", "--of", "of", "--examples", "examples", "-o", "made")
    assert code == 0 and "2 pictures: 2 restored" in out
    assert "2 done before" in run("refine", "many", "--of", "of", "--examples", "examples", "-o", "made")[1]


def test_numbers_from_zero_are_taken_and_one_file_is_an_example(pictures, run, unchanging):
    code, _, err = run(*REFINE[:4], "--examples", "examples/2.png", "--bound", 0, "--weight", 0, "-o", "out.png")
    assert code == 0, err
    _, examples, how = unchanging[0]
    assert len(examples) == 1 and how["bound"] == how["weight"] == 0
    code, _, err = run(*REFINE, "--bound", -1)
    assert code == 2 and "expected a number that is not negative" in err


def test_a_record_with_an_infinite_psnr_is_written(pictures, run, unchanging):
    code, _, err = run(*REFINE, "--reference", "restored.png", "--json", "record.json", "-o", "out.png")
    assert code == 0, err
    scores = json.loads(Path("record.json").read_text(), parse_constant=pytest.fail)["metrics"]
    assert scores["before"]["psnr"] is None and scores["before"]["ssim"] == pytest.approx(metrics.ssim(clean(1), clean(1)))


@pytest.mark.slow
def test_a_signal_ends_the_training_and_what_there_is_is_written(pictures, capsys, monkeypatch):
    monkeypatch.setattr(signals, "_State", type("State", (signals._State,), {}))
    real, steps = finish._shown, []

    def shown(num_steps):
        callback = real(num_steps)

        def called(step, loss):
            steps.append(step)
            signals.request()
            return callback(step, loss)

        return called

    monkeypatch.setattr(finish, "_shown", shown)
    code = app.main([*map(str, REFINE[:-1]), "50", "--json", "record.json", "-o", "out.png"])
    assert code == 130 and steps == [1] and signals.protected()
    assert "wrote out.png" in capsys.readouterr().out and Path("out.png").exists()
    assert json.loads(Path("record.json").read_text())["ending"] == "interrupted"
