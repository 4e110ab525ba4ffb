"""Distillation: deep image priors of some degraded pictures teach a light network, which then restores others at once.

No clean picture is needed anywhere. A teacher is the mean of several seeds, and where it is unsure, as its own uncertainty says, it counts
less: an error of variance `std^2` is weighed by `1 / (std^2 + mean std^2)`.

Examples:
  >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (2, 32, 32)).astype(np.float32)
  >>> options = dipjax.Options(generator=dipjax.generators.Plain(1, 2), seeds=2, num_iter=2, stop="none")
  >>> made = dipjax.distill(noisy[..., None], options=options, width=4, num_layers=2, num_steps=2)
  >>> made.degradation.kind, dipjax.apply(made, noisy[0]).shape
  ('white', (32, 32))
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dipjax import record
from dipjax.after import degradation, student, training
from dipjax.after.student import Student
from dipjax.core import loop
from dipjax.core.problem import Problem
from dipjax.core.recipe import Recipe
from dipjax.files import is_whole, to_pixels
from dipjax.fitting import inputs
from dipjax.fitting.optimizers import Adam, Cosine
from dipjax.generators.residual import Residual
from dipjax.operators import Mask, checks
from dipjax.tasks import ranges, tasks  # noqa: F401, which registers them
from dipjax.tasks.door import TASKS, solve
from dipjax.tasks.options import Options
from dipjax.tasks.ranges import Range

_SIDE, _LEAST = 40, 16  # pixels along a side of the patches, at most and at least
_BATCH = 16  # patches in a step
_RATE = 2e-3  # of Adam; it falls to zero along a cosine


class Lesson(NamedTuple):
    """What a teacher makes of one picture, in its units.

    Attributes:
      degraded: `(H, W, C)`.
      restored: `(H, W, C)`.
      std: `(H, W, C)`, standard deviation of the error, NaN where it is not known; None where nothing is.
    """

    degraded: np.ndarray
    restored: np.ndarray
    std: np.ndarray | None = None


def distill(
    pictures: Sequence[np.ndarray],
    *,
    options: Options | None = None,
    width: int = 16,
    num_layers: int = 6,
    num_steps: int = 3000,
    rng: int = 0,
    callback: Callable[[int, float], bool | None] | None = None,
) -> Student:
    """Makes a light network that restores pictures with the noise of these at once.

    Args:
      pictures: degraded ones, each `(H, W)` or `(H, W, C)` as for `dipjax.denoise`, all of one kind: the same channels, the same noise.
      options: of the teachers, as for `dipjax.denoise`.
      width: channels inside the network; more are better and slower.
      num_layers: its convolutions.
      num_steps: of its training.
      rng: where its training begins.
      callback: called with the steps taken and the loss; returning True ends the training.

    Returns:
      The network, see `dipjax.apply`; `dipjax.after.student.save` writes it.

    Raises:
      ValueError: the pictures do not fit together, or none of them could be restored.
      Diverged: a teacher or the training did.

    Examples:
      `student = dipjax.distill(noisy_pictures)`; the head of this module has one that takes seconds.
    """
    if isinstance(pictures, np.ndarray) and pictures.ndim < 4:
        raise ValueError(f"pictures: found one array of shape {pictures.shape}, expected a sequence of pictures.")
    pictures, options, lessons = list(pictures), options or Options(), []
    _check_numbers(width=width, num_layers=num_layers, num_steps=num_steps, rng=rng)
    whole = {is_whole(picture) for picture in pictures}
    if len(whole) > 1:
        raise ValueError("pictures: found whole numbers and floats, expected the same in all; divide the whole ones by their largest.")
    names = [f"pictures[{number}]" for number in range(len(pictures))]
    read = [to_pixels(one, channel_axis=options.channel_axis, name=name)[0] for one, name in zip(pictures, names, strict=True)]
    network = Residual(read[0].shape[-1] if read else 1, width, num_layers)
    _check([Lesson(pixels, pixels) for pixels in read], network)  # before the teachers, which take long
    for pixels in read:
        made = solve(TASKS["denoise"], pixels, {}, options, is_whole=True in whole)
        if made.gained is not False:
            lessons.append(Lesson(pixels, made.image, made.uncertainty))
    span = Range(0.0, 1.0) if True in whole else common_range([lesson.degraded for lesson in lessons])
    about = {"pictures": len(lessons), "options": {"seeds": options.seeds, "steps": options.num_iter}}
    return teach(lessons, network, span=span, num_steps=num_steps, rng=rng, about=about, callback=callback)


def common_range(pictures: Sequence[np.ndarray]) -> Range:
    """Returns what is 0 and 1 for all pictures `(H, W, C)` of one set alike: the strength of the noise must mean the same in each."""
    found = [ranges.choose("auto", picture) for picture in pictures]
    if not any(one.found for one in found):
        return Range(0.0, 1.0)
    return Range(min(one.low for one in found), max(one.high for one in found), found=True)


def teach(
    lessons: Sequence[Lesson],
    network: Residual,
    *,
    span: Range,
    num_steps: int,
    rng: int = 0,
    swapped: float = 0.0,
    about: dict | None = None,
    callback: Callable[[int, float], bool | None] | None = None,
) -> Student:
    """Trains a network on the work of teachers.

    Args:
      lessons: what they made.
      network: with the channels of the pictures.
      span: the values that are 0 and 1 for the network.
      num_steps: each with 16 patches of 40 x 40 pixels, less where a picture is smaller, drawn, turned and mirrored at random.
      rng: where randomness begins.
      swapped: share of the patches that get the noise of another place, as the teachers see it: of its own a teacher has kept some.
      about: what is to be kept of where the lessons come from; for JSON.
      callback: as for `distill`.

    Raises:
      ValueError: the lessons do not fit together.
    """
    _check_numbers(width=network.width, num_layers=network.num_layers, num_steps=num_steps, rng=rng)
    _check(lessons, network)
    inside = [_inside(lesson, span) for lesson in lessons]
    learned = degradation.together([degradation.estimate(lesson.degraded) for lesson in inside])
    side = min(_SIDE, *(side for lesson in inside for side in lesson.degraded.shape[:2]))
    weights = _weights([lesson.std for lesson in inside])
    recipe = Recipe(training.Batched(network), inputs.Guide(), Adam(_RATE, Cosine()), smoothing=0.0)
    random, losses, state = np.random.default_rng(rng), [], None
    for step in range(num_steps):
        problem = _batch(random, inside, weights, side, swapped)
        state = loop.init(recipe, jax.random.key(rng), problem) if state is None else state
        state, loss = training.take(recipe, state, problem, num_steps)
        losses.append(loss)
        if callback and callback(step + 1, loss):
            break
    tail = losses[-max(1, len(losses) // 10) :]
    about = (about or {}) | {"training": {"steps": len(losses), "rng": rng, "loss": float(np.mean(tail))}} | record.made_with()
    return Student(network, jax.tree.map(np.asarray, state.params), span, learned, about)


def _check_numbers(*, rng, **counts):
    for name, value in counts.items():
        checks.count(name, value)
    checks.count("rng", rng, 0)


def _check(lessons, network):
    if not lessons:
        raise ValueError("pictures: found none that a deep image prior improves, expected at least one; are they degraded by noise?")
    for number, lesson in enumerate(lessons):
        shape = lesson.degraded.shape
        if shape[-1] != network.channels:
            raise ValueError(
                f"pictures: found {network.channels} channels in the first and {shape[-1]} in picture {number + 1}, expected the same in"
                " all; make a network for each."
            )
        check_shape("pictures", shape)
        if lesson.restored.shape != shape:
            raise ValueError(f"pictures: found {shape} and, restored, {lesson.restored.shape}, expected the same shape.")


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Refuses a picture `(H, W, C)` that is too small to learn from."""
    if min(shape[:2]) < _LEAST:
        raise ValueError(f"{name}: found {shape[1]} x {shape[0]} pixels, expected at least {_LEAST} along each side.")


