"""Blur kernels from files: pictures, arrays, and numbers as spreadsheets write them."""

import codecs
import csv
import os
import re
from pathlib import Path

import numpy as np

from dipjax.files.decode import load
from dipjax.files.opening import named, reading
from dipjax.files.picture import ImageError, printable

_MOST_BYTES = {".npy": 2**28, ".txt": 2**24, ".csv": 2**24}  # of a file: 4 million numbers in text
_MARKS = {  # byte order marks, UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
_WITH_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")  # a number with a decimal comma


def load_psf(path: str | os.PathLike) -> np.ndarray:
    """Reads a blur kernel from a picture, a .npy array, or numbers in a .txt or .csv file.

    Args:
        path: the file. Colours of a picture are averaged and multiplied by its transparency. Numbers are separated by spaces, tabs, commas
            or semicolons, one row a line; a comma is the decimal sign where it cannot separate. What follows # is passed over.

    Returns:
        The kernel (k, l) in float32, divided by its sum.

    Raises:
        ImageError: the file cannot be read, or is not two-dimensional, non-negative and somewhere positive.
    """
    path = named(path, ImageError)
    suffix = path.suffix.lower()
    if suffix in _MOST_BYTES:
        with reading(path) as file:
            if (length := file.seek(0, 2)) > _MOST_BYTES[suffix]:
                raise ImageError(f"it has {length:,} bytes, expected at most {_MOST_BYTES[suffix]:,} for a kernel")
            file.seek(0)
            psf = np.array(np.lib.format.open_memmap(path, mode="r") if suffix == ".npy" else _rows(_text(file.read()), suffix))
    else:
        picture = load(path)
        weight = 1 if picture.alpha is None else picture.alpha[..., None]
        psf = (picture.pixels.astype(np.float64) / picture.pixels.shape[-1] * weight).sum(axis=-1)
    return _normalised(psf, path)


def _normalised(psf: np.ndarray, path: Path) -> np.ndarray:
    if psf.ndim != 2 or psf.dtype.kind not in "buif":
        raise ImageError(f"the kernel {str(path)!r} is {psf.dtype} of shape {psf.shape}, expected numbers in rows (k, l)")
    psf = psf.astype(np.float64)
    if not (psf.size and np.isfinite(psf).all() and psf.min() >= 0 and psf.max() > 0):
        raise ImageError(f"the kernel {str(path)!r} must have finite values, none negative and not all zero")
    psf /= psf.max()  # the sum of the largest floats is infinite
    return (psf / psf.sum()).astype(np.float32)


def _text(data: bytes) -> str:
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    try:
        text = data[len(mark) :].decode(_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ImageError("it is no text in UTF-8, or in UTF-16 with a byte order mark; save it as UTF-8")
    return text


def _rows(text: str, suffix: str) -> list[list[float]]:
    """Returns the numbers of a text; raises ImageError if a field is none or the rows differ in length."""
    lines = [line.partition("#")[0].strip(" \r") for line in text.splitlines()]
    if lines and lines[0].lower().startswith("sep="):  # a line for spreadsheets
        lines = lines[1:]
    separator, decimal_comma = _separator(lines, suffix)
    rows, decimal_comma = _fields(lines, separator, decimal_comma)
    rows = [row for row in rows if any(row)]
    while rows and all(row and not row[-1] for row in rows):  # a separator ends every line
        rows = [row[:-1] for row in rows]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise ImageError(f"its rows have {lengths[0]} to {lengths[-1]} numbers, expected equally many")
    return [[_number(field, decimal_comma, index + 1) for field in row] for index, row in enumerate(rows)] or [[]]


def _fields(lines: list[str], separator: str | None, decimal_comma: bool) -> tuple[list[list[str]], bool]:
    """Returns the fields of every line, and whether a comma in one is the decimal sign, as it must be inside quotation marks."""
    if separator is None:
        return [[field.strip("\"'") for field in line.split()] for line in lines], decimal_comma
    try:  # line by line, for a quotation mark that is not closed must not take the next one with it
        read = [next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True), []) for line in lines]
    except csv.Error as error:
        raise ImageError(f"its quotation marks are not in pairs ({error})") from error
    rows = [[field.strip().strip("\"'") for field in row] for row in read]
    return rows, decimal_comma or any("," in field for row in rows for field in row)


def _separator(lines: list[str], suffix: str) -> tuple[str | None, bool]:
    """Returns what stands between numbers, None for spaces, and whether a comma is the decimal sign."""
    body = "\n".join(lines)
    fields = body.split()
    commas, points = [field for field in fields if "," in field], "." in body
    for separator in (";", "\t"):
        if separator in body:
            if commas and points:
                raise ImageError("it has numbers with points and with commas; write all with points")
            return separator, bool(commas)
    if not commas:
        return None, False
    if not points and all(_WITH_COMMA.fullmatch(field) for field in commas):
        if len(fields) > len([line for line in lines if line]):
            return None, True
        if suffix == ".txt":
            raise ImageError(
                "its commas may separate numbers or be their decimal signs; write decimal points, or put spaces between numbers"
            )
    return ",", False


def _number(field: str, decimal_comma: bool, row: int) -> float:
    try:
        if "_" in field:  # Python reads that as well
            raise ValueError
        return float(field.replace(",", ".") if decimal_comma else field)
    except ValueError:
        raise ImageError(f"it has {printable(field[:40])!r} in row {row}, expected a number") from None
