"""`dipjax demo`: restores an example picture, compares with two classical methods, and shows the command for one's own file.

The photograph is Chelsea the cat by Stefan van der Walt (CC0), from the scikit-image package: nothing is downloaded.
"""

import argparse
import dataclasses
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dipjax import files
from dipjax.app import command
from dipjax.app.streams import say
from dipjax.tasks.restore import score

_CREDIT = "Chelsea the cat, photograph by Stefan van der Walt, CC0 (no rights reserved), shipped with scikit-image"
_FACE, _SIZE = (slice(20, 276), slice(96, 352)), 128
_SIGMA = 25 / 255

# Chosen on 2 cores so that all is done in well under a minute; the budget, compilation included, sees to it on a slower machine.
_SETTINGS = ("--recipe", "fast", "--seeds", "2", "--steps", "320", "--budget", "45")


def run(name: str, parse: Callable[[list[str]], argparse.Namespace]) -> int:
    """Runs the demonstration, writes into the folder `name` and returns an exit code; `parse` reads a command line of dipjax."""
    start, folder = time.perf_counter(), Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.OutputError(f"cannot make the directory {name!r}: {error.strerror}") from error
    paths = {name: folder / f"demo_{name}.png" for name in ("truth", "noisy", "restored", "figure", "std")}
    truth = photograph()
    noise = np.random.default_rng(0).normal(0, _SIGMA, truth.pixels.shape)
    # Names that nobody else uses: what lies there is of an earlier demonstration.
    files.save(paths["truth"], truth.pixels, truth, force=True)
    files.save(paths["noisy"], truth.pixels + noise, truth, force=True)
    say(f"{_CREDIT}; {_SIZE} x {_SIZE} pixels, with noise of sigma 25/255.")

    arguments = ["denoise", str(paths["noisy"]), "-o", str(paths["restored"]), "--reference", str(paths["truth"])]
    arguments += ["--plot", str(paths["figure"]), "--force", *_SETTINGS]
    say(f"$ {shlex.join(['dipjax', *arguments])}")
    given = parse(arguments)
    (given.input,) = given.input
    finished = command.restore(given)
    if finished.exit_code:
        return finished.exit_code
    outcome = finished.outcome
    if outcome.alive.sum() > 1:
        highest = max(float(outcome.std.max()), 1e-6)
        files.save(paths["std"], outcome.std / highest, truth, force=True)
        say(f"wrote {paths['std']} (standard deviation over seeds, white is {highest:.3f})")
    _print_table(outcome)
    if outcome.ending == "budget":
        say("This machine could not take all steps in the time: the command above without --budget gives the full result.")
    say(f"All of this took {time.perf_counter() - start:.0f} s. Next, your own picture, with more seeds and steps:")
    say("  dipjax denoise YOUR_PICTURE.png")
    return 0


def photograph() -> files.Picture:
    """Returns the cat's face, 128 x 128 pixels."""
    import skimage
    from PIL import Image

    picture = files.load(Path(skimage.__file__).parent / "data" / "chelsea.png")
    channels = [Image.fromarray(channel) for channel in np.moveaxis(picture.pixels[_FACE], -1, 0)]
    small = [np.asarray(channel.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)) for channel in channels]
    return dataclasses.replace(picture, pixels=np.stack(small, -1).clip(0, 1))


def _print_table(outcome):
    from rich.console import Console
    from rich.table import Table

    result, num_seeds, scores = outcome.result, len(outcome.alive), outcome.scores
    table = Table(title=f"noise of sigma 25/255; compilation, {result.compile_seconds:.1f} s, not counted")
    table.add_column("method")
    for name in ("PSNR (dB)", "SSIM", "seconds"):
        table.add_column(name, justify="right")
    rows = [("noisy", scores["input"], 0.0)]
    for name, method in (("total variation", _total_variation), ("non-local means", _non_local_means)):
        start = time.perf_counter()
        image = method(outcome.before).clip(0, 1)
        rows.append((name, score(outcome.task, image), time.perf_counter() - start))
    rows.append(("dipjax, one seed", scores["seeds"][int(outcome.alive.argmax())], result.seconds / num_seeds))
    rows.append((f"dipjax, mean of {num_seeds} seeds", scores["ensemble"], result.seconds))
    for name, measured, seconds in rows:
        table.add_row(name, f"{measured['psnr']:.2f}", f"{measured['ssim']:.3f}", f"{seconds:.1f}" if seconds else "")
    console = Console()
    console.width = max(console.width, 72)  # in a file or a pipe rich would not know, and cut
    console.print(table)


def _total_variation(noisy):
    from skimage.restoration import denoise_tv_chambolle

    # The best of 0.06, 0.08, 0.1 and 0.12 on this picture: the rival may peek at the truth.
    return denoise_tv_chambolle(noisy, weight=0.08, max_num_iter=500, channel_axis=-1)


def _non_local_means(noisy):
    from skimage.restoration import denoise_nl_means

    # The strength that scikit-image advises for a known sigma in its slow, exact mode is 0.8 sigma; 0.6 is better here.
    return denoise_nl_means(noisy, patch_size=5, patch_distance=11, h=0.6 * _SIGMA, sigma=_SIGMA, fast_mode=False, channel_axis=-1)
