"""What a person may ask of a restoration, said once: `Options`.

Its fields are the keywords of every function of `dipjax.tasks` and the options of every command; the checks are here, so that both faces
refuse the same. To add an option, add a field.
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

MOST_STEPS = 2**31 - 1
_MOST_SEEDS, _LARGEST_RNG = 65_536, 2**32 - 1
BATCHING = ("auto", "vmap", "map")
GUIDES = ("auto", "none")
KRIGING = ("auto", "none")
AGGREGATE = ("mean", "median", "trimmed")


class Misused(ValueError):
    """Says in one sentence which option has a value that it does not take."""


class Diverged(RuntimeError):
    """Says that no seed is left."""


class Argument(NamedTuple):
    """How an option, or a parameter of a task, is explained and written."""

    help: str
    flag: str | None = None  # on the command line; None if it is for Python alone
    parse: Callable[[str], Any] | None = None  # of one word
    limits: tuple[int, int | None] | None = None  # of a whole number, None where there is none above
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    many: bool = False  # may be given several times
    read: str | None = None  # the kind of file that holds it: "picture", "mask", "psf" or "complex"


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Returns a reader of whole numbers."""

    def parse(text):
        digits = text.strip().removeprefix("+").removeprefix("-") if text.strip()[:2] not in {"+-", "-+"} else ""
        value = int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= 30 else None
        if value is None or not _within(value, least, most):
            raise ValueError(f"found {text!r}, expected a whole number {_between(least, most)}")
        return value

    return parse


def _within(value, least, most):
    return least <= value and (most is None or value <= most)


def _between(least, most):
    return f"of at least {least}" if most is None else f"from {least} to {most}"


def positive(text: str) -> float:
    """Reads a positive number."""
    value = _number(text)
    if not 0 < value < np.inf:
        raise ValueError(f"found {text!r}, expected a positive number")
    return value


def not_negative(text: str) -> float:
    """Reads a number from 0."""
    value = _number(text)
    if not 0 <= value < np.inf:
        raise ValueError(f"found {text!r}, expected a number that is not negative")
    return value


def _number(text):
    try:
        return float(text)
    except ValueError:
        return np.nan


def at_least_one(text: str) -> float:
    """Reads a number from 1, also as a fraction; whole ones stay whole."""
    parts = text.split("/")
    try:
        value = float(parts[0]) / (float(parts[1]) if len(parts) == 2 else 1)
    except (ValueError, ZeroDivisionError):
        value = np.nan
    if len(parts) > 2 or not 1 <= value < np.inf:
        raise ValueError(f"found {text!r}, expected a number of at least 1, such as 4, 2.5 or 3/2")
    return int(value) if value == int(value) else value


def _range(text):
    if text in {"auto", "full"}:
        return text
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"found {text!r}, expected auto, full, or two numbers LOW,HIGH of which the first is smaller")
    return low, high


