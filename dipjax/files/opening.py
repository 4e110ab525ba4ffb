"""Opening an untrusted file: its name, its kind, and the bounds on what reading it may cost.

Whatever goes wrong while a file is read becomes an `ImageError` of one sentence. Before a decoder sees anything, the size of the picture is
read from its header and the length of the file is compared with it: see `check_size` and `check_length`.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dipjax.files.picture import ImageError, words

SUFFIXES = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF",
    ".pbm": "PBM", ".pgm": "PNM", ".ppm": "PNM", ".pnm": "PNM", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".jpx": "JPEG2000",
    ".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".npy": "NPY", ".fits": "FITS", ".fit": "FITS",
}  # fmt: skip
ONLY_READ = ("GIF", "HEIF", "PBM")
KINDS = "PNG, JPEG, WebP, BMP, TIFF, GIF, Netpbm, JPEG 2000, AVIF, HEIC, NumPy, FITS"
_MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP", b"BM": "BMP"}
_MAGIC |= {b"GIF87a": "GIF", b"GIF89a": "GIF", b"\xff\x4f\xff\x51": "JPEG2000", b"\0\0\0\x0cjP  ": "JPEG2000"}
_MAGIC |= {b"\x93NUMPY": "NPY", b"SIMPLE  =": "FITS"} | {b"P%d" % kind: "PBM" if kind in (1, 4) else "PNM" for kind in range(1, 7)}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys([b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"], "HEIF")
_MAGIC |= dict.fromkeys([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"], "TIFF")

MAX_PIXELS = 64_000_000
MORE_THAN_PIXELS = 64 * 2**20  # bytes of profiles, thumbnails, and of further frames, which may be in a file besides its picture
_BYTES_PER_PIXEL = 10  # the most that a format needs is 8, for four samples of 16 bits that do not compress


def named(path: str | os.PathLike, error: type[Exception]) -> Path:
    """Returns the path that a name means; raises `error` if it names nothing, as that of an unset shell variable."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise error(f"{path!r} is not the name of a file") from None
    if not text.strip():
        raise error(f"the name {text!r} is empty; is it a variable that is not set?")
    if "\0" in text:
        raise error(f"the name {text!r} has a NUL character; no file can have that")
    if text.endswith(("/", os.sep)):
        raise error(f"the name {text!r} ends in a slash, it is that of a directory; give the name of a file")
    return Path(text)


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens an untrusted file; whatever goes wrong inside becomes one ImageError."""
    path = named(path, ImageError)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ImageError("it is a directory" if path.is_dir() else "it is not a regular file")
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield file
    except ImageError as error:
        raise ImageError(f"cannot read {str(path)!r}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"cannot read {str(path)!r}: there is not enough memory; make the picture smaller first") from error
    except Exception as error:
        bad = "" if getattr(error, "strerror", None) else "it is truncated, damaged or of a kind not supported: "
        raise ImageError(f"cannot read {str(path)!r}: {bad}{words(error)}") from error


def sniff(file: BinaryIO) -> str | None:
    """Returns the format that the first bytes announce, and rewinds."""
    head = file.read(12)
    file.seek(0)
    found = next((file_format for magic, file_format in _MAGIC.items() if head.startswith(magic)), None)
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if (found == "WEBP" and head[8:] != b"WEBP") or (found in ("PNM", "PBM") and not head[2:3].isspace() and head[2:3] != b"#"):
        return None
    return found


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ImageError unless a picture has at least one pixel and at most `max_pixels`."""
    width, height = int(width), int(height)  # a damaged TIFF has tuples here
    if width <= 0 or height <= 0:
        raise ImageError(f"it has {width} x {height} pixels, expected at least one")
    if width * height > max_pixels:
        size = f"{width} x {height} = {width * height:,} pixels"
        advice = "make it smaller, or lift the limit with max_pixels (--max-pixels N)"
        raise ImageError(f"it has {size}, more than the limit of {max_pixels:,}; {advice}")


def most_bytes(num_pixels: int) -> int:
    """Returns how long the file of a picture may be."""
    return MORE_THAN_PIXELS + _BYTES_PER_PIXEL * num_pixels


def check_length(length: int, width: int, height: int) -> None:
    """Raises ImageError if a file has far more bytes than its picture can need."""
    limit = most_bytes(width * height)
    if length > limit:
        raise ImageError(f"it has {length:,} bytes, expected at most {limit:,} for {width} x {height} pixels; save it anew")
