"""What is checked of a TIFF file before tifffile sees it: the lengths that its directories announce, and how many pages there are.

tifffile and Pillow read the values of a tag in one piece, however many are announced, and the pages as long as there is another.
"""

import struct
from typing import BinaryIO

from dipjax.files.picture import ImageError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes of each type
_BYTES = (1, 2, 6, 7)  # the types of text and of what others keep in a tag
_MOST_NUMBERS = 200_000  # a palette of 16 bits has 196,608; as many strips or tiles take seconds
_MOST_BYTES = 2**26  # of text and profile; private tags beyond that of the profile are not read
_LAST_READ = 34675
MOST_PAGES = 100_000


def check_tags(file: BinaryIO, index: int = 0) -> tuple[int, int]:
    """Returns the number of pages, at most `MOST_PAGES`, and the bytes in all tags of one; raises ImageError for too many."""
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    entry, count, link = (struct.Struct(order + form) for form in (("HHQQ", "Q", "Q") if big else ("HHII", "H", "I")))
    total, seen = 0, set()
    while place and place not in seen and len(seen) < MOST_PAGES:
        file.seek(place)
        start = file.read(count.size)
        if seen and len(start) < count.size:  # a later page is missing
            break
        (number,) = count.unpack(start)
        if len(seen) == index:
            if number > 2**12:
                raise ImageError(f"it is damaged, it announces {number:,} tags")
            total = sum(_num_bytes(*entry.unpack(file.read(entry.size))[:3]) for _ in range(number))
        seen.add(place)
        file.seek(place + count.size + number * entry.size)
        after = file.read(link.size)
        place = link.unpack(after)[0] if len(after) == link.size else 0
    return len(seen), total


def _num_bytes(tag: int, kind: int, number: int) -> int:
    if kind not in _BYTES and number > _MOST_NUMBERS:
        raise ImageError(f"it announces {number:,} numbers in its tag {tag}, expected at most {_MOST_NUMBERS:,}; save it anew")
    if kind in _BYTES and tag <= _LAST_READ and number > _MOST_BYTES:
        raise ImageError(f"it announces {number:,} bytes in its tag {tag}, expected at most {_MOST_BYTES:,}; save it anew")
    return number * _SIZES.get(kind, 1)
