"""Is a run sooner good when it does not start from nothing? A start from half the size, and four seeds that share their first steps.

    python -m benchmarks.starts --data DIR [--size 128] [--steps 900] [--tasks NAME ...] --json FILE --markdown FILE

One picture for each task of `benchmarks.pareto` but deblurring (its middle SIZE x SIZE pixels), the fast recipe, the same key for every
contestant:

* alone: one run.
* weights of half the size: the first 400 steps fit the picture of half the size, which costs a quarter; its weights, and its z with
  every pixel repeated, start the run at full size.
* picture of half the size as input: the same 400 steps; the result, doubled, is an additional input of the run at full size.
* four seeds: four runs, whose mean is the estimate.
* four seeds from one: a third of the steps is taken by one run; then four go on from there, each with its own jitter.

Cost is counted in steps of one run at full size, for each seed of the four; PSNR is that of the averaged output: all channels, range 1,
unclipped. Finished contestants of the JSON file are kept.
"""

import argparse
import dataclasses
import json
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import turns
from benchmarks.pareto import PICTURES, make_problem, make_recipe
from dipjax import metrics
from dipjax.core import loop as train
from dipjax.fitting import inputs
from dipjax.generators import blocks
from dipjax.operators import problem

CHUNK = 50  # steps between two values of a curve
HALF_STEPS = 400
TASKS = ("denoise", "superres", "inpaint")
_LEVELS = (300, 450, 600, 900)


def halved(task, data):
    """Returns the problem of the picture of half the size, made of the same measurement."""
    if task == "superres":
        return problem.super_resolution(data.measurement, 2)
    if task == "denoise":
        return problem.denoising(blocks.average_pool(data.measurement))
    known = blocks.average_pool(data.operator.known)
    mean = blocks.average_pool(data.measurement) / jnp.maximum(known, 1e-6)  # of the known pixels
    return problem.inpainting(mean, known > 0)


def curve(recipe, states, data, num_steps, cost=0.0):
    """Returns `[(cost, PSNR), ...]` of the mean of runs, after every chunk of steps; costs begin with what went before."""
    found = []
    for taken in range(CHUNK, num_steps + 1, CHUNK):
        states = [train.run(recipe, state, data, CHUNK)[0] for state in states]
        mean = jnp.mean(jnp.stack([state.average for state in states]), 0)
        found.append((cost + taken, round(float(metrics.psnr(mean, data.truth)), 3)))
    return found


def half_size_run(task, recipe, key, data):
    small = halved(task, data)
    return train.run(recipe, train.init(recipe, key, small), small, HALF_STEPS)[0]


def alone(task, recipe, key, data):
    del task
    return curve(recipe, [train.init(recipe, key, data)], data, recipe.num_steps)


def weights(task, recipe, key, data):
    small, state = half_size_run(task, recipe, key, data), train.init(recipe, key, data)
    height, width, _ = data.shape
    state = state._replace(params=small.params, z=blocks.nearest(small.z)[:height, :width])
    return curve(recipe, [state], data, recipe.num_steps - HALF_STEPS // 4, HALF_STEPS / 4)


@cache
def noise_and_guide(depth):
    return lambda key, data: jnp.concatenate([inputs.noise(depth)(key, data), inputs.guide(key, data)], -1)


def picture(task, recipe, key, data):
    small = half_size_run(task, recipe, key, data)
    data = data.replace(guide=blocks.bilinear(small.average)[: data.shape[0], : data.shape[1]])
    recipe = dataclasses.replace(recipe, input=noise_and_guide(8))
    return curve(recipe, [train.init(recipe, key, data)], data, recipe.num_steps - HALF_STEPS // 4, HALF_STEPS / 4)


def four(task, recipe, key, data):
    del task
    return curve(recipe, [train.init(recipe, one, data) for one in jax.random.split(key, 4)], data, recipe.num_steps)


def four_from_one(task, recipe, key, data):
    del task
    shared = recipe.num_steps // 3
    state = train.run(recipe, train.init(recipe, key, data), data, shared)[0]
    states = [state._replace(key=one) for one in jax.random.split(key, 4)]
    return curve(recipe, states, data, recipe.num_steps - shared // 4, shared / 4)


CONTESTANTS = {
    "alone": alone,
    "weights of half the size": weights,
    "picture of half the size as input": picture,
    "four seeds": four,
    "four seeds from one": four_from_one,
}


def markdown(report):
    lines = []
    for task, curves in report["curves"].items():
        title = " | ".join(f"cost {level}" for level in _LEVELS)
        lines += [f"{task}: {Path(PICTURES[task][0]).stem}", "", f"| start | {title} | best |", "|---" * (len(_LEVELS) + 2) + "|"]
        for name, points in curves.items():
            costs, values = np.array(points).T
            cells = [f"{np.interp(level, costs, values):.2f}" if costs[0] <= level <= costs[-1] else "" for level in _LEVELS]
            lines.append(f"| {name} | {' | '.join(cells)} | {values.max():.2f} |")
        lines.append("")
    note = "PSNR (dB) of the averaged output. Cost: steps of one run at full size, for each seed."
    return "\n".join([*lines, f"{note} `{report['command']}`; {report['made']}.", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    report = {"command": f"python -m benchmarks.starts --data DIR --size {arguments.size} --steps {arguments.steps}", "curves": {}}
    if arguments.json.exists():
        before = json.loads(arguments.json.read_text())
        if before["command"] != report["command"]:
            raise SystemExit(f"{arguments.json} was made by `{before['command']}`; take another file or the same options.")
        report["curves"] = before["curves"]
    report["made"] = turns.made()
    for task in arguments.tasks:
        data = make_problem(arguments.data, task, PICTURES[task][0], arguments.size)
        recipe, curves = make_recipe("fast", task, arguments.steps), report["curves"].setdefault(task, {})
        for name, run in CONTESTANTS.items():
            if name not in curves:
                curves[name] = run(task, recipe, jax.random.key(0), data)
                arguments.json.write_text(json.dumps(report))
                print(f"{task}, {name}: {curves[name][-1]}", flush=True)
    table = markdown(report)
    print(table)
    if arguments.markdown:
        arguments.markdown.write_text(table)


if __name__ == "__main__":
    main()
