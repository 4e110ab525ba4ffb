"""What a TIFF holds besides its colours is neither lost nor taken for a colour."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax import files
from dipjax.files import OutputError
from tests.files.samples import ALPHA8, ALPHA16, GRAY8, RGB8, RGB16, UNIT, assert_picture, pillow, tiff, with_alpha, write


def without_tag(data, code):
    """Turns a tag of a little-endian TIFF into a private one that nobody knows."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place = file.pages[0].tags[code].offset
    return data[:place] + struct.pack("<H", 65000) + data[place + 2 :]


@pytest.mark.parametrize(("colours", "alpha"), [(RGB8, ALPHA8), (RGB16, ALPHA16), (UNIT, UNIT[..., 1])], ids=["8", "16", "float"])
def test_a_fourth_sample_without_a_name_is_kept_beside_the_colours(colours, alpha, tmp_path):
    samples = with_alpha(colours, alpha)
    path = write(tmp_path / "a.tif", without_tag(tiff(samples, photometric="rgb", extrasamples=[2]), 338))
    picture = files.load(path)
    assert_picture(picture, colours, alpha, white=1 if colours.dtype.kind == "f" else None)
    assert picture.notes == ("a sample without a name was taken for transparency; it is carried along as it is",)
    files.save(tmp_path / "b.tif", picture.pixels[::-1], picture)
    assert_colour_tiff(tmp_path / "b.tif", with_alpha(colours[::-1], alpha), names=(0,))
    if colours.dtype.kind == "u":
        files.save(tmp_path / "b.png", picture.pixels, picture)
        assert_picture(files.load(tmp_path / "b.png"), colours, alpha)


@pytest.mark.parametrize("names", [[0], [0, 0], [2, 0], [0, 2], [0, 1, 0]])
@pytest.mark.parametrize("colours", [RGB8, RGB16], ids=["8", "16"])
def test_samples_besides_the_colours_are_carried_along(colours, names, tmp_path):
    others = [colours[::-1, :, i] for i in range(len(names))]
    if 1 in names:  # colours multiplied by their transparency, which is none here
        others[names.index(1)] = np.full_like(others[0], np.iinfo(colours.dtype).max)
    samples = np.concatenate([colours, np.stack(others, axis=-1)], axis=-1)
    picture = files.load(write(tmp_path / "a.tif", tiff(samples, photometric="rgb", planarconfig="contig", extrasamples=names)))
    place = next((i for i, name in enumerate(names) if name), None)
    assert_picture(picture, colours, None if place is None else others[place])
    extra = [sample for i, sample in enumerate(others) if i != place]
    np.testing.assert_array_equal(picture.extra, np.stack(extra, axis=-1) / np.float32(np.iinfo(colours.dtype).max))
    assert picture.notes[0] == f"{len(extra)} of {len(names) + 3} samples are no colours; they are carried along as they are"
    files.save(tmp_path / "b.tif", picture.pixels, picture)
    ordered = [colours, *([others[place][..., None]] if place is not None else []), np.stack(extra, axis=-1)]
    kept = ([] if place is None else [2]) + [0] * len(extra)
    assert_colour_tiff(tmp_path / "b.tif", np.concatenate(ordered, axis=-1), names=tuple(kept))
    with pytest.raises(OutputError, match="PNG cannot hold samples besides the colours; use the suffix .tif"):
        files.check_writable(tmp_path / "b.png", picture)


def assert_colour_tiff(path, samples, names):
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.photometric == 2 and tuple(page.extrasamples) == names
        np.testing.assert_array_equal(page.asarray(), samples, strict=True)
    if samples.dtype == np.uint8 or (samples.dtype == np.uint16 and len(names) == 1):  # Pillow reads no more kinds
        with Image.open(path) as image:
            image.load()
            assert image.mode in ("RGB", "RGBA", "RGBX")


def test_gray_with_a_sample_without_a_name_keeps_it_beside(tmp_path):
    samples = with_alpha(GRAY8, ALPHA8)
    data = tiff(samples, photometric="minisblack", planarconfig="contig", extrasamples=[2])
    picture = files.load(write(tmp_path / "a.tif", without_tag(data, 338)))
    assert_picture(picture, GRAY8, ALPHA8)
    files.save(tmp_path / "b.tif", picture.pixels, picture)
    assert_picture(files.load(tmp_path / "b.tif"), GRAY8, ALPHA8)
    with Image.open(tmp_path / "b.tif") as image:
        assert image.mode == "LA"


def test_damage_erased_to_transparent_becomes_opaque_where_it_was_filled_in(tmp_path):
    hole = ALPHA8 < 60
    alpha = np.where(hole, 0, 255).astype(np.uint8)
    picture = files.load(write(tmp_path / "a.png", pillow(with_alpha(RGB8, alpha), "PNG")))
    files.save(tmp_path / "b.png", picture.pixels, picture, alpha=np.where(hole, 1, picture.alpha))
    assert (files.load(tmp_path / "b.png").alpha == 1).all()
