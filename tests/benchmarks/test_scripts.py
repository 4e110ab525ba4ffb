"""The scripts of benchmarks/ run from their options to their table, on tiny pictures and networks. What they measure is not looked at."""

import dataclasses
import functools
import importlib.util
import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import (
    common,
    deblurring,
    demosaicing,
    denoising,
    flash,
    medical,
    noises,
    on_gpu,
    paper,
    parts,
    photographs,
    quality,
    settings,
    speed,
    stopping,
)
from dipjax.operators import camera
from dipjax.recipes import Setting, fast
from dipjax.recipes.by_name import WORDS
from tests.conftest import mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is the rival here")


def mixer(channels=3):
    return Setting(mixer_recipe(channels), 3)


@pytest.fixture(autouse=True)
def tiny_settings(monkeypatch):
    for word in WORDS.values():
        for task in word:
            monkeypatch.setitem(word, task, mixer)
    monkeypatch.setattr(speed, "_TURN", 1e-3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Writes pictures where the scripts look for them, and returns the folder."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in {
        parts.PICTURES["inpaint"],
        common.HOUSE,
        common.BUTTERFLY,
        *(name for names in settings.PICTURES.values() for name in names),
    }:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (68, 64, 3), np.uint8)).save(folder / name)
    return folder


def here(jobs, num_rounds):
    """Does in this process what `speed.run` does in processes of their own."""
    measures = {name: speed.WORKERS[job["table"]](json.loads(json.dumps(job))) for name, (job, _) in jobs.items()}
    return {name: [json.loads(json.dumps(measure())) for _ in range(num_rounds)] for name, measure in measures.items()}


def run(module, monkeypatch, *words):
    monkeypatch.setattr(speed, "run", here)
    module.main(list(map(str, words)))


@pytest.mark.slow
def test_settings(monkeypatch, data, tmp_path):
    monkeypatch.setattr(settings, "_TIMED_STEPS", 1)
    monkeypatch.setattr(settings, "TRIALS", {name: settings.TRIALS[name] for name in ("fast", "rate 0.02")})
    files = {name: tmp_path / f"settings.{name}" for name in ("json", "md", "png")}
    words = ["--data", data, "--size", 24, "--rounds", 1, "--seeds", 2]
    words += ["--json", files["json"], "--markdown", files["md"], "--figure", files["png"]]
    words += ["--tasks", "inpaint", "deblur"]
    run(settings, monkeypatch, *words, "--steps", 40)
    assert files["md"].read_text().count(" (40) |") == 4
    assert files["png"].stat().st_size
    before = files["json"].read_text()
    with pytest.raises(SystemExit, match="steps 40 instead of 41; name another file"):
        run(settings, monkeypatch, *words, "--steps", 41)
    assert files["json"].read_text() == before


@pytest.mark.slow
def test_parts(monkeypatch, data, tmp_path):
    files = [word for name in ("json", "markdown") for word in (f"--{name}", tmp_path / f"parts.{name}")]
    run(parts, monkeypatch, "--data", data, "--size", 32, "--seeds", 2, "--steps", 40, *files, "--only", "fast", "weighted, 0.003")
    text = (tmp_path / "parts.markdown").read_text()
    assert text.count("| fast | ") == text.count("| weighted, 0.003 | ") == 4 and text.count("end (dB), step 40") == 4


@pytest.mark.parametrize(("task", "number"), [("superres", 0), ("denoise", 1), ("inpaint", 1), ("ct", 1)])
def test_every_part_is_a_setting_of_its_own_or_left_out(task, number, monkeypatch):
    monkeypatch.undo()  # the real settings
    recipe = parts.FAST[task](3).recipe
    made = [dataclasses.replace(recipe, **change(recipe)) for change in parts.PARTS.values()]
    assert len(set(made)) == len(made) - number
    assert sum(not parts._changes(task, name) for name in parts.PARTS) == number + 1


def test_every_trial_is_a_setting_of_its_own():
    made = {name: change(fast.denoising(3)) for name, change in settings.TRIALS.items()}
    assert len({setting.recipe for setting in made.values()}) == len(made) - 2  # "fast" has nearest doubling and 16 channels at full size


