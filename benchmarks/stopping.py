"""Does it know when to stop? Every rule against the best step of the same run, over kinds and strengths of noise.

    python -m benchmarks.stopping --data DIR [--pictures cset9] [--rules held-out none ...] [--noise gauss25 ...] [--json FILE]
    python -m benchmarks.stopping --cost 128
    python -m benchmarks.stopping --estimates --data DIR [--pictures set14]

`DIR` holds the folders of pictures, of which each gives its middle of 128 x 128 pixels. All noise is clipped and rounded to 8 bit: normal,
of sigma 10, 25, 50; Poisson, of 10, 30, 100 photons at white; salt and pepper on 5, 10, 20 % of the pixels, all channels at once; normal
noise of sigma 25 after a blur of 0.7, 1, 1.5 pixels; and a simulated camera (Bayer mosaic of linear light, shot noise of 50, 200, 1000
photons at white, noise of reading of 0.002, bilinear demosaicing, gamma 2.2, JPEG of quality 90). Two seeds, the recipe that `dipjax
denoise` takes for the picture: its guide, and the loss that fits the noise, which it finds by itself. A run goes on, up to `--steps`, until
its rule has stopped it and its average was no better for three tenths of the steps to its best, which are known because the truth is, and a
hundred more. The rules that only look on, which are `emv`, `wmv` and `discrepancy`, are all measured in the run without a rule, which then
waits for them too. Pictures count as `denoise` gives them: of salt and pepper what was not hit stays as it is. "lost" is the PSNR (RGB,
range 1, unclipped) of the averages at their best step less that of what the rule gives: of the mean of the two seeds, looked at about twice
a second, and of a seed for itself, in every step (of salt and pepper as often as their mean). "stopped" is when a seed did, in the mean,
and "held out" by how much the mean of the two seeds of a run without a rule is better, at its best step, than the mean of the two pictures
that the rule gives. All pictures of one noise and one loss are one batch of one compiled program. Finished rows are kept.

The second table is of families of noise, for the rule that is the default: what the means of two lost, over all pictures of all strengths.

The third table is of the error that is estimated for the mean of the two seeds, with held-out entries: how many of all values lie within
the intervals that ought to hold 50 and 90 %, the rank correlation of the estimate with the absolute error, and the ratio of their root
mean squares. What a camera does to a picture without any noise no measurement can show: "but for the camera" counts the error against the
picture of that camera without noise.
"""

import io
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import ndimage, stats

import dipjax.tasks.tasks  # noqa: F401, fills TASKS
from benchmarks import common
from dipjax import uncertainty
from dipjax.core import drive, loop
from dipjax.core import problem as problems
from dipjax.core.state import Result, psnr
from dipjax.operators import problem
from dipjax.recipes import choose
from dipjax.stopping import REGISTRY, Best, Verdict
from dipjax.stopping.noise import of_picture
from dipjax.tasks.door import TASKS
from dipjax.tasks.options import Options
from dipjax.tasks.restore import setting_for

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


def camera(picture, random, *, photons, reading=0.002):
    colours = np.zeros(picture.shape)
    colours[0::2, 0::2, 0] = colours[0::2, 1::2, 1] = colours[1::2, 0::2, 1] = colours[1::2, 1::2, 2] = 1
    mosaic = (picture**2.2 * colours).sum(-1)
    mosaic = random.poisson(mosaic * photons) / photons + random.normal(0, reading, mosaic.shape)
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


FAMILIES = {
    "normal noise, sigma 10, 25, 50": "gauss",
    "Poisson noise, 10, 30, 100 photons at white": "poisson",
    "salt and pepper, 5, 10, 20 %": "salt",
    "noise blurred with sigma 0.7, 1, 1.5": "blurred",
    "a camera's JPEG, 50, 200, 1000 photons": "camera",
    "all": "",
}
"""How the noise of each begins, by the words for it."""


LOOKING_ON = ("emv", "wmv", "discrepancy")
"""The rules that change nothing of the run."""


def clean(picture, noise):
    """Returns what is measured without any noise."""
    return camera(picture, np.random.default_rng(0), photons=1e12, reading=0) if noise.startswith("camera") else picture


