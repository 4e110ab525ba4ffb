"""Distillation: deep image priors of some degraded pictures teach a light network, which then restores others at once.

No clean picture is needed anywhere. A teacher is the mean of several seeds, and where it is unsure, as its own uncertainty says, it counts
less: an error of variance `std^2` is weighed by `1 / (std^2 + mean std^2)`.

Examples:
  >>> noisy = np.float32(np.linspace(0, 1, 32) + np.random.default_rng(0).normal(0, 0.1, (2, 32, 32)))
  >>> options = dipjax.Options(generator=dipjax.generators.Plain(1, 2), seeds=2, num_iter=2, stop="none")
  >>> made = dipjax.distill(noisy[..., None], options=options, width=4, num_layers=2, num_steps=2)
  >>> made.degradation.kind, dipjax.apply(made, noisy[0]).shape
  ('white', (32, 32))
"""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dipjax import files, record
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
from dipjax.tasks.options import MOST_STEPS, Diverged, Options
from dipjax.tasks.options import arguments as asked_of
from dipjax.tasks.ranges import Range

_SIDE, _LEAST = 40, 16  # pixels along a side of the patches, at most and at least
_BATCH = 16  # patches in a step
_UNSAID = {"truth", "callback", "return_result", "checkpoint", "checkpoint_every", "channel_axis", "batching"}  # of the options of teachers
_RATE = 2e-3  # of Adam; it falls to zero along a cosine


class Lesson(NamedTuple):
    """What a teacher makes of one picture, in its units.

    Attributes:
      degraded: `(H, W, C)`.
      restored: `(H, W, C)`.
      std: `(H, W, C)`, standard deviation of the error, NaN where it is not known; None where nothing is.
      name: of the picture, for people.
    """

    degraded: np.ndarray
    restored: np.ndarray
    std: np.ndarray | None = None
    name: str = ""


def distill(
    pictures: Sequence[np.ndarray],
    *,
    options: Options | None = None,
    width: int = 16,
    num_layers: int = 6,
    num_steps: int = 3000,
    rng: int = 0,
    anyway: bool = False,
    callback: Callable[[int, float], bool | None] | None = None,
) -> Student:
    """Makes a light network that restores pictures with the noise of these at once.

    Args:
      pictures: degraded ones, each `(H, W)` or `(H, W, C)` as for `dipjax.denoise`, all of one kind: the same channels, the same noise.
      options: of the teachers, as for `dipjax.denoise`. In the folder `checkpoint` every teacher has one of its own: the same call goes on.
      width: channels inside the network; more are better and slower.
      num_layers: its convolutions.
      num_steps: of its training.
      rng: where its training begins.
      anyway: whether pictures are taken whose noise is of several kinds; the network is made for the most frequent.
      callback: called with the steps taken and the loss; returning True ends the training.

    Returns:
      The network, see `dipjax.apply`; `dipjax.after.student.save` writes it.

    Raises:
      ValueError: the pictures do not fit together, before the first teacher begins; or none of them could be improved.
      Diverged: a teacher or the training did.
      KeyboardInterrupt: a teacher was interrupted; what the teachers have made is in `checkpoint`, if that is given.

    Examples:
      `student = dipjax.distill(noisy_pictures)`; the head of this module has one that takes seconds.
    """
    pictures, options = _sequence(pictures), Options() if options is None else options
    if not isinstance(options, Options):
        raise ValueError(f"options: found {type(options).__name__}, expected dipjax.Options, such as dipjax.Options(seeds=2).")
    if not (callback is None or callable(callback)):
        raise ValueError(f"callback: found {callback!r}, expected a function of the steps taken and the loss.")
    names, whole = [f"pictures[{number}]" for number in range(len(pictures))], [is_whole(picture) for picture in pictures]
    read = [to_pixels(one, channel_axis=options.channel_axis, name=name)[0] for one, name in zip(pictures, names, strict=True)]
    course = planned(names, read, whole, width=width, num_layers=num_layers, num_steps=num_steps, rng=rng, anyway=anyway)
    if course.doubt:
        warnings.warn(course.doubt, UserWarning, stacklevel=2)
    if options.checkpoint is not None:
        with files.writing(Path(options.checkpoint)):
            Path(options.checkpoint).mkdir(exist_ok=True)
    lessons, recipe = [], None
    for name, pixels in zip(names, read, strict=True):
        made = _taught_by(name, pixels, whole[0], options)
        recipe = recipe or record.encode(made.recipe)
        if made.gained is not False:
            lessons.append(Lesson(pixels, made.image, made.uncertainty, name))
    return course.taught(lessons, options, recipe=recipe, callback=callback)


