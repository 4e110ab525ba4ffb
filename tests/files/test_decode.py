"""Every kind of file must be read exactly, and every other file refused in one sentence."""

import errno
import io
import os
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax import files
from dipjax.files import ImageError
from tests.files.samples import (
    ALPHA8,
    ALPHA16,
    CMYK,
    EXACT,
    GRAY8,
    GRAY16,
    LOSSY,
    PROFILE,
    RGB8,
    RGB16,
    RGBA8,
    RGBA16,
    UNIT,
    assert_picture,
    exif,
    pillow,
    png,
    png_chunk,
    tiff,
    with_alpha,
    write,
)


@pytest.mark.parametrize("kind", EXACT)
def test_every_kind_of_lossless_file_is_read_exactly(kind, tmp_path):
    data, samples, alpha, notes = EXACT[kind]
    picture = files.load(write(tmp_path / "picture", data))
    assert_picture(picture, samples, alpha)
    assert picture.notes == notes
    assert picture.file_format == kind.split()[0].upper()
    assert picture.icc_profile is None


@pytest.mark.parametrize("kind", LOSSY)
def test_every_kind_of_lossy_file_is_read_as_its_decoder_reads_it(kind, tmp_path):
    data, mode, notes = LOSSY[kind]
    picture = files.load(write(tmp_path / "picture", data))
    expected = np.asarray(Image.open(io.BytesIO(data)).convert(mode)).reshape(12, 17, -1)
    assert_picture(picture, expected)
    assert picture.notes == notes


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_float_tiff_inside_the_unit_range_is_read_exactly(dtype, compression, tmp_path):
    samples = UNIT.astype(dtype)
    path = write(tmp_path / "a.tif", tiff(samples, photometric="rgb", compression=compression))
    assert_picture(files.load(path), samples, white=1)


def test_twelve_bit_tiff_has_white_at_4095(tmp_path):
    samples = (GRAY16 >> 4)[..., 0]
    path = write(tmp_path / "a.tif", tiff(samples, photometric="minisblack", bitspersample=12))
    assert_picture(files.load(path), samples[..., None], white=4095)


def test_colours_multiplied_by_their_alpha_are_divided_by_it(tmp_path):
    multiplied = np.rint(RGB16 * (ALPHA16[..., None] / 65535)).astype(np.uint16)
    data = tiff(with_alpha(multiplied, ALPHA16), photometric="rgb", extrasamples=[1])
    picture = files.load(write(tmp_path / "a.tif", data))
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
    picture = files.load(write(tmp_path / "a", data))
    assert picture.pixels.shape == (upright.height, upright.width, 3)
    tolerance = 0.5 if kind == "TIFF jpeg" else 1 / 255  # 16 bits against their upper half; JPEG of noise is rough
    np.testing.assert_allclose(picture.pixels, np.asarray(upright) / 255, atol=tolerance)
    assert picture.notes == (("rotated as its EXIF tag says",) if orientation > 1 else ())


def test_alpha_is_turned_with_the_colours(tmp_path):
    path = write(tmp_path / "a.png", pillow(RGBA8, "PNG", exif=exif(6)))
    assert_picture(files.load(path), np.rot90(RGB8, -1), np.rot90(ALPHA8, -1))


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
    assert files.load(write(tmp_path / "a", data)).icc_profile == PROFILE


def test_a_profile_of_inks_is_not_kept_for_rgb(tmp_path):
    assert files.load(write(tmp_path / "a", pillow(CMYK, "JPEG", icc_profile=PROFILE))).icc_profile is None


def test_the_content_decides_the_format_not_the_name(tmp_path):
    picture = files.load(write(tmp_path / "a.jpg", pillow(RGB8, "PNG")))
    assert_picture(picture, RGB8)
    assert (picture.file_format, picture.notes) == ("PNG", ("named .jpg but its content is PNG",))


def test_a_picture_of_one_pixel_is_read(tmp_path):
    assert files.load(write(tmp_path / "a.png", pillow(RGB8[:1, :1], "PNG"))).pixels.shape == (1, 1, 3)
    assert files.load(write(tmp_path / "a.tif", tiff(RGB8[:1, :1], photometric="rgb"))).pixels.shape == (1, 1, 3)


def int_tiff(dtype):
    return tiff(GRAY8[..., 0].astype(dtype), photometric="minisblack")


def float_tiff(value):
    samples = UNIT.copy()
    samples[2, 3, 1] = value
    return tiff(samples, photometric="rgb")


