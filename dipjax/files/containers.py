"""What is checked of JPEG, WebP and BMP files before a decoder sees them: their size, their end, and what they would cost."""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from dipjax.files.opening import MORE_THAN_PIXELS, check_length, check_size
from dipjax.files.picture import ImageError

# A progressive JPEG of three colours has 10 scans, of four 18. Every scan passes over all pixels, even one of a few bytes.
_MOST_SCANS = 32
_MOST_MARKERS = 10_000  # 600 MB of profile and thumbnail
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in coded data 0xff is followed by zero or a restart number
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # these three are tables
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_START_OF_SCAN, _END = 0xDA, 0xD9
_ARITHMETIC = range(0xC9, 0xD0)
_PADDING = bytes(range(1, 250, 7)) * 8

_MOST_BYTES_OF_RUNS = 2**22  # of a BMP with run lengths, which Pillow unpacks byte by byte in Python

TRUNCATED = "it is truncated, damaged or cut short"


def whole(file: BinaryIO) -> int:
    """Returns the length of a file and rewinds."""
    length = file.seek(0, 2)
    file.seek(0)
    return length


def check_jpeg(file: BinaryIO, max_pixels: int) -> tuple[bytes, bytes | None]:
    """Reads a JPEG file whose size, number of scans and end are as they should be.

    Returns:
        The file, and the same with more coded data before its end. Where the picture is complete these are never reached, so both decode
        alike; where it is not, libjpeg would fill in gray. None if the coding may leave out its last zeros.
    """
    length, head, size = whole(file), b"", None
    for most in (2**16, MORE_THAN_PIXELS):  # the size stands behind profile and thumbnail
        head += file.read(most)
        size = size or next((found for kind, found, _ in _markers(head) if kind in _FRAMES), None)
    if size is None:
        raise ImageError(f"{TRUNCATED}: it has no picture")
    check_size(*size, max_pixels)
    check_length(length, *size)
    data, coding = head + file.read(), 0xC0
    check_scans(data)
    for kind, _, place in _markers(data):
        coding = kind if kind in _FRAMES else coding
        if kind == _END:
            padded = None if coding in _ARITHMETIC else b"".join((data[:place].rstrip(b"\xff"), _PADDING, data[place:]))
            return data, padded
    raise ImageError(f"{TRUNCATED}: its end is missing")


def check_scans(data: bytes) -> None:
    """Raises ImageError if a JPEG, which may be a strip of a TIFF, has more scans than any camera or program makes."""
    if sum(kind == _START_OF_SCAN for kind, _, _ in _markers(data)) > _MOST_SCANS:
        raise ImageError(f"it has more than {_MOST_SCANS} scans; save it anew")


def _markers(data: bytes) -> Iterator[tuple[int, tuple[int, int] | None, int]]:
    """Yields the kind of every marker up to the end of the picture, the (width, height) of frames, and where it stands."""
    place, number = 2, 0
    while match := _NEXT_MARKER.search(data, place):
        number += 1
        if number > _MOST_MARKERS:
            raise ImageError(f"it has more than {_MOST_MARKERS:,} markers; save it anew")
        place, kind = match.start(), match[1][0]
        if kind == _END:
            yield kind, None, place
            return
        body = match.end()
        if kind in _STANDALONE or len(data) < body + 8:
            place = body
            continue
        size = struct.unpack_from(">HH", data, body + 3)[::-1] if kind in _FRAMES else None
        yield kind, size, place
        place = body + struct.unpack_from(">H", data, body)[0]


def check_webp(file: BinaryIO, max_pixels: int) -> bytes:
    """Reads a WebP file whose size and end are as they should be."""
    length, head = whole(file), file.read(30)
    if len(head) < 30:
        raise ImageError(f"{TRUNCATED}: its end is missing")
    kind = head[12:16]
    if kind == b"VP8X":
        size = [1 + int.from_bytes(head[place : place + 3], "little") for place in (24, 27)]
    elif kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        size = [1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)]
    elif kind == b"VP8 ":
        size = [side & 0x3FFF for side in struct.unpack_from("<HH", head, 26)]
    else:
        raise ImageError(f"{TRUNCATED}: it has no picture")
    check_size(*size, max_pixels)
    announced = 8 + int.from_bytes(head[4:8], "little")
    if announced > length + 1:  # some writers count a last byte that only makes the length even
        raise ImageError(f"{TRUNCATED}: it has {length:,} of {announced:,} bytes")
    check_length(announced, *size)
    return head + file.read(announced - len(head))


def check_bmp(file: BinaryIO, max_pixels: int) -> bytes:
    """Reads a BMP file whose size is as it should be."""
    length, head = whole(file), file.read(34)
    if len(head) < 34:
        raise ImageError(f"{TRUNCATED}: its end is missing")
    old = int.from_bytes(head[14:18], "little") == 12  # of OS/2
    width, height = struct.unpack_from("<HH" if old else "<ii", head, 18)
    if width == 0 or height == 0 or width < 0:
        raise ImageError(f"{TRUNCATED}: it has {width} x {height} pixels")
    check_size(width, abs(height), max_pixels)  # a negative height says that the first row is the top
    check_length(length, width, abs(height))
    if not old and head[30] in (1, 2) and length > _MOST_BYTES_OF_RUNS:
        raise ImageError(f"it has {length:,} bytes of run lengths, expected at most {_MOST_BYTES_OF_RUNS:,}; save it anew as PNG")
    return head + file.read()
