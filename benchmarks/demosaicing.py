"""How well are the colours found that a camera's mosaic leaves out? `dipjax.demosaic` against bilinear means and the filters of Malvar.

    python -m benchmarks.demosaicing [--size 128] [--only NAME ...] [--names NAME ...] [--seeds 2] [--steps N]
        [--json FILE] [--markdown FILE]

Middles of photographs that come with scikit-image, behind the mosaic RGGB, without noise. PSNR: all channels, range 1, clipped, whole
picture. Seconds include compilation. These photographs were demosaiced once before, by their cameras, and stored as JPEG: that favours
smooth methods. Finished rows of the JSON file are kept. To add a method, add a row to `METHODS`.

Reference: Malvar, He, Cutler, High-quality linear interpolation for demosaicing of Bayer-patterned color images, ICASSP 2004.
"""

import sys

import numpy as np
from scipy.ndimage import convolve
from skimage import data

import dipjax
from benchmarks import common
from dipjax.operators import Bayer, camera

PATTERN = "RGGB"
PICTURES = {"astronaut": data.astronaut, "chelsea": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}

# What is missing, from the pixels around it: green; red or blue, from beside; and blue or red across.
_GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
_BESIDE = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
_ACROSS = np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]) / 8


def malvar(raw):
    """Returns the colours `(H, W, 3)` of a picture `(H, W, 1)`: linear filters of 5 x 5 pixels that follow the gradients of all colours."""
    raw, seen = raw[..., 0], camera.filters(PATTERN, raw.shape[:2]) > 0
    filtered = [convolve(raw, kernel, mode="mirror") for kernel in (_GREEN, _BESIDE, _BESIDE.T, _ACROSS)]
    green, beside, above, across = filtered
    image = np.empty((*raw.shape, 3), raw.dtype)
    image[..., 1] = np.where(seen[..., 1], raw, green)
    for colour, other in ((0, 2), (2, 0)):
        in_row = seen[..., colour].any(1, keepdims=True)  # whether the neighbours to the left and right have this colour
        image[..., colour] = np.where(seen[..., colour], raw, np.where(seen[..., other], across, np.where(in_row, beside, above)))
    return image


METHODS = {  # (raw (H, W, 1), options) -> (H, W, 3)
    "bilinear": lambda raw, options: camera.bilinear(raw, PATTERN),
    "Malvar, He, Cutler": lambda raw, options: malvar(raw),
    "deep image prior": lambda raw, options: dipjax.demosaic(raw[..., 0], PATTERN, seeds=options.seeds, num_iter=options.steps),
}


def measure(picture, method, options):
    """Returns the row of one method on one picture."""
    truth = common.middle(PICTURES[picture](), options.size).astype(np.float32) / 255
    raw, found = np.asarray(Bayer(PATTERN)(truth)), []
    seconds = common.seconds(lambda: found.append(METHODS[method](raw, options).clip(0, 1)))
    return {"psnr": float(dipjax.metrics.psnr(found[0], truth)), "ssim": dipjax.metrics.ssim(found[0], truth), "seconds": seconds}


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME")
    parser.add_argument("--names", nargs="+", default=list(PICTURES), choices=PICTURES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="those of the setting if not given")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    common.by_method("demosaicing", argv, parse(argv), measure, "size", "seeds", "steps")


if __name__ == "__main__":
    main()
