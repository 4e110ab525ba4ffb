"""What a file says about its picture, kept for the result: EXIF with GPS, XMP, texts, resolution, pixel sizes of microscopes, places.

Every reader gives a `Metadata`; every writer takes what its format can hold, and `lost` names the rest. The orientation is reset, because
pictures are turned upright when they are read. Nothing here decides about pixels, and what is damaged is left out rather than refused.
"""

import contextlib
import dataclasses
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

_MOST_BYTES = 2**20  # of any one of them, after unpacking
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _DESCRIPTION, _XMP = 274, 282, 283, 296, 270, 700
_EXIF_FIELDS, _GPS, _WIDTH, _HEIGHT = 34665, 34853, 40962, 40963
_PLAIN = (269, 271, 272, 305, 306, 315, 316, 33432)  # document, make, model, software, date, artist, computer, copyright
_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION = 33550, 33922, 34264
_PLACES = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, 34735, 34736, 34737, 42112, 42113)  # GeoTIFF, and two of GDAL
_INCH, _CENTIMETRE = 2, 3
_IN_XMP = rb"(tiff:Orientation(?:=\"|='|>))[1-8]"
_OF_PIXELS = re.compile(r'(PhysicalSize[XY]=")([^"]+)(")')  # of OME-XML
_SIZES = re.compile(r'(\bSize([XY])=")([0-9]+)(")')
_OF_STACKS = {"images", "slices", "frames", "channels", "hyperstack", "mode", "loop"}  # lines of ImageJ
_KEYWORD = re.compile(r"[\x20-\x7e\xa1-\xff]{1,79}")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What is known of a picture beside its pixels; empty where nothing is."""

    exif: bytes = b""  # a TIFF structure
    xmp: bytes = b""
    texts: tuple[tuple[str, str], ...] = ()  # (keyword, text), as PNG has them
    resolution: tuple[float, float] | None = None  # pixels to the unit, across and down
    unit: int = _INCH  # of TIFF: 1 none, 2 inch, 3 centimetre
    description: str = ""  # of TIFF, among them what ImageJ and OME say of a microscope's pixels
    places: tuple[tuple[int, int, int, Any], ...] = ()  # tags of GeoTIFF: number, type, count, value
    header: bytes = b""  # of FITS

    def of_result(self, factor: float, shape: tuple[int, int]) -> "Metadata":
        """Returns what is true of a result `shape (H, W)` that is `factor` times longer on each side."""
        resolution = self.resolution and tuple(factor * number for number in self.resolution)
        places = tuple((tag, kind, count, _scaled(tag, value, factor)) for tag, kind, count, value in self.places)
        exif = _rewritten(self.exif, shape, factor)
        xmp = re.sub(_IN_XMP, rb"\g<1>1", self.xmp)
        return dataclasses.replace(
            self, exif=exif, xmp=xmp, resolution=resolution, places=places, description=_described(self.description, factor, shape)
        )


def _scaled(tag, value, factor):
    """Returns the value of a tag of GeoTIFF for smaller pixels."""
    if factor == 1:
        return value
    if tag == _PIXEL_SCALE:  # of a pixel: across, down, and up, which stays
        return (value[0] / factor, value[1] / factor, *value[2:])
    if tag == _TIE_POINTS:  # of each six: column, row, layer, and where that is
        return tuple(number * factor if place % 6 < 2 else number for place, number in enumerate(value))
    if tag == _TRANSFORMATION:  # a matrix, of whose rows the first two numbers are of column and row
        return tuple(number / factor if place % 4 < 2 else number for place, number in enumerate(value))
    return value


def _described(text, factor, shape):
    """Returns the description of a TIFF, whose pixels are smaller."""
    if text.startswith("ImageJ="):  # one page is written, of however many
        return "".join(line for line in text.splitlines(keepends=True) if line.partition("=")[0] not in _OF_STACKS)
    if not text.lstrip().startswith("<?xml"):
        return text
    sizes = dict(zip("YX", map(str, shape), strict=True))
    with contextlib.suppress(ValueError):
        text = _OF_PIXELS.sub(lambda match: f"{match[1]}{float(match[2]) / factor:.10g}{match[3]}", text)
    return _SIZES.sub(lambda match: f"{match[1]}{sizes[match[2]]}{match[4]}", text)


def _rewritten(exif, shape, factor):
    """Returns EXIF of an upright picture of another size; its thumbnail, which shows the picture as it was, is left out."""
    if not exif:
        return b""
    try:
        tags = Image.Exif()
        tags.load(exif)
        if _ORIENTATION in tags:
            tags[_ORIENTATION] = 1
        for tag in (_X_RESOLUTION, _Y_RESOLUTION):
            if tag in tags and factor != 1:
                tags[tag] = float(tags[tag]) * factor
        fields = tags.get_ifd(_EXIF_FIELDS)
        tags.get_ifd(_GPS)  # reads it, or it would not be written
        for tag, number in zip((_HEIGHT, _WIDTH), shape, strict=True):
            if tag in fields:
                fields[tag] = number
        return tags.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # whatever a stranger's bytes make Pillow raise
        return b""


# Reading


def of_image(image: Image.Image) -> Metadata:
    """Returns what Pillow has found in an opened JPEG, WebP or BMP."""
    info = image.info
    texts = [("Comment", info["comment"].decode("utf-8", "replace"))] if isinstance(info.get("comment"), bytes) else []
    exif, xmp = (info.get(name, b"") for name in ("exif", "xmp"))
    return Metadata(_exif(exif), _bounded(xmp), tuple(texts), _resolution(info.get("dpi")))


def of_png(chunks: list[tuple[bytes, bytes]]) -> Metadata:
    """Returns what the chunks `(kind, data)` of a PNG file say."""
    found, texts, xmp = dict(chunks), [], b""
    for kind, data in chunks:
        if kind in _TEXTS:
            with contextlib.suppress(ValueError, IndexError, zlib.error, LookupError):
                keyword, text = _TEXTS[kind](data)
                if keyword == "XML:com.adobe.xmp":
                    xmp = text.encode()
                elif not keyword.startswith("Raw profile type"):
                    texts.append((keyword, text))
    resolution, unit = None, _INCH
    if len(found.get(b"pHYs", b"")) == 9:
        across, down, is_metre = struct.unpack(">IIB", found[b"pHYs"])
        resolution = _resolution((0.0254 * across, 0.0254 * down) if is_metre else None)
    return Metadata(_exif(found.get(b"eXIf", b"")), _bounded(xmp), tuple(texts), resolution, unit)


def _plain_text(data):
    keyword, _, text = data.partition(b"\0")
    return keyword.decode("latin-1"), text.decode("latin-1")


def _packed_text(data):
    keyword, _, packed = data.partition(b"\0")
    return keyword.decode("latin-1"), _unpacked(packed[1:]).decode("latin-1")


def _international_text(data):
    keyword, _, rest = data.partition(b"\0")
    is_packed, (_, _, text) = rest[0], rest[2:].split(b"\0", 2)
    return keyword.decode("latin-1"), (_unpacked(text) if is_packed else text).decode()


def _unpacked(data):
    unpack = zlib.decompressobj()
    text = unpack.decompress(data, _MOST_BYTES)
    if not unpack.eof:
        raise ValueError("longer than is kept")
    return text


_TEXTS: dict[bytes, Callable] = {b"tEXt": _plain_text, b"zTXt": _packed_text, b"iTXt": _international_text}


def of_tiff(page: Any, num_pages: int) -> Metadata:
    """Returns what the tags of a page of tifffile say."""
    values = {tag: page.tags.valueof(tag) for tag in (_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _DESCRIPTION, _XMP)}
    resolution = None
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError, IndexError):
        resolution = _resolution([values[tag][0] / values[tag][1] for tag in (_X_RESOLUTION, _Y_RESOLUTION)])
    description = values[_DESCRIPTION] if isinstance(values[_DESCRIPTION], str) and len(values[_DESCRIPTION]) <= _MOST_BYTES else ""
    if description.startswith('{"shape"') or (num_pages > 1 and description.lstrip().startswith("<?xml")):
        description = ""  # of the arrays of tifffile, and of stacks of OME: not of this page
    unit = int(values[_UNIT]) if values[_UNIT] in (1, _INCH, _CENTIMETRE) else _INCH
    places = []
    for number in _PLACES:
        tag = page.tags.get(number)
        if tag is not None and tag.count * 8 <= _MOST_BYTES and isinstance(tag.value, (tuple, str, int, float, bytes)):
            places.append((number, int(tag.dtype), tag.count, tag.value))
    texts = tuple((tag.name, tag.value) for number in _PLAIN if isinstance((tag := page.tags.get(number)) and tag.value, str) and tag.value)
    return Metadata(b"", _bounded(values[_XMP]), texts, resolution, unit, description, tuple(places))


def _exif(data):
    data = _bounded(data).removeprefix(b"Exif\0\0")
    return data if data[:4] in (b"II*\0", b"MM\0*") else b""


def _bounded(data):
    return data if isinstance(data, bytes) and len(data) <= _MOST_BYTES else b""


def _resolution(pair):
    with contextlib.suppress(TypeError, ValueError):
        across, down = map(float, pair)
        if 0 < across < 1e9 and 0 < down < 1e9:
            return across, down
    return None


# Writing


def _per_inch(metadata):
    if metadata.resolution is None or metadata.unit == 1:
        return None
    return tuple(number * (2.54 if metadata.unit == _CENTIMETRE else 1) for number in metadata.resolution)


def _encoded(metadata):
    """Returns EXIF, or what TIFF says in its own tags as EXIF."""
    return metadata.exif or _exif_of_texts(metadata)


def _exif_of_texts(metadata):
    names = {"DocumentName": 269, "Make": 271, "Model": 272, "Software": 305, "DateTime": 306, "Artist": 315, "Copyright": 33432}
    found = {names[name]: text for name, text in metadata.texts if name in names}
    found |= {_DESCRIPTION: metadata.description} if metadata.description and metadata.description.isascii() else {}
    if not found:
        return b""
    tags = Image.Exif()
    for tag, text in found.items():
        tags[tag] = text
    return tags.tobytes().removeprefix(b"Exif\0\0")


def for_pillow(metadata: Metadata, file_format: str) -> dict[str, Any]:
    """Returns the options of Pillow for a JPEG, WebP, AVIF or BMP file."""
    options, exif = {}, _encoded(metadata)
    if file_format in ("JPEG", "BMP") and (resolution := _per_inch(metadata)):
        options["dpi"] = resolution
    if file_format in ("JPEG", "WEBP", "AVIF"):
        options |= {"exif": b"Exif\0\0" + exif} if exif else {}
        options |= {"xmp": metadata.xmp} if metadata.xmp else {}
    if file_format == "JPEG" and (comment := dict(metadata.texts).get("Comment")):
        options["comment"] = comment
    return options


def for_png(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Returns the chunks `(kind, data)` of a PNG file, which come before its image data."""
    chunks = []
    if resolution := _per_inch(metadata):
        chunks.append((b"pHYs", struct.pack(">IIB", *(min(round(number / 0.0254), 2**31 - 1) for number in resolution), 1)))
    if exif := _encoded(metadata):
        chunks.append((b"eXIf", exif))
    texts = [*metadata.texts, *([("Description", metadata.description)] if metadata.description else [])]
    for keyword, text in texts:
        if _KEYWORD.fullmatch(keyword) and "\0" not in text:
            chunks.append((b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()))
    if metadata.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    return chunks


