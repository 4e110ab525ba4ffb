"""The scripts of benchmarks/ run from their options to their table, on tiny pictures and networks. What they measure is not looked at."""

import argparse
import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import (
    curves,
    ensemble,
    generators,
    loop,
    memory,
    on_gpu,
    paper,
    pareto,
    recipe_trials,
    speed,
    starts,
    time_to_quality,
    turns,
)
from dipjax.recipes import fast as recipes
from tests.conftest import Mixer, mixer_recipe, skip_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")
PICTURES = {"cset9/image_House256rgb.png": 256, "cset9/image_F16_512rgb.png": 400, "set5/butterfly_GT.bmp": 256}


def mixer(channels=3, *, num_steps=3, **_):
    return mixer_recipe(channels, num_steps)


@pytest.fixture(autouse=True)
def tiny_recipes(monkeypatch):
    for task in recipes.FAST:
        monkeypatch.setitem(recipes.FAST, task, mixer)
    for picture, (task, _) in curves.SETTINGS.items():
        monkeypatch.setitem(curves.SETTINGS, picture, (task, mixer))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Writes pictures where the scripts look for them, and returns the folder."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    named = {name: 48 for names in pareto.PICTURES.values() for name in names} | PICTURES
    for name, side in named.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(folder / name)
    return folder


def run(monkeypatch, module, *words):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


def test_pareto(monkeypatch, data, tmp_path):
    monkeypatch.setattr(pareto, "_TIMED_STEPS", 1)
    files = {name: tmp_path / f"pareto.{name}" for name in ("json", "md", "png")}
    words = ["--data", data, "--size", 24, "--settings", "fast", "rate 0.02", "--rounds", 1]
    words += ["--json", files["json"], "--markdown", files["md"], "--figure", files["png"]]
    run(monkeypatch, pareto, *words, "--steps", 40)
    rows = [line for line in files["md"].read_text().splitlines() if line.startswith(("| fast", "| rate"))]
    assert len(rows) == 2 * len(pareto.PICTURES) and all("(40)" in row for row in rows)
    assert files["png"].stat().st_size
    before = files["json"].read_text()
    with pytest.raises(SystemExit, match="took 40 steps, this command asks for 41"):
        run(monkeypatch, pareto, *words, "--steps", 41)
    assert files["json"].read_text() == before


def test_starts(monkeypatch, data, tmp_path):
    monkeypatch.setattr(starts, "CHUNK", 2)
    monkeypatch.setattr(starts, "HALF_STEPS", 4)
    table = tmp_path / "starts.md"
    run(monkeypatch, starts, "--data", data, "--size", 16, "--steps", 6, "--json", tmp_path / "starts.json", "--markdown", table)
    assert table.read_text().count("| four seeds |") == len(starts.TASKS)


@pytest.mark.parametrize("picture", curves.SETTINGS)
def test_curves(monkeypatch, data, tmp_path, picture):
    files = ["--json", tmp_path / "c.json", "--markdown", tmp_path / "c.md", "--figure", tmp_path / "c.png"]
    words = [picture, "--data", data, "--crop", 32, "--steps", 100, "--frameworks", "dipjax", *files]
    run(monkeypatch, curves, *words, "--seeds", 1)
    first = json.loads((tmp_path / "c.json").read_text())["dipjax 0"]
    run(monkeypatch, curves, *words, "--seeds", 2)
    report = json.loads((tmp_path / "c.json").read_text())
    assert report["dipjax 0"] == first != report["dipjax 1"]
    assert len(first["output"]) == len(first["average"]) == 100
    assert f"| dipjax 1 | {curves.smoothed(report['dipjax 1']['output'])[-1]:.2f} |" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize("picture", curves.SETTINGS)
def test_curves_pytorch(data, picture):
    pytest.importorskip("torch", reason="PyTorch is the rival here")
    task = curves.make_problem(data, picture, 64)
    found = curves.run_pytorch(picture, task, 2, 0)
    assert np.isfinite(found["output"]).all() and len(found["average"]) == 2


@pytest.mark.parametrize("picture", curves.SETTINGS)
@pytest.mark.parametrize("contestant", time_to_quality.CONTESTANTS)
def test_time_to_quality(data, picture, contestant):
    arguments = argparse.Namespace(picture=picture, data=data, crop=64, worker=contestant, decoder_steps=2)
    if contestant.startswith("PyTorch"):
        pytest.importorskip("torch", reason="PyTorch is the rival here")
        points, (steps, _) = time_to_quality.torch_curve(arguments), time_to_quality.torch_steps(arguments)
    else:
        points, (steps, _) = time_to_quality.dipjax_curve(arguments), time_to_quality.dipjax_steps(arguments)
    assert points and np.isfinite(points).all()
    steps(1)


