"""What a folder of checkpoints knows of its command: what was asked for, which files it has begun to write, how it ended.

So `dipjax resume DIR` can run the command again, and a run that was killed while it wrote may replace what it wrote itself.
"""

import contextlib
import json
import os
import shlex
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipjax import files
from dipjax.app.streams import say
from dipjax.files import ImageError
from dipjax.record import as_file

SCHEMA = 1
COMPLETE = ("done", "stopped")  # endings after which nothing is left to do
_NAME = "command.json"


@dataclass(frozen=True)
class Journal:
    """The journal of one folder; it is written anew each time, complete or not at all."""

    path: Path
    content: dict[str, Any]
    is_new: bool = False  # whether there was none in the folder

    @classmethod
    def of(cls, given: Namespace, folder: str | os.PathLike, *, only: bool = False, alike: str | None = None) -> "Journal":
        """Returns the journal of a command that begins, or goes on; nothing is written yet.

        With `only`, the folder may not be that of another command, but for one that is `alike`; what that has begun to write does not
        become of this one.

        Raises:
          ImageError: the one in the folder cannot be read, or is of another command.
        """
        path = Path(folder).absolute() / _NAME
        before = _read(path) if path.exists() else {}
        is_other = bool(before) and before["arguments"] != given.arguments and not getattr(given, "resumed", False)
        if only and is_other and before["arguments"][:1] != [alike]:
            theirs = shlex.join(["dipjax", *before["arguments"]])
            raise ImageError(f"the checkpoints in {str(folder)!r} are of another command, {theirs}; take another folder")
        asked = {"schema": SCHEMA, "arguments": given.arguments, "folder": os.getcwd()}
        return cls(path, {"begun": [] if is_other else before.get("begun", []), "ending": None} | asked, not before)

    def begins(self) -> "Journal":
        """Writes it for the first time."""
        return self._written()

    def withdrawn(self) -> None:
        """Removes it, if it is new: of a command that was refused nothing stays."""
        if self.is_new:
            self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there is more in it
                self.path.parent.rmdir()

    def opened(self, results: Iterator) -> Iterator:
        """Passes results on, and writes the journal: at once in a new folder, else with the first result, which says that it is the same
        work: what another command left is not touched."""
        if not self.path.exists():
            self._written()
        yield next(results)
        self._written()
        yield from results

    def begun(self, outputs: list[Path]) -> bool:
        """Says whether all of these files that exist are of this run, which may so replace them."""
        there = {str(path.absolute()) for path in outputs if os.path.lexists(path)}
        return bool(there) and there <= set(self.content["begun"])

    def writes(self, outputs: list[Path]) -> "Journal":
        """Notes that these files are being written; what lies there of somebody else does not become of this run."""
        free = (str(path.absolute()) for path in outputs if not os.path.lexists(path))
        names = dict.fromkeys([*self.content["begun"], *free])
        return Journal(self.path, self.content | {"begun": list(names)})._written()

    def ended(self, ending: str) -> "Journal":
        """Notes how it ended."""
        return Journal(self.path, self.content | {"ending": ending})._written()

    def _written(self):
        with files.writing(self.path.parent):
            self.path.parent.mkdir(exist_ok=True)
        files.write(self.path, as_file(self.content), force=True)
        return self


def again(folder: str, num_steps: int | None, parse: Callable[[list[str]], Namespace]) -> Namespace | None:
    """Returns the command of a folder of checkpoints, to be run again where it was given; None where nothing is left to do.

    Raises:
      ImageError: there is none.
    """
    path = Path(folder).absolute()
    if not (path / _NAME).exists():
        raise ImageError(f"there is no run to resume in {folder!r}; expected a folder that a command was given as --checkpoint")
    content = _read(path / _NAME)
    if content["ending"] in COMPLETE and num_steps is None:
        say(f"nothing is left to do{', wrote ' * bool(content['begun'])}{', '.join(content['begun'])}")
        return None
    try:
        os.chdir(content["folder"])
    except OSError as error:
        raise ImageError(f"cannot resume in {content['folder']!r}: {error.strerror}; the command was given there") from error
    more = [] if num_steps is None else ["--steps", str(num_steps)]
    words = content["arguments"]
    end = words.index("--") if "--" in words else len(words)  # behind it there are only names
    given = parse([*words[:end], *more, "--checkpoint", str(path), *words[end:]])
    given.arguments, given.resumed = [*words[:end], *more, *words[end:]], True
    return given


def _read(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, texts = content["schema"], [*content["arguments"], *content["begun"], content["folder"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ImageError(f"cannot read {str(path)!r}: it is damaged, or not of dipjax") from error
    if schema != SCHEMA:
        raise ImageError(f"cannot read {str(path)!r}: its schema is {schema}, expected {SCHEMA}; another version of dipjax wrote it")
    if not all(isinstance(text, str) for text in texts):
        raise ImageError(f"cannot read {str(path)!r}: it is damaged, or not of dipjax")
    return content
