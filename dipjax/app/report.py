"""What is told about a restoration: the JSON record, the curves as CSV, the figure, and the last lines on the screen.

Each is a function of one `Report`; the first three return the bytes of a file.
"""

import csv
import dataclasses
import inspect
import io
import json
import math
import platform
import shlex
from argparse import Namespace
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np

from dipjax import __version__, metrics
from dipjax.app.progress import Followed, duration

FIGURE_SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


@dataclasses.dataclass(frozen=True)
class Report:
    """A restoration and how it came about; the pictures have the size of the result, (H, W, C) in [0, 1]."""

    options: Namespace
    output: Path
    before: np.ndarray  # the input, enlarged for super-resolution
    restored: np.ndarray  # the mean over the living seeds
    each: np.ndarray  # (K, H, W, C), one for every seed, also for dead ones
    truth: np.ndarray | None
    recipe: object
    recipe_name: str
    grid: object  # `tiling.Grid`, None without tiles
    followed: Followed

    @property
    def std(self) -> np.ndarray:
        """The standard deviation over the living seeds, (H, W, C)."""
        return self.each[self.followed.snapshot.alive].std(axis=0)

    @property
    def num_tiles(self) -> int:
        """How many parts were restored, one after another."""
        return len(self.grid.parts) if self.grid else 1

    @property
    def single(self) -> int:
        """The number of the first living seed."""
        return int(self.followed.snapshot.alive.argmax())

    @cached_property
    def scores(self) -> dict | None:
        """PSNR in dB and SSIM of the input, each seed and the ensemble, where there is a reference."""
        if self.truth is None:
            return None
        named = {"input": self.before, "ensemble": self.restored}
        scores = {name: score(image, self.truth) for name, image in named.items()}
        return scores | {"seeds": [score(image, self.truth) for image in self.each]}


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Returns the PSNR in dB, as `metrics.psnr` but without waiting for what JAX is computing meanwhile."""
    error = float(np.mean((image.astype(np.float64) - truth) ** 2))
    return -10 * math.log10(error) if error else math.inf


def score(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Returns the PSNR and the SSIM of a picture in [0, 1]."""
    return {"psnr": psnr(image, truth), "ssim": metrics.ssim(image, truth)}


def summary(report: Report) -> list[str]:
    """Returns the last lines on the screen."""
    snapshot, ending = report.followed.snapshot, report.followed.ending
    alive, num_seeds = int(snapshot.alive.sum()), report.options.seeds
    early = {"budget": ", ended by --budget", "interrupted": ", interrupted"}.get(ending, "")
    tiles = f" in {report.num_tiles} tiles" if report.grid else ""
    steps = f"{snapshot.num_steps} of {report.num_tiles * report.recipe.num_steps} steps{tiles}, {num_seeds} seed{'s' * (num_seeds > 1)}"
    times = f"{duration(snapshot.seconds)}, and {duration(snapshot.compile_seconds)} for compilation"
    lines = [f"{steps}{early}: {times}"]
    if alive < num_seeds:
        lines += [f"{alive} of {num_seeds} seeds alive; the others diverged and were left out"]
    if report.scores:
        before, after = report.scores["input"], report.scores["ensemble"]
        lines += [
            f"PSNR {before['psnr']:.2f} dB before, {after['psnr']:.2f} dB after;"
            f" SSIM {before['ssim']:.3f} before, {after['ssim']:.3f} after"
        ]
    return lines


def record(report: Report) -> bytes:
    """Returns the JSON record; a number that is not finite becomes null."""
    import jax

    from dipjax.core import layouts as batching

    options, snapshot = report.options, report.followed.snapshot
    device = jax.devices()[0]
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    height, width, num_channels = report.restored.shape
    factor = options.factor if options.task == "superres" else 1
    layout = batching.default(options.seeds * math.prod(report.grid.tile if report.grid else (height, width)))
    last_loss = snapshot.metrics[0][:, snapshot.num_steps - 1]
    content = {
        "task": options.task,
        "command": shlex.join(["dipjax", *options.arguments]),
        "input": {"file": Path(options.input).name, "width": width // factor, "height": height // factor},
        "output": {"file": report.output.name, "width": width, "height": height, "channels": num_channels},
        "seeds": options.seeds,
        "dead_seeds": np.flatnonzero(~snapshot.alive).tolist(),
        "rng": options.rng,
        "tiles": dataclasses.asdict(report.grid) if report.grid else None,
        "steps": snapshot.num_steps,
        "ending": report.followed.ending,
        "seconds": snapshot.seconds,
        "compile_seconds": snapshot.compile_seconds,
        "loss": last_loss.tolist(),
        "metrics": report.scores,
        "recipe": {"name": report.recipe_name, "schedule": options.schedule or "recipe's own"} | describe(report.recipe),
        "batching": layout.__name__ if options.batching == "auto" else options.batching,
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "versions": {"dipjax": __version__, "python": platform.python_version()} | {name: metadata.version(name) for name in names},
    }
    return (json.dumps(_finite(content), indent=2, allow_nan=False) + "\n").encode()


def describe(value: object) -> object:
    """Returns settings as JSON has them: a function by its name, a dataclass or a module by its fields."""
    if isinstance(value, (str, int, float, type(None))):
        return value
    if dataclasses.is_dataclass(value):
        # Flax adds `parent` and `name`, which are no settings; optimizers are closures, of which nothing can be told.
        names = [field.name for field in dataclasses.fields(value) if field.name not in {"parent", "name", "optimizer"}]
        return {"type": type(value).__qualname__} | {name: describe(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [describe(item) for item in value]
    value = inspect.unwrap(value) if callable(value) else value  # from under jax.jit
    if inspect.isfunction(value):
        made_from = {name: describe(item) for name, item in inspect.getclosurevars(value).nonlocals.items()}
        name = f"{value.__module__}.{value.__qualname__.removesuffix(f'.<locals>.{value.__name__}')}"
        return {"function": name} | made_from if made_from else name
    return repr(value)


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def curve(report: Report) -> bytes:
    """Returns the CSV table: a line for every step, a column for every seed's loss and, with a reference, its PSNRs."""
    snapshot = report.followed.snapshot
    names = ("loss", "psnr", "psnr_average")[: 1 if report.truth is None else 3]
    columns = [values[: snapshot.num_steps] for metric in snapshot.metrics[: len(names)] for values in metric]
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", *(f"{name}_{seed}" for name in names for seed in range(report.options.seeds))])
    for step, row in enumerate(zip(*columns, strict=True), start=1):
        table.writerow([step, *(f"{value:.7g}" if math.isfinite(value) else "" for value in row)])
    return text.getvalue().encode()
