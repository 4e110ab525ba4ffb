"""What an article says of the deep image prior, put to the test: one measurement for each claim, and a table of verdicts.

    python -m benchmarks.claims [CLAIM ...] --data DIR [--size 160] [--number 12] [--seeds 4] [--steps N] [--json FILE] [--markdown FILE]

`bsd68`: DIP reaches 28.5 dB where BM3D has 29.1. Sigma is not stated: 25 here. Evenly spread pictures, their middles, gray.
`faces`: inpainting of faces, SSIM 0.92 against 0.85 for "diffusion". Text, a box and random pixels (half of them) are missing; rivals
are the heat equation at its end, which is what diffusion comes to, and scikit-image's biharmonic equation. SSIM of the whole picture.
`depth`: 5 layers suffice for simple pictures and 15 help where texture is complex. The generator `plain` of 32 channels.
`schedule`: cosine annealing against a constant rate, with and without a stopping rule.
`loss`: l1 and a perceptual term against l2. Weights of trained networks are not at hand: the term compares what oriented filters at
three scales see, as the first layers of such networks do.
`seeds`: the random seed must be fixed. The spread over 16 seeds, and what means of 2, 4, 8 and 16 leave of it.
`steps`: thousands of steps are needed. After how many a run is within 0.1 dB of its best, the official setting and the quick one,
and where the rule stops.

`DIR` holds `bsd68/`, `set5/` and `cset9/`. Every claim but `faces` is of normal noise of sigma 25/255, not clipped. The default size is
that of `bsd68`; the others take at most 128 pixels and four pictures. PSNR and SSIM: whole picture, clipped. BM3D is the package `bm3d`;
without it its rows are left out. `--steps` is for a trial: the numbers are then of no use. Finished rows of the JSON file are
kept. To add a claim, write a function of the options that yields (name, how to make its row) and one of its rows that says
what came of it, and add both to `CLAIMS`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from PIL import Image, ImageDraw
from scipy import sparse
from scipy.sparse import linalg
from skimage import data as examples
from skimage.filters import gabor_kernel
from skimage.restoration import inpaint_biharmonic

import dipjax
from benchmarks import common
from dipjax.fitting import losses

SIGMA = 25
_FEW, _SMALL = 4, 128  # pictures and pixels of the claims that compare settings
_CLOSE = 0.1  # dB below the best, which counts as reached
_CLEAR = 0.1  # dB, below which two settings are called equal
_VISIBLE = 0.01  # of SSIM


class Claim(NamedTuple):
    """What is said, how it is measured, and what comes of it."""

    said: str
    jobs: Callable  # options -> pairs of a row's name and a function that makes it
    summary: Callable  # {name: row} -> (what was measured, the verdict)


def psnr(image, truth):
    return float(dipjax.metrics.psnr(np.asarray(image, np.float32).clip(0, 1), truth))


def bsd(options, number):
    """Returns evenly spread pictures of BSD68."""
    found = common.pictures_in(options.data / "bsd68")
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, min(number, len(found))).round().astype(int))]


def few(options):
    """Returns the pictures of the claims that compare settings: a house with flat walls, fur, and photographs."""
    baboon = options.data / "cset9/image_Baboon512rgb.png"
    return [options.data / common.HOUSE, baboon, *bsd(options, 2)][: min(options.number, _FEW)]


def small(path, options):
    """Returns one of the few pictures, with and without noise."""
    return common.noisy_of(path, "RGB" if "cset9" in str(path) else "L", min(options.size, _SMALL), SIGMA)


def restored(noisy, options, **how):
    """Returns the outcome of a restoration in the nominal range."""
    how = {"seeds": options.seeds, "num_iter": options.steps, "range": "full"} | how
    return dipjax.denoise(noisy, **how, return_result=True)[1]


def mean_of(rows, ending, key="psnr"):
    """Returns the mean of the rows whose name ends so; None where there is none."""
    values = [row[key] for name, row in rows.items() if name.endswith(f", {ending}")]
    return float(np.mean(values)) if values else None


# DIP and BM3D


def bsd68_jobs(options):
    methods = {"DIP": lambda noisy: restored(noisy, options).image}
    if common.has_bm3d():
        methods["BM3D"] = lambda noisy: common.bm3d(noisy, SIGMA)
    for path in bsd(options, options.number):
        for name, method in methods.items():
            yield f"{path.stem}, {name}", partial(_denoised, path, method, options)


def _denoised(path, method, options):
    truth, noisy = common.noisy_of(path, "L", options.size, SIGMA)
    return {"psnr": psnr(method(noisy), truth)}


def bsd68_summary(rows):
    dip, rival = mean_of(rows, "DIP"), mean_of(rows, "BM3D")
    if rival is None:
        return f"DIP {dip:.2f} dB", "open: BM3D was not measured"
    measured, number = f"DIP {dip:.2f} dB, BM3D {rival:.2f} dB", sum(name.endswith(", DIP") for name in rows)
    verdict = "DIP is below BM3D, as said" if dip < rival else "wrong: DIP is above BM3D"
    return measured, f"{verdict}; {rival - dip:+.2f} dB between them, said were +0.60 ({number} pictures)"


# Faces


def faces_jobs(options):
    size = min(options.size, _SMALL)
    for name in ("baby", "head", "woman", "astronaut")[: options.number]:
        for kind in MASKS:
            for method in FILLED:
                yield f"{name}, {kind}, {method}", partial(_filled, name, kind, method, size, options)


def _filled(name, kind, method, size, options):
    picture = examples.astronaut()[:220, 120:340] if name == "astronaut" else common.load(options.data / f"set5/{name}_GT.bmp")
    truth = common.middle(picture, size).astype(np.float32) / 255
    mask = MASKS[kind](truth.shape[:2])
    image = np.asarray(FILLED[method](np.where(mask[..., None], 0, truth), mask, options), np.float32).clip(0, 1)
    return {"psnr": psnr(image, truth), "ssim": dipjax.metrics.ssim(image, truth)}


def text(shape):
    """Returns a mask of lines of text."""
    canvas = Image.new("L", shape[::-1])
    draw = ImageDraw.Draw(canvas)
    for top in range(4, shape[0], 18):
        draw.text((2 - top % 11, top), "The quick brown fox jumps over the lazy dog", fill=255)
    return np.asarray(canvas) > 127


def box(shape):
    """Returns a mask of a square, a quarter of the height, somewhat below the middle."""
    mask, side = np.zeros(shape, bool), shape[0] // 4
    mask[shape[0] // 2 :, shape[1] * 3 // 8 :][:side, :side] = True
    return mask


MASKS = {"text": text, "box": box, "random": lambda shape: np.random.default_rng(0).random(shape) < 0.5}


def heat(picture, mask):
    """Returns the picture with its holes at the end of the heat equation: every missing pixel is the mean of its neighbours."""
    height, width = mask.shape
    index = np.arange(height * width).reshape(height, width)
    pairs = [(index[:, 1:], index[:, :-1]), (index[1:], index[:-1])]
    first, second = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    ones = np.ones(first.size)
    links = sparse.coo_matrix((ones, (first, second)), (index.size, index.size)).tocsr()
    links = links + links.T
    laplacian = sparse.diags(np.asarray(links.sum(1)).ravel()) - links
    holes, made = mask.ravel(), picture.reshape(-1, picture.shape[-1]).copy()
    system = laplacian[holes][:, holes].tocsc()
    right = -laplacian[holes][:, ~holes] @ made[~holes]
    made[holes] = np.stack([linalg.spsolve(system, column) for column in right.T], -1)
    return made.reshape(picture.shape)


FILLED = {
    "DIP": lambda picture, mask, options: dipjax.inpaint(picture, mask, seeds=options.seeds, num_iter=options.steps, range="full"),
    "biharmonic": lambda picture, mask, options: inpaint_biharmonic(picture, mask, channel_axis=-1),
    "heat equation": lambda picture, mask, options: heat(picture, mask),
}


def faces_summary(rows):
    found = {method: mean_of(rows, method, "ssim") for method in FILLED}
    pairs = {kind: [mean_of(rows, f"{kind}, {method}", "ssim") for method in ("DIP", "heat equation")] for kind in MASKS}
    parts = [f"{kind} {dip:.3f} against {other:.3f}" for kind, (dip, other) in pairs.items()]
    measured = ", ".join(f"{method} {value:.3f}" for method, value in found.items())
    gain = found["DIP"] - max(value for method, value in found.items() if method != "DIP")
    verdict = "as said" if gain > _VISIBLE else "wrong: there is no difference" if gain > -_VISIBLE else "wrong: DIP is worse"
    return f"SSIM {measured} ({', '.join(parts)})", f"{verdict}; how high an SSIM is depends on the size of the holes most of all"


# Settings


def compared(trials, options):
    """Yields the jobs of settings `{name: keywords}` on the few pictures."""
    for path in few(options):
        for name, how in trials.items():
            yield f"{path.stem}, {name}", partial(_trial, path, how, options)


def _trial(path, how, options):
    truth, noisy = small(path, options)
    outcome = restored(noisy, options, truth=truth, **how)
    curve = np.mean(outcome.metrics.psnr_average, 0)
    return {"psnr": psnr(outcome.image, truth), "best": float(curve.max()), "steps": int(outcome.result.num_steps)}


def of_picture(rows, start, ending, key="psnr"):
    return mean_of({name: row for name, row in rows.items() if start in name}, ending, key)


def depth_jobs(options):
    plain = {f"{depth} layers": {"generator": "plain", "option": (f"num_layers={depth}", "width=32")} for depth in (5, 15)}
    return compared(plain, options)


def depth_summary(rows):
    gains = {}
    for name in ("House", "Baboon"):
        five, fifteen = (of_picture(rows, name, f"{depth} layers") for depth in (5, 15))
        if None not in (five, fifteen):
            gains[name] = fifteen - five
    words = ", ".join(f"{name} {gain:+.2f} dB by 15 layers" for name, gain in gains.items())
    if len(gains) < 2:
        return words, "open: too few pictures"
    is_so = gains["House"] < _CLEAR < gains["Baboon"]
    return words, "as said" if is_so else "not found here: " + ("depth helps neither" if max(gains.values()) < _CLEAR else "another order")


def schedule_jobs(options):
    trials = {f"{name}, {stop}": {"schedule": name, "stop": stop} for name in ("constant", "cosine") for stop in ("none", "held-out")}
    return compared(trials, options)


def schedule_summary(rows):
    gains = {stop: mean_of(rows, f"cosine, {stop}") - mean_of(rows, f"constant, {stop}") for stop in ("none", "held-out")}
    words = ", ".join(f"cosine {gain:+.2f} dB with the rule {stop}" for stop, gain in gains.items())
    return words, "as said" if min(gains.values()) > _CLEAR else "not found here" if max(gains.values()) < _CLEAR else "depends on the rule"


@dataclass(frozen=True)
class Perceptual:
    """The mean absolute error, and `weight` times that of what oriented filters at three scales see; a stand-in for a trained network."""

    weight: float = 1.0

    def __call__(self, prediction, measurement):
        """Returns the loss of two pictures `(H, W, C)`."""
        error, total = prediction - measurement, losses.L1()(prediction, measurement)
        filters = jnp.asarray(_filters(), error.dtype)
        reach = filters.shape[-1] // 2
        for scale in range(3):
            around = jnp.pad(error, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
            seen = lax.conv_general_dilated(jnp.moveaxis(around, -1, 0)[:, None], filters[:, None], (1, 1), "VALID")
            total += self.weight / 3 * jnp.mean(jnp.abs(seen))
            if scale < 2:
                height, width = (side // 2 * 2 for side in error.shape[:2])
                error = error[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean((1, 3))
        return total


def _filters():
    kernels = [np.real(gabor_kernel(0.25, theta=angle * np.pi / 4, sigma_x=1.5, sigma_y=1.5)) for angle in range(4)]
    reach = min(min(kernel.shape) for kernel in kernels) // 2  # versions of scikit-image round the size of each in another way
    kernels = [common.middle(kernel, 2 * reach + 1) for kernel in kernels]
    return np.stack([(kernel - kernel.mean()) / np.abs(kernel - kernel.mean()).sum() for kernel in kernels])


LOSSES = {"l2": "mse", "l1": "l1", "l1 + perceptual": Perceptual()}


def loss_jobs(options):
    return compared({name: {"loss": loss} for name, loss in LOSSES.items()}, options)


def loss_summary(rows):
    found = {name: mean_of(rows, name) for name in LOSSES}
    words = ", ".join(f"{name} {value:.2f} dB" for name, value in found.items())
    gain = found["l1 + perceptual"] - found["l2"]
    return words, "better, as said" if gain > _CLEAR else "wrong for Gaussian noise" if gain < -_CLEAR else "no difference"


def seeds_jobs(options):
    for path in few(options):
        yield path.stem, partial(_spread, path, options)


def _spread(path, options):
    truth, noisy = small(path, options)
    outcome = restored(noisy, options, seeds=4 * options.seeds)
    images, row = outcome.images, {}
    for number in (1, 2, 4, 8, 16):
        if number <= len(images):
            groups = [images[i : i + number].mean(0) for i in range(0, len(images) - number + 1, number)]
            row[str(number)] = [psnr(image, truth) for image in groups]
    return row


def seeds_summary(rows):
    def wide(number):
        values = [np.ptp(row[number]) for row in rows.values() if len(row.get(number, ())) > 1]
        return float(np.mean(values)) if values else None

    means = {number: np.mean([np.mean(row[number]) for row in rows.values()]) for number in next(iter(rows.values()))}
    words = ", ".join(f"mean of {number}: {value:.2f} dB" for number, value in means.items())
    single, four = wide("1"), wide("4")
    left = "" if four is None else f", of means of four {four:.2f} dB"
    verdict = "a seed matters little" if single < 2 * _CLEAR else "a seed matters; the mean of some matters more"
    return f"{words}; single seeds spread over {single:.2f} dB{left}", f"{verdict} than which it is: fixing one hides the spread"


def steps_jobs(options):
    trials = {"official": {"recipe": "paper", "stop": "none", "seeds": 1}, "fast": {"recipe": "fast", "stop": "none"}}
    trials["fast, with the rule"] = {"recipe": "fast", "stop": "held-out"}
    for path in few(options)[:2]:
        for name, how in trials.items():
            yield f"{path.stem}, {name}", partial(_reached, path, how, options)


def _reached(path, how, options):
    truth, noisy = small(path, options)
    outcome = restored(noisy, options, truth=truth, **how)
    curve, result = np.mean(outcome.metrics.psnr_average, 0), outcome.result
    steps = result.num_steps if result.best_steps is None else float(np.mean(result.best_steps))
    near = int(np.argmax(curve >= curve.max() - _CLOSE)) + 1
    return {"psnr": psnr(outcome.image, truth), "near": near, "best": float(curve.max()), "given": steps, "taken": int(result.num_steps)}


def steps_summary(rows):
    names = ("official", "fast", "fast, with the rule")
    parts = [f"{name}: near its best after {mean_of(rows, name, 'near'):.0f} steps, {mean_of(rows, name):.2f} dB" for name in names]
    near = mean_of(rows, "fast", "near")
    return "; ".join(parts), "wrong for the quick setting: hundreds" if near < 1000 else "as said"


CLAIMS = {
    "bsd68": Claim("BSD68: DIP 28.5 dB, BM3D 29.1 dB", bsd68_jobs, bsd68_summary),
    "faces": Claim("inpainting of faces: SSIM 0.92, diffusion 0.85", faces_jobs, faces_summary),
    "depth": Claim("5 layers suffice for simple pictures, 15 help complex texture", depth_jobs, depth_summary),
    "schedule": Claim("cosine annealing is better than a constant rate", schedule_jobs, schedule_summary),
    "loss": Claim("l1 and a perceptual term are better than l2", loss_jobs, loss_summary),
    "seeds": Claim("the random seed must be fixed", seeds_jobs, seeds_summary),
    "steps": Claim("thousands of steps are needed", steps_jobs, steps_summary),
}


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"one of {', '.join(CLAIMS)}; all if none is named")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--size", type=int, default=160, metavar="PIXELS")
    parser.add_argument("--number", type=int, default=12, metavar="N", help="of pictures, at most")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, help="those of the setting if not given")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.claims if name not in CLAIMS]:
        parser.error(f"found {unknown[0]!r}, expected one of {', '.join(CLAIMS)}")
    return options


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    report = common.Report(options.json, {name: getattr(options, name) for name in ("size", "number", "seeds", "steps")})
    verdicts = []
    for name in options.claims or CLAIMS:
        claim, rows = CLAIMS[name], {}
        for job, make in claim.jobs(options):
            rows[job] = report.get(f"{name}, {job}", make)
            print(f"{name}, {job}: {rows[job]}", file=sys.stderr, flush=True)
        verdicts.append([claim.said, *claim.summary(rows)])
    lines = [*common.table(["said", "measured", "verdict"], verdicts), "", f"`{common.command('claims', argv)}`; {common.made()}."]
    common.publish(lines, options.markdown)


if __name__ == "__main__":
    main()
