"""How a task becomes a function for people: NumPy in, NumPy out, with the `Options` as its keywords.

`task` is the decorator of the functions in `tasks`. It keeps a `Spec` of each in `TASKS`, from which the command line makes its commands.
Nothing here or there imports JAX before there is work to do, so that a wrong command line is refused at once.
"""

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from dipjax.files import is_whole, to_pixels
from dipjax.files.picture import parts
from dipjax.tasks import ranges
from dipjax.tasks.options import Argument, Options
from dipjax.tasks.options import arguments as option_arguments
from dipjax.tasks.ranges import Range


@dataclass(frozen=True, eq=False)
class Task:
    """One picture and what is to be done with it; all arrays have the range of the measurement at [0, 1].

    Attributes:
      problem: a `Problem`.
      before: `(H', W', C)`, the input at the size of the result, for comparison.
      finish: `(..., H, W, C)` -> the result `(..., H', W', C)`.
      setting: which of the settings in `recipes.by_name` suits it.
      around: `(generator)` -> one that also makes what else is unknown, such as a psf.
      takes_noise: False where the network sees another picture, so that generators of another input do not fit.
      finish_std: as `finish`, of a standard deviation `(H, W, C)`, where it is another.
      noise: () -> the standard deviation of the noise of the measurement, where what estimates leave of it is put back, see `kriging`; None
        where it is not.
      own_range: of the result, where `build` has brought the problem to [0, 1] itself.
      stop: the rule of "auto", by its word or itself.
      sooner: the same where what estimates leave is put back; None: no other.
      loss: that suits the noise; None: the recipe's.
      found: what the picture told of itself, in words.
      is_answer: whether the input itself is a possible result, which is returned where no better one was found.
      name: that of its command.
      span: the values that are 0 and 1, in the units of the input.
      truth: `(H', W', C)`, in the units of the input, as the next one.
      known: `(H', W', C)`, the input, NaN where it is to be filled in.
      keeps_known: whether the input stays as it is where it is known.
      dtype: of the results.
      is_nominal: whether results are clipped to [0, 1] outside: where the numbers of the input end there.

    Examples:
      >>> pixels = np.full((8, 8, 1), 0.5, np.float32)
      >>> dipjax.Task(dipjax.problem.denoising(pixels), pixels).finish(pixels).shape
      (8, 8, 1)
    """

    problem: Any
    before: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray] = lambda estimate: estimate
    setting: str = "denoise"
    around: Callable[[Any], Any] | None = None
    takes_noise: bool = True
    finish_std: Callable[[np.ndarray], np.ndarray] | None = None
    noise: Callable[[], float] | None = None
    own_range: Range | None = None
    stop: Any = "none"
    sooner: Any = None
    loss: Any = None
    found: str = ""
    is_answer: bool = False
    name: str = ""
    span: Range = Range(0.0, 1.0)
    truth: np.ndarray | None = None
    known: np.ndarray | None = None
    keeps_known: bool = True
    dtype: np.dtype = np.dtype(np.float32)
    is_nominal: bool = True


TASKS: dict[str, "Spec"] = {}
"""Every task by the name of its command."""


