"""Settings as JSON and back: a dataclass by its name and fields, a function by its name.

Reading builds the settings of dipjax and finds functions of it, of JAX and of Flax, by the names they are defined or offered under, and
nothing else: a record from a stranger runs no code of theirs.
"""

import dataclasses
import importlib
import inspect
import json
import math
import platform
import types
from collections.abc import Callable
from importlib import metadata
from typing import Any, Union, get_args, get_origin

import numpy as np

# Where functions are looked for by their public name. Their own `__module__` is private in JAX, and moves.
_PUBLIC = ("jax.nn", "jax.nn.initializers", "flax.linen", "jax.numpy")
_OWN = ("dipjax.core", "dipjax.fitting", "dipjax.generators", "dipjax.operators", "dipjax.recipes", "dipjax.stopping")
_ADDED_BY_FLAX = {"parent", "name"}


def made_with() -> dict[str, dict[str, Any]]:
    """Returns the device and the versions, as records and checkpoints name them."""
    import jax  # late: nothing else here needs it

    device = jax.devices()[0]
    names = ("dipjax", "jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in names},
    }


def dumps(value: Any) -> str:
    """Returns a setting as JSON text."""
    return json.dumps(encode(value), indent=2, allow_nan=False)


def as_file(content: Any) -> bytes:
    """Returns the file of a record, or of whatever else JSON can hold; a number that is not finite is null in it."""
    return (json.dumps(finite(content), indent=2, allow_nan=False) + "\n").encode()


def finite(content: Any) -> Any:
    """Returns the same with None for every number that is not finite."""
    if isinstance(content, dict):
        return {name: finite(item) for name, item in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def loads(text: str) -> Any:
    """Returns the setting that `dumps` wrote.

    Raises:
      ValueError: the text is not JSON, or holds what this version does not know or does not build from a file.
    """
    try:
        content = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"record: found text that is not JSON ({error}), expected what `to_json` writes.") from error
    try:
        return decode(content)
    except RecursionError as error:
        raise ValueError("record: found hundreds of parts inside one another, expected what `to_json` writes.") from error


def encode(value: Any, *, keep_own: bool = False) -> Any:
    """Returns a setting as JSON has it; what cannot be read back is named under "own", or kept as it is."""
    if isinstance(value, (bool, int, str, type(None))):
        return value
    if isinstance(value, (float, np.floating, np.integer, np.bool_)):
        number = value.item() if isinstance(value, np.generic) else value
        return number if math.isfinite(number) else {"number": str(number)}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return [encode(item, keep_own=keep_own) for item in value]
    is_setting = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if is_setting and (_is_of(type(value).__module__, _OWN) or not keep_own):
        fields = {name: encode(getattr(value, name), keep_own=keep_own) for name in _fields(type(value))}
        return {"type": _name(type(value))} | fields
    if callable(value) and (name := _function_name(value)):
        return {"function": name}
    return value if keep_own else {"own": _name(value if hasattr(value, "__qualname__") else type(value))}


def decode(content: Any, place: str = "recipe") -> Any:
    """Returns the setting of its JSON; `place` says where in the whole, for error messages."""
    if isinstance(content, list):
        return tuple(decode(item, f"{place}[{i}]") for i, item in enumerate(content))
    if not isinstance(content, dict):
        return content
    if set(content) == {"number"}:
        if content["number"] not in ("inf", "-inf", "nan"):
            raise ValueError(f"{place}: found the number {content['number']!r}, expected inf, -inf or nan.")
        return float(content["number"])
    if set(content) == {"function"}:
        return _found(content["function"], place, (*_PUBLIC, *_OWN))
    if "own" in content:
        raise ValueError(f"{place}: found {content['own']!r}, a part made by the user, expected one of dipjax; pass it from Python.")
    if "type" not in content:
        raise ValueError(f"{place}: found an object without a type, expected what `to_json` writes.")
    kind = _found(content["type"], place, _OWN)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"{place}: found {content['type']!r}, expected the name of a setting.")
    kinds = _fields(kind)
    names = list(kinds)
    if unknown := [name for name in content if name != "type" and name not in names]:
        raise ValueError(f"{place}: found {unknown[0]!r}, expected only {', '.join(names)} of {kind.__name__}; is the record newer?")
    values = {name: decode(content[name], f"{place}.{name}") for name in names if name in content}
    for name, value in values.items():
        if not _agrees(value, kinds[name]):
            raise ValueError(f"{place}.{name}: found {value!r}, expected {_described(kinds[name])}.")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{place}: found a record of {kind.__name__} that is not complete ({error}).") from error


def _fields(kind):
    """Returns the types of the fields of a dataclass, by name."""
    others = _ADDED_BY_FLAX if hasattr(kind, "apply") else set()
    return {field.name: field.type for field in dataclasses.fields(kind) if field.init and field.name not in others}


def _agrees(value, kind):
    """Says whether a value is of the type that a field is annotated with, as far as such annotations go here."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return any(_agrees(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and all(_agrees(item, parts[0]) for item in value)
    if Callable in {kind, origin}:
        return callable(value)
    if kind is Any:
        return True
    if kind in {int, float}:
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _described(kind):
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("collections.abc.", "")


def _name(thing):
    return f"{thing.__module__}:{thing.__qualname__}"


def _function_name(function):
    """Returns the name under which a function is found again, None if there is none."""
    short = getattr(function, "__name__", None) or getattr(inspect.unwrap(function), "__name__", None)
    for module in _PUBLIC:
        if short and getattr(importlib.import_module(module), short, None) is function:
            return f"{module}:{short}"
    name = _name(function) if hasattr(function, "__qualname__") else ""
    return name if _is_of(name.partition(":")[0], _OWN) and "<" not in name else None


def _found(name, place, packages):
    """Returns what `name`, a "module:qualname" of one of the packages, names."""
    module, _, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not path or not _is_of(module, packages):
        raise ValueError(f"{place}: found {name!r}, a part made by the user, expected one of dipjax; pass it from Python.")
    is_own = _is_of(module, _OWN)
    try:
        thing = importlib.import_module(module)
        for part in path.split(".") if is_own else [path]:
            thing = getattr(thing, part)
            # What a module has merely imported, such as another module, is not its to give.
            if not callable(thing) or (is_own and getattr(thing, "__module__", None) != module):
                raise AttributeError(part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{place}: found {name!r}, which this version of dipjax does not have.") from error
    return thing


def _is_of(module, packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)
