"""Arrays of the caller are taken for pictures only where that is certain, and get their layout back."""

import numpy as np
import pytest

from dipjax.files import to_pixels
from tests.files.samples import BILEVEL, FIVE, GRAY8, RGB8, RGB16, UNIT


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
    pixels, back = to_pixels(image, channel_axis=axis)
    np.testing.assert_array_equal(pixels, expected, strict=True)
    larger = np.kron(pixels, np.ones((2, 3, 1), np.float32))
    restored = back(larger)
    assert restored.dtype == np.float32 and restored.ndim == np.ndim(image)
    np.testing.assert_array_equal(to_pixels(restored, channel_axis=axis)[0], larger)
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
        to_pixels(image, channel_axis=axis, name="photo")
