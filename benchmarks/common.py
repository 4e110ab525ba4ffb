"""What the scripts share: pictures and their problems, rows that are kept, tables, and contestants that take turns.

A script keeps its finished rows in the file of `--json`, so that the same command goes on where it was interrupted; these files are not
committed, the tables of `--markdown` are. Nothing of dipjax is imported before it is used: `speed` chooses which one.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import platform
import shlex
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.restoration import denoise_nl_means

HOUSE, BUTTERFLY = "cset9/image_House256rgb.png", "set5/butterfly_GT.bmp"
_FOLDERS, _FILES = ("data", "work", "pictures", "against"), ("json", "markdown", "figure")
_PLACEHOLDERS = {f"--{name}": "DIR" for name in _FOLDERS} | {f"--{name}": "FILE" for name in _FILES}


# Pictures


def load(path: Path, mode: str = "RGB", crop: int | None = None) -> np.ndarray:
    """Returns a picture of 8 bit, (H, W, 3) for "RGB" and (H, W, 1) for "L", or its middle."""
    picture = np.asarray(Image.open(path).convert(mode))
    return middle(picture if mode == "RGB" else picture[..., None], crop)


def middle(picture: np.ndarray, side: int | None) -> np.ndarray:
    """Returns the middle `(side, side, C)` of a picture, or all of it where it is smaller or `side` is None."""
    top, left = (max(0, length - side) // 2 if side else 0 for length in picture.shape[:2])
    return picture[top:, left:][:side, :side]


def pictures_in(folder: Path) -> list[Path]:
    """Returns the files of pictures in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".bmp"))


def noisy_of(path: Path, mode: str, crop: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middle of a picture, with white at 1, and the same with normal noise of sigma/255, not clipped, which depends on its name
    alone; both `(H, W, C)`."""
    truth = load(path, mode, crop).astype(np.float32) / 255
    random = np.random.default_rng(zlib.crc32(path.stem.encode()))
    return truth, np.float32(truth + random.normal(0, sigma / 255, truth.shape))


def has_bm3d() -> bool:
    """Says whether the package `bm3d` is installed."""
    return importlib.util.find_spec("bm3d") is not None


def bm3d(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Returns what BM3D makes of a gray picture `(H, W, 1)`, or one in RGB `(H, W, 3)`, with noise of sigma/255."""
    import bm3d as package

    return package.bm3d_rgb(noisy, sigma / 255) if noisy.shape[-1] == 3 else package.bm3d(noisy[..., 0], sigma / 255)[..., None]


def nonlocal_means(noisy: np.ndarray, sigma: float, strength: float = 0.6) -> np.ndarray:
    """Returns what scikit-image's non-local means make of a picture `(H, W, C)` with noise of sigma, in its units, of which the strength is
    a multiple."""
    how = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
    return denoise_nl_means(noisy, h=strength * sigma, sigma=sigma, **how).reshape(noisy.shape)


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns arrays from an .npz file, which is made where there is none, complete or not at all."""
    if not path.exists():
        part = path.with_name(f"{path.stem}.part.npz")
        np.savez(part, **make())
        part.replace(path)
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def make_problem(task: str, picture: np.ndarray, random: np.random.Generator, *, sigma=25, factor=4) -> Any:
    """Returns the problem of a picture (H, W, C) of 8 bit, by the protocols of the paper; its truth is the picture.

    "denoise": normal noise, clipped to [0, 1], not rounded. "superres": Pillow's LANCZOS makes the small one, of 8 bit. "inpaint": every
    pixel is missing with probability one half. "deblur": a Gaussian of 2 pixels, and noise of sigma 1/255, clipped.
    """
    from dipjax.operators import Blur, problem, psfs

    truth = picture.astype(np.float32) / 255
    if task == "denoise":
        return problem.denoising(np.clip(truth + random.normal(0, sigma / 255, truth.shape), 0, 1).astype(np.float32), truth=truth)
    if task == "inpaint":
        return problem.inpainting(truth, random.random(truth.shape[:2]) > 0.5, truth=truth)
    if task == "deblur":
        psf = psfs.gaussian(2)
        blurred = np.asarray(Blur(psf)(truth))
        noisy = np.clip(blurred + random.normal(0, 1 / 255, truth.shape), 0, 1).astype(np.float32)
        return problem.deblurring(noisy, psf, truth=truth)
    height, width = (side // factor for side in truth.shape[:2])
    canvas = Image.fromarray(picture if picture.shape[-1] == 3 else picture[..., 0])
    small = np.asarray(canvas.resize((width, height), Image.Resampling.LANCZOS), np.float32) / 255
    return problem.super_resolution(small.reshape(height, width, -1), factor, truth=truth)


def put_back(task: str, problem: Any, images: np.ndarray) -> np.ndarray:
    """Returns estimates `(K, H, W, C)` with what they leave of the measurement, as if without noise, where the task puts that back."""
    from dipjax import kriging

    return kriging.put_back(problem, images) if task in ("inpaint", "superres", "mri") else images


def save(path: Path, image: np.ndarray) -> None:
    """Writes a picture (H, W, C) in [0, 1] with 8 bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(path)


# Options, rows and tables


def parser(doc: str) -> argparse.ArgumentParser:
    """Returns a parser with the options of every script."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="keeps the finished rows")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="for the table, which is printed too")
    return made


def add_kept(parser: argparse.ArgumentParser, what: str, **numbers: int) -> None:
    """Adds the folders of a benchmark that keeps what deep image priors make, its whole numbers with their defaults, and their steps."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help=f"keeps what {what} made")
    for name, default in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, metavar="N")
    parser.add_argument("--steps", type=int, help="of the deep image prior; those of the setting if not given")
    parser.add_argument("--pictures", type=Path, metavar="DIR")


