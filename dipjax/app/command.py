"""The restoration commands: from a file to a file.

Everything that can be wrong is found before the long computation; then the picture is written first, and every other output is tried,
whatever becomes of the one before it.
"""

import dataclasses
import shlex
from argparse import Namespace
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dipjax import files, uncertainty
from dipjax.app import journal, many, progress, report, rescue, signals, stack, startup
from dipjax.app.streams import complain, note, say
from dipjax.files import ImageError, OutputError
from dipjax.files.opening import MAX_PIXELS, SUFFIXES
from dipjax.files.picture import Picture, white
from dipjax.tasks.door import TASKS, Spec, argument_of, planned
from dipjax.tasks.options import Diverged, Misused, Options
from dipjax.tasks.restore import Outcome, Plan, alone, read_json, restored

_REPEATED = (
    "seeds",
    "num_iter",
    "loss",
    "schedule",
    "range",
    "rng",
    "stop",
    "sigma",
    "aggregate",
    "guide",
    "kriging",
    "tile",
    "tile_overlap",
)  # what a record sets that runs again


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a command has come to."""

    outcome: Outcome | None  # None of a stack of pages
    exit_code: int


@dataclasses.dataclass(frozen=True)
class Run:
    """What a command wants computed."""

    plan: Plan
    follow: Callable  # of a picture by itself
    wish: int | None  # pictures that are computed side by side; None: as many as fill the machine

    def alone(self) -> Outcome:
        """Computes it by itself."""
        return alone(self.plan, self.follow)

    def most(self) -> int:
        """Returns how many like this one are computed side by side."""
        return self.plan.most(self.wish)

    def together(self, others: "list[Run]") -> list[Outcome | Diverged]:
        """Computes it side by side with others that are like it, and returns what became of each."""
        return restored([run.plan for run in (self, *others)], progress.follow)

    def is_like(self, other: "Run") -> bool:
        """Says whether both can be computed side by side."""
        return self.plan.alike is not None and self.plan.alike == other.plan.alike


def restore(given: Namespace) -> Finished:
    """Runs one command; what can be wrong raises an `ImageError`, a `ValueError`, an `OutputError` or `Diverged`."""
    return many.finished(work(given))


def work(given: Namespace) -> Generator[Run, Outcome, Finished]:
    """Runs one command up to the long computation, which it yields, and goes on with the outcome that it is sent."""
    spec = TASKS[given.task]
    _repeat(given)
    most = given.max_pixels or MAX_PIXELS  # of a result too
    page = getattr(given, "page", None)
    if page is None:
        pages = stack.chosen(given, files.num_pages(given.input))
        if len(pages) > 1:
            return Finished(None, stack.restore(given, pages, work, word(given)))
        page = pages[0]
    picture = opened(given, page, allow_nan=spec.unknown is not None, allow_complex=spec.is_complex)
    arguments = arguments_of(spec, given, picture)
    shape = spec.shape(picture.pixels.shape, **arguments)
    like = _like(picture, shape, spec)
    output = Path(given.output or files.default_output(given.input, spec.done(**arguments)))
    options = options_of(given)
    root = getattr(given, "root", options.checkpoint)  # the folder that goes on; of one among many, that of all
    log = journal.Journal.of(given, root) if root is not None and not hasattr(given, "root") else None
    given.force = given.force or (log is not None and log.begun(many.outputs(output, given)))
    check_outputs(output, like, shape, given)
    if shape[0] * shape[1] > most:
        raise ImageError(f"the result would have more than {most:,} pixels; take a smaller factor or picture, or raise --max-pixels")
    truth = reference_of(given, shape)
    if sentence := startup.use_cache(given.compilation_cache):
        note(sentence)
    is_whole = white(picture.dtype) > 1
    view = getattr(given, "view", None)
    scene = view and view.begin(Path(given.input).name, _keeper(output, like, given))
    show = partial(progress.follow, scene=scene, preview=getattr(given, "preview", False))
    follow = (lambda results, *more, **how: show(log.opened(results), *more, **how)) if log else show
    faces = {"note": note, "warn": complain, "frame": getattr(given, "frame", False)}
    faces |= {"check": partial(_check_map, options.seeds)} if given.uncertainty else {}
    plan = planned(spec, picture.pixels, arguments, options, truth=truth, is_whole=is_whole, **faces)
    is_shown = scene is not None or getattr(given, "preview", False)
    outcome = yield Run(plan, follow, 1 if is_shown else getattr(given, "together", None))
    # Asked to leave, not to show: nobody waits for half a picture.
    if outcome.is_kept and outcome.exit_code not in (0, 1, signals.INTERRUPTED):
        say(f"saved {outcome.result.num_steps} steps in {options.checkpoint}; dipjax resume {shlex.quote(root)} goes on")
        return Finished(outcome, outcome.exit_code)
    log = log and log.writes(many.outputs(output, given))
    told = report.Report(outcome, given, output, like.pixels.shape[:2])
    failures = _write(told, like)
    if scene:
        for path in scene.kept:
            say(f"wrote {path}")
        scene.ended(outcome.image, f"wrote {output.name}" if not failures else failures[0], partial(_page, told, failures))
    if log:
        log.ended("failed" if failures else outcome.ending)
    return Finished(outcome, outcome.exit_code or (4 if failures else 0))


def opened(given: Namespace, page: int, **how: bool) -> Picture:
    """Reads the picture of a command, `how` as for `files.load`, and tells what was changed or left out in reading."""
    picture = files.load(given.input, max_pixels=given.max_pixels or MAX_PIXELS, page=page, **how)
    for sentence in picture.notes:
        note(f"{given.input}: {sentence}")
    return picture


def _like(picture, shape, spec):
    """Returns what the result is written in the manner of: the input, as far as the result is a picture of the same kind."""
    if spec.is_picture and shape[2] == picture.pixels.shape[2]:
        return picture
    blank = np.broadcast_to(picture.pixels.dtype.type(0), (*picture.pixels.shape[:2], shape[2]))
    if spec.is_picture:  # in colour, where the input is gray
        return dataclasses.replace(picture, pixels=blank, icc_profile=None)
    return Picture(blank, None, np.dtype(np.float32), picture.file_format)


def word(given: Namespace) -> str:
    """Returns what will have been done to a picture, for the name of its output."""
    spec = TASKS[given.task]
    plain = [name for name, parameter in spec.parameters.items() if not argument_of(parameter).read]
    return spec.done(**{name: getattr(given, name, spec.parameters[name].default) for name in plain})


def _repeat(given):
    """Takes from the record that --recipe names what the command line does not say itself."""
    recipe = getattr(given, "recipe", None)
    if not (recipe and recipe.lower().endswith(".json")):
        return
    content = read_json(recipe)
    settings = content.get("options", {}) if isinstance(content, dict) else {}
    for name in _REPEATED:
        if isinstance(settings, dict) and settings.get(name) is not None and not hasattr(given, name):
            setattr(given, name, tuple(settings[name]) if isinstance(settings[name], list) else settings[name])


def options_of(given: Namespace) -> Options:
    """Returns the options of a command line; raises `Misused` where one has a value that it does not take."""
    names = {field.name for field in dataclasses.fields(Options)} - {"truth"}
    chosen = {name: value for name, value in vars(given).items() if name in names}
    try:
        return Options(**chosen | {"option": tuple(chosen.get("option", ()))})
    except ValueError as error:
        raise Misused(f"--{str(error).rstrip('.')}") from error


def arguments_of(spec: Spec, given: Namespace, picture: Picture) -> dict[str, Any]:
    """Returns what a task asks for beside the picture, read from files where it lies in one."""
    arguments, most = {}, given.max_pixels or MAX_PIXELS
    for name, parameter in spec.parameters.items():
        kind = argument_of(parameter).read
        if kind:
            arguments[name] = _READ[kind](getattr(given, name, None), given, picture, most)
        else:
            arguments[name] = getattr(given, name, parameter.default)
    return arguments


def page_of(path: str, given: Namespace) -> int:
    """Returns which page of another file belongs to the page that is restored: the same one, where it has several too."""
    page = getattr(given, "page", None) or 0
    return page if page and files.num_pages(path) > 1 else 0


def _read_picture(path, given, picture, most, **how):
    pixels = files.load(path, max_pixels=most, page=page_of(path, given), **how).pixels
    if pixels.shape[:2] != picture.pixels.shape[:2]:
        sizes = [f"{width} x {height}" for height, width in (pixels.shape[:2], picture.pixels.shape[:2])]
        raise ImageError(f"the picture {path!r} has {sizes[0]} pixels but the one to restore has {sizes[1]}; crop or resize one")
    return pixels


def _read_mask(path, given, picture, most):
    del most
    if path is None:
        return None
    mask, notes = files.load_mask(path, picture.pixels.shape[:2], known=given.mask_known)
    for sentence in notes:
        note(f"{path}: {sentence}")
    return mask


def _read_psf(path, given, picture, most):
    del most
    from dipjax.operators import psfs

    if given.unknown:
        return given.unknown
    if given.found:
        raise Misused("--found: found a blur that is given, expected --unknown, with which one is looked for")
    if given.psf:
        return files.load_psf(given.psf)
    extent = 8 * given.gaussian if given.gaussian else given.motion[0]
    if extent > sum(picture.pixels.shape[:2]):  # before an enormous array is made
        raise ImageError("the blur is wider than the picture")
    return psfs.gaussian(given.gaussian) if given.gaussian else psfs.motion(*given.motion)


def _read_complex(path, given, picture, most):
    return None if path is None else _read_picture(path, given, picture, most, allow_complex=True)


_READ: dict[str, Callable] = {"picture": _read_picture, "mask": _read_mask, "psf": _read_psf, "complex": _read_complex}


def reference_of(given: Namespace, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Returns the pixels of `--reference`, which must have the shape of the result."""
    if (path := given.reference) is None:
        return None
    truth = files.load(path, max_pixels=given.max_pixels or MAX_PIXELS, page=page_of(path, given)).pixels
    if truth.shape != shape:
        sizes = [f"{width} x {height} pixels with {channels} channels" for height, width, channels in (truth.shape, shape)]
        raise ImageError(f"the reference {path!r} has {sizes[0]} but the result will have {sizes[1]}")
    return truth


