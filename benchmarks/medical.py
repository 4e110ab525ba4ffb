"""Tomography from few views and magnetic resonance from a quarter of the lines: what a deep image prior gains over classical methods.

    python -m benchmarks.medical [--size 128] [--only NAME ...] [--tasks NAME ...] [--names NAME ...] [--seeds 2] [--steps N]
        [--json FILE] [--markdown FILE] [--images DIR]

The pictures come with scikit-image: the phantom of Shepp and Logan, a retina (its green) and a cell, shrunk to SIZE x SIZE pixels, inside
a disc, in [0, 1]. "ct": 30 views of parallel beams, with normal noise of half a per cent of the largest sum. "mri": every fourth line of
the spectrum, 8 % of all in the middle, one coil, with noise of one per cent of white; the image is complex, with a smooth phase that
nobody is told: its two channels are restored, and its magnitude is scored. "quick" is filtered back-projection and filling with zeros.
Total variation has the pixels themselves for a network, and of five weights the one that scores best, which favours it. The deep image
prior has the fast setting that `dipjax ct` and `dipjax mri` take. PSNR: range 1, clipped, whole picture. Seconds include compilation.
Finished rows of the JSON file are kept. To add a method, add a row to `METHODS`.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
from skimage import data
from skimage.transform import iradon, resize

import dipjax
from benchmarks import common
from dipjax.core import drive
from dipjax.core.recipe import Recipe
from dipjax.fitting import inputs
from dipjax.fitting.optimizers import Adam, Cosine
from dipjax.fitting.penalties import TotalVariation
from dipjax.generators.pixels import Pixels
from dipjax.operators import instruments, radon
from dipjax.operators.fourier import Complex, Fourier, cartesian
from dipjax.operators.linear import Compose
from dipjax.recipes.by_name import FAST
from dipjax.tasks import ranges

_VIEWS, _ACCELERATION = 30, 4
_SIGMA = {"ct": 0.005, "mri": 0.01}
_WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)  # of the total variation, as if the pixels themselves were measured
_STEPS = 800  # of total variation
_FULL = ranges.Range(-1.0, 1.0)  # of the parts of a complex image

PICTURES = {
    "phantom": data.shepp_logan_phantom,
    "retina": lambda: data.retina()[..., 1] / 255,
    "cell": lambda: data.cell() / 255,
}


def load(name, size):
    """Returns a picture `(size, size)` in [0, 1] that is zero outside a disc."""
    picture = common.middle(PICTURES[name]()[..., None], min(PICTURES[name]().shape[:2]))[..., 0]
    picture = resize(picture, (size, size), anti_aliasing=True)
    rows, columns = np.mgrid[:size, :size] - size // 2
    return (picture / picture.max() * (np.hypot(rows, columns) < size // 2 - 1)).clip(0, 1).astype(np.float32)


def make_problem(task, picture):
    """Returns the problem of a picture `(H, W)`, and what turns its estimate `(H, W, C)` into that picture."""
    random, size = np.random.default_rng(0), picture.shape[0]
    if task == "ct":
        sums = np.asarray(radon.Radon(radon.views(_VIEWS), size)(picture[..., None]))[..., 0]
        sums = sums + random.normal(0, _SIGMA["ct"] * sums.max(), sums.shape)
        return instruments.tomography(sums.astype(np.float32), radon.views(_VIEWS)), lambda estimate: estimate[..., 0]
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    wave = picture * np.exp(1j * (2 * rows + 3 * columns**2 - 1))
    mask = cartesian(picture.shape, _ACCELERATION, seed=1)
    operator = Compose((Complex(), Fourier(mask)))
    spectrum = np.asarray(operator(np.stack([wave.real, wave.imag], -1).astype(np.float32)))[..., 0]
    noise = random.normal(0, _SIGMA["mri"] / np.sqrt(2), (2, *spectrum.shape))
    problem = instruments.mri((spectrum + noise[0] + 1j * noise[1]).astype(np.complex64), mask, is_complex=True)
    return ranges.brought(problem, _FULL), lambda estimate: np.hypot(*np.moveaxis(_FULL.outside(estimate), -1, 0))


def quick(task, problem, options):
    """Filtered back-projection, and zeros for what was not measured."""
    del options
    if task == "ct":
        return iradon(np.asarray(problem.measurement)[..., 0], radon.views(_VIEWS), circle=True)[..., None]
    return _FULL.scaled(_zero_filled(problem))


def _zero_filled(problem):
    """Undoes `ranges.brought`, since a mean of zero is what zeros are filled in around."""
    level = problem.operator(np.ones(problem.shape, np.float32))
    width = _FULL.high - _FULL.low
    return instruments.least_squares(problem.replace(measurement=problem.measurement * width + _FULL.low * level), 1)


def total_variation(weight, task, problem, options):
    """The pixels themselves, fitted with a penalty."""
    # How much the mean square error grows with errors of every pixel: so a weight means the same for every operator.
    errors = np.random.default_rng(0).standard_normal(problem.shape, np.float32)
    scale = float(np.mean(np.abs(problem.operator(errors)) ** 2))
    recipe = Recipe(
        Pixels(problem.shape[-1]),
        inputs.Noise(problem.shape[-1]),
        Adam(0.02, Cosine()),
        penalty=TotalVariation(weight * scale),
        smoothing=0.9,
    )
    return drive.restore(recipe, drive.seeds(0, 1), problem, num_steps=options.steps or _STEPS).image


def prior(task, problem, options):
    """The deep image prior, the mean of some seeds."""
    setting = FAST[task](problem.shape[-1])
    num_steps = options.steps or setting.steps_for(problem.shape)
    result = drive.restore(setting.recipe, drive.seeds(0, options.seeds), problem, num_steps=num_steps)
    return common.put_back(task, problem, result.image[None])[0]


METHODS = {  # (task, problem, options) -> the estimate (H, W, C)
    "quick": quick,
    **{f"total variation, {weight:g}": partial(total_variation, weight) for weight in _WEIGHTS},
    "deep image prior": prior,
}


def measure(task, picture, method, options):
    """Returns the row of one method on one picture."""
    truth = load(picture, options.size)
    problem, finish = make_problem(task, truth)
    found = []
    seconds = common.seconds(lambda: found.append(finish(np.asarray(METHODS[method](task, problem, options)))))
    image = found[0].clip(0, 1)[..., None]
    if options.images:
        common.save(options.images / f"{task}_{picture}_{method.replace(', ', '-').replace(' ', '-')}.png", image)
    quality = {"psnr": float(dipjax.metrics.psnr(image, truth[..., None])), "ssim": dipjax.metrics.ssim(image, truth[..., None])}
    return quality | {"seconds": seconds}


def shown(rows):
    """Returns the rows of the table: of the weights of the total variation the best for each picture."""
    best = {}
    for (task, picture, method), row in rows.items():
        name = method.partition(",")[0]
        if (task, picture, name) not in best or row["psnr"] > best[task, picture, name][1]["psnr"]:
            best[task, picture, name] = method, row
    for (task, picture, _), (method, row) in best.items():
        yield task, picture, method, row["psnr"], f"{row['ssim']:.3f}", f"{row['seconds']:.1f}"


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME")
    parser.add_argument("--tasks", nargs="+", default=list(_SIGMA), choices=_SIGMA)
    parser.add_argument("--names", nargs="+", default=list(PICTURES), choices=PICTURES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of everything that takes steps; those of the settings if not given")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where to write the pictures")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options, rows = parse(argv), {}
    report = common.Report(options.json, {name: getattr(options, name) for name in ("size", "seeds", "steps")})
    for task in options.tasks:
        for picture in options.names:
            for method in options.only:
                name = task, picture, method
                rows[name] = report.get(", ".join(name), partial(measure, *name, options))
                print(f"{', '.join(name)}: {rows[name]['psnr']:.2f} dB", file=sys.stderr, flush=True)
    titles = ["task", "picture", "method", "PSNR (dB)", "SSIM", "seconds"]
    lines = [*common.table(titles, shown(rows)), "", f"`{common.command('medical', argv)}`; {common.made()}."]
    common.publish(lines, options.markdown)


if __name__ == "__main__":
    main()
