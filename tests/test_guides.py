"""Guides: what they are good for, and that no run learns from one what it must not see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import dipjax
from dipjax.core import drive, loop
from dipjax.core.stopping import HeldOut
from dipjax.fitting import guides, inputs
from dipjax.operators import problem
from dipjax.recipes import fast
from dipjax.tasks import tasks  # noqa: F401, which registers them
from dipjax.tasks.door import TASKS
from dipjax.tasks.options import Options
from dipjax.tasks.restore import _guided, setting_for
from tests.conftest import light_keys, mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIDE = 64
X = np.linspace(0, 1, SIDE)
SMOOTH = np.float32(np.stack([0.5 + 0.4 * np.sin(rate * np.add.outer(X, 2 * X)) for rate in (4, 6, 9)], -1))
RANDOM = np.random.default_rng(0)


def error(picture):
    return np.sqrt(np.mean((picture - SMOOTH) ** 2))


def noisy(kind):
    if kind == "salt":
        draw = RANDOM.random((SIDE, SIDE, 1))
        return np.float32(np.where(draw < 0.05, 0, np.where(draw > 0.95, 1, SMOOTH)))
    sigma = {"weak": 0.03, "strong": 0.2, "photons": np.sqrt(SMOOTH / 30)}[kind]
    return np.float32((SMOOTH + sigma * RANDOM.standard_normal(SMOOTH.shape)).clip(0, 1))


@pytest.mark.parametrize("kind", ["weak", "strong", "photons", "salt"])
def test_a_guide_is_closer_to_the_truth_than_the_measurement(kind):
    measurement = noisy(kind)
    guide = guides.of_noise(measurement)
    assert guide.shape == measurement.shape and guide.dtype == measurement.dtype
    assert error(guide) < 0.6 * error(measurement)


def test_there_is_no_guide_for_noise_that_looks_like_structure_nor_for_a_few_pixels():
    rough = ndimage.gaussian_filter(RANDOM.standard_normal(SMOOTH.shape), (1, 1, 0))
    assert guides.of_noise(np.float32(SMOOTH + 0.1 * rough / rough.std())) is None
    assert guides.of_noise(SMOOTH[:8, :8]) is None
    assert guides.of_noise(SMOOTH[0]) is None


def test_z_is_noise_and_the_guide():
    task = problem.denoising(SMOOTH).replace(guide=jnp.asarray(SMOOTH))
    z = inputs.Guided(inputs.Noise(2))(jax.random.key(0), task)
    np.testing.assert_array_equal(z[..., 2:], SMOOTH)
    np.testing.assert_array_equal(z[..., :2], inputs.Noise(2)(jax.random.key(0), task))
    assert (inputs.Guided(inputs.Noise(2))(jax.random.key(0), task.replace(guide=None))[..., 2:] == 0).all()
    with pytest.raises(ValueError, match=r"^guide: found shape \(64, 64, 2\), expected \(64, 64, 3\)"):
        inputs.Guided()(jax.random.key(0), task.replace(guide=jnp.zeros((SIDE, SIDE, 2))))


@pytest.mark.parametrize("side", [1, 5, 9])
def test_what_is_hidden_is_filled_in_from_around(side):
    unseen = np.zeros((SIDE, SIDE, 1), bool)
    unseen[20 : 20 + side, 30 : 30 + side] = unseen[0, 0] = True
    spoilt = np.where(unseen, 100, SMOOTH)
    z = inputs.Guided(inputs.Noise(2)).hidden(jnp.concatenate([jnp.zeros((SIDE, SIDE, 2)), spoilt], -1), jnp.asarray(unseen))
    np.testing.assert_array_equal(z[..., 2:][~unseen[..., 0]], SMOOTH[~unseen[..., 0]])
    assert np.abs(z[..., 2:] - SMOOTH).max() < 0.5
    assert (z[..., :2] == 0).all()


@pytest.mark.parametrize("make", [
    lambda: problem.denoising(SMOOTH), lambda: problem.super_resolution(SMOOTH[::4, ::4], 4),
    lambda: problem.deblurring(SMOOTH, dipjax.psfs.box(3)), lambda: problem.inpainting(SMOOTH, RANDOM.random((SIDE, SIDE)) > 0.5),
])  # fmt: skip
def test_no_run_sees_in_its_guide_what_is_held_out(make):
    task = make()
    guide = jnp.asarray(RANDOM.random(task.shape, np.float32))
    recipe = dataclasses.replace(mixer_recipe(3, stopping=HeldOut()), input=inputs.Guided(inputs.Noise(1)))
    state = drive.restore(recipe, light_keys(2), task.replace(guide=guide), num_steps=1).state
    for run in range(2):
        hidden = jnp.asarray(state.watch.memory.hidden[run])

        def held(image, hidden=hidden):
            return jnp.where(hidden, task.operator(image), 0)

        seen = np.abs(jax.vjp(held, jnp.zeros(task.shape))[1](jnp.ones(task.measurement.shape))[0])
        depends = (seen > 1e-3 * seen.max()).any(-1)  # a convolution by Fourier transforms rounds
        shown = np.asarray(state.z[run, ..., 1:])
        assert depends.any() and not depends.all()
        assert (shown[depends] != np.asarray(guide)[depends]).any(-1).all()
        np.testing.assert_array_equal(shown[~depends], np.asarray(guide)[~depends])
    without = drive.restore(dataclasses.replace(recipe, stopping=None), light_keys(2), task.replace(guide=guide), num_steps=1).state
    np.testing.assert_array_equal(without.z[0, ..., 1:], guide)


def test_init_fills_the_guide_under_jit_and_vmap_too():
    task = problem.denoising(SMOOTH).replace(guide=jnp.asarray(SMOOTH))
    recipe = dataclasses.replace(mixer_recipe(3, stopping=HeldOut()), input=inputs.Guided(inputs.Noise(1)))
    many = jax.vmap(loop.init, (None, 0, None))(recipe, light_keys(2), task)
    one = loop.init(recipe, light_keys(2)[1], task)
    np.testing.assert_allclose(many.z[1], one.z, atol=1e-6)


def test_the_fast_setting_has_a_guide_where_there_is_one_and_it_is_wished():
    def of(measurement, **how):
        task, options = TASKS["denoise"].build(measurement), Options(**how)
        return _guided(task, setting_for(task, options)[0], options)

    task, setting = of(noisy("strong"))
    assert task.problem.guide.shape == SMOOTH.shape
    assert setting.recipe.input == inputs.Guided(inputs.Noise(8), 3)
    rough = ndimage.gaussian_filter(RANDOM.standard_normal(SMOOTH.shape), (1, 1, 0))
    for task, setting in (of(noisy("strong"), guide="none"), of(np.float32(SMOOTH + 0.1 * rough / rough.std()))):
        assert task.problem.guide is None
        assert setting.recipe == fast.denoising(3).changed(input=inputs.Noise(8), stopping=HeldOut()).recipe
    task, setting = of(noisy("strong"), recipe="paper")
    assert task.problem.guide is None and setting.recipe.input == inputs.Noise(32)
    with pytest.raises(ValueError, match="^guide: found 'nlm', expected one of auto, none"):
        Options(guide="nlm")
