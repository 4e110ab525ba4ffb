"""Which cheap setting restores best in a given time? PSNR against seconds for variants of the fast recipe, on several pictures and tasks.

    python -m benchmarks.pareto --data DIR [--size 128] [--settings NAME ...] [--tasks NAME ...]
        --json FILE --markdown FILE --figure FILE.png

`DIR` holds `cset9/`, `set5/`, `set14/` and `inpaint11/`. Every task has three pictures, their middle SIZE x SIZE pixels (those of
super-resolution are made smaller four times, those of deblurring are blurred by a Gaussian of 2 pixels and get noise of sigma 1/255).
All pictures of a task run together, one random start each. PSNR is that of the averaged output: all channels, whole crop, range 1,
unclipped, and its mean over the pictures is what the table and the figure show. Seconds are steps times the time of a step; that is
measured apart, with all networks taking turns (`--rounds`), because machines are shared.
Finished trajectories of the JSON file are kept. To try a setting, add a line to `SETTINGS`.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import optax
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import turns
from dipjax import operators
from dipjax.core import loop as train
from dipjax.fitting import inputs
from dipjax.fitting.optimizers import adam, cosine
from dipjax.generators import blocks
from dipjax.operators import problem, psfs
from dipjax.recipes import fast as recipes

PICTURES = {
    "denoise": ("cset9/image_House256rgb.png", "cset9/image_F16_512rgb.png", "cset9/image_Peppers512rgb.png"),
    "superres": ("set5/butterfly_GT.bmp", "set5/bird_GT.bmp", "set14/zebra.bmp"),
    "inpaint": ("inpaint11/montage.png", "inpaint11/boat.png", "inpaint11/Cameraman256.png"),
    "deblur": ("cset9/image_F16_512rgb.png", "set5/butterfly_GT.bmp", "set5/bird_GT.bmp"),
}


def _net(**options):
    """Returns a change of the recipe's generator."""
    return lambda recipe: dataclasses.replace(recipe, generator=recipe.generator.clone(**options))


def _grain(side):
    """Returns a change of the recipe's input, with the squares of `inputs.noise` of this side."""
    return lambda recipe: dataclasses.replace(recipe, input=inputs.noise(8, grain=side))


def _width(*channels):
    return {"down": channels, "up": channels, "skip": (4,) * len(channels)}


SETTINGS = {  # name: what it makes of the fast recipe
    "fast": lambda recipe: recipe,
    "no 1x1": _net(use_1x1=False),
    "no skip at full size": _net(skip=(0, 4, 4, 4, 4)),
    "no 1x1, no skip at full size": _net(use_1x1=False, skip=(0, 4, 4, 4, 4)),
    "16 at full size": _net(**_width(16, 32, 32, 32, 32)),
    "16, 32, 64, 64, 64": _net(**_width(16, 32, 64, 64, 64)),
    "4 levels": _net(**_width(32, 32, 32, 32)),
    "width 24": _net(**_width(*(24,) * 5)),
    "width 48": _net(**_width(*(48,) * 5)),
    "bilinear": _net(upsample=blocks.bilinear),
    "nearest": _net(upsample=blocks.nearest),
    "4 input channels": lambda recipe: dataclasses.replace(recipe, input=inputs.noise(4)),
    **{f"grain {side}": _grain(side) for side in (1, 2, 4, 8, 16)},
    "bilinear, grain 8": lambda recipe: _grain(8)(_net(upsample=blocks.bilinear)(recipe)),
    "rate 0.003": lambda recipe: dataclasses.replace(recipe, optimizer=adam(0.003, recipe.num_steps)),
    "bilinear, rate 0.003": lambda recipe: SETTINGS["rate 0.003"](_net(upsample=blocks.bilinear)(recipe)),
    "rate 0.02": lambda recipe: dataclasses.replace(recipe, optimizer=adam(0.02, recipe.num_steps)),
    "rate 0.02, cosine": lambda recipe: dataclasses.replace(recipe, optimizer=adam(0.02, recipe.num_steps, cosine)),
    "cosine": lambda recipe: dataclasses.replace(recipe, optimizer=adam(0.01, recipe.num_steps, cosine)),
    "average 0.98": lambda recipe: dataclasses.replace(recipe, smoothing=0.98),
    "average 0.995": lambda recipe: dataclasses.replace(recipe, smoothing=0.995),
    "RAdam": lambda recipe: dataclasses.replace(recipe, optimizer=optax.radam(0.01)),
    "half the jitter": lambda recipe: dataclasses.replace(recipe, input_noise=recipe.input_noise / 2),
    "half the jitter, cosine": lambda recipe: dataclasses.replace(
        recipe, input_noise=recipe.input_noise / 2, optimizer=adam(0.01, recipe.num_steps, cosine)
    ),
}


