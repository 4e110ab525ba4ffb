"""HTML that is safe by the way it is made: a text is escaped wherever it stands, and only what `element` returns is not.

`document` puts it into a page whose policy lets nothing in from outside, and runs no style and no script but its own two.
"""

import base64
import hashlib
import html
from dataclasses import dataclass
from importlib import resources
from typing import Any

from dipjax.files import printable

_VOID = ("br", "img", "input", "link", "meta")  # elements that hold nothing


@dataclass(frozen=True)
class Html:
    """Markup; what has come from outside has been escaped in it."""

    text: str


def element(name: str, /, *inside: Any, **attributes: Any) -> Html:
    """Returns an element.

    Args:
      name: of the element.
      inside: texts, numbers, `Html`, lists of these; None is nothing.
      attributes: `class_` is class, `data_value` is data-value; None and False leave one out, True gives it no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")  # noqa: PLW2901
            words.append(key if value is True else f'{key}="{_escaped(value)}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if name in _VOID else f"{opening}{_joined(inside)}</{name}>")


def _joined(inside):
    if isinstance(inside, (list, tuple)):
        return "".join(map(_joined, inside))
    return "" if inside is None else inside.text if isinstance(inside, Html) else _escaped(inside)


def _escaped(value):
    # Marks that turn the direction of letters, and halves of letters from names that are no UTF-8, are made visible.
    return html.escape("\n".join(map(printable, str(value).split("\n"))))


def document(title: str, *body: Any, scripts: tuple[str, ...], kind: str, is_served: bool = False) -> bytes:
    """Returns a page.

    Args:
      title: of the page.
      body: what is on it.
      scripts: the names of the files beside this module that are its script, one after the other.
      kind: what `is_of` finds in it.
      is_served: whether it may talk to the server that it came from, and to no other.
    """
    style, code = _beside("style.css"), "".join(map(_beside, scripts))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(code)}; base-uri 'none'; form-action 'none'"
        + "; connect-src 'self'" * is_served
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="generator", content=kind),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),  # or a browser would ask the server for one
        element("title", title),
        element("style", Html(style)),
    )
    page = element("html", head, element("body", element("main", body), element("script", Html(code))), lang="en")
    return f"<!DOCTYPE html>\n{page.text}\n".encode()


def _beside(name):
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def is_of(beginning: bytes, kind: str) -> bool:
    """Says whether a file that begins so is a page of a kind."""
    return element("meta", name="generator", content=kind).text.encode() in beginning


def table(rows: dict[str, Any]) -> Html:
    """Returns a table of names and values."""
    return element("table", [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows.items()])