def for_tiff(metadata: Metadata) -> dict[str, Any]:
    """Returns the options of tifffile."""
    numbers = {"Make": 271, "Model": 272, "DateTime": 306, "Artist": 315, "Copyright": 33432, "DocumentName": 269}
    texts = dict(metadata.texts)
    tags = [(number, "s", 0, texts[name].encode("ascii", "replace").decode(), True) for name, number in numbers.items() if texts.get(name)]
    tags += [(_XMP, "B", len(metadata.xmp), metadata.xmp, True)] if metadata.xmp else []
    tags += [(number, kind, count if not isinstance(value, str) else 0, value, True) for number, kind, count, value in metadata.places]
    options = {"extratags": tags, "software": texts.get("Software") or False}
    if metadata.resolution:
        options |= {"resolution": metadata.resolution, "resolutionunit": metadata.unit}
    if metadata.description:
        options["description"] = metadata.description if metadata.description.isascii() else metadata.description.encode()
    return options


def lost(metadata: Metadata, file_format: str) -> list[str]:
    """Names what of this a format cannot hold."""
    holds = _HOLD.get(file_format, ())
    has_exif = "EXIF" in holds and bool(_exif_of_texts(metadata))
    known = {"Comment"} if file_format == "JPEG" else set()
    found = {
        "EXIF": bool(metadata.exif),
        "XMP": bool(metadata.xmp),
        "texts": any(name not in known for name, _ in metadata.texts) and not has_exif,
        "the resolution": metadata.resolution is not None,
        "the description": bool(metadata.description) and not has_exif,
        "the place on Earth": bool(metadata.places),
        "the header of FITS": bool(metadata.header),
    }
    return [name for name, is_there in found.items() if is_there and name not in holds]


_HOLD = {
    "PNG": ("EXIF", "XMP", "texts", "the resolution", "the description"),
    "JPEG": ("EXIF", "XMP", "the resolution"),
    "WEBP": ("EXIF", "XMP"),
    "AVIF": ("EXIF", "XMP"),
    "BMP": ("the resolution",),
    "TIFF": ("XMP", "texts", "the resolution", "the description", "the place on Earth"),
    "FITS": ("the header of FITS",),
}
