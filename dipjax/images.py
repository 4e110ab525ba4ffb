"""Pictures in files: the only module that knows uint8, colour modes and the disk.

Inside dipjax an image is float32, (H, W, C), in [0, 1]. `load` brings a file into that layout and keeps in a `Picture`
what the numbers alone do not say (bit depth, transparency, colour profile); `save` uses it to write a result the way
its input was. Nothing else in the library rounds or clips.

Files are untrusted: the first bytes decide the format, the size is checked before decoding, five formats are parsed and
no others, and whatever a decoder raises becomes an `ImageError` of one sentence. Outputs appear complete or not at all.
To add a format, add a row to `_SUFFIXES`, `_MAGIC` and `_DTYPES`, and a case to `_encode`.
"""

import contextlib
import dataclasses
import io
import logging
import math
import os
import secrets
import struct
import textwrap
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
_SUFFIXES |= {".tif": "TIFF", ".tiff": "TIFF"}
_MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP", b"BM": "BMP"}
_MAGIC |= dict.fromkeys([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"], "TIFF")
_DTYPES = {"PNG": ("uint8", "uint16"), "TIFF": ("uint8", "uint16", "float16", "float32", "float64")}  # others: uint8
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}  # limits of libjpeg and libwebp

# Numbers from the TIFF 6.0 tables.
_ORIENTATION, _ICC_PROFILE = 274, 34675  # tags; EXIF has the first one too
_TIFFFILE_COMPRESSIONS = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, deflate again
_TIFFFILE_COLOURS = (0, 1, 2)  # white is zero, black is zero, RGB
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2

# tifffile logs what it then raises. Without any handler Python would print those lines above our one sentence.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class ImageError(ValueError):
    """Says in one sentence why an input file cannot be used."""


class OutputError(OSError):
    """Says in one sentence why an output file cannot be written."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """Holds the pixels of a file and what is needed to write a result the same way."""

    pixels: np.ndarray  # (H, W, C) float32 in [0, 1]; colour only: C is 1 for gray, 3 for RGB, any for TIFF
    alpha: np.ndarray | None  # (H, W) float32 in [0, 1]
    dtype: np.dtype  # of the samples in the file
    file_format: str  # PNG, JPEG, WEBP, BMP or TIFF
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = ()  # what was changed or left out in reading


def load(path: str | os.PathLike, *, max_pixels: int = 64_000_000) -> Picture:
    """Reads the first picture of a PNG, JPEG, WebP, BMP or TIFF file.

    Args:
        path: the file; its content decides the format, not its suffix.
        max_pixels: a larger picture is refused from its header, before anything is decoded.

    Returns:
        A `Picture` with pixels (H, W, C), turned upright, transparency apart, integers divided by their largest value.
        Raises `ImageError` for whatever keeps the file from being read.

    Example:
        >>> picture = load("photo.jpg")
        >>> picture.pixels.shape
        (480, 640, 3)
    """
    path = Path(path)
    with _reading(path) as file:
        file_format = _sniff(file)
        if file_format is None:
            raise ImageError("it is not a PNG, JPEG, WebP, BMP or TIFF picture" if file.read(1) else "it is empty")
        decode = _decode_tiff if file_format == "TIFF" else _decode_with_pillow
        picture = decode(file, file_format, max_pixels)
    if _SUFFIXES.get(path.suffix.lower(), file_format) != file_format:
        note = f"named {path.suffix} but its content is {file_format}"
        picture = dataclasses.replace(picture, notes=(*picture.notes, note))
    return picture


def load_mask(path: str | os.PathLike, shape: tuple[int, int]) -> np.ndarray:
    """Reads a mask from a picture: True where it is lighter than half (white = fill in).

    Args:
        path: any picture that `load` reads; its transparency is ignored.
        shape: the (H, W) that the mask must have.

    Returns:
        Booleans (H, W). Raises `ImageError` if the file cannot be read or has another size.
    """
    mask = load(path).pixels.mean(axis=-1) > 0.5
    if mask.shape != tuple(shape):
        sizes = [f"{width} x {height} pixels" for height, width in (mask.shape, shape)]
        raise ImageError(f"the mask {str(path)!r} is {sizes[0]} but the picture is {sizes[1]}; they must be the same size")
    return mask


def load_psf(path: str | os.PathLike) -> np.ndarray:
    """Reads a blur kernel from a picture, a .npy array, or numbers in a .txt or .csv file.

    Args:
        path: the file. Colours of a picture are averaged; numbers are separated by spaces in .txt, by commas in .csv.

    Returns:
        The kernel (k, l) in float32, divided by its sum. Raises `ImageError` if the file cannot be read, or is not
        two-dimensional, non-negative and somewhere positive.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with _reading(path) as file:
            psf = np.lib.format.read_array(file, allow_pickle=False)
    elif suffix in (".txt", ".csv"):
        with _reading(path) as file:
            psf = np.loadtxt(file, delimiter="," if suffix == ".csv" else None, ndmin=2)
    else:
        psf = load(path).pixels.mean(axis=-1)
    if psf.ndim != 2 or psf.dtype.kind not in "buif":
        raise ImageError(f"the kernel {str(path)!r} is {psf.dtype} of shape {psf.shape}, expected numbers in rows (k, l)")
    psf = psf.astype(np.float64)
    if not ((psf >= 0).all() and 0 < psf.sum() < math.inf):
        raise ImageError(f"the kernel {str(path)!r} must have finite values, none negative and not all zero")
    return (psf / psf.sum()).astype(np.float32)


def check_writable(path: str | os.PathLike, like: Picture, *, factor: int = 1, force: bool = False) -> None:
    """Raises what `save` would raise, before the long computation and without touching the disk.

    Args:
        path: the output file.
        like: the input picture.
        factor: how many times longer than in the input each side of the result will be.
        force: whether an existing file may be replaced.
    """
    height, width, num_channels = like.pixels.shape
    _check_output(Path(path), like, (factor * height, factor * width, num_channels), like.alpha is not None, force)


def save(
    path: str | os.PathLike, pixels: np.ndarray, like: Picture, *, alpha: np.ndarray | None = None, force: bool = False
) -> None:
    """Writes a result in the manner of the picture it was made from, complete or not at all.

    Bit depth, gray or colour, transparency and colour profile are those of `like`; the suffix names the format. Values
    are clipped to [0, 1], the one place in dipjax that does, and rounded to the nearest level. JPEG has quality 95 and
    full colour resolution; WebP is lossless and stores gray as RGB. EXIF tags are not written.

    Args:
        path: the output file; its suffix is .png, .jpg, .jpeg, .webp, .bmp, .tif or .tiff.
        pixels: the result (H', W', C), which may be larger than `like.pixels` (H, W, C).
        like: the input picture.
        alpha: the transparency (H, W) to write, that of `like` if None; resized by Lanczos where the size differs.
        force: whether an existing file may be replaced.

    Returns:
        Nothing. Raises `OutputError` if the file exists, cannot be created, or cannot hold such a picture.

    Example:
        >>> save("photo.denoised.png", result, like=picture)
    """
    path = Path(path)
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim != 3 or pixels.shape[-1] != like.pixels.shape[-1] or pixels.size == 0:
        raise ValueError(f"pixels has shape {pixels.shape}, expected (H, W, {like.pixels.shape[-1]}) as in the input")
    alpha = like.alpha if alpha is None else np.asarray(alpha, np.float32)
    _check_output(path, like, pixels.shape, alpha is not None, force)
    if not np.isfinite(pixels).all():
        raise OutputError(f"cannot write {str(path)!r}: the result has NaN or infinite values")
    if alpha is not None:
        if alpha.shape != pixels.shape[:2]:
            alpha = np.asarray(Image.fromarray(alpha).resize(pixels.shape[1::-1], Image.Resampling.LANCZOS))
        pixels = np.concatenate([pixels, alpha[..., None]], axis=-1)
    samples = np.clip(pixels, 0, 1)
    if like.dtype.kind == "u":
        samples = np.rint(samples * np.float32(np.iinfo(like.dtype).max))
    samples = samples.astype(like.dtype)
    try:
        _write(path, _encode(_SUFFIXES[path.suffix.lower()], samples, alpha is not None, like.icc_profile), force)
    except Exception as error:
        reason = "it already exists; use --force to replace it" if isinstance(error, FileExistsError) else _words(error)
        raise OutputError(f"cannot write {str(path)!r}: {reason}") from error


def default_output(path: str | os.PathLike, word: str) -> Path:
    """Names the output beside its input: 'photo.png' and 'denoised' make 'photo.denoised.png'.

    Args:
        path: the input file.
        word: what was done to it.

    Returns:
        A path with the suffix of the input, or one of its real format where the suffix says something else.
    """
    path = Path(path)
    named, found = _SUFFIXES.get(path.suffix.lower()), None
    with contextlib.suppress(OSError), path.open("rb") as file:
        found = _sniff(file)
    if named and found in (None, named):
        return path.with_name(f"{path.stem}.{word}{path.suffix}")
    suffix = next((suffix for suffix, file_format in _SUFFIXES.items() if file_format == found), ".png")
    return path.with_name(f"{path.stem}.{word}{suffix}")


def to_unit(
    image: np.ndarray, *, channel_axis: int | None, name: str = "image"
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Brings a caller's array into dipjax's layout, and says how to bring a result back.

    Args:
        image: uint8, uint16, or floats in [0, 1]; (H, W), or three axes of which one holds channels.
        channel_axis: the axis that holds the channels, None if there is none; a (H, W) array is gray in any case.
        name: what the caller calls the array, for error messages.

    Returns:
        The image (H, W, C) in float32 in [0, 1], and a function from a result (H', W', C) to a float32 array in the
        layout of `image`, not clipped. Raises ValueError for any other type, shape or range of values.
    """
    array = np.asarray(image)
    kind, shape = array.dtype.kind, array.shape
    if f"{kind}{array.dtype.itemsize}" not in ("u1", "u2", "f2", "f4", "f8"):
        problem = f"has dtype {array.dtype}; use uint8, uint16, or float with values in [0, 1]"
    elif array.size == 0:
        problem = f"is empty, its shape is {shape}; give at least one pixel"
    elif array.ndim not in (2, 3):
        problem = f"has shape {shape}; give one image, (H, W) or (H, W, C)"
    elif array.ndim == 3 and channel_axis is None:
        problem = f"has shape {shape} but no channel_axis; say which axis holds the channels, often -1"
    elif channel_axis is not None and not -array.ndim <= channel_axis < array.ndim and array.ndim == 3:
        problem = f"has shape {shape} and no axis {channel_axis}; give a channel_axis from -3 to 2"
    else:
        problem = _float_problem(array) if kind == "f" else None
    if problem:
        raise ValueError(f"{name} {problem}")
    pixels = array[..., None] if array.ndim == 2 else np.moveaxis(array, channel_axis, -1)

    def restore_layout(result: np.ndarray) -> np.ndarray:
        result = np.asarray(result, np.float32)
        return result[..., 0] if array.ndim == 2 else np.moveaxis(result, -1, channel_axis)

    return _scaled(pixels, np.iinfo(array.dtype).max if kind == "u" else 1), restore_layout


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Opens an untrusted file; whatever goes wrong inside becomes one ImageError."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ImageError("it is a directory" if path.is_dir() else "it is not a regular file")
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield file
    except ImageError as error:
        raise ImageError(f"cannot read {str(path)!r}: {error}") from error
    except Exception as error:
        bad = "" if getattr(error, "strerror", None) else "it is truncated, damaged or of a kind not supported: "
        raise ImageError(f"cannot read {str(path)!r}: {bad}{_words(error)}") from error


def _words(error: Exception) -> str:
    """Says in a few words what a library or the system meant."""
    return getattr(error, "strerror", None) or textwrap.shorten(str(error), 100) or type(error).__name__


def _sniff(file: BinaryIO) -> str | None:
    """Returns the format that the first bytes announce, and rewinds."""
    head = file.read(12)
    file.seek(0)
    found = next((file_format for magic, file_format in _MAGIC.items() if head.startswith(magic)), None)
    return None if found == "WEBP" and head[8:] != b"WEBP" else found


def _scaled(samples: np.ndarray, white: int) -> np.ndarray:
    return np.ascontiguousarray(samples, np.float32) / np.float32(white)


def _float_problem(array: np.ndarray) -> str | None:
    """Says what is wrong with floats that are not all in [0, 1]."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        return f"has {len(bad)} NaN or infinite values, the first at {tuple(bad[0].tolist())}; replace them"
    low, high = array.min(), array.max()
    advice = "divide by 255 if that means white, clip the overshoot, or use uint8 or uint16"
    return None if low >= 0 and high <= 1 else f"has values from {low:.6g} to {high:.6g}, expected [0, 1]; {advice}"


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"it has {width} x {height} pixels, more than {max_pixels:,}; make it smaller first")


def _picture(samples, alpha, white, orientation, file_format, icc_profile, notes) -> Picture:
    """Scales, turns upright by the eight EXIF orientations, and packs: samples (H, W, C) and alpha (H, W) as in the file."""
    dtype, arrays = samples.dtype.newbyteorder("="), []
    for array in (samples, alpha):
        if array is not None and orientation in (5, 6, 7, 8):
            array = array.swapaxes(0, 1)
        if array is not None and orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        if array is not None and orientation in (3, 4, 7, 8):
            array = array[::-1]
        arrays.append(None if array is None else _scaled(array, white))
    if orientation in range(2, 9):
        notes = [*notes, "rotated as its EXIF tag says"]
    return Picture(*arrays, dtype, file_format, icc_profile, tuple(notes))
