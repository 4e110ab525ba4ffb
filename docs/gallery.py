"""Makes the gallery: one real result of every task, from photographs that come with scikit-image, by the commands that the page shows.

    python docs/gallery.py FOLDER

Inputs and results lie in FOLDER; what is there is not made again, so that the same command goes on. Then the strips are put into
docs/pages/figures and the page into docs/pages/gallery.md. On two cores all of it takes about an hour.
"""

import contextlib
import io
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from skimage import data, transform

import dipjax
from benchmarks import common, deblurring, photographs
from dipjax.operators import Bayer, Blur, Fourier, Radon, fourier, radon

PAGES = Path(__file__).parent / "pages"
SIDE = 128
_MOST = 4  # panels beside one another


def reduced(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Returns a square picture `(H, W)` or `(H, W, C)` in [0, 1] with so many pixels along a side, `(H, W, C)`."""
    picture = picture[..., None] if picture.ndim == 2 else picture
    return np.float32(transform.resize(picture, (side, side), anti_aliasing=len(picture) > side).clip(0, 1))


def cut(name: str, top: int, left: int, side: int = SIDE) -> np.ndarray:
    """Returns a square of a photograph, `reduced`."""
    return reduced(getattr(data, name)()[top : top + side, left : left + side] / 255)


def noisy(picture, sigma, seed=0):
    """Returns a picture with normal noise."""
    return picture + np.random.default_rng(seed).normal(0, sigma, picture.shape)


class Shown(NamedTuple):
    """One task: what it is given, and how."""

    heading: str
    about: str  # of the picture, and what was done to it
    make: Callable[[], dict[str, np.ndarray]]  # the files of the input, and "truth", which the command does not see
    words: tuple[str, ...]  # of the command
    output: str = "result.png"
    is_scored: bool = True  # where tones are changed on purpose, a PSNR says nothing


def with_text():
    """Returns a photograph with words over it."""
    truth = cut("rocket", 60, 220)
    page = Image.new("L", (SIDE, SIDE))
    for row in range(0, SIDE, 14):
        ImageDraw.Draw(page).text((3, row), "deep image prior in JAX", fill=255)
    mask = np.asarray(page)[..., None] > 100
    return {"picture.png": np.where(mask, 0, truth), "mask.png": np.float32(mask), "truth": truth}


def salted():
    """Returns a photograph with salt and pepper."""
    truth = cut("coffee", 60, 180, 256)
    draw = np.random.default_rng(0).random((SIDE, SIDE, 1))
    return {"picture.png": np.where(draw < 0.1, 0, np.where(draw > 0.9, 1, truth)), "truth": truth}


def strong_jpeg():
    """Writes a photograph as JPEG of low quality."""
    truth, file = cut("coffee", 60, 180, 256), Path("picture.jpg")
    Image.fromarray(np.uint8(np.rint(truth * 255))).save(file, quality=10)
    return {"truth": truth}


def old_photograph():
    """Returns a faded photograph with damage."""
    truth = reduced(data.camera()[20:276, 110:366] / 255, 2 * SIDE)
    faded, pieces = photographs.damaged(0.2 + 0.55 * truth, np.random.default_rng(3))
    marked = reduced(np.any([opacity > 0.02 for _, opacity in pieces], 0).astype(float)) > 0.01
    return {"scan.png": reduced(faded) * np.float32([1.0, 0.88, 0.7]), "mask.png": np.float32(marked), "truth": reduced(truth)}


def dark():
    """Returns a dark photograph, and one with flash."""
    truth = cut("coffee", 60, 180, 256)
    flashed = (truth * [0.85, 1.0, 1.15] * 1.1 + 0.05 * gaussian_filter(truth, (9, 9, 0))).clip(0, 1)
    return {"dark.png": noisy(0.5 * truth, 0.08), "flash.png": noisy(flashed, 0.01, 1), "truth": 0.5 * truth}


def by_hand():
    """Returns a photograph blurred by a hand."""
    side, margin = SIDE + deblurring.SIDE - 1, deblurring.SIDE // 2
    wide = reduced(data.astronaut()[0:178, 141:319] / 255, side)
    truth = wide[margin:-margin, margin:-margin]
    blurred = Blur(deblurring.trembling(1), "valid")(wide)
    return {"picture.png": noisy(np.asarray(blurred), 1 / 255), "truth": truth}


def small():
    """Returns a photograph with a sixteenth of its pixels."""
    truth = cut("chelsea", 40, 120, 192)
    return {"small.png": reduced(truth, 32), "truth": truth}


def sinogram():
    """Returns 30 views of a phantom."""
    truth = reduced(data.shepp_logan_phantom())
    return {"sinogram.tif": np.asarray(Radon(radon.views(30), SIDE)(truth)), "truth": truth}


def spectrum():
    """Writes a fourth of the lines of a spectrum."""
    truth = reduced(data.retina()[300:1100, 300:1100, 1] / 255)
    np.save("kspace.npy", np.asarray(Fourier(fourier.cartesian((SIDE, SIDE), 4.0))(truth))[..., 0])
    return {"truth": truth}


TASKS = {
    "denoise": Shown(
        "Noise", "Astronaut, normal noise of sigma 25/255",
        lambda: {"picture.png": noisy(cut("astronaut", 0, 150, 160), 25 / 255), "truth": cut("astronaut", 0, 150, 160)},
        ("denoise", "picture.png", "--uncertainty", "error.tif"),
    ),
    "salt": Shown("Black and white pixels", "Coffee, a fifth of the pixels black or white", salted, ("denoise", "picture.png")),
    "dejpeg": Shown("Strong compression", "Coffee, JPEG of quality 10", strong_jpeg, ("dejpeg", "picture.jpg")),
    "inpaint": Shown("Text over it", "Rocket", with_text, ("inpaint", "picture.png", "--mask", "mask.png")),
    "restore-photo": Shown(
        "An old photograph",
        "Cameraman, faded, in sepia, with scratches, dust and grain. The damage is marked by a mask: without one about half of it is found",
        old_photograph, ("restore-photo", "scan.png", "--mask", "mask.png", "--fading", "undo", "--colour", "neutral"), is_scored=False,
    ),
    "superres": Shown(
        "Too few pixels", "Chelsea, a fourth of the pixels along each side",
        small,
        ("superres", "small.png", "--kernel", "bicubic", "--uncertainty", "error.tif"),
    ),
    "flash": Shown("A flash picture helps", "Coffee, dark and noisy, and with flash", dark, ("flash", "dark.png", "--flash", "flash.png")),
    "deblur": Shown(
        "Blur that is known", "Rocket, Gaussian of 1.5 pixels, noise of sigma 1/255",
        lambda: {"picture.png": noisy(gaussian_filter(cut("rocket", 60, 220), (1.5, 1.5, 0)), 1 / 255), "truth": cut("rocket", 60, 220)},
        ("deblur", "picture.png", "--gaussian", "1.5"),
    ),
    "deblur-unknown": Shown(
        "Blur that is not known", "Astronaut, blurred by a trembling hand", by_hand,
        ("deblur", "picture.png", "--unknown", "15", "--found", "psf.png", "--seeds", "4"),
    ),
    "demosaic": Shown(
        "A camera's raw picture", "Chelsea behind a Bayer mosaic",
        lambda: {"raw.png": np.asarray(Bayer("RGGB")(cut("chelsea", 40, 120))), "truth": cut("chelsea", 40, 120)},
        ("demosaic", "raw.png"),
    ),
    "ct": Shown(
        "30 views of a tomograph", "Shepp and Logan's phantom", sinogram, ("ct", "sinogram.tif", "--angles", "0,180"), "result.tif",
    ),
    "mri": Shown("A fourth of a spectrum", "Retina, every fourth line", spectrum, ("mri", "kspace.npy"), "result.tif"),
}  # fmt: skip


def command(task: Shown) -> list[str]:
    """Returns the words of the command."""
    return ["dipjax", *task.words, "-o", task.output, *([] if "--seeds" in task.words else ["--seeds", "2"])]


def run(task: Shown, folder: Path) -> None:
    """Makes the input and the result of a task, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "record.json").exists():
        return
    with contextlib.chdir(folder):
        for name, picture in task.make().items():
            if name.endswith(".tif"):
                tifffile.imwrite(name, np.float32(picture))
            else:
                common.save(Path(name).with_suffix(".png"), picture)
        done = subprocess.run([sys.executable, "-m", *command(task), "--force", "--json", "record.json"], check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command(task))} ended with {done.returncode}")


