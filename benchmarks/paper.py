"""Does it restore as well as the paper says? The official tables, with the published numbers beside ours.

    python benchmarks/paper.py denoising|superres|inpainting|text|bsd68 --data DIR --json FILE --markdown FILE [--recipe fast|paper] ...
    python benchmarks/paper.py ensemble --data DIR --images house --json FILE --markdown FILE [--figure FILE.png]

`DIR` holds `cset9/`, `set5/`, `set14/`, `inpaint11/`, `dip/inpainting/` and `bsd68/`. Finished rows are kept in the JSON file: the same
command continues where it was interrupted. PSNR is in dB, of an estimate clipped to [0, 1], against the peak 1:

* denoising, bsd68: all pixels and channels; the noise is clipped to [0, 1], not rounded, and drawn afresh for every picture.
* superres: of the picture rounded to 8 bit. Y is the luma of BT.601 (16 to 235) without a frame of 4 pixels above and on the left and
  5 below and on the right, as in the authors' script; RGB is all pixels. The picture is cut to a multiple of the factor and then, around
  its centre, of 32; Pillow's LANCZOS makes the small one, and its BICUBIC of that is the input we compare with.
* inpainting, text: all pixels of the raw output, and with the known pixels pasted over it.

`single` is the output of the last parameters, `averaged` the exponential average of the outputs, both the mean over seeds of their PSNR,
`mean of K` the PSNR of the mean of the K averaged outputs, and `best` the largest PSNR over the steps of a run, which nobody can know
without the truth. To add a table, add it to `FILES`, `METRICS` and `make_task`; a setting is one line of `SETTINGS`.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from itertools import combinations
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import flax
import jax
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dipjax import generators
from dipjax.app.report import describe as describe_setting
from dipjax.core import loop as train
from dipjax.generators import blocks
from dipjax.operators import problem
from dipjax.recipes import fast as recipes
from dipjax.recipes import paper

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
    "inpainting": ("pasted", "raw"),
    "text": ("pasted", "raw"),
    "bsd68": ("gray",),
}


def jittered(make, input_noise):
    """Returns a recipe function that differs from another in the jitter."""
    return lambda channels, **options: dataclasses.replace(make(channels, **options), input_noise=input_noise)


SETTINGS = {  # (variant, recipe): a function (channels, *, num_steps) -> Recipe
    ("denoising 25", "fast"): recipes.fast_denoising,
    ("denoising 50", "fast"): jittered(recipes.fast_denoising, 1 / 20),
    ("superres 4", "fast"): recipes.fast_super_resolution,
    ("superres 8", "fast"): recipes.fast_super_resolution_8,
    ("inpainting", "fast"): recipes.fast_inpainting,
    ("text", "fast"): recipes.fast_inpainting,
    ("bsd68 25", "fast"): recipes.fast_denoising,
    ("bsd68 50", "fast"): jittered(recipes.fast_denoising, 1 / 20),
    ("denoising 25", "paper"): paper.denoising,
    ("denoising 50", "paper"): paper.denoising_50,
    ("superres 4", "paper"): paper.super_resolution,
    ("superres 8", "paper"): paper.super_resolution_8,
    ("inpainting", "paper"): paper.restoration,
    ("text", "paper"): paper.inpainting,
    ("bsd68 25", "paper"): paper.denoising,
    ("bsd68 50", "paper"): paper.denoising_50,
}


def _changed(recipe, **options):
    return dataclasses.replace(recipe, generator=recipe.generator.clone(**options))


def _wider(widths):
    return tuple(width * 3 // 2 for width in widths)


MEMBERS = {  # of the mixed ensemble: what each makes of the recipe that the equal one repeats
    "as-is": lambda recipe: recipe,
    "upsampling": lambda recipe: _changed(
        recipe, upsample=blocks.bilinear if recipe.generator.upsample is blocks.nearest else blocks.nearest
    ),
    "wider": lambda recipe: _changed(recipe, down=_wider(recipe.generator.down), up=_wider(recipe.generator.up)),
    "unet": lambda recipe: recipes.for_generator(generators.UNet(recipe.generator.channels, feature_scale=8), num_steps=recipe.num_steps),
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

    problem: problem.Problem
    input: np.ndarray  # (H, W, C), what to compare with
    scores: Callable[[np.ndarray], dict[str, float]]  # of an estimate (H, W, C), by the name of the metric


def fail(sentence):
    raise SystemExit(f"paper.py: {sentence}")


def psnr(image, truth):
    """Returns the PSNR in double precision; the pictures have the range 1."""
    return float(-10 * np.log10(np.mean((np.asarray(image, np.float64) - truth) ** 2)))


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


def _filled_scores(truth, known, image):
    image = np.clip(image, 0, 1)
    return {"raw": psnr(image, truth), "pasted": psnr(np.where(known[..., None], truth, image), truth)}


def denoising_task(truth, sigma, random, metric):
    noisy = np.clip(truth + random.normal(0, sigma / 255, truth.shape), 0, 1).astype(np.float32)
    return Task(problem.denoising(noisy, truth=truth), noisy, partial(_whole_scores, truth, metric))


def superres_task(picture, factor):
    """Makes the task of a picture (H, W, 3) of 8 bit; see the top for its size."""
    height, width = (side // factor * factor for side in picture.shape[:2])
    top, left = (round(side % 32 / 2) for side in (height, width))
    truth = picture[top : top + height // 32 * 32, left : left + width // 32 * 32]
    large = (truth.shape[1], truth.shape[0])
    small = Image.fromarray(truth).resize((large[0] // factor, large[1] // factor), Image.Resampling.LANCZOS)
    bicubic = np.asarray(small.resize(large, Image.Resampling.BICUBIC), np.float32) / 255
    truth = truth.astype(np.float32) / 255
    task = problem.super_resolution(np.asarray(small, np.float32) / 255, factor, truth=truth)
    return Task(task, bicubic, partial(_enlarged_scores, truth))


def inpainting_task(truth, known):
    return Task(problem.inpainting(truth, known, truth=truth), truth * known[..., None], partial(_filled_scores, truth, known))


def load(path, mode):
    """Returns a picture of 8 bit, (H, W, 3) for "RGB" and (H, W, 1) for "L"."""
    picture = np.asarray(Image.open(path).convert(mode))
    return picture if mode == "RGB" else picture[..., None]


def middle(picture, side):
    """Returns the middle `(side, side, C)` of a picture, or all of it where it is smaller or `side` is None."""
    top, left = (max(0, length - side) // 2 if side else 0 for length in picture.shape[:2])
    return picture[top:, left:][:side, :side]


def make_task(name, options):
    path = options.data / FILES[options.table][name]
    # One draw for each picture of a table, whichever others are restored with it.
    random = np.random.default_rng([options.rng, list(FILES[options.table]).index(name)])
    gray = options.table in {"inpainting", "bsd68"}
    picture = middle(load(path, "L" if gray else "RGB"), options.crop)
    if options.table == "superres":
        return superres_task(picture, options.factor)
    truth = picture.astype(np.float32) / 255
    if options.table == "inpainting":
        return inpainting_task(truth, random.random(truth.shape[:2]) > 0.5)
    if options.table == "text":
        return inpainting_task(truth, middle(load(path.with_name(f"{name}_mask.png"), "L"), options.crop)[..., 0] > 127)
    return denoising_task(truth, options.sigma, random, "gray" if gray else "RGB")


def variant(options):
    """Returns what the settings are listed under, as in "superres 4"."""
    number = {"superres": "factor", "inpainting": None, "text": None}.get(options.table, "sigma")
    table = options.table.replace("ensemble", "denoising")
    return f"{table} {getattr(options, number)}" if number else table


def title(options):
    """Returns what the published numbers are listed under: the variant; and what names a part of the pictures, for which there are none."""
    return variant(options) + (f", middle {options.crop} x {options.crop}" if options.crop else "")


def make_recipe(options, height=None, width=None):
    """Returns the recipe, for a picture of this size with the steps that users get."""
    channels, make = 1 if options.table in {"inpainting", "bsd68"} else 3, SETTINGS[variant(options), options.recipe]
    steps = recipes.denoising_steps(height, width) if height and steps_by_size(options) else options.steps
    return make(channels, **({"num_steps": steps} if steps else {}))


def steps_by_size(options):
    return not options.steps and options.recipe == "fast" and options.table in {"denoising", "bsd68", "ensemble"}


def describe(generator):
    """Writes a generator with the options that are not its defaults."""
    values = {field.name: (getattr(generator, field.name), field.default) for field in dataclasses.fields(generator)}
    options = [
        f"{name}={getattr(value, '__name__', value)}"
        for name, (value, default) in values.items()
        if name not in {"name", "parent"} and value != default
    ]
    return f"{type(generator).__name__}({', '.join(options)})"


def describe_input(function):
    """Writes an input with all it was made from."""
    found = describe_setting(function)
    if isinstance(found, str):
        return found.rpartition(".")[2]
    return f"{found.pop('function').rpartition('.')[2]}({', '.join(f'{name}={value}' for name, value in found.items())})"


def restore(recipe, keys, data, budget, show):
    for result in train.iterate(recipe, keys, data):
        show(result, recipe.num_steps)
        if budget is not None and result.num_steps and result.seconds >= budget:
            break
    return result


@partial(jax.jit, static_argnames="recipe")
def last_output(recipe, state, data):
    """Returns the picture of the last parameters, with jitter: what the authors show at the end."""
    noise = jax.random.normal(jax.random.fold_in(state.key, state.step), state.z.shape)
    with jax.default_matmul_precision(recipe.precision) if recipe.precision else contextlib.nullcontext():
        return recipe.generator.apply(state.params, state.z + recipe.input_noise * noise)[: data.shape[0], : data.shape[1]]


def measure(name, options, show):
    """Restores one picture; returns its row, and the pictures to look at."""
    task = make_task(name, options)
    recipe = make_recipe(options, *task.problem.shape[:2])
    result = restore(recipe, train.seeds(options.rng, options.seeds), task.problem, options.budget, show)
    row = {"steps": result.num_steps, "of": recipe.num_steps, "seconds": result.seconds, "compile_seconds": result.compile_seconds}
    alive = np.flatnonzero(result.alive)
    row |= {"alive": len(alive), "made": made(), "input": task.scores(task.input)}
    if not len(alive):
        return row, {"input": task.input}
    states = [jax.tree.map(itemgetter(int(k)), result.state) for k in alive]
    singles = [np.asarray(last_output(recipe, state, task.problem)) for state in states]
    averages, mean = np.asarray(result.images)[alive], np.asarray(result.image)
    psnr_single, psnr_average = result.metrics.psnr[alive], result.metrics.psnr_average[alive]
    row["single"], row["averaged"], row["mean"] = _each(task, singles), _each(task, averages), task.scores(mean)
    row["best_single"], row["best_averaged"] = np.nanmax(psnr_single, -1).tolist(), np.nanmax(psnr_average, -1).tolist()
    steps = [step for step in PUBLISHED_CURVES.get((title(options), name), ()) if step <= result.num_steps]
    row["curve"] = {step: [float(psnr[:, step - 1].mean()) for psnr in (psnr_single, psnr_average)] for step in steps}
    return row, {"input": task.input, "single": singles[0], "mean": mean}


def _each(task, images):
    scores = [task.scores(image) for image in images]
    return {metric: [score[metric] for score in scores] for metric in scores[0]}


def study(name, options, show):
    """Measures what the mean of K runs gains, with equal and with mixed generators; returns its row.

    Seed k is the same in both pools, so the runs of the mixed pool that are as in the equal one are not made twice.
    """
    task = make_task(name, options)
    base = make_recipe(options, *task.problem.shape[:2])
    keys, whole = train.seeds(options.rng, options.seeds), np.arange(options.seeds)
    truth, row = np.asarray(task.problem.truth, np.float64), {"made": made(), "input": task.scores(task.input)["RGB"]}
    equal = restore(base, keys, task.problem, options.budget, show)
    for pool, members in {"equal": ["as-is"], "mixed": options.members}.items():
        errors, each, seconds = [], {}, 0.0
        for i, member in enumerate(members):
            runs = whole[i :: len(members)]
            result = equal
            if member != "as-is":
                result = restore(MEMBERS[member](base), keys[runs], task.problem, options.budget, show)
                runs = np.arange(len(runs))
            spent = result.seconds * len(runs) / len(result.alive)
            images = np.asarray(result.images, np.float64)[runs[np.asarray(result.alive)[runs]]].clip(0, 1)
            errors += [image - truth for image in images]
            each[member] = {"psnr": [psnr(image, truth) for image in images], "steps": result.num_steps, "seconds": spent}
            seconds += spent
        row[pool] = {"members": each, "seconds": seconds, "sizes": by_size(np.reshape(errors, (len(errors), truth.size)))}
    return row, {}


def by_size(errors):
    """Returns the PSNR of the mean of K runs, for every K and over every choice of K of the errors `(N, pixels)`."""
    products = errors @ errors.T / errors.shape[1]  # the squared error of a mean is the mean of these
    sizes = {}
    for size in range(1, len(errors) + 1):
        values = [-10 * np.log10(products[np.ix_(chosen, chosen)].mean()) for chosen in combinations(range(len(errors)), size)]
        sizes[str(size)] = {"mean": np.mean(values), "std": np.std(values), "min": min(values), "max": max(values)}
    return sizes


def made():
    device = f"{jax.default_backend()} ({jax.devices()[0].device_kind}), {len(os.sched_getaffinity(0))} cores of {platform.machine()}"
    return f"{device}, JAX {jax.__version__}, Flax {flax.__version__}, Python {platform.python_version()}, {date.today()}"


@contextlib.contextmanager
def progress(every=60.0):
    """Gives `start(name)`, which gives `show(result, num_steps)`: a bar on a terminal, else a line per minute."""
    console, last = Console(stderr=True), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task("", total=None, words="")

        def show(name, result, num_steps):
            nonlocal last
            steps = result.num_steps
            words = f"step {steps}/{num_steps}"
            if steps:
                words += f", PSNR {np.nanmean(result.metrics.psnr_average[..., steps - 1]):.2f} dB"
            bar.update(row, completed=steps, total=num_steps, words=words)
            if not console.is_terminal and time.monotonic() >= last + every:
                print(f"{name}: {words}", file=sys.stderr, flush=True)
                last = time.monotonic()

        def start(name):
            bar.reset(row, total=None, description=name, words="compiling")
            return partial(show, name)

        yield start


def write(path, content):
    """Writes a file at once or not at all: what was there survives an interruption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(content)
    os.replace(temporary, path)


