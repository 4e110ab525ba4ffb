"""Arrays of the caller are taken for pictures only where that is certain, and get their layout back."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipjax.files import to_pixels
from tests.files.samples import BILEVEL, CMYK, FIVE, GRAY8, GRAY16, RGB8, RGB16, RGBA8, UNIT

NUMBERS = [
    (RGB8, -1, RGB8 / np.float32(255)),
    (RGB8, "auto", RGB8 / np.float32(255)),
    (RGB16, 2, RGB16 / np.float32(65535)),
    (RGB16.astype(">u2"), -1, RGB16 / np.float32(65535)),
    (np.moveaxis(RGB8, -1, 0), 0, RGB8 / np.float32(255)),
    (np.moveaxis(RGB8, -1, 0), np.int64(-3), RGB8 / np.float32(255)),
    (np.moveaxis(RGB8, -1, 1), -2, RGB8 / np.float32(255)),
    (FIVE, -1, FIVE / np.float32(65535)),
    (FIVE, "auto", FIVE / np.float32(65535)),
    (GRAY8[..., 0], None, GRAY8 / np.float32(255)),
    (GRAY8[..., 0], -1, GRAY8 / np.float32(255)),
    (GRAY8[..., 0], "auto", GRAY8 / np.float32(255)),
    (GRAY8, "auto", GRAY8 / np.float32(255)),
    (UNIT, -1, UNIT),
    (UNIT * 1000 - 700, "auto", UNIT * 1000 - 700),
    (UNIT.astype(">f8"), -1, UNIT.astype(np.float64)),
    (UNIT.astype(np.float16), -1, UNIT.astype(np.float16).astype(np.float32)),
    ([[0.0, 0.5], [1.0, 0.25]], None, np.array([[[0], [0.5]], [[1], [0.25]]])),
    ([[0, 300], [1, -2]], None, np.array([[[0.0], [300]], [[1], [-2]]])),
    (RGB8.astype(np.int16) - 100, -1, RGB8.astype(np.float32) - 100),
    (RGB8.astype(np.int8), -1, RGB8.astype(np.int8).astype(np.float32)),
    (RGB16.astype(np.uint32) * 65537, -1, RGB16.astype(np.float64) * 65537),
    (RGB8.astype(np.int64), -1, RGB8.astype(np.float64)),
    (BILEVEL, "auto", BILEVEL[..., None].astype(np.float32)),
    (np.ma.masked_array(RGB8), -1, RGB8 / np.float32(255)),
    (np.ma.masked_array(RGB8, np.zeros(RGB8.shape, bool)), -1, RGB8 / np.float32(255)),
    (Image.fromarray(GRAY8[..., 0]), "auto", GRAY8 / np.float32(255)),
    (Image.fromarray(RGB8), "auto", RGB8 / np.float32(255)),
    (Image.fromarray(GRAY16[..., 0]), "auto", GRAY16 / np.float32(65535)),
    (Image.fromarray(UNIT[..., 0] * 9), "auto", UNIT[..., :1] * 9),
    (Image.fromarray(BILEVEL), "auto", BILEVEL[..., None].astype(np.float32)),
    (np.zeros((100, 200, 32), np.uint8), "auto", np.zeros((100, 200, 32), np.float32)),
    (np.zeros((8, 64, 64), np.uint8), 0, np.zeros((64, 64, 8), np.float32)),
    (np.zeros((8, 64, 64), np.uint8), -1, np.zeros((8, 64, 64), np.float32)),
    (np.zeros((1, 1, 4), np.uint8), "auto", np.zeros((1, 1, 4), np.float32)),
]


@pytest.mark.parametrize(("image", "axis", "expected"), NUMBERS)
def test_an_array_is_brought_into_one_layout_and_its_result_back(image, axis, expected):
    pixels, back = to_pixels(image, channel_axis=axis)
    np.testing.assert_array_equal(pixels, expected, strict=True)
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    larger = np.kron(pixels, np.ones((2, 3, 1), pixels.dtype))
    restored = back(larger.astype(np.float32))
    assert restored.dtype == pixels.dtype and restored.ndim == np.ndim(image)
    np.testing.assert_array_equal(to_pixels(restored, channel_axis=axis)[0], larger.astype(np.float32).astype(pixels.dtype))
    np.testing.assert_array_equal(back(larger + 9), back(larger) + 9, strict=True)


def test_the_array_of_the_caller_is_not_touched():
    image = UNIT.copy()
    pixels, _ = to_pixels(image)
    pixels += 1
    np.testing.assert_array_equal(image, UNIT)


def test_whatever_turns_into_an_array_is_read():
    class Labelled:
        def __array__(self, dtype=None, copy=None):
            return np.asarray(RGB8, dtype)

    np.testing.assert_array_equal(to_pixels(Labelled())[0], RGB8 / np.float32(255), strict=True)


def test_values_that_are_no_numbers_are_kept_only_where_they_will_be_filled_in():
    image = UNIT.copy()
    image[2, 3, 1], image[5, 6] = np.nan, -np.inf
    with pytest.raises(ValueError, match=r"^photo has 4 NaN or infinite values, the first at \(2, 3, 1\); fill them in"):
        to_pixels(image, name="photo")
    pixels, _ = to_pixels(image, allow_nan=True)
    np.testing.assert_array_equal(pixels, np.where(np.isfinite(image), image, np.float32(np.nan)), strict=True)
    assert np.isinf(image).any()


class Tensor:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


STACK = "which is no (H, W) or (H, W, C) with a few channels; if its channels are on axis {0}, give channel_axis={0}; of a stack, restore"
REFUSED = [
    (np.full((4, 4), np.nan), "auto", "has 16 NaN or infinite values, the first at (0, 0, 0)"),
    (np.zeros((0, 4)), "auto", "has shape (0, 4), expected at least one pixel"),
    (np.zeros((4, 4, 0)), "auto", "has shape (4, 4, 0), expected at least one pixel"),
    (np.zeros(4), "auto", "has shape (4,), expected one picture, (H, W) or (H, W, C)"),
    (np.zeros((2, 4, 4, 3)), -1, "has shape (2, 4, 4, 3), expected one picture, (H, W) or (H, W, C); restore the pages of"),
    (np.float32(0.5), "auto", "has shape (), expected one picture"),
    (RGB8, None, "has shape (12, 17, 3) but channel_axis is None; say which axis holds the channels, often -1"),
    (np.zeros((8, 64, 64)), "auto", f"has shape (8, 64, 64), {STACK.format(0)}"),
    (np.zeros((3, 64, 64)), "auto", f"has shape (3, 64, 64), {STACK.format(0)}"),
    (np.zeros((1, 64, 64)), "auto", f"has shape (1, 64, 64), {STACK.format(0)}"),
    (np.zeros((64, 3, 64)), "auto", f"has shape (64, 3, 64), {STACK.format(1)}"),
    (np.zeros((64, 64, 64)), "auto", "has shape (64, 64, 64), which is no"),
    (np.zeros((100, 100, 33)), "auto", "has shape (100, 100, 33), which is no"),
    (np.zeros((20, 100, 20)), "auto", "has shape (20, 100, 20), which is no"),
    (UNIT.astype(np.complex64), -1, "has dtype complex64, expected real numbers such as uint8, uint16 or float32; take their abs"),
    (np.array([["a"]]), "auto", "has dtype <U1, expected real numbers"),
    (np.array([[None]]), "auto", "has dtype object, expected real numbers"),
    (None, "auto", "has dtype object, expected real numbers"),
    ([[1, 2], [3]], "auto", "is a list that cannot be turned into an array"),
    (np.zeros((4, 4), "M8[s]"), "auto", "has dtype datetime64[s], expected real numbers"),
    (np.zeros((4, 4), [("r", "u1")]), "auto", "has dtype [('r', 'u1')], expected real numbers"),
    (np.full((4, 4), 2**60), "auto", f"has values from {2**60} to {2**60}, expected at most 2**53"),
    (np.full((4, 4), 2**64 - 1, np.uint64), "auto", "has values from 1844"),
    (Tensor(), "auto", "is a Tensor that cannot be turned into an array: Can't call numpy() on Tensor that requires"),
    (np.ma.masked_array(GRAY8, BILEVEL[..., None]), "auto", "has 117 masked values, expected none; pass photo.filled(0), and"),
    (Image.fromarray(RGB8).convert("P"), "auto", "is a picture of mode P, expected L, RGB, I;16 or F; call its convert('RGB')"),
    (CMYK, "auto", "is a picture of mode CMYK"),
    (Image.fromarray(RGBA8), "auto", "is a picture of mode RGBA"),
    (Image.fromarray(RGBA8).convert("LA"), "auto", "is a picture of mode LA"),
    (Image.fromarray(RGB8).convert("LAB"), "auto", "is a picture of mode LAB"),
    ("photo.png", "auto", "is the name 'photo.png', expected an array; open the file first"),
    (b"photo.png", "auto", "is the name b'photo.png', expected an array"),
    (Path("photo.png"), "auto", "is the name PosixPath('photo.png'), expected an array"),
]


@pytest.mark.parametrize(("image", "axis", "words"), REFUSED)
def test_what_is_no_picture_is_refused_in_one_sentence(image, axis, words):
    with pytest.raises(ValueError, match=f"^photo {re.escape(words)}") as caught:
        to_pixels(image, channel_axis=axis, name="photo")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("axis", ["c", "", True, np.True_, 2.5, 3, -4, 10**30, (2,), [2], np.array([2, 1]), b"auto"])
@pytest.mark.parametrize("image", [RGB8, GRAY8[..., 0]])
def test_a_channel_axis_that_is_none_is_refused(axis, image):
    with pytest.raises(ValueError, match="^channel_axis: found .*, expected a whole number from -3 to 2, None or 'auto'"):
        to_pixels(image, channel_axis=axis)