def check_outputs(output: Path, like: Picture, shape: tuple[int, int, int] | None, given: Namespace) -> None:
    """Refuses outputs that cannot be written, and tells what of the picture cannot be kept; the first three as for `check_writable`."""
    files.check_writable(output, like, shape=shape, force=given.force)
    outputs = many.outputs(output, given)
    for path in outputs[1:]:
        files.check_free(path, force=given.force)
    for path, suffixes in (
        (given.plot, report.FIGURE_SUFFIXES),
        (given.uncertainty, report.MAP_SUFFIXES),
        (given.found, report.MAP_SUFFIXES),
        (given.report, report.REPORT_SUFFIXES),
    ):
        if path and Path(path).suffix.lower() not in suffixes:
            raise OutputError(f"cannot write {path!r}: use one of the suffixes {', '.join(suffixes)}")
    many.check_apart(outputs, many.read_beside(given), given.input)
    if not given.strip_metadata and (names := files.left_out(output, like)):
        note(f"{output}: {' and '.join(names)} cannot be kept in a file of this kind")


def _check_map(num_seeds, setting):
    """Refuses a map of the error where nothing will be known of it."""
    least = uncertainty.least_seeds(setting.recipe.stopping)
    if least is None:
        raise Misused("--uncertainty: found no rule that keeps pixels back, by which the error is known, expected --stop held-out")
    if num_seeds < least:
        raise Misused(f"--uncertainty: found {num_seeds} seed, expected at least {least}, whose differences tell of the error")


