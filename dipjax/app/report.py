"""What is told about a restoration: the JSON record, the curves as CSV, and the last lines on the screen.

Each is a function of one `Report`; the first two return the bytes of a file.
"""

import csv
import dataclasses
import io
import json
import math
import os
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dipjax.app.progress import duration
from dipjax.files import OutputError
from dipjax.files.encode import encode_map
from dipjax.record import as_file, encode, finite, made_with
from dipjax.tasks.restore import Outcome

MAP_SUFFIXES = (".png", ".tif", ".tiff")
REPORT_SUFFIXES = (".html", ".htm")
FIGURE_SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
_NO_SETTINGS = ("truth", "callback", "return_result", "channel_axis")  # options that are no settings


@dataclasses.dataclass(frozen=True)
class Report:
    """A restoration, what was asked for on the command line, and where the picture went."""

    outcome: Outcome
    given: Namespace
    output: Path
    size: tuple[int, int]  # height and width of the input

    @property
    def single(self) -> int:
        """The number of the first seed that counts."""
        return int(self.outcome.result.counted.argmax())


def summary(report: Report) -> list[str]:
    """Returns the last lines on the screen."""
    outcome = report.outcome
    result, num_seeds = outcome.result, outcome.options.seeds
    num_alive = int(outcome.alive.sum())
    early = {"budget": ", ended by --budget", "interrupted": ", interrupted"}.get(outcome.ending, "")
    tiles = f" in {outcome.num_tiles} tiles" if outcome.grid else ""
    total = outcome.num_tiles * outcome.num_steps
    times = f"{duration(result.seconds)}, and {duration(result.compile_seconds)} for compilation"
    if result.stopped is not None:
        early += f", {int(result.stopped.sum())} of {num_seeds} stopped by the rule, best after {_steps_in_words(result)}"
    lines = [f"{result.num_steps} of {total} steps{tiles}, {num_seeds} seed{'s' * (num_seeds > 1)}{early}: {times}"]
    if num_alive < num_seeds:
        lines += [f"{num_alive} of {num_seeds} seeds alive; the others diverged and were left out"]
    if outcome.result.left_out is not None and outcome.result.left_out.any():
        names = ", ".join(map(str, np.flatnonzero(outcome.result.left_out)))
        lines += [f"left out, because it predicts worse than the others and lies far from them: seed {names}"]
    if result.left_out_of:
        number = len({part for part, _ in result.left_out_of})
        lines += [f"in {number} of {outcome.num_tiles} tiles a seed was left out: it predicts worse than the others and lies far from them"]
    if outcome.uncertainty is not None:
        error, noise = rms(outcome.uncertainty), outcome.noise
        lines += [f"estimated error {error:.3g}, noise of the input {noise:.3g} (standard deviations, in the units of the picture)"]
    if outcome.gained is False:
        lines += ["nothing was gained: the input is as close to the truth, as far as can be told, and is written as it was"]
    if scores := outcome.overall:
        before, after = scores["input"], scores["ensemble"]
        span = f" on the range {outcome.task.span}" if (outcome.task.span.low, outcome.task.span.high) != (0.0, 1.0) else ""
        lines += [
            f"PSNR {before['psnr']:.2f} dB before, {after['psnr']:.2f} dB after{span};"
            f" SSIM {before['ssim']:.3f} before, {after['ssim']:.3f} after"
        ]
    return lines


def rms(values: np.ndarray) -> float:
    """Returns the root mean square of what is known; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(np.square(known, dtype=np.float64)))) if known.size else math.nan


def _steps_in_words(result):
    low, high = result.best_steps.min(), result.best_steps.max()
    return f"{low} steps" if low == high else f"{low} to {high} steps"


def _stopping(outcome):
    """Says why and when each seed stopped."""
    result = outcome.result
    if result.stopped is None:
        return None
    return {
        "rule": type(outcome.recipe.stopping).__name__,
        "stopped": result.stopped.tolist(),
        "steps": result.steps.tolist(),
        "best_steps": result.best_steps.tolist(),
        "best_score": _at_best(result),
    }


def _uncertainty(report):
    """Says how sure the result is, and what white is in the file of `--uncertainty`."""
    outcome = report.outcome
    if outcome.uncertainty is None:
        return None
    largest = float(np.nanmax(outcome.uncertainty, initial=0.0))
    name = Path(report.given.uncertainty).name if report.given.uncertainty else None
    return {"file": name, "error": rms(outcome.uncertainty), "noise": outcome.noise, "largest": largest, "gained": outcome.gained}


def uncertainty(report: Report) -> bytes:
    """Returns the map of the standard deviation of the error as a picture.

    Raises:
      OutputError: there is none.
    """
    if report.outcome.uncertainty is None:
        raise OutputError(
            f"cannot write {report.given.uncertainty!r}: nothing is known of the error; it takes --stop held-out and two seeds"
        )
    return encode_map(report.given.uncertainty, report.outcome.uncertainty)


def found(report: Report) -> bytes:
    """Returns what was found, as a picture: where it was filled in, white, or the blur, its largest value white."""
    filled, psf = report.outcome.filled, report.outcome.psf
    return encode_map(report.given.found, np.float32(psf / psf.max() if filled is None else filled)[..., None])


def _at_best(result):
    """Returns each seed's score where it was best; the curves of tiles do not tell which of them that was."""
    return result.metrics.score.min(axis=-1).tolist()


