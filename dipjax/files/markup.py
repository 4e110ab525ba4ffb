"""HTML that is safe by the way it is made: a text is escaped wherever it stands, and only what `element` returns is not."""

import html
from dataclasses import dataclass
from typing import Any

from dipjax.files.picture import printable

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


def table(rows: dict[str, Any]) -> Html:
    """Returns a table of names and values."""
    return element("table", [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows.items()])
