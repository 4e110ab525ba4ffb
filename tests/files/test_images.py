"""Files written by Pillow, tifffile and imagecodecs must come back exactly, and everything else as one clear error."""

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax.files import images
from dipjax.files.images import ImageError, OutputError, Picture

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
    white = np.float32(white or np.iinfo(samples.dtype).max)
    np.testing.assert_array_equal(picture.pixels, samples.astype(np.float32) / white, strict=True)
    assert picture.pixels.flags.c_contiguous
    assert picture.dtype == (dtype or samples.dtype)
    if alpha is None:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, alpha.astype(np.float32) / white, strict=True)


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


# --------------------------------------------------------------------------------------------------------------- load


@pytest.mark.parametrize("kind", EXACT)
def test_every_kind_of_lossless_file_is_read_exactly(kind, tmp_path):
    data, samples, alpha, notes = EXACT[kind]
    picture = images.load(write(tmp_path / "picture", data))
    assert_picture(picture, samples, alpha)
    assert picture.notes == notes
    assert picture.file_format == kind.split()[0].upper()
    assert picture.icc_profile is None


@pytest.mark.parametrize("kind", LOSSY)
def test_every_kind_of_lossy_file_is_read_as_its_decoder_reads_it(kind, tmp_path):
    data, mode, notes = LOSSY[kind]
    picture = images.load(write(tmp_path / "picture", data))
    expected = np.asarray(Image.open(io.BytesIO(data)).convert(mode)).reshape(12, 17, -1)
    assert_picture(picture, expected)
    assert picture.notes == notes


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_float_tiff_inside_the_unit_range_is_read_exactly(dtype, compression, tmp_path):
    samples = UNIT.astype(dtype)
    path = write(tmp_path / "a.tif", tiff(samples, photometric="rgb", compression=compression))
    assert_picture(images.load(path), samples, white=1)


def test_twelve_bit_tiff_has_white_at_4095(tmp_path):
    samples = (GRAY16 >> 4)[..., 0]
    path = write(tmp_path / "a.tif", tiff(samples, photometric="minisblack", bitspersample=12))
    assert_picture(images.load(path), samples[..., None], white=4095)


def test_colours_multiplied_by_their_alpha_are_divided_by_it(tmp_path):
    multiplied = np.rint(RGB16 * (ALPHA16[..., None] / 65535)).astype(np.uint16)
    data = tiff(with_alpha(multiplied, ALPHA16), photometric="rgb", extrasamples=[1])
    picture = images.load(write(tmp_path / "a.tif", data))
    solid = ALPHA16 > 6553
    np.testing.assert_allclose(picture.pixels[solid], RGB16[solid] / 65535, atol=1e-4)
    np.testing.assert_array_equal(picture.alpha, ALPHA16 / np.float32(65535))
    assert picture.notes == ("colours divided by their transparency",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "PNG 16", "TIFF 16", "TIFF jpeg"])
def test_a_picture_is_turned_as_its_exif_tag_says(kind, orientation, tmp_path):
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # the Image.Transpose that undoes each, as Pillow documents it
    upright = Image.fromarray(RGB8)
    if kind == "PNG 16":
        data, tag = imagecodecs.png_encode(RGB16), png_chunk(b"eXIf", exif(orientation).tobytes()[6:])
        data = data[:33] + tag + data[33:]
        upright = Image.fromarray((RGB16 >> 8).astype(np.uint8))
    elif kind == "TIFF 16":
        data = tiff(RGB16, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        upright = Image.fromarray((RGB16 >> 8).astype(np.uint8))
    elif kind == "TIFF jpeg":
        data = tiff(RGB8, photometric="rgb", compression="jpeg", extratags=[(274, "H", 1, orientation, True)])
        upright = Image.fromarray(imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(RGB8)))
    else:
        options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0}
        data = pillow(RGB8, kind, exif=exif(orientation), **options)
        upright = Image.open(io.BytesIO(data)).convert("RGB")
    if orientation in turn:
        upright = upright.transpose(Image.Transpose(turn[orientation]))
    picture = images.load(write(tmp_path / "a", data))
    assert picture.pixels.shape == (upright.height, upright.width, 3)
    tolerance = 0.5 if kind == "TIFF jpeg" else 1 / 255  # 16 bits against their upper half; JPEG of noise is rough
    np.testing.assert_allclose(picture.pixels, np.asarray(upright) / 255, atol=tolerance)
    assert picture.notes == (("rotated as its EXIF tag says",) if orientation > 1 else ())


