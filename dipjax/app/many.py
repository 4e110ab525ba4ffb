"""Many pictures with one command: files, folders and patterns, in one process; those that are alike side by side, where that is faster.

The record of a picture, complete last, says that it is done: a command that is given again leaves out what has been restored from the
same file with the same settings, and does the rest. A picture that cannot be restored gets a record with its error, and the others go on.
"""

import contextlib
import copy
import gc
import glob
import hashlib
import json
import os
from argparse import Namespace
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dipjax import files
from dipjax.app import cli, journal, signals
from dipjax.app.streams import complain, note, say
from dipjax.files import ImageError, OutputError, printable
from dipjax.files.opening import ONLY_READ, SUFFIXES
from dipjax.record import as_file
from dipjax.tasks.options import Misused

_READ = ("of", "mask", "reference", "flash_image", "psf", "coils")  # files that may be one for all pictures, or a folder with one for each
OTHERS = tuple(name for name in cli.OUTPUTS if name not in ("json", "report"))  # one for each picture, where the user says
_OURS = {"begun", "error", "fingerprint"}  # of which a record has one
_MOST_WAITING = 2  # times the largest group: so many pictures may wait until others are like them
COMPLETE = (*journal.COMPLETE, "budget")  # endings
_PLACE = "{}"  # in the name of such an output, stands for the name of the picture
FAILED = 1
# What does not change the picture: where things are written, what is said, and how the work is kept.
_UNSEEN = {
    *cli.OUTPUTS, "arguments", "run", "parser", "output", "force", "debug", "checkpoint", "checkpoint_every", "compilation_cache", "ray",
    "live", "view", "preview", "recursive", "root", "resumed", "fingerprint", "batching", "together", "max_pixels",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One picture of many."""

    path: Path
    output: Path
    record: Path
    page: int | None = None  # of a stack, counted from 0
    name: str = ""  # for what is written beside the output
    kept: str = ""  # the name of the folder of its checkpoints


def are_many(given: Namespace) -> bool:
    """Says whether a command is about more than one file, or about a folder."""
    folder = given.output is not None and (given.output.endswith(("/", os.sep)) or Path(given.output).is_dir())
    return len(given.input) > 1 or folder or any(Path(name).is_dir() or _is_pattern(name) for name in given.input)


Work = Callable[[Namespace], Generator[Any, Any, Any]]
"""The command of one picture: up to a `command.Run`, which it yields, and on with its outcome to a `command.Finished`.

It raises what is wrong with the picture. What computes nothing that others could share yields nothing, see `whole`.
"""


def whole(function: Callable[[Namespace], Any]) -> Work:
    """Makes work of a function that does all of it."""

    def work(given):
        yield from ()
        return function(given)

    return work


def finished(work: Generator[Any, Any, Any]) -> Any:
    """Does a piece of work by itself and returns what it comes to."""
    try:
        outcome = next(work).alone()
    except StopIteration as end:
        return end.value
    return _sent(work, outcome)


def _sent(work, outcome):
    """Lets a piece of work go on with its outcome, or with what was wrong, and returns what it comes to."""
    try:
        work.throw(outcome) if isinstance(outcome, Exception) else work.send(outcome)
    except StopIteration as end:
        return end.value
    raise RuntimeError("work goes on after its outcome")


def restore(jobs: list[Job], given: Namespace, work: Work, log: journal.Journal | None = None) -> int:
    """Restores all pictures and returns the exit code.

    Args:
      jobs: what `planned` returns.
      given: the command line.
      work: restores one picture.
      log: the journal of a command that goes on when they are restored; else they are all of it, and it has one of its own.

    Raises:
      Misused: an option suits not even the first picture.
    """
    folder, is_all, errors = getattr(given, "checkpoint", None), log is None, {}
    log = (log or journal.Journal.of(given, folder, only=True)).begins() if folder else None

    def tell(job, sentence):
        errors[job] = sentence
        complain(sentence)

    if given.ray:
        from dipjax.app import cluster  # which imports this module

        counts = cluster.run(jobs, given, tell)
    else:
        try:
            counts = run(jobs, given, work, tell)
        except Misused:
            if log:
                log.withdrawn()
            raise
    is_told = _is_told(given, jobs, errors)
    failed = counts.failed or not is_told
    if log and not counts.left and (is_all or failed):
        log.ended("failed" if failed else "done")
    say(f"{len(jobs)} picture{'s' * (len(jobs) > 1)}: {counts}")
    return signals.exit_code() or (FAILED if failed else 0)


def _is_told(given, jobs, errors):
    """Writes the index of `--report`, whatever became of the pictures; says whether there is one, if there is to be one."""
    try:
        write_index(given, jobs, errors)
    except OutputError as error:
        complain(str(error))
        return False
    return True


def begin_index(given: Namespace, *, force: bool) -> None:
    """Checks the place of the index of `--report` and makes the folder of its pages; raises an `OutputError` if it has none."""
    from dipjax.app.html import index  # imports JAX

    if given.report:
        index.begin(given.report, _pages_of(given), force=force)


def write_index(given: Namespace, jobs: list[Job], errors: dict[Job, str]) -> None:
    """Writes the index of `--report`, if it is asked for; raises an `OutputError` if it cannot be written."""
    from dipjax.app.html import index

    if given.report:
        names = [str(job.path) if job.page is None else f"page {job.page + 1}" for job in jobs]
        rows = [
            index.Row(name, _page_of(given, job), job.output, read(job.record), errors.get(job))
            for name, job in zip(names, jobs, strict=True)
        ]
        index.write(given.report, given, rows)
        say(f"wrote {given.report}")


def _pages_of(given):
    """Returns where the pages of an index lie: beside it, under the name that browsers give what belongs to a page."""
    return Path(given.report).with_name(f"{Path(given.report).stem}_files")


def _page_of(given, job):
    return _pages_of(given) / f"{(job.kept or job.name)[-60:]}.html"


class Counts(NamedTuple):
    """What became of many pictures."""

    restored: int
    done_before: int
    failed: int
    left: int

    def __str__(self):
        """Says it for people."""
        words = {name.replace("_", " "): count for name, count in self._asdict().items()}
        return ", ".join(f"{count} {name}" for name, count in words.items() if count or name == "restored")


class _Group(NamedTuple):
    """Pictures that wait to be computed side by side."""

    most: int
    begun: "list[_Begun]"


class _Begun(NamedTuple):
    """A picture that is to be computed."""

    job: Job
    work: Generator[Any, Any, Any]
    run: Any  # `command.Run`


def run(jobs: list[Job], given: Namespace, work: Work, tell: Callable[[Job, str], Any]) -> Counts:
    """Restores what is not done yet, until a signal asks to end; `tell` is told each error and of which picture it is.

    Pictures that are alike are computed side by side, as many as fill the machine, or as `--together` says.

    Raises:
      Misused: an option suits not even the first of them.
    """
    codes, done, groups = [], 0, []  # the exit codes of those that have come to their end; what is to be computed, the oldest first

    def end(job, function, *arguments):
        """Counts what a function comes to; None if that is not known yet."""
        try:
            found = function(*arguments)
        except Exception as error:  # whatever it is, the others go on
            if isinstance(error, Misused) and not (codes or groups):
                _unclaim(job)
                raise
            codes.append(FAILED)
            tell(job, _fail(job, error, given))
            return
        is_left = found is None or (found.exit_code > FAILED and signals.requested())
        codes.extend([] if is_left else [found.exit_code])

    def begin(job, ours, before):
        _claim(job, ours, is_ours=given.force or bool(_OURS & set(before)))
        ours.force = True
        begun = work(ours)
        try:
            run = next(begun)
        except StopIteration as ending:
            return ending.value
        group = next((group for group in groups if group.begun[0].run.is_like(run)), None)
        if group is None:
            group = _Group(run.most(), [])
            groups.append(group)
        group.begun.append(_Begun(job, begun, run))
        if len(group.begun) >= group.most:
            compute(group)
        elif sum(len(group.begun) for group in groups) > _MOST_WAITING * max(group.most for group in groups):
            compute(groups[0])
        if groups:
            signals.protect()  # what waits is left in good order
        return None

    def compute(group):
        groups.remove(group)
        if len(group.begun) > 1:
            say(f"side by side: {', '.join(printable(begun.job.path.name) for begun in group.begun)}")
        for begun, outcome in zip(group.begun, _computed([begun.run for begun in group.begun]), strict=True):
            end(begun.job, _sent, begun.work, outcome)

    with contextlib.suppress(KeyboardInterrupt):  # before its first step
        for number, job in enumerate(jobs, 1):
            if signals.requested():
                break
            ours = _of(given, job)
            ours.fingerprint, before = fingerprint(ours), read(job.record)
            is_done = before.get("fingerprint") == ours.fingerprint and before.get("ending") in COMPLETE and job.output.exists()
            if is_done and not given.force:
                done += 1
                continue
            say(f"{number} of {len(jobs)}: {printable(str(job.path))}{'' if job.page is None else f', page {job.page + 1}'}")
            end(job, begin, job, ours, before)
        while groups and not signals.requested():
            compute(groups[0])
    return Counts(codes.count(0), done, len(codes) - codes.count(0), len(jobs) - len(codes) - done)


def _computed(runs):
    """Yields the outcome of each run, or what was wrong; what fails side by side is tried alone."""
    if len(runs) > 1:
        try:
            outcomes = runs[0].together(runs[1:])
        except Exception as error:
            note(f"side by side they fail, {type(error).__name__}: {' '.join(str(error).split())[:200]}; now one by one")
        else:
            yield from outcomes
            return
        gc.collect()  # the memory of what failed
    yield from map(_alone, runs)


def _alone(run):
    try:
        return run.alone()
    except Exception as error:
        return error


def check_place(name: str, wish: str | None, of: str) -> None:
    """Refuses one file beside several results."""
    if wish and _PLACE not in wish:
        raise OutputError(f"--{name} {wish!r} is one file for several {of}; put {_PLACE} where their names shall be")


def planned(given: Namespace, done: Callable[[Namespace], str], named: Callable[[Path], str] = lambda output: "") -> list[Job]:
    """Returns what there is to do; nothing is written yet but the folder.

    Args:
      given: the command line.
      done: gives the word for the name of an output beside its input.
      named: gives the name that what is written beside an output has in the place of `{}`; empty: its own without the suffix.

    Raises:
      ImageError: there is nothing to restore.
      OutputError: outputs have no place, or share one.
    """
    folder = None if given.output is None else Path(given.output)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise OutputError(f"cannot write in {given.output!r}: it is a file, expected a folder for the results of several pictures")
    pairs = list(dict.fromkeys(pair for name in given.input for pair in found(name, given.recursive, folder)))
    if not pairs:
        raise ImageError(f"there is no picture in {', '.join(map(repr, given.input))}; known are {', '.join(SUFFIXES)}")
    for name in OTHERS:
        check_place(name, getattr(given, name), "pictures")
    if given.json:
        raise OutputError("--json names one file for several pictures; the record of each lies beside its result")
    jobs = []
    for path, inner in pairs:
        output = (files.default_output(path, done(given)) if folder is None else folder / inner).absolute()
        if SUFFIXES.get(output.suffix.lower(), "GIF") in ONLY_READ:
            output = output.with_name(f"{output.name}{'.tif' if _is_stack(path, given) else '.png'}")
        kept = f"{output.name}-{hashlib.sha256(os.fsencode(output)).hexdigest()[:8]}"
        jobs.append(Job(path, output, output.with_name(f"{output.name}.json"), name=named(output), kept=kept))
    made = {job.output for job in jobs}
    jobs = [job for job in jobs if job.path.absolute() not in made]  # results of the same command, beside their inputs
    taken = {}
    for job in jobs:
        for output in (job.output, job.record, *(Path(name).absolute() for name in _beside(given, job).values())):
            if (other := taken.setdefault(output, job)) is not job:
                both = f"{str(other.path)!r} and {str(job.path)!r}"
                raise OutputError(f"{both} would both become {str(output)!r}; restore them with a folder each")
    if given.report and Path(given.report).absolute() in taken:
        raise OutputError("two outputs have the same name; give each its own")
    for parent in {job.output.parent for job in jobs} if folder else ():
        with files.writing(parent):
            parent.mkdir(parents=True, exist_ok=True)
    begin_index(given, force=given.force)
    return jobs


def found(name: str, recursive: bool, folder: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yields the files that a name on the command line means, and the names of their results in a folder."""
    path = Path(name)
    if path.is_dir():
        for other in sorted(path.rglob("*") if recursive else path.iterdir()):
            is_result = folder is not None and folder.resolve() in other.resolve().parents
            if other.suffix.lower() in SUFFIXES and not other.name.startswith(".") and not is_result and other.is_file():
                yield other, other.relative_to(path)
    elif not path.exists() and _is_pattern(name):
        for other in sorted(map(Path, glob.glob(name, recursive=True))):
            if other.is_file():
                yield other, Path(other.name)
    else:  # also what does not exist: its error is told
        yield path, Path(path.name)


def _is_pattern(name):
    return glob.has_magic(name) and not Path(name).exists()


def _beside(given, job):
    """Returns the names of what is written beside the picture and its record."""
    names = {name: getattr(given, name).replace(_PLACE, job.name or job.output.stem) for name in OTHERS if getattr(given, name)}
    return names | ({"report": str(_page_of(given, job))} if given.report else {})


def _of(given, job):
    """Returns the command line of one picture."""
    ours = copy.copy(given)
    ours.input, ours.output, ours.json = str(job.path), str(job.output), str(job.record)
    vars(ours).update(_beside(given, job))
    for name in _READ:
        folder = getattr(given, name, None)
        if folder and Path(folder).is_dir():
            alike = [path for path in sorted(Path(folder).iterdir()) if path.stem == job.path.stem]
            setattr(ours, name, str(alike[0] if alike else Path(folder) / job.path.name))
    if getattr(given, "checkpoint", None):
        ours.checkpoint = str(Path(given.checkpoint) / (job.kept or job.output.name))
        ours.root = getattr(given, "root", given.checkpoint)
    if job.page is None:
        ours.frame = True  # the pages of a stack are of one size
    ours.page = job.page
    return ours


def fingerprint(given: Namespace) -> str:
    """Returns a digest of all that decides what becomes of a picture: its file, the files read beside it, and the settings."""
    digest = hashlib.sha256()
    read = [given.input, *(getattr(given, name, None) for name in (*_READ, "recipe", "student"))]
    settings = {name: value for name, value in sorted(vars(given).items()) if name not in _UNSEEN and value not in read}
    digest.update(json.dumps(settings, sort_keys=True, default=repr).encode())
    for name in filter(None, read):
        try:
            digest.update(b"file" + hashlib.sha256(Path(name).read_bytes()).digest())
        except OSError:  # of which its reader tells
            digest.update(f"word {name}".encode())
    return digest.hexdigest()


def read(path: Path) -> dict[str, Any]:
    """Returns a record, empty where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _claim(job, given, *, is_ours):
    """Says in the place of the record that what lies there is of such a command, so that another one may replace what this one leaves.

    Raises:
      OutputError: a stranger's file is there.
    """
    for path in outputs(job.output, given):
        files.check_free(path, force=is_ours)
    _note(job, given, "begun", True)


def _unclaim(job):
    """Undoes `_claim`."""
    if "begun" in read(job.record):
        job.record.unlink()


def outputs(output: Path, given: Namespace) -> list[Path]:
    """Returns all files that the command of one picture writes."""
    return [output, *(Path(path) for name in cli.OUTPUTS if (path := getattr(given, name)))]


def read_beside(given: Namespace) -> list[str]:
    """Returns the names of all files that a command reads beside its picture."""
    recipe = getattr(given, "recipe", "")
    names = [*(getattr(given, name, None) for name in (*_READ, "student")), *getattr(given, "examples", ())]
    return [name for name in (*names, recipe if recipe.lower().endswith(".json") else None) if name]


def check_apart(outputs: Iterable[Path], read: Iterable[Path | str], source: Path | str | None = None) -> None:
    """Refuses outputs that are one file, or would replace one that is read.

    Args:
      outputs: the first of them is the result.
      read: the files that are read beside the picture.
      source: the picture. To replace it by the result is a wish that --force may express, all else is a slip.

    Raises:
      OutputError: there are such.
    """
    there = [path.resolve() for path in outputs]
    if len(set(there)) < len(there):
        raise OutputError("two outputs have the same name; give each its own")
    if {Path(path).resolve() for path in read} & set(there) or (source is not None and Path(source).resolve() in there[1:]):
        raise OutputError("an output would replace a file that is read; give it another name")


def _is_stack(path, given):
    with contextlib.suppress(ImageError):
        return getattr(given, "pages", None) is None and files.num_pages(path) > 1
    return False


def _fail(job, error, given):
    sentence = " ".join(str(error).split()) if isinstance(error, (ValueError, OutputError)) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(OutputError):
        if "begun" in read(job.record):
            _note(job, given, "error", sentence)
    return sentence


def _note(job, given, name, value):
    content = {"task": given.task, "input": {"file": job.path.name}, name: value}
    files.write(job.record, as_file(content), force=True)
