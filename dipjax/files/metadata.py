"""What a file says about its picture, kept for the result: EXIF with GPS, XMP, texts, resolution, pixel sizes of microscopes, places.

Every reader gives a `Metadata`; every writer takes what its format can hold, and `lost` names the rest. The orientation is reset, because
pictures are turned upright when they are read. Nothing here decides about pixels, and what is damaged is left out rather than refused.
"""

import contextlib
import dataclasses
import html
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image

_MOST_BYTES = 2**20  # of any one of them, and of all texts together, after unpacking
_MOST_IN_JPEG = 65_000  # bytes of one segment, which holds EXIF, XMP or a comment
_MOST_PER_INCH = {"JPEG": 65_535, "BMP": 5e7}  # pixels; of the others more than is kept
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _DESCRIPTION, _XMP = 274, 282, 283, 296, 270, 700
_IMAGE_WIDTH, _IMAGE_HEIGHT = 256, 257
TURNING = (5, 6, 7, 8)  # orientations in which rows and columns change places
_EXIF_FIELDS, _GPS, _WIDTH, _HEIGHT = 34665, 34853, 40962, 40963
_AS_EXIF = {"DocumentName": 269, "Make": 271, "Model": 272, "Software": 305, "DateTime": 306, "Artist": 315, "Copyright": 33432}
_AS_TIFF = _AS_EXIF | {"HostComputer": 316}
_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION = 33550, 33922, 34264
_PLACES = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, 34735, 34736, 34737, 42112, 42113)  # GeoTIFF, and two of GDAL
_GEO_KEYS, _RASTER_TYPE, _OF_POINTS, _DOUBLE = 34735, 1025, 2, 12
_NUMBERS = (3, 4, 11, 12, 16)  # types of TIFF that are numbers
_INCH, _CENTIMETRE = 2, 3
_UNITS = {4: 10.0, 5: 10_000.0}  # of tifffile, millimetre and micrometre, to the centimetre
_XML = re.compile(r"\s*(<\?xml|<OME\b)")
_SIZES_OF_XMP = {b"tiff:ImageLength": 0, b"tiff:ImageWidth": 1, b"exif:PixelYDimension": 0, b"exif:PixelXDimension": 1}
_NUMBERS_OF_XMP = re.compile(
    rb"((?:tiff:(?:Orientation|ImageLength|ImageWidth|[XY]Resolution)|exif:Pixel[XY]Dimension))(=[\"']|>)([0-9]{1,15})(/[1-9][0-9]{0,14})?(?=[\"'<])"
)
_RESOLUTION_OF_XMP = re.compile(rb"(?<=tiff:)[XY](?=Resolution\b)")
_OF_PIXELS = re.compile(r'(PhysicalSize[XY]=")([^"]+)(")')  # of OME-XML
_SIZE_OR_UNIT = re.compile(r'\bPhysicalSize([XY])(Unit)?="([^"]*)"')
_UNITS_OF_OME = {"cm": 1.0, "mm": 10.0, "µm": 1e4, "\u03bcm": 1e4, "nm": 1e7, "Å": 1e8}  # to the centimetre; the letter mu is there twice
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
    factor: float = 1.0  # times longer than those of the file are the sides of the picture: what `header` has yet to be told
    has_more: bool = False  # a TIFF with directories of EXIF or GPS, which are not read
    has_stack: bool = False  # a stack with a description of all its pages, of which only the sizes of pixels are kept

    def of_result(self, factor: float, shape: tuple[int, int]) -> "Metadata":
        """Returns what is true of a result `shape (H, W)` that is `factor` times longer on each side."""
        resolution = self.resolution and _resolution([factor * number for number in self.resolution])
        of_points = _are_of_points(self.places)
        places = tuple((tag, kind, count, _scaled(tag, value, factor, of_points)) for tag, kind, count, value in self.places)
        exif = _edited(self.exif, partial(_rewrite, shape, factor))
        xmp = _NUMBERS_OF_XMP.sub(partial(_of_xmp, shape, factor), self.xmp)
        description = _described(self.description, factor, shape)
        changed = {"exif": exif, "xmp": xmp, "resolution": resolution, "places": places, "description": description}
        return dataclasses.replace(self, **changed, factor=self.factor * factor)

    def turned(self) -> "Metadata":
        """Returns that of a picture of which rows and columns have changed places."""
        xmp = _RESOLUTION_OF_XMP.sub(lambda match: b"Y" if match[0] == b"X" else b"X", self.xmp)
        resolution = self.resolution and self.resolution[::-1]
        return dataclasses.replace(self, exif=_edited(self.exif, _turn), xmp=xmp, resolution=resolution)