class Followed(NamedTuple):
    """What a rule gave."""

    memory: Any  # the rule's own
    best: Best
    stopped: Any  # (), bool
    steps: Any  # (), until it stopped


class Memory(NamedTuple):
    followed: tuple  # one for each rule
    error: Any  # () and the next: of the best step, which the truth tells
    step: Any


@dataclass(frozen=True)
class Following:
    """Does as its rule, if any, and remembers what that gave, but lets the run go on until its best step is known."""

    rule: Any
    looking_on: tuple = ()  # rules that change nothing of the run

    @property
    def rules(self):
        return tuple(rule for rule in (self.rule, *self.looking_on) if rule)

    def init(self, key, problem, estimate):
        none = Best(jnp.array(jnp.inf, problem.dtype), jnp.int32(0), estimate)
        followed = (Followed(rule.init(key, problem, estimate), none, jnp.bool(False), jnp.int32(0)) for rule in self.rules)
        return Memory(tuple(followed), none.score, none.step)

    def hide(self, memory, prediction, measurement):
        return self.rule.hide(memory.followed[0].memory, prediction, measurement) if hasattr(self.rule, "hide") else prediction

    def seen(self, memory, problem):
        return self.rule.seen(memory.followed[0].memory, problem) if hasattr(self.rule, "seen") else problem

    def update(self, memory, look):
        followed = tuple(self._followed(*pair, look) for pair in zip(self.rules, memory.followed, strict=True))
        error = jnp.mean((look.estimate[0] - look.problem.truth) ** 2)
        pairs = (error, memory.error), (look.step, memory.step)
        error, step = (jnp.where(error < memory.error, new, old) for new, old in pairs)
        stop = look.step - step > 0.3 * step + 100
        for one in followed:
            stop &= one.stopped
        now = Best(error, look.step, look.estimate)
        return Verdict(Memory(followed, error, step), followed[0].best if self.rule else now, error, stop)

    def _followed(self, rule, old, look):
        verdict = rule.update(old.memory, look)
        new = Followed(verdict.memory, verdict.best, verdict.stop, old.steps + 1)
        return jax.tree.map(partial(jnp.where, old.stopped), old, new)  # once stopped, a rule sees nothing more


def example(path, noise, index, kinds=NOISE, side=SIDE):
    """Returns the middle of a picture and the same with a noise of `kinds`, which depends on the number of the picture, in 8 bit."""
    truth = common.load(path, crop=side).astype(np.float32) / 255
    noisy = kinds[noise](truth, np.random.default_rng([list(kinds).index(noise), index]))
    return truth, np.float32(np.rint(noisy.clip(0, 1) * 255) / 255)


def made(options, noise):
    """Returns the pictures' files, and their problems with that noise."""
    files = common.pictures_in(options.data / options.pictures)
    files = [path for path in files if path.stem in (options.only or [path.stem])]
    tasks = []
    for index, path in enumerate(files):
        truth, noisy = example(path, noise, index)
        task = TASKS["denoise"].build(noisy)
        tasks.append(replace(task, problem=task.problem.replace(truth=truth), sooner=None))  # the networks alone, by the full rule
    return files, tasks


def chosen(task, rule):
    """Returns the recipe with which `dipjax denoise` restores the picture of a task, with that rule."""
    return setting_for(task, Options(recipe="fast", stop="auto" if rule == "held-out" else rule))[0].recipe


def measure(options, noise, rule, looking_on=()):
    """Returns the rows of all pictures and seeds for a rule, or for none and those that look on: what was lost, and after which steps."""
    files, tasks = made(options, noise)
    recipes = [chosen(task, rule) for task in tasks]
    found = {name: {"seeds": [], "means": []} for name in dict.fromkeys((rule, *looking_on))}
    kept, seconds = [None] * len(files), 0.0
    for recipe in set(recipes):  # pictures with another kind of noise have another loss, and are another batch
        where = [index for index, other in enumerate(recipes) if other == recipe]
        seconds += _measured(options, recipe, where, files, tasks, rule, looking_on, found, kept)
    if rule == "held-out":
        options.keep.mkdir(parents=True, exist_ok=True)
        np.savez(options.keep / f"{noise}.npz", **{name: np.stack([one[name] for one in kept]) for name in kept[0]})
    return {"rows": found.pop(rule), "looking_on": found, "seconds": seconds}