def test_quality(monkeypatch, data, tmp_path):
    words = ["--data", data, "--crop", 16, "--steps", 2, "--budget", 0.001, "--json", tmp_path / "q.json", "--markdown", tmp_path / "q.md"]
    names = ["input", "non-local means (scikit-image)", "bicubic (Pillow)", "default, 4 seeds", "fast, 1 seed, in the budget"]
    run(quality, monkeypatch, *words, "--only", *names, "--pictures", tmp_path / "pictures")
    table = (tmp_path / "q.md").read_text()
    assert table.count("| denoise |") == 4 and table.count("| superres |") == 3
    assert len(list((tmp_path / "pictures").iterdir())) == 7
    assert str(tmp_path) not in table


@pytest.mark.slow
def test_medical(monkeypatch, tmp_path, capsys):
    words = ["--size", 32, "--steps", 2, "--seeds", 1, "--json", tmp_path / "m.json", "--images", tmp_path / "images"]
    run(medical, monkeypatch, *words, "--names", "phantom", "cell", "--only", *list(medical.METHODS)[:3], "deep image prior")
    table = capsys.readouterr().out
    assert table.count("| ct | ") == table.count("| mri | ") == 6 and "| mri | cell | total variation, 0.0" in table
    rows = json.loads((tmp_path / "m.json").read_text())["rows"]
    assert len(rows) == 16 and all(row["psnr"] > 12 for name, row in rows.items() if name.endswith("quick"))
    assert len(list((tmp_path / "images").iterdir())) == 16


def test_deblurring(data, monkeypatch, capsys):
    run(deblurring, monkeypatch, "--data", data, "--pictures", "set5", "--size", 32, "--kernels", 1, "--steps", 2, "--seeds", 2)
    out = capsys.readouterr().out
    assert all(method in out for method in deblurring.METHODS)
    psf = deblurring.trembling(1)
    assert abs(psf.sum() - 1) < 1e-5 and deblurring.likeness(psf, psf) > 0.999
    picture = np.random.default_rng(0).random((40, 40, 3))
    assert deblurring.shifted_psnr(np.roll(picture, (2, -1), (0, 1)), picture) > 100


def test_demosaicing(monkeypatch, capsys):
    run(demosaicing, monkeypatch, "--size", 48, "--steps", 2, "--seeds", 1, "--names", "astronaut")
    rows = {line.split(" | ")[1]: float(line.split(" | ")[2]) for line in capsys.readouterr().out.splitlines()[2:5]}
    assert rows["Malvar, He, Cutler"] > rows["bilinear"] + 1 > 25


@pytest.mark.parametrize("shape", [(12, 10), (9, 11)])
def test_the_filters_of_malvar_keep_what_is_flat_and_what_was_measured(shape):
    flat = np.broadcast_to(np.float32([0.2, 0.4, 0.7]), (*shape, 3))
    seen = camera.filters(demosaicing.PATTERN, shape)
    gray = np.broadcast_to(np.linspace(0, 1, shape[1], dtype=np.float32)[:, None], (*shape, 3))
    for image in (flat, gray):
        found = demosaicing.malvar((image * seen).sum(-1, keepdims=True))
        np.testing.assert_allclose((found - image)[seen > 0], 0, atol=1e-6)
        np.testing.assert_allclose(found[:, 2:-2], image[:, 2:-2], atol=1e-5)


def test_speed_step(monkeypatch, tmp_path):
    with_torch = [] if importlib.util.find_spec("torch") else ["--no-torch"]
    monkeypatch.setitem(speed.MIRROR, "fast", (8, 2, "nearest"))
    monkeypatch.setattr(speed, "_MATRIX", 64)
    words = ["step", "--sizes", 64, "--recipe", "fast", "--against", tmp_path, "--rounds", 2, *with_torch]
    run(speed, monkeypatch, *words, "--json", tmp_path / "s.json", "--markdown", tmp_path / "s.md")
    assert "| 64 x 64 | " in (tmp_path / "s.md").read_text()
    rounds = json.loads((tmp_path / "s.json").read_text())["rows"]["64"]
    assert {"dipjax", "before"} <= rounds.keys() and all(one["ms"] > 0 for found in rounds.values() for one in found)


