"""A folder as people have them, for `reliability`: pictures of every format and kind, and what else lies about.

`valid()` are files that can be restored, `bad()` those that cannot and must be told so, `no_pictures` what a command passes by. To add a
file, add a line.
"""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from skimage import data


class Valid(NamedTuple):
    """A file that can be restored."""

    content: bytes
    size: tuple[int, int]  # (W, H) of what is restored of it
    num_pages: int = 1


def _picture(name, height, width, top=100, left=100):
    """Returns a part of a photograph, shrunk to a third, (height, width, 3)."""
    part = getattr(data, name)()[top : top + 3 * height, left : left + 3 * width]
    part = part if part.ndim == 3 else np.repeat(part[..., None], 3, -1)
    return np.asarray(Image.fromarray(part[..., :3]).resize((width, height), Image.Resampling.LANCZOS))


def _pillow(image, kind, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def _tiff(*pages, **options):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, metadata=None, **{"photometric": "rgb" if page.ndim == 3 else "minisblack"} | options)
    return buffer.getvalue()


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _turned(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


def valid() -> dict[str, Valid]:
    """Returns the files, in all formats that need no more packages than dipjax does."""
    cat, coffee, astronaut = _picture("chelsea", 32, 48), _picture("coffee", 24, 32), _picture("astronaut", 40, 40)
    camera, coins, moon = (_picture(name, *size)[..., 0] for name, size in (("camera", (48, 64)), ("coins", (32, 32)), ("moon", (64, 64))))
    alpha = np.linspace(0, 255, 40 * 40).reshape(40, 40, 1).astype(np.uint8)
    frames = [Image.fromarray(coffee[:, ::step]) for step in (1, -1)]
    size = {"cat": (48, 32), "coffee": (32, 24), "astronaut": (40, 40), "camera": (64, 48), "coins": (32, 32), "moon": (64, 64)}
    found = {
        "cat.png": (_pillow(cat, "PNG"), "cat"),
        "camera.png": (_pillow(camera, "PNG"), "camera"),
        "with alpha.png": (_pillow(np.concatenate([astronaut, alpha], -1), "PNG"), "astronaut"),
        "gray and alpha.png": (_pillow(np.concatenate([astronaut[..., :1], alpha], -1), "PNG"), "astronaut"),
        "palette.png": (_pillow(Image.fromarray(coffee).quantize(32), "PNG"), "coffee"),
        "one bit.png": (_pillow(Image.fromarray(camera).convert("1"), "PNG"), "camera"),
        "gray16.png": (_pillow(moon.astype(np.uint16) * 257, "PNG"), "moon"),
        "rgb16.png": (imagecodecs.png_encode(cat.astype(np.uint16) * 257), "cat"),
        "cat.jpg": (_pillow(cat, "JPEG", quality=80), "cat"),
        "coins.jpeg": (_pillow(coins, "JPEG", quality=80), "coins"),
        "CMYK.jpg": (_pillow(Image.fromarray(coffee).convert("CMYK"), "JPEG"), "coffee"),
        "on its side.jpg": (_pillow(np.rot90(cat), "JPEG", exif=_turned(6)), "cat"),
        "cat.webp": (_pillow(cat, "WEBP", lossless=True), "cat"),
        "with alpha.webp": (_pillow(np.concatenate([astronaut, alpha], -1), "WEBP", lossless=True), "astronaut"),
        "coffee.bmp": (_pillow(coffee, "BMP"), "coffee"),
        "moon.gif": (_pillow(moon, "GIF"), "moon"),
        "moving.gif": (_pillow(frames[0], "GIF", save_all=True, append_images=frames[1:]), "coffee", 2),
        "cat.avif": (_pillow(cat, "AVIF"), "cat"),
        "coins.pgm": (b"P5 32 32 255\n" + coins.tobytes(), "coins"),
        "coffee.ppm": (b"P6\n# from the attic\n32 24\n255\n" + coffee.tobytes(), "coffee"),
        "bits.pbm": (b"P4 32 32\n" + np.packbits(coins > 100, axis=1).tobytes(), "coins"),
        "cat.jp2": (imagecodecs.jpeg2k_encode(cat, level=0, reversible=True, codecformat="jp2"), "cat"),
        "cat.npy": (_npy(cat), "cat"),
        "counts.npy": (_npy(moon.astype(np.float32) * 40 - 300), "moon"),
        "cat.tif": (_tiff(cat, compression="lzw"), "cat"),
        "gray16.tif": (_tiff(camera.astype(np.uint16) * 16, compression="zlib"), "camera"),
        "float.tif": (_tiff(coins.astype(np.float32) / 7 - 3), "coins"),
        "CMYK.tif": (_pillow(Image.fromarray(coffee).convert("CMYK"), "TIFF"), "coffee"),
        "three pages.tif": (_tiff(coins, coins[::-1], coins.T), "coins", 3),
        "a jpeg by name.png": (_pillow(coins, "JPEG", quality=80), "coins"),
        # Names of which a shell, a terminal or a file system may think something else.
        "-rf.png": (_pillow(coins, "PNG"), "coins"),
        "$(touch harm) `touch harm`; touch harm.png": (_pillow(coins, "PNG"), "coins"),
        "two\nlines\x1b[31m.png": (_pillow(coins, "PNG"), "coins"),
        "Ü雪 \u202egnp.png": (_pillow(coins, "PNG"), "coins"),
        os.fsdecode(b"no \xff utf-8.png"): (_pillow(coins, "PNG"), "coins"),
        "{}.png": (_pillow(coins, "PNG"), "coins"),
        "[a-z]*.png": (_pillow(coins, "PNG"), "coins"),
        "n" * 200 + ".png": (_pillow(coins, "PNG"), "coins"),
        "one pixel.png": (_pillow(coins[:1, :1], "PNG"), "one pixel"),
    }
    size["one pixel"] = (1, 1)
    return {name: Valid(content, size[of], *pages) for name, (content, of, *pages) in found.items()}


def bad() -> dict[str, bytes]:
    """Returns what has the name of a picture and cannot be restored."""
    cat, coins = _picture("chelsea", 32, 48), _picture("coins", 32, 32)[..., 0]
    png, jpeg, tiff = _pillow(cat, "PNG"), _pillow(cat, "JPEG"), _tiff(coins, coins)
    huge = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    holes = coins.astype(np.float32)
    holes[3:5, 4] = np.nan
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 16
    return {
        "empty.png": b"",
        "cut.png": png[: len(png) // 2],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.tif": tiff[: len(tiff) // 3],
        "cut.webp": _pillow(cat, "WEBP")[:200],
        "cut.avif": _pillow(cat, "AVIF")[:300],
        "one bit flipped.png": bytes(flipped),
        "a text.png": b"This is no picture.\n",
        "a page.jpg": b"<!doctype html><title>404</title>",
        "a script.bmp": b"#!/bin/sh\ntouch harm\n",
        "zeros.tif": bytes(1000),
        "huge.png": png[:16] + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge)) + png[33:],
        "huge.pgm": b"P5 99999 99999 255\n" + bytes(100),
        "no width.ppm": b"P6 0 10 255\n",
        "holes.tif": _tiff(holes),
        "infinite.npy": _npy(np.where(np.isnan(holes), np.inf, holes)),
        "objects.npy": _npy(np.array([[{}, 1], [2, 3]], object)),
        "one axis.npy": _npy(np.arange(10.0)),
        "complex.npy": _npy(coins * 1j),
    }


def write(folder: Path, number: int, random: np.random.Generator) -> tuple[dict[str, Valid], list[str]]:
    """Writes so many files, or a part of them; returns which of them are valid, and the names of the others that a command finds."""
    good, others = valid(), bad()
    share = min(1.0, number / (len(good) + len(others)))
    chosen = {name for names in (good, others) for name in random.permutation(list(names))[: max(1, round(share * len(names)))]}
    good, others = ({name: found[name] for name in found if name in chosen} for found in (good, others))
    for name, content in [*((name, one.content) for name, one in good.items()), *others.items()]:
        (folder / name).write_bytes(content)
    (folder / "a folder.png").mkdir()
    (folder / "to nowhere.png").symlink_to("nowhere.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    os.mkfifo(folder / "a pipe.png")
    unreadable = folder / "unreadable.png"
    unreadable.write_bytes(others.get("cut.png", b""))  # which the administrator may read
    unreadable.chmod(0)
    return good, [*others, unreadable.name]
