"""GIF, Netpbm, JPEG 2000, AVIF, HEIC, NumPy's arrays and FITS.

What the size of a picture is stands in its header and is checked before a decoder allocates. HEIC needs the package pillow-heif, FITS the
package astropy; both are told so where they are missing.
"""

import contextlib
import dataclasses
import io
import itertools
import re
import struct
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image

from dipjax.files.containers import TRUNCATED, whole
from dipjax.files.metadata import TURNING
from dipjax.files.opening import MAX_PIXELS, check_length, check_size
from dipjax.files.picture import DATA_TYPES, ROTATED, ImageError, Raw, parts, white
from dipjax.files.raster import converted, opened, split
from dipjax.files.samples import own_units

_TOKEN = re.compile(rb"(?:\s|#[^\n]*\n)*([0-9]+)")
_SIZ = b"\xff\x4f\xff\x51"  # the beginning of a JPEG 2000 stream and of its size
_DEPTHS = re.compile(rb"pixi\0{4}[\1-\4]([\x08\x0a\x0c\x10]{1,4})", re.DOTALL)  # the property of a picture with the bits of each channel
_MOST_CHANNELS, _MOST_FRAMES, _MOST_PARTS = 512, 10_000, 1000
_MOST_BYTES_OF_DIGITS = 8  # of a number that is written out, blanks included


def decode_gif(file: BinaryIO, max_pixels: int, allow_nan: bool, page: int = 0) -> Raw:
    """Returns the arrays of one frame of a GIF file."""
    del allow_nan
    return _of_pillow(file, max_pixels, "GIF", page)


def frames_of_gif(file: BinaryIO) -> int:
    """Returns how many frames a GIF file has, at most `_MOST_FRAMES`."""
    image, number = opened(file, "GIF"), 1
    check_size(*image.size, MAX_PIXELS)
    with contextlib.suppress(EOFError):
        while number < _MOST_FRAMES:
            image._seek(number, False)  # skips it without unpacking it
            number += 1
    return number


