"""The page of `--live`: input and picture as on the page of `--report`, how far it is, and two buttons."""

from dipjax.app.html.markup import document
from dipjax.app.html.viewer import viewer
from dipjax.files.markup import element

KIND = "dipjax live"


def page(name: str, number: int, size: tuple[int, int], before: str, *, can_keep: bool) -> bytes:
    """Returns the page, which the program that serves it fills.

    Args:
      name: of the file.
      number: which picture of the command it is.
      size: height and width in pixels.
      before: the address of the input; it stands on both sides until there is a picture.
      can_keep: whether there is a place for the picture so far.
    """
    keep = element("button", "Keep this picture", id="keep", type="button", disabled=True) if can_keep else None
    buttons = element("div", element("button", "Stop here", id="stop", type="button", disabled=True), keep, class_="controls")
    body = [
        element("h1", name),
        element("p", "The picture as it forms. This page lives as long as the command.", class_="soft"),
        element("p", "waiting", id="status", class_="number wide"),
        element("progress", id="steps", value=0, max=1, aria_label="steps"),
        buttons,
        element("p", id="told", role="status"),
        viewer(before, before, ("input", "nothing yet"), size),
    ]
    whole = element("div", body, id="live", data_number=number)
    return document(f"{name} - dipjax", whole, scripts=("page.js", "live.js"), kind=KIND, is_served=True)
