"""How good is it? `dipjax.denoise` and `super_resolve` as a person calls them, every generator in one equal time, classical methods.

    python -m benchmarks.quality --data DIR [--budget 40] [--only NAME ...] [--tasks NAME ...] [--json FILE] [--markdown FILE] ...

`DIR` holds `cset9/` and `set5/`. House has noise of sigma 25/255 (clipped), the butterfly is enlarged four times from 64 x 64 pixels. The
default has four seeds, all steps of its setting and no limit. A generator has one seed and its own setting, and ends with the budget,
which does not count compilation, or with its last step. PSNR: all channels, whole picture, range 1, clipped. GFLOP is XLA's count for one
gradient, a multiplication and an addition counted as two. Finished rows of the JSON file are kept. To add a method, add a row to `METHODS`.
"""

import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from skimage import restoration

import dipjax
from benchmarks import common
from dipjax.core import loop

SIGMA = 25  # which the classical methods are told
TASKS = {"denoise": common.HOUSE, "superres": common.BUTTERFLY}


def default(task, pixels, options, *, seeds=4, budget=None, **how):
    """Restores with dipjax; returns the picture and what is known of the work."""
    how |= {"seeds": seeds, "num_iter": options.steps, "return_result": True}
    how["callback"] = lambda result: budget is not None and result.num_steps and result.seconds >= budget
    if task == "superres":
        image, outcome = dipjax.super_resolve(pixels, 4, **how)
    else:
        image, outcome = dipjax.denoise(pixels, **how)
    return image, {"steps": outcome.result.num_steps, "seconds": outcome.result.seconds} | size_and_cost(outcome)


def generator(name, *chosen):
    """Returns the method of a generator by name, with the setting that suits it."""
    return lambda task, pixels, options: default(task, pixels, options, seeds=1, budget=options.budget, generator=name, option=chosen)


def classical(function, *tasks):
    """Returns a method that is a function of the pixels, for some of the tasks."""

    def method(task, pixels, options):
        del options
        if task not in tasks:
            return None
        start = time.perf_counter()
        return function(pixels), {"seconds": time.perf_counter() - start}

    return method


def bicubic(pixels):
    small = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    return np.asarray(small.resize((4 * small.width, 4 * small.height), Image.Resampling.BICUBIC), np.float32) / 255


NARROW = ("down=32,32,32,32,32", "up=32,32,32,32,32")
METHODS = {  # (task, pixels, options) -> (image, what is known of the work), or None where it is not for this task
    "input": classical(lambda pixels: pixels, "denoise"),
    "total variation (scikit-image)": classical(partial(restoration.denoise_tv_chambolle, weight=0.1, channel_axis=-1), "denoise"),
    "non-local means (scikit-image)": classical(partial(common.nonlocal_means, sigma=SIGMA / 255), "denoise"),
    "bicubic (Pillow)": classical(bicubic, "superres"),
    "default, 4 seeds": default,
    "fast, 1 seed, in the budget": lambda task, pixels, options: default(
        task, pixels, options, seeds=1, budget=options.budget, recipe="fast"
    ),
    "skip": generator("skip"),
    "skip, narrow": generator("skip", *NARROW),
    "encoder-decoder": generator("encoder-decoder"),
    "unet": generator("unet"),
    "resnet, narrow": generator("resnet", "num_blocks=4", "width=16"),
    "texture-net": generator("texture-net"),
    "dcgan": generator("dcgan"),
    "dcgan, deep": generator("dcgan", "num_doublings=5", "width=64"),
    "plain, narrow": generator("plain", "width=16"),
    "deep-decoder": generator("deep-decoder"),
    "conv-decoder, narrow": generator("conv-decoder", "width=64"),
    "positional, narrow": generator("positional", *NARROW),
    "siren, narrow": generator("siren", "width=64"),
}


def size_and_cost(outcome):
    """Returns the number of parameters, and the GFLOP of one gradient as XLA counts them for a GPU, where nothing is a loop."""
    recipe = outcome.recipe
    state = jax.eval_shape(lambda key: loop.init(recipe, key, outcome.task.problem), jax.random.key(0))

    def gradient(params, z):
        return jax.grad(lambda params: (recipe.generator.apply(params, z) ** 2).mean())(params)

    lowered = jax.jit(gradient).trace(state.params, state.z).lower(lowering_platforms=("cuda",))
    return {"parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)), "gflop": lowered.cost_analysis()["flops"] / 1e9}


def measure(name, task, options):
    """Returns the row of a method and a task; empty where the method is not for it."""
    problem = common.make_problem(task, common.load(options.data / TASKS[task], crop=options.crop), np.random.default_rng(0), sigma=SIGMA)
    found = METHODS[name](task, np.asarray(problem.measurement), options)
    if found is None:
        return {}
    image, about = found
    if options.pictures:
        common.save(options.pictures / f"{name.replace(', ', '-')}_{task}.png", image)
    truth = np.asarray(problem.truth)
    return about | {"psnr": float(dipjax.metrics.psnr(image.clip(0, 1), truth)), "ssim": dipjax.metrics.ssim(image.clip(0, 1), truth)}


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--budget", type=float, default=40.0, metavar="SECONDS", help="of a generator")
    parser.add_argument("--steps", type=int, help="of everything; those of the setting if not given")
    parser.add_argument("--crop", type=int, metavar="PIXELS", help="only the middle of each picture")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options, rows = parse(argv), []
    report = common.Report(options.json, {"budget": options.budget, "crop": options.crop, "steps": options.steps})
    for task in options.tasks:
        for name in options.only:
            row = report.get(f"{task}, {name}", partial(measure, name, task, options))
            if row:
                print(f"{task}, {name}: {row['psnr']:.2f} dB", file=sys.stderr, flush=True)
                count, gflop = (f"{row[key]:{form}}" if key in row else None for key, form in (("parameters", ","), ("gflop", ".1f")))
                rows.append([task, name, count, gflop, row.get("steps"), f"{row['seconds']:.1f}", row["psnr"], f"{row['ssim']:.3f}"])
    titles = ["task", "method", "parameters", "GFLOP / step", "steps", "seconds", "PSNR (dB)", "SSIM"]
    lines = [*common.table(titles, rows), "", f"`{common.command('quality', argv)}`; {common.made()}."]
    common.publish(lines, options.markdown)


if __name__ == "__main__":
    main()