def test_alpha_is_turned_with_the_colours(tmp_path):
    path = write(tmp_path / "a.png", pillow(RGBA8, "PNG", exif=exif(6)))
    assert_picture(images.load(path), np.rot90(RGB8, -1), np.rot90(ALPHA8, -1))


@pytest.mark.parametrize(
    "data",
    [
        pillow(RGB8, "PNG", icc_profile=PROFILE),
        pillow(RGB8, "JPEG", icc_profile=PROFILE),
        pillow(RGB8, "WEBP", icc_profile=PROFILE),
        tiff(RGB16, photometric="rgb", iccprofile=PROFILE),
        tiff(RGB8, photometric="rgb", compression="jpeg", iccprofile=PROFILE),
    ],
    ids=["png", "jpeg", "webp", "tiff", "tiff jpeg"],
)
def test_the_colour_profile_is_kept(data, tmp_path):
    assert images.load(write(tmp_path / "a", data)).icc_profile == PROFILE


def test_a_profile_of_inks_is_not_kept_for_rgb(tmp_path):
    assert images.load(write(tmp_path / "a", pillow(CMYK, "JPEG", icc_profile=PROFILE))).icc_profile is None


def test_the_content_decides_the_format_not_the_name(tmp_path):
    picture = images.load(write(tmp_path / "a.jpg", pillow(RGB8, "PNG")))
    assert_picture(picture, RGB8)
    assert (picture.file_format, picture.notes) == ("PNG", ("named .jpg but its content is PNG",))


def test_a_picture_of_one_pixel_is_read(tmp_path):
    assert images.load(write(tmp_path / "a.png", pillow(RGB8[:1, :1], "PNG"))).pixels.shape == (1, 1, 3)
    assert images.load(write(tmp_path / "a.tif", tiff(RGB8[:1, :1], photometric="rgb"))).pixels.shape == (1, 1, 3)


def int_tiff(dtype):
    return tiff(GRAY8[..., 0].astype(dtype), photometric="minisblack")


def float_tiff(value):
    samples = UNIT.copy()
    samples[2, 3, 1] = value
    return tiff(samples, photometric="rgb")


