"""Refinement: a light network gives a restored picture the look of examples, while what was measured stays the judge of what is true.

Two networks take turns. The refiner corrects the restored picture so that its parts both fit the measurement and look like examples to the
judge; the judge learns to tell parts of examples from parts of what the refiner makes. A tenth of the measurement is shown to
neither: where the refined picture fits that tenth, or the whole, worse than before, by more than a bound, the picture stays as it was.
Of a noisy picture the misfit is to be that of the noise: what fits better than that, and than before, has brought noise back.
Where a task puts back what its networks leave of the measurement (`kriging`), it is put back here too: the refined picture then agrees with
what was measured as the restored one does, and the examples decide only what nobody measured. What was hidden is put back as well, and
judges nothing there.
What was measured has to be known for all that: the task that made the picture says it.

References: Isola, Zhu, Zhou, Efros, Image-to-image translation with conditional adversarial networks, CVPR 2017 (a judge of patches);
Mao et al., Least squares generative adversarial networks, ICCV 2017 (the loss of both, a squared error, so that the one loop serves both).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import struct
from dipjax.after import training
from dipjax.after.student import forward
from dipjax.core import loop
from dipjax.core.problem import Problem
from dipjax.core.recipe import MSE, Recipe
from dipjax.files import is_whole, to_pixels
from dipjax.fitting import inputs
from dipjax.fitting.optimizers import Adam, Cosine
from dipjax.generators.residual import Judge, Residual
from dipjax.large import tiling
from dipjax.operators import Identity, checks, instruments
from dipjax.operators import problem as problems
from dipjax.stopping.noise import noise_deviation
from dipjax.tasks import tasks  # noqa: F401, which registers them
from dipjax.tasks.door import TASKS, Task, posed
from dipjax.tasks.options import Options
from dipjax.tasks.restore import whole

SMALLEST = 32  # pixels along a side of an example
_WINDOW, _OF_ONE, _OF_ALL = 256, 4, 256  # the side of what is kept of examples, how many of one at most, and of all
_LARGEST = 99.9  # per cent of the numbers of a picture are no larger than the one that tells its unit
_FARTHEST = 30.0  # times larger, numbers are in another unit: 255 for 1, not an evening for a noon
_ABSURD = 1.1  # times as far from the measurement as the best picture of one value, a result is one of something else
_SIDE, _BATCH = 64, 4  # of the parts, at most, and how many of either kind the judge sees in a step
_HIDDEN = 0.1  # of the measurement
_ROUNDING = 1 / 255 / math.sqrt(12)  # of 8 bit, root mean square: what fits as well as that fits
_RATE, _JUDGE_RATE = 1e-3, 5e-4


class Refined(NamedTuple):
    """A picture, refined or as it was, and why.

    Attributes:
      image: in the layout and the units of the restored picture.
      is_refined: whether it is another than that.
      before: root mean square of `A x - y`, in the units of the measurement: of all of it, and of the hidden tenth.
      after: the same of the refined picture, also where it was not taken.

    Examples:
      >>> print(dipjax.Refined(np.zeros((32, 32)), True, (0.102, 0.11), (0.101, 0.109)))
      refined: misfit 0.102 before and 0.101 after, of what was hidden 0.11 and 0.109
    """

    image: np.ndarray
    is_refined: bool
    before: tuple[float, float]
    after: tuple[float, float]

    def __str__(self) -> str:
        """Says it for people."""
        (whole, hidden), (whole_after, hidden_after) = self.before, self.after
        numbers = f"misfit {whole:.4g} before and {whole_after:.4g} after, of what was hidden {hidden:.4g} and {hidden_after:.4g}"
        why = "fit the measurement worse" if whole_after > whole or hidden_after > hidden else "bring noise back"
        return f"{'refined' if self.is_refined else f'not refined, because it would {why}'}: {numbers}"


@struct.dataclass
class Judged:
    """An operator, what of its measurement is seen, and a judge: predicts the measurement, how the image is judged, and a misfit of zero.

    Attributes:
      operator: as in a `Problem`.
      seen: as the measurement, 1 where it counts.
      params: of the judge.
      judge: the network.
    """

    operator: Callable
    seen: Array
    params: Any
    judge: Judge = struct.field(pytree_node=False)

    def __call__(self, image: Array) -> tuple[Array, Array, Array]:
        """Returns what is measured of an image, the judge's opinions of its parts, and 0."""
        return self.operator(image) * self.seen, self.judge.apply(self.params, image), jnp.zeros((), image.dtype)


