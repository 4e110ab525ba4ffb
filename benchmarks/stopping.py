"""Does it know when to stop? Every rule against the best step of the same run, over kinds and strengths of noise.

    python -m benchmarks.stopping --data DIR [--pictures cset9] [--rules held-out none ...] [--noise gauss25 ...] [--json FILE]
    python -m benchmarks.stopping --cost 128

`DIR` holds the folders of pictures, of which each gives its middle of 128 x 128 pixels. All noise is clipped and rounded to 8 bit: normal,
of sigma 10, 25, 50; Poisson, of 10, 30, 100 photons at white; salt and pepper on 5, 10, 20 % of the pixels, all channels at once; normal
noise of sigma 25 after a blur of 0.7, 1, 1.5 pixels; and a simulated camera (Bayer mosaic of linear light, shot noise of 50, 200, 1000
photons at white, noise of reading of 0.002, bilinear demosaicing, gamma 2.2, JPEG of quality 90). Two seeds, the `fast` recipe with its own
loss and guide. A run goes on after its rule has stopped it, by half as many steps again and a hundred, up to `--steps`, so that its best
step is known; without a rule it takes them all. "lost" is the PSNR (RGB, range 1, unclipped) of the average at its best step less that of
what the rule gives; "held out" is what the best average of a run without a rule is better than that of a run with it. All pictures of one
noise are one batch of one compiled program. Finished rows are kept.

The second table is of the error that is estimated for the mean of the two seeds, with held-out entries: how many of all values lie within
the intervals that ought to hold 50 and 90 %, the rank correlation of the estimate with the absolute error, and the ratio of their root
mean squares.
"""

import io
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import ndimage, stats

from benchmarks import common
from dipjax import uncertainty
from dipjax.core import drive, loop
from dipjax.core import problem as problems
from dipjax.core.state import psnr
from dipjax.core.stopping import REGISTRY, Verdict
from dipjax.operators import problem
from dipjax.recipes import choose

SIDE = 128
INTERVALS = {50: 0.6745, 90: 1.6449}  # times the standard deviation


# Noise: (picture in [0, 1], generator of random numbers) -> picture


def normal(picture, random, *, sigma):
    return picture + random.normal(0, sigma / 255, picture.shape)


def poisson(picture, random, *, photons):
    return random.poisson(picture * photons) / photons


def salt_and_pepper(picture, random, *, percent):
    draw = random.random(picture.shape[:2])[..., None]
    return np.where(draw < percent / 200, 0, np.where(draw > 1 - percent / 200, 1, picture))


def blurred(picture, random, *, width):
    noise = ndimage.gaussian_filter(random.standard_normal(picture.shape), (width, width, 0), mode="wrap")
    return picture + noise / noise.std() * 25 / 255


def camera(picture, random, *, photons):
    colours = np.zeros(picture.shape)
    colours[0::2, 0::2, 0] = colours[0::2, 1::2, 1] = colours[1::2, 0::2, 1] = colours[1::2, 1::2, 2] = 1
    mosaic = (picture**2.2 * colours).sum(-1)
    mosaic = random.poisson(mosaic * photons) / photons + random.normal(0, 0.002, mosaic.shape)
    spread = partial(ndimage.convolve, weights=np.outer([1, 2, 1], [1, 2, 1])[..., None] / 4, mode="mirror")
    linear = spread(mosaic[..., None] * colours) / spread(colours)
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.rint(255 * linear.clip(0, 1) ** (1 / 2.2)))).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file)) / 255


NOISE = {
    **{f"gauss{sigma}": partial(normal, sigma=sigma) for sigma in (10, 25, 50)},
    **{f"poisson{photons}": partial(poisson, photons=photons) for photons in (10, 30, 100)},
    **{f"salt{percent}": partial(salt_and_pepper, percent=percent) for percent in (5, 10, 20)},
    **{f"blurred{width}": partial(blurred, width=width) for width in (0.7, 1, 1.5)},
    **{f"camera{photons}": partial(camera, photons=photons) for photons in (50, 200, 1000)},
}