def command(script: str, argv: list[str]) -> str:
    """Returns the command without the paths of this machine."""
    shown = [_PLACEHOLDERS.get(before, word) for before, word in zip(["", *argv], argv, strict=False)]
    return shlex.join(["python", "-m", f"benchmarks.{script}", *shown])


class Report:
    """The finished rows of a table, by name, in a file that is always complete; without a path they are in memory alone."""

    def __init__(self, path: Path | None, settings: dict):
        self.path, self.settings, self.rows = path, json.loads(json.dumps(settings)), {}
        if path is None or not path.exists():
            return
        try:
            content = json.loads(path.read_text())
            found, self.rows = content["settings"], dict(content["rows"].items())
            other = [f"{name} {found.get(name)} instead of {value}" for name, value in self.settings.items() if found.get(name) != value]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SystemExit(f"{path} is no report of this program ({type(error).__name__}: {error}); name another --json.") from error
        if other:
            raise SystemExit(f"{path} holds rows made with {', '.join(other)}; name another file for --json.")

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns a row, which is made and kept where there is none of this name."""
        if name not in self.rows:
            self.rows[name] = json.loads(json.dumps(make()))  # as it will be read again
            self.keep()
        return self.rows[name]

    def keep(self) -> None:
        """Writes the file."""
        if self.path:
            write(self.path, json.dumps({"settings": self.settings, "rows": self.rows}))


def write(path: Path, content: str) -> None:
    """Writes a file at once or not at all: what was there survives an interruption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(content)
    os.replace(temporary, path)


def publish(lines: Iterable[str], path: Path | None) -> None:
    """Prints a table and writes it, if there is a file for it."""
    text = "\n".join(lines) + "\n"
    print(text, end="", flush=True)
    if path:
        write(path, text)