def _are_of_points(places):
    """Says whether a pixel of GeoTIFF is a point rather than an area."""
    keys = next((value for tag, _, _, value in places if tag == _GEO_KEYS and isinstance(value, tuple)), ())
    return any(keys[i] == _RASTER_TYPE and keys[i + 3] == _OF_POINTS for i in range(4, len(keys) - 3, 4))


def _scaled(tag, value, factor, of_points):
    """Returns the value of a tag of GeoTIFF for smaller pixels."""
    if factor == 1:
        return value
    if tag == _PIXEL_SCALE:  # of a pixel: across, down, and up, which stays
        return (value[0] / factor, value[1] / factor, *value[2:])
    if tag == _TIE_POINTS:  # of each six: column, row, layer, and where that is
        shift = (factor - 1) / 2 if of_points else 0
        return tuple(number * factor + shift if place % 6 < 2 else number for place, number in enumerate(value))
    if tag == _TRANSFORMATION:  # a matrix, of whose rows the first two numbers are of column and row
        return tuple(number / factor if place % 4 < 2 else number for place, number in enumerate(value))
    return value


def _described(text, factor, shape):
    """Returns the description of a TIFF, whose pixels are smaller."""
    if text.startswith("ImageJ="):  # one page is written, of however many
        return "".join(line for line in text.splitlines(keepends=True) if line.partition("=")[0] not in _OF_STACKS)
    if not _XML.match(text):
        return text
    sizes = dict(zip("YX", map(str, shape), strict=True))
    with contextlib.suppress(ValueError):
        text = _OF_PIXELS.sub(lambda match: f"{match[1]}{float(match[2]) / factor:.10g}{match[3]}", text)
    return _SIZES.sub(lambda match: f"{match[1]}{sizes[match[2]]}{match[4]}", text)


def _of_xmp(shape, factor, match):
    """Returns a number of XMP, of an upright picture of another size."""
    name, sign, number, divisor = match.groups(b"")
    if name == b"tiff:Orientation":
        number, divisor = b"1", b""
    elif name in _SIZES_OF_XMP:
        number, divisor = b"%d" % shape[_SIZES_OF_XMP[name]], b""
    elif factor != 1:
        number, divisor = b"%d" % round(1000 * factor * int(number)), b"/%d" % (1000 * int(divisor[1:] or 1))
    return name + sign + number + divisor


def _edited(exif, edit):
    """Returns EXIF of which a function has changed the directories, the first one first; its thumbnail, as the picture was, is left out."""
    if not exif:
        return b""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags = Image.Exif()
            tags.load(exif)
            edit(_read_all(tags))
            return tags.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # whatever a stranger's bytes make Pillow raise
        return b""


def _rewrite(shape, factor, groups):
    """Has EXIF speak of an upright picture of another size."""
    tags = groups[0]
    if _ORIENTATION in tags:
        tags[_ORIENTATION] = 1
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        if tag in tags and factor != 1:
            tags[tag] = float(tags[tag]) * factor
    for group in groups:
        for pair in ((_IMAGE_HEIGHT, _IMAGE_WIDTH), (_HEIGHT, _WIDTH)):
            for tag, number in zip(pair, shape, strict=True):
                if tag in group:
                    group[tag] = number


def _turn(groups):
    """Has the two resolutions of EXIF change places."""
    tags = groups[0]
    if _X_RESOLUTION in tags and _Y_RESOLUTION in tags:
        tags[_X_RESOLUTION], tags[_Y_RESOLUTION] = tags[_Y_RESOLUTION], tags[_X_RESOLUTION]


# Reading


def of_image(image: Image.Image) -> Metadata:
    """Returns what Pillow has found in an opened JPEG, WebP or BMP."""
    info = image.info
    texts = [("Comment", _decoded(info["comment"][:_MOST_BYTES]))] if isinstance(info.get("comment"), bytes) else []
    exif, xmp = (info.get(name, b"") for name in ("exif", "xmp"))
    return Metadata(_exif(exif), _bounded(xmp), tuple(texts), _resolution(info.get("dpi")))


