"""Generators by name: their options are read from text and written back, and each has the setting that suits it."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dipjax import generators
from dipjax.fitting import inputs
from dipjax.generators import blocks, registry


def test_all_networks_have_a_name():
    offered = {type(registry.make(name, 3)).__name__ for name in registry.GENERATORS}
    assert offered == set(generators.__all__) - {"Pixels", "Perturbed", "WithPsf"}  # which are no networks of their own


@pytest.mark.parametrize("name", registry.GENERATORS)
def test_the_options_written_out_make_the_default_again(name):
    options = [f"{key}={value}" for key, value in registry.described(name).items()]
    assert options
    assert registry.make(name, 2, options) == registry.make(name, 2)
    assert registry.make(name, 2).channels == 2


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("skip", "down=1,2,3", (1, 2, 3)),
        ("skip", "kernel_down=7", 7),
        ("skip", "kernel_down=7, 5", (7, 5)),
        ("skip", "skip=0", (0,)),
        ("skip", "upsample=nearest,bilinear", (blocks.nearest, blocks.bilinear)),
        ("skip", "pool=stride,lanczos3", (None, blocks.lanczos3_pool)),
        ("skip", "use_1x1=false", False),
        ("unet", "upsample=bilinear", blocks.bilinear),
        ("unet", "upsample=transposed", None),
        ("unet", "more_layers=0", 0),
        ("siren", "frequency=12.5", 12.5),
        ("plain", "padding=zero", "zero"),
        ("resnet", "activation=swish", jax.nn.swish),
    ],
)
def test_an_option_is_read_from_text(name, option, value):
    assert getattr(registry.make(name, 3, [option]), option.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("skip", "depth=3"),
        ("skip", "down"),
        ("skip", "down=16,x"),
        ("skip", "down=0,4"),
        ("skip", "down=-4"),
        ("skip", "down="),
        ("skip", "upsample=transposed"),
        ("skip", "use_1x1=1"),
        ("plain", "width=16,16"),
        ("plain", "width=1.5"),
        ("siren", "frequency=nan"),
        ("siren", "frequency=inf"),
        ("unet", "padding=mirror"),
        ("unet", "channels=3"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_in_a_sentence_that_says_what_is_expected(name, option):
    with pytest.raises(ValueError, match=f"{name}: found .*expected"):
        registry.make(name, 3, [option])


@pytest.mark.parametrize("function", [registry.make, lambda name, channels: registry.described(name)])
def test_a_name_that_does_not_exist_is_refused_with_those_that_do(function):
    with pytest.raises(ValueError, match="^generator: found 'vae', expected one of skip, .*siren"):
        function("vae", 3)


@pytest.mark.parametrize("name", registry.GENERATORS)
def test_the_input_of_every_generator_fits_a_picture_of_any_size(name):
    size = (33, 47)
    generator = registry.make(name, 3)
    problem = SimpleNamespace(shape=(*size, 3), dtype=np.float32)

    def start(key):
        z = registry.row_of(generator).input(generator)(key, problem)
        return z, generator.init_with_output(key, z)[0]

    z, image = jax.eval_shape(start, jax.random.key(0))
    stride = getattr(generator, "stride", 1)
    assert z.shape[:2] == tuple(-(-side // stride) for side in size)
    assert image.shape == (*(side * stride for side in z.shape[:2]), 3)


@pytest.mark.parametrize(
    ("generator", "name"),
    [
        (generators.UNet(1), "unet"),
        (generators.Skip(1), "skip"),
        (generators.Pixels(1), "skip"),
        (SimpleNamespace(channels=1), "skip"),
        (generators.Siren(1, width=3), "siren"),
    ],
)
def test_a_generator_has_the_row_of_its_class_or_that_of_skip(generator, name):
    assert registry.row_of(generator) is registry.GENERATORS[name]


def test_a_wrapped_generator_has_the_setting_of_what_is_in_it():
    generator = generators.Perturbed(generators.Perturbed(generators.DeepDecoder(1, width=7, num_doublings=2)))
    row = registry.row_of(generator)
    assert row[2:] == registry.GENERATORS["deep-decoder"][2:]
    assert row.input(generator) == inputs.Noise(7, stride=4)


@dataclasses.dataclass(frozen=True)
class Flat:
    """One colour for all pixels: a generator as a stranger would add it."""

    channels: int
    width: int = 2
    output: Callable = blocks.identity
    table: dict | None = None
    levels: int | tuple[int, ...] = (1, 2)
    mode: str = "fast"

    def init(self, key, z):
        return {"colour": jax.random.normal(key, (self.channels,))}

    def apply(self, params, z):
        return z[..., :1] * 0 + params["colour"]


def test_a_row_is_all_that_a_new_generator_needs(monkeypatch):
    row = registry.Row(partial(Flat, width=5), lambda generator: inputs.Noise(generator.width), num_steps=7)
    monkeypatch.setitem(registry.GENERATORS, "flat", row)
    assert registry.make("flat", 2, ["output=sigmoid", "levels=3"]) == Flat(2, 5, jax.nn.sigmoid, levels=(3,))
    assert registry.described("flat") == {"width": "5", "output": "none", "table": "None", "levels": "1,2", "mode": "fast"}
    assert registry.row_of(Flat(1)) is row
    for option in ("table=3", "mode=slow"):
        with pytest.raises(ValueError, match="flat: found .*from Python"):
            registry.make("flat", 2, [option])


def test_options_are_read_without_making_a_generator(monkeypatch):
    def never(*arguments, **options):
        raise AssertionError

    never.__signature__ = inspect.signature(Flat)
    monkeypatch.setitem(registry.GENERATORS, "never", registry.Row(never, inputs.Noise))
    assert registry.option_defaults("never")["width"] == 2
    with pytest.raises(ValueError, match="never: found"):
        registry.make("never", 2, ["width=0"])
