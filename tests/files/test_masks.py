"""However a program stores a mask, the pixels that a person marked are filled in."""

import numpy as np
import pytest
from PIL import Image

from dipjax import files
from dipjax.files import ImageError
from tests.files.samples import ALPHA8, BILEVEL, GRAY8, RGB8, exif, pillow, with_alpha, write


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
    mask = files.load_mask(write(tmp_path / "mask.png", pillow(image, "PNG")), (12, 17))
    np.testing.assert_array_equal(mask, expected, strict=True)


def test_a_mask_is_turned_like_any_picture(tmp_path):
    path = write(tmp_path / "mask.png", pillow(BILEVEL, "PNG", exif=exif(6)))
    np.testing.assert_array_equal(files.load_mask(path, (17, 12)), np.rot90(BILEVEL, -1))


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = write(tmp_path / "mask.png", pillow(BILEVEL, "PNG"))
    with pytest.raises(ImageError, match="the mask '.*' is 17 x 12 pixels but the picture is 12 x 17 pixels"):
        files.load_mask(path, (17, 12))