def _decoded(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def of_png(chunks: list[tuple[bytes, bytes]]) -> Metadata:
    """Returns what the chunks `(kind, data)` of a PNG file say."""
    found, texts, xmp, left = dict(chunks), [], b"", _MOST_BYTES
    for kind, data in chunks:
        if kind in _TEXTS and left > 0:
            with contextlib.suppress(ValueError, IndexError, zlib.error, LookupError):
                keyword, text = _TEXTS[kind](data, left)
                left -= len(text)
                if keyword == "XML:com.adobe.xmp":
                    xmp = text.encode()
                elif not keyword.startswith("Raw profile type"):
                    texts.append((keyword, text))
    resolution = None
    if len(found.get(b"pHYs", b"")) == 9:
        across, down, is_metre = struct.unpack(">IIB", found[b"pHYs"])
        resolution = _resolution((0.0254 * across, 0.0254 * down) if is_metre else None)
    return Metadata(_exif(found.get(b"eXIf", b"")), _bounded(xmp), tuple(texts), resolution)


def _plain_text(data, most):
    del most
    keyword, _, text = data.partition(b"\0")
    return keyword.decode("latin-1"), text.decode("latin-1")


def _packed_text(data, most):
    keyword, _, packed = data.partition(b"\0")
    return keyword.decode("latin-1"), _unpacked(packed[1:], most).decode("latin-1")


def _international_text(data, most):
    keyword, _, rest = data.partition(b"\0")
    is_packed, (_, _, text) = rest[0], rest[2:].split(b"\0", 2)
    return keyword.decode("latin-1"), (_unpacked(text, most) if is_packed else text).decode()


def _unpacked(data, most):
    unpack = zlib.decompressobj()
    text = unpack.decompress(data, most)
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
    unit, given, stack = _INCH, values[_UNIT], ""
    if num_pages > 1:
        stack = page.parent.pages.first.tags.valueof(_DESCRIPTION)
        stack = stack if isinstance(stack, str) and len(stack) <= _MOST_BYTES and _XML.match(stack) else ""
    has_stack = bool(stack) and description == stack  # not of the other pages
    if given in (None, 1) and (found := _of_ome(stack)):
        resolution, unit, given = found, _CENTIMETRE, _CENTIMETRE
    if description.startswith('{"shape"') or has_stack:
        description = ""  # of the arrays of tifffile, and of stacks of OME: not of this page
    if resolution and given in _UNITS:
        resolution, unit = _resolution([_UNITS[given] * number for number in resolution]), _CENTIMETRE
    elif given is not None:
        unit = int(given) if given in (_INCH, _CENTIMETRE) else 1
    texts = tuple(
        (tag.name, tag.value) for number in _AS_TIFF.values() if isinstance((tag := page.tags.get(number)) and tag.value, str) and tag.value
    )
    has_more = _EXIF_FIELDS in page.tags or _GPS in page.tags
    places = tuple(_places_of(page))
    return Metadata(b"", _bounded(values[_XMP]), texts, resolution, unit, description, places, has_more=has_more, has_stack=has_stack)


def _of_ome(text):
    """Returns the pixels to the centimetre of the first picture that OME-XML describes."""
    found = {}
    for axis, is_unit, value in _SIZE_OR_UNIT.findall(text):
        found.setdefault(axis + is_unit, html.unescape(value))
    with contextlib.suppress(LookupError, ValueError, ZeroDivisionError):
        return _resolution([_UNITS_OF_OME[found.get(f"{axis}Unit", "µm")] / float(found[axis]) for axis in "XY"])
    return None


def _places_of(page):
    """Yields the tags of GeoTIFF whose values are what they should be."""
    for number in _PLACES:
        tag = page.tags.get(number)
        if tag is None or tag.count * 8 > _MOST_BYTES:
            continue
        value, kind = tag.value, int(tag.dtype)
        if number in (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION):
            is_whole = {_PIXEL_SCALE: tag.count >= 2, _TIE_POINTS: tag.count % 6 == 0, _TRANSFORMATION: tag.count == 16}[number]
            if isinstance(value, tuple) and kind in _NUMBERS and len(value) == tag.count and is_whole:
                yield number, _DOUBLE, tag.count, tuple(map(float, value))
        elif isinstance(value, (tuple, str)):
            yield number, kind, tag.count, value


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
    """Returns EXIF, with what a TIFF says in its own tags where that is not in it."""
    found = {_AS_EXIF[name]: text for name, text in metadata.texts if name in _AS_EXIF}
    found |= {_DESCRIPTION: metadata.description} if metadata.description else {}
    if not found:
        return metadata.exif
    tags = Image.Exif()
    try:
        if metadata.exif:
            tags.load(metadata.exif)
            _read_all(tags)
        for tag, text in found.items():
            if tag not in tags:
                tags[tag] = text.encode()
        return tags.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # as in `_edited`
        return metadata.exif


def _read_all(tags):
    """Reads all directories, or they are not written; returns them. Texts become the bytes they were: Pillow would write question marks."""
    groups = [tags, *(tags.get_ifd(number) for number in (_EXIF_FIELDS, _GPS) if number in tags)]
    for group in groups:
        for tag, value in list(group.items()):
            if isinstance(value, str) and not value.isascii():
                group[tag] = value.encode("latin-1")
    return groups


def _comment(metadata):
    return dict(metadata.texts).get("Comment", "").encode("utf-8", "replace")


def _fits(data, file_format):
    return file_format != "JPEG" or len(data) <= _MOST_IN_JPEG


def _writable_resolution(metadata, file_format):
    """Returns the pixels to the inch that a format can hold, None where it cannot."""
    found = _per_inch(metadata)
    return found if found and min(found) >= 0.5 and max(found) <= _MOST_PER_INCH.get(file_format, 1e9) else None


def for_pillow(metadata: Metadata, file_format: str) -> dict[str, Any]:
    """Returns the options of Pillow for a JPEG, WebP, AVIF or BMP file."""
    options, exif = {}, _encoded(metadata)
    if file_format in _MOST_PER_INCH and (resolution := _writable_resolution(metadata, file_format)):
        options["dpi"] = resolution
    if file_format in ("JPEG", "WEBP", "AVIF"):
        options |= {"exif": b"Exif\0\0" + exif} if exif and _fits(exif, file_format) else {}
        options |= {"xmp": metadata.xmp} if metadata.xmp and _fits(metadata.xmp, file_format) else {}
    comment = _comment(metadata)
    if file_format == "JPEG" and comment and _fits(comment, file_format):
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
    if metadata.xmp:  # packed, so that it is never longer than what is read again
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(metadata.xmp)))
    return chunks