def test_speed_seeds(monkeypatch, tmp_path):
    words = ["seeds", "--size", 8, "--runs", 1, 2, "--devices", 1, "--layouts", "map", "vmap", "--rounds", 1, "--no-torch"]
    run(speed, monkeypatch, *words, "--markdown", tmp_path / "s.md")
    lines = (tmp_path / "s.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:9]] == [
        *("| map, 1 run", "| map, 2 seeds", "| map, 2 pictures", "| vmap, 1 run", "| vmap, 2 seeds", "| vmap, 2 pictures"),
        "| alone, 1 step",
    ]


def test_speed_memory_and_start(monkeypatch, tmp_path):
    run(speed, monkeypatch, "memory", "--sizes", 16, "--recipes", "fast", "--no-torch", "--markdown", tmp_path / "m.md")
    assert "| fast | 16 x 16 | dipjax | " in (tmp_path / "m.md").read_text()
    run(speed, monkeypatch, "start", "--size", 16, "--rounds", 1, "--markdown", tmp_path / "s.md")
    assert "| the same size before | " in (tmp_path / "s.md").read_text()


@pytest.mark.parametrize("picture", speed.PICTURES)
def test_speed_quality(monkeypatch, data, tmp_path, picture):
    words = ["quality", picture, "--data", data, "--crop", 32, "--steps", 100, "--seeds", 1, "--rounds", 1]
    words += ["--contestants", *(name for name in speed.QUALITY if name.startswith("dipjax"))]
    run(speed, monkeypatch, *words, "--json", tmp_path / "q.json", "--markdown", tmp_path / "q.md", "--figure", tmp_path / "q.png")
    before = json.loads((tmp_path / "q.json").read_text())["rows"]
    words[words.index("--seeds") + 1] = 2
    run(speed, monkeypatch, *words, "--json", tmp_path / "q.json", "--markdown", tmp_path / "q.md")
    rows = json.loads((tmp_path / "q.json").read_text())["rows"]
    assert rows.items() >= before.items() and len(rows) == 4
    assert rows["dipjax, official, seed 0"] != rows["dipjax, official, seed 1"]
    assert len(rows["dipjax, official, seed 0"]["output"]) == 100
    assert "| dipjax, official, seed 1 | " in (tmp_path / "q.md").read_text() and (tmp_path / "q.png").stat().st_size


@needs_torch
@pytest.mark.parametrize(("picture", "recipe"), [("butterfly", "paper"), ("house", "decoder")])
def test_speed_quality_in_pytorch(monkeypatch, data, picture, recipe):
    monkeypatch.setitem(speed.MIRROR, "paper", (32, 2, "bilinear"))
    job = {"contestant": "PyTorch, official", "picture": picture, "data": str(data), "crop": 64, "recipe": recipe, "steps": 2, "seed": 0}
    found = speed.quality_worker(job | {"curve": True})()
    assert found["steps"] == [1, 2] and np.isfinite([found["output"], found["average"]]).all()


def test_seconds_until_a_goal():
    rising = {"steps": list(range(1, 11)), "output": [20.0] * 10, "average": [20.0 + step for step in range(1, 11)]}
    low = rising | {"average": [20.0] * 10}
    rounds = {"one": [{"ms": 2000.0, "compile": 5.0}], "other": [{"ms": 1.0, "compile": 0.0}]}
    table = speed.goal_table({"one": [rising], "other": [low]}, rounds)
    assert table[2] == "| 28.00 | 16 s (+ 5 s) | not reached |"
    assert speed.first({"steps": [1, 2, 3, 4, 5], "average": [9, 1, 9, 9, 9]}, 5) == 3
    assert speed.first({"steps": [1, 2], "average": [9, 1]}, 5) is None


def test_contestants_in_processes_of_their_own_take_turns():
    code = "from benchmarks import common; n = iter(range(9)); common.serve(lambda: next(n))"
    rounds = common.alternate({name: (["-c", code], {}) for name in "ab"}, 2)
    assert rounds == {"a": [0, 1], "b": [0, 1]}


class Reached(Exception):
    pass


