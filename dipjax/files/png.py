"""What is checked of a PNG file before a decoder sees it.

A decoder gets a copy of the chunks that make the picture, each with a checksum that is right, and image data that are known to be
complete: libpng and Pillow would fill in black for what is missing. Of text it gets only what may hold the orientation, of an animation
the first frame.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from dipjax.files.opening import check_length, check_size
from dipjax.files.picture import ImageError

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = (*_CRITICAL, b"tRNS", b"eXIf")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts in which Pillow looks for the orientation
_LONGEST_TEXT = 2**18
_LONGEST_PROFILE = 2**24  # bytes of an ICC profile; those of printers have 3 million
_MOST_CHUNKS = 200_000  # 64 million pixels in chunks of 8 KiB are 64,000
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # left, top, steps


@dataclass(frozen=True)
class Checked:
    """Holds a PNG file that is safe to decode, and what was taken out of it."""

    data: bytes
    depth: int  # bits per sample
    colour: int  # type 0, 2, 3, 4 or 6
    icc_profile: bytes | None = None
    num_frames: int = 1
    notes: tuple[str, ...] = ()
    about: tuple[tuple[bytes, bytes], ...] = ()  # chunks that say something of the picture


def check_png(file: BinaryIO, max_pixels: int) -> Checked:
    """Reads the first picture of a PNG file; raises ImageError if a checksum is wrong or data are missing."""
    signature = file.read(8)
    if _next_chunk(file) != (b"IHDR", 13):
        raise ImageError("it is damaged, it does not begin with a header")
    header = _data(file, b"IHDR", 13)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    check_size(width, height, max_pixels)
    chunks, total, found, about = [(b"IHDR", header)], 0, {}, []
    for _ in range(_MOST_CHUNKS):
        kind, length = _next_chunk(file)
        if kind not in (*_KEPT, b"iCCP", b"acTL", b"pHYs") and not (kind in _TEXTS and length <= _LONGEST_TEXT):
            if kind[:1].isupper():
                raise ImageError(f"it has a chunk {kind.decode()}, which is not supported; save it anew as PNG")
            file.seek(length + 4, 1)
            continue
        total += length
        check_length(total, width, height)
        data = _data(file, kind, length)
        if kind in _KEPT or data.startswith(_TURNS):
            chunks.append((kind, data))
        else:
            found[kind] = data
        if kind in (*_TEXTS, b"eXIf", b"pHYs"):
            about.append((kind, data))
        if kind == b"IEND":
            break
    else:
        raise ImageError(f"it has more than {_MOST_CHUNKS:,} chunks; save it anew")
    chunks.sort(key=lambda part: (part[0] == b"IEND", part[0] == b"IDAT"))  # what says the orientation comes before the image data
    bits = depth * _CHANNELS.get(colour, 1)
    _check_image_data([data for kind, data in chunks if kind == b"IDAT"], _num_bytes(width, height, bits, interlaced))
    profile, notes = _profile(found.get(b"iCCP", b""))
    num_frames = int.from_bytes(found.get(b"acTL", b"\0\0\0\1")[:4])
    return Checked(signature + b"".join(chunk(*part) for part in chunks), depth, colour, profile, num_frames, notes, tuple(about))


def chunk(kind: bytes, data: bytes) -> bytes:
    """Returns the bytes of a chunk with its length and checksum."""
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


def _next_chunk(file: BinaryIO) -> tuple[bytes, int]:
    start = file.read(8)
    if len(start) < 8:
        raise ImageError("it is truncated, damaged or cut short: its end is missing")
    length, kind = struct.unpack(">I4s", start)
    if not kind.isalpha():
        raise ImageError("it is truncated, damaged or overwritten: one of its chunks has no name")
    return kind, length


def _data(file: BinaryIO, kind: bytes, length: int) -> bytes:
    data, checksum = file.read(length), file.read(4)
    if len(checksum) < 4:
        raise ImageError("it is truncated, damaged or cut short: its end is missing")
    if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum):
        raise ImageError(f"it is truncated, damaged or overwritten: the checksum of its chunk {kind.decode()} is wrong")
    return data


def _num_bytes(width: int, height: int, bits: int, interlaced: int) -> int:
    """Returns the length of the image data before compression: every row has one byte more, which names its filter."""
    passes = [(width, height)]
    if interlaced:
        passes = [(-(-(width - left) // step_x), -(-(height - top) // step_y)) for left, top, step_x, step_y in _ADAM7]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in passes if columns > 0 and rows > 0)


def _check_image_data(parts: list[bytes], expected: int) -> None:
    """Unpacks the image data without keeping them; raises ImageError if they are too short or their checksum is wrong."""
    unpack, found, step = zlib.decompressobj(), 0, 2**16
    for part in parts:
        for start in range(0, len(part), step):
            packed = part[start : start + step]
            while packed and not unpack.eof and found <= expected + step:  # a few bytes too many are harmless
                found += len(unpack.decompress(packed, 2**20))
                packed = unpack.unconsumed_tail
    if found < expected or not unpack.eof:
        raise ImageError(f"it is truncated, damaged or cut short: it has {found:,} of {expected:,} bytes of image data")


def _profile(data: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    """Returns the ICC profile of an iCCP chunk, if it can be read, and a note if it cannot."""
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(data.partition(b"\0")[2][1:], _LONGEST_PROFILE)
    except zlib.error:
        profile = b""
    if data and not unpack.eof:
        return None, ("its colour profile is damaged and was left out",)
    return profile or None, ()
