"""A result that cannot be written where it was to go is written elsewhere: hours of work must not be lost because a disk is full."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from dipjax.files import OutputError


def written(output: Path, save: Callable[[Path], None]) -> None:
    """Calls `save(output)`; where that fails, `save` with a path in a temporary folder.

    Raises:
      OutputError: it failed; the sentence says where the result is instead, if it is.
    """
    try:
        save(output)
    except OutputError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="dipjax-")) / output.name
        try:
            save(elsewhere)
        except OutputError:
            raise error from None
        raise OutputError(f"{error}; the result is in {str(elsewhere)!r} instead") from error
