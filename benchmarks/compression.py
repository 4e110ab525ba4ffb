"""What does it help to know a file's compression? Pictures of strong JPEG: plain fitting, JPEG as the operator, and classical methods.

    python -m benchmarks.compression --data DIR [--size 128] [--quality 10] [--only NAME ...] [--seeds 2] [--steps N]
        [--json FILE] [--markdown FILE]

Middles of three pictures in `DIR/cset9` and of one in `DIR/set5`, RGB, as Pillow writes them with that quality. "dejpeg" is what `dipjax
dejpeg` does. "operator" is its network with `dipjax.operators.JPEG` of the file's tables before the loss, for as many steps. "projected"
is a result whose coefficients are moved into the steps that the file says they lay in. Classical methods have the best of some strengths,
which favours them. PSNR: all channels, whole picture, range 1, clipped. Seconds include compilation. Finished rows of the JSON
file are kept. To add a method, add a row to `METHODS`.
"""

import io
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import restoration

import dipjax
from benchmarks import common
from dipjax.core import drive
from dipjax.operators import JPEG, jpeg, problem
from dipjax.recipes.by_name import FAST

PICTURES = (common.HOUSE, "cset9/image_F16_512rgb.png", "cset9/image_Peppers512rgb.png", "set5/woman_GT.bmp")


def compressed(picture, quality):
    """Returns a picture `(H, W, 3)` of 8 bit as it comes out of a file, in [0, 1], and the operator that made it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        operator = JPEG(*jpeg.tables(opened.quantization))
        return np.asarray(opened, np.float32) / 255, operator


def dejpeg(seen, operator, truth, options):
    del operator, truth
    return dipjax.dejpeg(seen, seeds=options.seeds, num_iter=options.steps, range="full")


def fitted(seen, operator, truth, options):
    """The network of `dejpeg` behind the operator."""
    del truth
    setting = FAST["dejpeg"](seen.shape[-1])
    num_steps = options.steps or setting.steps_for(seen.shape)
    data = problem.general(seen, operator, seen.shape)
    return drive.restore(setting.recipe, drive.seeds(0, options.seeds), data, num_steps=num_steps).image


def projected(image, seen, operator):
    """Returns an image whose coefficients lie in the steps that a file says they lay in."""
    return np.asarray(operator.consistent(image.clip(0, 1), seen))


def best(method, strengths, seen, truth):
    return max((method(seen, strength) for strength in strengths), key=lambda image: dipjax.metrics.psnr(image.clip(0, 1), truth))


def means(seen, strength):
    how = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
    return restoration.denoise_nl_means(seen, h=strength, **how)


def variation(seen, weight):
    return restoration.denoise_tv_chambolle(seen, weight=weight, channel_axis=-1)


METHODS = {  # (seen (H, W, 3), operator, truth, options) -> (H, W, 3)
    "as it is": lambda seen, operator, truth, options: seen,
    "total variation": lambda seen, operator, truth, options: best(variation, (0.01, 0.02, 0.04, 0.08), seen, truth),
    "non-local means": lambda seen, operator, truth, options: best(means, (0.01, 0.02, 0.04, 0.08), seen, truth),
    "dejpeg": dejpeg,
    "operator": fitted,
}


def measure(name, method, options):
    """Returns the row of one method on one picture."""
    picture = common.load(options.data / name, "RGB", options.size)
    seen, operator = compressed(picture, options.quality)
    truth, found = picture.astype(np.float32) / 255, []
    seconds = common.seconds(lambda: found.append(np.asarray(METHODS[method](seen, operator, truth, options)).clip(0, 1)))
    score = partial(dipjax.metrics.psnr, truth=truth)
    image = found[0]
    numbers = {"psnr": float(score(image)), "ssim": dipjax.metrics.ssim(image, truth), "seconds": seconds}
    return numbers | {"projected": float(score(projected(image, seen, operator).clip(0, 1)))}


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--quality", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="those of the setting if not given")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options, rows = parse(argv), []
    report = common.Report(options.json, {name: getattr(options, name) for name in ("size", "quality", "seeds", "steps")})
    for method in options.only:
        found = []
        for name in PICTURES:
            found.append(report.get(f"{method}, {Path(name).stem}", partial(measure, name, method, options)))
            print(f"{method}, {Path(name).stem}: {found[-1]['psnr']:.2f} dB, {found[-1]['projected']:.2f}", file=sys.stderr, flush=True)
        mean = {key: np.mean([row[key] for row in found]) for key in found[0]}
        rows.append(
            [method, *(row["psnr"] for row in found), mean["psnr"], f"{mean['ssim']:.3f}", mean["projected"], f"{mean['seconds']:.1f}"]
        )
    titles = ["method", *(Path(name).stem for name in PICTURES), "mean (dB)", "SSIM", "projected (dB)", "seconds"]
    lines = [*common.table(titles, rows), "", f"`{common.command('compression', argv)}`; {common.made()}."]
    common.publish(lines, options.markdown)


if __name__ == "__main__":
    main()
