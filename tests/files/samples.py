"""Files of every kind, made by Pillow, tifffile and imagecodecs, and what must be read from them."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from dipjax.files import Picture

RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (12, 17, 3), dtype=np.uint16)
GRAY8, GRAY16, ALPHA8, ALPHA16 = RGB8[..., :1], RGB16[..., :1], RGB8[::-1, :, 1], RGB16[::-1, :, 1]
UNIT = RNG.random((12, 17, 3), dtype=np.float32)
BILEVEL = GRAY8[..., 0] > 100
PALETTE = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 16, (12, 17), dtype=np.uint8)
PROFILE = b"a colour profile " * 20


def with_alpha(colours, alpha):
    return np.concatenate([colours, alpha[..., None]], axis=-1)


def pillow(array, file_format, mode=None, **options):
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(buffer, file_format, **options)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, metadata=None, **options)
    return buffer.getvalue()


def palette_image():
    image = Image.fromarray(INDICES, "L").convert("P")
    image.putdata(INDICES.ravel().tolist())
    image.putpalette(PALETTE.ravel().tolist())
    return image


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(shape, depth, colour, rows, extra=b""):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *shape[::-1], depth, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(row) for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + png_chunk(b"IEND", b"")


def write(path, data):
    path.write_bytes(data)
    return path


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def assert_picture(picture, samples, alpha=None, white=None, dtype=None):
    """The picture holds exactly these samples (H, W, C), divided by the value of white."""
    working = np.float64 if samples.dtype.name in ("float64", "int32", "uint32") else np.float32
    white = working(white or np.iinfo(samples.dtype).max)
    np.testing.assert_array_equal(picture.pixels, samples.astype(working) / white, strict=True)
    assert picture.pixels.flags.c_contiguous
    assert picture.dtype == (dtype or samples.dtype)
    if alpha is None:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, alpha.astype(working) / white, strict=True)


TWO_BITS = (GRAY8[..., 0] >> 6).astype(np.uint8)
TWO_BIT_ROWS = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, -2:].ravel()).tobytes() for row in TWO_BITS]
RGBA8, RGBA16 = with_alpha(RGB8, ALPHA8), with_alpha(RGB16, ALPHA16)
BILEVEL8 = BILEVEL[..., None] * np.uint8(255)
PALETTE_ALPHA = np.where(INDICES == 3, 0, 255).astype(np.uint8)
IN_PALETTE, TO_GRAY, TO_RGB = PALETTE[INDICES], "black and white converted to 8-bit gray", "palette converted to RGB"
CMYK = Image.fromarray(RGB8).convert("CMYK")
CMYK_RGB = np.asarray(CMYK.convert("RGB"))
FIVE = np.concatenate([RGB16, RGB16[..., :2]], axis=-1)

# name: bytes, samples, alpha, notes
EXACT = {
    "png gray 8": (pillow(GRAY8[..., 0], "PNG"), GRAY8, None, ()),
    "png gray 16": (pillow(GRAY16[..., 0], "PNG"), GRAY16, None, ()),
    "png gray alpha 8": (pillow(with_alpha(GRAY8, ALPHA8), "PNG"), GRAY8, ALPHA8, ()),
    "png gray alpha 16": (imagecodecs.png_encode(with_alpha(GRAY16, ALPHA16)), GRAY16, ALPHA16, ()),
    "png rgb 8": (pillow(RGB8, "PNG"), RGB8, None, ()),
    "png rgb 16": (imagecodecs.png_encode(RGB16), RGB16, None, ()),
    "png rgba 8": (pillow(RGBA8, "PNG"), RGB8, ALPHA8, ()),
    "png rgba 16": (imagecodecs.png_encode(RGBA16), RGB16, ALPHA16, ()),
    "png bilevel": (pillow(BILEVEL, "PNG"), BILEVEL8, None, (TO_GRAY,)),
    "png gray 2": (png((12, 17), 2, 0, TWO_BIT_ROWS), TWO_BITS[..., None] * np.uint8(85), None, ()),
    "png gray 2 with a transparent level": (
        png((12, 17), 2, 0, TWO_BIT_ROWS, png_chunk(b"tRNS", b"\0\1")),
        TWO_BITS[..., None] * np.uint8(85),
        np.where(TWO_BITS == 1, 0, 255).astype(np.uint8),
        (),
    ),
    "png gray with a transparent level": (
        png((12, 17), 8, 0, GRAY8, png_chunk(b"tRNS", struct.pack(">H", GRAY8[0, 0, 0]))),
        GRAY8,
        np.where(GRAY8[..., 0] == GRAY8[0, 0, 0], 0, 255).astype(np.uint8),
        (),
    ),
    "png rgb 16 with a transparent colour": (
        png((12, 17), 16, 2, RGB16.astype(">u2"), png_chunk(b"tRNS", RGB16[0, 0].astype(">u2").tobytes())),
        RGB16,
        np.where((RGB16[0, 0] == RGB16).all(-1), 0, 65535).astype(np.uint16),
        (),
    ),
    "png palette": (pillow(palette_image(), "PNG"), IN_PALETTE, None, (TO_RGB,)),
    "png palette with transparency": (
        pillow(palette_image(), "PNG", transparency=3),
        IN_PALETTE,
        PALETTE_ALPHA,
        (TO_RGB,),
    ),
    "png animated": (
        pillow(RGB8, "PNG", save_all=True, append_images=[Image.fromarray(RGB8[::-1])] * 2),
        RGB8,
        None,
        ("first of 3 frames",),
    ),
    "webp rgb": (pillow(RGB8, "WEBP", lossless=True), RGB8, None, ()),
    "webp rgba": (pillow(RGBA8, "WEBP", lossless=True, exact=True), RGB8, ALPHA8, ()),
    "bmp gray": (pillow(GRAY8[..., 0], "BMP"), GRAY8, None, ()),
    "bmp rgb": (pillow(RGB8, "BMP"), RGB8, None, ()),
    "bmp palette": (pillow(palette_image(), "BMP"), IN_PALETTE, None, (TO_RGB,)),
    "bmp bilevel": (pillow(BILEVEL, "BMP"), BILEVEL8, None, (TO_GRAY,)),
    "tiff gray 8": (tiff(GRAY8[..., 0], photometric="minisblack"), GRAY8, None, ()),
    "tiff gray 16": (tiff(GRAY16[..., 0], photometric="minisblack"), GRAY16, None, ()),
    "tiff gray alpha 16": (
        tiff(with_alpha(GRAY16, ALPHA16), photometric="minisblack", planarconfig="contig", extrasamples=[2]),
        GRAY16,
        ALPHA16,
        (),
    ),
    "tiff rgb 8": (tiff(RGB8, photometric="rgb"), RGB8, None, ()),
    "tiff rgb 16 big-endian": (tiff(RGB16, photometric="rgb", byteorder=">"), RGB16, None, ()),
    "tiff rgb 16 big": (tiff(RGB16, photometric="rgb", bigtiff=True), RGB16, None, ()),
    "tiff rgba 8": (tiff(RGBA8, photometric="rgb", extrasamples=[2]), RGB8, ALPHA8, ()),
    "tiff rgba 16": (tiff(RGBA16, photometric="rgb", extrasamples=[2], compression="zlib"), RGB16, ALPHA16, ()),
    "tiff five channels": (tiff(FIVE, photometric="minisblack", planarconfig="contig"), FIVE, None, ()),
    "tiff planar": (
        tiff(np.moveaxis(RGB16, -1, 0), photometric="rgb", planarconfig="separate", compression="zlib"),
        RGB16,
        None,
        (),
    ),
    "tiff tiles": (tiff(RGB8, photometric="rgb", tile=(16, 16), compression="zlib", predictor=True), RGB8, None, ()),
    "tiff strips": (tiff(RGB8, photometric="rgb", rowsperstrip=5, compression="zlib"), RGB8, None, ()),
    "tiff white is zero 8": (tiff(~GRAY8[..., 0], photometric="miniswhite"), GRAY8, None, ()),
    "tiff white is zero 16": (tiff(~GRAY16[..., 0], photometric="miniswhite"), GRAY16, None, ()),
    "tiff palette": (pillow(palette_image(), "TIFF"), IN_PALETTE, None, (TO_RGB,)),
    "tiff bilevel": (tiff(BILEVEL, photometric="minisblack"), BILEVEL8, None, (TO_GRAY,)),
    "tiff bilevel fax": (pillow(BILEVEL, "TIFF", compression="group4"), BILEVEL8, None, (TO_GRAY,)),
    "tiff lzw 8": (pillow(RGB8, "TIFF", compression="tiff_lzw"), RGB8, None, ()),
    "tiff lzw 16": (tiff(RGB16, photometric="rgb", compression="lzw", predictor=True), RGB16, None, ()),
    "tiff deflate": (pillow(RGB8, "TIFF", compression="tiff_adobe_deflate"), RGB8, None, ()),
    "tiff zstd 16": (tiff(RGB16, photometric="rgb", compression="zstd"), RGB16, None, ()),
    "tiff packbits": (pillow(RGB8, "TIFF", compression="packbits"), RGB8, None, ()),
    "tiff cmyk": (pillow(CMYK, "TIFF"), CMYK_RGB, None, ("CMYK converted to RGB",)),
    "tiff pages": (tiff(np.stack([RGB8] * 5), photometric="rgb"), RGB8, None, ("first of 5 pages",)),
}
LOSSY = {
    "jpeg gray": (pillow(GRAY8[..., 0], "JPEG"), "L", ()),
    "jpeg rgb": (pillow(RGB8, "JPEG"), "RGB", ()),
    "jpeg progressive": (pillow(RGB8, "JPEG", progressive=True), "RGB", ()),
    "jpeg cmyk": (pillow(CMYK, "JPEG"), "RGB", ("CMYK converted to RGB",)),
    "jpeg with a second picture": (
        pillow(RGB8, "MPO", save_all=True, append_images=[Image.fromarray(RGB8[::-1])]),
        "RGB",
        ("first of 2 frames",),
    ),
    "webp lossy": (pillow(RGB8, "WEBP", quality=50), "RGB", ()),
    "webp animated": (
        pillow(RGB8, "WEBP", save_all=True, append_images=[Image.fromarray(RGB8[::-1])], lossless=True),
        "RGB",
        ("first of 2 frames",),
    ),
    "tiff jpeg": (pillow(RGB8, "TIFF", compression="jpeg"), "RGB", ()),
}


def picture_of(samples, alpha=None, icc_profile=None):
    white = np.float32(np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1)
    working = np.float64 if samples.dtype == np.float64 else np.float32
    alpha = None if alpha is None else alpha.astype(working) / white
    return Picture(samples.astype(working) / white, alpha, samples.dtype, "PNG", icc_profile)


EIGHT, SIXTEEN, FLOATS = picture_of(RGB8), picture_of(RGB16), picture_of(UNIT)
