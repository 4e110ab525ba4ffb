"""Generators by name, with their options as text: what the command line's `--generator` and `--option` mean.

To offer one more generator, add a line to `GENERATORS`; to offer one more function as an option, a line to `_FUNCTIONS`.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax

from dipjax import generators
from dipjax.generators import blocks, siren

# Each takes the channels of the image, and its options as keywords.
GENERATORS = {
    "skip": generators.Skip,
    "encoder-decoder": partial(
        generators.Skip,
        down=(16, 32, 64),
        up=(16, 32, 64),
        skip=(0, 0, 0),
        kernel_down=5,
        kernel_up=5,
        upsample=blocks.nearest,
        use_1x1=False,
    ),
    "unet": generators.UNet,
    "resnet": generators.ResNet,
    "texture-net": generators.TextureNet,
    "dcgan": generators.DCGAN,
    "plain": generators.Plain,
    "deep-decoder": generators.DeepDecoder,
    "conv-decoder": generators.ConvDecoder,
    "positional": generators.Positional,
    "siren": generators.Siren,
}

_DEPTHS = {"num_doublings", "num_levels", "more_layers"}  # each of which halves or doubles the image

_FUNCTIONS = {
    "upsample": {"nearest": blocks.nearest, "bilinear": blocks.bilinear, "bilinear_aligned": blocks.bilinear_aligned, "transposed": None},
    "pool": {
        "stride": None,
        "average": blocks.average_pool,
        "max": blocks.max_pool,
        "lanczos2": blocks.lanczos2_pool,
        "lanczos3": blocks.lanczos3_pool,
    },
    "activation": {
        "leaky_relu": blocks.leaky_relu,
        "relu": jax.nn.relu,
        "swish": jax.nn.swish,
        "elu": jax.nn.elu,
        "gelu": jax.nn.gelu,
        "tanh": jax.nn.tanh,
        "none": blocks.identity,
    },
    "output": {"sigmoid": jax.nn.sigmoid, "none": blocks.identity, "signed": siren.from_signed},
    "scale_init": {"ones": jax.nn.initializers.ones, "uniform": blocks.uniform_scale},
    "padding": {name: name for name in ("reflect", "zero", "edge")},
}


def make(name: str, channels: int, options: Sequence[str] = ()) -> Any:
    """Returns a generator.

    Args:
      name: one of `GENERATORS`.
      channels: those of the image.
      options: each "NAME=VALUE"; several values, one per level, are separated by commas.

    Raises:
      ValueError: an option does not exist or its value cannot be read.

    Example:
      >>> dipjax.named.make("skip", 3, ["down=16,32,64", "up=16,32,64", "skip=4,4,4", "upsample=nearest"])  # doctest: +SKIP
    """
    defaults, chosen = option_defaults(name), {}
    for option in options:
        key, separator, text = option.partition("=")
        if not separator or key not in defaults:
            known = ", ".join(f"{key}={value}" for key, value in described(name).items())
            raise ValueError(f"option of {name}: found {option!r}, expected NAME=VALUE with one of these (and their defaults): {known}")
        chosen[key] = _read(name, key, text, defaults[key])
    return GENERATORS[name](channels, **chosen)


def option_defaults(name: str) -> dict[str, Any]:
    """Returns the options of a generator and their values if nothing is said."""
    instance = GENERATORS[name](3)
    return {key: getattr(instance, key) for key in _fields(instance)}


def described(name: str) -> dict[str, str]:
    """Returns the options of a generator and their defaults as they would be written on the command line."""
    return {key: _write(key, value) for key, value in option_defaults(name).items()}


def _fields(generator):
    """Returns the fields that are options: all but the channels, and what Flax adds."""
    return {field.name: field for field in dataclasses.fields(generator) if field.name not in {"channels", "parent", "name"}}


def _read(name, key, text, default):
    items = [item.strip() for item in text.split(",")]
    if len(items) > 1 and "tuple" not in str(_fields(GENERATORS[name](3))[key].type):
        raise ValueError(f"option {key} of {name}: found {text!r}, expected a single value")
    per_level = isinstance(default, tuple)
    values = tuple(_read_one(name, key, item, default[0] if per_level else default) for item in items)
    return values if per_level or len(values) > 1 else values[0]


def _read_one(name, key, text, default):
    functions = _FUNCTIONS.get(key)
    if functions and default is not None:  # None stands for something only where it is the default
        functions = {word: function for word, function in functions.items() if function is not None}
    if functions is None and isinstance(default, bool):
        functions = {"true": True, "false": False}
    if functions is not None:
        if text not in functions:
            raise ValueError(f"option {key} of {name}: found {text!r}, expected one of {', '.join(functions)}")
        return functions[text]
    try:
        value = type(default)(text)
    except ValueError:
        value = -1
    least, most = (0 if key in {"skip", "more_layers"} else 1), (10 if key in _DEPTHS else 10_000)
    if not least <= value <= most:
        raise ValueError(f"option {key} of {name}: found {text!r}, expected a {type(default).__name__} from {least} to {most}")
    return value


def _write(key, value):
    if isinstance(value, tuple):
        return ",".join(_write(key, item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return next((name for name, function in _FUNCTIONS.get(key, {}).items() if function is value), None) or f"{value:g}"
