"""Makes the pictures of the page 'How it works': `python docs/figures.py`, some minutes on two cores.

The picture is a crop of the camera man that comes with scikit-image, the noise is normal, with a standard deviation of 0.2 of white.
"""

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage import data

from dipjax import metrics, problem, recipes, restore, seeds
from dipjax.generators import Skip

FOLDER = Path(__file__).parent / "pages" / "figures"
MOMENTS = (10, 40, 150, 400)  # steps at which the picture is looked at
SIGMA, SEEDS = 0.2, 3


def main() -> None:
    """Writes the pictures."""
    FOLDER.mkdir(exist_ok=True)
    truth = data.camera()[60:188:2, 180:308:2].astype(np.float32)[..., None] / 255
    rng = np.random.default_rng(0)
    noisy = truth + rng.normal(0, SIGMA, truth.shape).astype(np.float32)
    recipe = recipes.fast.denoising(1).recipe
    small = Skip(1, down=(16, 32, 32), up=(16, 32, 32), skip=(4, 4, 4))
    recipe = dataclasses.replace(recipe, generator=small, input=recipe.input.noise, stopping=None)
    results = _stages(recipe, problem.denoising(noisy, truth=truth))
    _forming(noisy, truth, results)
    _stopping(results)
    _seeds(truth, noisy, results)
    shuffled = rng.permuted(truth.ravel()).reshape(truth.shape)
    others = {
        name: _stages(recipe, problem.denoising(picture, truth=truth))
        for name, picture in (("the picture", truth), ("its pixels, shuffled", shuffled))
    }
    _fits({"the noisy picture": results} | others)


def _stages(recipe, task):
    """Returns the results at the moments, each of which goes on from the one before."""
    results, start = [], seeds(0, SEEDS)
    for before, moment in zip((0, *MOMENTS), MOMENTS, strict=False):
        results.append(restore(recipe, start, task, num_steps=moment - before))
        start = results[-1].state
    return results


def _sheet(number, *, height=3.0):
    figure = Figure(figsize=(2.4 * number, height), dpi=100, layout="constrained")
    return figure, figure.subplots(1, number)


def _draw(axis, image, title, **how):
    axis.imshow(np.squeeze(image), **{"cmap": "gray", "vmin": 0, "vmax": 1} | how)
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def _forming(noisy, truth, results):
    figure, axes = _sheet(len(results) + 1)
    _draw(axes[0], noisy, f"measured\n{metrics.psnr(noisy, truth):.1f} dB")
    for axis, moment, result in zip(axes[1:], MOMENTS, results, strict=True):
        _draw(axis, result.images[0], f"after {moment} steps\n{metrics.psnr(result.images[0], truth):.1f} dB")
    figure.savefig(FOLDER / "forming.png")


def _stopping(results):
    curves = np.concatenate([result.metrics.psnr_average for result in results], axis=1)
    losses = np.concatenate([result.metrics.loss for result in results], axis=1)
    figure, (left, right) = _sheet(2, height=2.8)
    figure.set_size_inches(8, 2.8)
    for axis, lines, name in ((left, losses, "loss"), (right, curves, "PSNR (dB)")):
        axis.plot(np.arange(1, lines.shape[1] + 1), lines.T, linewidth=1)
        axis.set(xlabel="step", ylabel=name, xscale="log")
    left.set_yscale("log")
    figure.savefig(FOLDER / "stopping.png")


def _seeds(truth, noisy, results):
    best = max(results, key=lambda result: metrics.psnr(result.image, truth))
    pictures = {f"seed {seed}": image for seed, image in enumerate(best.images)} | {"mean": best.image}
    figure, axes = _sheet(len(pictures) + 1)
    how = {"cmap": "PuOr_r", "vmin": -3 * SIGMA, "vmax": 3 * SIGMA}
    _draw(axes[0], noisy - truth, "error of the\nmeasurement", **how)
    for axis, (name, image) in zip(axes[1:], pictures.items(), strict=True):
        _draw(axis, image - truth, f"error of {name}\n{metrics.psnr(image, truth):.1f} dB", **how)
    figure.savefig(FOLDER / "seeds.png")


def _fits(fits):
    figure, axis = _sheet(1, height=2.8)
    figure.set_size_inches(5, 2.8)
    for name, results in fits.items():
        loss = np.concatenate([result.metrics.loss for result in results], axis=1).mean(axis=0)
        axis.plot(np.arange(1, len(loss) + 1), loss, label=name, linewidth=1.2)
    axis.set(xlabel="step", ylabel="loss", xscale="log", yscale="log")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(FOLDER / "fits.png")


if __name__ == "__main__":
    main()
