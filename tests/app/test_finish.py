"""`dipjax refine`, from files to a file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    for examples, of, code, words in (
        ("empty", "noisy.png", 3, "there is no picture in 'empty'"),
        ("colour", "noisy.png", 3, "has 3 channels, expected 1"),
        ("tiny", "noisy.png", 3, "no example has 32 x 32 pixels"),
        ("examples", "other.png", 3, "of: found shape (33, 44, 1)"),
        ("examples", "none.png", 3, "cannot read 'none.png'"),
    ):
        found, _, err = run("refine", "restored.png", "--of", of, "--examples", examples, "-o", "out.png")
        assert found == code and words in err
    assert run("refine", "restored.png", "--of", "noisy.png")[0] == 2
    found, _, err = run(*REFINE, "-o", "noisy.png", "--force")
    assert found == 4 and "would replace a file that is read" in err