RGB_PNG = pillow(RGB8, "PNG")
REFUSED = {
    "empty": (b"", "it is empty"),
    "text": (b"Dear Sir or Madam,\n" * 50, "it is not a PNG, JPEG, WebP, BMP or TIFF picture"),
    "gif": (pillow(RGB8, "GIF"), "it is not a PNG"),
    "sound in a RIFF file": (b"RIFF\0\0\0\0WAVEfmt ", "it is not a PNG"),
    "text that starts like a BMP": (b"BMW is a maker of cars" * 9, "truncated, damaged or of a kind not supported"),
    "png cut in two": (RGB_PNG[: len(RGB_PNG) // 2], "truncated, damaged"),
    "png with a wrong bit": (RGB_PNG[:99] + bytes([RGB_PNG[99] ^ 1]) + RGB_PNG[100:], "truncated, damaged"),
    "png without width": (png((12, 0), 8, 2, []), "cannot read"),
    "png 16 cut in two": (imagecodecs.png_encode(RGB16)[:700], "truncated, damaged"),
    "jpeg cut in two": (pillow(RGB8, "JPEG")[:500], "truncated, damaged"),
    "webp cut in two": (pillow(RGB8, "WEBP", lossless=True)[:300], "truncated, damaged"),
    "bmp cut in two": (pillow(RGB8, "BMP")[:300], "truncated, damaged"),
    "tiff cut in two": (pillow(RGB8, "TIFF")[:300], "truncated, damaged"),
    "tiff lab": (pillow(Image.fromarray(RGB8).convert("LAB"), "TIFF"), "stored as LAB; convert it to RGB or gray"),
    "tiff int16": (int_tiff("int16"), "samples are int16; convert it to uint8, uint16, or float32"),
    "tiff int8": (int_tiff("int8"), "samples are int8; convert"),
    "tiff uint32": (int_tiff("uint32"), "samples are uint32; convert"),
    "tiff complex": (int_tiff("complex64"), "samples are complex64; convert"),
    "tiff above one": (float_tiff(1.5), r"has values from .* to 1.5, expected \[0, 1\]; divide by 255"),
    "tiff below zero": (float_tiff(-0.5), r"has values from -0.5 to .*, expected \[0, 1\]"),
    "tiff nan": (float_tiff(np.nan), r"has 1 NaN or infinite values, the first at \(2, 3, 1\); replace them"),
    "tiff infinite": (float_tiff(np.inf), "has 1 NaN or infinite values"),
    "tiff volume": (
        tiff(np.zeros((16, 16, 16), np.uint8), volumetric=True, tile=(16, 16, 16), photometric="minisblack"),
        "is not one picture",
    ),
    "tiff cmyk 16": (tiff(RGBA16, photometric="separated"), "16-bit samples .* cannot be read; save it as gray or RGB"),
    "tiff lzma 16": (
        tiff(RGB16, photometric="rgb", compression="lzma"),
        "16-bit samples .* cannot be read; save it as",
    ),
    "tiff jpeg 2000": (tiff(RGB8, photometric="rgb", compression="jpeg2000"), "kind not supported"),
    "900 megapixels": (png((30_000, 30_000), 8, 0, []), "too many pixels; make it smaller"),
    "120 megapixels": (png((10_000, 12_000), 8, 0, []), "too many pixels; make it smaller"),
    "70 megapixels": (png((10_000, 7_000), 8, 0, []), "7000 x 10000 pixels, expected 1 to 64,000,000; crop it or make"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_cannot_be_used_gives_one_sentence(kind, tmp_path, capfd):
    data, words = REFUSED[kind]
    with pytest.raises(ImageError, match=words) as caught:
        images.load(write(tmp_path / "bad.png", data))
    message = str(caught.value)
    assert message.startswith(f"cannot read '{tmp_path}/bad.png': it")
    assert "\n" not in message and len(message) < 300 + len(str(tmp_path))
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


def test_what_is_not_a_file_gives_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, words in [
        ("nothing.png", "No such file"),
        (".", "it is a directory"),
        ("pipe", "it is not a regular file"),
        ("loop", "cannot read"),
        ("a\0b", "cannot read"),
        ("a" * 300, "File name too long"),
    ]:
        with pytest.raises(ImageError, match=words):
            images.load(tmp_path / name)


def test_a_file_without_permission_gives_one_sentence(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = write(tmp_path / "a.png", RGB_PNG)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="a.png': Permission denied"):
        images.load(path)


@pytest.mark.parametrize("name", ["http://localhost/a.png", "file:///etc/hostname", "<clipboard>", "a.zip/a.png"])
def test_a_name_is_never_taken_for_an_address(name):
    with pytest.raises(ImageError, match="No such file"):
        images.load(name)


@pytest.mark.parametrize("kind", ["png rgb 16", "bmp rgb", "webp rgb", "tiff rgb 8", "tiff lzw 16", "tiff palette"])
def test_the_pixel_limit_holds_for_every_format(kind, tmp_path):
    path = write(tmp_path / "a", EXACT[kind][0])
    assert images.load(path, max_pixels=12 * 17).pixels.shape == (12, 17, 3)
    with pytest.raises(ImageError, match="17 x 12 pixels, expected 1 to 203"):
        images.load(path, max_pixels=12 * 17 - 1)


def test_a_tiff_that_claims_a_huge_tile_or_many_channels_is_refused_before_it_is_decoded(tmp_path):
    data = bytearray(tiff(RGB8, photometric="rgb", tile=(16, 16), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
    changes = [  # place and value: TileWidth, SamplesPerPixel, a length that is one number, a width that is many
        [(tags["TileWidth"].valueoffset, 65520)],
        [(tags["SamplesPerPixel"].valueoffset, 65535)],
        [(tags["ImageLength"].valueoffset + 2, 1000)],
        [(tags["ImageWidth"].offset + 4, 40), (tags["ImageLength"].valueoffset + 2, 1000)],
    ]
    for change in changes:
        changed = data.copy()
        for place, value in change:
            changed[place : place + 2] = struct.pack("<H", value)
        with pytest.raises(ImageError):
            images.load(write(tmp_path / "a.tif", changed), max_pixels=10_000)


def test_a_tiff_in_one_strip_without_a_declared_height_is_read(tmp_path):
    data = bytearray(tiff(RGB8, photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages[0].tags["RowsPerStrip"].offset
    data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 2**32 - 1)
    assert_picture(images.load(write(tmp_path / "a.tif", data)), RGB8)


@pytest.mark.parametrize("kind", [*EXACT, "jpeg rgb", "jpeg progressive", "webp lossy"])
def test_a_file_cut_short_is_refused_unless_nothing_is_missing(kind, tmp_path):
    data = (EXACT | LOSSY)[kind][0]
    whole = images.load(write(tmp_path / "a", data))
    for length in np.linspace(1, len(data) - 1, 40, dtype=int):
        try:
            picture = images.load(write(tmp_path / "a", data[:length]))
        except ImageError:
            continue
        np.testing.assert_array_equal(picture.pixels, whole.pixels)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp", "bmp", "tiff"])
def test_a_damaged_file_gives_a_picture_or_an_image_error(file_format, tmp_path):
    kinds = [(EXACT | LOSSY)[kind][0] for kind in EXACT | LOSSY if kind.startswith(file_format)]
    rng = np.random.default_rng(1)
    outcomes = set()
    for trial in range(300):
        data = bytearray(kinds[trial % len(kinds)])
        if trial % 3 == 0:
            del data[rng.integers(len(data)) :]
        else:
            near_the_header = trial % 3 == 1
            for place in rng.integers(0, min(len(data), 200) if near_the_header else len(data), rng.integers(1, 6)):
                data[place] ^= 1 << rng.integers(8)
        try:
            picture = images.load(write(tmp_path / "a", data), max_pixels=100_000)
        except ImageError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert picture.pixels.dtype == np.float32 and picture.pixels.ndim == 3
            assert picture.pixels.min() >= 0 and picture.pixels.max() <= 1
            assert picture.alpha is None or picture.alpha.shape == picture.pixels.shape[:2]
    assert outcomes == {"refused", "read"}


# --------------------------------------------------------------------------------------------------------------- save


def picture_of(samples, alpha=None, icc_profile=None):
    white = np.float32(np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1)
    alpha = None if alpha is None else alpha.astype(np.float32) / white
    return Picture(samples.astype(np.float32) / white, alpha, samples.dtype, "PNG", icc_profile)


ROUND_TRIPS = [
    *[(".png", samples, alpha) for samples in (GRAY8, RGB8) for alpha in (None, ALPHA8)],
    *[(".png", samples, alpha) for samples in (GRAY16, RGB16) for alpha in (None, ALPHA16)],
    *[(suffix, samples, None) for suffix in (".bmp", ".tiff") for samples in (GRAY8, RGB8)],
    *[(".tif", samples, alpha) for samples in (GRAY16, RGB16, FIVE) for alpha in (None, ALPHA16)],
    *[(".tif", samples, alpha) for samples in (UNIT[..., :2], UNIT) for alpha in (None, UNIT[..., 1])],
    *[(".tif", UNIT.astype(dtype), None) for dtype in ("float16", "float64")],
    *[(".webp", RGB8, alpha) for alpha in (None, ALPHA8)],
]


@pytest.mark.parametrize(("suffix", "samples", "alpha"), ROUND_TRIPS)
def test_a_saved_picture_is_read_back_exactly(suffix, samples, alpha, tmp_path):
    like = picture_of(samples, alpha)
    images.save(tmp_path / f"a{suffix}", like.pixels, like)
    assert_picture(images.load(tmp_path / f"a{suffix}"), samples, alpha, white=None if samples.dtype.kind == "u" else 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_of_a_png_survives_being_read_and_saved(dtype, tmp_path):
    samples = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(256, -1, 1)
    like = picture_of(samples)
    images.save(tmp_path / "a.png", like.pixels, like)
    assert_picture(images.load(tmp_path / "a.png"), samples)
    decoded = imagecodecs.png_decode(write(tmp_path / "b.png", (tmp_path / "a.png").read_bytes()).read_bytes())
    np.testing.assert_array_equal(decoded, samples[..., 0])


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
@pytest.mark.parametrize("samples", [GRAY8, RGB8], ids=["gray", "rgb"])
def test_jpeg_is_saved_finely_and_gray_stays_gray(suffix, samples, tmp_path):
    smooth = np.broadcast_to(np.linspace(0, 255, 17)[:, None], (12, 17, samples.shape[-1])).astype(np.uint8)
    like = picture_of(smooth)
    images.save(tmp_path / f"a{suffix}", like.pixels, like)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.format == "JPEG" and image.mode == ("L" if samples.shape[-1] == 1 else "RGB")
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * samples.shape[-1]  # no colour subsampling
    np.testing.assert_allclose(images.load(tmp_path / f"a{suffix}").pixels, like.pixels, atol=3 / 255)


def test_webp_stores_gray_as_equal_colours(tmp_path):
    for alpha in (None, ALPHA8):
        like = picture_of(GRAY8, alpha)
        images.save(tmp_path / "a.webp", like.pixels, like, force=True)
        assert_picture(images.load(tmp_path / "a.webp"), np.repeat(GRAY8, 3, axis=-1), alpha)


def test_values_are_clipped_and_rounded_to_the_nearest_level(tmp_path):
    values = np.array([-0.3, -1e-6, 0.49 / 255, 0.51 / 255, 99.6 / 255, 1.0, 1.2], np.float32)
    like = picture_of(GRAY8)
    images.save(tmp_path / "a.png", values[None, :, None], like)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 0, 0, 1, 100, 255, 255]]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", "16.png", "16.tif"])
def test_the_colour_profile_is_written(suffix, tmp_path):
    like = picture_of(RGB16 if "16" in suffix else RGB8, icc_profile=PROFILE)
    images.save(tmp_path / f"a{suffix}", like.pixels, like)
    with Image.open(tmp_path / f"a{suffix}") as image:
        image.load()
        assert image.info["icc_profile"] == PROFILE


def test_no_exif_is_written(tmp_path):
    like = images.load(write(tmp_path / "a.jpg", pillow(RGB8, "JPEG", exif=exif(6))))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        images.save(tmp_path / f"b{suffix}", like.pixels, like)
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert image.size == (12, 17)
            assert image.getexif().get(0x0112, 1) == 1


def test_alpha_grows_with_the_result(tmp_path):
    like = picture_of(RGB16, ALPHA16)
    larger = np.kron(like.pixels, np.ones((2, 2, 1), np.float32))
    images.save(tmp_path / "a.png", larger, like)
    saved = images.load(tmp_path / "a.png")
    resized = np.asarray(Image.fromarray(like.alpha).resize((34, 24), Image.Resampling.LANCZOS))
    assert saved.pixels.shape == (24, 34, 3)
    np.testing.assert_array_equal(saved.pixels, larger)
    np.testing.assert_allclose(saved.alpha, np.clip(resized, 0, 1), atol=0.6 / 65535)


def test_a_given_alpha_replaces_that_of_the_input(tmp_path):
    for name, like in [("a.png", picture_of(RGB8, ALPHA8)), ("b.png", picture_of(RGB8))]:
        images.save(tmp_path / name, like.pixels, like, alpha=ALPHA8[::-1] / 255)
        assert_picture(images.load(tmp_path / name), RGB8, ALPHA8[::-1])


EIGHT, SIXTEEN, FLOATS = picture_of(RGB8), picture_of(RGB16), picture_of(UNIT)
CANNOT_HOLD = [
    ("a.jpg", SIXTEEN, "JPEG cannot hold uint16 samples; use the suffix .png or .tif"),
    ("a.webp", SIXTEEN, "WEBP cannot hold uint16 samples; use the suffix .png or .tif"),
    ("a.bmp", SIXTEEN, "BMP cannot hold uint16 samples; use the suffix .png or .tif"),
    ("a.png", FLOATS, "PNG cannot hold float32 samples; use the suffix .tif"),
    ("a.jpg", FLOATS, "JPEG cannot hold float32 samples; use the suffix .tif"),
    ("a.jpeg", picture_of(RGB8, ALPHA8), "JPEG cannot hold transparency; use the suffix .png or .tif"),
    ("a.bmp", picture_of(RGB8, ALPHA8), "BMP cannot hold transparency; use the suffix .png or .tif"),
    ("a.bmp", picture_of(RGB8, None, PROFILE), "BMP cannot hold a colour profile; use the suffix .png or .tif"),
    ("a.png", picture_of(FIVE), "PNG cannot hold 5 channels; use the suffix .tif"),
    ("a.png", picture_of(RGB8[..., :2]), "PNG cannot hold 2 channels; use the suffix .tif"),
    ("a.gif", EIGHT, "its suffix names no format; use one of .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff"),
    ("a", EIGHT, "its suffix names no format"),
    ("missing/a.png", EIGHT, "there is no directory '.*missing'; make it first"),
    ("there.png", EIGHT, "it already exists; use --force to replace it"),
    ("folder.png", EIGHT, "it is a directory"),
    ("link.png", EIGHT, "it already exists; use --force to replace it"),
]


@pytest.mark.parametrize(("name", "like", "words"), CANNOT_HOLD)
def test_an_output_that_cannot_be_written_is_refused_before_and_after_the_computation(name, like, words, tmp_path):
    write(tmp_path / "there.png", b"precious")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("gone.png")
    before = sorted(tmp_path.iterdir())
    for attempt in (
        lambda: images.check_writable(tmp_path / name, like),
        lambda: images.save(tmp_path / name, like.pixels, like),
    ):
        with pytest.raises(OutputError, match=f"cannot write '{tmp_path}/{name}': {words}"):
            attempt()
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.png").read_bytes() == b"precious"


def test_a_checked_output_is_left_alone(tmp_path):
    images.check_writable(tmp_path / "a.png", EIGHT)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "a.png", b"precious")
    images.check_writable(tmp_path / "a.png", EIGHT, force=True)
    assert (tmp_path / "a.png").read_bytes() == b"precious"


def test_the_size_of_the_result_counts_against_the_limits_of_the_format(tmp_path):
    long = picture_of(np.zeros((1, 10_000, 1), np.uint8))
    images.check_writable(tmp_path / "a.webp", long)
    with pytest.raises(OutputError, match="WEBP cannot hold a side longer than 16383 pixels; use the suffix .png or .tif"):
        images.check_writable(tmp_path / "a.webp", long, factor=2)


def test_a_directory_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="no permission to write in"):
        images.check_writable(tmp_path / "a.png", EIGHT)


def test_a_result_that_is_not_a_picture_is_refused(tmp_path):
    for pixels in (EIGHT.pixels[..., 0], EIGHT.pixels[..., :1], EIGHT.pixels[:0]):
        with pytest.raises(ValueError, match=r"pixels has shape .*, expected \(H, W, 3\)"):
            images.save(tmp_path / "a.png", pixels, EIGHT)
    with pytest.raises(OutputError, match="the result has NaN or infinite values"):
        images.save(tmp_path / "a.png", np.full_like(EIGHT.pixels, np.nan), EIGHT)
    assert list(tmp_path.iterdir()) == []


def full_disk(*_, **options):
    del options
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_behind_and_the_old_file_whole(call, tmp_path, monkeypatch):
    write(tmp_path / "a.png", b"precious")
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OutputError, match="cannot write '.*a.png': No space left on device"):
        images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"precious"


def test_a_full_disk_leaves_no_new_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        images.save(tmp_path / "a.jpg", EIGHT.pixels, EIGHT)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_during_the_writing_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: write(tmp_path / "a.png", b"precious"))
    with pytest.raises(OutputError, match="already exists; use --force"):
        images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"precious"


def test_a_disk_without_hard_links_is_written_all_the_same(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert_picture(images.load(tmp_path / "a.png"), RGB8)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OutputError, match="already exists"):
        images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)


def test_force_replaces_a_file_in_one_step(tmp_path):
    write(tmp_path / "a.png", b"old")
    images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT, force=True)
    assert_picture(images.load(tmp_path / "a.png"), RGB8)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_saved_file_has_the_permissions_of_any_new_file(tmp_path):
    images.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert (tmp_path / "a.png").stat().st_mode == write(tmp_path / "b", b"").stat().st_mode


