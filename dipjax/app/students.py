"""`dipjax distill` and `dipjax apply`: from a folder of noisy pictures to a light network, and from that to restored pictures.

The teachers are the command `denoise` for many pictures, with its records: one that was broken off goes on with the pictures that are left.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from dipjax import files
from dipjax.after import distill as after
from dipjax.after import student
from dipjax.app import command, journal, many, pipes, rescue, signals, stack
from dipjax.app.command import Finished
from dipjax.app.streams import note, say, tell
from dipjax.files import ImageError
from dipjax.files.opening import MAX_PIXELS
from dipjax.files.picture import white
from dipjax.record import as_file, encode, made_with
from dipjax.tasks import options as asked

_DONE = "restored"  # in the name of an output beside its input
_SHOWN = 5.0  # seconds between two lines about the training
_MAP = "{}.std.tif"  # beside its teacher, and named after the whole of that


def distill(given: Namespace, parse: Callable[[list[str]], Namespace]) -> int:
    """Makes a network and returns the exit code; `parse` reads a command line of dipjax.

    Raises:
      ImageError: the pictures cannot be used.
      OutputError: a file cannot be written.
      KeyboardInterrupt: it was interrupted before there was a network.
    """
    teachers = _teachers(given, parse)
    options, output = command.options_of(teachers), Path(given.output)
    log = journal.Journal.of(teachers, options.checkpoint, only=True, alike="distill") if options.checkpoint else None
    given.force = given.force or (log is not None and log.begun([output]))
    files.check_free(output, force=given.force)
    jobs = many.planned(teachers, command.word, str)
    outputs = [output, *(path for job in jobs for path in (job.output, job.record))]
    many.check_apart(outputs, [*(job.path for job in jobs), *many.read_beside(teachers)])
    course = _course(jobs, given)
    if course.doubt:
        note(course.doubt)
    words = f"the network was not made; its teachers are kept in {teachers.output!r}, and the same command goes on"
    signals.expose(words)
    code = many.restore(jobs, teachers, command.work, log)
    if signals.requested():
        raise KeyboardInterrupt
    if code:
        note(_failed(jobs))
        return code
    lessons = _lessons(jobs, teachers.max_pixels or MAX_PIXELS, teachers.uncertainty)
    say(f"{len(lessons)} teacher{'s' * (len(lessons) != 1)} of {len(jobs)}; the network learns now")
    signals.expose(words)  # a training has nothing to save
    about, recipe = {"command": given.arguments}, many.read(jobs[0].record).get("recipe")
    made = course.taught(lessons, options, recipe=recipe, about=about, callback=shown(given.training_steps))
    signals.protect()
    if signals.requested():
        raise KeyboardInterrupt
    log = log and log.writes([output])
    rescue.written(output, lambda path: student.save(path, made, force=given.force))
    say(f"wrote {output}, for {made.degradation}")
    if log:
        log.ended("done")
    return 0


def _teachers(given, parse):
    """Returns the command line of the teachers."""
    made = parse(["denoise", "IN"])
    made.input, made.output = given.input, f"{given.teachers or f'{given.output}.teachers'}/"
    for name in asked.arguments():
        if hasattr(given, name):
            setattr(made, name, getattr(given, name))
    for name in ("recursive", "compilation_cache", "max_pixels", "debug", "arguments"):
        setattr(made, name, getattr(given, name))
    made.resumed = getattr(given, "resumed", False)
    seeds, stop = getattr(made, "seeds", asked.Options.seeds), getattr(made, "stop", "auto")
    is_named = getattr(made, "recipe", "fast") != "fast"  # and brings its own rule
    if seeds > 1 and (stop == "held-out" or (stop == "auto" and not is_named)):
        made.uncertainty = _MAP
    else:
        note("all of what the teachers make counts alike: their uncertainty is known with --stop held-out and two seeds or more")
    return made


def _course(jobs, given):
    """Returns what is to be learned of the pictures, or refuses them before the teachers begin."""
    for job in jobs:
        if (number := files.num_pages(job.path)) > 1:
            raise ImageError(f"cannot learn from {str(job.path)!r}: found {number} pages, expected one; write each to a file of its own")
    pictures = [files.load(job.path, max_pixels=given.max_pixels or MAX_PIXELS) for job in jobs]
    how = {"width": given.width, "num_layers": given.layers, "num_steps": given.training_steps, "anyway": given.anyway}
    whole = [white(picture.dtype) > 1 for picture in pictures]
    return after.planned(
        [str(job.path) for job in jobs],
        [picture.pixels for picture in pictures],
        whole,
        **how,
        rng=getattr(given, "rng", asked.Options.rng),
    )


def _failed(jobs):
    names = [repr(str(job.path)) for job in jobs if "error" in many.read(job.record)]
    way = f"take {' and '.join(names)} away, and give it again" if names else "give it again"
    return f"the network was not made, because not every picture could be restored; the same command goes on: {way}"


def _lessons(jobs, most, maps):
    """Returns what the teachers made that gained something."""
    lessons, plain = [], []
    for job in jobs:
        told = many.read(job.record).get("uncertainty") or {}
        if told.get("gained") is False:
            note(f"{job.path}: nothing was gained, so it is left out")
            continue
        degraded, restored = (files.load(path, max_pixels=most).pixels for path in (job.path, job.output))
        std, place = None, Path(maps.format(job.output)) if maps else None
        if place and place.exists():
            std = files.load(place, max_pixels=most, allow_nan=True).pixels
        elif place:
            plain.append(job.path.name)
        lessons.append(after.Lesson(degraded, restored, std, job.path.name))
    if plain:
        note(f"beside the teachers of {', '.join(plain)} there is no map of their uncertainty, so all of what they make counts alike")
    return lessons


def shown(num_steps: int) -> Callable[[int, float], bool]:
    """Returns what tells how far a training is, and ends it where a signal asks for that."""
    start = last = time.monotonic()

    def callback(step, loss):
        nonlocal last
        if time.monotonic() >= last + _SHOWN or step == num_steps:
            last = time.monotonic()
            tell(f"training: {step} of {num_steps} steps, loss {loss:.3g}, {last - start:.0f} s")
        return bool(signals.requested())

    return callback


def apply(given: Namespace) -> int:
    """Restores one picture, or many, and returns the exit code.

    Raises:
      ImageError: there is no picture, or none for this network.
      OutputError: a result cannot be written.
    """
    made = student.load(given.student)

    def one(given):
        return _apply(given, made)

    if many.are_many(given) and not pipes.are_used(given):
        signals.protect()  # it ends between two pictures
    return pipes.handled(given, many.whole(one), lambda given: _DONE)


def _apply(given, made):
    page = getattr(given, "page", None)
    if page is None:
        pages = stack.chosen(given, files.num_pages(given.input))
        if len(pages) > 1:
            signals.protect()  # it ends between two pages
            return Finished(None, stack.restore(given, pages, many.whole(lambda given: _apply(given, made)), _DONE))
        page = pages[0]
    picture = command.opened(given, page)
    output = Path(given.output or files.default_output(given.input, _DONE))
    command.check_outputs(output, picture, None, given)
    try:
        fits, doubt = made.check(picture.pixels)
    except ValueError as error:
        raise ImageError(f"cannot restore {given.input!r}: {error}") from error
    if not (fits or given.anyway):
        raise ImageError(f"cannot restore {given.input!r}: {doubt}; make another network, or give --anyway")
    if doubt:
        note(f"{given.input}: {doubt}")
    start = time.perf_counter()
    restored = made.restore(picture.pixels)
    seconds = time.perf_counter() - start
    rescue.written(output, lambda path: files.save(path, restored, picture, force=given.force, keep_metadata=not given.strip_metadata))
    say(f"wrote {output}, in {seconds:.2f} s")
    if given.json:
        files.write(given.json, _record(given, made, picture, output, doubt, seconds), force=given.force)
    return Finished(None, 0)


def _record(given, made, picture, output, doubt, seconds):
    height, width, channels = picture.pixels.shape
    content = {
        "task": given.task,
        "input": {"file": Path(given.input).name, "width": width, "height": height, "channels": channels},
        "output": {"file": output.name},
        "student": {"file": Path(given.student).name, "network": encode(made.network), "degradation": made.degradation._asdict()},
        "doubt": doubt,
        "seconds": seconds,
        "fingerprint": getattr(given, "fingerprint", None),
        "ending": "done",
    } | made_with()
    return as_file(content)
