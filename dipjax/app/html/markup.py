"""Pages, whose policy lets nothing in from outside, and runs no style and no script but their own two."""

import base64
import hashlib
from importlib import resources
from typing import Any

from dipjax.files.markup import Html, element


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


def command(words: str) -> Html:
    """Returns a command to be copied, whose words stay whole where the page is narrow."""
    parts = [[" " * (number > 0), element("span", word, class_="word")] for number, word in enumerate(words.split(" "))]
    return element("pre", parts, class_="command", tabindex=0)


def _beside(name):
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def is_of(beginning: bytes, kind: str) -> bool:
    """Says whether a file that begins so is a page of a kind."""
    return element("meta", name="generator", content=kind).text.encode() in beginning