# --------------------------------------------------------------------------------------- names, masks, kernels, arrays


def test_the_output_is_named_after_the_input():
    assert images.default_output("photo.png", "denoised") == Path("photo.denoised.png")
    assert images.default_output("a/b.c/photo.v2.JPG", "x4") == Path("a/b.c/photo.v2.x4.JPG")
    assert images.default_output("photo", "denoised") == Path("photo.denoised.png")


def test_a_misleading_suffix_gives_way_to_the_real_format(tmp_path):
    jpeg = pillow(RGB8, "JPEG")
    for name, expected in [("a.jpeg", "a.denoised.jpeg"), ("a.png", "a.denoised.jpg"), ("a.tmp", "a.denoised.jpg")]:
        assert images.default_output(write(tmp_path / name, jpeg), "denoised") == tmp_path / expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GRAY8[..., 0]), GRAY8[..., 0] > 127),
        (Image.fromarray(BILEVEL), BILEVEL),
        (Image.fromarray(RGB8), RGB8.mean(-1) > 127.5),
        (Image.fromarray(with_alpha(GRAY8, ALPHA8)), GRAY8[..., 0] > 127),
    ],
    ids=["gray", "bilevel", "rgb", "gray alpha"],
)
def test_a_mask_is_true_where_it_is_lighter_than_half(image, expected, tmp_path):
    mask = images.load_mask(write(tmp_path / "mask.png", pillow(image, "PNG")), (12, 17))
    np.testing.assert_array_equal(mask, expected, strict=True)


