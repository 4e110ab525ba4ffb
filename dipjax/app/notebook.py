"""What a restoration shows in a notebook while it works."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from dipjax.app import progress, streams
from dipjax.core.state import Result


@dataclass
class Shower:
    """Shows the results that it is called with, see `show`."""

    every: float
    _handle: Any = field(default=None, repr=False)
    _next: float = field(default=0.0, repr=False)

    def __call__(self, result: Result) -> None:
        """Shows one, if it is time to; that it goes on is its answer."""
        now = time.perf_counter()
        if not result.num_steps or now < self._next:
            return
        self._next = now + self.every
        if not _is_notebook():
            streams.tell(progress.told(result))
        elif self._handle is None:
            from IPython.display import display

            self._handle = display(result, display_id=True)
        else:
            self._handle.update(result)


def show(*, every: float = 1.0) -> Shower:
    """Returns a callback that draws the picture so far in a notebook, and elsewhere tells in a line how far it is.

    In Jupyter and Colab one output is drawn anew: the mean over seeds, the steps, the loss. Without a notebook a line goes to stderr.

    Args:
      every: seconds from one picture to the next, at least; each takes some kilobytes of the notebook while it is the latest.

    Raises:
      ValueError: `every` is no positive number.

    Examples:
      >>> restored = dipjax.denoise(noisy, callback=dipjax.show())  # doctest: +SKIP
    """
    if not (isinstance(every, (int, float)) and every > 0):
        raise ValueError(f"every: found {every!r}, expected a positive number of seconds.")
    return Shower(every)


def _is_notebook():
    """Says whether whoever is asked to display something can draw; IPython in a terminal cannot."""
    ipython = sys.modules.get("IPython")  # where nobody has loaded it, there is no notebook
    shell = ipython and ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