def _keeper(output, picture, given):
    """Returns what writes the picture so far beside where the result will be; None where that is no place of the user's."""
    if getattr(given, "page", None) is not None or getattr(given, "goes_to_stdout", False):
        return None

    def keep(task, image, steps):
        path = output.with_name(f"{output.stem}.step-{steps}{output.suffix}")
        files.save(path, image, picture, **_how(task, picture, given))
        return path

    return keep


def _how(task, picture, given):
    """Returns how a picture is written."""
    alpha = picture.alpha
    if alpha is not None and task.known is not None:  # damage that was erased to transparent is repaired
        alpha = np.where(np.isnan(task.known).any(axis=-1), np.float32(1), alpha)
    return {"alpha": alpha, "force": given.force, "keep_metadata": not given.strip_metadata}


def write(output: Path, image: np.ndarray, like: Picture, given: Namespace, *, is_input: bool, **how: Any) -> None:
    """Writes a result, `how` as for `files.save`; where it is the input, that file itself: to encode it anew may lose something."""
    source = Path(given.input)
    is_copied = is_input and not given.strip_metadata and SUFFIXES.get(output.suffix.lower()) == like.file_format
    if is_copied and files.num_pages(source) == 1:
        if output.resolve() != source.resolve():
            rescue.written(output, lambda path: files.write(path, source.read_bytes(), force=given.force))
    else:
        rescue.written(output, lambda path: files.save(path, image, like, **how))


def _write(told, picture) -> list[str]:
    """Writes all outputs, the picture first, and returns what went wrong."""
    outcome, given, output, failures = told.outcome, told.given, told.output, []
    others = [(given.curve, report.curve), (given.plot, _figure), (given.uncertainty, report.uncertainty)]
    others += [(given.found, report.found), (given.report, partial(_page, failures=failures))]
    others += [(given.json, partial(report.record, failures=failures))]  # the last, because it says that a picture is done
    how = _how(outcome.task, picture, given)
    jobs = [(output, lambda: write(output, outcome.image, picture, given, is_input=outcome.gained is False, **how))]
    jobs += [(path, lambda path=path, make=make: files.write(path, make(told), force=given.force)) for path, make in others if path]
    for path, job in jobs:
        try:
            job()
        except Exception as error:  # one output must not cost the others
            failures.append(
                str(error) if isinstance(error, OutputError) else f"cannot write {str(path)!r}: {type(error).__name__}: {error}"
            )
        else:
            say(f"wrote {path}")
    for line in report.summary(told):
        say(line)
    for failure in failures:
        complain(failure)
    return failures


def _figure(told):
    startup.use_no_screen()
    from dipjax.app.figure import figure  # imports matplotlib

    return figure(told)


def _page(told, failures):
    startup.use_no_screen()
    from dipjax.app.html.page import page  # imports matplotlib

    return page(told, failures)