@pytest.mark.parametrize("name", on_gpu.jobs(on_gpu.Path("out"), on_gpu.Path("data")))
def test_on_gpu_asks_for_options_that_exist(monkeypatch, tmp_path, data, name):
    def reached(*arguments):
        raise Reached

    monkeypatch.setattr(speed, "run", reached)
    monkeypatch.setattr(paper, "run", reached)
    _, module, *words = on_gpu.jobs(tmp_path, data)[name]
    with pytest.raises(Reached):
        sys.modules[module].main(words)


# PSNR of a gray picture with each noise before it is clipped: from its variance. Cameras and salt and pepper have no such formula.
PEAKS = {
    "gauss10": 28.13,
    "gauss25": 20.17,
    "gauss50": 14.15,
    "poisson10": 13.01,
    "poisson30": 17.78,
    "poisson100": 23.01,
    "blurred1": 20.17,
}


@pytest.mark.parametrize("name", stopping.NOISE)
def test_the_noise_is_as_strong_as_it_says(name):
    picture = np.full((128, 128, 3), 0.5)
    noisy = stopping.NOISE[name](picture, np.random.default_rng(0))
    assert noisy.shape == picture.shape
    if name in PEAKS:
        assert -10 * np.log10(np.mean((noisy - picture) ** 2)) == pytest.approx(PEAKS[name], abs=0.15)
    elif name.startswith("salt"):
        assert np.mean((noisy != 0.5).all(-1)) == pytest.approx(int(name[4:]) / 100, abs=0.01)
    else:
        assert 0 < np.mean((noisy - picture) ** 2) < 0.01


def test_stopping_compares_each_rule_with_the_best_step_of_its_own_run(monkeypatch, tmp_path, capsys):
    (tmp_path / "few").mkdir()
    common.save(tmp_path / "few/a.png", np.random.default_rng(0).random((20, 24, 3)))
    monkeypatch.setattr(stopping, "choose", lambda *name: lambda channels: Setting(mixer_recipe(channels), 3))
    words = ["--data", tmp_path, "--pictures", "few", "--noise", "gauss25", "camera50", "--steps", 30]
    words += ["--rules", "none", "emv", "discrepancy", "held-out", "--json", tmp_path / "rows.json", "--keep", tmp_path / "kept"]
    stopping.main(list(map(str, words)))
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    free = rows["none, emv, discrepancy, gauss25"]
    for looking_on in free["looking_on"].values():
        for peak, row in zip(free["rows"]["seeds"], looking_on["seeds"], strict=True):
            assert peak["peak"] == row["peak"]
            assert row["lost"] > -1e-3
            assert 1 <= row["taken"] <= row["stopped"] <= 30
        (mean,) = looking_on["means"]
        assert mean["peak"] == free["rows"]["means"][0]["peak"] > min(row["peak"] for row in looking_on["seeds"])
        assert mean["stopped"] == int(np.mean([row["stopped"] for row in looking_on["seeds"]]))
        assert mean["lost"] > -1
    options = stopping.parse(list(map(str, words)))
    (error,) = stopping.errors(options, "gauss25")
    assert 0 < error["within50"] < error["within90"] <= 1
    assert error["ratio"] > 0 and -1 <= error["rank"] <= 1
    assert error["within90_clean"] == error["within90"]
    (error,) = stopping.errors(options, "camera50")
    assert error["within90_clean"] != error["within90"]
    out = capsys.readouterr().out
    assert "| discrepancy | gauss25 | " in out and "| gauss25 | " in out.replace("discrepancy | gauss25", "")


@pytest.mark.slow
def test_noises_compare_what_auto_takes_with_the_best_name(monkeypatch, tmp_path, capsys):
    (tmp_path / "few").mkdir()
    common.save(tmp_path / "few/a.png", np.linspace(0.1, 0.9, 40 * 40 * 3).reshape(40, 40, 3))
    words = ["--data", tmp_path, "--pictures", "few", "--noise", "salt10", "--names", "auto", "gaussian", "--json", tmp_path / "rows.json"]
    monkeypatch.setattr(noises.dipjax, "denoise", functools.partial(noises.dipjax.denoise, num_iter=2))
    run(noises, monkeypatch, *words)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    auto, named = (rows[f"salt10, {name}, a"] for name in ("auto", "gaussian"))
    assert auto["loss"] == "L1()" != named["loss"] and auto["noisy"] == named["noisy"] < auto["psnr"] + 10
    line = capsys.readouterr().out.splitlines()[2]
    assert line.endswith(f"| {auto['psnr']:.2f} | {named['psnr']:.2f} | {auto['psnr'] - named['psnr']:.2f} |")