def _inside(lesson, span):
    std = None if lesson.std is None else np.asarray(lesson.std, np.float32) / np.float32(span.high - span.low)
    return Lesson(span.inside(lesson.degraded), span.inside(lesson.restored), std)


def _weights(stds):
    """Returns the weight of every pixel of every picture `(H, W, C)`, or None where all weigh the same; their mean is 1."""
    squares = [np.square(std) for std in stds if std is not None]
    usual = np.nanmean(np.concatenate([square.ravel() for square in squares])) if squares else np.nan
    if not usual > 0:
        return [None] * len(stds)
    made = [1 / ((np.where(np.isfinite(std), std**2, usual) if std is not None else usual) + usual) for std in stds]
    mean = np.mean([np.mean(one) for one in made])
    return [np.float32(one / mean) for one in made]


def _batch(random, lessons, weights, side, swapped=0.0):
    """Returns the problem of one step: the network sees the guide, and what it makes is compared with the teacher's, weighed."""
    parts, pictures = [], [lesson.degraded for lesson in lessons]
    for index, *place in training.places(random, pictures, side, _BATCH):
        lesson, weight, which, place = lessons[index], weights[index], random.integers(8), tuple(place)  # noqa: PLW2901
        degraded, restored = lesson.degraded[place], lesson.restored[place]
        if random.random() < swapped:
            ((other, *there),) = training.places(random, pictures, side, 1)
            noise = lessons[other].degraded[tuple(there)] - lessons[other].restored[tuple(there)]
            degraded = restored + training.turned(noise, random.integers(8))
        own = np.ones_like(degraded) if weight is None else np.broadcast_to(weight, lesson.degraded.shape)[place]
        parts.append([training.turned(patch, which) for patch in (degraded, restored, np.sqrt(own))])
    degraded, restored, weight = (jnp.asarray(np.stack(patches)) for patches in zip(*parts, strict=True))
    return Problem(restored * weight, Mask(weight), restored.shape, guide=degraded)


def apply(made: Student | str, image: np.ndarray, *, channel_axis: int | str | None = "auto", anyway: bool = False) -> np.ndarray:
    """Restores a picture with a network of `distill`: one forward pass, in tiles where it is larger than 512 pixels.

    Args:
      made: the network, or the name of its file.
      image: uint8, uint16 or float, `(H, W)` or with channels. A network for gray pictures takes colours one by one.
      channel_axis: as for `dipjax.denoise`.
      anyway: whether a picture is restored whose noise is of another kind, or more than twice as strong or weak, than what was learned.

    Returns:
      The restored picture, float32, in the layout and the units of `image` (whole numbers: divided by their largest).

    Raises:
      ValueError: the file, or the picture, is none that can be used; noise that is only somewhat different is a warning.

    Examples:
      `dipjax.apply("night.student", noisy)`, or with the network that `distill` has just made, as at the head of this module.
    """
    made = made if isinstance(made, Student) else student.load(made)
    pixels, restore_layout = to_pixels(image, channel_axis=channel_axis)
    fits, doubt = made.check(pixels)
    if not (fits or anyway):
        raise ValueError(f"image: {doubt}; make another one, or restore it with anyway=True.")
    if doubt:
        warnings.warn(doubt, UserWarning, stacklevel=2)
    restored = made.restore(pixels)
    return restore_layout(restored.clip(0, 1) if is_whole(image) else restored)
