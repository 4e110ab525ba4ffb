"""A result is written in the manner of its input, or refused before the computation."""

import os

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dipjax import files
from dipjax.files import OutputError
from tests.files.samples import (
    ALPHA8,
    ALPHA16,
    EIGHT,
    FIVE,
    FLOATS,
    GRAY8,
    GRAY16,
    PROFILE,
    RGB8,
    RGB16,
    SIXTEEN,
    UNIT,
    assert_picture,
    exif,
    picture_of,
    pillow,
    write,
)

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
    files.save(tmp_path / f"a{suffix}", like.pixels, like)
    assert_picture(files.load(tmp_path / f"a{suffix}"), samples, alpha, white=None if samples.dtype.kind == "u" else 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_of_a_png_survives_being_read_and_saved(dtype, tmp_path):
    samples = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(256, -1, 1)
    like = picture_of(samples)
    files.save(tmp_path / "a.png", like.pixels, like)
    assert_picture(files.load(tmp_path / "a.png"), samples)
    decoded = imagecodecs.png_decode(write(tmp_path / "b.png", (tmp_path / "a.png").read_bytes()).read_bytes())
    np.testing.assert_array_equal(decoded, samples[..., 0])


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
@pytest.mark.parametrize("samples", [GRAY8, RGB8], ids=["gray", "rgb"])
def test_jpeg_is_saved_finely_and_gray_stays_gray(suffix, samples, tmp_path):
    smooth = np.broadcast_to(np.linspace(0, 255, 17)[:, None], (12, 17, samples.shape[-1])).astype(np.uint8)
    like = picture_of(smooth)
    files.save(tmp_path / f"a{suffix}", like.pixels, like)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.format == "JPEG" and image.mode == ("L" if samples.shape[-1] == 1 else "RGB")
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * samples.shape[-1]  # no colour subsampling
    np.testing.assert_allclose(files.load(tmp_path / f"a{suffix}").pixels, like.pixels, atol=3 / 255)


def test_webp_stores_gray_as_equal_colours(tmp_path):
    for alpha in (None, ALPHA8):
        like = picture_of(GRAY8, alpha)
        files.save(tmp_path / "a.webp", like.pixels, like, force=True)
        assert_picture(files.load(tmp_path / "a.webp"), np.repeat(GRAY8, 3, axis=-1), alpha)


def test_values_are_clipped_and_rounded_to_the_nearest_level(tmp_path):
    values = np.array([-0.3, -1e-6, 0.49 / 255, 0.51 / 255, 99.6 / 255, 1.0, 1.2], np.float32)
    like = picture_of(GRAY8)
    files.save(tmp_path / "a.png", values[None, :, None], like)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 0, 0, 1, 100, 255, 255]]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", "16.png", "16.tif"])
def test_the_colour_profile_is_written(suffix, tmp_path):
    like = picture_of(RGB16 if "16" in suffix else RGB8, icc_profile=PROFILE)
    files.save(tmp_path / f"a{suffix}", like.pixels, like)
    with Image.open(tmp_path / f"a{suffix}") as image:
        image.load()
        assert image.info["icc_profile"] == PROFILE


def test_no_exif_is_written(tmp_path):
    like = files.load(write(tmp_path / "a.jpg", pillow(RGB8, "JPEG", exif=exif(6))))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        files.save(tmp_path / f"b{suffix}", like.pixels, like)
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert image.size == (12, 17)
            assert image.getexif().get(0x0112, 1) == 1


def test_alpha_grows_with_the_result(tmp_path):
    like = picture_of(RGB16, ALPHA16)
    larger = np.kron(like.pixels, np.ones((2, 2, 1), np.float32))
    files.save(tmp_path / "a.png", larger, like)
    saved = files.load(tmp_path / "a.png")
    resized = np.asarray(Image.fromarray(like.alpha).resize((34, 24), Image.Resampling.LANCZOS))
    assert saved.pixels.shape == (24, 34, 3)
    np.testing.assert_array_equal(saved.pixels, larger)
    np.testing.assert_allclose(saved.alpha, np.clip(resized, 0, 1), atol=0.6 / 65535)


def test_a_given_alpha_replaces_that_of_the_input(tmp_path):
    for name, like in [("a.png", picture_of(RGB8, ALPHA8)), ("b.png", picture_of(RGB8))]:
        files.save(tmp_path / name, like.pixels, like, alpha=ALPHA8[::-1] / 255)
        assert_picture(files.load(tmp_path / name), RGB8, ALPHA8[::-1])


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
    ("a.gif", EIGHT, "its suffix names no format that is written; use one of .png, .jpg, "),
    ("a", EIGHT, "its suffix names no format that is written"),
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
        lambda: files.check_writable(tmp_path / name, like),
        lambda: files.save(tmp_path / name, like.pixels, like),
    ):
        with pytest.raises(OutputError, match=f"cannot write '{tmp_path}/{name}': {words}"):
            attempt()
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.png").read_bytes() == b"precious"


def test_a_checked_output_is_left_alone(tmp_path):
    files.check_writable(tmp_path / "a.png", EIGHT)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "a.png", b"precious")
    files.check_writable(tmp_path / "a.png", EIGHT, force=True)
    assert (tmp_path / "a.png").read_bytes() == b"precious"


def test_the_size_of_the_result_counts_against_the_limits_of_the_format(tmp_path):
    long = picture_of(np.zeros((1, 10_000, 1), np.uint8))
    files.check_writable(tmp_path / "a.webp", long)
    with pytest.raises(OutputError, match="WEBP cannot hold a side longer than 16383 pixels; use the suffix .png or .tif"):
        files.check_writable(tmp_path / "a.webp", long, shape=(2 * long.pixels.shape[0], 2 * long.pixels.shape[1], 3))


def test_a_directory_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="no permission to write in"):
        files.check_writable(tmp_path / "a.png", EIGHT)


def test_a_result_that_is_not_a_picture_is_refused(tmp_path):
    for pixels in (EIGHT.pixels[..., 0], EIGHT.pixels[..., :1], EIGHT.pixels[:0]):
        with pytest.raises(ValueError, match=r"pixels has shape .*, expected \(H, W, 3\)"):
            files.save(tmp_path / "a.png", pixels, EIGHT)
    with pytest.raises(OutputError, match="the result has NaN or infinite values"):
        files.save(tmp_path / "a.png", np.full_like(EIGHT.pixels, np.nan), EIGHT)
    assert list(tmp_path.iterdir()) == []
