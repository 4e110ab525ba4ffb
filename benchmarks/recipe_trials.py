"""Which cheap setting restores best? Trials of width, depth, steps, schedule, jitter and average, for the `fast` recipe.

    python benchmarks/recipe_trials.py --data DIR --task denoise --trials TRIALS.json --json OUT.json --markdown OUT.md

`DIR` holds `cset9/` and `set5/`. Every trial restores one or two 256 x 256 pictures (House and a crop of F16; House and butterfly for
super-resolution) with a few seeds each; reported are the mean PSNR of the seeds' averaged outputs and that of their mean (RGB,
unclipped, range 1), at the end and on the way there. Seconds per step are those of all runs together on the device named.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import islice
from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np
import optax
from PIL import Image

from dipjax import metrics, operators
from dipjax.core import loop as train
from dipjax.fitting import inputs
from dipjax.generators import blocks
from dipjax.generators.skip import Skip
from dipjax.operators import problem, psfs

BASE = {
    "width": 32, "levels": 5, "skip": 4, "up": "bilinear", "mix": True, "depth": 32, "steps": 1500, "lr": 0.01,
    "schedule": "constant", "jitter": 1 / 30, "smoothing": 0.99, "precision": None,
}  # fmt: skip


def make_recipe(trial) -> train.Recipe:
    rate = trial["lr"]
    if trial["schedule"] == "cosine":
        rate = optax.cosine_decay_schedule(rate, trial["steps"])
    if trial["schedule"] == "warmup":
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, trial["steps"] // 20, trial["steps"])
    widths = trial["width"] if isinstance(trial["width"], list) else [trial["width"]] * trial["levels"]
    generator = Skip(
        down=tuple(widths),
        up=tuple(widths),
        skip=(trial["skip"],) * len(widths),
        upsample=getattr(blocks, trial["up"]),
        use_1x1=trial["mix"],
    )
    return train.Recipe(
        generator,
        inputs.noise(trial["depth"]),
        trial["steps"],
        optax.adam(rate),
        input_noise=trial["jitter"],
        smoothing=trial["smoothing"],
        precision=trial["precision"],
    )


def pictures(data: Path, task):
    house = iio.imread(data / "cset9/image_House256rgb.png")
    plane = iio.imread(data / "cset9/image_F16_512rgb.png")[128:384, 128:384]
    butterfly = iio.imread(data / "set5/butterfly_GT.bmp")
    second = butterfly if task == "superres" else plane
    return [image[..., :3].astype(np.float32) / 255 for image in (house, second)]


def make_problem(task, truth):
    random = np.random.default_rng(0)
    if task == "denoise":
        return problem.denoising(np.clip(truth + random.normal(0, 25 / 255, truth.shape), 0, 1), truth=truth)
    if task == "superres":
        small = Image.fromarray((truth * 255 + 0.5).astype(np.uint8)).resize((64, 64), Image.Resampling.LANCZOS)
        return problem.super_resolution(np.asarray(small, np.float32) / 255, 4, truth=truth)
    if task == "inpaint":  # half of the pixels missing above, scratches below
        known = random.random(truth.shape[:2]) > 0.5
        scratches = np.ones(truth.shape[:2], bool)
        for _ in range(12):
            row, column = random.integers(0, 250, 2)
            scratches[row : row + 5, :] &= random.random(256) < 0.1
            scratches[:, column : column + 5] &= random.random(256)[:, None] < 0.1
        return problem.inpainting(truth, np.where(np.arange(256)[:, None] < 128, known, scratches), truth=truth)
    psf = psfs.gaussian(1.6)
    blurred = np.asarray(operators.Blur(psf)(truth))
    return problem.deblurring(np.clip(blurred + random.normal(0, 2**0.5 / 255, truth.shape), 0, 1), psf, truth=truth)


def measure(recipe, keys, problems):
    """Runs one trial; returns the single and ensemble PSNR of each picture at about 30 moments."""
    rows = []
    for result in train.iterate(recipe, keys, problems, problem_axis=0):
        if result.num_steps:
            singles = result.metrics.psnr_average[..., result.num_steps - 1].mean(-1)
            ensemble = jax.vmap(metrics.psnr)(result.image, problems.truth)
            rows.append((result.num_steps, *singles.tolist(), *np.asarray(ensemble).tolist()))
    best = np.nanmax(result.metrics.psnr_average, -1).mean(-1)
    return {
        "rows": rows,
        "best_single": best.tolist(),
        "seconds_per_step": result.seconds / result.num_steps,
        "compile_seconds": result.compile_seconds,
        "alive": int(np.sum(result.alive)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", choices=("denoise", "superres", "inpaint", "deblur"), required=True)
    parser.add_argument("--trials", type=Path, required=True, help="a JSON list of changes to the base setting")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--pictures", type=int, default=2, choices=(1, 2))
    parser.add_argument("--threads", type=int, default=1, help="how many programs to compile at once")
    arguments = parser.parse_args()

    trials = [BASE | change for change in json.loads(arguments.trials.read_text())]
    problems = problem.stack(
        [make_problem(arguments.task, truth) for truth in pictures(arguments.data, arguments.task)[: arguments.pictures]]
    )
    keys = jax.numpy.stack([train.seeds(0, arguments.seeds)] * arguments.pictures)
    recipes = [make_recipe(trial) for trial in trials]
    pool = ThreadPoolExecutor(arguments.threads)
    compiled = pool.map(lambda recipe: list(islice(train.iterate(recipe, keys, problems, problem_axis=0), 1)), recipes)
    about = {
        "command": "python benchmarks/recipe_trials.py " + " ".join(sys.argv[1:]),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "date": str(date.today()),
        "task": arguments.task,
        "base": BASE,
    }
    results = []
    for trial, recipe, _ in zip(trials, recipes, compiled, strict=True):
        changes = {name: value for name, value in trial.items() if value != BASE[name]}
        results.append({"changes": changes, **measure(recipe, keys, problems)})
        arguments.json.write_text(json.dumps({**about, "results": results}))
        final = results[-1]["rows"][-1]
        print(changes, " ".join(f"{value:.2f}" for value in final[1:]), f"{results[-1]['seconds_per_step']:.4f}", flush=True)
    if arguments.markdown:
        arguments.markdown.write_text(table({**about, "results": results}))


def table(report) -> str:
    num = len(report["results"][0]["best_single"])
    names = [f"{name} {i + 1}" for name in ("single", "ensemble", "best single") for i in range(num)]
    lines = [
        f"`{report['command']}`, {report['device']}, JAX {report['jax']}, {report['date']}; base setting `{report['base']}`.",
        "",
        "| change | " + " | ".join(names) + " | s per step | alive |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in report["results"]:
        change = ", ".join(f"{name} {value}" for name, value in row["changes"].items()) or "none"
        numbers = " | ".join(f"{value:.2f}" for value in (*row["rows"][-1][1:], *row["best_single"]))
        lines.append(f"| {change} | {numbers} | {row['seconds_per_step']:.3f} | {row['alive']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
