"""What do penalties, inputs, losses and schedules beside those of the fast setting do? One picture of each of four tasks.

    python -m benchmarks.parts --data DIR [--size 128] [--only NAME ...] [--tasks NAME ...] [--seeds 2] [--steps N]
        [--json FILE] [--markdown FILE]

"denoise": House, sigma 25/255; "superres": butterfly, four times; "inpaint": the official room with a vase, half of its pixels missing;
"ct": the retina of scikit-image, 30 views, see `benchmarks.medical`. `DIR` holds `cset9/`, `set5/` and `dip/inpainting/`; middles of SIZE x
SIZE pixels, colours but for "ct". Everything but the part that is named is of the fast setting, whose number of steps all take, without a
stopping rule. PSNR: of the mean of the seeds, with what they leave of the measurement put back, as if without noise, where the task does
that; all channels, range 1, clipped. "best" is that of the best of 20 moments, which a perfect rule would find, "end" that of the last.
Seconds are those of a whole run, with a look at each moment, without compilation. Weights of penalties are those for the loss as it is; of
three that were tried the one with the best result is a choice made with the truth in hand, which favours it. To try another part, add a
line to `PARTS`. Finished rows of the JSON file are kept.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from skimage.restoration import denoise_wavelet

from benchmarks import common, medical
from dipjax.core import drive
from dipjax.fitting import inputs, losses, optimizers, penalties
from dipjax.metrics import psnr
from dipjax.recipes.by_name import FAST

PICTURES = {"denoise": common.HOUSE, "superres": common.BUTTERFLY, "inpaint": "dip/inpainting/vase.png", "ct": "retina"}
_MOMENTS = 20


def _wavelets(image):
    return denoise_wavelet(image, sigma=0.1, channel_axis=-1)


def _penalty(penalty):
    return lambda recipe: {"penalty": penalty}


def near_enlarged(weight, image, problem):
    """A penalty for what is not like the measurement, enlarged: with the loss the "double" one, on the small picture and on the large."""
    return weight * jnp.mean((image - jax.image.resize(problem.measurement, image.shape, "cubic")) ** 2)


def _noise(kind, **how):
    """Another kind of noise in the place of the fast setting's, whether beside a guide or alone."""

    def changed(recipe):
        given = recipe.input
        is_guided = isinstance(given, inputs.Guided)
        made = kind((given.noise if is_guided else given).depth, **how)
        return {"input": inputs.Guided(given.guide, made) if is_guided else made}

    return changed


def _schedule(schedule):
    return lambda recipe: {"optimizer": optimizers.Adam(recipe.optimizer.learning_rate, schedule)}


PARTS = {  # name: (the recipe of the fast setting) -> what is changed of it
    "fast": lambda recipe: {},
    **{f"total variation, {weight:g}": _penalty(penalties.TotalVariation(weight)) for weight in (3e-4, 3e-3, 3e-2)},
    "anisotropic, 0.003": _penalty(penalties.TotalVariation(3e-3, is_isotropic=False)),
    **{f"weighted, {weight:g}": _penalty(penalties.WeightedTotalVariation(weight)) for weight in (3e-4, 3e-3, 3e-2)},
    **{f"denoised, median, {weight:g}": _penalty(penalties.Denoised(weight)) for weight in (0.01, 0.1, 1.0)},
    "denoised, wavelets, 0.1": _penalty(penalties.Denoised(0.1, _wavelets, is_numpy=True)),
    "root of the error + total variation, 0.01": lambda recipe: {"loss": losses.RootMSE(), "penalty": penalties.TotalVariation(0.01)},
    "consistency": lambda recipe: {"loss": losses.Consistency(25 / 255)},  # of the noise of House
    **{f"near the bicubic, {weight:g}": _penalty(partial(near_enlarged, weight)) for weight in (0.03, 0.3)},
    "weight decay, 0.01": lambda recipe: {"optimizer": optax.adamw(recipe.optimizer.learning_rate, weight_decay=0.01)},
    "cosine": _schedule(optimizers.Cosine()),
    "warm-up": _schedule(optimizers.WarmUp()),
    "plateau": lambda recipe: {
        "optimizer": optax.chain(optax.adam(recipe.optimizer.learning_rate), optax.contrib.reduce_on_plateau(patience=50))
    },
    "uniform noise as input": _noise(inputs.Noise),
    "band-limited noise as input": _noise(inputs.BandLimited),
    "Fourier features as input": _noise(inputs.Fourier),
}


def make_problem(task, options):
    """Returns a problem and its truth `(H, W, C)`."""
    if task == "ct":
        truth = medical.load(PICTURES[task], options.size)
        problem, _ = medical.make_problem(task, truth)
        return problem, truth[..., None]
    problem = common.make_problem(task, common.load(options.data / PICTURES[task], "RGB", options.size), np.random.default_rng(0))
    return problem.replace(truth=None), np.asarray(problem.truth)


def _changes(task, name):
    """Says whether a part is another than that of the fast setting."""
    recipe = FAST[task](3).recipe
    return replace(recipe, **PARTS[name](recipe)) != recipe


def measure(task, name, options):
    """Returns the row of one part."""
    problem, truth = make_problem(task, options)
    setting = FAST[task](problem.shape[-1])
    setting = setting.changed(**PARTS[name](setting.recipe))
    num_steps, looks = options.steps or setting.steps_for(problem.shape), []
    for result in drive.iterate(setting.recipe, drive.seeds(0, options.seeds), problem, num_steps=num_steps):
        if result.num_steps and result.num_steps >= min(num_steps, (len(looks) + 1) * num_steps / _MOMENTS):
            images = common.put_back(task, problem, result.images)
            looks.append((result.num_steps, float(psnr(images.mean(0).clip(0, 1), truth))))
    step, best = max(looks, key=lambda look: look[1])
    return {"best": best, "at": step, "end": looks[-1][1], "steps": num_steps, "seconds": result.seconds}


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    parser.add_argument("--tasks", nargs="+", choices=PICTURES, default=list(PICTURES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="those of the setting if not given")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options, lines = parse(argv), []
    report = common.Report(options.json, {name: getattr(options, name) for name in ("size", "seeds", "steps")})
    for task in options.tasks:
        rows = []
        for name in options.only:
            if name != "fast" and not _changes(task, name):
                continue
            row = report.get(f"{task}, {name}", partial(measure, task, name, options))
            print(f"{task}, {name}: best {row['best']:.2f}, end {row['end']:.2f}", file=sys.stderr, flush=True)
            rows.append([name, row["best"], row["at"], row["end"], f"{row['seconds']:.0f}"])
        if not rows:
            continue
        titles = ["part", "best (dB)", "at step", f"end (dB), step {row['steps']}", "seconds"]
        lines += [f"{task}: {Path(PICTURES[task]).stem}", "", *common.table(titles, rows), ""]
    common.publish([*lines, f"`{common.command('parts', argv)}`; {common.made()}."], options.markdown)


if __name__ == "__main__":
    main()
