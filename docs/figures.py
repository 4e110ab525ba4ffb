"""Takes the pictures of the page 'How it works' out of the lessons, which have made them: `python docs/figures.py`."""

import base64
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pages" / "figures"
# picture: the lesson, the heading of its cell, and which of the pictures there
FIGURES = {
    "prior": ("your_own_generator", "## Look", 0),
    "stopping": ("stopping_and_uncertainty", "## Let each seed stop by itself", 0),
    "seeds": ("denoising", "## Look", 0),
}


def picture(lesson: str, heading: str, number: int) -> bytes:
    """Returns a picture below a heading of a lesson, as PNG."""
    cells = json.loads((ROOT / "notebooks" / f"{lesson}.ipynb").read_text(encoding="utf-8"))["cells"]
    (start,) = (at for at, cell in enumerate(cells) if "".join(cell["source"]).startswith(heading))
    found = [output["data"]["image/png"] for output in cells[start + 1]["outputs"] if "image/png" in output.get("data", {})]
    return base64.b64decode("".join(found[number]))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, place in FIGURES.items():
        (FOLDER / f"{name}.png").write_bytes(picture(*place))
