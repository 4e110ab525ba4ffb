"""TIFF: the format of what does not fit elsewhere, more channels, floats, numbers in units of their own.

tifffile reads the numbers. Here is what it leaves open: whether all of them are in the file, and what reading them may cost. What they mean
is in `samples.py`; `check_tags` of `ifd.py` runs before tifffile sees the file.
"""

import dataclasses
import logging
import math
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from dipjax.files import metadata
from dipjax.files.containers import check_scans
from dipjax.files.ifd import MOST_PAGES, check_tags
from dipjax.files.opening import check_size
from dipjax.files.picture import DATA_TYPES, ROTATED, ImageError, Raw
from dipjax.files.raster import ORIENTATION, decode_colours_of_tiff
from dipjax.files.samples import MEANINGS, Page, meaning

if TYPE_CHECKING:
    from tifffile import TiffPage

# Numbers from the TIFF 6.0 tables.
_BITS_PER_SAMPLE, _ICC_PROFILE, _NODATA = 258, 34675, 42113  # the last is of GDAL
_COMPRESSIONS = (1, 5, 8, 32773, 32946, 50000)  # none, LZW, deflate, PackBits, deflate again, Zstandard
_JPEG = (6, 7)
_MOST_BYTES_OF_TAGS = 2**28  # Pillow reads all tags, also what an editor keeps for itself

# tifffile logs what it then raises. Without any handler Python would print those lines above our one sentence.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode_tiff(file: BinaryIO, max_pixels: int, allow_nan: bool, index: int = 0) -> Raw:
    """Returns the arrays of one page of a TIFF file."""
    import tifffile

    num_pages, bytes_of_tags = check_tags(file, index)
    if index >= num_pages:
        raise ImageError(f"it has no page {index + 1}")
    length = file.seek(0, 2)
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[index]
        _check_cost(page, max_pixels)
        _check_segments(page, length)
        orientation, icc_profile, nodata = (page.tags.valueof(tag) for tag in (ORIENTATION, _ICC_PROFILE, _NODATA))
        if page.compression not in _COMPRESSIONS or page.photometric not in MEANINGS:
            raw = _colours(file, page, bytes_of_tags, index)
            raw = dataclasses.replace(raw, notes=(*raw.notes, *[ROTATED] * (orientation in range(2, 9))))
        else:
            _check_samples(page)
            samples = page.asarray()
            samples = np.moveaxis(samples, 0, -1) if page.axes == "SYX" else samples.reshape(*samples.shape[:2], -1)
            raw = meaning(samples, Page(page.photometric, page.bitspersample, tuple(page.extrasamples), nodata), allow_nan)
            raw = dataclasses.replace(raw, orientation=orientation, icc_profile=icc_profile)
        about = metadata.of_tiff(page, num_pages)
        if raw.orientation is None and orientation in metadata.TURNING:  # turned by Pillow already
            about = about.turned()
    which, more = f"page {index + 1}" if index else "first", "more than " * (num_pages == MOST_PAGES)
    pages = (f"{which} of {more}{num_pages:,} pages",) if num_pages > 1 else ()
    return dataclasses.replace(raw, metadata=about, notes=(*pages, *raw.notes))


def _check_cost(page: "TiffPage", max_pixels: int) -> None:
    check_size(page.imagewidth, page.imagelength, max_pixels)
    if max(page.size, math.prod(map(int, page.chunks))) > 4 * max_pixels:  # a tile may claim to be larger than the picture
        advice = "make it smaller, or lift the limit with max_pixels (--max-pixels N)"
        raise ImageError(f"it announces more than {4 * max_pixels:,} numbers to decode; {advice}")


def _check_segments(page: "TiffPage", length: int) -> None:
    """Raises ImageError unless all strips or tiles are in the file: tifffile fills in black for those that are not."""
    needed = math.prod(page.chunked)
    offsets, counts = page.dataoffsets[:needed], page.databytecounts[:needed]
    found = sum(start > 0 and count > 0 and start + count <= length for start, count in zip(offsets, counts, strict=False))
    if found < needed:
        raise ImageError(f"it is truncated, damaged or cut short: it has {found:,} of {needed:,} strips or tiles")


def _check_samples(page: "TiffPage") -> None:
    if page.samplesperpixel > 1 and _BITS_PER_SAMPLE not in page.tags:  # tifffile would go on with one bit
        raise ImageError("it is truncated or damaged, its BitsPerSample tag cannot be read")
    if page.dtype is None or page.dtype.name not in (*DATA_TYPES, "bool"):
        raise ImageError(f"its samples are {page.dtype}; convert them to uint8, uint16, or float32")
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"its layout {page.axes} {page.shape} is not one picture; save one gray or RGB page")


def _colours(file: BinaryIO, page: "TiffPage", bytes_of_tags: int, index: int) -> Raw:
    """Has Pillow convert what it can: JPEG, fax, palette, CMYK, YCbCr; tifffile gives the raw numbers of these."""
    if page.bitspersample > 8:  # Pillow would halve them in silence
        what = f"{page.bitspersample}-bit samples with {page.compression!r} and {page.photometric!r}"
        raise ImageError(f"it has {what}, which cannot be read; save it as gray or RGB with deflate")
    if bytes_of_tags > _MOST_BYTES_OF_TAGS:
        raise ImageError(f"it has {bytes_of_tags:,} bytes in its tags, expected at most {_MOST_BYTES_OF_TAGS:,}; save it anew")
    if page.compression in _JPEG:
        for start, length in zip(page.dataoffsets, page.databytecounts, strict=False):
            file.seek(start)
            check_scans(file.read(length))
    file.seek(0)
    return decode_colours_of_tiff(file, index)
