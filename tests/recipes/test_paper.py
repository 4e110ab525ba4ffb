"""The official settings hold the official networks and fit their tasks; sizes from the reference's table of parameter counts."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax.core import check, drive, loop
from dipjax.core import problem as problems
from dipjax.fitting import losses, optimizers, penalties
from dipjax.generators import Pixels, blocks
from dipjax.operators import problem
from dipjax.recipes import Setting, choose, fast, paper
from tests.conftest import picture

# Setting: parameters, input channels, steps, jitter.
TABLE = {
    paper.denoising: (2_217_831, 32, 3000, 1 / 30),
    paper.denoising_50: (2_217_831, 32, 3000, 1 / 20),
    paper.langevin: (2_217_831, 32, 20_000, 1 / 30),
    paper.dejpeg: (572_827, 3, 2400, 1 / 30),
    paper.super_resolution: (2_217_831, 32, 2000, 0.03),
    paper.super_resolution_8: (2_217_831, 32, 4000, 0.05),
    paper.prior_effect: (2_184_307, 3, 2000, 1 / 30),
    paper.no_prior: (32 * 64 * 3, 3, 2000, 0.0),
    paper.total_variation: (32 * 64 * 3, 3, 2000, 0.0),
    paper.region_inpainting: (2_157_955, 2, 5001, 0.03),
    paper.inpainting: (3_002_627, 32, 6001, 0.03),
    paper.library: (2_996_467, 1, 3001, 0.0),
    paper.library_unet: (1_616_315, 1, 3001, 0.0),
    paper.library_resnet: (158_979, 1, 3001, 0.0),
    paper.restoration_98: (1_027_379, 32, 1000, 0.0),
    paper.flash: (2_184_307, 3, 601, 0.0),
    paper.feature_inversion: (2_606_763, 32, 3100, 0.0),
    paper.activation_maximisation: (2_948_567, 32, 3100, 0.03),
}


def state_of(setting, task):
    return jax.eval_shape(lambda key: loop.init(setting.recipe, key, task), jax.random.key(0))


def fits(setting, task):
    check.fits(setting.recipe, task, problems.spread(task, None))


def restore(setting, num_seeds, task, num_steps):
    return drive.restore(setting.recipe, drive.seeds(0, num_seeds), task, num_steps=num_steps)


def num_parameters(state):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.__name__)
@pytest.mark.slow
def test_a_setting_is_the_official_one(setting):
    size, depth, num_steps, input_noise = TABLE[setting]
    made, task = setting(3), problem.flash(picture(32, 64, 3), picture(32, 64, 3))
    fits(made, task)
    state = state_of(made, task)
    assert (num_parameters(state), state.z.shape[-1], made.num_steps, made.recipe.input_noise) == (size, depth, num_steps, input_noise)


@pytest.mark.parametrize(("depth", "size"), [(2, 59_635), (4, 1_060_339), (6, 2_996_467)])
def test_the_library_setting_has_the_official_variants(depth, size):
    state = state_of(paper.library(3, depth=depth), problem.denoising(picture(64, 64, 3)))
    assert num_parameters(state) == size


def test_the_restoration_setting_is_gray():
    setting, task = paper.restoration(), problem.denoising(picture(64, 64, 1))
    assert num_parameters(state_of(setting, task)) == 2_217_573
    assert (setting.num_steps, setting.recipe.input_noise, setting.recipe.backtracking) == (11000, 0.03, 5.0)


def test_2018_means_uniform_scales_and_aligned_corners_and_nothing_else():
    setting = paper.denoising(3)
    old = paper.as_in_2018(setting)
    assert old.recipe.generator.scale_init is blocks.uniform_scale
    assert old.recipe.generator.upsample is blocks.bilinear_aligned
    new = setting.recipe.generator
    assert old.changed(generator=old.recipe.generator.clone(scale_init=new.scale_init, upsample=new.upsample)) == setting
    assert paper.as_in_2018(paper.flash(3)).recipe.generator.upsample == (blocks.nearest,) * 2 + (blocks.bilinear_aligned,) * 3
    assert paper.as_in_2018(paper.inpainting(3)).recipe.generator.upsample is blocks.nearest
    assert paper.as_in_2018(paper.no_prior(3)).recipe.generator == Pixels(3)


def test_the_pixels_fit_any_picture_without_a_prior():
    truth = picture(6, 5, 3)
    result = restore(paper.no_prior(3), 1, problem.denoising(truth), 300)
    np.testing.assert_allclose(result.state.params["params"]["image"][0], truth, atol=1e-2)


def test_total_variation_flattens():
    noisy = picture(16, 16, 1)
    choices = (None, penalties.TotalVariationSum(0.01))
    images = [restore(paper.no_prior(1).changed(penalty=penalty), 1, problem.denoising(noisy), 200).image for penalty in choices]
    assert float(images[1].std()) < 0.9 * float(images[0].std())


def test_the_sum_of_the_total_variation_is_the_mean_times_the_number_of_values():
    image = jnp.asarray(picture(7, 6, 3))
    np.testing.assert_allclose(penalties.TotalVariationSum(0.5)(image), 7 * 6 * 3 * penalties.TotalVariation(0.5)(image), rtol=1e-6)


def features(image):
    """A stand-in for a layer of a trained network: two fixed filters and a saturation."""
    weights = jnp.asarray([[0.3, -0.7, 0.5], [-0.2, 0.9, 0.1]], jnp.float32)
    return jnp.tanh(image @ weights.T)[::2, ::2]


def test_features_are_inverted():
    truth = picture(8, 8, 3)
    task = problem.feature_inversion(truth, features)
    assert task.measurement.shape == (4, 4, 2)
    assert task.shape == (8, 8, 3)
    result = restore(paper.no_prior(3), 2, task, 300)
    np.testing.assert_allclose(features(result.state.params["params"]["image"][1]), task.measurement, atol=0.02)


def test_an_activation_is_maximised():
    task = problem.activation_maximisation(lambda image: image[2:6, 2:6, 0], (8, 8, 3))
    result = restore(paper.no_prior(3).changed(loss=losses.Maximise(5.0)), 1, task, 50)
    losses_seen = np.asarray(result.metrics.loss[0])
    assert (np.diff(losses_seen) < 0).all()
    image = result.state.params["params"]["image"][0]
    assert image[2:6, 2:6, 0].min() > 0.4
    np.testing.assert_allclose(losses_seen[-1], -5 * 16 * image[2:6, 2:6, 0].mean(), rtol=0.05)


@pytest.mark.parametrize("setting", [paper.feature_inversion, paper.activation_maximisation])
def test_the_settings_for_features_fit_their_problems(setting):
    fits(setting(3), problem.feature_inversion(picture(20, 24, 3), features))


def test_a_flash_picture_of_another_size_is_refused():
    with pytest.raises(ValueError, match="flash_image: found"):
        problem.flash(picture(8, 8, 3), picture(8, 9, 3))


def test_the_words_of_the_command_line_name_settings():
    for kind, expected in (("superres", "super_resolution"), ("superres 8", "super_resolution_8"), ("denoise", "denoising")):
        assert choose(kind, "paper") is getattr(paper, expected)
        assert choose(kind, "fast") is choose(kind) is getattr(fast, expected)
    assert choose("a task of somebody's", "fast") is fast.denoising
    with pytest.raises(ValueError, match="^recipe: found 'slow', expected one of fast, paper"):
        choose("denoise", "slow")


@pytest.mark.parametrize(
    ("size", "num_steps"), [((256, 256), 600), ((128, 128), 300), ((512, 128), 600), ((8, 9), 150), ((2000, 999), 900)]
)
def test_the_steps_for_a_noisy_picture_follow_its_side(size, num_steps):
    assert fast.denoising(3).steps_for((*size, 3)) == num_steps
    assert fast.denoising(3).changed(loss=losses.L1()).steps_for(size) == num_steps  # the rule goes with the setting
    assert paper.denoising().steps_for(size) == 3000
    assert fast.inpainting().steps_for(size) == 750 and fast.demosaicing().steps_for(size) == 300
    assert fast.dejpeg().steps_for(size) == 1.5 * num_steps or num_steps == 150
    assert choose("dejpeg", "fast") is fast.dejpeg and choose("demosaic", "fast") is fast.demosaicing


def test_a_schedule_is_a_part_of_a_setting_like_any_other():
    setting = fast.denoising().with_schedule(optimizers.Cosine())
    assert setting.recipe.optimizer == optimizers.Adam(0.01, optimizers.Cosine())
    with pytest.raises(ValueError, match="^schedule: found the optimizer"):
        Setting(dataclasses.replace(setting.recipe, optimizer=optimizers.WithParameterNoise()), 9).with_schedule(optimizers.Cosine())