def for_tiff(metadata: Metadata) -> dict[str, Any]:
    """Returns the options of tifffile."""
    texts = dict(metadata.texts)
    tags = [(number, "s", 0, _ended(texts[name]), True) for name, number in _AS_TIFF.items() if name != "Software" and texts.get(name)]
    tags += [(_XMP, "B", len(metadata.xmp), metadata.xmp, True)] if metadata.xmp else []
    for number, kind, count, value in metadata.places:
        tags.append((number, "s", 0, _ended(value), True) if isinstance(value, str) else (number, kind, count, value, True))
    options = {"extratags": tags, "software": texts["Software"].encode() if texts.get("Software") else False}
    if metadata.resolution and max(metadata.resolution) < 4e9:
        options |= {"resolution": metadata.resolution, "resolutionunit": metadata.unit}
    if metadata.description:
        options["description"] = metadata.description if metadata.description.isascii() else metadata.description.encode()
    return options


def _ended(text):
    return text.encode() + b"\0"


def lost(metadata: Metadata, file_format: str) -> list[str]:
    """Names what of this a format cannot hold."""
    holds = _HOLD.get(file_format, ())
    writes_exif = "EXIF" in holds and file_format != "PNG"
    known = {"Comment"} if file_format == "JPEG" else set()
    known |= set(_AS_EXIF) if writes_exif else set(_AS_TIFF) if file_format == "TIFF" else set()
    comment = _comment(metadata)
    found = {
        "EXIF": (bool(metadata.exif) and not ("EXIF" in holds and _fits(metadata.exif, file_format))) or metadata.has_more,
        "XMP": bool(metadata.xmp) and not ("XMP" in holds and _fits(metadata.xmp, file_format)),
        "texts": "texts" not in holds and (any(name not in known for name, _ in metadata.texts) or not _fits(comment, file_format)),
        "the resolution": metadata.resolution is not None
        and not ("the resolution" in holds and (file_format in ("PNG", "TIFF") or _writable_resolution(metadata, file_format))),
        "the OME description of the stack": metadata.has_stack,
        "the description": bool(metadata.description) and "the description" not in holds and not writes_exif,
        "the place on Earth": bool(metadata.places) and "the place on Earth" not in holds,
        "the header of FITS": bool(metadata.header) and "the header of FITS" not in holds,
    }
    return [name for name, is_lost in found.items() if is_lost]


_HOLD = {
    "PNG": ("EXIF", "XMP", "texts", "the resolution", "the description"),
    "JPEG": ("EXIF", "XMP", "the resolution"),
    "WEBP": ("EXIF", "XMP"),
    "AVIF": ("EXIF", "XMP"),
    "BMP": ("the resolution",),
    "TIFF": ("XMP", "the resolution", "the description", "the place on Earth"),
    "FITS": ("the header of FITS",),
}