def open_report(path, settings):
    """Returns the report in the file, or a new one; refuses one that was made with other settings."""
    if not path.exists():
        return {"settings": settings, "rows": {}}
    try:
        report = json.loads(path.read_text())
        found, _ = report["settings"], report["rows"].keys()
        other = [f"{name} {found.get(name)} instead of {value}" for name, value in settings.items() if found.get(name) != value]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        fail(f"{path} is no report of this program ({type(error).__name__}: {error}); name another file for --json.")
    if other:
        fail(f"{path} holds rows made with {', '.join(other)}; name another file for --json.")
    return report


def make_settings(options):
    recipe = make_recipe(options)
    settings = {"table": options.table, "variant": variant(options), "recipe": options.recipe, "generator": describe(recipe.generator)}
    settings |= {
        "input": describe_input(recipe.input),
        "steps": "by size" if steps_by_size(options) else recipe.num_steps,
        "jitter": recipe.input_noise,
        "backtracking": recipe.backtracking,
        "seeds": options.seeds,
        "rng": options.rng,
        "budget": options.budget,
        "crop": options.crop,
    }
    return settings | ({"members": options.members} if options.table == "ensemble" else {})


def choose(options):
    """Returns the names of the pictures asked for, in the order of the table; fails where there is no such picture or file."""
    files = FILES[options.table]
    if options.table == "superres" and options.set:
        files = {name: file for name, file in files.items() if file.startswith(options.set)}
    asked = [name.lower() for name in options.images or files]
    for name in asked:
        if name not in files:
            fail(f"there is no picture {name!r} in this table; there are {', '.join(files)}.")
        if not (options.data / files[name]).is_file():
            fail(f"{options.data / files[name]} is missing; --data names the folder that holds {files[name].rpartition('/')[0]}/.")
    return [name for name in files if name in asked]


