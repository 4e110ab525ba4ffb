"""What docstrings say is so: their examples run, and every public name explains what it is given."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dipjax

NAMES = {"dipjax": dipjax, "jax": jax, "jnp": jnp, "np": np}  # what every example may use
PARTS = [info.name for info in pkgutil.iter_modules(dipjax.__path__) if info.name != "__main__"]


def modules(part):
    """Yields a module of dipjax, and if it is a package those in it."""
    module = importlib.import_module(f"dipjax.{part}")
    yield module
    for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
        yield importlib.import_module(info.name)


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("part", PARTS)  # those of a package together, because they share compiled programs
def test_the_examples_of_docstrings_run(part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finder, runner, said = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE), []
    for module in modules(part):
        for example in finder.find(module, module.__name__, globs=NAMES):
            runner.run(example, out=said.append)
    assert not said, "".join(said)


def public():
    """Returns the functions and classes of `dipjax.__all__`, and those of the modules in it, each with the module that offers it."""
    found, waiting = {}, [dipjax]
    for module in waiting:
        for name in getattr(module, "__all__", None) or vars(module):
            thing = getattr(module, name)
            if inspect.ismodule(thing) and hasattr(module, "__all__"):
                waiting += [thing] if thing not in waiting else []
            elif hasattr(module, "__all__") or (not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__):
                found |= {thing: module} if inspect.isclass(thing) or inspect.isroutine(thing) else {}
    return found


PUBLIC = public()
BY_THE_TASKS = {dipjax.Options}  # is explained: each task lists the `Argument` of every field


def given(thing):
    """Returns the names of what a function takes, or of the fields of a record."""
    if dataclasses.is_dataclass(thing):
        added = {"parent", "name"} if hasattr(thing, "init_with_output") else set()  # by Flax
        return {field.name for field in dataclasses.fields(thing)} - added
    return set(getattr(thing, "_fields", ())) if inspect.isclass(thing) else set(inspect.signature(thing).parameters)


def explained(thing):
    """Returns the names under `Attributes:`; of a function all words, and those of its module, which may say it once for all."""
    if inspect.isclass(thing):
        return set(re.findall(r"^ +(\w+): \S", inspect.getdoc(thing).partition("\nAttributes:\n")[2], re.MULTILINE))
    return set(re.findall(r"\w+", f"{inspect.getdoc(thing)} {PUBLIC[thing].__doc__}"))


def test_a_public_name_explains_all_that_it_is_given():
    lacking = {thing.__qualname__: given(thing) - explained(thing) for thing in PUBLIC if thing not in BY_THE_TASKS}
    assert not {name: left for name, left in lacking.items() if left}
    assert {dipjax.denoise, dipjax.Recipe, dipjax.generators.Skip, dipjax.paper.library, dipjax.files.load} < set(PUBLIC)


def test_a_public_name_is_shown_at_work():
    def examples(thing):
        places = {PUBLIC[thing], importlib.import_module(thing.__module__)} - {dipjax}
        return [thing.__doc__, *(place.__doc__ for place in places)]

    assert not [thing.__qualname__ for thing in set(PUBLIC) - BY_THE_TASKS if not any(">>> " in (text or "") for text in examples(thing))]
