"""Reading a picture: bytes that nobody vouches for become a `Picture`, or one `ImageError` of a sentence.

The first bytes decide the format, those of `SUFFIXES` are parsed and no others. What reading may cost is bounded before a decoder starts:

* at most `max_pixels` pixels, 64 million unless the caller says more, and in a TIFF four numbers for each;
* at most 10 bytes of file for each pixel and 64 MiB besides; of a TIFF only what its first page needs is read;
* at most 32 scans and 10,000 markers of a JPEG, 200,000 chunks of a PNG, 4 MiB of run lengths of a BMP;
* at most 200,000 strips or tiles of a TIFF, and 100,000 of its pages are counted;
* at most 16 MiB of colour profile and 1 MiB of any text after unpacking.

So reading takes at most about 32 bytes of memory for each pixel of 8 or 16 bits that the header announces, twice that for float64, and a
time that grows with pixels and bytes. Data that end early and wrong checksums are refused; libraries would fill in black or gray.
To add a format, add its suffixes and first bytes in `opening.py`, a row to `_DECODERS`, and what it can hold in `encode.py`.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np

from dipjax.files.ifd import check_tags
from dipjax.files.metadata import TURNING
from dipjax.files.opening import KINDS, MAX_PIXELS, SUFFIXES, reading, sniff
from dipjax.files.others import decode_avif, decode_fits, decode_gif, decode_heif, decode_jpeg2000, decode_npy, decode_pnm, frames_of_gif
from dipjax.files.picture import ROTATED, ImageError, Picture, Raw, printable, working_dtype
from dipjax.files.raster import decode_bmp, decode_jpeg, decode_png, decode_webp
from dipjax.files.tiff import decode_tiff

_DECODERS = {
    "PNG": decode_png, "JPEG": decode_jpeg, "WEBP": decode_webp, "BMP": decode_bmp, "PNM": decode_pnm, "PBM": decode_pnm,
    "JPEG2000": decode_jpeg2000, "AVIF": decode_avif, "HEIF": decode_heif,
}  # fmt: skip
_OF_PAGES = {"TIFF": decode_tiff, "GIF": decode_gif}
_PAGES = {"TIFF": lambda file: check_tags(file)[0], "GIF": frames_of_gif}


def load(
    path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS, allow_nan: bool = False, allow_complex: bool = False, page: int = 0
) -> Picture:
    """Reads one picture of a file.

    Args:
        path: the file; its content decides the format, not its suffix.
        max_pixels: a larger picture is refused from its header, before anything is decoded.
        page: which one of a TIFF or GIF file, counted from 0; other files have one.
        allow_nan: whether a TIFF may have values that are not numbers, or that GDAL's tag says are no data, because they will be filled
            in: they and infinite ones become NaN. Without it they are an error.
        allow_complex: whether NPY may hold complex numbers, (H, W) or (K, H, W), whose real parts, then imaginary ones, become channels.

    Returns:
        A `Picture` with pixels (H, W, C), turned upright, transparency apart. uint8 and uint16 are divided by their largest value; floats,
        and integers of other types, are read as they are.

    Raises:
        ImageError: whatever keeps the file from being read.

    Examples:
        >>> np.save("scan.npy", np.zeros((8, 6, 3), np.uint16))
        >>> dipjax.files.load("scan.npy").pixels.shape
        (8, 6, 3)
    """
    with reading(path) as file:
        file_format = sniff(file)
        if file_format is None:
            raise ImageError(f"it is not a picture of a kind that is known: {KINDS}" if file.read(1) else "it is empty")
        picture = _developed(_decoded(file, file_format, max_pixels, allow_nan, allow_complex, page))
    suffix = Path(os.fsdecode(path)).suffix
    if SUFFIXES.get(suffix.lower(), file_format) != file_format:
        note = f"named {printable(suffix)} but its content is {file_format}"
        picture = dataclasses.replace(picture, notes=(*picture.notes, note))
    return picture


def _decoded(file, file_format, max_pixels, allow_nan, allow_complex, page):
    if file_format in _OF_PAGES:
        return _OF_PAGES[file_format](file, max_pixels, allow_nan, page)
    if page:
        raise ImageError(f"it has no page {page + 1}, a {file_format} file has one")
    if file_format == "NPY":
        return decode_npy(file, max_pixels, allow_nan, allow_complex)
    return decode_fits(file, max_pixels, allow_nan) if file_format == "FITS" else _DECODERS[file_format](file, max_pixels)


def num_pages(path: str | os.PathLike) -> int:
    """Returns how many pages, or frames, a file has that can be read one by one.

    Raises:
        ImageError: the file at `path` cannot be read at all.
    """
    with reading(path) as file:
        counter = _PAGES.get(sniff(file))
        return counter(file) if counter else 1


def _developed(raw: Raw) -> Picture:
    """Divides the arrays of a file by what is white in them and turns them upright."""
    if raw.samples.size == 0:
        raise ImageError("it has no colours")
    pixels, extra = (_divided(array, raw.white, raw) for array in (raw.samples, raw.extra))
    alpha = _divided(raw.alpha, raw.opaque, raw)
    notes = (*raw.notes, ROTATED) if raw.orientation in range(2, 9) else raw.notes
    icc_profile = raw.icc_profile if isinstance(raw.icc_profile, bytes) and raw.icc_profile else None
    dtype = (raw.dtype or raw.samples.dtype).newbyteorder("=")
    about = raw.metadata.turned() if raw.orientation in TURNING else raw.metadata
    return Picture(pixels, alpha, dtype, raw.file_format, icc_profile, notes, extra, raw.alpha_named, about)


def _divided(array: np.ndarray | None, white: int, raw: Raw) -> np.ndarray | None:
    if array is None:
        return None
    array, dtype = _upright(array, raw.orientation), working_dtype(raw.dtype or raw.samples.dtype)
    return np.divide(array, dtype(white), out=np.empty(array.shape, dtype))  # in one pass: a large picture fits into memory only once


def _upright(array: np.ndarray, orientation: int | None) -> np.ndarray:
    """Undoes the eight EXIF orientations of (H, W) or (H, W, C)."""
    if orientation in TURNING:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array[::-1] if orientation in (3, 4, 7, 8) else array