@dataclass(frozen=True)
class Following:
    """Does as its rule and remembers what that gave, but lets the run go on for half as many steps again, and a hundred."""

    rule: Any

    def init(self, key, problem, estimate):
        return self.rule.init(key, problem, estimate), jnp.bool(False), jnp.int32(0)

    def hide(self, memory, prediction, measurement):
        return self.rule.hide(memory[0], prediction, measurement) if hasattr(self.rule, "hide") else prediction

    def seen(self, memory, problem):
        return self.rule.seen(memory[0], problem) if hasattr(self.rule, "seen") else problem

    def update(self, memory, look):
        inner, stopped, steps = memory
        verdict = self.rule.update(inner, look)
        new = verdict.memory, stopped | verdict.stop, steps + ~stopped
        # From where it stopped on, the rule sees nothing more.
        inner = jax.tree.map(partial(jnp.where, stopped), inner, verdict.memory)
        return Verdict((inner, *new[1:]), verdict.best, verdict.score, new[1] & (look.step + 1 >= new[2] * 3 // 2 + 100))


def measure(options, rule, noise):
    """Returns the rows of all pictures and seeds: what was lost, and after which steps it was best, taken, and stopped."""
    files = sorted(path for path in (options.data / options.pictures).iterdir() if path.suffix in {".png", ".bmp", ".jpg"})
    files = [path for path in files if path.stem in (options.only or [path.stem])]
    tasks = []
    for index, path in enumerate(files):
        truth = common.load(path, crop=SIDE).astype(np.float32) / 255
        noisy = NOISE[noise](truth, np.random.default_rng([list(NOISE).index(noise), index]))
        tasks.append(problem.denoising(np.float32(np.rint(noisy.clip(0, 1) * 255) / 255), truth=truth))
    recipe = replace(choose("denoise", "fast")(3).recipe, stopping=None if rule == "none" else Following(REGISTRY[rule]()))
    keys = jnp.stack([drive.seeds(jax.random.fold_in(jax.random.key(0), index), 2) for index in range(len(files))])
    result = drive.restore(recipe, keys, problems.stack(tasks), num_steps=options.steps, problem_axis=0)
    rows, errors = [], []
    for index, (path, task) in enumerate(zip(files, tasks, strict=True)):
        if rule == "held-out":
            errors.append({"picture": path.stem, **error(result, index, task)})
        rows += [{"picture": path.stem, "seed": seed, **_row(result, index, seed, task, rule)} for seed in range(2)]
    return {"rows": rows, "errors": errors, "seconds": result.seconds}


def _row(result, index, seed, task, rule):
    """Returns the best step of one run, and with a rule what it lost, took, and when it stopped."""
    curve, steps = result.metrics.psnr_average[index, seed], int(result.steps[index, seed]) if rule != "none" else result.num_steps
    row = {"peak": float(curve[:steps].max()), "best": int(curve[:steps].argmax()) + 1}
    if rule == "none":
        return row
    given = float(psnr(result.images[index, seed], np.asarray(task.truth)))
    stopped = int(result.state.watch.memory[2][index, seed])
    return row | {"lost": row["peak"] - given, "taken": int(result.best_steps[index, seed]), "stopped": stopped}


def error(result, index, task):
    """Returns how well the error of one picture's mean over seeds was estimated."""
    own = jax.tree.map(lambda leaf: leaf[index], result.state)
    own = own._replace(watch=own.watch._replace(memory=own.watch.memory[0]))  # of the rule that was followed
    left_out = None if result.left_out is None else result.left_out[index]
    one = replace(result, images=result.images[index], alive=result.alive[index], left_out=left_out, make_state=lambda: own)
    found = uncertainty.calibrated(one, task)
    wrong = np.abs(one.image - np.asarray(task.truth))
    inside = {f"within{percent}": float(np.mean(wrong <= times * found.std)) for percent, times in INTERVALS.items()}
    noise = float(np.sqrt(np.mean((np.asarray(task.measurement) - np.asarray(task.truth)) ** 2)))
    ratio = float(np.sqrt(np.mean(found.std**2) / np.mean(wrong**2)))
    rank = float(stats.spearmanr(found.std.ravel(), wrong.ravel()).statistic)
    return inside | {
        "rank": rank,
        "ratio": ratio,
        "noise": found.noise / noise,
        "gained": found.gained,
        "psnr": float(psnr(one.image, np.asarray(task.truth))),
    }


def step_times(side, rounds):
    """Returns the time of a step with each rule in units of that of a step without, the median of rounds that alternate."""
    task = problem.denoising(np.random.default_rng(0).random((side, side, 3), np.float32))
    recipe = choose("denoise", "fast")(3).recipe
    recipes = {"none": recipe} | {name: replace(recipe, stopping=Following(kind())) for name, kind in REGISTRY.items()}
    runs = {name: drive.restore(one, jax.random.key(0), task, num_steps=3).state for name, one in recipes.items()}
    times = {name: [] for name in recipes}
    for _ in range(rounds):
        for name, one in recipes.items():
            state, start = runs[name], time.perf_counter()
            jax.block_until_ready(loop.chunk(one, state, task, 20, 100_000)[0].step)
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(np.divide(seconds, times["none"]))) for name, seconds in times.items()}


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--cost", type=int, metavar="SIDE", help="only how long a step takes with each rule, on a picture of this side")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", default="cset9", metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="PICTURE")
    parser.add_argument("--rules", nargs="+", default=["none", "held-out"], choices=["none", *REGISTRY])
    parser.add_argument("--noise", nargs="+", default=list(NOISE), choices=NOISE)
    parser.add_argument("--steps", type=int, default=1500)
    return parser.parse_args(argv)


