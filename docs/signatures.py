"""Shows the functions for pictures as `help` does: what a task is written as is not what is called."""

import importlib
import inspect

import griffe

WHERE = "dipjax.tasks.tasks"


class Signatures(griffe.Extension):
    """Takes signature and docstring of a task from the function itself, which has all `Options` too."""

    def on_function(self, *, func, **_):
        """Replaces what was read in the source of a task."""
        made = getattr(importlib.import_module(WHERE), func.name, None) if func.parent.path == WHERE else None
        if made is None or func.name.startswith("_"):
            return
        func.parameters = griffe.Parameters(
            *(
                griffe.Parameter(
                    one.name,
                    kind=getattr(griffe.ParameterKind, one.kind.name.lower()),
                    annotation=inspect.formatannotation(one.annotation),
                    default=None if one.default is one.empty else repr(one.default),
                )
                for one in inspect.signature(made).parameters.values()
            )
        )
        func.returns = None
        func.docstring.value = inspect.getdoc(made)