def numbers(name, row, metric, options):
    """Returns the columns of one row, None where there is no number."""
    values = {"input": row["input"][metric], "published": PUBLISHED.get((title(options), metric), {}).get(name)}
    if row["alive"]:
        values |= {column: float(np.mean(row[column][metric])) for column in ("single", "averaged", "mean")}
        if metric == METRICS[options.table][-1]:
            values |= {column: float(np.mean(row[column])) for column in ("best_single", "best_averaged")}
    return [values.get(column) for column in COLUMNS]


def _cells(title, values, *more):
    return f"| {' | '.join([title, *('' if value is None else f'{value:.2f}' for value in values), *more])} |"


def _average(column):
    return None if None in column else float(np.mean(column))


def table(rows, metric, options):
    """Writes the table of one metric: a line per picture, and the averages of every folder below its pictures."""
    titles = ["picture", "input", "single", "averaged", f"mean of {options.seeds}", "published", "best single", "best averaged"]
    lines = [f"| {' | '.join([*titles, 'std over seeds', 'steps', 'seconds'])} |", "|---" * (len(titles) + 3) + "|"]
    files = FILES[options.table]
    for folder in dict.fromkeys(file.rpartition("/")[0] for file in files.values()):
        names = [name for name in files if files[name].rpartition("/")[0] == folder]
        done = {name: numbers(name, rows[name], metric, options) for name in names if name in rows}
        for name, values in done.items():
            row = rows[name]
            lost = options.seeds - row["alive"]
            spread = f"{np.std(row['averaged'][metric], ddof=1):.2f}" if row["alive"] > 1 else ""
            steps = f"{row['steps']}" if row["steps"] == row["of"] else f"{row['steps']} of {row['of']}"
            lines.append(
                _cells(
                    f"{name}, {lost} of {options.seeds} seeds diverged" if lost else name, values, spread, steps, f"{row['seconds']:.0f}"
                )
            )
        if done:
            averages = [_average(column) for column in zip(*done.values(), strict=True)]
            seconds = f"{sum(rows[name]['seconds'] for name in done):.0f} in all"
            lines.append(_cells(f"**average of {len(done)} of {len(names)}**", averages, "", "", seconds))
        published = PUBLISHED_AVERAGES.get((title(options), metric, folder))
        if done and published:
            lines.append(_cells(f"**published average of {len(names)}**", [published.get(column) for column in COLUMNS], "", "", ""))
    return lines