def test_time_to_quality_table():
    rising = [[step, 20 + step] for step in range(1, 11)]
    low = [[step, 20.0] for step in range(1, 11)]
    found = dict.fromkeys(time_to_quality.CONTESTANTS, [rising]) | {"PyTorch, ConvDecoder of deepinv": [low]}
    rounds = {name: [{"seconds": 2.0, "compile_seconds": 5.0}] for name in time_to_quality.CONTESTANTS}
    table = time_to_quality.markdown({"curves": found, "rounds": rounds, "picture": "a picture", "command": "it", "made": "here"})
    assert "| 28.00 | 16 s (+ 5 s) | " in table
    assert "| 28.00 |" in table and table.splitlines()[2].endswith("| not reached |")


def test_first_needs_three_in_a_row():
    assert time_to_quality.first([(1, 9), (2, 1), (3, 9), (4, 9), (5, 9)], 5) == 3
    assert time_to_quality.first([(1, 9), (2, 1)], 5) is None


def test_ensemble_counts_collectives(monkeypatch, capsys):
    monkeypatch.setattr(recipes, "for_generator", lambda generator, num_steps: mixer(3, num_steps=num_steps))
    layouts = list(ensemble.LAYOUTS)
    arguments = argparse.Namespace(width=2, runs=[1, 2], size=8, doubling="nearest", layouts=layouts, check=True)
    ensemble.dipjax_worker(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * len(layouts) and all(line.endswith(" 0 collectives") for line in lines)


@pytest.mark.parametrize("method", memory.METHODS)
def test_memory(monkeypatch, method):
    if method == "PyTorch":
        pytest.importorskip("torch", reason="PyTorch is the rival here")
    monkeypatch.setattr(recipes, "fast_denoising", skip_recipe)
    row = memory.measure(method, 64, "fast", 1)
    # Not how much: the script gives every measurement a process of its own, and this one has been larger before.
    assert isinstance(row["peak"], int) and row["device"]


def test_speed():
    arguments = argparse.Namespace(size=32, width=2, precision=None, worker="dipjax")
    steps, _, _, about = speed.dipjax_worker(arguments)
    steps(1)
    assert about["compile_seconds"] > 0


def test_speed_pytorch():
    pytest.importorskip("torch", reason="PyTorch is the rival here")
    steps, _, _, about = speed.torch_worker(argparse.Namespace(size=64, width=2, precision=None, worker="channels_last"))
    steps(1)
    assert about["gflop"] > 0


def test_loop(monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "Skip", lambda **_: Mixer(3))
    run(monkeypatch, loop, "--size", 16, "--seeds", 2, "--steps", 1, "--rounds", 1, "--markdown", tmp_path / "loop.md")
    assert "2 seeds / 2 single runs" in (tmp_path / "loop.md").read_text()


@pytest.mark.parametrize("task", ["denoise", "superres", "inpaint", "deblur"])
def test_recipe_trials(monkeypatch, data, tmp_path, task):
    monkeypatch.setattr(recipe_trials, "make_recipe", lambda trial: mixer(3, num_steps=trial["steps"]))
    (tmp_path / "trials.json").write_text('[{"steps": 2}]')
    files = ["--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md"]
    run(monkeypatch, recipe_trials, "--data", data, "--task", task, "--seeds", 2, "--trials", tmp_path / "trials.json", *files)
    assert "| steps 2 |" in (tmp_path / "out.md").read_text()


def test_generators(monkeypatch, data, tmp_path):
    words = ["--data", data, "--budget", 0.001, "--only", "fast recipe", "--json", tmp_path / "g.json", "--markdown", tmp_path / "g.md"]
    run(monkeypatch, generators, *words, "--pictures", tmp_path / "pictures")
    assert "| fast recipe |" in (tmp_path / "g.md").read_text()
    assert len(list((tmp_path / "pictures").iterdir())) == 2


class Reached(Exception):
    pass


@pytest.mark.parametrize("name", on_gpu.jobs(on_gpu.Path("out"), on_gpu.Path("data")))
def test_on_gpu_asks_for_options_that_exist(monkeypatch, tmp_path, data, name):
    def reached(*arguments):
        raise Reached

    monkeypatch.setattr(turns, "alternate", reached)
    monkeypatch.setattr(speed, "contestants", lambda arguments: speed.CONTESTANTS)
    monkeypatch.setattr(memory, "measure_alone", reached)
    words = on_gpu.jobs(tmp_path, data)[name]
    module = sys.modules[words[1]]
    monkeypatch.setattr(paper, "run", reached)
    monkeypatch.setattr(sys, "argv", words[1:])
    with pytest.raises(Reached):
        module.main()