def read(path: Path) -> np.ndarray:
    """Returns a picture `(H, W, C)` in [0, 1]; of a spectrum its logarithm."""
    if path.suffix == ".npy":
        strength = np.log1p(np.abs(np.load(path)))
        return (strength / strength.max())[..., None]
    picture = dipjax.files.load(path).pixels
    return picture / max(1.0, float(picture.max()))


def panels(task: Shown, folder: Path) -> dict[str, np.ndarray]:
    """Returns what is shown of a task, by what is written below."""
    record = json.loads((folder / "record.json").read_text())
    truth, before, result = (read(folder / name) for name in ("truth.png", task.words[1], task.output))

    def named(name, picture, *more):
        is_scored = task.is_scored and picture.shape == truth.shape
        score = [f"{dipjax.metrics.psnr(picture.clip(0, 1), truth):.1f} dB"] if is_scored else []
        return ", ".join([name, *score, *more])

    is_spectrum = task.words[1].endswith(".npy")  # which has the shape of a picture
    seconds = f"{record['seconds'] + record['compile_seconds']:.0f} s"
    shown = {"input" if is_spectrum else named("input", before): before, named("result", result, seconds): result}
    if (folder / "error.tif").exists():
        error = read(folder / "error.tif").mean(-1, keepdims=True)
        shown[f"uncertainty, white is {error.max():.2f}"] = error / error.max()
    if (folder / "psf.png").exists():
        shown["the blur that was found"] = read(folder / "psf.png")
    if (folder / "mask.png").exists():
        shown["the mask"] = read(folder / "mask.png")
    return shown | {"the original": truth}