def curves(rows, options):
    """Writes the PSNR at the steps of which the authors show a frame."""
    lines = []
    for (where, name), published in PUBLISHED_CURVES.items():
        ours = rows.get(name, {}).get("curve") if where == title(options) else None
        if ours:
            lines += [f"{name}, {METRICS[options.table][-1]}, over the steps:", ""]
            lines += ["| step | published | single | averaged |", "|---" * 4 + "|"]
            lines += [_cells(step, [published[int(step)], *ours[step]]) for step in map(str, published) if step in ours]
            lines.append("")
    return lines


def ensemble_tables(rows):
    lines = []
    for name, row in rows.items():
        lines += ["", f"{name}, RGB; noisy {row['input']:.2f} dB; mean (least to most) over every choice of K runs:", ""]
        lines += ["| K | equal | mixed |", "|---" * 3 + "|"]
        for size in row["equal"]["sizes"]:
            sizes = [row[pool]["sizes"].get(size) for pool in ("equal", "mixed")]
            cells = [f"{found['mean']:.2f} ({found['min']:.2f} to {found['max']:.2f})" if found else "" for found in sizes]
            lines.append(f"| {size} | {' | '.join(cells)} |")
        lines += ["", "| pool | member | PSNR of each run | steps | seconds |", "|---" * 5 + "|"]
        for pool in ("equal", "mixed"):
            for member, found in row[pool]["members"].items():
                each = " ".join(f"{value:.2f}" for value in found["psnr"])
                lines.append(f"| {pool} | {member} | {each} | {found['steps']} | {found['seconds']:.0f} |")
    return lines[1:]