def test_a_mask_is_turned_like_any_picture(tmp_path):
    path = write(tmp_path / "mask.png", pillow(BILEVEL, "PNG", exif=exif(6)))
    np.testing.assert_array_equal(images.load_mask(path, (17, 12)), np.rot90(BILEVEL, -1))


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = write(tmp_path / "mask.png", pillow(BILEVEL, "PNG"))
    with pytest.raises(ImageError, match="the mask '.*' is 17 x 12 pixels but the picture is 12 x 17 pixels"):
        images.load_mask(path, (17, 12))


KERNEL = np.array([[0, 1, 0, 2], [3, 4, 5, 1]])


def save_npy(path):
    np.save(path, KERNEL)


@pytest.mark.parametrize(
    ("name", "put"),
    [
        ("k.npy", save_npy),
        ("k.txt", lambda path: np.savetxt(path, KERNEL)),
        ("k.csv", lambda path: np.savetxt(path, KERNEL, delimiter=",")),
        ("k.png", lambda path: path.write_bytes(pillow((KERNEL * 10).astype(np.uint8), "PNG"))),
        ("rgb.png", lambda path: path.write_bytes(pillow((KERNEL * 10).astype(np.uint8), "PNG", "RGB"))),
        ("k.tif", lambda path: path.write_bytes(tiff((KERNEL / 16).astype(np.float32), photometric="minisblack"))),
    ],
)
def test_a_kernel_sums_to_one_whatever_file_it_comes_from(name, put, tmp_path):
    put(tmp_path / name)
    psf = images.load_psf(tmp_path / name)
    assert psf.dtype == np.float32
    np.testing.assert_allclose(psf, KERNEL / 16, rtol=1e-6, atol=0)


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.npy", npy(np.array([{}], dtype=object), allow_pickle=True), "cannot read"),
        ("a.npy", npy(KERNEL)[:-9], "cannot read"),
        ("a.npy", npy(KERNEL).replace(b"(2, 4)", b"(2, 9999999999)"), "cannot read"),
        ("a.npy", b"PK\3\4 an archive", "cannot read"),
        ("a.npy", npy(KERNEL[0]), r"is int64 of shape \(4,\), expected numbers in rows"),
        ("a.npy", npy(KERNEL * 1j), "is complex128 of shape"),
        ("a.npy", npy(KERNEL[:0]), "not all zero"),
        ("a.npy", npy(KERNEL - 1), "none negative"),
        ("a.npy", npy(KERNEL * 0), "not all zero"),
        ("a.npy", npy(KERNEL / np.float64("nan")), "finite"),
        ("a.npy", npy(KERNEL + np.float64("inf")), "finite"),
        ("a.txt", b"", "not all zero"),
        ("a.txt", b"1 2\n3\n", "cannot read"),
        ("a.csv", b"one,two\n", "cannot read"),
        ("a.csv", b"\xff\xfe\0", "cannot read"),
        ("a.dat", b"1 2 3", "it is not a PNG"),
        ("missing.npy", None, "No such file"),
        ("missing.txt", None, "No such file"),
    ],
)
def test_a_file_that_is_no_kernel_gives_one_sentence(name, data, words, tmp_path):
    if data is not None:
        write(tmp_path / name, data)
    with pytest.raises(ImageError, match=words):
        images.load_psf(tmp_path / name)


