"""Floats, and integers other than uint8 and uint16, are numbers in units of their own: read as they are, written as they are."""

import numpy as np
import pytest
import tifffile

from dipjax import files
from dipjax.files import ImageError
from tests.files.samples import RGB8, UNIT, assert_picture, tiff, write

FAR = (UNIT - 0.3) * 1000


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "uint32"])
@pytest.mark.parametrize("byteorder", "<>")
def test_numbers_in_their_own_units_are_read_and_written_as_they_are(dtype, byteorder, tmp_path):
    samples = (FAR / (10 if dtype == "int8" else 1)).astype(dtype) if dtype != "uint32" else np.abs(FAR * 4e6).astype(dtype)
    samples[0, 0] = 7
    if dtype.startswith(("int", "uint")):
        samples[0, :2, 0] = np.iinfo(dtype).min, np.iinfo(dtype).max
    picture = files.load(write(tmp_path / "a.tif", tiff(samples, photometric="rgb", byteorder=byteorder)))
    assert_picture(picture, samples, white=1)
    assert picture.notes == ()
    files.save(tmp_path / "b.tif", picture.pixels, picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), samples, strict=True)


def test_a_result_in_units_of_its_own_is_rounded_and_kept_inside_its_type(tmp_path):
    picture = files.load(write(tmp_path / "a.tif", tiff(np.zeros((1, 4), np.int16), photometric="minisblack")))
    files.save(tmp_path / "b.tif", np.array([[[-40_000], [-1.6], [2.4], [1e9]]]), picture)
    assert tifffile.imread(tmp_path / "b.tif").tolist() == [[-32768, -2, 2, 32767]]


def test_floats_are_saved_without_clipping(tmp_path):
    picture = files.load(write(tmp_path / "a.tif", tiff(np.zeros((1, 3), np.float16), photometric="minisblack")))
    files.save(tmp_path / "b.tif", np.array([[[-5.5], [3000], [1e6]]]), picture)
    assert tifffile.imread(tmp_path / "b.tif").tolist() == [[-5.5, 3000, 65504]]  # float16 ends there


def test_values_that_are_no_numbers_are_kept_only_where_they_will_be_filled_in(tmp_path):
    samples = FAR.copy()
    samples[1, 2], samples[3, 4, 0] = np.nan, np.inf
    path = write(tmp_path / "a.tif", tiff(samples, photometric="rgb"))
    with pytest.raises(ImageError, match=r"it has 4 NaN or infinite values, the first at \(1, 2, 0\)"):
        files.load(path)
    picture = files.load(path, allow_nan=True)
    np.testing.assert_array_equal(picture.pixels, np.where(np.isfinite(samples), samples, np.float32(np.nan)), strict=True)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_what_stands_for_no_data_is_no_number(dtype, tmp_path):
    samples = FAR[..., 0].astype(dtype)
    samples[2, 5:7] = -9999
    data = tiff(samples, photometric="minisblack", extratags=[(42113, "s", 0, "-9999", True)])
    path = write(tmp_path / "a.tif", data)
    with pytest.raises(ImageError, match=r"it has 2 values of -9999.*, which stands for no data"):
        files.load(path)
    picture = files.load(path, allow_nan=True)
    assert picture.dtype == dtype
    expected = np.where(samples == -9999, np.nan, samples)
    np.testing.assert_array_equal(picture.pixels[..., 0], expected)


def test_black_that_stands_for_no_data_in_a_photograph_is_read_with_a_note(tmp_path):
    samples = RGB8.copy()
    samples[0, :3] = 0
    data = tiff(samples, photometric="rgb", extratags=[(42113, "s", 0, "0", True)])
    picture = files.load(write(tmp_path / "a.tif", data))
    assert_picture(picture, samples)
    assert picture.notes == ("3 pixels of 0, which stands for no data, were read as any other",)
