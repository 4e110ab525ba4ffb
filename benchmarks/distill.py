"""What does a light network learn from deep image priors? `dipjax.distill` on part of BSD68, tested on another part.

    python -m benchmarks.distill --data DIR --work DIR [--teachers 16] [--tests 8] [--size 128] [--sigma 25] [--seeds 4] [--steps N]
        [--width 16] [--layers 6] [--training-steps 3000] [--swapped 0] [--json FILE] [--markdown FILE] [--pictures DIR]

`DIR` of `--data` holds `bsd68/`. Of its pictures in order of their names every fourth is for tests, the first of the others are for
teachers; middles of `--size` pixels, gray, with normal noise of sigma/255, not clipped, not rounded. Nobody sees a clean picture. PSNR and
SSIM: whole picture, clipped. Total variation and non-local means are scikit-image's, BM3D is the package `bm3d`, where it is
installed; all three are told sigma. Seconds: the second of two calls, except for the deep image prior, of which there is one. The last
line: seconds of the network for 512 x 512 pixels, once started. What the teachers made lies in the folder `--work`, finished
rows in the file `--json`: the same command goes on. To add a method, add a row to `METHODS`.
"""

import sys
from functools import partial

import jax
import numpy as np
from skimage import restoration

import dipjax
from benchmarks import common
from dipjax.after import distill, student
from dipjax.generators.residual import Residual
from dipjax.tasks.ranges import Range

_EVERY = 4  # so many pictures of which one is for tests


def prior(noisy, options, made=None):
    del made
    return dipjax.denoise(noisy, seeds=options.seeds, num_iter=options.steps, range="full")


def nonlocal_means(noisy, options, made=None):
    del made
    return common.nonlocal_means(noisy, options.sigma / 255)


def total_variation(noisy, options, made=None):
    del made
    return restoration.denoise_tv_chambolle(noisy, weight=options.sigma / 255, channel_axis=-1)


METHODS = {  # (noisy (H, W, 1), options, student) -> (H, W, 1)
    "noisy": lambda noisy, options, made: noisy,
    "total variation": total_variation,
    "non-local means": nonlocal_means,
    "BM3D": lambda noisy, options, made: common.bm3d(noisy, options.sigma),
    "student": lambda noisy, options, made: made.restore(noisy),
    "deep image prior": prior,
}


def pictures(options):
    """Returns the files of the teachers and those of the tests."""
    names = common.pictures_in(options.data / "bsd68")
    tests = names[:: len(names) if len(names) < _EVERY else _EVERY]
    return [name for name in names if name not in tests][: options.teachers], tests[: options.tests]


def noisy_of(path, options):
    return common.noisy_of(path, "L", options.size, options.sigma)


def lesson(path, options):
    """Returns what a teacher makes of a picture, from the folder where it was made before."""
    truth, noisy = noisy_of(path, options)

    def make():
        how = {"seeds": options.seeds, "num_iter": options.steps, "range": "full", "return_result": True}
        restored, outcome = dipjax.denoise(noisy, **how)
        std = outcome.uncertainty
        return {"restored": restored, "std": np.full_like(restored, np.nan) if std is None else std}

    return truth, distill.Lesson(noisy, **common.kept(options.work / f"{path.stem}.npz", make))


def taught(options):
    """Returns the student, from its file where it was made before, and how good its teachers are in dB."""
    found = [lesson(path, options) for path in pictures(options)[0]]
    scores = [float(dipjax.metrics.psnr(one.restored.clip(0, 1), truth)) for truth, one in found]
    place = options.work / f"{options.width}x{options.layers}x{options.training_steps}of{len(found)}swapped{options.swapped:g}.student"
    if not place.exists():
        network = Residual(1, options.width, options.layers)
        how = {"num_steps": options.training_steps, "swapped": options.swapped, "callback": told}
        made = distill.teach([one for _, one in found], network, span=Range(0.0, 1.0), **how)
        student.save(place, made)
    return student.load(place), scores


def told(step, loss):
    if step % 250 == 0:
        print(f"training: step {step}, loss {loss:.3g}", file=sys.stderr, flush=True)


def measure(path, method, made, options):
    """Returns the row of one method on one picture."""
    truth, noisy = noisy_of(path, options)
    work, found = partial(METHODS[method], noisy, options, made), []
    if method not in ("deep image prior", "noisy"):
        work()
    seconds = common.seconds(lambda: found.append(work()))
    image = np.asarray(found[0], np.float32).clip(0, 1)
    if options.pictures:
        common.save(options.pictures / f"{path.stem}_{method.replace(' ', '_')}.png", image)
    return {"psnr": float(dipjax.metrics.psnr(image, truth)), "ssim": dipjax.metrics.ssim(image, truth), "seconds": seconds}


def parse(argv):
    parser = common.parser(__doc__)
    common.add_kept(parser, "the teachers", teachers=16, tests=8, size=128, seeds=4, width=16, layers=6, training_steps=3000)
    parser.add_argument("--sigma", type=float, default=25.0)
    parser.add_argument("--swapped", type=float, default=0.0, metavar="SHARE", help="of the patches that get the noise of another place")
    parser.add_argument("--only", nargs="+", default=[name for name in METHODS if name != "BM3D" or common.has_bm3d()], choices=METHODS)
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    names = ("size", "sigma", "seeds", "steps")
    kept = common.Report(options.work / "settings.json", {name: getattr(options, name) for name in names})
    kept.keep()  # the folder is refused where its teachers were made with other settings
    names += ("teachers", "width", "layers", "training_steps", "swapped")
    report = common.Report(options.json, {name: getattr(options, name) for name in names})
    made, scores = taught(options)
    rows, tests = {method: [] for method in options.only}, pictures(options)[1]
    for path in tests:
        for method in options.only:
            rows[method].append(report.get(f"{path.stem}, {method}", partial(measure, path, method, made, options)))
            print(f"{path.stem}, {method}: {rows[method][-1]['psnr']:.2f} dB", file=sys.stderr, flush=True)
    lines = []
    for method, found in rows.items():
        mean = {name: float(np.mean([row[name] for row in found])) for name in ("psnr", "ssim")}
        lines.append([method, mean["psnr"], f"{mean['ssim']:.3f}", f"{np.median([row['seconds'] for row in found]):.4g}"])
    large = np.tile(noisy_of(tests[0], options)[1], (-(-512 // options.size), -(-512 // options.size), 1))[:512, :512]
    made.restore(large)
    seconds = [common.seconds(lambda: made.restore(large)) for _ in range(5)]
    number = sum(leaf.size for leaf in jax.tree.leaves(made.params))
    text = [
        f"{len(tests)} pictures of {options.size} x {options.size} pixels, sigma {options.sigma:g}; means over pictures, seconds: medians.",
        "",
        *common.table(["method", "PSNR (dB)", "SSIM", "seconds"], lines),
        "",
        f"{len(scores)} teachers of {options.seeds} seeds, {np.mean(scores):.2f} dB on their own pictures. The student has {number} numbers"
        f" and takes {common.spread(seconds, 3)} s for 512 x 512 pixels.",
        "",
        f"`{common.command('distill', argv)}`; {common.made()}.",
    ]
    common.publish(text, options.markdown)


if __name__ == "__main__":
    main()
