"""The demonstration, with a tiny generator in place of the real one."""

from pathlib import Path

import numpy as np
import pytest
from test_cli import tiny

from dipjax.app import cli, demo
from dipjax.files import images
from dipjax.recipes import fast as recipes

SETTINGS = ("--seeds", "2", "--steps", "3")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(recipes.FAST, "denoise", tiny)
    monkeypatch.setattr(demo, "_SETTINGS", SETTINGS)


def test_the_demo_needs_no_arguments_and_no_network(monkeypatch, capsys):
    monkeypatch.setattr("socket.socket.connect", pytest.fail)
    for _ in range(2):  # the second time it replaces its own files
        assert cli.main(["demo"]) == 0
    out, _ = capsys.readouterr()
    written = sorted(path.name for path in Path("dipjax-demo").iterdir())
    assert written == ["figure.png", "noisy.png", "restored.png", "std.png", "truth.png"]
    shapes = {images.load(f"dipjax-demo/{name}").pixels.shape for name in written if name != "figure.png"}
    assert shapes == {demo.photograph().pixels.shape}
    rows = ("noisy", "total variation", "non-local means", "dipjax, one seed", "dipjax, mean of 2 seeds")
    assert all(row in out for row in rows)
    assert all(word in out for word in ("PSNR", "SSIM", "seconds", "CC0", "dipjax denoise YOUR_PICTURE.png"))


def test_the_demo_writes_where_it_is_told():
    assert cli.main(["demo", "-o", "other/place"]) == 0
    assert Path("other/place/restored.png").exists()
    assert not Path("dipjax-demo").exists()


def test_the_demo_says_when_it_cannot_write(capsys):
    Path("dipjax-demo").write_text("a file")
    assert cli.main(["demo"]) == 4
    assert "dipjax: error: cannot make the directory" in capsys.readouterr().err


def test_the_noise_has_the_announced_strength():
    assert cli.main(["demo"]) == 0
    noisy, truth = (images.load(f"dipjax-demo/{name}.png").pixels for name in ("noisy", "truth"))
    grey = (truth > 0.35) & (truth < 0.65)  # where clipping plays no role
    assert np.std((noisy - truth)[grey]) == pytest.approx(25 / 255, rel=0.05)
