"""What does each generator cost and reach? Parameters, GFLOP per step, and PSNR under one equal wall-clock budget.

    python -m benchmarks.generators --data DIR --budget 40 --json FILE --markdown FILE [--pictures DIR] [--only NAME ...]

`DIR` holds `cset9/` and `set5/`. House is denoised (sigma 25/255, clipped, seed 0 of NumPy), the
butterfly enlarged four times from 64 x 64 (Pillow's Lanczos). One seed each; a run ends with the budget, which does not count
compilation, or with the last step of its setting. PSNR is that of the averaged output: RGB, whole image, range 1, clipped. GFLOP is
XLA's count for one gradient at 256 x 256, a multiplication and an addition counted as two. Finished rows of the JSON file are kept.
"""

import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np

from benchmarks.recipe_trials import make_problem, pictures
from dipjax import metrics
from dipjax.core import loop as train
from dipjax.generators import registry as named
from dipjax.recipes import fast as recipes

ROWS = {
    "fast recipe": None,
    "skip": [],
    "skip, narrow": ["down=32,32,32,32,32", "up=32,32,32,32,32"],
    "encoder-decoder": [],
    "unet": [],
    "resnet, narrow": ["num_blocks=4", "width=16"],
    "texture-net": [],
    "dcgan": [],
    "dcgan, deep": ["num_doublings=5", "width=64"],
    "plain, narrow": ["width=16"],
    "deep-decoder": [],
    "conv-decoder, narrow": ["width=64"],
    "positional, narrow": ["down=32,32,32,32,32", "up=32,32,32,32,32"],
    "siren, narrow": ["width=64"],
}


def make_recipe(row, options, task):
    if options is None:
        return recipes.FAST[task](3)
    return recipes.for_generator(named.make(row.split(",")[0], 3, options))


def make_problems(data: Path):
    house, butterfly = pictures(data, "superres")
    return {"denoise": make_problem("denoise", house), "superres": make_problem("superres", butterfly)}


def size_and_cost(recipe, task):
    """Returns the number of parameters, and the GFLOP of one gradient as XLA counts them for a GPU, where nothing is a loop."""
    state = jax.eval_shape(lambda key: train.init(recipe, key, task), jax.random.key(0))

    def gradient(params, z):
        return jax.grad(lambda params: (recipe.generator.apply(params, z) ** 2).mean())(params)

    lowered = jax.jit(gradient).trace(state.params, state.z).lower(lowering_platforms=("cuda",))
    return sum(leaf.size for leaf in jax.tree.leaves(state.params)), lowered.cost_analysis()["flops"] / 1e9


def measure(recipe, task, budget):
    for result in train.iterate(recipe, train.seeds(0, 1), task):
        if result.seconds >= budget:
            break
    image = np.asarray(result.image).clip(0, 1)
    numbers = {
        "psnr": float(metrics.psnr(image, task.truth)),
        "best": float(np.nanmax(result.metrics.psnr_average)),
        "steps": result.num_steps,
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "alive": bool(result.alive.all()),
    }
    return image, numbers


def markdown(rows, arguments):
    lines = [
        "| generator | options | parameters | GFLOP / step | House: steps | PSNR (dB) | butterfly x4: steps | PSNR (dB) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [f"{row[task]['steps']} | {row[task]['psnr']:.2f}" for task in ("denoise", "superres")]
        options = " ".join(ROWS[name] or [])
        lines += [f"| {name.split(',')[0]} | {options} | {row['parameters']:,} | {row['gflop']:.1f} | {' | '.join(cells)} |"]
    command = f"python -m benchmarks.generators --data DIR --budget {arguments.budget:g}"
    machine = f"{len(os.sched_getaffinity(0))} cores of {platform.machine()}, {jax.devices()[0].device_kind}"
    lines += ["", f"`{command}`; {machine}, JAX {jax.__version__}, {date.today()}; one seed."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=40.0)
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=ROWS, metavar="NAME")
    parser.add_argument("--tasks", nargs="*", default=["denoise", "superres"], choices=("denoise", "superres"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    rows = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    problems = make_problems(arguments.data)
    for name in arguments.only:
        row = rows.setdefault(name, {})
        for task in arguments.tasks:
            if task in row:
                continue
            recipe = make_recipe(name, ROWS[name], task)
            row["parameters"], row["gflop"] = size_and_cost(recipe, problems[task])
            image, row[task] = measure(recipe, problems[task], arguments.budget)
            print(name, task, json.dumps(row[task]), file=sys.stderr, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1))
            if arguments.pictures:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
                iio.imwrite(arguments.pictures / f"{name.replace(', ', '-')}_{task}.png", (image * 255 + 0.5).astype(np.uint8))
    table = markdown({name: row for name, row in rows.items() if {"denoise", "superres"} <= row.keys()}, arguments)
    print(table)
    if arguments.markdown:
        arguments.markdown.write_text(table)


if __name__ == "__main__":
    main()
