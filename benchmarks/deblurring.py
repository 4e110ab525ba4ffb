"""How well is a picture sharpened whose blur nobody knows? `dipjax.deblur(picture, pixels)` against knowing it, and against guessing it.

    python -m benchmarks.deblurring --data DIR [--pictures cset9] [--names NAME ...] [--size 128] [--kernels 2] [--only METHOD ...]
        [--seeds 4] [--steps N] [--work DIR] [--json FILE] [--markdown FILE]

The folder of pictures is in `--data`; each gives its middle. They are blurred as by a hand that trembles: a smooth random path in 15 x 15
pixels, another one for each of `--kernels`; nothing is assumed beyond the edges; normal noise of sigma 1/255, clipped, 8 bit. A Gaussian of
the same spread is what a person would guess, in the Richardson-Lucy method of scikit-image. A blur that is not known leaves open where the
picture lies: PSNR (RGB, range 1, clipped, 12 pixels from the edges) is that of the best of all whole shifts up to 3 pixels, for every
method. "blur" is the correlation of what was found with the true one, at its best shift. Seconds include compilation. Finished rows are
kept, and with `--work` the pictures.
"""

import sys
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import correlate2d
from skimage.restoration import richardson_lucy

import dipjax
from benchmarks import common
from dipjax.generators.with_psf import centred
from dipjax.operators import Blur, psfs

SIDE, SIGMA = 15, 1
_MARGIN, _SHIFT = 12, 3


def trembling(seed):
    """Returns a psf `(SIDE, SIDE)` as a trembling hand makes it, with its centre of mass in the middle."""
    path = np.random.default_rng(seed).standard_normal((4000, 2)).cumsum(0)
    path = gaussian_filter1d(path, 200, axis=0)
    path -= path.mean(0)
    path *= (SIDE // 2 - 1.5) / np.abs(path).max()
    psf = np.histogram2d(*path.T, bins=SIDE, range=[(-SIDE / 2, SIDE / 2)] * 2)[0]
    return np.asarray(centred(jnp.asarray(psf / psf.sum(), jnp.float32)))


def example(path, seed, size):
    """Returns the middle of a picture, what was photographed of it, and the psf."""
    psf, whole = trembling(seed), common.load(path, crop=size + SIDE - 1).astype(np.float32) / 255
    noise = np.random.default_rng(seed).normal(0, SIGMA / 255, (size, size, 3))
    blurred = np.asarray(Blur(psf, "valid")(whole)) + noise
    return common.middle(whole, size), np.float32(np.rint(blurred.clip(0, 1) * 255) / 255), psf


def guessed(blurred, psf):
    """Returns what Richardson and Lucy's method makes of a Gaussian with the spread of the true psf, which a person might guess."""
    places = np.indices(psf.shape) - SIDE // 2
    sigma = float(np.sqrt((places**2 * psf).sum() / 2))
    return lucy(blurred, psfs.gaussian(sigma))


def lucy(blurred, psf):
    """Returns the picture after 20 steps of the method of Richardson and Lucy, mirrored beyond its edges."""
    wide = np.pad(blurred, ((SIDE, SIDE), (SIDE, SIDE), (0, 0)), mode="reflect")
    made = [richardson_lucy(wide[..., channel], psf, num_iter=20) for channel in range(3)]
    return np.stack(made, -1)[SIDE:-SIDE, SIDE:-SIDE]


def ours(blurred, psf, options):
    how = {"boundary": "valid", "seeds": options.seeds, "num_iter": options.steps}
    image, outcome = dipjax.deblur(blurred, psf, return_result=True, **how)
    return image, outcome.psf


METHODS = {  # (blurred (H, W, 3), psf, options) -> the picture, and the psf that was found or None
    "nothing": lambda blurred, psf, options: (blurred, None),
    "Richardson-Lucy, a Gaussian guessed": lambda blurred, psf, options: (guessed(blurred, psf), None),
    "dipjax, blur unknown": lambda blurred, psf, options: ours(blurred, SIDE, options),
    "Richardson-Lucy, blur known": lambda blurred, psf, options: (lucy(blurred, psf), None),
    "dipjax, blur known": ours,
}


def shifted_psnr(image, truth):
    """Returns the PSNR of the best shift."""
    inner = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    shifts = range(-_SHIFT, _SHIFT + 1)
    return max(float(dipjax.metrics.psnr(np.roll(image, (y, x), (0, 1))[inner].clip(0, 1), truth[inner])) for y in shifts for x in shifts)


def likeness(found, psf):
    """Returns the largest correlation of two psfs over all shifts."""
    return float(correlate2d(found, psf).max() / np.sqrt((found**2).sum() * (psf**2).sum()))


def measure(path, seed, method, options):
    """Returns the row of one method on one picture."""
    truth, blurred, psf = example(path, seed, options.size)
    found = []
    seconds = common.seconds(lambda: found.append(METHODS[method](blurred, psf, options)))
    image, blur = found[0]
    if options.work:
        place = options.work / f"{path.stem}.{seed}"
        common.save(place / f"{method}.png", image)
        common.save(place / "truth.png", truth)
        for name, kernel in (("truth", psf), (method, blur)):
            if kernel is not None:
                common.save(place / f"{name}.psf.png", np.kron(kernel / kernel.max(), np.ones((8, 8)))[..., None])
    return {"psnr": shifted_psnr(image, truth), "blur": None if blur is None else likeness(blur, psf), "seconds": seconds}


def mean(method, rows):
    """Returns the last row of a method, of which either all rows have a blur or none."""
    psnrs, blurs = zip(*(row[3:5] for row in rows), strict=True)
    return ["mean", None, method, float(np.mean(psnrs)), None if None in blurs else float(np.mean(blurs)), None]


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", required=True)
    parser.add_argument("--pictures", default="cset9", metavar="FOLDER")
    parser.add_argument("--names", nargs="+", metavar="PICTURE")
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--kernels", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, help="those of the setting if not given")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the pictures in folders there")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options, rows = parse(argv), []
    report = common.Report(options.json, {name: getattr(options, name) for name in ("pictures", "size", "seeds", "steps")})
    for path in common.pictures_in(options.data / options.pictures):
        if path.stem not in (options.names or [path.stem]):
            continue
        for seed in range(options.kernels):
            for method in options.only:
                row = report.get(f"{path.stem}, {seed}, {method}", partial(measure, path, seed, method, options))
                print(f"{path.stem}, {seed}, {method}: {row['psnr']:.2f} dB", file=sys.stderr, flush=True)
                rows.append([path.stem, seed, method, row["psnr"], row["blur"], f"{row['seconds']:.1f}"])
    rows += [mean(method, [row for row in rows if row[2] == method]) for method in options.only] if rows else []
    titles = ["picture", "path", "method", "PSNR (dB)", "blur", "seconds"]
    lines = [*common.table(titles, rows), "", f"`{common.command('deblurring', argv)}`; {common.made()}."]
    common.publish(lines, options.markdown)


if __name__ == "__main__":
    main()
