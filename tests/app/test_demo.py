"""The demonstration, with a tiny generator in place of the real one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipjax import files
from dipjax.app import demo, main

pytestmark = pytest.mark.usefixtures("folder", "quick_compilation")


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    monkeypatch.setattr(demo, "_SETTINGS", ("--seeds", "2", "--steps", "3"))


@pytest.mark.slow
def test_the_demo_needs_no_arguments_and_no_network(monkeypatch, capsys):
    monkeypatch.setattr("socket.socket.connect", pytest.fail)
    for _ in range(2):  # the second time it replaces its own files
        assert main(["demo"]) == 0
    out, _ = capsys.readouterr()
    written = sorted(path.name for path in Path("dipjax-demo").iterdir())
    assert written == [f"demo_{name}.png" for name in ("figure", "noisy", "restored", "std", "truth")]
    shapes = {files.load(f"dipjax-demo/{name}").pixels.shape for name in written if "figure" not in name}
    assert shapes == {demo.photograph().pixels.shape}
    rows = ("noisy", "total variation", "non-local means", "dipjax, one seed", "dipjax, mean of 2 seeds")
    assert all(row in out for row in rows)
    assert all(word in out for word in ("PSNR", "SSIM", "seconds", "CC0", "dipjax denoise YOUR_PICTURE.png"))


@pytest.mark.slow
def test_the_demo_writes_where_it_is_told():
    assert main(["demo", "-o", "other/place"]) == 0
    assert Path("other/place/demo_restored.png").exists()
    assert not Path("dipjax-demo").exists()


def test_the_demo_says_when_it_cannot_write(capsys):
    Path("dipjax-demo").write_text("a file")
    assert main(["demo"]) == 4
    assert "dipjax: error: cannot make the directory" in capsys.readouterr().err


@pytest.mark.slow
def test_the_noise_has_the_announced_strength():
    assert main(["demo"]) == 0
    noisy, truth = (files.load(f"dipjax-demo/demo_{name}.png").pixels for name in ("noisy", "truth"))
    grey = (truth > 0.35) & (truth < 0.65)  # where clipping plays no role
    assert np.std((noisy - truth)[grey]) == pytest.approx(25 / 255, rel=0.05)


@pytest.mark.slow
def test_the_demo_leaves_the_files_of_the_user_alone():
    theirs = ("truth.png", "noisy.png", "restored.png", "figure.png", "std.png")
    for name in theirs:
        Image.new("L", (2, 2)).save(name)
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert main(["demo", "-o", "."]) == 0
    assert {path: path.read_bytes() for path in before} == before
