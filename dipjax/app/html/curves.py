"""Curves as SVG: a line for every seed, a mark at the moment that was taken."""

import math

import numpy as np

from dipjax.files.markup import Html, element

NUM_COLOURS = 4  # of lines in the style sheet, of Okabe and Ito: more are not told apart by all eyes; further lines are dashed
_MOST_POINTS = 300
_WIDTH, _HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 420, 10, 232


class _Axis:
    """Where numbers lie along one side of the chart."""

    def __init__(self, values, start, end, *, is_log=False):
        known = values[np.isfinite(values) & ((values > 0) | (not is_log))]
        low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 2.0)
        self.is_log, self.start, self.end = is_log, start, end
        if low == high:
            low, high = (low / 2, high * 2) if is_log else (low - 0.5, high + 0.5)
        self.low, self.high = low, high

    def at(self, values):
        """Returns the places of numbers, NaN of what has none."""
        with np.errstate(all="ignore"):
            scale = np.log if self.is_log else np.asarray
            low, high, values = (scale(np.asarray(number, np.float64)) for number in (self.low, self.high, values))
            places = self.start + (values - low) / (high - low) * (self.end - self.start)
        return np.where(np.isfinite(places), places, np.nan)

    def ticks(self):
        """Returns three to ten round numbers."""
        if self.is_log and self.high / self.low > 8:
            decades = range(_decade(self.low), _decade(self.high) + 2)
            decades = decades[:: -(-len(decades) // 5)]
            found = [part * 10.0**decade for decade in decades for part in ((1, 2, 5) if len(decades) < 4 else (1,))]
        else:
            rough = (self.high - self.low) / 4
            unit = 10.0 ** _decade(rough)
            step = next(part * unit for part in (1, 2, 5, 10) if part * unit >= rough)
            found = [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [number for number in found if self.low <= number <= self.high]


def _decade(number):
    return int(f"{number:e}".partition("e")[2])


def chart(title: str, across: str, lines: list[np.ndarray], *, faint=(), marks=(), level=None, is_log: bool = False) -> Html:
    """Returns a chart of `lines`, each `(T,)` over the steps from 1.

    Args:
      title: what is drawn.
      across: what the steps are called.
      lines: of the seeds.
      faint: lines of the same seeds, behind them.
      marks: for each seed the step that was taken, 0 for none.
      level: a number that is drawn across.
      is_log: whether the numbers are shown by their logarithm.
    """
    number = len(lines[0])
    x = _Axis(np.array([1, number]), _LEFT, _RIGHT)
    y = _Axis(np.concatenate([*lines, *faint, [np.nan if level is None else level]]), _BOTTOM, _TOP, is_log=is_log)
    drawn = [_grid(x, y, across)]
    drawn += [_line(x, y, line, seed, "faint") for seed, line in enumerate(faint)]
    drawn += [_line(x, y, line, seed) for seed, line in enumerate(lines)]
    if level is not None:
        drawn.append(element("line", x1=_LEFT, x2=_RIGHT, y1=_round(y.at(level)), y2=_round(y.at(level)), class_="level"))
    for seed, step in enumerate(marks):
        if 0 < step <= number:
            where, colour = _round(x.at(step)), _colour(seed)
            drawn.append(element("line", x1=where, x2=where, y1=_TOP, y2=_BOTTOM, class_=f"mark {colour}"))
            if np.isfinite(height := y.at(lines[seed][step - 1])):
                drawn.append(element("circle", cx=where, cy=_round(height), r=4, class_=f"dot {colour}"))
    picture = element("svg", drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=title)
    return element("figure", picture, element("figcaption", title), class_="chart")


def _grid(x, y, across):
    parts = []
    for number in y.ticks():
        height = _round(y.at(number))
        parts.append(element("line", x1=_LEFT, x2=_RIGHT, y1=height, y2=height, class_="grid"))
        parts.append(element("text", f"{number:.4g}", x=_LEFT - 6, y=height + 4, text_anchor="end"))
    for number in (tick for tick in x.ticks() if tick == int(tick)):
        parts.append(element("text", int(number), x=_round(x.at(number)), y=_BOTTOM + 16, text_anchor="middle"))
    parts.append(element("text", across, x=(_LEFT + _RIGHT) / 2, y=_HEIGHT - 5, text_anchor="middle"))
    return [*parts, element("line", x1=_LEFT, x2=_RIGHT, y1=_BOTTOM, y2=_BOTTOM, class_="axis")]


def _line(x, y, values, seed, more=""):
    steps = np.unique(np.linspace(1, len(values), min(len(values), _MOST_POINTS)).round().astype(int))
    path, pen_is_down = [], False
    for across, up in zip(x.at(steps), y.at(values[steps - 1]), strict=True):
        if known := bool(np.isfinite(up)):
            path.append(f"{'L' if pen_is_down else 'M'}{across:.1f} {up:.1f}")
        pen_is_down = known
    if len(path) == 1:  # one step is no line, but the round end of one
        path.append(f"L{path[0][1:]}")
    return element("path", d="".join(path), class_=f"{_look(seed)} {more}".rstrip())


def _colour(seed):
    return f"line{seed % NUM_COLOURS}"


def _look(seed):
    return f"{_colour(seed)} dash{seed // NUM_COLOURS % 3}"


def _round(number):
    return round(float(number), 1)


def legend(names: list[str]) -> Html:
    """Returns which line is which seed."""
    return element("ul", [element("li", name, class_=f"key {_look(seed)}") for seed, name in enumerate(names)], class_="legend")
