"""PNG, JPEG, WebP and BMP, and what of TIFF is a matter of colours: what Pillow converts and tifffile would give as raw numbers."""

import dataclasses
import io
from typing import BinaryIO

import numpy as np
from PIL import Image

from dipjax.files import metadata
from dipjax.files.containers import check_bmp, check_jpeg, check_webp
from dipjax.files.metadata import Metadata
from dipjax.files.opening import check_size
from dipjax.files.picture import ImageError, Raw, opaque, white
from dipjax.files.png import check_png

ORIENTATION = 274  # tag of EXIF and of TIFF
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_TO_GRAY, _TO_RGB = "black and white converted to 8-bit gray", "palette converted to RGB"
_CONVERSIONS = {"1": _TO_GRAY, "P": _TO_RGB, "PA": _TO_RGB, "CMYK": "CMYK converted to RGB"}
_INDEXED = 3  # colour type of PNG: a palette has 8 bits at any depth


def decode_png(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of a PNG file."""
    checked = check_png(file, max_pixels)
    image = opened(io.BytesIO(checked.data), "PNG")
    if checked.depth != 8 and checked.colour != _INDEXED:  # Pillow would halve 16-bit colours in silence
        from imagecodecs import png_decode

        raw = split(png_decode(checked.data), "PNG")
        notes = (_TO_GRAY,) if checked.depth == 1 else ()
        orientation = _orientation(image, Image.Image.getexif)  # that of PNG would decode the picture first
        raw = dataclasses.replace(raw, orientation=orientation, notes=notes)
    else:
        raw = converted(image, "PNG")
    notes = (*raw.notes, *_frames(checked.num_frames), *checked.notes)
    return dataclasses.replace(raw, icc_profile=checked.icc_profile, notes=notes, metadata=metadata.of_png(checked.about))


def decode_jpeg(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of a JPEG file."""
    data, padded = check_jpeg(file, max_pixels)
    image = opened(io.BytesIO(data), "JPEG")
    check_size(*image.size, max_pixels)
    image.load()
    if padded and image.tobytes() != opened(io.BytesIO(padded), "JPEG").tobytes():
        raise ImageError("it is truncated, damaged or cut short: its coded data end before the picture does")
    return converted(image, "JPEG")


def decode_webp(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of a WebP file."""
    return converted(opened(io.BytesIO(check_webp(file, max_pixels)), "WEBP"), "WEBP")


def decode_bmp(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of a BMP file."""
    return converted(opened(io.BytesIO(check_bmp(file, max_pixels)), "BMP"), "BMP")


def decode_colours_of_tiff(file: BinaryIO, index: int = 0) -> Raw:
    """Returns the arrays of one page of a TIFF file with a palette, inks, or coded colours, already turned upright."""
    image = opened(file, "TIFF")
    image.seek(index)
    return converted(image, "TIFF")


def opened(file: BinaryIO, file_format: str) -> Image.Image:
    """Opens a file as one format and no other, without the limit on pixels that Pillow has for the whole program."""
    Image.init()
    return Image.OPEN[file_format][0](file, "")


def _frames(number: int) -> tuple[str, ...]:
    return (f"first of {number} frames",) if number > 1 else ()


def _orientation(image, getexif):
    """Returns the orientation; None where EXIF is damaged."""
    try:
        return getexif(image).get(ORIENTATION)
    except Exception:  # whatever a stranger's bytes make Pillow raise
        return None


def converted(image: Image.Image, file_format: str) -> Raw:
    """Brings the colours of an opened file to gray or RGB of 8 bits."""
    image.load()
    orientation = _orientation(image, type(image).getexif)  # after load, which turns a TIFF itself and drops its tag
    mode = image.mode
    if mode not in _MODES:
        raise ImageError(f"its colours are stored as {mode}; convert it to RGB or gray")
    notes = (_CONVERSIONS[mode],) if mode in _CONVERSIONS else ()
    if file_format not in ("TIFF", "GIF"):  # whose pages are counted elsewhere
        notes = (*notes, *_frames(getattr(image, "n_frames", 1)))
    wanted = ("L" if mode in ("1", "L", "LA") else "RGB") + "A" * image.has_transparency_data
    read, image = image, image if mode == wanted else image.convert(wanted)
    profile = None if mode == "CMYK" else image.info.get("icc_profile")  # that of CMYK describes inks
    about = Metadata() if file_format in ("PNG", "TIFF") else metadata.of_image(read)
    raw = split(np.asarray(image), file_format)
    return dataclasses.replace(raw, orientation=orientation, icc_profile=profile, notes=notes, metadata=about)


def split(samples: np.ndarray, file_format: str) -> Raw:
    """Tells the transparency from the colours of (H, W), or (H, W, C) with C from 1 to 4."""
    samples = samples.reshape(*samples.shape[:2], -1)
    has_alpha = samples.shape[-1] in (2, 4)
    colours, alpha = (samples[..., :-1], samples[..., -1]) if has_alpha else (samples, None)
    return Raw(colours, alpha, file_format, white(samples.dtype), opaque(samples.dtype))