RGB_PNG = pillow(RGB8, "PNG")
REFUSED = {
    "empty": (b"", "it is empty"),
    "text": (b"Dear Sir or Madam,\n" * 50, "it is not a picture of a kind that is known: PNG, JPEG, "),
    "sound in a RIFF file": (b"RIFF\0\0\0\0WAVEfmt ", "it is not a picture of a kind"),
    "text that starts like a BMP": (b"BMW is a maker of cars" * 9, "1936875875 x 542592322 = 1,050,.* pixels, more than"),
    "png cut in two": (RGB_PNG[: len(RGB_PNG) // 2], "truncated, damaged"),
    "png with a wrong bit": (RGB_PNG[:99] + bytes([RGB_PNG[99] ^ 1]) + RGB_PNG[100:], "truncated, damaged"),
    "png without width": (png((12, 0), 8, 2, []), "cannot read"),
    "png 16 cut in two": (imagecodecs.png_encode(RGB16)[:700], "truncated, damaged"),
    "jpeg cut in two": (pillow(RGB8, "JPEG")[:500], "truncated, damaged"),
    "webp cut in two": (pillow(RGB8, "WEBP", lossless=True)[:300], "truncated, damaged"),
    "bmp cut in two": (pillow(RGB8, "BMP")[:300], "truncated, damaged"),
    "tiff cut in two": (pillow(RGB8, "TIFF")[:300], "truncated, damaged"),
    "tiff lab": (pillow(Image.fromarray(RGB8).convert("LAB"), "TIFF"), "stored as LAB; convert it to RGB or gray"),
    "tiff complex": (int_tiff("complex64"), "samples are complex64; convert"),
    "tiff nan": (float_tiff(np.nan), r"has 1 NaN or infinite values, the first at \(2, 3, 1\); fill them in by inpainting"),
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
    "900 megapixels": (png((30_000, 30_000), 8, 0, []), "30000 x 30000 = 900,000,000 pixels, more than the limit of 64,000,000"),
    "70 megapixels": (png((10_000, 7_000), 8, 0, []), "7000 x 10000 = 70,000,000 pixels, .* lift the limit with max_pixels"),
    "tiff int64": (int_tiff("int64"), "samples are int64; convert them to uint8, uint16, or float32"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_cannot_be_used_gives_one_sentence(kind, tmp_path, capfd):
    data, words = REFUSED[kind]
    with pytest.raises(ImageError, match=words) as caught:
        files.load(write(tmp_path / "bad.png", data))
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
        ("a\0b", "has a NUL character"),
        ("a" * 300, "File name too long"),
    ]:
        with pytest.raises(ImageError, match=words):
            files.load(tmp_path / name)


def test_a_file_without_permission_gives_one_sentence(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = write(tmp_path / "a.png", RGB_PNG)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="a.png': Permission denied"):
        files.load(path)


@pytest.mark.parametrize("name", ["http://localhost/a.png", "file:///etc/hostname", "<clipboard>", "a.zip/a.png"])
def test_a_name_is_never_taken_for_an_address(name):
    with pytest.raises(ImageError, match="No such file"):
        files.load(name)


@pytest.mark.parametrize("kind", ["png rgb 16", "bmp rgb", "webp rgb", "tiff rgb 8", "tiff lzw 16", "tiff palette"])
def test_the_pixel_limit_holds_for_every_format(kind, tmp_path):
    path = write(tmp_path / "a", EXACT[kind][0])
    assert files.load(path, max_pixels=12 * 17).pixels.shape == (12, 17, 3)
    with pytest.raises(ImageError, match="17 x 12 = 204 pixels, more than the limit of 203; .* lift the limit with max_pixels"):
        files.load(path, max_pixels=12 * 17 - 1)


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
            files.load(write(tmp_path / "a.tif", changed), max_pixels=10_000)


def test_a_tiff_in_one_strip_without_a_declared_height_is_read(tmp_path):
    data = bytearray(tiff(RGB8, photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages[0].tags["RowsPerStrip"].offset
    data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 2**32 - 1)
    assert_picture(files.load(write(tmp_path / "a.tif", data)), RGB8)


@pytest.mark.parametrize("kind", [*EXACT, "jpeg rgb", "jpeg progressive", "webp lossy"])
def test_a_file_cut_short_is_refused_unless_nothing_is_missing(kind, tmp_path):
    data = (EXACT | LOSSY)[kind][0]
    whole = files.load(write(tmp_path / "a", data))
    for length in np.linspace(1, len(data) - 1, 40, dtype=int):
        try:
            picture = files.load(write(tmp_path / "a", data[:length]))
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
            picture = files.load(write(tmp_path / "a", data), max_pixels=100_000)
        except ImageError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert picture.pixels.dtype in (np.float32, np.float64) and picture.pixels.ndim == 3
            assert picture.dtype.kind in "if" or (picture.pixels.min() >= 0 and picture.pixels.max() <= 1)
            assert picture.alpha is None or picture.alpha.shape == picture.pixels.shape[:2]
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize("kind", ["png rgb 8", "png rgb 16"])
def test_an_orientation_behind_the_image_data_of_a_png_counts(kind, tmp_path):
    data, samples, _, _ = EXACT[kind]
    tag = png_chunk(b"eXIf", exif(6).tobytes()[6:])
    assert_picture(files.load(write(tmp_path / "a.png", data[:-12] + tag + data[-12:])), np.rot90(samples, -1))