def _measured(options, recipe, where, files, tasks, rule, looking_on, found, kept):
    """Measures the pictures of one recipe, as one batch, into `found` and `kept`; returns the seconds."""
    stopping = Following(recipe.stopping, tuple(REGISTRY[name]() for name in looking_on))
    keys = jnp.stack([drive.seeds(jax.random.fold_in(jax.random.key(0), index), 2) for index in where])
    batch, curve = problems.stack([tasks[index].problem for index in where]), []

    def psnrs(images):
        """Returns those of the mean of two and of each `(3,)`, of every picture, as they are finished."""
        pairs = zip((tasks[index] for index in where), np.asarray(images), strict=True)
        each = [task.finish(np.stack([pair.mean(0), *pair])) - np.asarray(task.problem.truth) for task, pair in pairs]
        return -10 * np.log10(np.mean(np.square(each), (2, 3, 4)))

    def look(result):
        if result.num_steps:
            curve.append((result.num_steps, psnrs(result.state.average)))

    recipe = replace(recipe, stopping=stopping)
    result = drive.restore(recipe, keys, batch, num_steps=options.steps, problem_axis=0, callback=look)
    names = looking_on if rule == "none" else (rule,)
    followed = dict(zip(names, result.state.watch.memory.followed, strict=True))
    looks = np.array([step for step, _ in curve])
    for name in found:
        gave = followed.get(name)
        given = None if gave is None else psnrs(gave.best.estimate[0])
        for index, at in enumerate(where):
            curves = [(looks, np.array([values[index, place] for _, values in curve])) for place in range(3)]
            if tasks[at].finish_std is None:  # the loop itself has seen what is given, in every step
                ends = result.steps[index]
                curves[1:] = [(np.arange(end) + 1, own[:end]) for own, end in zip(result.metrics.psnr_average[index], ends, strict=True)]
            rows = [{"picture": files[at].stem, "peak": float(own.max()), "best": int(steps[own.argmax()])} for steps, own in curves]
            if gave is not None:
                stopped = [gave.steps[index].mean(), *gave.steps[index]]
                for row, value, end in zip(rows, given[index], stopped, strict=True):
                    row |= {"lost": row["peak"] - float(value), "stopped": int(end)}
                for row, taken in zip(rows[1:], gave.best.step[index], strict=True):
                    row["taken"] = int(taken) + 1
            found[name]["means"].append(rows[0])
            found[name]["seeds"] += [row | {"seed": seed} for seed, row in enumerate(rows[1:])]
    if rule == "held-out":
        held = followed[rule].memory
        left_out = np.zeros_like(result.alive) if result.left_out is None else result.left_out
        arrays = {"images": result.images, "alive": result.alive, "left_out": left_out, "scored": held.scored, "hidden": held.hidden}
        for index, at in enumerate(where):
            kept[at] = {name: np.asarray(array)[index] for name, array in arrays.items()}
    return result.seconds


def errors(options, noise):
    """Returns how well the error of each picture's mean over seeds was estimated, from what a run with held-out entries has left."""
    path = options.keep / f"{noise}.npz"
    if not path.exists():
        return []
    files, tasks = made(options, noise)
    with np.load(path) as kept:
        arrays = dict(kept)
    return [
        {"picture": file.stem} | _error({name: array[index] for name, array in arrays.items()}, task, noise)
        for index, (file, task) in enumerate(zip(files, tasks, strict=True))
    ]