def command(options, names):
    """Returns the command that makes the rows with these names, without the paths of this machine."""
    words = ["python benchmarks/paper.py", options.table, "--data DIR"]
    for name in ("images", "set", "factor", "sigma", "members", "crop", "recipe", "seeds", "steps", "rng", "budget"):
        value = getattr(options, name, None)
        if name == "images" and (value or len(names) < len(FILES[options.table])):
            value = list(names)
        if value is not None:
            words.append(f"--{name} {' '.join(value) if isinstance(value, list) else value}")
    return " ".join([*words, "--json FILE --markdown FILE"])


def markdown(report, options):
    settings, rows = report["settings"], report["rows"]
    if options.table == "ensemble":
        lines = ensemble_tables(rows)
    else:
        lines = []
        for metric in METRICS[options.table]:
            lines += [f"{title(options)}, PSNR in dB, {metric}", "", *table(rows, metric, options), ""]
        lines += curves(rows, options)
        source = SOURCES.get(title(options))
        lines.append(f"Published: {source}." if source else "No published numbers.")
        lines.append(f"Best over the run is of {METRICS[options.table][-1]}.")
    about = f"{settings['generator']} of {settings['input']}, steps {settings['steps']}, jitter {settings['jitter']:.3g}"
    lines += [
        "",
        f"`{command(options, rows)}`",
        "",
        f"Setting `{options.recipe}`: {about}; {settings['seeds']} seeds, rng {settings['rng']}.",
        "",
    ]
    return "\n".join([*lines, *dict.fromkeys(f"Made on {row['made']}." for row in rows.values())]) + "\n"


