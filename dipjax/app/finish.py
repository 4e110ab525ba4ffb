"""`dipjax refine`: restored pictures, what they were made of, and clean examples, from files to files."""

import time
from argparse import Namespace
from functools import cache, partial
from pathlib import Path

import numpy as np

from dipjax import files
from dipjax.after import refine as after
from dipjax.app import command, many, pipes, signals, stack
from dipjax.app.command import Finished
from dipjax.app.further import MEASURED
from dipjax.app.report import command_line
from dipjax.app.streams import note, say
from dipjax.app.students import shown
from dipjax.files import ImageError
from dipjax.files.opening import MAX_PIXELS
from dipjax.files.picture import white
from dipjax.record import as_file, made_with
from dipjax.tasks.door import TASKS, posed
from dipjax.tasks.options import Misused
from dipjax.tasks.restore import score

_DONE = "refined"  # in the name of an output beside its input
_KNOWN = {name: name for name in ("denoise", *MEASURED)} | dict.fromkeys(("apply", "flash"), "denoise")  # by what made it
_SETTINGS = ("num_steps", "weight", "bound", "rng")


def refine(given: Namespace) -> int:
    """Refines one picture, or many, and returns the exit code.

    Raises:
      ImageError: a picture cannot be used.
      OutputError: a result cannot be written.
      Misused: options do not go together.
    """
    blurs = [name for name in ("psf", "gaussian", "motion") if getattr(given, name) is not None]
    if given.unknown:
        raise Misused(
            "--unknown: found a blur that is to be found, expected the one that was, as deblur --found has written it: --psf FILE"
        )
    if given.mask and blurs:
        raise Misused(f"--mask: found with --{blurs[0]}, expected one of them: a measurement that had holes, or a blur")
    places = list(dict.fromkeys(str(path) for name in given.examples for path, _ in many.found(name, given.recursive, None)))
    if not places:
        raise ImageError(f"there is no picture in {', '.join(map(repr, given.examples))}; expected clean examples")
    given.examples = places
    given.seen = [path.stat().st_mtime_ns for path in map(Path, places) if path.exists()]  # for the fingerprint of each picture
    examples = cache(partial(_examples, tuple(places), given.max_pixels or MAX_PIXELS, given.rng))
    return pipes.handled(given, many.whole(partial(_refine, examples=examples)), lambda given: _DONE)


def _refine(given, examples):
    if getattr(given, "page", None) is None:
        pages = stack.chosen(given, files.num_pages(given.input))
        if len(pages) > 1:
            return Finished(None, stack.restore(given, pages, many.whole(partial(_refine, examples=examples)), _DONE))
        given.page = pages[0]
    result = command.opened(given, given.page)
    output = Path(given.output or files.default_output(given.input, _DONE))
    command.check_outputs(output, result, None, given)
    truth = command.reference_of(given, result.pixels.shape)
    task = _task(given, result, truth)
    parts = examples(result.pixels.shape[-1])
    how, start = {name: getattr(given, name) for name in _SETTINGS}, time.perf_counter()
    made = after.refine(result.pixels, task, parts, **how, channel_axis=-1, callback=_shown(given.num_steps))
    keeps = {"force": given.force, "keep_metadata": not given.strip_metadata}
    command.write(output, made.image, result, given, is_input=not made.is_refined, **keeps)
    seconds = time.perf_counter() - start
    say(f"wrote {output}, in {seconds:.1f} s; {given.of} is taken for what {task.name} was given")
    (say if made.is_refined else note)(str(made))
    scores = None if truth is None else {"before": score(task, result.pixels), "after": score(task, made.image)}
    for name, found in (scores or {}).items():
        say(f"{name}: PSNR {found['psnr']:.2f} dB, SSIM {found['ssim']:.3f}")
    if given.json:
        content = {
            "task": given.task,
            "command": command_line(given.arguments),
            "input": {"file": Path(given.input).name, "of": Path(given.of).name, "task": task.name, "examples": len(given.examples)},
            "output": {"file": output.name},
            "refined": made.is_refined,
            "misfit": {"before": made.before, "after": made.after},
            "metrics": scores,
            "seconds": seconds,
            "options": how,
            "fingerprint": getattr(given, "fingerprint", None),
            "ending": "interrupted" if signals.requested() else "done",
        }
        files.write(given.json, as_file(content | made_with()), force=given.force)
        say(f"wrote {given.json}")
    return Finished(None, signals.exit_code())


def _shown(num_steps):
    """Returns what tells how far the training is; from its first step on, what there is outlives a signal."""
    tell = shown(num_steps)

    def callback(step, loss):
        signals.protect()
        return tell(step, loss)

    return callback


def _task(given, result, truth):
    """Returns the task that made the result, of the picture of `--of`."""
    most, shape = given.max_pixels or MAX_PIXELS, result.pixels.shape
    degraded = files.load(given.of, max_pixels=most, allow_nan=True, page=command.page_of(given.of, given))
    if shape[-1] != degraded.pixels.shape[-1]:
        raise ImageError(f"{given.input!r} has {shape[-1]} channels and {given.of!r} {degraded.pixels.shape[-1]}, expected the same")
    is_inpainted = given.mask or not np.isfinite(degraded.pixels).all()
    is_blurred = given.psf or given.gaussian or given.motion
    named = "inpaint" if is_inpainted else "deblur" if is_blurred else None
    name, arguments = (named, {}) if named else after.task_of(shape, degraded.pixels.shape)
    _check_record(given.input, name)
    asked = {key: value for key, value in command.arguments_of(TASKS[name], given, degraded).items() if key not in arguments}
    is_whole = white(degraded.dtype) > 1
    after.check_units("of", [np.nan_to_num(degraded.pixels)], result.pixels)
    return posed(TASKS[name], degraded.pixels, arguments | asked, after.options(is_whole), truth=truth, is_whole=is_whole)


def _check_record(path, name):
    """Refuses a result of which a record beside it says that another task made it."""
    path = Path(path)
    for place in (path.with_name(f"{path.name}.json"), path.with_suffix(".json")):
        content = many.read(place)
        read, written = (part if isinstance(part := content.get(key), dict) else {} for key in ("input", "output"))
        if written.get("file") != path.name:
            continue
        task = str(read.get("task", content.get("task")))
        if task not in _KNOWN:
            raise ImageError(f"{str(path)!r} was made by {task}, as {str(place)!r} says, expected one of {', '.join(_KNOWN)}")
        if _KNOWN[task] != name:
            hints = {"inpaint": "--mask as it was given there", "deblur": "--psf, --gaussian or --motion as it was given there"}
            hint = hints.get(_KNOWN[task], "--of what that was given, and no more")
            raise ImageError(f"{str(path)!r} was made by {task}, as {str(place)!r} says, expected {hint}")


def _examples(places, most, rng, channels):
    """Returns parts of the examples, each with the channels of the result."""
    parts = after.windows(_opened(places, most, channels), np.random.default_rng(rng))
    if not parts:
        raise ImageError(f"no example has {after.SMALLEST} x {after.SMALLEST} pixels; give larger ones")
    return parts


def _opened(places, most, channels):
    for place in places:
        for page in range(files.num_pages(place)):
            pixels = files.load(place, max_pixels=most, page=page).pixels
            height, width, found = pixels.shape
            if found != channels:
                raise ImageError(f"the example {place!r} has {found} channels, expected {channels} as the picture; convert it")
            if min(height, width) < after.SMALLEST:
                note(f"the example {place!r} has {width} x {height} pixels, fewer than {after.SMALLEST} along a side, and is left out")
            else:
                yield pixels