def strip(task: Shown, folder: Path) -> bytes:
    """Returns the panels beside one another, as JPEG."""
    shown = panels(task, folder)
    sheet = Figure(figsize=(2.4 * _MOST, 2.65), dpi=100, layout="constrained")
    for axis, (words, picture) in zip(sheet.subplots(1, _MOST), [*shown.items()] + [("", None)] * (_MOST - len(shown)), strict=True):
        axis.set_axis_off()
        if picture is not None:
            axis.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(words, fontsize=8)
    file = io.BytesIO()
    sheet.savefig(file, format="jpeg", pil_kwargs={"quality": 88})
    return file.getvalue()


def page(names: list[str]) -> str:
    """Returns the page of the gallery."""
    lines = [
        "# Gallery",
        "",
        "One result of every task, made by `python docs/gallery.py` from photographs that come with scikit-image: 128 x 128",
    ]
    lines += [f"pixels, two seeds unless the command says otherwise; {common.made()}. PSNR: all channels, range 1, clipped.", ""]
    for name in names:
        task = TASKS[name]
        lines += [f"## {task.heading}", "", f"{task.about}.", "", "```bash", shlex.join(command(task)), "```", ""]
        lines += [f"![{task.about.partition('. ')[0]}: the input, the result, and the original](figures/gallery_{name}.jpg)", ""]
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Makes all of it, as far as it is not there."""
    for name, task in TASKS.items():
        run(task, folder / name)
        (PAGES / "figures" / f"gallery_{name}.jpg").write_bytes(strip(task, folder / name))
        print(f"{name}: done", flush=True)
    (PAGES / "gallery.md").write_text(page(list(TASKS)))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
