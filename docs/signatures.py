"""Shows the functions for pictures with their own arguments; what all of them take is shown once, at `Options`."""

import importlib
import inspect

import griffe

TASKS, OPTIONS = "dipjax.tasks.tasks", "dipjax.tasks.options"


def options():
    """Returns how each option is explained, by its name."""
    return {name: argument.help for name, argument in importlib.import_module(OPTIONS).arguments().items()}


class Signatures(griffe.Extension):
    """Takes signature and docstring of a task from the function itself, and those of `Options` from its fields."""

    def on_function(self, *, func, **_):
        """Replaces what was read in the source of a task, and leaves out the options."""
        made = getattr(importlib.import_module(TASKS), func.name, None) if func.parent.path == TASKS else None
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
                if one.name not in options()
            ),
            griffe.Parameter("options", kind=griffe.ParameterKind.var_keyword, annotation="Options"),
        )
        func.returns = "numpy.ndarray"
        lines = inspect.getdoc(made).splitlines()
        func.docstring.value = "\n".join(line for line in lines if line.strip().partition(":")[0] not in options())

    def on_class_members(self, *, cls, **_):
        """Explains the fields of `Options` and shows their defaults."""
        if cls.path != f"{OPTIONS}.Options":
            return
        fields = importlib.import_module(OPTIONS).Options.__dataclass_fields__
        for name, field in fields.items():
            cls.members[name].value = repr(field.default)
        explained = "".join(f"  {name}: {words}.\n" for name, words in options().items())
        cls.docstring.value += f"\n\nArgs:\n{explained}"
