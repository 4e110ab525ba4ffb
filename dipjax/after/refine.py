"""Refinement: a light network gives a restored picture the look of examples, while what was measured stays the judge of what is true.

Two networks take turns. The refiner corrects the restored picture so that its parts both fit the measurement and look like examples to the
judge; the judge learns to tell parts of examples from parts of what the refiner makes. A tenth of the measurement is shown to
neither: where the refined picture fits that tenth, or the whole, worse than before, by more than a bound, the picture stays as it was.

References: Isola, Zhu, Zhou, Efros, Image-to-image translation with conditional adversarial networks, CVPR 2017 (a judge of patches);
Mao et al., Least squares generative adversarial networks, ICCV 2017 (the loss of both, a squared error, so that the one loop serves both).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from dipjax.after import training
from dipjax.after.distill import common_range
from dipjax.after.student import forward
from dipjax.core import loop
from dipjax.core.problem import Problem
from dipjax.core.recipe import MSE, Recipe
from dipjax.files import is_whole, to_pixels
from dipjax.fitting import inputs
from dipjax.fitting.optimizers import Adam, Cosine
from dipjax.generators.residual import Judge, Residual
from dipjax.large import tiling
from dipjax.operators import checks
from dipjax.operators import problem as problems
from dipjax.tasks.ranges import Range

SMALLEST = 32  # pixels along a side of an example
_SIDE, _BATCH = 64, 4  # of the parts, at most, and how many of either kind the judge sees in a step
_HIDDEN = 0.1  # of the measurement
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
        return f"{'refined' if self.is_refined else 'not refined, because it would fit the measurement worse'}: {numbers}"


@struct.dataclass
class Judged:
    """An operator, what of its measurement is seen, and a judge: predicts both the measurement and how the image is judged.

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

    def __call__(self, image: Array) -> tuple[Array, Array]:
        """Returns what is measured of an image, and the judge's opinions of its parts."""
        return self.operator(image) * self.seen, self.judge.apply(self.params, image)


@dataclass(frozen=True)
class Both:
    """The misfit to the measurement, and `weight` times that to a good opinion; a greater weight makes the look count more."""

    weight: float

    def __call__(self, prediction: tuple, measurement: tuple) -> Array:
        """Returns `mse(A x, y) + weight mse(opinions, 1)`."""
        (measured, opinions), (wanted, good) = prediction, measurement
        return MSE()(measured, wanted) + self.weight * MSE()(opinions, good)


