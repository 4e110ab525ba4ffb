"""Settings as JSON and back: a dataclass by its name and fields, a function by its name.

Reading builds parts of dipjax and finds functions of JAX and Flax, nothing else: a record from a stranger runs no code of theirs.
"""

import dataclasses
import importlib
import inspect
import json
import math
from typing import Any

import numpy as np

# Where functions are looked for by their public name. Their own `__module__` is private in JAX, and moves.
_PUBLIC = ("jax.nn", "jax.nn.initializers", "flax.linen", "jax.numpy")
_READABLE = "dipjax"
_ADDED_BY_FLAX = {"parent", "name"}


def dumps(value: Any) -> str:
    """Returns a setting as JSON text."""
    return json.dumps(encode(value), indent=2, allow_nan=False)


def loads(text: str) -> Any:
    """Returns the setting that `dumps` wrote.

    Raises:
      ValueError: the text is not JSON, or holds what this version does not know or does not build from a file.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"record: found text that is not JSON ({error}), expected what `to_json` writes.") from error
    return decode(content)


def encode(value: Any) -> Any:
    """Returns a setting as JSON has it; what cannot be read back is named under "own"."""
    if isinstance(value, (bool, int, str, type(None))):
        return value
    if isinstance(value, (float, np.floating, np.integer)):
        number = value.item() if isinstance(value, np.generic) else value
        return number if math.isfinite(number) else {"number": str(number)}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return [encode(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": _name(type(value))} | {name: encode(getattr(value, name)) for name in _fields(type(value))}
    if callable(value) and (name := _function_name(value)):
        return {"function": name}
    return {"own": _name(value if hasattr(value, "__qualname__") else type(value))}


def decode(content: Any, place: str = "recipe") -> Any:
    """Returns the setting of its JSON; `place` says where in the whole, for error messages."""
    if isinstance(content, list):
        return tuple(decode(item, f"{place}[{i}]") for i, item in enumerate(content))
    if not isinstance(content, dict):
        return content
    if set(content) == {"number"}:
        return float(content["number"])
    if set(content) == {"function"}:
        return _found(content["function"], place, (*_PUBLIC, _READABLE))
    if "own" in content:
        raise ValueError(f"{place}: found {content['own']!r}, a part made by the user, expected one of dipjax; pass it from Python.")
    if "type" not in content:
        raise ValueError(f"{place}: found an object without a type, expected what `to_json` writes.")
    kind = _found(content["type"], place, (_READABLE,))
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"{place}: found {content['type']!r}, expected the name of a setting.")
    names = _fields(kind)
    if unknown := [name for name in content if name != "type" and name not in names]:
        raise ValueError(f"{place}: found {unknown[0]!r}, expected only {', '.join(names)} of {kind.__name__}; is the record newer?")
    try:
        return kind(**{name: decode(content[name], f"{place}.{name}") for name in names if name in content})
    except TypeError as error:
        raise ValueError(f"{place}: found a record of {kind.__name__} that is not complete ({error}).") from error


def _fields(kind):
    ours = _ADDED_BY_FLAX if hasattr(kind, "apply") else set()
    return [field.name for field in dataclasses.fields(kind) if field.init and field.name not in ours]


def _name(thing):
    return f"{thing.__module__}:{thing.__qualname__}"


def _function_name(function):
    """Returns the name under which a function is found again, None if there is none."""
    short = getattr(function, "__name__", None) or getattr(inspect.unwrap(function), "__name__", None)
    for module in _PUBLIC:
        if short and getattr(importlib.import_module(module), short, None) is function:
            return f"{module}:{short}"
    name = _name(function) if hasattr(function, "__qualname__") else ""
    return name if name.startswith(f"{_READABLE}.") and "<" not in name else None


def _found(name, place, packages):
    """Returns what `name`, a "module:qualname" of one of the packages, names."""
    module, _, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not path or not any(module == package or module.startswith(f"{package}.") for package in packages):
        raise ValueError(f"{place}: found {name!r}, a part made by the user, expected one of dipjax; pass it from Python.")
    try:
        thing = importlib.import_module(module)
        for part in path.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{place}: found {name!r}, which this version of dipjax does not have.") from error
    return thing
