"""Which setting restores best, and in what time? PSNR over steps and seconds for variants of the fast setting, on pictures and tasks.

    python -m benchmarks.settings --data DIR [--size 128] [--trials NAME ...] [--tasks NAME ...] [--seeds 1] [--steps N] [--rounds 5]
        [--raw] --json FILE --markdown FILE [--figure FILE.png]

`DIR` holds `cset9/`, `set5/`, `set14/` and `inpaint11/`. Every task has three pictures, their middle SIZE x SIZE pixels, which run
together; the problems are those of `common.make_problem`. PSNR is that of the averaged outputs, with what they leave of the measurement put
back where the task does that (`dipjax.kriging`), unless `--raw`; `single` is the mean over pictures and seeds, `ensemble` that of the mean
of the seeds: all channels, range 1, unclipped. Seconds are steps times the time of a step; that is measured
apart, with all networks taking turns (`--rounds`, 0 for none), because machines are shared. The goal is 0.2 dB below the best of `fast`.
Finished trials of the JSON file are kept. To try a setting, add a line to `TRIALS`; what failed stays as text in `results/`.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

from benchmarks import common
from dipjax.core import drive, loop
from dipjax.core.problem import stack
from dipjax.fitting.inputs import Noise
from dipjax.fitting.optimizers import Adam, Cosine
from dipjax.generators import blocks
from dipjax.metrics import psnr
from dipjax.recipes.by_name import FAST

PICTURES = {
    "denoise": ("cset9/image_House256rgb.png", "cset9/image_F16_512rgb.png", "cset9/image_Peppers512rgb.png"),
    "superres": ("set5/butterfly_GT.bmp", "set5/bird_GT.bmp", "set14/zebra.bmp"),
    "inpaint": ("inpaint11/montage.png", "inpaint11/boat.png", "inpaint11/Cameraman256.png"),
    "deblur": ("cset9/image_F16_512rgb.png", "set5/butterfly_GT.bmp", "set5/bird_GT.bmp"),
}
_TIMED_STEPS = 20
_MOMENTS = 40  # of a run, at which it is looked at


def _net(**options):
    return lambda setting: setting.changed(generator=setting.recipe.generator.clone(**options))


def _part(**parts):
    return lambda setting: setting.changed(**parts)


def _widths(*channels):
    return _net(down=channels, up=channels, skip=(4,) * len(channels))


def _both(one, other):
    return lambda setting: other(one(setting))


TRIALS = {  # name: what it makes of the fast setting
    "fast": lambda setting: setting,
    "no 1x1": _net(use_1x1=False),
    "no skip at full size": _net(skip=(0, 4, 4, 4, 4)),
    "16 at full size": _widths(16, 32, 32, 32, 32),
    "32 at full size": _widths(32, 32, 32, 32, 32),
    "no guide, 32 at full size": _both(_part(input=Noise(8)), _widths(32, 32, 32, 32, 32)),
    "16, 32, 64, 64, 64": _widths(16, 32, 64, 64, 64),
    "4 levels": _widths(32, 32, 32, 32),
    "width 24": _widths(*(24,) * 5),
    "width 48": _widths(*(48,) * 5),
    "bilinear": _net(upsample=blocks.bilinear),
    "nearest": _net(upsample=blocks.nearest),
    "4 input channels": _part(input=Noise(4)),
    # For noise these have no guide, and "grain 1" is the setting without one.
    **{f"grain {side}": _part(input=Noise(8, grain=side)) for side in (1, 2, 4, 8, 16)},
    "bilinear, grain 8": _both(_net(upsample=blocks.bilinear), _part(input=Noise(8, grain=8))),
    "rate 0.003": _part(optimizer=Adam(0.003)),
    "bilinear, rate 0.003": _both(_net(upsample=blocks.bilinear), _part(optimizer=Adam(0.003))),
    "rate 0.02": _part(optimizer=Adam(0.02)),
    "rate 0.02, cosine": _part(optimizer=Adam(0.02, Cosine())),
    "cosine": _part(optimizer=Adam(0.01, Cosine())),
    "average 0.98": _part(smoothing=0.98),
    "average 0.995": _part(smoothing=0.995),
    "RAdam": _part(optimizer=optax.radam(0.01)),
    "half the jitter": lambda setting: setting.changed(input_noise=setting.recipe.input_noise / 2),
}


def make_problem(options, task, name):
    """Returns the problem of the middle of one picture; noise and mask are the same in every trial."""
    picture = common.load(options.data / name, "L" if task == "inpaint" else "RGB", options.size)
    return common.make_problem(task, picture, np.random.default_rng(0))


def make_setting(trial, task):
    return TRIALS[trial](FAST[task](1 if task == "inpaint" else 3))


def measure(trial, task, problems, options):
    """Runs one trial; returns the steps at which it was looked at, and the mean PSNR there."""
    setting = make_setting(trial, task)
    num_steps = options.steps or setting.steps_for(problems[0].shape)
    keys = jax.numpy.stack([drive.seeds(0, options.seeds)] * len(problems))
    truths, found = [np.asarray(problem.truth) for problem in problems], {"steps": [], "single": [], "ensemble": []}
    for result in drive.iterate(setting.recipe, keys, stack(problems), num_steps=num_steps, problem_axis=0):
        if result.num_steps and result.num_steps >= min(num_steps, len(found["steps"]) * num_steps / _MOMENTS):
            found["steps"].append(result.num_steps)
            images = result.images
            if not options.raw:
                images = np.stack([common.put_back(task, *pair) for pair in zip(problems, images, strict=True)])
            single = [psnr(one, truth) for seeds, truth in zip(images, truths, strict=True) for one in seeds]
            means = [psnr(seeds.mean(axis=0), truth) for seeds, truth in zip(images, truths, strict=True)]
            found["single"].append(round(float(np.mean(single)), 3))
            found["ensemble"].append(round(float(np.mean(means)), 3))
    return found | {"alive": int(result.alive.sum())}


def times(options, tasks):
    """Returns {(task, trial): milliseconds of a step}, medians of rounds in which the networks take turns; equal ones are measured once."""
    states, networks = {}, {}
    for task, trials in tasks.items():
        data = make_problem(options, task, PICTURES[task][0])
        for trial in trials:
            recipe = make_setting(trial, task).recipe
            networks[task, trial] = task, recipe.generator
            if networks[task, trial] not in states:
                states[networks[task, trial]] = recipe, loop.init(recipe, jax.random.key(0), data), data
    found = {network: [] for network in states}
    for round_number in range(-1, options.rounds):
        for network, one in states.items():
            loop.run(*one, 1)  # compiles; later, while the others had their turn the system may have taken memory back
            if round_number >= 0:
                found[network].append(common.seconds(partial(loop.run, *one, _TIMED_STEPS)) * 1e3 / _TIMED_STEPS)
    return {name: float(np.median(found[network])) for name, network in networks.items()}


def markdown(tasks, milliseconds):
    lines = []
    for task, trials in tasks.items():
        goal, rows = max(trials["fast"]["single"]) - 0.2 if "fast" in trials else np.inf, []
        for trial, curve in trials.items():
            best, ms = int(np.argmax(curve["single"])), milliseconds.get((task, trial))
            when = next((step for step, value in zip(curve["steps"], curve["single"], strict=True) if value >= goal), None)
            seconds = f"{when * ms / 1e3:.1f}" if ms and when else None
            row = [
                trial,
                ms and f"{ms:.1f}",
                curve["single"][best],
                curve["steps"][best],
                f"{curve['single'][-1]:.2f} ({curve['steps'][-1]})",
            ]
            rows.append([*row, max(curve["ensemble"]), curve["ensemble"][-1], seconds])
        titles = ["trial", "ms / step", "best single (dB)", "at step", "at the end (step)", "best ensemble", "at the end"]
        lines += [f"{task}: {', '.join(Path(name).stem for name in PICTURES[task])}", ""]
        lines += [*common.table([*titles, f"seconds to {goal:.2f} dB"], rows), ""]
    return lines


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS), metavar="NAME")
    parser.add_argument("--tasks", nargs="+", choices=PICTURES, default=list(PICTURES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of every run; the setting's if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--raw", action="store_true", help="what the networks made alone")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    report, tasks = common.Report(options.json, {name: getattr(options, name) for name in ("size", "seeds", "steps", "raw")}), {}
    for task in options.tasks:
        problems = [make_problem(options, task, name) for name in PICTURES[task]]
        for trial in options.trials:
            curve = report.get(f"{task}, {trial}", partial(measure, trial, task, problems, options))
            tasks.setdefault(task, {})[trial] = curve
            print(f"{task}, {trial}: best {max(curve['single']):.2f}, end {curve['single'][-1]:.2f}", file=sys.stderr, flush=True)
    milliseconds = times(options, tasks) if options.rounds else {}
    lines = [*markdown(tasks, milliseconds), f"`{common.command('settings', argv)}`; {common.made()}."]
    common.publish(lines, options.markdown)
    if options.figure:
        panels = {task: {trial: (curve["steps"], curve["single"]) for trial, curve in trials.items()} for task, trials in tasks.items()}
        common.draw(panels, options.figure, x="step", y="PSNR of the average (dB)")


if __name__ == "__main__":
    main()