@pytest.mark.parametrize(
    ("image", "axis", "expected"),
    [
        (RGB8, -1, RGB8 / np.float32(255)),
        (RGB16, 2, RGB16 / np.float32(65535)),
        (RGB16.astype(">u2"), -1, RGB16 / np.float32(65535)),
        (np.moveaxis(RGB8, -1, 0), 0, RGB8 / np.float32(255)),
        (np.moveaxis(RGB8, -1, 1), -2, RGB8 / np.float32(255)),
        (FIVE, -1, FIVE / np.float32(65535)),
        (GRAY8[..., 0], None, GRAY8 / np.float32(255)),
        (GRAY8[..., 0], -1, GRAY8 / np.float32(255)),
        (GRAY8, -1, GRAY8 / np.float32(255)),
        (UNIT, -1, UNIT),
        (UNIT.astype(np.float64), -1, UNIT),
        (UNIT.astype(np.float16), -1, UNIT.astype(np.float16).astype(np.float32)),
        ([[0.0, 0.5], [1.0, 0.25]], None, np.array([[[0], [0.5]], [[1], [0.25]]], np.float32)),
    ],
)
def test_an_array_is_brought_to_the_unit_range_and_its_layout_back(image, axis, expected):
    pixels, back = images.to_unit(image, channel_axis=axis)
    np.testing.assert_array_equal(pixels, expected, strict=True)
    larger = np.kron(pixels, np.ones((2, 3, 1), np.float32))
    restored = back(larger)
    assert restored.dtype == np.float32 and restored.ndim == np.ndim(image)
    np.testing.assert_array_equal(images.to_unit(restored, channel_axis=axis)[0], larger)
    np.testing.assert_array_equal(back(larger + 9), restored + 9)


