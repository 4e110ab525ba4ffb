"""Generators by name: every one exists on the command line and in the recipes, and its options are read from text and written back."""

import dataclasses

import jax
import numpy as np
import pytest

from dipjax import generators
from dipjax.app import cli
from dipjax.core import loop as train
from dipjax.generators import blocks
from dipjax.generators import registry as named
from dipjax.operators import problem as problems
from dipjax.recipes import fast as recipes


def test_the_command_line_offers_all_of_them_and_all_classes_have_a_name():
    assert list(cli.GENERATORS) == list(named.GENERATORS)
    offered = {type(named.make(name, 3)).__name__ for name in named.GENERATORS}
    assert offered == set(generators.__all__) - {"Pixels"}  # which is no network


@pytest.mark.parametrize("name", named.GENERATORS)
def test_the_options_written_out_make_the_default_again(name):
    options = [f"{key}={value}" for key, value in named.described(name).items()]
    assert options
    assert named.make(name, 2, options) == named.make(name, 2)
    assert named.make(name, 2).channels == 2


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
    assert getattr(named.make(name, 3, [option]), option.partition("=")[0]) == value


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
        named.make(name, 3, [option])


@pytest.mark.parametrize("name", named.GENERATORS)
@pytest.mark.parametrize("size", [(24, 20), (33, 47)])
def test_the_setting_of_every_generator_fits_a_picture_of_any_size(name, size):
    recipe = recipes.for_generator(named.make(name, 3))
    train.check(recipe, problems.denoising(np.zeros((*size, 3), np.float32)))
    assert recipes.for_generator(named.make(name, 3)) is recipe
    assert recipes.for_generator(named.make(name, 3), num_steps=5).num_steps == 5


def test_a_z_that_is_not_smaller_by_the_stride_of_the_generator_is_refused():
    recipe = recipes.for_generator(named.make("deep-decoder", 1))
    plain = recipes.for_generator(named.make("plain", 1))
    task = problems.denoising(np.zeros((40, 40, 1), np.float32))
    for generator, make_input in ((recipe.generator, plain.input), (plain.generator, recipe.input)):
        wrong = train.Recipe(generator, make_input, 1, recipe.optimizer)
        with pytest.raises(ValueError, match="stride"):
            train.check(wrong, task)


def test_what_exceeds_the_image_is_cropped_and_does_not_count():
    generator = generators.DCGAN(1, num_doublings=1, width=2)
    recipe = recipes.for_generator(generator, num_steps=2)
    task = problems.denoising(np.random.default_rng(0).random((5, 7, 1), np.float32))
    state = train.init(recipe, jax.random.key(0), task)
    assert state.z.shape == (3, 4, 32)
    whole = generator.apply(state.params, state.z)
    assert whole.shape == (6, 8, 1)
    _, metrics = train.train_step(dataclasses.replace(recipe, input_noise=0.0), state, task)
    np.testing.assert_allclose(metrics.loss, np.mean((np.asarray(whole)[:5, :7] - task.measurement) ** 2), rtol=1e-5)
    assert train.restore(recipe, train.seeds(0, 2), task).image.shape == (5, 7, 1)