@dataclass(frozen=True)
class Spec:
    """A task, as Python and the command line need to know it."""

    command: str
    words: str  # what it does, for the list of commands
    done: Callable[..., str]  # (**arguments) -> what was done to the picture, for the name of the output
    build: Callable[..., Task]  # (pixels (H, W, C) in their range, **arguments) -> the task
    unknown: Callable[..., np.ndarray] | None  # (pixels, **arguments) -> where nothing was measured (H, W)
    finds: str  # what --found writes, in words; none where it is empty
    toned: Callable[..., np.ndarray] | None  # (pixels, where unknown, **arguments) -> with other tones
    ranged: Callable[..., Range]  # (wish, pixels, **arguments) -> what is black and what is white
    shape: Callable[..., tuple[int, int, int]]  # ((H, W, C) of the pixels, **arguments) -> that of the result
    is_picture: bool  # whether what is given looks like the result; else `build` gets it in its own units, and is linear
    is_complex: bool  # whether what is given may be complex: `build` gets its `parts`
    function: Callable  # for people

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What the task itself asks for, beside the picture."""
        return dict(list(inspect.signature(self.build).parameters.items())[1:])


def argument_of(parameter: inspect.Parameter) -> Argument:
    """Returns how a parameter of a task is explained and written."""
    return next(item for item in get_args(parameter.annotation) if isinstance(item, Argument))


_PICTURE = "uint8, uint16 or float, `(H, W)` or with channels; floats in any unit"


def task(
    command: str,
    *,
    words: str,
    done: Callable[..., str] | str,
    unknown: Callable[..., np.ndarray] | None = None,
    finds: str = "",
    toned: Callable[..., np.ndarray] | None = None,
    ranged: Callable[..., Range] = lambda wish, pixels, **arguments: ranges.choose(wish, pixels),
    shape: Callable[..., tuple[int, int, int]] = lambda shape, **arguments: shape,
    is_picture: bool = True,
    is_complex: bool = False,
    image: str = _PICTURE,
    result: str = "with its axes",
) -> Callable:
    """Registers a function `(pixels, its own parameters) -> Task` and returns the function for people.

    Args:
      image: what people give, in words, for its docstring.
      result: how what they get differs from it, the same.
      others: as in `Spec`.
    """

    def register(build):
        @functools.wraps(build)
        def function(*arguments, **keywords):
            given = signature.bind(*arguments, **keywords).arguments
            array = given.pop("image")
            options = Options(**{name: given.pop(name) for name in list(given) if name in option_arguments()})
            how = {"channel_axis": options.channel_axis, "allow_nan": unknown is not None, "allow_complex": is_complex}
            pixels, restore_layout = to_pixels(array, **how)
            read = {"picture": lambda name, value: to_pixels(value, channel_axis=options.channel_axis, name=name)[0], "complex": _parts_of}
            for name, parameter in spec.parameters.items():
                kind = argument_of(parameter).read
                if kind in read and not (given.get(name, parameter.default) is None and parameter.default is None):
                    given[name] = read[kind](name, given[name])
            truth = None if options.truth is None else to_pixels(options.truth, channel_axis=options.channel_axis, name="truth")[0]
            outcome = solve(spec, pixels, given, options, truth=truth, is_whole=is_whole(array))
            restored = restore_layout(outcome.image)
            return (restored, outcome) if options.return_result else restored

        own = list(inspect.signature(build).parameters.values())[1:]
        picture = inspect.Parameter("image", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=np.ndarray)
        keywords = [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
            for field in dataclasses.fields(Options)
        ]
        plain = [parameter.replace(annotation=get_args(parameter.annotation)[0]) for parameter in own]
        signature = inspect.Signature([picture, *plain, *keywords])
        taken = f"{image}; NaN is filled in" if unknown else image
        function.__signature__, function.__doc__ = signature, _documented(build.__doc__, own, taken, result)
        named = done if callable(done) else lambda **arguments: done
        spec = TASKS[command] = Spec(command, words, named, build, unknown, finds, toned, ranged, shape, is_picture, is_complex, function)
        return function

    return register


def solve(*asked: Any, **how: Any) -> Any:
    """Does what is `planned` of the same arguments, and returns the `Outcome`."""
    plan = planned(*asked, **how)
    from dipjax.tasks.restore import alone

    return alone(plan)


def planned(
    spec: Spec,
    pixels: np.ndarray,
    arguments: dict[str, Any],
    options: Options,
    *,
    note: Callable[[str], None] = lambda sentence: None,
    warn: Callable[[str], None] = warnings.warn,
    check: Callable[[Any], None] = lambda setting: None,
    **how: Any,
) -> Any:
    """Plans one task; both faces call it. What is not named here is as for `posed`, which makes the task.

    Args:
      options: how.
      note: as for `plan` in `restore`.
      warn: as for `plan` in `restore`.
      check: as for `plan` in `restore`.

    Returns:
      The `Plan`.
    """
    made = posed(spec, pixels, arguments, options, note=note, **how)
    from dipjax.tasks.restore import plan

    return plan(made, options, note=note, warn=warn, check=check)


def posed(
    spec: Spec,
    pixels: np.ndarray,
    arguments: dict[str, Any],
    options: Options,
    *,
    truth: np.ndarray | None = None,
    is_whole: bool = True,
    note: Callable[[str], None] = lambda sentence: None,
    frame: bool = False,
) -> Task:
    """Returns one task.

    Args:
      spec: which.
      pixels: `(H, W, C)`, whole numbers divided by their largest, floats as they are; NaN where nothing is known.
      arguments: those of the task itself.
      options: of which only the range, the stopping rule and whether anything is put back count here.
      truth: `(H', W', C)` in the same units.
      is_whole: whether the numbers were whole ones, which end at 0 and 1.
      note: is told what was found.
      frame: whether the picture gets a frame, up to one of few sizes, so that many pictures share a compiled program.
    """
    holes = spec.unknown(pixels, **arguments) if spec.unknown else None
    whole = pixels = spec.toned(pixels, holes, **arguments) if spec.toned else pixels
    if holes is not None:
        pixels = np.where(holes[..., None], pixels.dtype.type(np.nan), pixels)
    if spec.is_picture:
        span = spec.ranged(options.range, pixels, **arguments)
        frame = frame and options.stop in _FRAMED  # the others look at the whole measurement
        made = _framed(spec, span.inside(pixels), arguments) if frame else spec.build(span.inside(pixels), **arguments)
    else:
        made = spec.build(pixels, **arguments)
        span = made.own_range or ranges.choose(options.range, made.before)
        if made.own_range is None:
            made = dataclasses.replace(made, problem=ranges.brought(made.problem, span), before=span.inside(made.before))
        elif options.range != "auto":
            raise ValueError(f"range: found {options.range!r}, expected auto: what fills the range of {spec.command} is not given.")
    if not made.keeps_known:  # what is filled in is seen before, too
        made = dataclasses.replace(made, before=span.scaled(np.nan_to_num(whole, nan=span.low)).astype(np.float32))
    if truth is not None and truth.shape != made.before.shape:
        raise ValueError(f"truth: found shape {truth.shape}, expected {made.before.shape}, that of the result.")
    problem = made.problem
    if truth is not None and truth.shape == problem.shape:  # an estimate may be larger than the result
        problem = problem.replace(truth=span.inside(truth))
    is_nominal = spec.is_picture and (is_whole or (not span.found and options.range in ("auto", "full")))
    known = pixels if spec.unknown else None
    about = {"name": spec.command, "span": span, "truth": truth, "known": known, "dtype": pixels.dtype, "is_nominal": is_nominal}
    made = dataclasses.replace(made, problem=problem, **about, noise=None if options.kriging == "none" else made.noise)
    if made.found:
        note(made.found)
    if span.found:
        note(f"black and white are {span}, what the picture fills; `full` as range takes all there is")
    return made


_FRAMED = ("auto", "none", "held-out")  # stopping rules that do not see what frames a picture
_LARGEST_FRAMED = 1024  # pixels along a side; what is larger may be restored in tiles, which are all of one size


def _framed(spec, pixels, arguments):
    """Returns the task of a picture in a frame, which ends in the picture without it."""
    from dipjax.operators.frame import Framed, framed, size

    shape = tuple(map(size, pixels.shape[:2]))
    if max(shape) > _LARGEST_FRAMED or arguments.get("boundary") == "circular":  # which goes on where the picture begins
        return spec.build(pixels, **arguments)
    kinds = {name: argument_of(parameter).read for name, parameter in spec.parameters.items()}
    if "psf" in kinds.values():
        spec.build(pixels, **arguments)  # refuses what the picture is too small for
    alike = {name for name, kind in kinds.items() if kind in ("picture", "mask")}
    larger = {name: framed(np.asarray(value), shape) for name, value in arguments.items() if name in alike and value is not None}
    made = spec.build(framed(pixels, shape), **arguments | larger)
    problem = made.problem
    inside = np.zeros((*problem.measurement.shape[:2], 1), bool)
    inside[: pixels.shape[0], : pixels.shape[1]] = True
    problem = problem.replace(operator=Framed(problem.operator, inside, problem.measurement))
    height, width, _ = spec.shape(pixels.shape, **arguments)

    def inside_of(finish):
        return finish and (lambda values: finish(values)[..., :height, :width, :])

    finishes = {"finish": inside_of(made.finish), "finish_std": inside_of(made.finish_std)}
    return dataclasses.replace(made, problem=problem, before=made.before[:height, :width], **finishes)


def _parts_of(name, value):
    """Returns complex numbers `(K, H, W)` as a task takes them."""
    array = np.asarray(value)
    if array.dtype.kind != "c" or array.ndim not in (2, 3):
        raise ValueError(f"{name}: found {array.dtype} numbers of shape {array.shape}, expected complex ones, (H, W) or (K, H, W).")
    return parts(array)


_ENDING = (
    "    Its units are those of `image`, uint8 and uint16 divided by their largest value. It is float32, or float64 where that would",
    "    lose digits: of float64, complex128 and whole numbers of 32 bits. With `return_result` also the `Outcome`.",
    "",
    "Raises:",
    "  ValueError: an argument is not what is said here; the message says what to do.",
    "  RuntimeError: every seed diverged.",
)


def _documented(text, own, image, result):
    """Returns the docstring of a task with all that may be asked of it."""
    lines = [inspect.cleandoc(text), "", "Args:", f"  image: {image}."]
    lines += [f"  {parameter.name}: {argument_of(parameter).help}." for parameter in own]
    lines += [f"  {name}: {argument.help}." for name, argument in option_arguments().items()]
    return "\n".join([*lines, "", "Returns:", f"  The result, {result}.", *_ENDING])
