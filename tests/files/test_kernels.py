"""Kernels come from pictures, arrays and spreadsheets, and always sum to one."""

import io

import numpy as np
import pytest

from dipjax.files import ImageError, load_psf
from tests.files.samples import pillow, tiff, with_alpha, write

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
    psf = load_psf(tmp_path / name)
    assert psf.dtype == np.float32
    np.testing.assert_allclose(psf, KERNEL / 16, rtol=1e-6, atol=0)


def test_commas_inside_quotation_marks_are_decimal_signs(tmp_path):
    (tmp_path / "k.csv").write_text('"0,5","0,25"\n"0,1","0,15"\n')
    np.testing.assert_allclose(load_psf(tmp_path / "k.csv"), [[0.5, 0.25], [0.1, 0.15]], rtol=1e-6)
    (tmp_path / "k.csv").write_text('1,2\n3,"4\n5,6\n')
    with pytest.raises(ImageError, match="quotation marks are not in pairs"):
        load_psf(tmp_path / "k.csv")


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
        ("a.dat", b"1 2 3", "it is not a picture of a kind"),
        ("missing.npy", None, "No such file"),
        ("missing.txt", None, "No such file"),
    ],
)
def test_a_file_that_is_no_kernel_gives_one_sentence(name, data, words, tmp_path):
    if data is not None:
        write(tmp_path / name, data)
    with pytest.raises(ImageError, match=words):
        load_psf(tmp_path / name)


GERMAN = "0;1;0;2\n3;4;5;1\n"
DECIMALS = "0;0,1;0;0,2\n0,3;0,4;0,5;0,1"
TEXTS = {
    "spaces": ("0 1 0 2\n3 4 5 1", ".txt .csv"),
    "tabs": ("0\t1\t0\t2\n3\t4\t5\t1\n", ".txt .csv"),
    "commas": ("0,1,0,2\n3,4,5,1\n", ".csv"),
    "commas and spaces": ("0, 1, 0, 2\n3, 4, 5, 1\n", ".csv .txt"),
    "commas and points": ("0,1.0,.0,2.\n3e0,4,5,1\n", ".csv .txt"),
    "semicolons": (GERMAN, ".csv .txt"),
    "semicolons and decimal commas": (DECIMALS, ".csv .txt"),
    "tabs and decimal commas": (DECIMALS.replace(";", "\t"), ".csv .txt"),
    "spaces and decimal commas": (DECIMALS.replace(";", " "), ".csv .txt"),
    "semicolons and points": (DECIMALS.replace(",", "."), ".csv .txt"),
    "a line for spreadsheets": ("sep=;\n" + GERMAN, ".csv"),
    "a separator at every end": (GERMAN.replace("\n", ";\n"), ".csv"),
    "empty lines and columns": ("\n;;;;;\n" + GERMAN.replace("\n", ";;\n") + ";;;;;\n\n", ".csv"),
    "quotes": ('"0","1","0","2"\n"3","4","5","1"', ".csv"),
    "comments": ("# a kernel, of mine\n0 1 0 2 # first\n3 4 5 1", ".txt"),
    "lines of Windows": (GERMAN.replace("\n", "\r\n"), ".csv .txt"),
    "lines of old Macs": (GERMAN.replace("\n", "\r"), ".csv"),
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark", "utf-32"]


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_numbers_are_read_as_spreadsheets_of_any_country_write_them(kind, encoding, tmp_path):
    text, suffixes = TEXTS[kind]
    data = ("\ufeff" + text).encode("utf-16-be") if encoding.startswith("utf-16-be") else text.encode(encoding)
    for suffix in suffixes.split():
        psf = load_psf(write(tmp_path / f"k{suffix}", data))
        np.testing.assert_allclose(psf, KERNEL / 16, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("k.txt", "0,5\n0,25\n", "its commas may separate numbers or be their decimal signs; write"),
        ("k.csv", "1.5;2,5", "it has numbers with points and with commas; write all with points"),
        ("k.csv", "1.234,5;2", "it has numbers with points and with commas"),
        ("k.csv", "1;2\n3", "its rows have 1 to 2 numbers, expected equally many"),
        ("k.csv", "1,2\n,3", "it has '' in row 2, expected a number"),
        ("k.csv", "one,two\n1,2", "it has 'one' in row 1, expected a number"),
        ("k.txt", "1+2j 3", "it has '1[+]2j' in row 1, expected a number"),
        ("k.txt", "1_0 3", "it has '1_0' in row 1, expected a number"),
        ("k.txt", "\x1b[2J 3", r"it has '\\\\x1b\[2J' in row 1"),
        ("k.txt", "nan 1", "must have finite values"),
        ("k.txt", "1e400 1", "must have finite values"),
        ("k.txt", "-1 2", "none negative"),
        ("k.csv", " \n", "not all zero"),
    ],
)
def test_numbers_that_are_no_kernel_give_one_sentence(name, text, words, tmp_path):
    with pytest.raises(ImageError, match=words):
        load_psf(write(tmp_path / name, text.encode()))


def test_text_of_another_encoding_gives_one_sentence(tmp_path):
    for data in ("1 2".encode("utf-16-le"), b"\xe9 1", "é 1".encode("latin-1"), b"\xff\xfe1"):
        with pytest.raises(ImageError, match="it is no text in UTF-8, or in UTF-16 with a byte order mark; save it as UTF-8"):
            load_psf(write(tmp_path / "k.csv", data))


@pytest.mark.parametrize("scale", [1e307, 1e-308, 2.0**1020, 5e-324])
def test_the_largest_and_smallest_numbers_make_the_same_kernel(scale, tmp_path):
    np.save(tmp_path / "k.npy", KERNEL * scale)
    np.testing.assert_allclose(load_psf(tmp_path / "k.npy"), KERNEL / 16, rtol=1e-6, atol=0)
    np.savetxt(tmp_path / "k.txt", KERNEL * scale)
    np.testing.assert_allclose(load_psf(tmp_path / "k.txt"), KERNEL / 16, rtol=1e-6, atol=0)
    samples = KERNEL * scale
    np.testing.assert_allclose(load_psf(write(tmp_path / "k.tif", tiff(samples, photometric="minisblack"))), KERNEL / 16, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", ">f8"])
def test_a_kernel_may_have_any_type_of_real_numbers(dtype, tmp_path):
    numbers = KERNEL.astype(dtype)
    np.save(tmp_path / "k.npy", numbers)
    expected = numbers.astype(float) / numbers.astype(float).sum()
    np.testing.assert_allclose(load_psf(tmp_path / "k.npy"), expected, rtol=1e-6, atol=0)


def test_a_kernel_painted_on_a_transparent_layer_is_zero_where_it_is_transparent(tmp_path):
    alpha = (KERNEL * 51).astype(np.uint8)
    data = pillow(with_alpha(np.full((2, 4, 3), 255, np.uint8), alpha), "PNG")
    np.testing.assert_allclose(load_psf(write(tmp_path / "k.png", data)), KERNEL / 16, rtol=1e-6, atol=0)


@pytest.mark.parametrize("suffix", [".npy", ".txt", ".csv"])
def test_a_large_file_is_no_kernel(suffix, tmp_path):
    with (tmp_path / f"k{suffix}").open("wb") as file:
        file.truncate(2**32)
    with pytest.raises(ImageError, match="it has 4,294,967,296 bytes, expected at most"):
        load_psf(tmp_path / f"k{suffix}")


@pytest.mark.parametrize("name", ["", "  ", "a\0.csv", "a.csv/"])
def test_a_kernel_has_a_name(name):
    with pytest.raises(ImageError, match="the name "):
        load_psf(name)
