"""GIF, Netpbm, JPEG 2000, AVIF, HEIC, NumPy and FITS: what is in a file is read exactly, damage is refused, results come back."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dipjax import files
from dipjax.files import ImageError, OutputError
from dipjax.files.picture import ROTATED

RNG = np.random.default_rng(0)
GRAY8, RGB8 = RNG.integers(0, 256, (10, 12, 1), dtype=np.uint8), RNG.integers(0, 256, (10, 12, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:200:20j, 0:200:24j], 90), -1).astype(np.uint8)
GRAY16, RGB16 = (RNG.integers(0, 65536, (10, 12, number), dtype=np.uint16) for number in (1, 3))


def pillow(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, kind, **options)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def pnm(kind, samples, largest):
    head = f"P{kind}\n# a comment\n{samples.shape[1]} {samples.shape[0]}\n{largest}\n".encode()
    if kind in (2, 3):
        return head + " ".join(map(str, samples.ravel())).encode()
    return head + samples.astype(">u2" if largest > 255 else np.uint8).tobytes()


MANY = RNG.random((10, 12, 7))
BITS = (GRAY8[..., 0] > 127).astype(np.uint8)
PBM_RAW = b"P4\n12 10\n" + np.packbits(BITS, axis=1).tobytes()
PBM_PLAIN = b"P1\n# c\n12 10\n" + b"\n".join(b"".join(b"01"[bit : bit + 1] for bit in row) for row in BITS)

EXACT = {
    "a.pgm": (pnm(5, GRAY8, 255), GRAY8 / 255),
    "b.ppm": (pnm(6, RGB8, 255), RGB8 / 255),
    "c.pgm": (pnm(5, GRAY16, 65535), GRAY16 / 65535),
    "d.ppm": (pnm(6, RGB16, 65535), RGB16 / 65535),
    "e.pgm": (pnm(2, GRAY8, 255), GRAY8 / 255),
    "f.ppm": (pnm(3, RGB16, 65535), RGB16 / 65535),
    "g.pgm": (pnm(5, GRAY16 >> 4, 4095), (GRAY16 >> 4) / 4095),
    "h.pbm": (PBM_RAW, 1 - BITS[..., None]),
    "i.pbm": (PBM_PLAIN, 1 - BITS[..., None]),
    "j.jp2": (imagecodecs.jpeg2k_encode(RGB16, level=0, reversible=True), RGB16 / 65535),
    "k.j2k": (imagecodecs.jpeg2k_encode(GRAY8[..., 0], level=0, reversible=True, codecformat="j2k"), GRAY8 / 255),
    "l.npy": (npy(RGB8), RGB8 / 255),
    "m.npy": (npy(np.float32(GRAY16[..., 0]) - 500), np.float32(GRAY16) - 500),
    "n.npy": (npy(np.asfortranarray(RGB16.astype(">u2"))), RGB16 / 65535),
    "o.gif": (pillow(GRAY8, "GIF"), np.repeat(GRAY8, 3, -1) / 255),
    "p.npy": (npy(MANY), MANY),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_is_in_a_file_is_read_exactly(name, tmp_path):
    data, expected = EXACT[name]
    (tmp_path / name).write_bytes(data)
    picture = files.load(tmp_path / name)
    np.testing.assert_array_equal(picture.pixels, expected.astype(picture.pixels.dtype))


@pytest.mark.parametrize("name", [name for name in EXACT if name[2:] not in ("gif", "pbm")])
def test_a_result_that_is_the_input_comes_back_as_it_was(name, tmp_path):
    (tmp_path / name).write_bytes(EXACT[name][0])
    picture = files.load(tmp_path / name)
    files.save(tmp_path / f"out-{name}", picture.pixels, picture)
    again = files.load(tmp_path / f"out-{name}")
    assert again.dtype == picture.dtype and again.file_format == picture.file_format
    np.testing.assert_allclose(again.pixels, picture.pixels, atol=0 if name != "g.pgm" else 1e-5)


def test_avif_is_read_and_written(tmp_path):
    smooth = np.uint8(np.clip(np.indices((32, 32)).sum(0)[..., None] * np.array([1, 2, 3]), 0, 255))
    (tmp_path / "a.avif").write_bytes(pillow(smooth, "AVIF", quality=95))
    picture = files.load(tmp_path / "a.avif")
    assert np.abs(picture.pixels - smooth / 255).mean() < 0.02
    files.save(tmp_path / "b.avif", picture.pixels, picture)
    assert np.abs(files.load(tmp_path / "b.avif").pixels - picture.pixels).mean() < 0.02


@pytest.mark.parametrize(
    ("name", "suffix"), [("o.gif", ".png"), ("h.pbm", ".png"), ("a.pgm", ".pgm"), ("j.jp2", ".jp2"), ("l.npy", ".npy")]
)
def test_the_default_output_is_of_a_format_that_is_written(name, suffix, tmp_path):
    (tmp_path / name).write_bytes(EXACT[name][0])
    output = files.default_output(tmp_path / name, "denoised")
    assert output.suffix == suffix
    picture = files.load(tmp_path / name)
    files.save(output, picture.pixels, picture)


def test_heic_names_the_package_that_it_needs(tmp_path):
    pytest.importorskip("PIL")
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
        with pytest.raises(ImageError, match="pillow-heif"):
            files.load(tmp_path / "a.heic")


REFUSED = {
    "gif cut": (pillow(RGB8, "GIF")[:-40], "cannot read"),
    "avif cut": (pillow(np.repeat(RGB8, 9, 0), "AVIF")[:-60], "cannot read"),
    "pgm cut": (pnm(5, GRAY8, 255)[:-3], "117 of 120 bytes"),
    "plain pgm cut": (pnm(2, GRAY8, 255)[:40], r"of 120 numbers"),
    "pgm above its largest": (pnm(5, GRAY8, 9), "above its largest, 9"),
    "pgm of words": (b"P2\n2 2\n255\n1 2 x 4", "no numbers"),
    "pgm without a size": (b"P5\nx", "no size"),
    "pgm of no size": (b"P5\n0 3\n255\n", "0 x 3 pixels"),
    "pgm too large": (b"P5\n99999 99999\n255\n", "more than the limit"),
    "pgm of a largest of 0": (b"P5\n2 2\n0\n    ", "largest value is 0"),
    "jp2 cut": (imagecodecs.jpeg2k_encode(RGB8, level=0)[:200], "truncated"),
    "jp2 without a size": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "no size"),
    "npy cut": (npy(RGB8)[:-1], "359 of 360 bytes"),
    "npy of objects": (b"", None),
    "npy of one axis": (npy(np.zeros(9)), r"shape \(9,\)"),
    "npy of complex": (npy(np.zeros((9, 9), complex)), "complex128"),
    "npy too large": (npy(np.zeros((1, 1)))[:-8].replace(b"(1, 1), ", b"(99999, 99999), ")[: 128 + 8], "cannot read"),
    "npy nan": (npy(np.full((4, 4), np.nan)), "fill them in by inpainting"),
    "npy without channels": (npy(np.zeros((4, 4, 0))), "expected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_damaged_is_refused_in_a_sentence(name, tmp_path):
    data, words = REFUSED[name]
    if name == "npy of objects":
        buffer = io.BytesIO()
        np.save(buffer, np.array([[{}]], object), allow_pickle=True)
        data, words = buffer.getvalue(), "numbers are object"
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ImageError, match=words):
        files.load(tmp_path / "a")


def test_nan_in_an_array_is_what_inpainting_fills(tmp_path):
    array = np.ones((6, 6), np.float32)
    array[2, 3], array[1, 1] = np.nan, np.inf
    (tmp_path / "a.npy").write_bytes(npy(array))
    assert np.isnan(files.load(tmp_path / "a.npy", allow_nan=True).pixels).sum() == 2


@pytest.mark.parametrize("name", EXACT)
def test_whatever_happens_to_a_file_there_is_one_kind_of_error(name, tmp_path):
    good, random = EXACT[name][0], np.random.default_rng(1)
    for _ in range(60):
        bad = bytearray(good)
        for place in random.integers(0, len(bad), random.integers(1, 6)):
            bad[place] = random.integers(256)
        if random.random() < 0.3:
            del bad[int(random.integers(len(bad))) :]
        (tmp_path / name).write_bytes(bad)
        try:
            picture = files.load(tmp_path / name, max_pixels=10_000)
        except ImageError:
            continue
        assert np.isfinite(picture.pixels).all() and picture.pixels.size <= 40_000


def test_fits_keeps_its_units_and_its_header(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    data = np.float32(1000 * RNG.random((10, 12)))
    header = fits.Header([("OBJECT", "M 31"), ("CRPIX1", 4.5)])
    fits.PrimaryHDU(data, header).writeto(tmp_path / "a.fits")
    picture = files.load(tmp_path / "a.fits")
    np.testing.assert_array_equal(picture.pixels[..., 0], data)
    files.save(tmp_path / "b.fits", picture.pixels, picture)
    with fits.open(tmp_path / "b.fits") as parts:
        np.testing.assert_array_equal(parts[0].data, data)
        assert parts[0].header["OBJECT"] == "M 31"
    fits.PrimaryHDU(np.int16(data)).writeto(tmp_path / "c.fits")
    assert files.load(tmp_path / "c.fits").dtype == np.int16
    (tmp_path / "d.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:3000])
    with pytest.raises(ImageError):
        files.load(tmp_path / "d.fits")


@pytest.mark.parametrize(("name", "words"), [("a.pgm", "PNM cannot hold transparency"), ("a.npy", "NPY cannot hold transparency")])
def test_what_a_format_cannot_hold_is_refused(name, words, tmp_path):
    (tmp_path / "a.png").write_bytes(pillow(np.concatenate([RGB8, GRAY8], -1), "PNG"))
    picture = files.load(tmp_path / "a.png")
    with pytest.raises(OutputError, match=words):
        files.save(tmp_path / name, picture.pixels, picture)


@pytest.mark.parametrize("digits", ["1 300 2 3", "1 -1 2 3", "1 1_0 2 3", "1 0x1 2 3", "1 1.5 2 3"])
def test_plain_numbers_outside_their_range_are_refused(digits, tmp_path):
    (tmp_path / "a.pgm").write_text(f"P2\n2 2\n255\n{digits}")
    with pytest.raises(ImageError):
        files.load(tmp_path / "a.pgm")


def test_twelve_bits_of_jpeg_2000_fill_their_range(tmp_path):
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(GRAY16[..., 0] >> 4, level=0, reversible=True, bitspersample=12))
    np.testing.assert_allclose(files.load(tmp_path / "a.jp2").pixels, (GRAY16 >> 4) / 4095, atol=1e-6)


def test_a_size_in_front_of_the_true_one_is_not_believed(tmp_path):
    good = imagecodecs.jpeg2k_encode(np.zeros((300, 300), np.uint8), level=0, reversible=True)
    fake = b"\xff\x4f\xff\x51" + bytes(4) + (5).to_bytes(4, "big") * 2 + bytes(24) + b"\0\1\7" + bytes(9)
    box = (8 + 16 + len(fake)).to_bytes(4, "big") + b"uuid" + bytes(16) + fake
    place = good.index(b"jp2c") - 4
    (tmp_path / "a.jp2").write_bytes(good[:place] + box + good[place:])
    with pytest.raises(ImageError, match="more than the limit"):
        files.load(tmp_path / "a.jp2", max_pixels=1000)


def test_a_frame_of_a_gif_that_is_larger_than_the_first_is_bounded_and_counting_is_cheap(tmp_path):
    frames = [Image.new("L", (3, 3), value) for value in (9, 99)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert files.num_pages(tmp_path / "a.gif") == 2
    assert files.load(tmp_path / "a.gif", page=1).pixels.shape[:2] == (3, 3)
    data = bytearray((tmp_path / "a.gif").read_bytes())
    place = data.rindex(b"\x2c\0\0\0\0\3\0\3\0")
    data[place + 5 : place + 9] = b"\xc4\x09\xc4\x09"
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(ImageError):
        files.load(tmp_path / "a.gif", page=1, max_pixels=100)


def test_the_sky_of_a_fits_file_is_that_of_the_result(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    header = fits.Header([("CRPIX1", 6.5), ("CRPIX2", 5.5), ("CDELT1", -0.01), ("CDELT2", 0.01)])
    fits.PrimaryHDU(np.float32(GRAY8[..., 0]), header).writeto(tmp_path / "a.fits", checksum=True)
    picture = files.load(tmp_path / "a.fits")
    files.save(tmp_path / "b.fits", np.repeat(np.repeat(picture.pixels, 2, 0), 2, 1), picture)
    with fits.open(tmp_path / "b.fits", checksum=True) as parts:
        found = parts[0].header
        assert (found["CRPIX1"], found["CRPIX2"], found["CDELT1"], found["CDELT2"]) == (12.5, 10.5, -0.005, 0.005)


@pytest.mark.parametrize(("bits", "notes"), [(8, ()), (10, ("10 bits converted to 8",)), (12, ("12 bits converted to 8",))])
def test_bits_that_are_lost_are_named(bits, notes, tmp_path):
    samples = (SMOOTH.astype(np.uint16) << (bits - 8)).astype(np.uint8 if bits == 8 else np.uint16)
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(samples, bitspersample=bits, level=100))
    assert files.load(tmp_path / "a.avif").notes == notes


@pytest.fixture
def heif():
    return pytest.importorskip("pillow_heif")


@pytest.mark.parametrize(("bits", "notes"), [(10, ("10 bits converted to 8",)), (12, ("12 bits converted to 8",))])
def test_heic_of_more_than_eight_bits_is_read(heif, bits, notes, tmp_path, monkeypatch):
    monkeypatch.setattr(heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    samples = SMOOTH.astype(np.uint16) * 257
    height, width, _ = samples.shape
    heif.from_bytes(mode="RGB;16", size=(width, height), data=samples.tobytes()).save(tmp_path / "a.heic", quality=-1)
    picture = files.load(tmp_path / "a.heic")
    assert picture.notes == notes and picture.dtype == np.uint8
    assert np.abs(picture.pixels - SMOOTH / 255).mean() < 0.02


def test_heic_is_turned_once_and_keeps_what_it_says(heif, tmp_path):
    heif.register_heif_opener()
    tags = Image.Exif()
    tags[271], tags[274], tags[282], tags[283], tags[296] = "Maker", 6, 300.0, 150.0, 2
    Image.fromarray(SMOOTH).save(tmp_path / "a.heic", quality=-1, exif=tags, xmp=b'<x tiff:Orientation="6" tiff:ImageWidth="7"/>')
    picture = files.load(tmp_path / "a.heic")
    turned = np.rot90(SMOOTH, -1)
    assert picture.pixels.shape == turned.shape and picture.notes == (ROTATED,)
    assert np.abs(picture.pixels - turned / 255).mean() < 0.02
    files.save(tmp_path / "b.jpg", picture.pixels, picture)
    with Image.open(tmp_path / "b.jpg") as image:
        found = image.getexif()
        assert (found[271], found[274], found[282], found[283]) == ("Maker", 1, 150, 300)