def _error(own, task, noise):
    data, hidden = task.problem, own["hidden"]
    truth = np.asarray(data.truth)
    memory = SimpleNamespace(scored=own["scored"], hidden=hidden, measured=np.ones_like(hidden))
    watch = SimpleNamespace(memory=memory, best=SimpleNamespace(estimate=(own["images"],)))
    ended = {"stopped": own["alive"], "left_out": own["left_out"], "make_state": lambda: SimpleNamespace(watch=watch)}
    one = Result(own["images"], own["alive"], None, 0, 0.0, 0.0, True, **ended)
    found = uncertainty.calibrated(one, data)
    image, std = task.finish(one.image), (task.finish_std or task.finish)(found.std)
    wrong, from_clean = np.abs(image - truth), np.abs(image - clean(truth, noise))
    counted = getattr(task.finish, "hit", np.ones_like(wrong, bool))  # what stays as it is holds no error that could be estimated
    inside = {f"within{percent}": float(np.mean((wrong <= times * std)[counted])) for percent, times in INTERVALS.items()}
    strength = float(np.sqrt(np.mean((np.asarray(data.measurement) - truth) ** 2)))
    ratio = float(np.sqrt(np.mean(std**2) / np.mean(wrong**2)))
    rank = float(stats.spearmanr(std.ravel(), wrong.ravel()).statistic)
    return inside | {
        "within90_clean": float(np.mean(from_clean <= INTERVALS[90] * std)),
        "rank": rank,
        "ratio": ratio,
        "noise": found.noise / strength,
        "gained": found._replace(std=std).gained,
        "psnr": float(psnr(image, truth)),
    }


def step_times(side, rounds):
    """Returns the time of a step with each rule in units of that of a step without, the median of rounds that alternate."""
    picture = np.random.default_rng(0).random((side, side, 3), np.float32)
    task = problem.denoising(picture, truth=picture)
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


def estimates(options):
    """Returns a row for each noise: of all pictures the least, the median and the most of its estimated variance in units of the true one,
    of how it grows with brightness, and of its correlation between neighbours."""
    for noise in options.noise:
        _, tasks = made(options, noise)
        measured = [task.problem for task in tasks]
        true = [np.mean((data.measurement - clean(np.asarray(data.truth), noise)) ** 2) for data in measured]
        variance, *rest = np.array([(*white, near) for (near, _), white in (of_picture(data.measurement) for data in measured)]).T
        known = np.isfinite(variance)
        columns = [(variance / true)[known], *(column[known] for column in rest)]
        yield [noise, int(known.sum()), *(f"{min(c):.2f}, {np.median(c):.2f}, {max(c):.2f}" if len(c) else "" for c in columns)]


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--cost", type=int, metavar="SIDE", help="only how long a step takes with each rule, on a picture of this side")
    parser.add_argument("--estimates", action="store_true", help="only what the pictures themselves say of their noise")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", default="cset9", metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="PICTURE")
    parser.add_argument("--rules", nargs="+", default=["none", "held-out"], choices=["none", *REGISTRY])
    parser.add_argument("--noise", nargs="+", default=list(NOISE), choices=NOISE)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--keep", type=Path, default=Path("stopping-kept"), metavar="DIR", help="for what the second table is made of")
    return parser.parse_args(argv)


