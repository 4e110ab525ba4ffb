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
from dipjax.app.streams import complain, note, say, tell
from dipjax.files import ImageError
from dipjax.files.opening import MAX_PIXELS
from dipjax.files.picture import white
from dipjax.generators.residual import Residual
from dipjax.record import as_file, encode, made_with
from dipjax.tasks import options as asked
from dipjax.tasks.ranges import Range

_DONE = "restored"  # in the name of an output beside its input
_SHOWN = 5.0  # seconds between two lines about the training
_MAP = "{}.std.tif"


def distill(given: Namespace, parse: Callable[[list[str]], Namespace]) -> int:
    """Makes a network and returns the exit code; `parse` reads a command line of dipjax.

    Raises:
      ImageError: the pictures cannot be used.
      OutputError: a file cannot be written.
    """
    teachers = _teachers(given, parse)
    options, output = command.options_of(teachers), Path(given.output)
    log = journal.Journal.of(teachers, options.checkpoint, only=True) if options.checkpoint else None
    given.force = given.force or (log is not None and log.begun([output]))
    files.check_free(output, force=given.force)
    jobs = many.planned(teachers, command.word)
    outputs = [output, *(path for job in jobs for path in (job.output, job.record))]
    many.check_apart(outputs, [*(job.path for job in jobs), *many.read_beside(teachers)])
    _check(jobs, given.max_pixels or MAX_PIXELS)
    if code := many.restore(teachers, command.work, command.word, is_all=False):
        if not signals.exit_code():
            complain("the network was not made, because not every picture could be restored; the same command goes on")
        return code
    lessons, is_whole = _lessons(jobs, given.max_pixels or MAX_PIXELS, teachers.uncertainty)
    if not lessons:
        raise ImageError("nothing is to be learned: no picture was improved; are they degraded by noise?")
    say(f"{len(lessons)} teacher{'s' * (len(lessons) > 1)} of {len(jobs)}; the network learns now")
    span = Range(0.0, 1.0) if is_whole else after.common_range([lesson.degraded for lesson in lessons])
    about = {
        "command": given.arguments,
        "pictures": [many.read(job.record)["input"]["file"] for job in jobs],
        "teachers": {name: encode(getattr(options, name)) for name in ("seeds", "num_iter", "stop", "generator", "loss", "rng")},
        "recipe": many.read(jobs[0].record).get("recipe"),
    }
    network = Residual(lessons[0].degraded.shape[-1], given.width, given.layers)
    rng = options.rng
    made = after.teach(
        lessons, network, span=span, num_steps=given.training_steps, rng=rng, about=about, callback=shown(given.training_steps)
    )
    if signals.requested():
        return signals.exit_code()
    log = log and log.writes([output])
    rescue.written(output, lambda path: student.save(path, made, force=given.force))
    say(f"wrote {output}, for {made.degradation}")
    if log:
        log.ended("done")
    return 0


def _teachers(given, parse):
    """Returns the command line of the teachers."""
    folder = str(given.teachers or f"{given.output}.teachers")
    made = parse(["denoise", *given.input, "-o", f"{folder}/"])
    for name in asked.arguments():
        if hasattr(given, name):
            setattr(made, name, getattr(given, name))
    for name in ("recursive", "compilation_cache", "max_pixels", "debug", "arguments"):
        setattr(made, name, getattr(given, name))
    made.resumed = getattr(given, "resumed", False)
    seeds, stop = getattr(made, "seeds", asked.Options.seeds), getattr(made, "stop", "auto")
    is_named = getattr(made, "recipe", "fast") != "fast"  # and brings its own rule
    if seeds > 1 and (stop == "held-out" or (stop == "auto" and not is_named)):
        made.uncertainty = str(Path(folder) / _MAP)
    else:
        note("all of what the teachers make counts alike: their uncertainty is known with --stop held-out and two seeds or more")
    return made


def _check(jobs, most):
    """Refuses pictures that do not fit together, before the teachers, which take long."""
    kinds = set()
    for job in jobs:
        picture = files.load(job.path, max_pixels=most, page=job.page or 0)
        after.check_shape(str(job.path), picture.pixels.shape)
        kinds.add((picture.pixels.shape[-1], white(picture.dtype) > 1))
    if len(kinds) > 1:
        found = " and ".join(f"{channels} channels of {'whole numbers' if is_whole else 'floats'}" for channels, is_whole in sorted(kinds))
        raise ImageError(f"the pictures have {found}, expected the same in all; make a network for each")


def _lessons(jobs, most, maps):
    """Returns what the teachers made that gained something, and whether all numbers were whole ones."""
    lessons, whole = [], []
    for job in jobs:
        told = many.read(job.record).get("uncertainty") or {}
        if told.get("gained") is False:
            note(f"{job.path}: nothing was gained, so it is left out")
            continue
        degraded, restored = (files.load(path, max_pixels=most) for path in (job.path, job.output))
        std = files.load(maps.replace("{}", job.output.stem), max_pixels=most, allow_nan=True).pixels if maps else None
        lessons.append(after.Lesson(degraded.pixels, restored.pixels, std))
        whole.append(white(degraded.dtype) > 1)
    return lessons, all(whole)


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

    if pipes.are_used(given):
        return pipes.restore(given, one)
    if many.are_many(given):
        return many.restore(given, many.whole(one), lambda given: _DONE)
    (given.input,) = given.input
    return one(given).exit_code


def _apply(given, made):
    page, most = getattr(given, "page", None), given.max_pixels or MAX_PIXELS
    if page is None:
        pages = stack.chosen(given, files.num_pages(given.input))
        if len(pages) > 1:
            return Finished(None, stack.restore(given, pages, many.whole(lambda given: _apply(given, made)), _DONE))
        page = pages[0]
    picture = files.load(given.input, max_pixels=most, page=page)
    for sentence in picture.notes:
        note(f"{given.input}: {sentence}")
    output = Path(given.output or files.default_output(given.input, _DONE))
    files.check_writable(output, picture, force=given.force)
    fits, doubt = made.check(picture.pixels)
    if not (fits or given.anyway):
        raise ImageError(f"cannot restore {given.input!r}: {doubt}; make another network, or give --anyway")
    if doubt:
        note(f"{given.input}: {doubt}")
    start = time.perf_counter()
    restored = made.restore(picture.pixels)
    seconds = time.perf_counter() - start
    if not given.strip_metadata and (names := files.left_out(output, picture)):
        note(f"{output}: {' and '.join(names)} cannot be kept in a file of this kind")
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