_TIMED_STEPS = 20


def make_problem(data, task, name, size):
    """Returns the problem of the middle of one picture; noise and mask are the same in every run."""
    picture = Image.open(data / name).convert("L" if task == "inpaint" else "RGB")
    pixels = np.asarray(picture).reshape(picture.height, picture.width, -1)
    top, left = ((side - size) // 2 for side in pixels.shape[:2])
    pixels = pixels[top : top + size, left : left + size]
    truth, random = pixels.astype(np.float32) / 255, np.random.default_rng(0)
    if task == "denoise":
        return problem.denoising(np.clip(truth + random.normal(0, 25 / 255, truth.shape), 0, 1), truth=truth)
    if task == "inpaint":
        return problem.inpainting(truth, random.random((size, size)) > 0.5, truth=truth)
    if task == "deblur":
        psf = psfs.gaussian(2)
        blurred = operators.Blur(psf)(truth)
        return problem.deblurring(np.clip(blurred + random.normal(0, 1 / 255, truth.shape), 0, 1), psf, truth=truth)
    small = Image.fromarray(pixels).resize((size // 4, size // 4), Image.Resampling.LANCZOS)
    return problem.super_resolution(np.asarray(small, np.float32) / 255, 4, truth=truth)


def make_recipe(setting, task, num_steps):
    make = recipes.FAST[task]
    return SETTINGS[setting](make(1 if task == "inpaint" else 3, **({"num_steps": num_steps} if num_steps else {})))


def trajectory(recipe, problems, num_pictures):
    """Returns the PSNR of the averaged output, `(steps, pictures)`, at 40 steps."""
    keys = train.seeds(0, num_pictures)
    curves = train.restore(recipe, keys, problems, problem_axis=0).metrics.psnr_average
    steps = np.unique(np.linspace(recipe.num_steps / 40, recipe.num_steps, 40).astype(int))
    return {"steps": steps.tolist(), "psnr": np.round(curves[:, steps - 1].T, 3).tolist()}


def times(arguments, runs):
    """Returns {task: {setting: [milliseconds of a step in each round]}}, the networks taking turns; equal ones are measured once."""
    states, names = {}, {}
    for task, settings in runs.items():
        data = make_problem(arguments.data, task, PICTURES[task][0], arguments.size)
        for setting in settings:
            recipe = make_recipe(setting, task, None)
            names[task, setting] = task, recipe.generator
            if names[task, setting] not in states:
                states[names[task, setting]] = recipe, train.init(recipe, jax.random.key(0), data), data

    def steps(recipe, state, data, number):
        return jax.block_until_ready(train.run(recipe, state, data, number))

    found = {network: [] for network in states}
    for round_number in range(-1, arguments.rounds):
        for network, one in states.items():
            steps(*one, 1)  # compiles; later, while the others had their turn the system may have taken memory back
            if round_number >= 0:
                found[network].append(turns.seconds(lambda: steps(*one, _TIMED_STEPS)) * 1e3 / _TIMED_STEPS)  # noqa: B023
    return {task: {setting: found[names[task, setting]] for setting in settings} for task, settings in runs.items()}


def seconds_to(curve, milliseconds, decibels):
    """Returns when the mean over the pictures first reaches `decibels`, or None."""
    reached = np.flatnonzero(np.mean(curve["psnr"], 1) >= decibels)
    return curve["steps"][reached[0]] * milliseconds / 1e3 if len(reached) else None


def markdown(report, arguments):
    lines = []
    for task, runs in report["runs"].items():
        medians = {setting: float(np.median(values)) for setting, values in report["milliseconds"][task].items()}
        goal = np.max(np.mean(runs["fast"]["psnr"], 1)) - 0.2 if "fast" in runs else np.inf
        lines += [f"{task}: {', '.join(Path(name).stem for name in PICTURES[task])}", ""]
        lines += [f"| setting | ms / step | best (dB) | at step | at the end (step) | seconds to {goal:.2f} dB |", "|---" * 6 + "|"]
        for setting, curve in runs.items():
            mean = np.mean(curve["psnr"], 1)
            when = seconds_to(curve, medians[setting], goal)
            cells = (
                f"{medians[setting]:.1f}",
                f"{mean.max():.2f}",
                curve["steps"][mean.argmax()],
                f"{mean[-1]:.2f} ({curve['steps'][-1]})",
            )
            lines.append(f"| {setting} | {' | '.join(map(str, cells))} | {'' if when is None else f'{when:.1f}'} |")
        lines.append("")
    rounds = f"median of {arguments.rounds} rounds"
    return "\n".join(
        [
            *lines,
            "One seed for each picture; PSNR of the averaged output, mean over the pictures, all channels, range 1, unclipped; the goal is",
            f"0.2 dB below the best of `fast`. Time of a step: {rounds}, compilation left out, once for each network.",
            f"`python -m benchmarks.pareto --data DIR --size {arguments.size}`; {report['made']}.",
            "",
        ]
    )


def draw(report, path):
    figure = Figure((5 * len(report["runs"]), 4), layout="constrained", dpi=120)
    for axes, (task, runs) in zip(figure.subplots(1, len(report["runs"]), squeeze=False)[0], report["runs"].items(), strict=True):
        for setting, curve in runs.items():
            seconds = np.array(curve["steps"]) * np.median(report["milliseconds"][task][setting]) / 1e3
            color, width = colormaps["tab20"](list(SETTINGS).index(setting)), 2.5 if setting == "fast" else 1
            axes.plot(seconds, np.mean(curve["psnr"], 1), label=setting, linewidth=width, color=color)
        best = max(np.max(np.mean(curve["psnr"], 1)) for curve in runs.values())
        axes.set(title=task, xlabel="seconds", ylabel="PSNR of the average (dB)", ylim=(best - 6, best + 0.3))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--tasks", nargs="+", choices=PICTURES, default=list(PICTURES))
    parser.add_argument("--steps", type=int, help="of every run; the recipe's if not given")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    report = json.loads(arguments.json.read_text()) if arguments.json.exists() else {"runs": {}}
    report["made"] = turns.made()
    for task in arguments.tasks:
        problems = [make_problem(arguments.data, task, name, arguments.size) for name in PICTURES[task]]
        runs = report["runs"].setdefault(task, {})
        for setting in arguments.settings:
            recipe = make_recipe(setting, task, arguments.steps)
            if setting in runs and runs[setting]["steps"][-1] != recipe.num_steps:
                found = f"{arguments.json}: {task}, {setting} took {runs[setting]['steps'][-1]} steps, this command asks for"
                raise SystemExit(f"{found} {recipe.num_steps}; take another file, or leave that setting out.")
            if setting not in runs:
                runs[setting] = trajectory(recipe, problem.stack(problems), len(problems))
                arguments.json.write_text(json.dumps(report))
                means = np.mean(runs[setting]["psnr"], 1)
                print(f"{task}, {setting}: best {means.max():.2f}, end {means[-1]:.2f}", flush=True)
    if arguments.rounds:
        report["milliseconds"] = times(arguments, report["runs"])
        arguments.json.write_text(json.dumps(report))
        table = markdown(report, arguments)
        print(table)
        if arguments.markdown:
            arguments.markdown.write_text(table)
        if arguments.figure:
            draw(report, arguments.figure)


if __name__ == "__main__":
    main()