def made_of(outcome: Outcome) -> str:
    """Says what the restored picture is made of."""
    if outcome.gained is False:
        return "the input: nothing was gained"
    number = int(outcome.result.counted.sum())
    return f"{outcome.options.aggregate} of {number} seed{'s' * (number > 1)}"


def command_line(arguments: Sequence[str]) -> str:
    """Returns a command for a shell, exactly, also where a name has letters that cannot be shown or are none."""
    return " ".join(["dipjax", *(shlex.quote(word) if word.isprintable() else f"$'{_spelled(word)}'" for word in arguments)])


def _spelled(word):
    spelled = (letter if letter.isprintable() and letter not in "'\\" else _octal(letter) for letter in word)
    return "".join(spelled)


def _octal(letter):
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(letter))  # always three digits, so that none that follows is taken for one


def record(report: Report, failures: Sequence[str] = ()) -> bytes:
    """Returns the JSON record. `failures` are of outputs that could not be written."""
    return as_file(content(report, failures))


def content(report: Report, failures: Sequence[str] = ()) -> dict[str, Any]:
    """Returns what the record says; a number that is not finite becomes None."""
    outcome, given = report.outcome, report.given
    result, options = outcome.result, outcome.options
    height, width, num_channels = outcome.image.shape
    told = {
        "task": given.task,
        "command": command_line(given.arguments),
        "input": {"file": Path(given.input).name, "width": report.size[1], "height": report.size[0]},
        "output": {"file": report.output.name, "width": width, "height": height, "channels": num_channels},
        "seeds": options.seeds,
        "dead_seeds": np.flatnonzero(~outcome.alive).tolist(),
        "left_out_seeds": [] if result.left_out is None else np.flatnonzero(result.left_out).tolist(),
        "left_out_of_tiles": [{"tile": tile, "seed": seed} for tile, seed in result.left_out_of],
        "rng": options.rng,
        "range": {"low": outcome.task.span.low, "high": outcome.task.span.high, "found": outcome.task.span.found},
        "tiles": dataclasses.asdict(outcome.grid) if outcome.grid else None,
        "steps": result.num_steps,
        "steps_wanted": outcome.num_steps,
        "ending": "failed" if failures else outcome.ending,
        "stopping": _stopping(outcome),
        "uncertainty": _uncertainty(report),
        "filled": None if outcome.filled is None else float(outcome.filled.mean()),  # the share of pixels
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "loss": result.metrics.loss[:, -1].tolist(),
        "metrics": outcome.scores,
        "recipe_name": outcome.setting_name,
        "recipe": json.loads(outcome.recipe.to_json()),
        "fingerprint": getattr(given, "fingerprint", None),
        "options": {name: encode(value) for name, value in vars(options).items() if name not in _NO_SETTINGS},
        "batching": encode(outcome.layout),
    } | made_with()
    return finite(told)


def curve(report: Report) -> bytes:
    """Returns the CSV table: a line for every step, a column for every seed's loss and, with a reference, its PSNRs."""
    curves = {name: values for name, values in report.outcome.metrics._asdict().items() if isinstance(values, np.ndarray)}
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", *(f"{name}_{seed}" for name, values in curves.items() for seed in range(len(values)))])
    for step, row in enumerate(zip(*(column for values in curves.values() for column in values), strict=True), start=1):
        table.writerow([step, *(f"{value:.7g}" if math.isfinite(value) else "" for value in row)])
    return text.getvalue().encode()