def table(titles: Iterable[str], rows: Iterable[Iterable]) -> list[str]:
    """Returns the lines of a table; floats have two digits, None is empty."""
    titles = list(titles)
    shown = [["" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *(f"| {' | '.join(row)} |" for row in shown)]


def by_method(script: str, argv: list[str], options: argparse.Namespace, measure: Callable, *settings: str) -> None:
    """Measures every method on every picture, `measure(picture, method, options)`, and publishes the table.

    Args:
      script: its name.
      argv: its arguments.
      options: what they say: `names` of the pictures, `only` of the methods, `json`, `markdown`, and the settings.
      measure: returns a row with `psnr`, `ssim` and `seconds`.
      settings: which options make other rows.
    """
    report, rows = Report(options.json, {name: getattr(options, name) for name in settings}), []
    for picture in options.names:
        for method in options.only:
            row = report.get(f"{picture}, {method}", partial(measure, picture, method, options))
            print(f"{picture}, {method}: {row['psnr']:.2f} dB", file=sys.stderr, flush=True)
            rows.append([picture, method, row["psnr"], f"{row['ssim']:.3f}", f"{row['seconds']:.1f}"])
    lines = table(["picture", "method", "PSNR (dB)", "SSIM", "seconds"], rows)
    publish([*lines, "", f"`{command(script, argv)}`; {made()}."], options.markdown)


def spread(values: list[float], digits: int = 0) -> str:
    """Writes the median with the smallest and the largest."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def describe(value: Any) -> str:
    """Writes a setting in one line; of a generator what is not its default."""
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))})"
    if not dataclasses.is_dataclass(value):
        return f"{value:.4g}" if isinstance(value, float) else getattr(value, "__name__", str(value))
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value) if field.name not in {"parent", "name"}]
    shown = [(field.name, part) for field, part in fields if not (hasattr(value, "apply") and part == field.default)]
    return f"{type(value).__name__}({', '.join(f'{name}={describe(part)}' for name, part in shown)})"


def made() -> str:
    """Says where and with what: device, versions, commit and date."""
    import jax

    line = ["git", "-C", os.path.dirname(__file__), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    device = f"{num_cores()} core{'s' * (num_cores() > 1)} of {platform.machine()}"
    if jax.default_backend() != "cpu":
        device = jax.devices()[0].device_kind
    versions = f"JAX {jax.__version__}" + (f", PyTorch {sys.modules['torch'].__version__}" if "torch" in sys.modules else "")
    return f"{device}, {versions}, commit {commit}, {date.today()}"


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def draw(panels: dict[str, dict[str, tuple]], path: Path, *, x: str, y: str) -> None:
    """Draws curves {panel: {name: (x, y) or (x, y, least, most)}} beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * len(panels), 3.6), dpi=150, layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, (across, up, *band) in curves.items():
            (line,) = axes.plot(across, up, label=name)
            if band:
                axes.fill_between(across, *band, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


# Contestants in processes of their own that take turns: machines are shared, and JAX fixes its number of devices when it starts.


def serve(measure: Callable[[], Any]) -> None:
    """Says that everything is ready, then measures once for every line of the input."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)


def alternate(commands: dict[str, tuple[list[str], dict[str, str]]], num_rounds: int) -> dict[str, list]:
    """Returns what every contestant measured in each round; a command is `(arguments of Python, what to add to the environment)`.

    All of them, PyTorch too, get the huge pages that the command line of dipjax asks for.
    """
    from dipjax.app import startup

    with contextlib.ExitStack() as ending:  # closes their input, which ends them
        processes = {}
        for name, (arguments, environment) in commands.items():
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            process = subprocess.Popen([sys.executable, *arguments], env=os.environ | startup.HUGE_PAGES | environment, **pipes)
            processes[name] = ending.enter_context(process)
            if process.stdout.readline() != "ready\n":  # one after the other: compilations would only slow each other down
                raise SystemExit(f"{name}: its process failed")
        rounds = {name: [] for name in processes}
        for _ in range(num_rounds):
            for name, process in processes.items():
                process.stdin.write("\n")
                process.stdin.flush()
                reply = process.stdout.readline()
                if not reply:
                    raise SystemExit(f"{name}: its process failed")
                rounds[name].append(json.loads(reply))
    return rounds


def seconds(function: Callable[[], object]) -> float:
    """Returns how long a call takes; it must end only when its work has."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
