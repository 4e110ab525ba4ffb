"""Does the loop cost anything? A step inside `run` against the same step called alone, and K seeds against K single runs.

    python benchmarks/loop.py [--size 128] [--width 128] [--markdown FILE]

The contestants alternate; reported are medians and the median of the ratios, with the smallest and the largest. Compilation is left out.
"""

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import jax
import numpy as np
import optax

from dipjax.core import layouts as batching
from dipjax.core import loop as train
from dipjax.fitting import inputs
from dipjax.generators.skip import Skip
from dipjax.operators import problem


def seconds(function) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def alternate(contestants, num_rounds):
    for function in contestants.values():
        function()  # compile
    rounds = [{name: seconds(function) for name, function in contestants.items()} for _ in range(num_rounds)]
    return {name: np.array([times[name] for times in rounds]) for name in contestants}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()

    width = (arguments.width,) * 5
    recipe = train.Recipe(Skip(down=width, up=width), inputs.noise(32), 100, optax.adam(0.01), input_noise=1 / 30)
    task = problem.denoising(np.random.default_rng(0).random((arguments.size, arguments.size, 3)))
    layout = batching.default(arguments.seeds * arguments.size**2)
    one, many = train.seeds(0, 1), train.seeds(0, arguments.seeds)
    state = train.init(recipe, one[0], task)
    states = {len(keys): train._init_all(recipe, keys, task, layout, None) for keys in (one, many)}

    def alone():
        now = state
        for _ in range(arguments.steps):
            now, _ = train.train_step(recipe, now, task)
        return now

    def runs(num):
        return train._run_all(recipe, states[num], task, arguments.steps, layout, None)

    times = alternate(
        {
            "step alone": alone,
            "step inside run": lambda: train.run(recipe, state, task, arguments.steps),
            "one seed": lambda: runs(1),
            f"{arguments.seeds} seeds": lambda: runs(arguments.seeds),
        },
        arguments.rounds,
    )
    inside = times["step inside run"] / times["step alone"]
    ensemble = times[f"{arguments.seeds} seeds"] / (arguments.seeds * times["one seed"])
    lines = [
        f"`python benchmarks/loop.py {' '.join(sys.argv[1:])}`, {jax.devices()[0].device_kind}, JAX {jax.__version__}, {date.today()}",
        "",
        "| contestant | seconds per step, median | min | max |",
        "|---|---|---|---|",
        *(f"| {name} | {np.median(t):.4f} | {t.min():.4f} | {t.max():.4f} |" for name, t in per_step(times, arguments.steps)),
        "",
        "| ratio | median | min | max |",
        "|---|---|---|---|",
        f"| inside run / alone | {np.median(inside):.3f} | {inside.min():.3f} | {inside.max():.3f} |",
        f"| {arguments.seeds} seeds / {arguments.seeds} single runs | {np.median(ensemble):.3f} | {ensemble.min():.3f} "
        f"| {ensemble.max():.3f} |",
    ]
    print("\n".join(lines))
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(lines) + "\n")


def per_step(times, num_steps):
    return [(name, values / num_steps) for name, values in times.items()]


if __name__ == "__main__":
    main()
