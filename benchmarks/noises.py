"""Which loss for which noise, and does `--noise auto` take it? `dipjax.denoise` by each name, and by `auto`, on pictures with known noise.

    python -m benchmarks.noises --data DIR [--pictures cset9] [--only PICTURE ...] [--noise gauss25 ...] [--names auto gaussian ...]
        [--seeds 2] [--json FILE] [--markdown FILE]

`DIR` holds the folders of pictures, of which each gives its middle of 128 x 128 pixels. The kinds of noise are those of
`benchmarks.stopping`, and speckle: every value times 1 + normal noise of so many percent, alike in all channels; all are clipped and
rounded to 8 bit. Everything else is what `denoise` does by itself, the stop rule above all. PSNR: RGB, range 1, clipped, of the mean of
the seeds. The last column is the median over pictures of what `auto` gives less the best of the names. Finished rows of the JSON file are
kept.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

import dipjax
from benchmarks import common, stopping
from dipjax.tasks.tasks import NOISES


def speckle(picture, random, *, percent):
    return picture * (1 + random.normal(0, percent / 100, (*picture.shape[:2], 1)))


NOISE = stopping.NOISE | {f"speckle{percent}": partial(speckle, percent=percent) for percent in (10, 20, 40)}
DEFAULT = ("gauss25", "poisson10", "poisson30", "salt10", "speckle20", "blurred1", "camera200")


def measure(options, noise, name, index, path):
    """Returns the row of one picture with one noise, restored by one name."""
    (truth, noisy), made = stopping.example(path, noise, index, NOISE), []
    seconds = common.seconds(lambda: made.append(dipjax.denoise(noisy, noise=name, seeds=options.seeds, return_result=True)))
    _, outcome = made[0]
    return {
        "psnr": float(dipjax.metrics.psnr(outcome.image.clip(0, 1), truth)),
        "noisy": float(dipjax.metrics.psnr(noisy, truth)),
        "loss": repr(outcome.recipe.loss),
        "steps": outcome.result.num_steps,
        "seconds": seconds,
    }


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pictures", default="cset9", metavar="FOLDER")
    parser.add_argument("--only", nargs="+", metavar="PICTURE")
    parser.add_argument("--noise", nargs="+", default=list(DEFAULT), choices=NOISE)
    parser.add_argument("--names", nargs="+", default=list(NOISES), choices=NOISES)
    parser.add_argument("--seeds", type=int, default=2)
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options, lines = parse(argv), []
    report = common.Report(options.json, {name: getattr(options, name) for name in ("pictures", "seeds")})
    paths = list(enumerate(common.pictures_in(options.data / options.pictures)))
    paths = [(index, path) for index, path in paths if path.stem in (options.only or [path.stem])]
    for noise in options.noise:
        found = {name: [] for name in options.names}
        for index, path in paths:
            for name in options.names:
                row = report.get(f"{noise}, {name}, {path.stem}", partial(measure, options, noise, name, index, path))
                print(f"{noise}, {name}, {path.stem}: {row['psnr']:.2f} dB, {row['loss']}", file=sys.stderr, flush=True)
                found[name].append(row)
        values = {name: np.array([row["psnr"] for row in rows]) for name, rows in found.items()}
        named = [column for name, column in values.items() if name != "auto"]
        less = np.median(values["auto"] - np.max(named, axis=0)) if named and "auto" in values else None
        before = np.median([row["noisy"] for row in found[options.names[0]]])
        lines.append([noise, float(before), *(float(np.median(column)) for column in values.values()), less])
    titles = ["noise", "noisy (dB)", *options.names, "auto less the best"]
    text = [*common.table(titles, lines), "", "Medians over pictures.", "", f"`{common.command('noises', argv)}`; {common.made()}."]
    common.publish(text, options.markdown)


if __name__ == "__main__":
    main()
