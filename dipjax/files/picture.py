"""The record of a picture, its two errors, and what the numbers of a file mean.

uint8 and uint16 are shares of white: they are divided by their largest value. Floats, and integers of any other type (counts, heights,
Hounsfield units), are numbers in units of their own: they are read as they are and written back in the same unit.
"""

import dataclasses
import textwrap

import numpy as np

from dipjax.files.metadata import Metadata

ROTATED = "rotated as its EXIF tag says"
DATA_TYPES = ("uint8", "uint16", "int8", "int16", "int32", "uint32", "float16", "float32", "float64")


class ImageError(ValueError):
    """Says in one sentence why an input file cannot be used."""


class OutputError(OSError):
    """Says in one sentence why an output file cannot be written."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """Holds the pixels of a file and what is needed to write a result the same way.

    Damage that was erased to transparent becomes opaque where `mask` (H, W) has been filled in by
    `save(path, result, picture, alpha=np.where(mask, 1, picture.alpha))`.

    Attributes:
        pixels: (H, W, C) float32, float64 for types it cannot hold; colour only: C is 1 for gray, 3 for RGB, any for TIFF.
        alpha: (H, W) as pixels, in [0, 1]; None without transparency.
        dtype: of the samples in the file.
        file_format: one of the values of `opening.SUFFIXES`, such as PNG.
        icc_profile: the colour profile, None without one.
        notes: what was changed or left out in reading.
        extra: (H, W, E) as pixels, samples of a TIFF that are neither colour nor alpha: carried along.
        alpha_named: whether a TIFF says that it is transparency; if not, the output does not say so either.
        metadata: of the picture as the file has it.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    dtype: np.dtype
    file_format: str
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = ()
    extra: np.ndarray | None = None
    alpha_named: bool = True
    metadata: Metadata = Metadata()


@dataclasses.dataclass(frozen=True, eq=False)
class Raw:
    """Holds the arrays of a file as they are, neither turned upright nor divided, and what they mean.

    Attributes:
        samples: (H, W, C) colours.
        alpha: (H, W).
        file_format: as in `Picture`, like what is not named here.
        white: the sample that becomes 1.
        opaque: the sample of alpha that becomes 1.
        orientation: of EXIF and TIFF, 1 to 8.
        extra: (H, W, E).
        dtype: of the file, if samples has become another.
    """

    samples: np.ndarray
    alpha: np.ndarray | None
    file_format: str
    white: int
    opaque: int
    orientation: int | None = None
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = ()
    extra: np.ndarray | None = None
    alpha_named: bool = True
    metadata: Metadata = Metadata()
    dtype: np.dtype | None = None


def parts(array: np.ndarray) -> np.ndarray:
    """Returns complex numbers `(H, W)` or `(K, H, W)` as channels `(H, W, 2 K)`: all real parts, then all imaginary ones."""
    planes = array.reshape(-1, *array.shape[-2:])
    return np.moveaxis(np.concatenate([planes.real, planes.imag]), 0, -1)


def joined(channels: np.ndarray) -> np.ndarray:
    """Returns the complex numbers `(K, H, W)` of which these are the `parts`."""
    real, imaginary = np.split(np.moveaxis(channels, -1, 0), 2)
    return real + 1j * imaginary


def white(dtype: np.dtype) -> int:
    """Returns the sample that becomes 1: the largest of uint8 and uint16, 1 for numbers in units of their own."""
    return np.iinfo(dtype).max if np.dtype(dtype).name in ("uint8", "uint16") else 1


def opaque(dtype: np.dtype) -> int:
    """Returns the sample of alpha that becomes 1."""
    return np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1


def working_dtype(dtype: np.dtype) -> type[np.floating]:
    """Returns float32, or float64 where float32 would lose digits."""
    return np.float64 if np.dtype(dtype).itemsize > (4 if np.dtype(dtype).kind == "f" else 2) else np.float32


def without_infinities(samples: np.ndarray, allow_nan: bool) -> np.ndarray:
    """Returns floats whose infinite values are NaN; raises ValueError with a phrase if there are any of both and none is allowed."""
    bad = ~np.isfinite(samples)
    if not bad.any():
        return samples
    if not allow_nan:
        first = tuple(map(int, np.unravel_index(bad.argmax(), bad.shape)))
        raise ValueError(f"has {np.count_nonzero(bad):,} NaN or infinite values, the first at {first}; fill them in by inpainting")
    return np.where(bad, samples.dtype.type(np.nan), samples)


def printable(text: str) -> str:
    """Escapes in a text what a terminal would obey instead of show: control characters, newlines, marks of direction, lone surrogates.

    Examples:
        >>> dipjax.files.printable("a\\x1b[31m.png")
        'a\\\\x1b[31m.png'
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def words(error: Exception) -> str:
    """Says in a few words what a library or the system meant."""
    return printable(getattr(error, "strerror", None) or textwrap.shorten(str(error), 100) or type(error).__name__)
