"""Two pictures, one over the other, with a slider between them and a zoom, as pages show them."""

from dipjax.files.markup import Html, element


def viewer(before: str, after: str, names: tuple[str, str], size: tuple[int, int]) -> list[Html]:
    """Returns two pictures of which a slider shows more or less, to be zoomed into; `page.js` moves them.

    Args:
      before: the address of the one on the left.
      after: that of the one on the right.
      names: what they are.
      size: height and width in pixels.
    """
    height, width = size
    how = {"width": width, "height": height, "draggable": "false"}
    stage = element(
        "div",
        element("img", id="before", src=before, alt=names[0], **how),
        element("img", id="after", class_="after", src=after, alt=names[1], **how),
        element("div", class_="handle", id="handle"),
        class_="stage", id="stage", data_width=width, data_height=height,
    )  # fmt: skip
    divide = element("input", type="range", id="divide", min=0, max=100, step=0.5, value=50)
    buttons = [("smaller", "-", "zoom out"), ("larger", "+", "zoom in"), ("fit", "fit", None), ("exact", "1:1", "one to one")]
    controls = [
        element("label", "divide", divide),
        [element("button", word, id=name, type="button", aria_label=long) for name, word, long in buttons],
        element("output", id="zoom"),
    ]
    return [
        element("div", stage, class_="viewer", id="viewer", tabindex=0, role="group", aria_label="before and after; + and - zoom"),
        element("div", element("span", names[0]), element("span", names[1], id="right"), class_="sides soft"),
        element("div", controls, class_="controls"),
    ]