def draw(rows, path):
    """Draws PSNR against K: the mean over every choice of K runs, and a band from the least to the most."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * len(rows), 3.6), dpi=150, layout="constrained")
    for axis, (name, row) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True):
        for pool, color in (("equal", "C0"), ("mixed", "C1")):
            found = list(row[pool]["sizes"].values())
            sizes = np.arange(1, len(found) + 1)
            axis.plot(sizes, [one["mean"] for one in found], color=color, marker="o", markersize=3, label=f"{pool} generators")
            axis.fill_between(sizes, [one["min"] for one in found], [one["max"] for one in found], color=color, alpha=0.2, linewidth=0)
        axis.set(title=name, xlabel="runs averaged, K", ylabel="PSNR (dB)", xticks=range(1, len(row["equal"]["sizes"]) + 1))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def save_pictures(folder, stem, pictures):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, image in pictures.items():
        pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(folder / f"{stem}_{kind}.png")


def summary(name, row, options):
    """Writes one finished row in one line."""
    if options.table == "ensemble":
        found = [f"{pool} {list(row[pool]['sizes'].values())[-1]['mean']:.2f}" for pool in ("equal", "mixed") if row[pool]["sizes"]]
    else:
        metric = METRICS[options.table][0]
        values = zip(COLUMNS, numbers(name, row, metric, options), strict=True)
        found = [f"{column.replace('_', ' ')} {value:.2f}" for column, value in values if value is not None]
        found += [f"{row['steps']} of {row['of']} steps in {row['seconds']:.0f} s"]
    return f"{name}: {', '.join(found)}"


def finish(report, options):
    """Writes everything that follows from the rows."""
    write(options.json, json.dumps(report, indent=1))
    rows = {name: report["rows"][name] for name in FILES[options.table] if name in report["rows"]}
    text = markdown(report | {"rows": rows}, options)
    write(options.markdown, text)
    if getattr(options, "figure", None) and rows:
        draw(rows, options.figure)
    return text


def parse(argv):
    def positive(kind, text):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"found {text}, expected a number above 0")
        return value

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, required=True, metavar="DIR")
    common.add_argument("--images", nargs="+", metavar="NAME", help="of the table; all if not given")
    common.add_argument("--steps", type=partial(positive, int), help="those of the recipe if not given")
    common.add_argument("--recipe", choices=("fast", "paper"), default="fast")
    common.add_argument("--rng", type=int, default=0, help="of the seeds, the noise and the masks")
    common.add_argument("--crop", type=partial(positive, int), metavar="PIXELS", help="only the middle of each picture")
    common.add_argument("--budget", type=partial(positive, float), metavar="SECONDS", help="for a picture, without compilation")
    common.add_argument("--json", type=Path, required=True, metavar="FILE", help="keeps the finished rows")
    common.add_argument("--markdown", type=Path, required=True, metavar="FILE")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = parser.add_subparsers(dest="table", required=True)
    for name in FILES:
        one = tables.add_parser(name, parents=[common])
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
    return parser.parse_args(argv)


def run(options):
    """Restores what the report does not hold yet."""
    if options.table == "ensemble" and not len(options.members) <= options.seeds <= 12:  # 4095 choices of 12
        fail(f"--seeds: found {options.seeds}, expected at least one for each of the {len(options.members)} members and at most 12.")
    names = choose(options)
    report = open_report(options.json, make_settings(options))
    left = [name for name in names if name not in report["rows"]]
    text = finish(report, options)  # before hours of work: can the files be written?
    with progress() as start:
        for name in left:
            row, pictures = (study if options.table == "ensemble" else measure)(name, options, start(name))
            report["rows"][name] = json.loads(json.dumps(row))  # as it will be read again
            text = finish(report, options)
            if getattr(options, "pictures", None):
                save_pictures(options.pictures, f"{variant(options).replace(' ', '')}_{name}", pictures)
            print(summary(name, row, options), file=sys.stderr, flush=True)
    print(text, end="")


def main(argv=None):
    options = parse(argv)
    try:
        run(options)
    except KeyboardInterrupt:
        print(f"paper.py: interrupted; {options.json} keeps the finished rows, the same command goes on.", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        fail(error)


if __name__ == "__main__":
    main()
