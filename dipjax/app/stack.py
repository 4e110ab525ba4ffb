"""A file of several pages: every one is restored for itself, as one of many pictures, and the stack is written back as a TIFF file.

What is restored of it lies in a folder until the stack is written: that of `--checkpoint`, from which a broken command goes on,
or a temporary one.
"""

import contextlib
import shlex
import tempfile
from argparse import Namespace
from pathlib import Path

from dipjax import files
from dipjax.app import journal, many, rescue, signals
from dipjax.app.streams import complain, note, say
from dipjax.files import ImageError, OutputError
from dipjax.files.opening import MAX_PIXELS, SUFFIXES
from dipjax.record import as_file
from dipjax.tasks.options import Misused


def chosen(given: Namespace, number: int) -> range:
    """Returns the pages, counted from 0, that `--pages` names of a file with so many.

    Raises:
      ImageError: there are not so many.
    """
    wish = getattr(given, "pages", None)
    if wish is None:
        return range(number)
    first, last = wish
    if last > number:
        raise ImageError(f"cannot take page {last} of {given.input!r}: it has {number} page{'s' * (number > 1)}")
    return range(first - 1, last)


def restore(given: Namespace, pages: range, work: many.Work, word: str) -> int:
    """Restores several pages of one file and returns the exit code.

    Args:
      given: the command line of this file.
      pages: which, counted from 0.
      work: restores one page, `given.page`.
      word: what will have been done, for the name of the output.

    Raises:
      OutputError: the stack has no place.
    """
    output = Path(given.output) if given.output else _default(given.input, word)
    if SUFFIXES.get(output.suffix.lower()) != "TIFF":
        raise OutputError(f"cannot write {str(output)!r}: of the formats, only TIFF holds {len(pages)} pages; use .tif, or --pages N")
    for name in many.OTHERS:
        many.check_place(name, getattr(given, name), "pages")
    record = Path(given.json) if given.json else None
    keeps = getattr(given, "checkpoint", None)
    log = journal.Journal.of(given, keeps, only=True).begins() if keeps and not hasattr(given, "root") else None
    outputs = [path for path in (output, record) if path]
    many.check_apart([*outputs, *([Path(given.report)] if given.report else [])], many.read_beside(given), given.input)
    force = given.force or (log is not None and log.begun(outputs))
    for path in outputs:
        files.check_free(path, force=force)
    many.begin_index(given, force=force)
    note(f"{given.input}: {len(pages)} pages, each is restored for itself")
    with tempfile.TemporaryDirectory(prefix="dipjax-") as temporary:
        folder = Path(keeps) / "pages" if keeps else Path(temporary)
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        names = [folder / f"{page + 1:06d}.tif" for page in pages]
        jobs = [
            many.Job(Path(given.input), name, name.with_suffix(".json"), page, str(page + 1))
            for page, name in zip(pages, names, strict=True)
        ]
        errors = {}
        try:
            counts = many.run(jobs, given, work, errors.__setitem__)
        except Misused:
            if log:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                log.withdrawn()
            raise
        if counts.failed:
            with contextlib.suppress(OutputError):  # the pages are what is to be told of
                many.write_index(given, jobs, errors)
            told = "; ".join(errors.values())
            raise ImageError(f"{counts.failed} of {len(jobs)} pages of {given.input!r} could not be restored; {told}")
        if counts.left and not counts.restored + counts.done_before and not any(job.output.exists() for job in jobs):
            raise KeyboardInterrupt
        if counts.left and keeps and signals.exit_code() != signals.INTERRUPTED:
            say(f"saved what is restored in {keeps}; dipjax resume {shlex.quote(getattr(given, 'root', keeps))} goes on")
            return signals.exit_code()
        log = log and log.writes(outputs)
        ending = _write(given, output, record, jobs, force)
        many.write_index(given, jobs, errors)
        if log:
            log.ended(ending)
    return signals.exit_code()


def _write(given, output, record, jobs, force):
    """Writes the pages that are restored, and the others as they were; returns how it ended."""
    pictures, records, how = [], [], {"allow_nan": True, "max_pixels": given.max_pixels or MAX_PIXELS}
    for job in jobs:
        is_there = job.output.exists()
        pictures.append(files.load(job.output, **how) if is_there else files.load(given.input, page=job.page, **how))
        records.append(many.read(job.record) if is_there else {"ending": "not begun"})
    if missing := sum(not job.output.exists() for job in jobs):
        complain(f"{missing} of {len(jobs)} pages were not begun; they are written as they were")
    rescue.written(output, lambda path: files.save_stack(path, pictures, force=force, keep_metadata=not given.strip_metadata))
    say(f"wrote {output}")
    if record:
        content = {"task": given.task, "input": {"file": Path(given.input).name}, "output": {"file": output.name}}
        content |= {"fingerprint": getattr(given, "fingerprint", None), "ending": _ending(records), "pages": records}
        files.write(record, as_file(content), force=force)
        say(f"wrote {record}")
    return _ending(records)


def _ending(records):
    endings = {page.get("ending") for page in records}
    return "done" if endings <= set(many.COMPLETE) else "interrupted"


def _default(path, word):
    output = files.default_output(path, word)
    return output if SUFFIXES.get(output.suffix.lower()) == "TIFF" else output.with_suffix(".tif")