@dataclass(frozen=True)
class Both:
    """The misfit beyond that of the noise, and `weight` times that to a good opinion; a greater weight makes the look count more."""

    weight: float

    def __call__(self, prediction: tuple, measurement: tuple) -> Array:
        """Returns `max(mse(A x, y) - noise, 0) + weight mse(opinions, 1)`."""
        (measured, opinions, _), (wanted, good, noise) = prediction, measurement
        return jnp.maximum(MSE()(measured, wanted) - noise, 0) + self.weight * MSE()(opinions, good)


def refine(
    restored: np.ndarray,
    of: np.ndarray | Problem | Task,
    examples: Iterable[np.ndarray],
    *,
    num_steps: int = 400,
    weight: float = 3e-4,
    bound: float = 0.01,
    rng: int = 0,
    channel_axis: int | str | None = "auto",
    callback: Callable[[int, float], bool | None] | None = None,
) -> Refined:
    """Gives a restored picture the look of clean examples, as far as the measurement allows.

    Args:
      restored: what `dipjax.denoise`, `super_resolve` or another has made: `(H, W)` or with channels.
      of: what was measured. A noisy picture, or a small one, whose sides are smaller by one whole number, is taken as an array in the
        units of `restored`; of all else give the `task` of the `Outcome`, or a `Problem` with its range at [0, 1]. With the array of a
        picture that was blurred, compressed or had holes, refinement would bring those back.
      examples: clean pictures with the same channels and in the same units, at least 32 x 32 pixels; each is asked for once, and of
        large ones and of many only parts are kept, so that a generator may read any number of files.
      num_steps: of either network.
      weight: how much the look counts against the measurement; 0 fits the measurement alone.
      bound: by which share the misfit may grow. Of a noisy picture it may fall by as much, from before or from its noise, whichever is
        less. Where what networks leave is put back, less than that of rounding to 8 bit counts as that.
      rng: where randomness begins.
      channel_axis: as for `dipjax.denoise`, of all pictures.
      callback: called with the steps taken and the loss; returning True ends the training.

    Returns:
      The picture, refined or unchanged, and how both fit the measurement. It is float32 in either case, or float64 where `restored`
      has more digits; whole numbers are divided by their largest. What an inpainting knows stays as it is.

    Raises:
      ValueError: the pictures do not fit together, are in different units, or do not show the same.
      Diverged: the training did.

    Examples:
      >>> noisy, clean = (np.random.default_rng(n).random((32, 32), np.float32) for n in (0, 1))
      >>> refined = dipjax.refine(noisy, noisy, [clean], num_steps=1)
      >>> refined.image.shape, type(refined.is_refined)
      ((32, 32), <class 'bool'>)
      >>> net = dipjax.generators.Plain(1, 2)
      >>> filled, outcome = dipjax.inpaint(noisy, noisy > 0.8, generator=net, seeds=2, num_iter=2, return_result=True)
      >>> dipjax.refine(filled, outcome.task, [clean], num_steps=1).image.shape
      (32, 32)
    """
    checks.count("num_steps", num_steps)
    checks.not_negative("weight", weight)
    checks.not_negative("bound", bound)
    checks.count("rng", rng, 0)
    if callback is not None and not callable(callback):
        raise ValueError(f"callback: found {callback!r}, expected a function of the steps and the loss.")
    if not isinstance(examples, Iterable) or (isinstance(examples, np.ndarray) and examples.ndim < 4):
        found = f"one array of shape {examples.shape}" if isinstance(examples, np.ndarray) else repr(examples)
        raise ValueError(f"examples: found {found}, expected several clean pictures, such as a list of arrays.")
    pixels, restore_layout = to_pixels(restored, channel_axis=channel_axis, name="restored")
    task = _task(of, pixels, channel_axis)
    data, span = task.problem, task.span
    _check(pixels, data)
    random = np.random.default_rng(rng)
    shown = windows(_read(examples, pixels.shape[-1], channel_axis), random)
    if not shown:
        raise ValueError("examples: found none, expected at least one clean picture.")
    check_units("examples", shown, pixels)
    measurement = np.asarray(data.measurement)
    seen = np.float32(random.random(measurement.shape) >= _HIDDEN)
    misfits = partial(_misfits, data, measurement, seen)
    before = misfits(span.inside(pixels))
    if before[0] > _ABSURD * _contrast(data, measurement):
        raise ValueError(
            f"of: found a measurement that the restored picture misses by {before[0]:.3g}, more than a picture of one value does, expected"
            " that of the same scene; was the picture made of it, and in this way?"
        )
    # Elsewhere noise and detail cannot be told apart.
    is_noisy = isinstance(data.operator, Identity)
    noise, task = (noise_deviation(measurement), replace(task, noise=None)) if is_noisy else (0.0, task)
    how = {"noise": noise**2, "num_steps": num_steps, "weight": weight, "rng": rng, "callback": callback}
    image = _trained(span.inside(pixels), data, seen, [span.inside(one) for one in shown], random, **how)
    exact = 0.0 if task.noise is None else _ROUNDING
    made = whole(task, image)
    after = misfits(span.inside(made))
    is_refined = all((1 - bound) * min(old, noise) <= new <= (1 + bound) * max(old, exact) for new, old in zip(after, before, strict=True))
    width = span.high - span.low
    before, after = (tuple(float(value * width) for value in pair) for pair in (before, after))
    return Refined(restore_layout(made if is_refined else pixels), is_refined, before, after)


