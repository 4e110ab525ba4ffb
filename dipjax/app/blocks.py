"""A picture in letters, for `--preview`: the upper half of each is one pixel, the lower half another."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_COLOURS = {"truecolor", "256"}  # the kinds of terminals with enough of them
_MOST_COLUMNS, _MOST_ROWS, _OTHER_ROWS = 64, 24, 4  # letters; the last ones are left to the bar, which may take several
_BLOCK = "\N{UPPER HALF BLOCK}"


def are_shown_by(console: "Console") -> bool:
    """Says whether a terminal has the letters and the colours, and its user wants any."""
    has_letters = console.is_terminal and console.encoding.startswith("utf")
    return has_letters and console.color_system in _COLOURS and not console.no_color and not os.environ.get("NO_COLOR")


def picture(task: Any, result: Any) -> np.ndarray:
    """Returns the picture so far `(H, W, C)` of a task, with its range at [0, 1]."""
    from dipjax.tasks.restore import finished

    return task.span.scaled(finished(task, result.image))


def drawn(image: np.ndarray, columns: int, rows: int) -> "Text":
    """Returns a picture `(H, W, C)`, with its range at [0, 1], as large as it may be in a window of so many letters."""
    from PIL import Image
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    image = image if image.shape[-1] in (1, 3) else image.mean(axis=-1, keepdims=True)
    samples = np.rint(np.nan_to_num(image).clip(0, 1) * 255).astype(np.uint8)
    samples = np.broadcast_to(samples, (*samples.shape[:2], 3))
    height, width = samples.shape[:2]
    most = max(1, min(columns - 1, _MOST_COLUMNS)), max(1, min(rows - _OTHER_ROWS, _MOST_ROWS))
    scale = min(most[0] / width, 2 * most[1] / height, 1.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.asarray(Image.fromarray(np.ascontiguousarray(samples)).resize(size, Image.Resampling.BOX))
    if len(pixels) % 2:  # the last letter has a lower half too
        pixels = np.concatenate([pixels, pixels[-1:]])
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append(_BLOCK, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    text.rstrip()
    return text