def refine(
    restored: np.ndarray,
    of: np.ndarray | Problem,
    examples: Sequence[np.ndarray],
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
      of: what it was made of: the noisy picture, or the small one, whose sides are smaller by one whole number; or any `Problem`, with
        its range at [0, 1].
      examples: clean pictures with the same channels and in the same units, at least 32 x 32 pixels.
      num_steps: of either network.
      weight: how much the look counts against the measurement; 0 fits the measurement alone.
      bound: as which share of before the misfit may grow.
      rng: where randomness begins.
      channel_axis: as for `dipjax.denoise`, of all pictures.
      callback: called with the steps taken and the loss; returning True ends the training.

    Returns:
      The picture, refined or unchanged, and how both fit the measurement.

    Raises:
      ValueError: the pictures do not fit together.
      Diverged: the training did.

    Examples:
      >>> noisy, clean = (np.random.default_rng(n).random((32, 32), np.float32) for n in (0, 1))
      >>> refined = dipjax.refine(noisy, noisy, [clean], num_steps=1)
      >>> refined.image.shape, type(refined.is_refined)
      ((32, 32), <class 'bool'>)
    """
    checks.count("num_steps", num_steps)
    checks.not_negative("weight", weight)
    checks.not_negative("bound", bound)
    checks.count("rng", rng, 0)
    if examples is None or (isinstance(examples, np.ndarray) and examples.ndim < 4):
        found = "None" if examples is None else f"one array of shape {examples.shape}"
        raise ValueError(f"examples: found {found}, expected a sequence of clean pictures.")
    pixels, restore_layout = to_pixels(restored, channel_axis=channel_axis, name="restored")
    if isinstance(of, Problem):
        data, span = of, Range(0.0, 1.0)
    else:
        measured, _ = to_pixels(of, channel_axis=channel_axis, name="of")
        span = Range(0.0, 1.0) if is_whole(of) else common_range([measured])
        data = _problem(pixels.shape, span.inside(measured))
    shown = [to_pixels(one, channel_axis=channel_axis, name=f"examples[{i}]")[0] for i, one in enumerate(examples)]
    _check(pixels, data, shown)
    image, before, after = _trained(
        span.inside(pixels), data, [span.inside(one) for one in shown], num_steps=num_steps, weight=weight, rng=rng, callback=callback
    )
    is_refined = all(new <= (1 + bound) * old for new, old in zip(after, before, strict=True))
    width = span.high - span.low
    before, after = (tuple(float(value * width) for value in pair) for pair in (before, after))
    if not is_refined:
        return Refined(restore_layout(pixels), False, before, after)
    made = np.asarray(span.outside(image), pixels.dtype)
    return Refined(restore_layout(made.clip(0, 1) if is_whole(of) else made), True, before, after)


def _problem(shape, measured):
    """Returns the problem of a noisy picture, or of a small one."""
    factor = shape[0] // measured.shape[0]
    expected = (*(factor * side for side in measured.shape[:2]), measured.shape[2])
    if factor < 1 or shape != expected:
        raise ValueError(
            f"of: found shape {measured.shape} for a restored picture of {shape}, expected the same, or sides that are smaller by one whole"
            " number; give what the picture was made of, or a Problem."
        )
    return problems.denoising(measured) if factor == 1 else problems.super_resolution(measured, factor)


def _check(pixels, data, examples):
    if tuple(data.shape) != pixels.shape:
        raise ValueError(f"restored: found shape {pixels.shape}, expected {tuple(data.shape)}, that of the problem's image.")
    if not isinstance(data.measurement, (np.ndarray, Array)) or np.iscomplexobj(data.measurement):
        raise ValueError("of: found a measurement that is not one real array, expected one.")
    try:
        jax.eval_shape(data.operator, jax.ShapeDtypeStruct(data.shape, data.dtype))
    except TypeError as error:
        expected = "one that takes the image alone; of an unknown blur give what was found, `problem.deblurring(picture, outcome.psf)`"
        raise ValueError(f"of: found the operator {type(data.operator).__name__}, expected {expected}.") from error
    if not examples:
        raise ValueError("examples: found none, expected at least one clean picture.")
    for number, example in enumerate(examples):
        height, width, channels = example.shape
        if channels != pixels.shape[-1]:
            raise ValueError(
                f"examples[{number}]: found {channels} channels, expected {pixels.shape[-1]}, those of the picture; convert the examples."
            )
        if min(height, width) < SMALLEST:
            raise ValueError(f"examples[{number}]: found {width} x {height} pixels, expected at least {SMALLEST} along each side.")
    if min(pixels.shape[:2]) < SMALLEST:
        raise ValueError(f"restored: found shape {pixels.shape}, expected at least {SMALLEST} pixels along each side.")


def _trained(picture, data, examples, *, num_steps, weight, rng, callback):
    """Returns the refined picture, and the misfits of `picture` and of it."""
    random, channels = np.random.default_rng(rng), picture.shape[-1]
    measurement = np.asarray(data.measurement)
    seen = np.float32(random.random(measurement.shape) >= _HIDDEN)
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
        part = _part(random, data, seen, side, judge, telling.params)
        making = loop.init(makes, first, part) if making is None else making
        making, loss = training.take(makes, making, part, num_steps)
        if callback and callback(step + 1, loss):
            break
    refined = np.asarray(forward(refiner, making.params, picture))
    return refined, *(_misfits(one, data, measurement, seen) for one in (picture, refined))


def _sides(pictures):
    return [side for picture in pictures for side in picture.shape[:2]]


def _side(data, pictures):
    """Returns the side of the parts that are refined in a step."""
    stride = getattr(data.operator, "stride", 1)
    return max(min(_SIDE, *_sides(pictures)) // stride, 1) * stride


def _part(random, data, seen, side, judge, params):
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
    return part.replace(measurement=(part.measurement * seen, good), operator=Judged(part.operator, seen, params, judge))


def _opinions(random, picture, examples, side, refiner, params):
    """Returns the problem of the judge: parts of examples, which are to be called 1, and of what the refiner makes, 0."""
    true = [examples[i][rows, columns] for i, rows, columns in training.places(random, examples, side, _BATCH)]
    made = [picture[rows, columns] for _, rows, columns in training.places(random, [picture], side, _BATCH)]
    made = [np.asarray(forward(refiner, params, part)) for part in made]
    shown = jnp.asarray(np.stack([training.turned(part, random.integers(8)) for part in (*true, *made)]))
    small = -(-side // Judge.stride)
    labels = jnp.repeat(jnp.float32([1, 0]), _BATCH)[:, None, None, None] * jnp.ones((1, small, small, 1))
    return Problem(labels, problems.Identity(), labels.shape, guide=shown)


def _misfits(image, data, measurement, seen):
    """Returns the root mean square of `A x - y`, of all of the measurement and of what was hidden."""
    error = np.square(np.asarray(data.operator(image)) - measurement, dtype=np.float64)
    return math.sqrt(error.mean()), math.sqrt(error[seen == 0].mean() if (seen == 0).any() else error.mean())