def summary(rows):
    """Returns the cells of a line: decibels lost by means and by seeds, and steps taken to stop against the best step of the means."""
    cells = []
    for kind in ("means", "seeds"):
        lost = np.array([row["lost"] for row in rows[kind]])
        cells += [float(np.median(lost)), float(np.quantile(lost, 0.9)), float(lost.max())]
    return [*cells, float(np.median([row["stopped"] / row["best"] for row in rows["means"]]))]


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    about = f"`{common.command('stopping', argv)}`; {common.made()}."
    if options.cost:
        rows = [[name, f"{ratio:.3f}"] for name, ratio in step_times(options.cost, options.rounds).items()]
        common.publish([*common.table(["rule", "time of a step"], rows), "", about], options.markdown)
        return
    if options.estimates:
        titles = ["noise", "pictures", "variance, estimated / true: least, median, most", "exponent of brightness", "correlation"]
        text = [*common.table(titles, list(estimates(options))), "", "Of the pictures of which enough is not clipped.", "", about]
        common.publish(text, options.markdown)
        return
    report = common.Report(options.json, {"pictures": options.pictures, "only": options.only, "steps": options.steps})
    lines, sure, every, free, of_means, of_errors = [], [], {}, {}, {}, {}
    looking_on = tuple(rule for rule in LOOKING_ON if rule in options.rules)
    alone = [rule for rule in options.rules if rule not in ("none", *looking_on)]
    for noise in options.noise:
        found = {}
        if len(alone) < len(options.rules):
            key = ", ".join(["none", *looking_on, noise])
            done = report.get(key, partial(measure, options, noise, "none", looking_on))
            print(f"{key}: done", file=sys.stderr, flush=True)
            free[noise] = [row["peak"] for row in done["rows"]["means"]]
            found = {name: {"rows": rows} for name, rows in done["looking_on"].items()}
        for rule in alone:
            found[rule] = report.get(f"{rule}, {noise}", partial(measure, options, noise, rule))
            print(f"{rule}, {noise}: done", file=sys.stderr, flush=True)
        for rule, done in found.items():
            rows = done["rows"]
            for kind in rows:
                every.setdefault(rule, {"means": [], "seeds": []})[kind].extend(rows[kind])
            gave = [row["peak"] - row["lost"] for row in rows["means"]]
            cost = float(np.median(np.subtract(free[noise], gave))) if noise in free else None
            best, stopped = (int(np.median([row[name] for row in rows["means"]])) for name in ("best", "stopped"))
            lines.append([rule, noise, *summary(rows), best, stopped, cost])
            if rule == "held-out":
                of_errors[noise] = errors(options, noise)
                sure += [[noise, *sureness(of_errors[noise])]] if of_errors[noise] else []
                of_means[noise] = rows["means"]
    lines += [[rule, "all", *summary(rows), None, None, None] for rule, rows in every.items()]
    titles = ["rule", "noise", "mean of two: lost, median", "90 %", "worst", "a seed: lost, median", "90 %", "worst"]
    titles += ["stopped / best", "best step", "stopped at", "held out"]
    text = [*common.table(titles, lines), "", "PSNR in dB, medians over pictures and seeds.", ""]
    if of_means:
        titles = ["noise", "lost, dB: median, 90 %, worst", "best step, stopped at (medians)", "stopped / best (median)"]
        titles += ["PSNR at the best step, and given (means)", "in the 90 % interval of the error (median)"]
        text += [*common.table(titles, list(families(of_means, of_errors))), "", "The mean of two; held-out.", ""]
    if sure:
        titles = [
            "noise",
            "in the 50 % interval",
            "least",
            "most",
            "in the 90 % interval",
            "least",
            "most",
            "but for the camera",
            "rank correlation",
            "estimate / error",
        ]
        text += [*common.table(titles, sure), "", "Medians over pictures, and the least and the most of any.", ""]
    common.publish([*text, about], options.markdown)


def families(of_means, of_errors):
    """Returns a line for each family of noise of which something was measured."""
    for words, start in FAMILIES.items():
        kinds = [noise for noise in of_means if noise.startswith(start)]
        if not kinds:
            continue
        rows = [row for noise in kinds for row in of_means[noise]]
        lost = np.array([row["lost"] for row in rows])
        within = [row["within90_clean" if noise.startswith("camera") else "within90"] for noise in kinds for row in of_errors[noise]]
        peaks = np.array([row["peak"] for row in rows])
        yield [
            f"{words}{'' if len(kinds) == sum(noise.startswith(start) for noise in NOISE) else f' ({len(kinds)} of them)'}",
            f"{np.median(lost):.2f}, {np.quantile(lost, 0.9):.2f}, {lost.max():.2f}",
            f"{np.median([row['best'] for row in rows]):.0f}, {np.median([row['stopped'] for row in rows]):.0f}",
            f"{np.median([row['stopped'] / row['best'] for row in rows]):.2f}",
            f"{peaks.mean():.2f}, {(peaks - lost).mean():.2f}",
            f"{100 * np.median(within):.0f} %" if within else None,
        ]


def sureness(rows):
    """Returns the cells of a line: what lies within the intervals, rank correlation, and estimated by true error."""
    of_all = lambda name: np.array([one[name] for one in rows])  # noqa: E731
    within = [value for percent in INTERVALS for value in _spread(of_all(f"within{percent}"))]
    return [*within, *(float(np.median(of_all(name))) for name in ("within90_clean", "rank", "ratio"))]


def _spread(values):
    return float(np.median(values)), float(values.min()), float(values.max())


if __name__ == "__main__":
    main()
