"""The scripts about what comes after a deep image prior run from their options to their table, on tiny pictures and networks."""

import importlib
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import claims, common, distill, refine
from dipjax.recipes import Setting
from dipjax.recipes.by_name import WORDS
from tests.conftest import mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture
def data(tmp_path, monkeypatch):
    for word in WORDS.values():
        for task in word:
            monkeypatch.setitem(word, task, lambda channels=3: Setting(mixer_recipe(channels), 3))
    random = np.random.default_rng(0)
    names = [f"bsd68/test{number:03d}.png" for number in range(6)] + [f"set5/{name}_GT.bmp" for name in ("baby", "head")]
    for name in [*names, common.HOUSE, "cset9/image_Baboon512rgb.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (48, 50, 3), np.uint8)).convert("L" if "bsd" in name else "RGB").save(tmp_path / name)
    return tmp_path


def run(module, *words):
    module.main(list(map(str, words)))


@pytest.mark.slow
def test_distill_keeps_its_teachers_and_rows(data, tmp_path, capsys):
    words = ["--data", data, "--work", tmp_path / "work", "--teachers", 2, "--tests", 1, "--size", 32, "--seeds", 2, "--steps", 2]
    words += ["--training-steps", 3, "--width", 4, "--layers", 2, "--json", tmp_path / "rows.json"]
    words += ["--only", "noisy", "non-local means", "total variation", "student", "deep image prior"]
    run(distill, *words)
    out = capsys.readouterr().out
    assert "| student | " in out and "2 teachers of 2 seeds" in out and str(tmp_path) not in out
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "work").glob("*.npz"))]
    run(distill, *words)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "work").glob("*.npz"))] == before and len(before) == 2
    with pytest.raises(SystemExit, match="seeds 2 instead of 3"):
        run(distill, *words, "--seeds", 3)


def test_nobody_is_teacher_and_test_at_once(data):
    options = distill.parse(["--data", str(data), "--work", str(data)])
    teachers, tests = distill.pictures(options)
    assert len(teachers) == 4 and len(tests) == 2 and not set(teachers) & set(tests)


@pytest.mark.slow
def test_refine_measures_both_tasks(data, tmp_path, capsys, monkeypatch):
    # What these networks draw in three steps is farther from random numbers than a picture of one value.
    monkeypatch.setattr(importlib.import_module("dipjax.after.refine"), "_ABSURD", np.inf)
    words = ["--data", data, "--work", tmp_path / "work", "--number", 2, "--examples", 2, "--size", 48, "--seeds", 1, "--steps", 2]
    run(refine, *words, "--refine-steps", 2, "--weights", 0, 1e-3, "--json", tmp_path / "rows.json")
    out = capsys.readouterr().out
    assert out.count("| denoise | ") == out.count("| superres | ") == 2
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(rows) == 8 and all(0 <= row["after"]["sharpness"] <= 1 for row in rows.values())


@pytest.mark.slow
def test_every_claim_gets_a_verdict(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(claims, "_FEW", 2)
    words = ["--data", data, "--size", 32, "--number", 2, "--seeds", 2, "--steps", 2, "--json", tmp_path / "rows.json"]
    names = [name for name in claims.CLAIMS if name != "depth"]  # which takes a network that is no mixer
    run(claims, *names, *words)
    out = capsys.readouterr().out
    assert all(f"| {claims.CLAIMS[name].said} | " in out for name in names)
    with pytest.raises(SystemExit):
        run(claims, "none", *words)


def test_verdicts_follow_the_numbers():
    rows = {f"{name}, {method}": {"psnr": value} for name in "ab" for method, value in (("DIP", 28.0), ("BM3D", 29.0))}
    measured, verdict = claims.bsd68_summary(rows)
    assert measured == "DIP 28.00 dB, BM3D 29.00 dB"
    assert verdict == "DIP is below BM3D, as said; +1.00 dB between them, said were +0.60 (2 pictures)"
    assert "open" in claims.bsd68_summary({"a, DIP": {"psnr": 28.0}})[1]
    found = {("House", 5): 30, ("House", 15): 29, ("Baboon", 5): 24, ("Baboon", 15): 25}
    depth = {f"{name}, {layers} layers": {"psnr": value} for (name, layers), value in found.items()}
    assert claims.depth_summary(depth) == ("House -1.00 dB by 15 layers, Baboon +1.00 dB by 15 layers", "as said")
    spread = {"a": {"1": [28.0, 28.1, 29.0, 28.5], "2": [28.5, 29.0]}}
    words, verdict = claims.seeds_summary(spread)
    assert "single seeds spread over 1.00 dB" in words and verdict.startswith("a seed matters;")


def test_the_heat_equation_fills_a_slope_exactly_and_masks_hide_what_they_say():
    slope = np.broadcast_to(np.linspace(0, 1, 33)[:, None, None] + np.linspace(0, 1, 40)[:, None], (33, 40, 3))
    mask = claims.box((33, 40))
    assert mask.sum() == 64
    np.testing.assert_allclose(claims.heat(np.where(mask[..., None], 0, slope), mask), slope, atol=1e-9)
    assert 0.02 < claims.text((128, 128)).mean() < 0.3
    assert claims.psnr(np.full((4, 4, 1), 0.5), np.full((4, 4, 1), 0.25)) == pytest.approx(20 * np.log10(4))


def test_the_perceptual_term_sees_structure_and_not_brightness():
    loss, flat = claims.Perceptual(), np.full((32, 32, 3), 0.5, np.float32)
    waves = np.float32(0.1 * np.cos(np.pi / 2 * np.arange(32))[:, None, None] * np.ones((32, 32, 3)))
    level = np.abs(waves).mean()
    inner = lambda error: float(loss(flat + error, flat)) - float(np.abs(error).mean())  # noqa: E731
    assert inner(waves) > 2 * inner(np.full_like(flat, level))
