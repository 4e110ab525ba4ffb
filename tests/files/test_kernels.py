"""Kernels come from pictures, arrays and spreadsheets, and always sum to one."""

import io

import numpy as np
import pytest

from dipjax import files
from dipjax.files import ImageError
from tests.files.samples import pillow, tiff, write

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
    psf = files.load_psf(tmp_path / name)
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
        files.load_psf(tmp_path / name)
