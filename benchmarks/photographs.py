"""How well is damage of old photographs found and restored? Scratches and dust are drawn on clean photographs, with grain over all.

    python -m benchmarks.photographs find --data DIR [--size 384] [--sensitivities 0.8 1 1.25 1.5] [--json FILE] [--markdown FILE]
    python -m benchmarks.photographs restore --data DIR [--size 128] [--names NAME ...] [--seeds 1] [--steps N] [--masks found true] ...

Light and dark scratches of 1 to 7 pixels, two of each, as long as a third to four fifths of the picture's side, and twelve specks of
dust; 60 to 100 % opaque; then normal grain of sigma 0.03, clipped. Recall: the share of the pixels of that damage, at least 30 % opaque
and more than 0.15 from the clean picture, that are found. Precision: the share of what is found, before it grows, that lies within two
pixels of damage. PSNR: all channels, range 1, clipped, whole picture. Seconds include compilation where a program is new.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

import dipjax
from benchmarks import common
from dipjax.files.masks import grown
from dipjax.tasks.damage import Finder

WIDTHS, DUST, GRAIN = (1, 2, 3, 5, 7), 12, 0.03
_VISIBLE, _NEAR, _GROW = 0.15, 2, 2
RESTORED = ("cset9/image_Lena512rgb.png", "cset9/image_F16_512rgb.png", "cset9/kodim03.png")


def curve(random, shape, length):
    """Returns the points `(N, 2)` of a smooth curve, half a pixel apart."""
    steps = round(2 * length)
    bends = random.normal(0, 0.006) + np.cumsum(random.normal(0, 0.0006, steps))
    angles = random.uniform(0, 2 * np.pi) + np.cumsum(bends) / 2
    return random.uniform(0, 1, 2) * shape + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], -1), 0) / 2


def cover(points, width, shape):
    """Returns how much of each pixel is covered by a stroke of this width through the points."""
    pixels = np.stack(np.mgrid[: shape[0], : shape[1]], -1).reshape(-1, 2)
    distances, _ = cKDTree(points).query(pixels, distance_upper_bound=width + 2)
    return np.clip(width / 2 + 0.5 - distances.reshape(shape), 0, 1)


def damaged(clean, random):
    """Returns a picture `(H, W, C)` with damage and grain, and the opacity of each piece of damage `(H, W)` with its name."""
    shape, pieces, image = clean.shape[:2], [], clean
    strokes = [(f"{width} px", width, curve(random, shape, np.sqrt(clean[..., 0].size) * random.uniform(0.3, 0.8))) for width in WIDTHS * 2]
    for _ in range(DUST):
        radius = random.uniform(1, 4)
        strokes.append(("dust", 2 * radius, random.uniform(0, 1, 2) * shape + random.normal(0, radius / 3, (3, 2))))
    for number, (name, width, points) in enumerate(strokes):
        tone = random.uniform(0.85, 1) if number % len(WIDTHS * 2) < len(WIDTHS) else random.uniform(0, 0.15)
        opacity = cover(points, width, shape) * random.uniform(0.6, 1)
        image = image + (tone - image) * opacity[..., None]
        pieces.append((name, opacity))
    return np.clip(image + random.normal(0, GRAIN, clean.shape), 0, 1).astype(np.float32), pieces


def example(path, size):
    """Returns a clean picture, the damaged one and its pieces; the draw follows from the name."""
    clean = common.load(path, crop=size).astype(np.float32) / 255
    return clean, *damaged(clean, np.random.default_rng(list(path.stem.encode())))


def counted(path, size, sensitivity):
    """Returns pixels found in all and rightly, and per kind of damage pixels found and there were."""
    clean, image, pieces = example(path, size)
    found = Finder(sensitivity=sensitivity)(image)
    near = binary_dilation(np.any([opacity > 0 for _, opacity in pieces], 0), iterations=_NEAR)
    visible = np.abs(image - clean).mean(-1) > _VISIBLE
    kinds = {}
    for name, opacity in pieces:
        there = (opacity >= 0.3) & visible
        had = kinds.get(name, (0, 0))
        kinds[name] = (had[0] + int((found & there).sum()), had[1] + int(there.sum()))
    return {"found": int(found.sum()), "right": int((found & near).sum()), "kinds": kinds}


def find(options, report):
    """Returns the table of precision and recall."""
    rows = []
    for folder, pattern in (("set14", "*.bmp"), ("cset9", "*.png")):
        for sensitivity in options.sensitivities:
            paths = sorted((options.data / folder).glob(pattern))
            parts = [report.get(f"{path.name}, {sensitivity}", partial(counted, path, options.size, sensitivity)) for path in paths]
            sums = {name: np.sum([part["kinds"][name] for part in parts], 0) for name in parts[0]["kinds"]}
            precisions = [part["right"] / part["found"] for part in parts if part["found"]]
            total = sum(part["right"] for part in parts) / max(sum(part["found"] for part in parts), 1)
            recall = np.sum(list(sums.values()), 0)
            rows.append([folder, f"{sensitivity:g}", total, float(np.median(precisions)) if precisions else None, recall[0] / recall[1]])
            rows[-1] += [float(right / max(there, 1)) for right, there in sums.values()]
    return common.table(["pictures", "sensitivity", "precision", "its median", "recall", *sums], rows)


def restored(name, kind, options):
    """Returns the PSNR of one damaged picture by every method."""
    from skimage.restoration import inpaint_biharmonic

    clean, image, pieces = example(options.data / name, options.size)
    true = np.any([opacity > 0 for _, opacity in pieces], 0)
    mask = true if kind == "true" else grown(Finder()(image), _GROW)
    psnr, found = lambda picture: float(dipjax.metrics.psnr(picture.clip(0, 1), clean)), []
    filled = inpaint_biharmonic(image, mask, channel_axis=-1)
    seconds = common.seconds(
        lambda: found.append(dipjax.restore_photo(image, mask, 0, seeds=options.seeds, num_iter=options.steps, recipe="fast"))
    )
    if options.figure:
        picture = np.concatenate([image, np.repeat(mask[..., None], 3, -1), filled, found[0], clean], 1)
        common.save(options.figure / f"{Path(name).stem}_{kind}.png", picture)
    return {"share": float(mask.mean()), "before": psnr(image), "filled": psnr(filled), "restored": psnr(found[0]), "seconds": seconds}


def restore(options, report):
    """Returns the table of what is restored."""
    rows = []
    for name in options.names:
        for kind in options.masks:
            row = report.get(f"{name}, {kind}", partial(restored, name, kind, options))
            rows.append(
                [Path(name).stem, kind, f"{row['share']:.1%}", *(row[part] for part in ("before", "filled", "restored", "seconds"))]
            )
    return common.table(["picture", "mask", "of the pixels", "damaged, dB", "biharmonic, dB", "dipjax, dB", "seconds"], rows)


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("what", choices=("find", "restore"))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="of the middles; 384 to find, 128 to restore")
    parser.add_argument("--sensitivities", type=float, nargs="+", default=[0.8, 1.0, 1.25, 1.5])
    parser.add_argument("--names", nargs="+", default=list(RESTORED))
    parser.add_argument("--masks", nargs="+", default=["found", "true"], choices=("found", "true"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="the most; those of the setting if not given")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="a folder for pictures")
    options = parser.parse_args(argv)
    options.size = options.size or (384 if options.what == "find" else 128)
    return options


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    report = common.Report(options.json, {name: getattr(options, name) for name in ("what", "size", "seeds", "steps")})
    lines = (find if options.what == "find" else restore)(options, report)
    common.publish([*lines, "", f"`{common.command('photographs', argv)}`; {common.made()}."], options.markdown)


if __name__ == "__main__":
    main()