@pytest.mark.parametrize(
    ("image", "axis", "words"),
    [
        (np.full((4, 4), np.nan), None, r"has 16 NaN or infinite values, the first at \(0, 0\); replace them"),
        (np.full((4, 4), np.inf), None, "has 16 NaN or infinite values"),
        (np.zeros((0, 4)), None, r"is empty, its shape is \(0, 4\)"),
        (np.zeros(4), None, r"has shape \(4,\); give one image"),
        (np.zeros((2, 4, 4, 3)), -1, r"has shape \(2, 4, 4, 3\); give one image"),
        (np.float32(0.5), None, r"has shape \(\); give one image"),
        (RGB8, None, r"has shape \(12, 17, 3\) but no channel_axis; say which axis"),
        (RGB8, 3, r"has shape \(12, 17, 3\) and no axis 3; give a channel_axis from -3 to 2"),
        (
            RGB8.astype(np.float32),
            -1,
            r"has values from 0 to 255, expected \[0, 1\]; divide by 255 if that means white",
        ),
        (UNIT - 1, -1, r"has values from -.*, expected \[0, 1\]"),
        (RGB8.astype(np.int64), -1, "has dtype int64; use uint8, uint16, or float with values in"),
        (RGB8.astype(np.uint32), -1, "has dtype uint32"),
        (BILEVEL, None, "has dtype bool"),
        (UNIT.astype(np.complex64), -1, "has dtype complex64"),
        (np.array([["a"]]), None, "has dtype <U1"),
        (np.array([[None]]), None, "has dtype object"),
    ],
)
def test_an_array_that_is_no_image_is_refused_in_one_sentence(image, axis, words):
    with pytest.raises(ValueError, match=f"^photo {words}"):
        images.to_unit(image, channel_axis=axis, name="photo")


def test_the_module_needs_no_jax():
    source = Path(images.__file__).read_text()
    assert "import jax" not in source and "from dipjax" not in source
