"""What does a finish that learned from examples do to deep image priors? `dipjax.refine` after denoising and after enlarging four times.

    python -m benchmarks.refine --data DIR --work DIR [--number 6] [--examples 12] [--size 128] [--seeds 4] [--steps N] [--tasks NAME ...]
        [--weights 0 3e-4 3e-3] [--refine-steps 400] [--json FILE] [--markdown FILE] [--pictures DIR]

`DIR` of `--data` holds `bsd68/`: its first pictures in order of their names are restored, the last ones are the clean examples; middles of
`--size` pixels, gray. "denoise": normal noise of sigma 25/255, clipped; "superres": Pillow's LANCZOS, rounded to 8 bit. A weight of 0 fits
the measurement alone, without examples. PSNR and SSIM: whole picture, clipped. Sharpness: 1 - scikit-image's `blur_effect`, which sees no
truth: more is sharper, but noise and artefacts count as sharp too. Taken: where the misfit did not grow by more than a hundredth, or beyond
that of rounding, neither of the measurement nor of its hidden tenth; where it did, the picture is as before, and counts so. What the deep
image priors made lies in the folder `--work`, finished rows in the file `--json`: the same command goes on.

Reference: Crete, Dolmiere, Ladret, Nicolas, The blur effect, SPIE 2007.
"""

import sys
import zlib
from functools import partial

import numpy as np
from skimage.measure import blur_effect

import dipjax
from benchmarks import common

TASKS = ("denoise", "superres")
SCORES = ("psnr", "ssim", "sharpness")


def names(options):
    """Returns the files that are restored, and those of the examples."""
    found = common.pictures_in(options.data / "bsd68")
    return found[: options.number], found[options.number :][-options.examples :]


def restored(path, task, options):
    """Returns truth, measurement and what a deep image prior makes of it, from the folder where it was made before."""
    picture, place = common.load(path, "L", options.size), options.work / f"{task}_{path.stem}.npz"
    data = common.make_problem(task, picture, np.random.default_rng(zlib.crc32(path.stem.encode())))
    measured = np.asarray(data.measurement)

    def make():
        how = {"seeds": options.seeds, "num_iter": options.steps, "range": "full"}
        return {"image": dipjax.denoise(measured, **how) if task == "denoise" else dipjax.super_resolve(measured, 4, **how)}

    return picture.astype(np.float32) / 255, measured, common.kept(place, make)["image"].reshape(picture.shape)


def measure(path, task, weight, options):
    """Returns the row of one picture and one weight."""
    truth, measured, image = restored(path, task, options)
    examples = [common.load(name, "L", options.size).astype(np.float32) / 255 for name in names(options)[1]]
    found = []
    how = {"num_steps": options.refine_steps, "weight": weight, "channel_axis": -1}
    seconds = common.seconds(lambda: found.append(dipjax.refine(image, measured, examples, **how)))
    (made,) = found
    if options.pictures:
        for name, one in (("before", image), (f"after_{weight:g}", made.image), ("truth", truth)):
            common.save(options.pictures / f"{task}_{path.stem}_{name}.png", one)
    numbers = {"taken": made.is_refined, "misfit": [*made.before, *made.after], "seconds": seconds}
    return numbers | {"before": scores(image, truth), "after": scores(made.image, truth)}


def scores(image, truth):
    image = np.asarray(image, np.float32).clip(0, 1)
    sharpness = 1 - float(blur_effect(image[..., 0]))
    return {"psnr": float(dipjax.metrics.psnr(image, truth)), "ssim": dipjax.metrics.ssim(image, truth), "sharpness": sharpness}


def parse(argv):
    parser = common.parser(__doc__)
    common.add_kept(parser, "the deep image priors", number=6, examples=12, size=128, seeds=4, refine_steps=400)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 3e-4, 3e-3], metavar="W")
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    settings = ("size", "seeds", "steps")
    common.Report(options.work / "settings.json", {name: getattr(options, name) for name in settings}).keep()
    settings += ("number", "examples", "refine_steps")
    report, lines = common.Report(options.json, {name: getattr(options, name) for name in settings}), []
    for task in options.tasks:
        for weight in options.weights:
            found = []
            for path in names(options)[0]:
                found.append(report.get(f"{task}, {path.stem}, {weight:g}", partial(measure, path, task, weight, options)))
                before, after = (found[-1][when]["psnr"] for when in ("before", "after"))
                print(f"{task}, {path.stem}, {weight:g}: {before:.2f} dB, then {after:.2f} dB", file=sys.stderr, flush=True)
            mean = {
                (when, name): np.mean([row[when][name] for row in found]) for when in ("before", "after") for name in found[0]["before"]
            }
            cells = [f"{mean['before', 'psnr']:.2f}, {mean['after', 'psnr']:.2f}"]
            cells += [f"{mean['before', name]:.3f}, {mean['after', name]:.3f}" for name in ("ssim", "sharpness")]
            better = sum(row["after"]["psnr"] > row["before"]["psnr"] for row in found)
            seconds = f"{np.median([row['seconds'] for row in found]):.0f}"
            lines.append([task, f"{weight:g}", *cells, f"{sum(row['taken'] for row in found)} of {len(found)}", better, seconds])
    titles = [
        "task",
        "weight",
        "PSNR before, after (dB)",
        "SSIM before, after",
        "sharpness before, after",
        "taken",
        "PSNR better",
        "seconds",
    ]
    text = [*common.table(titles, lines), "", f"`{common.command('refine', argv)}`; {common.made()}."]
    common.publish(text, options.markdown)


if __name__ == "__main__":
    main()
