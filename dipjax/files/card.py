"""What a notebook shows of a result: its picture and a plain table, in HTML that needs nothing from elsewhere."""

from typing import Any

import numpy as np

from dipjax.files.markup import element, table
from dipjax.files.web import shown

_MOST_BYTES, _LONGEST = 250_000, 512  # of a picture
_LEAST = 192  # pixels of the page along a picture's longer side; a smaller one is enlarged
_MOST = 4  # pictures of many


def made(pictures: dict[str, np.ndarray], facts: dict[str, str]) -> str:
    """Returns pictures `(H, W, C)`, with their range at [0, 1], and facts by their names, as HTML."""
    figures = [element("td", _image(picture, name), element("br"), name) for name, picture in pictures.items()]
    return element("div", element("table", element("tr", figures)) if figures else None, table(facts)).text


def _image(picture, name):
    image = shown(picture, most_bytes=_MOST_BYTES, longest=_LONGEST)
    times = max(1.0, _LEAST / max(image.width, image.height))
    size = {"width": round(image.width * times), "height": round(image.height * times)}
    return element("img", src=image.uri, alt=name, **size, style="image-rendering: pixelated; max-width: none")


def of_result(result: Any) -> str:
    """Returns a `core.state.Result` as HTML: the estimate, of a batch those of the first problems, and how far it is."""
    facts = {"steps": result.num_steps, "runs": f"{int(result.counted.sum())} of {result.alive.size} count"}
    if result.stopped is not None:
        facts |= {"stopped": f"{int(result.stopped.sum())} of {result.stopped.size}"}
    if result.num_steps and result.alive.any():
        facts |= {"loss": f"{result.metrics.loss[result.alive, -1].mean():.3g}"}
        if result.metrics.psnr_average is not None:
            facts |= {"PSNR of a run": f"{result.metrics.psnr_average[result.alive, -1].mean():.2f} dB"}
    facts |= {"seconds": f"{result.seconds:.1f}, and {result.compile_seconds:.1f} for compilation"}
    return made(_pictures(result) if result.num_steps else {}, facts)


def _pictures(result):
    """Returns the estimates by name; nothing where they are no pictures."""
    image = result.image if result.over_seeds or not result.alive.ndim else result.images
    image = np.abs(image) if np.iscomplexobj(image) else image
    lead = result.alive.ndim - bool(result.over_seeds)
    if image.ndim - lead != 3:
        return {}
    name = "mean of seeds" if result.over_seeds else "estimate"
    if not lead:
        return {name: image}
    return {f"{name}, picture {number}": one for number, one in enumerate(image.reshape(-1, *image.shape[-3:])[:_MOST])}