def summary(rows):
    """Returns the cells of a line: decibels lost, and steps taken to stop against the best step."""
    lost = np.array([row["lost"] for row in rows])
    ratio = np.median([row["stopped"] / row["best"] for row in rows])
    return [float(np.median(lost)), float(np.quantile(lost, 0.9)), float(lost.max()), float(ratio)]


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    about = f"`{common.command('stopping', argv)}`; {common.made()}."
    if options.cost:
        rows = [[name, f"{ratio:.3f}"] for name, ratio in step_times(options.cost, options.rounds).items()]
        common.publish([*common.table(["rule", "time of a step"], rows), "", about], options.markdown)
        return
    report = common.Report(options.json, {"pictures": options.pictures, "only": options.only, "steps": options.steps})
    lines, sure, every, peaks = [], [], {}, {}
    for noise in options.noise:
        for rule in options.rules:
            done = report.get(f"{rule}, {noise}", partial(measure, options, rule, noise))
            print(f"{rule}, {noise}: done", file=sys.stderr, flush=True)
            rows = done["rows"]
            if rule == "none":
                peaks[noise] = rows
                continue
            every.setdefault(rule, []).extend(rows)
            without = peaks.get(noise, rows)
            cost = float(np.median([free["peak"] - row["peak"] for free, row in zip(without, rows, strict=True)]))
            best, stopped = (int(np.median([row[name] for row in rows])) for name in ("best", "stopped"))
            lines.append([rule, noise, *summary(rows), best, stopped, cost if noise in peaks else None])
            sure += [[noise, *sureness(done["errors"])]] if done["errors"] else []
    lines += [[rule, "all", *summary(rows), None, None, None] for rule, rows in every.items()]
    titles = ["rule", "noise", "lost, median", "90 %", "worst", "stopped / best", "best step", "stopped at", "held out"]
    text = [*common.table(titles, lines), "", "PSNR in dB, medians over pictures and seeds.", ""]
    if sure:
        titles = [
            "noise",
            "in the 50 % interval",
            "least",
            "most",
            "in the 90 % interval",
            "least",
            "most",
            "rank correlation",
            "estimate / error",
        ]
        text += [*common.table(titles, sure), "", "Medians over pictures, and the least and the most of any.", ""]
    common.publish([*text, about], options.markdown)


def sureness(errors):
    """Returns the cells of a line: what lies within the intervals, rank correlation, and estimated by true error."""
    of_all = lambda name: np.array([one[name] for one in errors])  # noqa: E731
    within = [value for percent in INTERVALS for value in _spread(of_all(f"within{percent}"))]
    return [*within, float(np.median(of_all("rank"))), float(np.median(of_all("ratio")))]


def _spread(values):
    return float(np.median(values)), float(values.min()), float(values.max())


if __name__ == "__main__":
    main()