def _option(default, words, flag=None, **how):
    return dataclasses.field(default=default, metadata={"argument": Argument(words, flag, **how)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keywords of every task; each is explained in its `Argument`, and so in `help(dipjax.denoise)` and `dipjax denoise --help`.

    Raises:
      ValueError: a value that its option does not take.
    """

    seeds: int = _option(
        4, "how many restorations, which differ in their random start, are averaged: time grows with it, so does quality",
        "--seeds", limits=(1, _MOST_SEEDS), metavar="K",
    )  # fmt: skip
    num_iter: int | None = _option(
        None, "training steps of each seed; if not given, the recipe's, for noise by the picture's size, and four times as many with a"
        " stopping rule",
        "--steps", limits=(1, MOST_STEPS), metavar="N",
    )  # fmt: skip
    stop: Any = _option(
        "auto", "when each seed stops: held-out, where it no longer predicts better what it has not seen; wmv, emv, discrepancy or sure,"
        " the published rules; none, after all steps; auto, held-out for denoise, flash, superres and restore-photo, for denoise as soon as"
        " little is gained, none for the other tasks, and a recipe's own, if it has one, for a recipe that is named. With a rule the steps"
        " are the most it may take. In Python also a rule from `dipjax.stopping`",
        "--stop", metavar="RULE",
    )  # fmt: skip
    sigma: float | None = _option(
        None, "standard deviation of the noise, in the units of the picture, of whole numbers divided by their largest; for discrepancy and"
        " sure, which else estimate it",
        "--sigma", parse=positive, metavar="S",
    )  # fmt: skip
    budget: float | None = _option(
        None,
        "seconds after which to stop, compilation included, but not before the first step",
        "--budget",
        parse=positive,
        metavar="SECONDS",
    )
    recipe: Any = _option(
        None, "fast, a quick small network, paper, the official setting, or the name of a file .json with a recipe or a record; in Python"
        " also a Recipe, a Setting, or a function of the channels that returns one; if not given, fast on a CPU, else paper",
        "--recipe", metavar="NAME",
    )  # fmt: skip
    guide: str = _option(
        "auto", "whether the network of the fast recipe sees a quick classical restoration beside noise, from which it need only learn the"
        " rest: auto, where there is one for the task and the noise; none, as the paper has it",
        "--guide", choices=GUIDES,
    )  # fmt: skip
    kriging: str = _option(
        "auto", "whether what the networks leave of the measurement is put back, as far as it is no noise, and continued to where nothing"
        " was measured: auto, for denoise, inpaint, superres, demosaic and mri; none, where the picture is to be what the networks made,"
        " which takes up to five times the steps",
        "--kriging", choices=KRIGING,
    )  # fmt: skip
    generator: Any = _option(
        None, "another network, with its setting for noise: a name that `dipjax generators` lists; in Python also a generator",
        "--generator", metavar="NAME",
    )  # fmt: skip
    option: tuple[str, ...] = _option(
        (),
        "NAME=VALUE, an option of the generator of that name; `dipjax generators` lists them",
        "--option",
        metavar="NAME=VALUE",
        many=True,
    )
    loss: Any = _option(
        None, "how the fit is measured: mse, l1, huber[:delta], poisson[:photons], anscombe[:gain], log, rmse, consistency[:sigma],"
        " gradients or ssim, for a range of [0, 1], or several with their weights, as l1+ssim:0.01; or back-projection, for a blur"
        " and tomography, alone; in Python also a loss; if"
        " not given, the one that suits the noise, or the recipe's",
        "--loss", metavar="NAME",
    )  # fmt: skip
    schedule: Any = _option(
        None, "of the learning rate: constant, cosine, halving or warm-up; in Python also a schedule; if not given, the recipe's",
        "--schedule", metavar="NAME",
    )  # fmt: skip
    range: Any = _option(
        "auto", "the values that are black and white: auto finds what the picture fills, full is [0, 1] or all of a type, or LOW,HIGH",
        "--range", parse=_range, metavar="auto|full|LOW,HIGH",
    )  # fmt: skip
    rng: Any = _option(
        0, "where the random seeds begin: the same number gives the same picture on the same machine; in Python also a jax.random.key",
        "--rng", parse=whole(0, _LARGEST_RNG), metavar="N",
    )  # fmt: skip
    batching: Any = _option(
        "auto", "seeds together (vmap), one by one (map), or whatever is fastest here (auto); in Python also a Layout",
        "--batching", choices=BATCHING,
    )  # fmt: skip
    aggregate: str = _option(
        "mean", "what is made of the seeds, pixel by pixel: mean, median, or trimmed, the mean of the middle half",
        "--aggregate", choices=AGGREGATE,
    )  # fmt: skip
    tile: int | None = _option(
        None, "restore in tiles of this side, in pixels, and blend them; 0 never; if not given, where the whole would not fit the"
        " memory",
        "--tile", limits=(0, None), metavar="PIXELS",
    )  # fmt: skip
    tile_overlap: int | None = _option(
        None, "pixels that neighbouring tiles share; if not given, an eighth of the tile",
        "--tile-overlap", limits=(1, None), metavar="PIXELS",
    )  # fmt: skip
    checkpoint: Any = _option(
        None, "a folder where the work is kept, every so often and at its end: the same call, or `dipjax resume`, goes on from there, bit"
        " for bit as if it had never been broken off", "--checkpoint", metavar="DIR",
    )  # fmt: skip
    checkpoint_every: float = _option(
        60.0, "seconds from one checkpoint to the next", "--checkpoint-every", parse=positive, metavar="SECONDS"
    )
    truth: Any = _option(
        None, "the true picture, as large as the result, to compute PSNR and SSIM", "--reference", read="picture", metavar="CLEAN"
    )
    channel_axis: Any = _option(
        "auto", "the axis of the channels of the arrays; auto is none for (H, W), and the last of three where that is plain"
    )
    callback: Any = _option(None, "called with the Result so far about twice a second; returning True ends the work")
    return_result: bool = _option(False, "also return the Outcome: every seed's picture, their standard deviation, the curves, the recipe")

    def __post_init__(self):
        """Checks what needs no picture."""
        self._check_numbers()
        for name, words in (("aggregate", AGGREGATE), ("guide", GUIDES), ("kriging", KRIGING)):
            if getattr(self, name) not in words:
                raise ValueError(f"{name}: found {getattr(self, name)!r}, expected one of {', '.join(words)}.")
        is_range = isinstance(self.range, (tuple, list)) and len(self.range) == 2 and all(map(_is_number, self.range))
        if self.range not in ("auto", "full") and not (is_range and np.isfinite(self.range).all() and self.range[0] < self.range[1]):
            raise ValueError(f'range: found {self.range!r}, expected "auto", "full", or two numbers of which the first is smaller.')
        if isinstance(self.option, str) or not all(isinstance(item, str) for item in self.option):
            raise ValueError(f'option: found {self.option!r}, expected a sequence of texts, each "NAME=VALUE".')
        if self.option and not isinstance(self.generator, str):
            raise ValueError(f"option: found {self.option!r} without the name of a generator, expected one whose option it is.")
        if self.generator is not None and self.recipe is not None:
            raise ValueError("generator: found a recipe too, expected only one of both: a recipe has its generator.")
        is_name = isinstance(self.checkpoint, (str, os.PathLike)) and str(self.checkpoint).strip()
        for name, is_right, expected in (
            ("checkpoint", is_name, "the name of a folder"),
            ("callback", callable(self.callback), "a function of the result so far"),
        ):
            if not (getattr(self, name) is None or is_right):
                raise ValueError(f"{name}: found {getattr(self, name)!r}, expected {expected}.")

    def _check_numbers(self):
        for name, argument in arguments().items():
            value = getattr(self, name)
            if argument.limits is None or (value is None and name != "seeds"):
                continue
            is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not is_whole or not _within(value, *argument.limits):
                raise ValueError(f"{name}: found {value!r}, expected a whole number {_between(*argument.limits)}.")
        for name, unit in (("budget", "number of seconds"), ("sigma", "number"), ("checkpoint_every", "number of seconds")):
            value = getattr(self, name)
            if not (value is None and name != "checkpoint_every") and not (_is_number(value) and 0 < value < np.inf):
                raise ValueError(f"{name}: found {value!r}, expected a positive {unit}.")


def _is_number(value):
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def arguments() -> dict[str, Argument]:
    """Returns how each option is explained and written."""
    return {field.name: field.metadata["argument"] for field in dataclasses.fields(Options)}