def _task(of, pixels, channel_axis):
    """Returns the task that made the picture: what was measured, and what is 0 and 1 in it."""
    if isinstance(of, Task):
        return of
    if isinstance(of, Problem):
        return Task(of, pixels, dtype=pixels.dtype, is_nominal=False)
    measured, _ = to_pixels(of, channel_axis=channel_axis, name="of")
    check_units("of", [measured], pixels)
    name, arguments = task_of(pixels.shape, measured.shape)
    return posed(TASKS[name], measured, arguments, options(is_whole(of)), is_whole=is_whole(of))


def options(is_whole: bool) -> Options:
    """Returns with which options a task is `posed` here: of whole numbers the range is theirs, also that of the examples."""
    return Options(range="full" if is_whole else "auto")


def task_of(shape: tuple[int, ...], measured: tuple[int, ...]) -> tuple[str, dict]:
    """Returns which task makes a picture of one of another, as their shapes `(H, W, C)` say: the name of its command, its arguments.

    Raises:
      ValueError: none that is known.
    """
    factor = shape[0] // measured[0]
    if factor < 1 or shape != (factor * measured[0], factor * measured[1], measured[2]):
        raise ValueError(
            f"of: found shape {measured} for a restored picture of {shape}, expected the same, or sides that are smaller by one whole"
            " number; give what the picture was made of."
        )
    return ("denoise", {}) if factor == 1 else ("superres", {"factor": factor})