def _sequence(pictures):
    if isinstance(pictures, np.ndarray) and pictures.ndim < 4:
        raise ValueError(f"pictures: found one array of shape {pictures.shape}, expected a sequence of pictures.")
    try:
        return list(pictures)
    except TypeError as error:
        raise ValueError(f"pictures: found {type(pictures).__name__}, expected a sequence of pictures.") from error


def _taught_by(name, pixels, is_whole, options):
    """Returns what a teacher makes of a picture."""
    if options.checkpoint is not None:
        options = dataclasses.replace(options, checkpoint=Path(options.checkpoint) / name)
    try:
        made = solve(TASKS["denoise"], pixels, {}, options, is_whole=is_whole)
    except Diverged as error:
        raise Diverged(f"{name}: {error}; or leave it out") from error
    if made.ending == "interrupted":  # half a picture is no lesson
        raise KeyboardInterrupt(f"at the teacher of {name}; with a checkpoint the same call goes on")
    return made


@dataclass(frozen=True)
class Course:
    """What is to be learned, as far as it is known before the teachers begin.

    Attributes:
      network: with the channels of the pictures.
      span: the values that are 0 and 1 for it, in the units of the pictures.
      num_steps: of its training.
      rng: where that begins.
      doubt: what is doubtful about the pictures, empty if nothing is.
    """

    network: Residual
    span: Range
    num_steps: int
    rng: int
    doubt: str

    def taught(
        self,
        lessons: Sequence[Lesson],
        options: Options,
        *,
        recipe: Any = None,
        about: dict | None = None,
        callback: Callable[[int, float], bool | None] | None = None,
    ) -> Student:
        """Trains the network on what the teachers have made.

        Args:
          lessons: of the pictures that gained something.
          options: of the teachers.
          recipe: of the first of them, for JSON.
          about: what else is to be kept of where the lessons come from, for JSON.
          callback: as for `distill`.

        Raises:
          ValueError: there are no lessons, or they do not fit together.
        """
        settings = {name: getattr(options, name) for name in asked_of() if name not in _UNSAID}
        about = {"teachers": settings, "recipe": recipe} | (about or {})
        how = {"span": self.span, "num_steps": self.num_steps, "rng": self.rng}
        return teach(lessons, self.network, **how, about=about, callback=callback)


