"""What does a picture with flash help against the noise of one without? `dipjax.flash` against the guided filter, and `denoise` without it.

    python -m benchmarks.flash [--size 128] [--only NAME ...] [--names NAME ...] [--seeds 2] [--json FILE] [--markdown FILE]

Middles of photographs that come with scikit-image stand for a scene. Without flash it is lit by a warm lamp, and the picture has normal
noise of sigma 25/255; the flash is white and falls off from the middle of the picture, its picture has another gamma and noise of sigma
3/255. Both are clipped and rounded to 8 bit. Shadows and reflections of the flash, and movement, are not there. PSNR: all channels, range
1, clipped, whole picture. Of the guided filter the best of twelve settings is taken, of non-local means the best of four strengths, both
by the truth. Seconds include compilation. Finished rows of the JSON file are kept. To add a method, add a row to `METHODS`.

Reference: He, Sun, Tang, Guided image filtering, TPAMI 2013; Petschnigg et al., Digital photography with flash and no-flash image pairs,
SIGGRAPH 2004.
"""

import sys
from functools import partial
from itertools import product

import numpy as np
from scipy.ndimage import uniform_filter

import dipjax
from benchmarks import common
from benchmarks.demosaicing import PICTURES
from benchmarks.denoising import STRENGTHS

SIGMA = 25 / 255
LAMP = np.float32([0.9, 0.7, 0.5])
RADII, EPSILONS = (1, 2, 4), (1e-4, 4e-4, 1.6e-3, 6.4e-3)


def pair(name, size):
    """Returns the scene by lamp, the same with noise, and with flash, `(H, W, 3)` each."""
    scene = common.middle(PICTURES[name](), size).astype(np.float32) / 255
    random, axis = np.random.default_rng(list(PICTURES).index(name)), np.linspace(-1, 1, size)
    falloff = 1 / (1 + 0.8 * np.add.outer(axis**2, axis**2))[..., None]
    lit = scene * LAMP
    noisy, flash = lit + random.normal(0, SIGMA, lit.shape), (scene * falloff) ** 0.8 + random.normal(0, 3 / 255, lit.shape)
    return lit, *(np.float32(np.rint(image.clip(0, 1) * 255) / 255) for image in (noisy, flash))


def guided(noisy, flash, radius, epsilon):
    """Returns the guided filter of every channel: in each window it is a linear function of all channels of the flash picture."""
    mean = partial(uniform_filter, size=2 * radius + 1, axes=(0, 1))
    average, centre = mean(flash), mean(noisy)
    spread = mean(flash[..., :, None] * flash[..., None, :]) - average[..., :, None] * average[..., None, :]
    shared = mean(flash[..., :, None] * noisy[..., None, :]) - average[..., :, None] * centre[..., None, :]
    slope = np.linalg.solve(spread + epsilon * np.eye(flash.shape[-1]), shared)
    offset = centre - np.einsum("hwij,hwi->hwj", slope, average)
    return np.einsum("hwij,hwi->hwj", mean(slope), flash) + mean(offset)


METHODS = {  # (noisy, flash, options) -> the results, of which the best counts
    "noisy": lambda noisy, flash, options: [noisy],
    "non-local means": lambda noisy, flash, options: [common.nonlocal_means(noisy, SIGMA, strength) for strength in STRENGTHS],
    "guided filter": lambda noisy, flash, options: [guided(noisy, flash, *chosen) for chosen in product(RADII, EPSILONS)],
    "denoise, without the flash picture": lambda noisy, flash, options: [dipjax.denoise(noisy, seeds=options.seeds)],
    "flash": lambda noisy, flash, options: [dipjax.flash(noisy, flash, seeds=options.seeds)],
}


def measure(name, method, options):
    """Returns the row of one method on one picture."""
    (truth, noisy, flash), found = pair(name, options.size), []
    seconds = common.seconds(lambda: found.extend(METHODS[method](noisy, flash, options)))
    best = max((image.clip(0, 1) for image in found), key=lambda image: dipjax.metrics.psnr(image, truth))
    return {"psnr": float(dipjax.metrics.psnr(best, truth)), "ssim": dipjax.metrics.ssim(np.float32(best), truth), "seconds": seconds}


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME")
    parser.add_argument("--names", nargs="+", default=list(PICTURES), choices=PICTURES)
    parser.add_argument("--seeds", type=int, default=2)
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    common.by_method("flash", argv, parse(argv), measure, "size", "seeds")


if __name__ == "__main__":
    main()
