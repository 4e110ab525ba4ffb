"""The index of many pictures: a row for each, to be sorted, with a link to its page."""

import contextlib
import math
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from dipjax import files
from dipjax.app.html.markup import command, document, is_of
from dipjax.app.progress import duration
from dipjax.app.report import REPORT_SUFFIXES, command_line
from dipjax.files import ImageError, OutputError
from dipjax.files.markup import element
from dipjax.files.web import shown

KIND = "dipjax index"
_SIDE, _BYTES = 160, 20_000  # of a thumbnail
_BEGINNING = 2000  # bytes, in which a page says what it is
_COLUMNS = {"": None, "picture": "text", "status": "text"}  # which every index has, and how they are sorted


class Row(NamedTuple):
    """One picture of the index."""

    name: str
    page: Path
    output: Path
    record: dict[str, Any]
    error: str | None  # of this time


def begin(path: str, folder: Path, *, force: bool) -> None:
    """Checks, before the work, that the index can be written, and makes the folder of its pages.

    Raises:
      OutputError: it cannot, or it would replace what is no index.
    """
    if Path(path).suffix.lower() not in REPORT_SUFFIXES:
        raise OutputError(f"cannot write {path!r}: use one of the suffixes {', '.join(REPORT_SUFFIXES)}")
    files.check_free(path, force=force or _is_index(path))
    with files.writing(folder):
        folder.mkdir(exist_ok=True)


def _is_index(path):
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        return is_of(file.read(_BEGINNING), KIND)
    return False


def write(path: str, given: Namespace, rows: Sequence[Row]) -> None:
    """Writes the index.

    Raises:
      OutputError: it cannot be written.
    """
    title = f"{len(rows)} picture{'s' * (len(rows) > 1)}, {given.task}"
    numbers = [_numbers(row.record) for row in rows]
    known = [label for label in _numbers({}) if any(told[label][1] for told in numbers)]
    kinds = _COLUMNS | dict.fromkeys(known, "number")
    heads = [
        element("th", element("button", name, type="button") if name else None, scope="col", data_kind=kind) for name, kind in kinds.items()
    ]
    counts: dict[str, int] = {}
    for row in rows:
        counts[_status(row)] = counts.get(_status(row), 0) + 1
    body = [
        element("h1", title),
        element("p", ", ".join(f"{count} {status}" for status, count in counts.items())),
        element("p", "The command, to repeat it in the same folder, which leaves out what is done:"),
        command(command_line(given.arguments)),
        element(
            "table",
            element("thead", element("tr", heads)),
            element("tbody", [_row(row, {label: told[label] for label in known}) for row, told in zip(rows, numbers, strict=True)]),
            class_="many",
        ),
    ]
    data = document(f"{title} - dipjax", body, scripts=("index.js",), kind=KIND)
    files.write(path, data, force=given.force or _is_index(path))


def _status(row):
    if row.error or "error" in row.record:
        return "failed"
    if "begun" in row.record:
        return "not finished"
    return str(row.record.get("ending", "not begun"))


def _numbers(record):
    """Returns for each column its value and its words, which are empty where it has none."""
    pages, scores = record.get("pages"), record.get("metrics") or {}
    seconds = _sum(pages, "seconds") if pages else record.get("seconds")
    return {
        "seconds": (seconds, duration(seconds) if _is_number(seconds) else ""),
        "steps": _told(record.get("steps"), "d"),
        "PSNR before": _told(scores.get("input", {}).get("psnr"), ".2f"),
        "PSNR after": _told(scores.get("ensemble", {}).get("psnr"), ".2f"),
        "estimated error": _told((record.get("uncertainty") or {}).get("error"), ".3g"),
    }


def _row(row, numbers):
    # The dot, because a name may look like the beginning of an address.
    href = "/".join([".", *(quote(os.fsencode(part)) for part in row.page.parts[-2:])]) if row.page.exists() else None
    name = element("a", row.name, href=href) if href else element("span", row.name)
    error = row.error or row.record.get("error")
    small = _thumbnail(row) if _status(row) not in ("failed", "not begun", "not finished") else None
    return element(
        "tr",
        element("td", element("a", small, href=href, tabindex=-1, aria_hidden="true") if href and small else small),
        element("td", name, data_value=row.name),
        element("td", _status(row), element("small", f": {error}", class_="bad") if error else None, data_value=_status(row)),
        [
            element("td", words, data_value=value if _is_number(value) else None, data_label=label, class_="number")
            for label, (value, words) in numbers.items()
        ],
    )


def _told(value, form):
    return (value, format(value, form)) if _is_number(value) else (None, "")


def _is_number(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def _sum(pages, name):
    return math.fsum(page[name] for page in pages if _is_number(page.get(name)))


def _thumbnail(row):
    span = next((page["range"] for page in (row.record, *row.record.get("pages", ())) if "range" in page), {"low": 0, "high": 1})
    try:
        pixels = files.load(row.output, allow_nan=True).pixels
    except ImageError:  # somebody has taken it away, or it is too large to look at
        return None
    picture = shown((pixels - span["low"]) / (span["high"] - span["low"]), most_bytes=_BYTES, longest=_SIDE, exact=False)
    return element("img", src=picture.uri, alt="", width=picture.width, height=picture.height)
