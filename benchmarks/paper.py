"""Does it restore as well as the paper says? The official tables, with the published numbers beside ours.

    python -m benchmarks.paper denoising|superres|inpainting|text|bsd68 --data DIR --json FILE --markdown FILE [--recipe fast|paper] ...
    python -m benchmarks.paper ensemble --data DIR --images house --json FILE --markdown FILE [--figure FILE.png]

`DIR` holds `cset9/`, `set5/`, `set14/`, `inpaint11/`, `dip/inpainting/` and `bsd68/`. Finished rows are kept in the JSON file: the same
command continues where it was interrupted. PSNR is in dB, of an estimate clipped to [0, 1], against the peak 1:

* denoising, bsd68: all pixels and channels; the noise is clipped to [0, 1], not rounded, and drawn afresh for every picture.
* superres: of the picture rounded to 8 bit. Y is the luma of BT.601 (16 to 235) without a frame of 4 pixels above and on the left and
  5 below and on the right, as in the authors' script; RGB is all pixels. The picture is cut to a multiple of the factor and then, around
  its centre, of 32; Pillow's LANCZOS makes the small one, and its BICUBIC of that is the input we compare with.
* inpainting, text: all pixels of the raw output, with the known pixels pasted over it, and as `inpaint` gives it, with what is left of
  the known pixels put back (`dipjax.kriging`; these have no noise).

`single` is the output of the last parameters, `averaged` the exponential average of the outputs, both the mean over seeds of their PSNR,
`mean of K` the PSNR of the mean of the K averaged outputs, and `best` the largest PSNR over the steps of a run, which nobody can know
without the truth. To add a table, add it to `FILES`, `METRICS` and `make_task`; a setting is one line of `SETTINGS`.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from benchmarks import common
from dipjax import kriging
from dipjax.core import drive, loop
from dipjax.core.problem import Problem
from dipjax.core.state import psnr
from dipjax.generators import UNet, blocks
from dipjax.operators import problem
from dipjax.recipes import fast, for_generator, paper

_SET5 = ["baby", "bird", "butterfly", "head", "woman"]
_SET14 = [
    "baboon",
    "barbara",
    "bridge",
    "coastguard",
    "comic",
    "face",
    "flowers",
    "foreman",
    "lenna",
    "man",
    "monarch",
    "pepper",
    "ppt3",
    "zebra",
]
_NOISY = {
    "f16": "image_F16_512rgb",
    "house": "image_House256rgb",
    "peppers": "image_Peppers512rgb",
    "kodim02": "kodim02",
    "kodim12": "kodim12",
    "baboon": "image_Baboon512rgb",
    "lena": "image_Lena512rgb",
    "kodim01": "kodim01",
    "kodim03": "kodim03",
}
_HOLES = {
    "barbara": "barbara",
    "boat": "boat",
    "house": "house",
    "lena": "Lena512",
    "peppers": "peppers256",
    "cameraman": "Cameraman256",
    "couple": "couple",
    "fingerprint": "fingerprint",
    "hill": "hill",
    "man": "man",
    "montage": "montage",
}
FILES = {  # table: name: file in DIR
    "denoising": {name: f"cset9/{file}.png" for name, file in _NOISY.items()},
    "superres": {name: f"set5/{name}_GT.bmp" for name in _SET5} | {name: f"set14/{name}.bmp" for name in _SET14},
    "inpainting": {name: f"inpaint11/{file}.png" for name, file in _HOLES.items()},
    "text": {"kate": "dip/inpainting/kate.png"},
    "bsd68": {f"test{i:03d}": f"bsd68/test{i:03d}.png" for i in range(1, 69)},
}
FILES["ensemble"] = FILES["denoising"]
METRICS = {  # the last one is what the loop itself measures, so the best over the run is known of it alone
    "denoising": ("RGB",),
    "superres": ("Y", "RGB"),
    "inpainting": ("put back", "pasted", "raw"),
    "text": ("put back", "pasted", "raw"),
    "bsd68": ("gray",),
}


SETTINGS = {  # (variant, recipe): a function (channels) -> Setting
    ("denoising 25", "fast"): fast.denoising,
    ("denoising 50", "fast"): lambda channels: fast.denoising(channels).changed(input_noise=1 / 20),
    ("superres 4", "fast"): fast.super_resolution,
    ("superres 8", "fast"): fast.super_resolution_8,
    ("inpainting", "fast"): fast.inpainting,
    ("text", "fast"): fast.inpainting,
    ("denoising 25", "paper"): paper.denoising,
    ("denoising 50", "paper"): paper.denoising_50,
    ("superres 4", "paper"): paper.super_resolution,
    ("superres 8", "paper"): paper.super_resolution_8,
    ("inpainting", "paper"): paper.restoration,
    ("text", "paper"): paper.inpainting,
}
SETTINGS |= {(name.replace("denoising", "bsd68"), word): make for (name, word), make in SETTINGS.items()}


def _changed(setting, **options):
    return setting.changed(generator=setting.recipe.generator.clone(**options))


def _other_doubling(setting):
    return _changed(setting, upsample=blocks.bilinear if setting.recipe.generator.upsample is blocks.nearest else blocks.nearest)


def _wider(setting):
    down, up = (tuple(width * 3 // 2 for width in widths) for widths in (setting.recipe.generator.down, setting.recipe.generator.up))
    return _changed(setting, down=down, up=up)


MEMBERS = {  # of the mixed ensemble: what each makes of the setting that the equal one repeats
    "as-is": lambda setting: setting,
    "upsampling": _other_doubling,
    "wider": _wider,
    "unet": lambda setting: for_generator(UNet(setting.recipe.generator.channels, feature_scale=8)),
}

PUBLISHED = {  # (variant, metric): name: PSNR of one picture
    ("denoising 25", "RGB"): dict(zip(_NOISY, [33.69, 32.09, 31.15, 32.71, 32.68, 24.51, 32.56, 28.44, 33.79], strict=True)),
    ("denoising 50", "RGB"): dict(zip(_NOISY, [29.17, 29.69, 28.04, 28.50, 29.01, 21.14, 28.78, 25.51, 29.38], strict=True)),
    ("superres 4", "Y"): dict(zip(_SET5 + _SET14, [
        31.49, 31.80, 26.23, 31.04, 28.93,
        22.29, 25.53, 24.38, 25.81, 22.18, 31.02, 26.14, 31.66, 30.83, 26.09, 29.98, 32.08, 24.38, 25.71,
    ], strict=True)),
    ("superres 4", "RGB"): dict(zip(_SET5 + _SET14, [
        29.86, 29.74, 24.80, 28.30, 27.43,
        20.26, 23.95, 23.06, 24.46, 20.70, 28.26, 24.23, 29.98, 28.97, 24.77, 28.46, 29.49, 22.77, 24.18,
    ], strict=True)),
    ("superres 8", "Y"): dict(zip(_SET5 + _SET14, [
        28.28, 27.09, 20.02, 29.55, 24.50,
        21.38, 23.94, 22.20, 24.21, 19.86, 29.52, 22.86, 27.87, 27.93, 23.57, 24.86, 29.18, 20.12, 20.62,
    ], strict=True)),
    ("superres 8", "RGB"): dict(zip(_SET5 + _SET14, [
        26.96, 25.01, 18.86, 27.06, 23.10,
        19.41, 22.40, 20.88, 22.88, 18.34, 27.04, 21.09, 26.36, 26.50, 22.25, 23.52, 27.16, 18.49, 19.24,
    ], strict=True)),
    ("inpainting", "raw"): dict(zip(_HOLES, [32.22, 33.06, 39.16, 36.16, 33.05, 29.80, 32.52, 32.84, 32.77, 32.20, 34.54], strict=True)),
    ("inpainting", "pasted"): dict(zip(_HOLES, [32.53, 33.40, 39.29, 36.69, 33.19, 29.85, 32.80, 33.05, 33.05, 32.40, 34.60], strict=True)),
}  # fmt: skip
PUBLISHED_AVERAGES = {  # (variant, metric, folder): column: average over the folder
    ("denoising 25", "RGB", "cset9"): {"input": 20.37, "single": 29.22, "averaged": 30.43, "mean": 31.00, "published": 31.29},
    ("denoising 50", "RGB", "cset9"): {"input": 14.86, "published": 27.69},
    ("superres 4", "Y", "set5"): {"published": 29.90},
    ("superres 4", "Y", "set14"): {"published": 27.00},
    ("superres 4", "RGB", "set5"): {"published": 28.03},
    ("superres 4", "RGB", "set14"): {"published": 25.25},
    ("superres 8", "Y", "set5"): {"published": 25.89},
    ("superres 8", "Y", "set14"): {"published": 24.15},
    ("superres 8", "RGB", "set5"): {"published": 24.20},
    ("superres 8", "RGB", "set14"): {"published": 22.54},
    ("inpainting", "raw", "inpaint11"): {"published": 33.48},
    ("inpainting", "pasted", "inpaint11"): {"published": 33.71},
}
PUBLISHED_CURVES = {  # (variant, name): step: PSNR of the output, from the frames of one run that the authors show
    ("denoising 25", "f16"): {100: 20.8, 200: 23.1, 300: 24.6, 400: 26.0, 500: 27.3, 600: 28.0, 800: 29.0, 1000: 29.66, 1200: 30.19,
                              1400: 30.59, 1500: 30.61, 1800: 30.53, 2000: 30.20, 2200: 29.90, 2500: 29.13, 2700: 28.78, 2900: 28.31},
    ("superres 4", "zebra"): {100: 18.4, 300: 21.6, 500: 22.6, 1000: 23.35, 1500: 23.65, 1900: 23.87},
    ("text", "kate"): {500: 28.4, 1000: 31.6, 1500: 33.3, 2000: 34.3, 3000: 36.2, 4000: 37.1, 5000: 38.3, 6000: 39.0},
}  # fmt: skip
SOURCES = {
    "denoising 25": "per picture, the authors' released results, which were made from other noise in an unknown way; averages of the"
    " single output, the averaged output and the mean of two runs, the paper's (CVPR 2018)",
    "denoising 50": "the authors' released results, which were made from other noise in an unknown way",
    "superres 4": "the authors' released results (single outputs) measured with their script; averages of Y, the paper's (CVPR 2018)",
    "superres 8": "the authors' released results (single outputs, jitter 0.05) measured with their script",
    "inpainting": "raw, table 1 of the paper (CVPR 2018), whose masks differ; pasted, the authors' released results",
    "text": "the frames of one run that the authors show",
}
COLUMNS = ("input", "single", "averaged", "mean", "published", "best_single", "best_averaged")


class Task(NamedTuple):
    """One picture of a table."""

    problem: Problem
    input: np.ndarray  # (H, W, C), what to compare with
    scores: Callable[[np.ndarray], dict[str, float]]  # of an estimate (H, W, C), by the name of the metric


def luma(image):
    """Returns Y of BT.601, 16 / 255 for black and 235 / 255 for white."""
    return (image @ np.array([65.481, 128.553, 24.966]) + 16) / 255


def _whole_scores(truth, name, image):
    return {name: psnr(np.clip(image, 0, 1), truth)}


def _enlarged_scores(truth, image):
    image = np.round(np.clip(image, 0, 1).astype(np.float64) * 255) / 255
    # One more below and on the right: the authors' script finds the picture in its black frame and loses the last row and column.
    inner = np.s_[4:-5, 4:-5]
    return {"Y": psnr(luma(image)[inner], luma(truth)[inner]), "RGB": psnr(image, truth)}


def _filled_scores(data, image):
    truth, known = np.asarray(data.truth), np.asarray(data.operator.known) > 0
    (better,) = kriging.put_back(data, np.asarray(image)[None])
    image, better = np.clip(image, 0, 1), np.clip(better, 0, 1)
    pasted, put_back = np.where(known, truth, image), np.where(known, truth, better)
    return {"raw": psnr(image, truth), "pasted": psnr(pasted, truth), "put back": psnr(put_back, truth)}


def make_task(name, options):
    path = options.data / FILES[options.table][name]
    # One draw for each picture of a table, whichever others are restored with it.
    random = np.random.default_rng([options.rng, list(FILES[options.table]).index(name)])
    gray = options.table in {"inpainting", "bsd68"}
    picture = common.load(path, "L" if gray else "RGB", options.crop)
    if options.table == "superres":
        return _superres_task(picture, options.factor)
    if options.table == "text":
        known = common.load(path.with_name(f"{name}_mask.png"), "L", options.crop)[..., 0] > 127
        truth = picture.astype(np.float32) / 255
        data = problem.inpainting(truth, known, truth=truth)
    else:
        task = "inpaint" if options.table == "inpainting" else "denoise"
        data = common.make_problem(task, picture, random, sigma=getattr(options, "sigma", None))
    measured, truth = np.asarray(data.measurement), np.asarray(data.truth)
    if options.table in {"text", "inpainting"}:
        return Task(data, measured, partial(_filled_scores, data))
    return Task(data, measured, partial(_whole_scores, truth, "gray" if gray else "RGB"))


def _superres_task(picture, factor):
    """Makes the task of a picture (H, W, 3) of 8 bit; see the top for its size."""
    height, width = (side // factor * factor for side in picture.shape[:2])
    top, left = (round(side % 32 / 2) for side in (height, width))
    picture = picture[top : top + height // 32 * 32, left : left + width // 32 * 32]
    data = common.make_problem("superres", picture, None, factor=factor)
    small = Image.fromarray(np.round(np.asarray(data.measurement) * 255).astype(np.uint8))
    bicubic = small.resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    return Task(data, np.asarray(bicubic, np.float32) / 255, partial(_enlarged_scores, np.asarray(data.truth)))


def variant(options):
    """Returns what the settings are listed under, as in "superres 4"."""
    number = {"superres": "factor", "inpainting": None, "text": None}.get(options.table, "sigma")
    table = options.table.replace("ensemble", "denoising")
    return f"{table} {getattr(options, number)}" if number else table


def title(options):
    """Returns what the published numbers are listed under: the variant; and what names a part of the pictures, for which there are none."""
    return variant(options) + (f", middle {options.crop} x {options.crop}" if options.crop else "")


def make_setting(options):
    setting = SETTINGS[variant(options), options.recipe](1 if options.table in {"inpainting", "bsd68"} else 3)
    return dataclasses.replace(setting, num_steps=options.steps, side=None) if options.steps else setting


def follow(name, recipe, keys, data, num_steps, budget):
    """Restores one picture, and says once a minute how far it is."""
    last = time.monotonic()
    for result in drive.iterate(recipe, keys, data, num_steps=num_steps):
        if result.num_steps and time.monotonic() >= last + 60:
            now = result.metrics.psnr_average[..., -1].mean()
            print(f"{name}: step {result.num_steps}/{num_steps}, PSNR {now:.2f} dB", file=sys.stderr, flush=True)
            last = time.monotonic()
        if budget is not None and result.num_steps and result.seconds >= budget:
            break
    return result


@partial(jax.jit, static_argnames="recipe")
def last_output(recipe, state, data):
    """Returns the picture of the last parameters, with jitter: what the authors show at the end."""
    return loop.generate(recipe, state.params, state.z + recipe.input_noise * loop.noise(state), data)[0]


def measure(name, options):
    """Restores one picture; returns its row."""
    task, setting = make_task(name, options), make_setting(options)
    num_steps = setting.steps_for(task.problem.shape)
    result = follow(name, setting.recipe, drive.seeds(options.rng, options.seeds), task.problem, num_steps, options.budget)
    row = {"steps": result.num_steps, "of": num_steps, "seconds": result.seconds, "compile_seconds": result.compile_seconds}
    alive = np.flatnonzero(result.alive)
    row |= {"alive": len(alive), "made": common.made(), "input": task.scores(task.input)}
    if not len(alive):
        return row
    states = [jax.tree.map(itemgetter(int(k)), result.state) for k in alive]
    singles = [np.asarray(last_output(setting.recipe, state, task.problem)) for state in states]
    psnrs = [curve[alive] for curve in (result.metrics.psnr, result.metrics.psnr_average)]
    row["single"], row["averaged"], row["mean"] = _each(task, singles), _each(task, result.images[alive]), task.scores(result.image)
    row["best_single"], row["best_averaged"] = (curve.max(-1).tolist() for curve in psnrs)
    steps = [step for step in PUBLISHED_CURVES.get((title(options), name), ()) if step <= result.num_steps]
    row["curve"] = {step: [float(curve[:, step - 1].mean()) for curve in psnrs] for step in steps}
    if options.pictures:
        for kind, image in {"input": task.input, "single": singles[0], "mean": result.image}.items():
            common.save(options.pictures / f"{variant(options).replace(' ', '')}_{name}_{kind}.png", image)
    return row


def _each(task, images):
    scores = [task.scores(image) for image in images]
    return {metric: [score[metric] for score in scores] for metric in scores[0]}


def study(name, options):
    """Measures what the mean of K runs gains, with equal and with mixed generators; returns its row.

    Seed k is the same in both pools, so the runs of the mixed pool that are as in the equal one are not made twice.
    """
    task, base = make_task(name, options), make_setting(options)
    num_steps, keys, whole = base.steps_for(task.problem.shape), drive.seeds(options.rng, options.seeds), np.arange(options.seeds)
    truth, row = np.asarray(task.problem.truth, np.float64), {"made": common.made(), "input": task.scores(task.input)["RGB"]}
    equal = follow(name, base.recipe, keys, task.problem, num_steps, options.budget)
    for pool, members in {"equal": ["as-is"], "mixed": options.members}.items():
        errors, each = [], {}
        for i, member in enumerate(members):
            runs, result = whole[i :: len(members)], equal
            if member != "as-is":
                result = follow(name, MEMBERS[member](base).recipe, keys[runs], task.problem, num_steps, options.budget)
                runs = np.arange(len(runs))
            images = np.asarray(result.images, np.float64)[runs[result.alive[runs]]].clip(0, 1)
            errors += [image - truth for image in images]
            spent = result.seconds * len(runs) / len(result.alive)
            each[member] = {"psnr": [psnr(image, truth) for image in images], "steps": result.num_steps, "seconds": spent}
        row[pool] = {"members": each, "sizes": by_size(np.reshape(errors, (len(errors), truth.size)))}
    return row


def by_size(errors):
    """Returns the PSNR of the mean of K runs, for every K and over every choice of K of the errors `(N, pixels)`."""
    products = errors @ errors.T / errors.shape[1]  # the squared error of a mean is the mean of these
    sizes = {}
    for size in range(1, len(errors) + 1):
        values = [-10 * np.log10(products[np.ix_(chosen, chosen)].mean()) for chosen in combinations(range(len(errors)), size)]
        sizes[str(size)] = {"mean": np.mean(values), "min": min(values), "max": max(values)}
    return sizes


def choose(options):
    """Returns the names of the pictures asked for, in the order of the table; fails where there is no such picture or file."""
    files = FILES[options.table]
    if options.table == "superres" and options.set:
        files = {name: file for name, file in files.items() if file.startswith(options.set)}
    asked = [name.lower() for name in options.images or files]
    for name in asked:
        if name not in files:
            raise SystemExit(f"there is no picture {name!r} in this table; there are {', '.join(files)}.")
        if not (options.data / files[name]).is_file():
            raise SystemExit(
                f"{options.data / files[name]} is missing; --data names the folder that holds {files[name].partition('/')[0]}/."
            )
    return [name for name in files if name in asked]


def numbers(name, row, metric, options):
    """Returns the columns of one row, None where there is no number."""
    values = {"input": row["input"][metric], "published": PUBLISHED.get((title(options), metric), {}).get(name)}
    if row["alive"]:
        values |= {column: float(np.mean(row[column][metric])) for column in ("single", "averaged", "mean")}
        if metric == METRICS[options.table][-1]:
            values |= {column: float(np.mean(row[column])) for column in ("best_single", "best_averaged")}
    return [values.get(column) for column in COLUMNS]


def table(rows, metric, options):
    """Writes the table of one metric: a line per picture, and the averages of every folder below its pictures."""
    titles = ["picture", "input", "single", "averaged", f"mean of {options.seeds}", "published", "best single", "best averaged"]
    lines, files = [], FILES[options.table]
    for folder in dict.fromkeys(file.rpartition("/")[0] for file in files.values()):
        names = [name for name in files if files[name].rpartition("/")[0] == folder]
        done = {name: numbers(name, rows[name], metric, options) for name in names if name in rows}
        for name, values in done.items():
            row = rows[name]
            lost = options.seeds - row["alive"]
            shown = f"{name}, {lost} of {options.seeds} seeds diverged" if lost else name
            spread = float(np.std(row["averaged"][metric], ddof=1)) if row["alive"] > 1 else None
            steps = f"{row['steps']}" if row["steps"] == row["of"] else f"{row['steps']} of {row['of']}"
            lines.append([shown, *values, spread, steps, f"{row['seconds']:.0f}"])
        if done:
            averages = [None if None in column else float(np.mean(column)) for column in zip(*done.values(), strict=True)]
            seconds = f"{sum(rows[name]['seconds'] for name in done):.0f} in all"
            lines.append([f"**average of {len(done)} of {len(names)}**", *averages, None, None, seconds])
        published = PUBLISHED_AVERAGES.get((title(options), metric, folder))
        if done and published:
            lines.append([f"**published average of {len(names)}**", *map(published.get, COLUMNS), None, None, None])
    return common.table([*titles, "std over seeds", "steps", "seconds"], lines)


def curves(rows, options):
    """Writes the PSNR at the steps of which the authors show a frame."""
    lines = []
    for (where, name), published in PUBLISHED_CURVES.items():
        ours = rows.get(name, {}).get("curve") if where == title(options) else None
        if ours:
            shown = [[step, published[int(step)], *ours[step]] for step in map(str, published) if step in ours]
            lines += [f"{name}, {METRICS[options.table][-1]}, over the steps:", ""]
            lines += [*common.table(["step", "published", "single", "averaged"], shown), ""]
    return lines


def ensemble_tables(rows):
    lines = []
    for name, row in rows.items():
        pools, sizes = ("equal", "mixed"), []
        for size in row["equal"]["sizes"]:
            found = [row[pool]["sizes"].get(size) for pool in pools]
            sizes.append([size, *(one and f"{one['mean']:.2f} ({one['min']:.2f} to {one['max']:.2f})" for one in found)])
        members = [
            [pool, member, " ".join(f"{value:.2f}" for value in found["psnr"]), found["steps"], f"{found['seconds']:.0f}"]
            for pool in pools
            for member, found in row[pool]["members"].items()
        ]
        lines += [f"{name}, RGB; noisy {row['input']:.2f} dB; mean (least to most) over every choice of K runs:", ""]
        lines += [*common.table(["K", *pools], sizes), ""]
        lines += [*common.table(["pool", "member", "PSNR of each run", "steps", "seconds"], members), ""]
    return lines


def markdown(rows, options):
    """Returns the lines of everything that follows from the rows."""
    if options.table == "ensemble":
        lines = ensemble_tables(rows)
    else:
        lines, source = [], SOURCES.get(title(options))
        for metric in METRICS[options.table]:
            lines += [f"{title(options)}, PSNR in dB, {metric}", "", *table(rows, metric, options), ""]
        lines += [*curves(rows, options), f"Published: {source}." if source else "No published numbers."]
        lines += [f"Best over the run is of {METRICS[options.table][-1]}.", ""]
    setting = make_setting(options)
    steps = "steps by size" if setting.side else f"{setting.num_steps} steps"
    about = f"Setting `{options.recipe}`, {steps}, {options.seeds} seeds, rng {options.rng}: {common.describe(setting.recipe)}."
    return [*lines, f"`{options.command}`", "", about, "", *dict.fromkeys(f"Made on {row['made']}." for row in rows.values())]


def draw(rows, path):
    """Draws PSNR against K: the mean over every choice of K runs, and a band from the least to the most."""
    panels = {}
    for name, row in rows.items():
        sizes = {pool: row[pool]["sizes"].values() for pool in ("equal", "mixed")}
        panels[name] = {
            f"{pool} generators": (range(1, len(found) + 1), *([one[kind] for one in found] for kind in ("mean", "min", "max")))
            for pool, found in sizes.items()
        }
    common.draw(panels, path, x="runs averaged, K", y="PSNR (dB)")


def parse(argv):
    def positive(kind, text):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"found {text}, expected a number above 0")
        return value

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, required=True, metavar="DIR")
    shared.add_argument("--images", nargs="+", metavar="NAME", help="of the table; all if not given")
    shared.add_argument("--steps", type=partial(positive, int), help="those of the setting if not given")
    shared.add_argument("--recipe", choices=("fast", "paper"), default="fast")
    shared.add_argument("--rng", type=int, default=0, help="of the seeds, the noise and the masks")
    shared.add_argument("--crop", type=partial(positive, int), metavar="PIXELS", help="only the middle of each picture")
    shared.add_argument("--budget", type=partial(positive, float), metavar="SECONDS", help="for a picture, without compilation")
    shared.add_argument("--json", type=Path, metavar="FILE", help="keeps the finished rows")
    shared.add_argument("--markdown", type=Path, metavar="FILE")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = parser.add_subparsers(dest="table", required=True)
    for name in FILES:
        one = tables.add_parser(name, parents=[shared])
        one.add_argument("--seeds", type=partial(positive, int), default=8 if name == "ensemble" else 2)
        if name in {"denoising", "bsd68", "ensemble"}:
            one.add_argument("--sigma", type=int, choices=(25, 50), default=25)
        if name == "superres":
            one.add_argument("--factor", type=int, choices=(4, 8), default=4)
            one.add_argument("--set", choices=("set5", "set14"), help="both if not given")
        if name == "ensemble":
            one.add_argument("--members", nargs="+", choices=MEMBERS, default=list(MEMBERS), help="of the mixed ensemble")
            one.add_argument("--figure", type=Path, metavar="FILE.png")
        else:
            one.add_argument("--pictures", type=Path, metavar="DIR")
    options = parser.parse_args(argv)
    options.command = common.command("paper", argv)
    return options


def run(options):
    """Restores what the report does not hold yet."""
    if options.table == "ensemble" and not len(options.members) <= options.seeds <= 12:  # 4095 choices of 12
        raise SystemExit(f"--seeds: found {options.seeds}, expected one for each of the {len(options.members)} members and at most 12.")
    names, setting = choose(options), make_setting(options)
    settings = {name: getattr(options, name, None) for name in ("seeds", "rng", "budget", "crop", "members")}
    settings |= {"variant": title(options), "steps": "by size" if setting.side else setting.num_steps}
    report = common.Report(options.json, settings | {"method": common.describe(setting.recipe)})
    report.keep()  # before hours of work: can the file be written?
    for name in names:
        report.get(name, partial(study if options.table == "ensemble" else measure, name, options))
        print(f"{name} is finished", file=sys.stderr, flush=True)
    rows = {name: report.rows[name] for name in FILES[options.table] if name in report.rows}
    common.publish(markdown(rows, options), options.markdown)
    if getattr(options, "figure", None):
        draw(rows, options.figure)


def main(argv=None):
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        run(options)
    except KeyboardInterrupt:
        print("interrupted; the file of --json keeps the finished rows, the same command goes on.", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
