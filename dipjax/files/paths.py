"""Names of outputs, and writing them: complete or not at all.

A file is written under a temporary name beside its place and then put there in one step. The temporary name says which process of which
machine made it, so that `sweep` can remove what a killed process has left. A symbolic link with the name of the output is replaced
itself: what it points to is never touched. A file that is replaced hands its permissions on.
"""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from dipjax.files.opening import ONLY_READ, SUFFIXES, named, sniff
from dipjax.files.picture import ImageError, OutputError, words

_TEMPORARY = re.compile(r"\.dipjax-(?:([0-9a-f]{8})-([0-9]+)-)?[0-9a-f]{16}\.tmp")
_LONG_AGO = 24 * 3600.0  # seconds: no picture takes that long to write
_EXISTS = "it already exists; use --force to replace it"


def default_output(path: str | os.PathLike, word: str) -> Path:
    """Names the output beside its input: 'photo.png' and 'denoised' make 'photo.denoised.png'.

    Args:
        path: the input file.
        word: what was done to it.

    Returns:
        A path with the suffix of the input, or one of its real format where the suffix says something else.

    Raises:
        ImageError: the path is no name of a file.
    """
    path = named(path, ImageError)
    meant, found = SUFFIXES.get(path.suffix.lower()), None
    with contextlib.suppress(OSError), path.open("rb") as file:
        found = sniff(file)
    if meant and found in (None, meant) and meant not in ONLY_READ:
        return path.with_name(f"{path.stem}.{word}{path.suffix}")
    suffix = next((suffix for suffix, kind in SUFFIXES.items() if kind == found and kind not in ONLY_READ), ".png")
    return path.with_name(f"{path.stem}.{word}{suffix}")


def check_free(path: str | os.PathLike, *, force: bool = False) -> None:
    """Raises what `write` would raise, as far as it can be known without touching the disk.

    Args:
        path: the output file.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    path = named(path, OutputError)
    with writing(path):
        there = _status(path)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise OutputError("it is a directory; give the name of a file")
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise OutputError("it is not a regular file; give another name")
        if not force and os.path.lexists(path):
            raise OutputError(_EXISTS)
        parent = _status(path.parent)
        if parent is None or not stat.S_ISDIR(parent.st_mode):
            raise OutputError(f"there is no directory {str(path.parent)!r}; make it first")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OutputError(f"you have no permission to write in {str(path.parent)!r}; choose another directory")


def write(path: str | os.PathLike, data: bytes | list, *, force: bool = False) -> None:
    """Writes a file complete or not at all.

    Args:
        path: the output file.
        data: its content, or the pieces of it.
        force: whether an existing file may be replaced; its permissions stay. A symbolic link is replaced, not what it points to.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    check_free(path, force=force)
    path = named(path, OutputError)
    sweep(path.parent)
    with writing(path):
        _put(path, [data] if isinstance(data, bytes) else data, force)


def sweep(folder: str | os.PathLike) -> None:
    """Removes temporary files of dipjax in a `folder` whose process is gone; those of other machines, if they are older than a day."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if match := _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    old = time.time() - status.st_mtime > _LONG_AGO
                    if stat.S_ISREG(status.st_mode) and (old or (match[1] == _machine() and not _alive(int(match[2])))):
                        os.unlink(entry.path)


def _machine() -> str:
    """Names the place where a process number means one process: this boot of this machine, or one container on it."""
    parts = [platform.node()]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text(), lambda: os.readlink("/proc/self/ns/pid")):
        with contextlib.suppress(OSError):
            parts.append(read())
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:8]


def _alive(process: int) -> bool:
    if os.name != "posix":  # there `os.kill` would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


def _status(path: Path) -> os.stat_result | None:
    """Returns what stands behind a name, None if nothing does."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):  # a link to itself is replaced like any link
            return None
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside, where the file `path` is written, becomes one OutputError."""
    try:
        yield
    except Exception as error:
        reason = _EXISTS if isinstance(error, FileExistsError) else error if isinstance(error, OutputError) else words(error)
        raise OutputError(f"cannot write {str(path)!r}: {reason}") from error


def _put(path: Path, pieces: list, force: bool) -> None:
    """Puts a complete file in place in one step, or leaves no trace."""
    temporary = path.with_name(f".dipjax-{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.tmp")
    replaced = _status(path) if force else None
    # What replaces a file is private until it has the permissions of that. Any other has those that the umask gives, at once.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600 if replaced else 0o666)
    try:
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            if replaced:
                _hand_on(handle, replaced)
            os.fsync(handle)
        finally:
            os.close(handle)
        if not force:
            try:
                os.link(temporary, path)  # unlike os.replace, fails if another program has just made the file
                return
            except OSError as error:  # or there are no hard links here: FAT, network drives
                if os.path.lexists(path):
                    raise FileExistsError(path) from error
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _hand_on(handle: int, replaced: os.stat_result) -> None:
    """Gives a new file the owner, where the system allows, and the permissions of the one that it replaces."""
    with contextlib.suppress(OSError, AttributeError):
        os.fchown(handle, replaced.st_uid, replaced.st_gid)
    with contextlib.suppress(OSError, AttributeError):
        os.fchmod(handle, stat.S_IMODE(replaced.st_mode) & 0o777)
