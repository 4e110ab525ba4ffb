"""Generators by name: how each is made, its options as text, and the setting that suits it.

What the command line's `--generator` and `--option` mean, and where `recipes.for_generator` looks. To offer one more generator, add a
row to `GENERATORS`; to offer one more function as an option, a line to `_FUNCTIONS`.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax

from dipjax import generators
from dipjax.fitting import inputs
from dipjax.generators import blocks, siren


class Row(NamedTuple):
    """One network, with the setting for noisy pictures that suits it (benchmarks/results/generators.md).

    Attributes:
      make: its class or a `partial` of it, called with the channels of the image, and the options as keywords.
      input: of the generator: the z that it wants.
      learning_rate: of Adam.
      input_noise: see `Recipe.input_noise`.
      num_steps: for 256 x 256 pixels.
    """

    make: Callable[..., Any]
    input: Callable[[Any], Callable]
    learning_rate: float = 0.01
    input_noise: float = 1 / 30
    num_steps: int = 1800


def _noise(generator):
    return inputs.Noise(32, stride=getattr(generator, "stride", 1))


def _coordinates(generator):
    del generator
    return inputs.Meshgrid()


# Where nothing else was found to be needed, the setting is that of `paper.denoising`; those of the Deep Decoder and of the positional
# encoding are their authors', that of the ConvDecoder is deepinv's.
GENERATORS: dict[str, Row] = {
    "skip": Row(generators.Skip, _noise),
    "encoder-decoder": Row(
        partial(
            generators.Skip,
            down=(16, 32, 64),
            up=(16, 32, 64),
            skip=(0, 0, 0),
            kernel_down=5,
            kernel_up=5,
            upsample=blocks.nearest,
            use_1x1=False,
        ),
        _noise,
    ),
    # As in inpainting.ipynb: its decoder has no normalisation, and where the learning rate is higher its units die.
    "unet": Row(generators.UNet, _noise, learning_rate=0.001),
    # Networks without scales see little of z around a pixel, so its jitter hides the image; without any they fit noise at once.
    "resnet": Row(generators.ResNet, _noise, input_noise=0.01, num_steps=600),
    "texture-net": Row(generators.TextureNet, _noise),
    # Jitter of a z so small would drown it: one pixel of it makes many of the image.
    "dcgan": Row(generators.DCGAN, _noise, input_noise=0.0, num_steps=500),
    "plain": Row(generators.Plain, _noise, input_noise=0.02, num_steps=1000),
    "deep-decoder": Row(
        generators.DeepDecoder,
        lambda generator: inputs.Noise(generator.width, stride=generator.stride),
        input_noise=0.0,
        num_steps=1900,
    ),
    "conv-decoder": Row(
        generators.ConvDecoder,
        lambda generator: inputs.Normal(generator.width, scale=1.0, stride=generator.stride),
        input_noise=0.0,
        num_steps=2500,
    ),
    "positional": Row(generators.Positional, _coordinates, input_noise=0.0),
    # Ten times the authors' learning rate and few steps: it fits noise soon.
    "siren": Row(generators.Siren, _coordinates, learning_rate=0.001, input_noise=0.0, num_steps=120),
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


def row_of(generator: Any) -> Row:
    """Returns the row of a generator's kind: the first of its class; of what a wrapper holds; that of `Skip` if there is none."""
    kinds = {getattr(row.make, "func", row.make): row for row in reversed(GENERATORS.values())}
    if type(generator) not in kinds and hasattr(generator, "generator"):
        inner = row_of(generator.generator)
        return inner._replace(input=lambda wrapper: inner.input(wrapper.generator))
    return kinds.get(type(generator), GENERATORS["skip"])


def make(name: str, channels: int, options: Sequence[str] = ()) -> Any:
    """Returns a generator.

    Args:
      name: one of `GENERATORS`.
      channels: those of the image.
      options: each "NAME=VALUE"; several values, one per level, are separated by commas.

    Raises:
      ValueError: there is no such generator, it has no such option, or the value cannot be read.

    Examples:
      >>> from dipjax.generators import registry
      >>> registry.make("skip", 3, ["down=16,32", "up=16,32", "skip=4,4", "upsample=nearest"]).down
      (16, 32)
    """
    parameters, chosen = _parameters(name), {}
    for option in options:
        key, separator, text = option.partition("=")
        if not separator or key not in parameters:
            known = ", ".join(f"{key}={value}" for key, value in described(name).items())
            raise ValueError(f"option of {name}: found {option!r}, expected NAME=VALUE with one of these (and their defaults): {known}")
        chosen[key] = _read(name, parameters[key], text)
    return GENERATORS[name].make(channels, **chosen)


def option_defaults(name: str) -> dict[str, Any]:
    """Returns the options of a generator and their values if nothing is said."""
    return {key: parameter.default for key, parameter in _parameters(name).items()}


def described(name: str) -> dict[str, str]:
    """Returns the options of a generator and their defaults as they would be written on the command line."""
    return {key: _write(key, value) for key, value in option_defaults(name).items()}


def _parameters(name):
    """Returns the parameters that are options: all but the first, the channels, and what Flax adds."""
    if name not in GENERATORS:
        raise ValueError(f"generator: found {name!r}, expected one of {', '.join(GENERATORS)}.")
    _, *parameters = inspect.signature(GENERATORS[name].make).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.name not in {"parent", "name"}}


def _read(name, parameter, text):
    key, default = parameter.name, parameter.default
    items = [item.strip() for item in text.split(",")]
    if len(items) > 1 and "tuple" not in str(parameter.annotation):
        raise ValueError(f"option {key} of {name}: found {text!r}, expected a single value")
    per_level = isinstance(default, tuple)
    values = tuple(_read_one(name, key, item, default[0] if per_level else default) for item in items)
    return values if per_level or len(values) > 1 else values[0]


def _read_one(name, key, text, default):
    words = _FUNCTIONS.get(key)
    if words and default is not None:  # None stands for something only where it is the default
        words = {word: function for word, function in words.items() if function is not None}
    if words is None and isinstance(default, bool):
        words = {"true": True, "false": False}
    if words is not None:
        if text not in words:
            raise ValueError(f"option {key} of {name}: found {text!r}, expected one of {', '.join(words)}")
        return words[text]
    if not isinstance(default, (int, float)):
        raise ValueError(f"option {key} of {name}: found {text!r}, expected nothing: it can only be given from Python")
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
    word = next((word for word, function in _FUNCTIONS.get(key, {}).items() if function is value), None)
    return word or (f"{value:g}" if isinstance(value, (int, float)) else str(value))