def planned(
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
    whole: Sequence[bool],
    *,
    width: int,
    num_layers: int,
    num_steps: int,
    rng: int = 0,
    anyway: bool = False,
) -> Course:
    """Refuses pictures of which nothing can be learned, before the teachers, which take long, and returns what is to be learned.

    Args:
      names: of the pictures, for people.
      pictures: degraded ones, `(H, W, C)`.
      whole: of each, whether its numbers were whole ones.
      width: as for `distill`, like all that follow.

    Raises:
      ValueError: they do not fit together, or a number is out of its range.
    """
    if not pictures:
        raise ValueError("pictures: found none, expected at least one.")
    network = Residual(pictures[0].shape[-1], width, num_layers)
    _check_numbers(network, num_steps, rng)
    kinds = [
        f"{one.shape[-1]} channels of {'whole numbers' if is_whole else 'floats'}" for one, is_whole in zip(pictures, whole, strict=True)
    ]
    for name, picture, kind in zip(names, pictures, kinds, strict=True):
        _check_shape(name, picture.shape)
        if kind != kinds[0]:
            raise ValueError(f"{name}: found {kind}, but {names[0]} has {kinds[0]}, expected the same in all; make a network for each.")
    span = Range(0.0, 1.0) if whole[0] else common_range(pictures)
    found = [degradation.estimate(span.inside(picture)) for picture in pictures]
    fits, counts = degradation.agree(found)
    if not (fits or anyway):
        raise ValueError(f"pictures: found {counts}, expected one kind of noise in all; make a network for each kind, or give anyway.")
    doubt = f"of the pictures there are {counts}; the network is made for {degradation.together(found).kind} noise" * bool(counts)
    return Course(network, span, num_steps, rng, doubt)


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
    _check_numbers(network, num_steps, rng)
    _check(lessons, network)
    num_steps, rng = int(num_steps), int(rng)  # of NumPy they would be another program, and no JSON
    about = json.loads(json.dumps({"pictures": list(map(_named, lessons))} | (about or {}), default=record.encode))
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
    about |= {"training": {"steps": len(losses), "rng": rng, "loss": float(np.mean(tail))}} | record.made_with()
    return Student(network, jax.tree.map(np.asarray, state.params), span, learned, about)


def _check_numbers(network, num_steps, rng):
    student.check_network(network)
    checks.count("num_steps", num_steps, most=MOST_STEPS)
    checks.count("rng", rng, 0, most=2**32 - 1)


def _check(lessons, network):
    if not lessons:
        raise ValueError("pictures: found none that a deep image prior improves, expected at least one; are they degraded by noise?")
    for number, lesson in enumerate(lessons):
        name, shape = lesson.name or f"pictures[{number}]", lesson.degraded.shape
        _check_shape(name, shape)
        if shape[-1] != network.channels:
            raise ValueError(f"{name}: found {shape[-1]} channels, expected {network.channels}, those of the network.")
        for what, made in (("restored", lesson.restored), ("its uncertainty", lesson.std)):
            if made is not None and made.shape != shape:
                raise ValueError(f"{name}: found {shape} and, {what}, {made.shape}, expected the same shape.")


def _check_shape(name, shape):
    if min(shape[:2]) < _LEAST:
        raise ValueError(f"{name}: found {shape[1]} x {shape[0]} pixels, expected at least {_LEAST} along each side.")


def _named(lesson):
    """Returns what is kept of a picture: its name, and the SHA-256 of its numbers."""
    return {"name": lesson.name, "sha256": hashlib.sha256(np.ascontiguousarray(lesson.degraded)).hexdigest()}


def _inside(lesson, span):
    std = None if lesson.std is None else np.asarray(lesson.std, np.float32) / np.float32(span.high - span.low)
    return lesson._replace(degraded=span.inside(lesson.degraded), restored=span.inside(lesson.restored), std=std)


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
      anyway: whether a picture is restored whose noise is of another kind, or more than twice as strong or weak, than what was learned, or
        that fills a range far outside of that which was.

    Returns:
      The restored picture, float32, in the layout and the units of `image` (whole numbers: divided by their largest).

    Raises:
      ValueError: the file, or the picture, is none that can be used; noise that is only somewhat different is a warning.

    Examples:
      `dipjax.apply("night.student", noisy)`, or with the network that `distill` has just made, as at the head of this module.
    """
    made = made if isinstance(made, Student) else student.load(made)
    pixels, restore_layout = to_pixels(image, channel_axis=channel_axis)
    try:
        fits, doubt = made.check(pixels)
    except ValueError as error:
        raise ValueError(f"image: {error}.") from error
    if not (fits or anyway):
        raise ValueError(f"image: {doubt}; make another network, or restore it with anyway=True.")
    if doubt:
        warnings.warn(doubt, UserWarning, stacklevel=2)
    restored = made.restore(pixels)
    return restore_layout(restored.clip(0, 1) if is_whole(image) else restored)