def test_denoising_is_measured_beside_the_first_recipe(monkeypatch, tmp_path, capsys):
    (tmp_path / "few").mkdir()
    common.save(tmp_path / "few/a.png", np.linspace(0.1, 0.9, 40 * 40 * 3).reshape(40, 40, 3))
    monkeypatch.setattr(denoising.dipjax, "denoise", functools.partial(denoising.dipjax.denoise, num_iter=4, recipe=mixer()))
    words = [
        "--data",
        tmp_path,
        "--pictures",
        "few",
        "--noise",
        "gauss25",
        "--seeds",
        2,
        "--moments",
        1,
        900,
        "--json",
        tmp_path / "rows.json",
    ]
    run(denoising, monkeypatch, *words)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    row = rows["gauss25, a"]
    assert list(row["moments"]) == ["1"] and row["steps"] == 4 and row["non-local means"] > row["noisy"] > 15
    line = capsys.readouterr().out.splitlines()[2].split(" | ")
    assert line[6] == line[8] == f"{row['denoise']:.2f}"  # a moment after the end is the end
    former = {"best": row["denoise"] + 0.2, "steps": 9, "seconds": 10.0}
    assert denoising.sooner(row, former | {"best": 99.0}) is None and denoising.sooner(row, former) > 0


def test_the_guided_filter_takes_edges_from_the_flash(monkeypatch, capsys):
    run(flash, monkeypatch, "--size", 64, "--names", "coffee", "--only", "noisy", "non-local means", "guided filter")
    noisy, means, guided = (float(line.split(" | ")[2]) for line in capsys.readouterr().out.splitlines()[2:5])
    assert guided > means > noisy + 5
    picture = np.random.default_rng(0).random((20, 24, 3))
    np.testing.assert_allclose(flash.guided(0.3 * picture + 0.1, picture, 2, 1e-9), 0.3 * picture + 0.1, atol=1e-5)


@pytest.mark.slow
def test_the_cost_of_every_rule_is_told_in_steps_without_one(monkeypatch, capsys):
    monkeypatch.setattr(stopping, "choose", lambda *name: lambda channels: Setting(mixer_recipe(channels), 3))
    stopping.main(["--cost", "24", "--rounds", "1"])
    out = capsys.readouterr().out
    assert "| none | 1.000 |" in out and all(f"| {name} | " in out for name in stopping.REGISTRY)


def test_damage_is_drawn_where_it_is_said_to_be_and_is_found(monkeypatch, tmp_path, capsys):
    for folder, name in (("set14", "a.bmp"), ("cset9", "b.png")):
        common.save(tmp_path / folder / name, np.random.default_rng(0).uniform(0.45, 0.55, (96, 96, 3)))
    clean, image, pieces = photographs.example(tmp_path / "cset9" / "b.png", 96)
    away = ~np.any([opacity > 0 for _, opacity in pieces], 0)
    assert np.abs(image - clean)[away].std() < 1.1 * photographs.GRAIN and np.abs(image - clean)[~away].mean() > 0.1
    run(photographs, monkeypatch, "find", "--data", tmp_path, "--size", 96, "--sensitivities", 1, 2)
    careful, thorough = ([float(cell) for cell in line.split(" | ")[2:5]] for line in capsys.readouterr().out.splitlines()[2:4])
    assert careful[0] > 0.5 and thorough[2] > careful[2] > 0.2


@pytest.mark.slow
def test_photographs_are_restored(monkeypatch, tmp_path, capsys):
    common.save(tmp_path / "a.png", np.random.default_rng(0).uniform(0.45, 0.55, (48, 48, 3)))
    words = ["--data", tmp_path, "--names", "a.png", "--size", 48, "--steps", 2, "--masks", "true", "--figure", tmp_path / "made"]
    run(photographs, monkeypatch, "restore", *words)
    assert "| a | true |" in capsys.readouterr().out and (tmp_path / "made" / "a_true.png").exists()