def decode_avif(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of an AVIF file, in 8 bits."""
    return _of_media(file, max_pixels, "AVIF")


def decode_heif(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of a HEIC file, in 8 bits."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError("it is HEIC, for which there must be the package pillow-heif; install it, or save the picture as PNG") from None
    register_heif_opener()
    return _of_media(file, max_pixels, "HEIF")


def _of_media(file, max_pixels, file_format):
    raw = _of_pillow(file, max_pixels, file_format)
    file.seek(0)
    most = max((depth for found in _DEPTHS.finditer(file.read()) for depth in found[1]), default=8)
    notes = (f"{most} bits converted to 8",) if most > 8 else ()
    return dataclasses.replace(raw, notes=(*raw.notes, *notes))


def _of_pillow(file, max_pixels, file_format, page=0):
    length = whole(file)
    check_length(length, max_pixels, 1)  # some decoders read all of it before they tell the size
    Image.init()
    if file_format not in Image.OPEN:
        raise ImageError(f"it is {file_format}, which Pillow cannot read here; save it as PNG")
    image = opened(file, file_format)
    check_size(*image.size, max_pixels)
    check_length(length, *image.size)
    try:
        for number in range(1, page + 1):
            image.seek(number)
            check_size(*image.size, max_pixels)  # a frame may be larger than those before
    except EOFError:
        raise ImageError(f"it has no page {page + 1}") from None
    raw = converted(image, file_format)
    turned = image.info.get("original_orientation")  # of pillow-heif, which has turned it
    notes = (*raw.notes, *[ROTATED] * (turned in range(2, 9)))
    return dataclasses.replace(raw, notes=notes, metadata=raw.metadata.turned() if turned in TURNING else raw.metadata)


def decode_pnm(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of a PBM, PGM or PPM file, plain or raw."""
    length, kind = whole(file), int(file.read(2)[1:])
    head, place, numbers = file.read(2**16), 0, []
    for _ in range(2 if kind in (1, 4) else 3):
        if not (match := _TOKEN.match(head, place)) or len(match[1]) > 9:
            raise ImageError("it is damaged, its header has no size")
        numbers.append(int(match[1]))
        place = match.end()
    width, height, largest = (*numbers, 1)[:3]
    if not 1 <= largest <= 65535:
        raise ImageError(f"its largest value is {largest}, expected 1 to 65535")
    check_size(width, height, max_pixels)
    check_length(length, width, height)
    file.seek(2 + place + (kind > 3))  # one blank after the header of what is raw
    channels = 3 if kind in (3, 6) else 1
    shape, dtype = (height, width, channels), np.dtype(">u2" if largest > 255 else np.uint8)
    if kind == 4:
        bits = np.frombuffer(_exactly(file, height * -(-width // 8)), np.uint8).reshape(height, -1)
        samples = np.unpackbits(bits, axis=1)[:, :width, None]
    elif kind > 3:
        samples = (
            np.frombuffer(_exactly(file, height * width * channels * dtype.itemsize), dtype).reshape(shape).astype(dtype.newbyteorder("="))
        )
    else:
        samples = _plain(file, shape, largest, is_bits=kind == 1).astype(dtype.newbyteorder("="))
    if (samples > largest).any():
        raise ImageError(f"it is damaged, it has values above its largest, {largest}")
    if kind in (1, 4):  # in which 1 is black
        raw = split((1 - samples) * np.uint8(255), "PBM")
        return dataclasses.replace(raw, notes=("black and white converted to 8-bit gray",))
    return Raw(samples, None, "PNM", largest, largest)


def _plain(file, shape, largest, *, is_bits):
    """Returns the numbers that are written out in digits."""
    number = shape[0] * shape[1] * shape[2]
    text = re.sub(rb"#[^\n]*", b"", file.read(_MOST_BYTES_OF_DIGITS * number + 2**16))
    try:
        if is_bits:
            codes = np.frombuffer(text, np.uint8)
            samples = codes[~np.isin(codes, list(b" \t\r\n\v\f"))][:number].astype(np.int64) - ord("0")
        else:
            samples = np.fromstring(text.decode("ascii"), np.int64, sep=" ")[:number]
    except (ValueError, DeprecationWarning):
        raise ImageError("it is damaged, it has words that are no numbers") from None
    if samples.size < number:
        raise ImageError(f"{TRUNCATED}: it has {samples.size:,} of {number:,} numbers")
    if samples.min() < 0 or samples.max() > largest:
        raise ImageError(f"it is damaged, it has values below 0 or above its largest, {largest}")
    return samples.reshape(shape)


def _exactly(file, number):
    data = file.read(number)
    if len(data) < number:
        raise ImageError(f"{TRUNCATED}: it has {len(data):,} of {number:,} bytes")
    return data


def decode_jpeg2000(file: BinaryIO, max_pixels: int) -> Raw:
    """Returns the arrays of a JPEG 2000 file or stream, of 8 or 16 bits."""
    from imagecodecs import jpeg2k_decode

    length = whole(file)
    check_length(length, max_pixels, 1)
    data = file.read()
    places = [match.start() for match in re.finditer(re.escape(_SIZ), data)]
    if not places or len(data) < places[-1] + 43:
        raise ImageError(f"{TRUNCATED}: it has no size")
    for place in places:  # whichever the decoder will believe
        right, bottom, left, top = struct.unpack_from(">4I", data, place + 8)
        check_size(right - left, bottom - top, max_pixels)
        number, depth = struct.unpack_from(">HB", data, place + 40)
        if not 1 <= number <= 4:
            raise ImageError(f"it has {number} components, expected gray or RGB, with transparency or without")
    check_length(length, right - left, bottom - top)
    if b"\xff\xd9" not in data[-64:]:
        raise ImageError(f"{TRUNCATED}: its end is missing")
    samples = jpeg2k_decode(data)
    if samples.ndim not in (2, 3) or samples.dtype.name not in ("uint8", "uint16"):
        raise ImageError(f"it has samples {samples.dtype} of shape {samples.shape}, expected gray or RGB of 8 or 16 bits")
    raw, largest = split(samples, "JPEG2000"), min(2 ** ((depth & 127) + 1) - 1, np.iinfo(samples.dtype).max)
    notes = ("its colour profile was left out",) if b"colr\x02" in data[:4096] else ()
    return dataclasses.replace(raw, white=largest, opaque=largest, notes=notes)


def decode_npy(file: BinaryIO, max_pixels: int, allow_nan: bool, allow_complex: bool = False) -> Raw:
    """Returns an array `(H, W)` or `(H, W, C)` that NumPy has saved; of complex numbers, also `(K, H, W)`, their `parts`."""
    length, form = whole(file), np.lib.format
    try:
        version = form.read_magic(file)
        if int.from_bytes(file.read(4 if version == (2, 0) else 2), "little") > 2**16:
            raise ImageError("it is damaged, its header is longer than any")
        file.seek(8)
        read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}.get(version)
        if read is None:
            raise ImageError(f"it is of version {version} of NumPy's format, expected 1.0 or 2.0")
        shape, is_fortran, dtype = read(file)
    except ValueError as error:
        raise ImageError("it is damaged, its header cannot be read") from error
    is_complex = allow_complex and dtype.newbyteorder("=").name in ("complex64", "complex128")
    height, width, *channels = (*shape[-2:], *shape[:-2]) if is_complex else shape if len(shape) > 1 else (0, 0)
    if len(shape) not in (2, 3) or not all(1 <= number <= _MOST_CHANNELS for number in channels):
        expected = "(H, W) or (K, H, W), as of K coils" if is_complex else "(H, W) or (H, W, C) with the channels last"
        raise ImageError(f"it has shape {shape}, expected {expected}")
    if dtype.hasobject or not (is_complex or dtype.newbyteorder("=").name in (*DATA_TYPES, "bool")):
        raise ImageError(f"its numbers are {dtype}; convert them to uint8, uint16 or float32")
    check_size(width, height, max_pixels)
    number = int(np.prod(shape, dtype=object))
    if length - file.tell() < number * dtype.itemsize or number > 4 * max_pixels:
        raise ImageError(f"{TRUNCATED}: it has {length - file.tell():,} of {number * dtype.itemsize:,} bytes")
    samples = np.frombuffer(file.read(number * dtype.itemsize), dtype).reshape(shape, order="F" if is_fortran else "C")
    samples = samples.astype(dtype.newbyteorder("="))
    samples = parts(samples) if is_complex else samples.reshape(height, width, -1)
    return _in_units(samples * np.uint8(255) if samples.dtype == bool else samples, "NPY", allow_nan)


def decode_fits(file: BinaryIO, max_pixels: int, allow_nan: bool) -> Raw:
    """Returns the first picture of a FITS file, in the units of its header; rows as they are stored, from below."""
    fits = _fits()
    check_length(whole(file), max_pixels, 1)
    with warnings.catch_warnings(), contextlib.closing(fits.open(io.BytesIO(file.read()), memmap=False, lazy_load_hdus=True)) as parts:
        warnings.simplefilter("ignore")
        first = itertools.islice(parts, _MOST_PARTS)
        part = next((part for part in first if part.is_image and part.header.get("NAXIS", 0) >= 2), None)
        if part is None:
            raise ImageError("it has no picture, only tables or headers")
        sides = [int(part.header[f"NAXIS{axis}"]) for axis in range(1, part.header["NAXIS"] + 1)]
        more = [side for side in sides[2:] if side != 1]
        if len(more) > 1 or (more and more[0] > _MOST_CHANNELS):
            raise ImageError(f"its axes are {tuple(sides)}, expected a picture, or a few of them")
        check_size(sides[0], sides[1], max_pixels)
        if np.prod(sides, dtype=object) > 4 * max_pixels:
            raise ImageError(
                f"it has {np.prod(sides, dtype=object):,} numbers, more than the limit; lift it with max_pixels (--max-pixels N)"
            )
        data, header = np.asarray(part.data), bytes(part.header.tostring(), "ascii")
    samples = np.moveaxis(data.reshape(-1, *data.shape[-2:]), 0, -1)
    samples = samples.astype(samples.dtype.newbyteorder("="))
    if samples.dtype.name not in DATA_TYPES:
        samples = samples.astype(np.float64)
    raw = _in_units(samples, "FITS", allow_nan)
    about = dataclasses.replace(raw.metadata, header=header)
    return dataclasses.replace(raw, metadata=about)


def _fits():
    try:
        from astropy.io import fits
    except ImportError:
        raise ImageError("it is FITS, for which there must be the package astropy; install it (in a checkout '.[astro]')") from None
    return fits


def _in_units(samples, file_format, allow_nan):
    """Returns samples as they are; floats without infinite values."""
    samples = own_units(samples, None, allow_nan)
    return Raw(samples, None, file_format, white(samples.dtype), white(samples.dtype), dtype=samples.dtype)


# Writing


def encode_pnm(samples: np.ndarray) -> bytes:
    """Returns a raw PGM or PPM file of `(H, W)` or `(H, W, 3)`, of 8 or 16 bits."""
    kind, largest = (b"P5" if samples.ndim == 2 else b"P6"), np.iinfo(samples.dtype).max
    return (
        b"%s\n%d %d\n%d\n" % (kind, samples.shape[1], samples.shape[0], largest) + samples.astype(samples.dtype.newbyteorder(">")).tobytes()
    )


def encode_jpeg2000(samples: np.ndarray) -> bytes:
    """Returns a JPEG 2000 file without loss."""
    from imagecodecs import jpeg2k_encode

    return jpeg2k_encode(samples, level=0, codecformat="jp2", reversible=True)


def encode_npy(samples: np.ndarray) -> bytes:
    """Returns an array as NumPy saves it."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(samples), allow_pickle=False)
    return buffer.getvalue()


_OF_THE_FILE = ("BSCALE", "BZERO", "BLANK", "XTENSION", "PCOUNT", "GCOUNT", "EXTNAME", "CHECKSUM", "DATASUM")
_PIXEL, _STEP = re.compile("CRPIX[12][A-Z]?"), re.compile("CDELT[12][A-Z]?|CD[0-9]_[12][A-Z]?")
_ROTATION = re.compile("PC[0-9]_[12][A-Z]?")


def _scale(cards, factor):
    """Has the world coordinates of a header mean smaller pixels (Greisen and Calabretta, 2002)."""
    has_steps = any(_STEP.fullmatch(key) for key in cards)
    for key in list(cards):
        value = cards[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if _PIXEL.fullmatch(key):
            cards[key] = factor * (value - 0.5) + 0.5
        elif _STEP.fullmatch(key) or (_ROTATION.fullmatch(key) and not has_steps):
            cards[key] = value / factor


def encode_fits(samples: np.ndarray, header: bytes, factor: float = 1.0) -> bytes:
    """Returns a FITS file with the header of the input, whose axes and coordinates are those of a result `factor` times longer."""
    fits, buffer = _fits(), io.BytesIO()
    cards = fits.Header.fromstring(header.decode("ascii")) if header else None
    for name in _OF_THE_FILE if cards else ():
        cards.remove(name, ignore_missing=True)
    if cards and factor != 1:
        _scale(cards, factor)
    data = samples if samples.ndim == 2 else np.moveaxis(samples, -1, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.PrimaryHDU(data, cards).writeto(buffer, output_verify="silentfix+ignore")
    return buffer.getvalue()