def windows(pictures: Iterable[np.ndarray], random: np.random.Generator) -> list[np.ndarray]:
    """Returns parts of pictures `(H, W, C)`, as many as are needed to learn from, whatever the number of the pictures and their size.

    Each picture is asked for once. One of up to 256 x 256 pixels is kept whole, of larger ones up to four parts of that size, and
    of more than 256 parts in all every one with the same chance.
    """
    kept, number = [], 0
    for picture in pictures:
        sides = picture.shape[:2]
        for _ in range(min(_OF_ONE, math.prod(-(-side // _WINDOW) for side in sides))):
            rows, columns = (slice(start, start + _WINDOW) for start in (random.integers(max(side - _WINDOW, 0) + 1) for side in sides))
            number += 1
            place = len(kept) if len(kept) < _OF_ALL else int(random.integers(number))
            if place < _OF_ALL:
                kept[place : place + 1] = [picture[rows, columns].copy()]  # without the rest of the picture
    return kept


def check_units(name: str, pictures: Sequence[np.ndarray], pixels: np.ndarray) -> None:
    """Refuses pictures whose numbers are so much larger or smaller than those of the restored one that their unit is another."""
    found, expected = (max(float(np.percentile(np.abs(one), _LARGEST)) for one in group) for group in (pictures, [pixels]))
    if min(found, expected) > 0 and max(found, expected) > _FARTHEST * min(found, expected):
        raise ValueError(
            f"{name}: found numbers up to {found:.4g} and up to {expected:.4g} in the restored picture, expected the same unit in both;"
            " uint8 and uint16 are divided by their largest, floats are taken as they are."
        )


def _contrast(data, measurement):
    """Returns how far the measurement is from that of the best picture of one value, root mean square."""
    level = np.asarray(instruments.of_white(data), np.float64)
    value = np.vdot(level, measurement) / (np.vdot(level, level) or 1)
    return math.sqrt(np.square(measurement - value * level).mean())


def _read(examples, channels, channel_axis):
    """Yields the pixels of the examples, of which each is checked."""
    for number, example in enumerate(examples):
        name = f"examples[{number}]"
        pixels, _ = to_pixels(example, channel_axis=channel_axis, name=name)
        height, width, found = pixels.shape
        if found != channels:
            raise ValueError(f"{name}: found {found} channels, expected {channels}, those of the picture; convert the examples.")
        if min(height, width) < SMALLEST:
            raise ValueError(f"{name}: found {width} x {height} pixels, expected at least {SMALLEST} along each side.")
        yield pixels


def _check(pixels, data):
    if tuple(data.shape) != pixels.shape:
        raise ValueError(f"restored: found shape {pixels.shape}, expected {tuple(data.shape)}, that of the problem's image.")
    if not isinstance(data.measurement, (np.ndarray, Array)) or np.iscomplexobj(data.measurement):
        raise ValueError("of: found a measurement that is not one real array, expected one.")
    way = "of an unknown blur give what was found, `problem.deblurring(picture, outcome.psf)`"
    checks.image_alone("of", data.operator, data.shape, data.dtype, way)
    if min(pixels.shape[:2]) < SMALLEST:
        raise ValueError(f"restored: found shape {pixels.shape}, expected at least {SMALLEST} pixels along each side.")


def _trained(picture, data, seen, examples, random, *, noise, num_steps, weight, rng, callback):
    """Returns the refined picture."""
    channels = picture.shape[-1]
    data, side = jax.tree.map(np.asarray, data.replace(truth=None, guide=picture)), _side(data, [picture, *examples])
    refiner, judge = Residual(channels, 16, 5), Judge()
    makes = Recipe(refiner, inputs.Guide(), Adam(_RATE, Cosine()), loss=Both(weight), smoothing=0.0)
    tells = Recipe(training.Batched(judge), inputs.Guide(), Adam(_JUDGE_RATE, Cosine()), smoothing=0.0)
    first, second = jax.random.split(jax.random.key(rng))
    telling = making = None
    for step in range(num_steps):
        params = refiner.init(first, picture[:8, :8]) if making is None else making.params
        opinions = _opinions(random, picture, examples, min(side, *_sides(examples)), refiner, params)
        telling = loop.init(tells, second, opinions) if telling is None else telling
        telling, _ = training.take(tells, telling, opinions, num_steps)
        part = _part(random, data, seen, noise, side, judge, telling.params)
        making = loop.init(makes, first, part) if making is None else making
        making, loss = training.take(makes, making, part, num_steps)
        if callback and callback(step + 1, loss):
            break
    return np.asarray(forward(refiner, making.params, picture))


def _sides(pictures):
    return [side for picture in pictures for side in picture.shape[:2]]


def _side(data, pictures):
    """Returns the side of the parts that are refined in a step."""
    stride = getattr(data.operator, "stride", 1)
    return max(min(_SIDE, *_sides(pictures)) // stride, 1) * stride


def _part(random, data, seen, noise, side, judge, params):
    """Returns the problem of one part of the picture; of all of it where the operator cannot be cut."""
    operator, shape = data.operator, data.shape
    if hasattr(operator, "cut"):
        starts = (operator.stride * random.integers((size - side) // operator.stride + 1) for size in shape[:2])
        rows, columns = (slice(int(start), int(start) + side) for start in starts)
        part = tiling.cut(data, rows, columns)
        seen = operator.cut(seen, rows, columns, shape)[0]
    else:
        part = data
    good = np.ones((*(-(-size // judge.stride) for size in part.shape[:2]), 1), np.float32)
    measurement = part.measurement * seen, good, np.float32(noise * seen.mean())
    return part.replace(measurement=measurement, operator=Judged(part.operator, seen, params, judge))


def _opinions(random, picture, examples, side, refiner, params):
    """Returns the problem of the judge: parts of examples, which are to be called 1, and of what the refiner makes, 0."""
    true = [examples[i][rows, columns] for i, rows, columns in training.places(random, examples, side, _BATCH)]
    made = [picture[rows, columns] for _, rows, columns in training.places(random, [picture], side, _BATCH)]
    made = [np.asarray(forward(refiner, params, part)) for part in made]
    shown = jnp.asarray(np.stack([training.turned(part, random.integers(8)) for part in (*true, *made)]))
    small = -(-side // Judge.stride)
    labels = jnp.repeat(jnp.float32([1, 0]), _BATCH)[:, None, None, None] * jnp.ones((1, small, small, 1))
    return Problem(labels, problems.Identity(), labels.shape, guide=shown)


def _misfits(data, measurement, seen, image):
    """Returns the root mean square of `A x - y`, of all of the measurement and of what was hidden."""
    error = np.square(np.asarray(data.operator(image)) - measurement, dtype=np.float64)
    return math.sqrt(error.mean()), math.sqrt(error[seen == 0].mean() if (seen == 0).any() else error.mean())
