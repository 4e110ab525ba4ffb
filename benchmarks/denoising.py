"""How good is `dipjax.denoise`, and how soon, beside non-local means and BM3D?

    python -m benchmarks.denoising --data DIR [--pictures cset9] [--size 128] [--only PICTURE ...] [--noise gauss25 ...]
        [--seeds 4] [--moments 100 200 ...] [--former STEPS] [--json FILE] [--markdown FILE]

`DIR` holds the folders of pictures, of which each gives its middle of SIZE x SIZE pixels; the kinds of noise are those of
`benchmarks.stopping`, clipped and rounded to 8 bit. `denoise` does everything by itself. "networks" is the mean of its seeds, "denoise" the
same with what that leaves of the picture put back (`dipjax.patches`), which is also done at some moments before its end. Non-local means
are scikit-image's with patches of 5 pixels within 6, the best of four strengths; BM3D is the package `bm3d`. Both are told the root mean
square of the noise, which `denoise` is not. PSNR: RGB, range 1, clipped, whole picture. Seconds do not count compilation. `--former` is
the first fast recipe, with no guide, 32 channels and nothing put back, for so many steps: its best step, which the truth tells, and the
first moment at which `denoise` is within 0.3 dB of it, with the seconds that putting back takes. Finished rows of the JSON file are kept.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

import dipjax
from benchmarks import common, stopping
from dipjax.recipes import Setting, fast
from dipjax.tasks import restore

STRENGTHS = (0.4, 0.6, 0.8, 1.0)  # of non-local means, times the noise


def nonlocal_means(noisy, sigma, truth):
    """Returns the PSNR of non-local means with the strength that is best for this picture."""
    return max(quality(common.nonlocal_means(noisy, sigma, strength), truth) for strength in STRENGTHS)


def quality(image, truth):
    return float(dipjax.metrics.psnr(image.clip(0, 1), truth))


def measure(options, noise, index, path):
    """Returns the row of one picture with one noise."""
    truth, noisy = stopping.example(path, noise, index, side=options.size)
    sigma, seen = float(np.sqrt(np.mean((noisy - truth) ** 2))), {}

    def look(result):
        for moment in options.moments:
            if moment not in seen and result.num_steps >= moment:
                seen[moment] = result

    _, outcome = dipjax.denoise(noisy, seeds=options.seeds, return_result=True, callback=look)
    result = outcome.result
    moments = {}
    for moment, now in seen.items():
        made = []
        whole = common.seconds(lambda now=now, made=made: made.append(restore.whole(outcome.task, now.image)))
        about = {"steps": now.num_steps, "seconds": now.seconds, "whole": now.seconds + whole}
        moments[str(moment)] = about | {"networks": quality(now.image, truth), "denoise": quality(made[0], truth)}
    whole = result.seconds + common.seconds(lambda: restore.whole(outcome.task, result.image))
    return {
        "noisy": quality(noisy, truth),
        "non-local means": nonlocal_means(noisy, sigma, truth),
        "BM3D": quality(common.bm3d(noisy, 255 * sigma), truth) if common.has_bm3d() else None,
        "seed": float(np.mean([quality(image, truth) for image in result.images])),
        "networks": quality(result.image, truth),
        "denoise": quality(outcome.image, truth),
        "steps": result.num_steps,
        "seconds": result.seconds,
        "whole": whole,
        "moments": moments,
    }


def measure_former(options, noise, index, path):
    """Returns the best step of the first fast recipe, found as often as the run is looked at."""
    truth, noisy = stopping.example(path, noise, index, side=options.size)
    seen = []
    setting = Setting(fast._recipe(3, input_noise=1 / 30), options.former)
    how = {"seeds": options.seeds, "num_iter": options.former, "kriging": "none", "stop": "none", "recipe": setting}
    dipjax.denoise(noisy, callback=lambda now: seen.append((quality(now.image, truth), now.num_steps, now.seconds)) and None, **how)
    return dict(zip(("best", "steps", "seconds"), max(seen), strict=True))


def sooner(row, former):
    """Returns the seconds of `denoise` until it is within 0.3 dB of the best of the former recipe; None where no moment was."""
    for now in [*row["moments"].values(), row]:
        if now["denoise"] >= former["best"] - 0.3:
            return now["whole"]
    return None


def parse(argv):
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pictures", default="cset9", metavar="FOLDER")
    parser.add_argument("--size", type=int, default=stopping.SIDE, metavar="PIXELS")
    parser.add_argument("--only", nargs="+", metavar="PICTURE")
    parser.add_argument("--noise", nargs="+", default=["gauss10", "gauss25", "gauss50", "poisson30"], choices=stopping.NOISE)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--former", type=int, default=0, metavar="STEPS")
    parser.add_argument("--moments", type=int, nargs="*", default=[50, 100, 150, 200, 300, 400], metavar="STEP")
    return parser.parse_args(argv)


COLUMNS = ("noisy", "non-local means", "BM3D", "seed", "networks", "denoise")


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options, lines, former = parse(argv), [], []
    report = common.Report(options.json, {name: getattr(options, name) for name in ("pictures", "size", "seeds", "moments")})
    for noise in options.noise:
        rows = []
        for index, path in enumerate(common.pictures_in(options.data / options.pictures)):
            if path.stem not in (options.only or [path.stem]):
                continue
            if options.former:
                before = report.get(f"{noise}, {path.stem}, former {options.former}", partial(measure_former, options, noise, index, path))
            rows.append(report.get(f"{noise}, {path.stem}", partial(measure, options, noise, index, path)))
            if options.former:
                now = sooner(rows[-1], before)
                former.append([noise, path.stem, before["best"], before["steps"], before["seconds"], now, now and now / before["seconds"]])
            words = ", ".join(f"{name} {rows[-1][name]:.2f}" for name in COLUMNS if rows[-1][name] is not None)
            print(f"{noise}, {path.stem}: {words}; {rows[-1]['steps']} steps", file=sys.stderr, flush=True)
        mean = lambda values: float(np.mean(values)) if None not in values else None  # noqa: E731
        # A moment after a run's end is its end.
        moments = [mean([row["moments"].get(str(moment), row)["denoise"] for row in rows]) for moment in options.moments]
        least = min(row["denoise"] - row["non-local means"] for row in rows)
        lines.append([noise, *(mean([row[name] for row in rows]) for name in COLUMNS), *moments])
        lines[-1] += [round(mean([row[name] for row in rows])) for name in ("steps", "seconds")] + [least]
    titles = ["noise", *(f"{name} (dB)" for name in COLUMNS), *(f"after {moment} steps" for moment in options.moments)]
    titles += ["steps", "seconds", "least gain over non-local means (dB)"]
    text = [*common.table(titles, lines), "", "Means over pictures.", ""]
    if former:
        text += [*common.table(["noise", "picture", "former best (dB)", "step", "seconds", "now, seconds", "share"], former), ""]
    text += [f"`{common.command('denoising', argv)}`; {common.made()}."]
    common.publish(text, options.markdown)


if __name__ == "__main__":
    main()
