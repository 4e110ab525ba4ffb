"""Maps with their scales: how sure a restoration is, and what it leaves of the measurement."""

import math

import numpy as np
from matplotlib import colormaps

from dipjax.app.report import rms
from dipjax.files.markup import Html, element
from dipjax.files.web import mapped

_MOST_BYTES = 400_000
_FEW = 0.005  # of the pixels, which may lie beyond the ends of the scale of the residual
_SIGNIFICANT, _TRACE, _MUCH = 4.0, 0.05, 0.3  # times what chance makes; correlations of neighbours
_UNITS = "in the units of the picture, of whole numbers as shares of white"


def uncertainty(outcome) -> Html:
    """Returns the standard deviation of the error, or of the seeds where that is not known."""
    std = outcome.uncertainty
    if std is None and outcome.result.counted.sum() > 1:
        return _map(outcome.std, "Standard deviation over the seeds", "the error itself is not known, and is more than this")
    if std is None:
        words = "nothing is known of it: that takes two seeds, and --stop held-out"
        return element("figure", element("figcaption", element("strong", "Uncertainty"), ": ", words, "."))
    words = f"{rms(std):.3g} over the whole picture; the noise of the input is {outcome.noise:.3g}"
    return _map(std, "Uncertainty: the standard deviation of the error", words)


def _map(std, title, words):
    values = std.mean(axis=-1)
    highest = float(np.nanmax(values, initial=0.0))
    return _figure(values, 0.0, highest, "cividis", title, f"{words}. Mean over the channels, {_UNITS}.")


def blur(outcome) -> Html | None:
    """Returns the point spread function that was found; None where none was looked for."""
    if outcome.psf is None:
        return None
    k, l = outcome.psf.shape
    words = f"what became of one bright point, {k} x {l} pixels, mean over the seeds; --found FILE writes it"
    return _figure(outcome.psf, 0.0, float(outcome.psf.max()), "gray", "The blur that was found", f"{words}.")


def residual(outcome) -> Html:
    """Returns what is left of the measurement, and says whether there is structure in it."""
    found = outcome.residual
    values = found.values.mean(axis=-1)
    known = np.abs(values[np.isfinite(values)])
    limit = float(np.quantile(known, 1 - _FEW)) if known.size else 0.0
    words = (
        f"{rms(found.values):.3g} over all; {verdict(found)} What is beyond the scale has the colour of its end. Mean over the channels, "
    )
    return _figure(values, -limit, limit, "PuOr_r", "Residual: the measurement minus what the result predicts of it", f"{words}{_UNITS}.")


def verdict(found) -> str:
    """Says in words what the correlation of neighbours means."""
    r = found.correlation
    if math.isnan(r):
        return "there are no neighbours to compare."
    number = f"the correlation of neighbours is {r:.2f}"
    if abs(r) <= max(_SIGNIFICANT * found.chance, _TRACE):
        return f"{number}: no structure is seen in it, it looks like independent noise."
    if r < 0:
        return f"{number}: neighbours have opposite signs more often than not, as where some of the noise was fitted."
    much = "much" if r >= _MUCH else "some"
    return (
        f"{number}: {much} structure is left in it, of the picture, or of noise that is correlated itself, as after a camera's processing."
    )


def _figure(values, low, high, name, title, words):
    colours = colormaps[name](np.linspace(0, 1, 256))[:, :3]
    picture = mapped(values, low, high, colours, most_bytes=_MOST_BYTES)
    scale = mapped(np.linspace(low, high, 256)[None], low, high, colours, most_bytes=_MOST_BYTES)
    ends = [element("span", f"{number:.3g}") for number in (low, (low + high) / 2, high)]
    reduced = f" Reduced to {picture.width} x {picture.height} pixels." if picture.is_reduced else ""
    unknown = " Gray: not known." if np.isnan(values).any() else ""
    return element(
        "figure",
        element("img", src=picture.uri, alt=title, width=picture.width, height=picture.height),
        element("img", src=scale.uri, alt="", class_="scale", width=256, height=1),
        element("div", ends, class_="ends soft"),
        element("figcaption", element("strong", title), f": {words}{unknown}{reduced}"),
    )
