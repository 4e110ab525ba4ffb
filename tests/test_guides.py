"""Guides: what they are good for, and that no run learns from one what it must not see."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from scipy import ndimage

from dipjax.core import drive, loop
from dipjax.core.problem import stack
from dipjax.fitting import guides, inputs, losses
from dipjax.operators import Blur, problem, psfs
from dipjax.operators.frame import Framed
from dipjax.stopping import HeldOut
from dipjax.stopping.held_out import filled
from dipjax.tasks import tasks  # noqa: F401, which registers them
from dipjax.tasks.door import TASKS
from dipjax.tasks.options import Options
from dipjax.tasks.restore import setting_for
from tests.conftest import light_keys, mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIDE = 64
X = np.linspace(0, 1, SIDE)
SMOOTH = np.float32(np.stack([0.5 + 0.4 * np.sin(rate * np.add.outer(X, 2 * X)) for rate in (4, 6, 9)], -1))
RANDOM = np.random.default_rng(0)


def error(picture):
    return np.sqrt(np.mean((picture - SMOOTH[..., : picture.shape[-1]]) ** 2))


def noisy(kind):
    if kind == "salt":
        draw = RANDOM.random((SIDE, SIDE, 1))
        return np.float32(np.where(draw < 0.05, 0, np.where(draw > 0.95, 1, SMOOTH)))
    sigma = {"weak": 0.03, "strong": 0.2, "photons": np.sqrt(SMOOTH / 30)}[kind]
    return np.float32((SMOOTH + sigma * RANDOM.standard_normal(SMOOTH.shape)).clip(0, 1))


def guide(measurement, **settings):
    return np.asarray(jax.jit(guides.NonLocalMeans(**settings))(light_keys(1)[0], problem.denoising(measurement)))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kind", ["weak", "strong", "photons", "salt"])
def test_a_guide_is_closer_to_the_truth_than_the_measurement(kind, channels):
    measurement = noisy(kind)[..., :channels]
    found = guide(measurement)
    assert found.shape == measurement.shape and found.dtype == measurement.dtype
    assert error(found) < 0.6 * error(measurement)


@pytest.mark.parametrize("is_framed", [False, True])
def test_what_is_not_known_is_no_darkness_in_the_guide(is_framed):
    known = np.ones((SIDE, SIDE), bool)
    known[20:24] = known[:, 40:43] = False
    masked = problem.inpainting(noisy("weak"), known)
    if is_framed:
        masked = masked.replace(operator=Framed(masked.operator, np.ones((SIDE, SIDE, 1), bool), masked.measurement))
    found = np.asarray(jax.jit(guides.NonLocalMeans())(light_keys(1)[0], masked))
    assert np.abs(found - SMOOTH)[~known].mean() < 0.08
    assert np.abs(np.asarray(masked.measurement) - SMOOTH)[~known].mean() > 0.3


def test_there_is_no_guide_for_noise_that_looks_like_structure_nor_for_a_few_pixels():
    rough = ndimage.gaussian_filter(RANDOM.standard_normal(SMOOTH.shape), (1, 1, 0))
    correlated = np.float32(SMOOTH + 0.1 * rough / rough.std())
    assert (guide(correlated) == 0).all()
    assert (guide(correlated, correlation=1.0) != 0).any()
    assert (guide(SMOOTH[:8, :8]) == 0).all()
    assert (guide(SMOOTH[0]) == 0).all()


def test_z_is_noise_and_the_guide():
    task, key = problem.denoising(noisy("strong")), jax.random.key(0)
    z = inputs.Guided(noise=inputs.Noise(2))(key, task)
    np.testing.assert_allclose(z[..., 2:], guides.NonLocalMeans()(jax.random.fold_in(key, 1), task), atol=1e-6)
    np.testing.assert_array_equal(z[..., :2], inputs.Noise(2)(key, task))
    with pytest.raises(ValueError, match=r"^guide: found shape \(16, 16, 3\), expected \(64, 64, 'D'\)"):
        inputs.Guided(lambda key, task: task.measurement[:16, :16])(key, task)


@pytest.mark.parametrize("side", [1, 5, 9])
def test_what_is_hidden_is_filled_in_from_around(side):
    hidden = np.zeros((SIDE, SIDE, 1), bool)
    hidden[20 : 20 + side, 30 : 30 + side] = hidden[0, 0] = True
    spoilt = np.float32(np.where(hidden, 100, SMOOTH))
    found = np.asarray(filled(spoilt, hidden, np.ones_like(hidden)))
    np.testing.assert_array_equal(found[~hidden[..., 0]], SMOOTH[~hidden[..., 0]])
    assert np.abs(found - SMOOTH).max() < 0.5
    signal = np.asarray(filled(np.complex64(SMOOTH[:, 0, 0] * 1j), hidden[:, 30, 0], np.ones(SIDE, bool)))
    np.testing.assert_allclose(signal, 1j * SMOOTH[:, 0, 0], atol=0.5)


def test_what_is_held_out_beside_a_hole_is_no_darkness_to_a_run():
    known = RANDOM.random((SIDE, SIDE)) > 0.5
    task = problem.inpainting(noisy("weak"), known)
    rule = HeldOut()
    memory = rule.init(light_keys(1)[0], task, (np.zeros(task.shape, np.float32),))
    hidden = np.asarray(memory.hidden)[..., 0]
    assert hidden.sum() > 50 and known[hidden].all()
    assert np.abs(np.asarray(rule.seen(memory, task).measurement) - SMOOTH)[hidden].mean() < 0.1


@pytest.mark.parametrize("correlated", [pytest.param(False, marks=pytest.mark.slow), True])
def test_no_run_sees_in_its_input_what_is_held_out(correlated):
    random = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(random.standard_normal(SMOOTH.shape), (1, 1, 0)) if correlated else random.standard_normal(SMOOTH.shape)
    task = problem.denoising(np.float32(SMOOTH + 0.1 * noise / noise.std()))
    recipe = dataclasses.replace(mixer_recipe(3, stopping=HeldOut()), input=inputs.Guided(guides.NonLocalMeans(correlation=1.0)))
    state = drive.restore(recipe, light_keys(2), task, num_steps=1).state
    hidden = state.watch.memory.hidden
    assert (hidden[0] != hidden[1]).any()
    for run, key in enumerate(light_keys(2)):
        other = np.where(hidden[run], random.random(SMOOTH.shape), task.measurement)  # the same but for what is held out
        seen = HeldOut().seen(jax.tree.map(lambda leaf, run=run: leaf[run], state.watch.memory), problem.denoising(np.float32(other)))
        np.testing.assert_allclose(state.z[run, ..., 8:], recipe.input(jax.random.split(key, 3)[0], seen)[..., 8:], atol=1e-5)
    without = drive.restore(dataclasses.replace(recipe, stopping=None), light_keys(1), task, num_steps=1).state
    key = jax.random.fold_in(jax.random.split(light_keys(1)[0], 3)[0], 1)
    np.testing.assert_allclose(without.z[0, ..., 8:], guides.NonLocalMeans(correlation=1.0)(key, task), atol=1e-5)


def test_guides_of_two_runs_err_differently_and_hardly_more():
    task = problem.denoising(noisy("weak"))
    alike, (one, two) = (np.asarray(jax.vmap(guides.NonLocalMeans(**how), (0, None))(light_keys(2), task)) for how in ({"added": 0.0}, {}))
    np.testing.assert_array_equal(*alike)
    assert error(one) < 1.3 * error(alike[0])
    assert error((one + two) / 2) < 0.97 * error(one)
    assert np.corrcoef((one - SMOOTH).ravel(), (two - SMOOTH).ravel())[0, 1] < 0.85


@pytest.mark.slow
def test_init_makes_the_guide_under_vmap_too():
    task = problem.denoising(noisy("strong"))
    recipe = dataclasses.replace(mixer_recipe(3, stopping=HeldOut()), input=inputs.Guided())
    many = jax.vmap(loop.init, (None, 0, None))(recipe, light_keys(2), task)
    for run, key in enumerate(light_keys(2)):
        np.testing.assert_allclose(many.z[run], loop.init(recipe, key, task).z, atol=1e-5)


@pytest.mark.skipif(not hasattr(jax, "enable_x64"), reason="this JAX has no such context")
@pytest.mark.parametrize("axis", [None, 0])
def test_runs_begin_in_threads_with_the_precision_of_the_caller(axis):
    """Of JAX's settings a thread has those of the program, not those of a context."""
    recipe = dataclasses.replace(mixer_recipe(1), input=inputs.Guided())
    with jax.enable_x64(True):
        task = problem.denoising(np.float64(noisy("weak")[..., :1]))
        task = task.replace(measurement=np.asarray(task.measurement)) if axis is None else stack([task, task])
        result = drive.restore(recipe, light_keys(2), task, num_steps=2, problem_axis=axis)
    assert result.images.dtype == np.float64 and np.isfinite(result.images).all()


def test_the_fast_setting_has_a_guide_unless_none_is_wished():
    def of(**how):
        return setting_for(TASKS["denoise"].build(noisy("strong")), Options(**how))[0].recipe

    assert of().input == inputs.Guided(guides.NonLocalMeans(), inputs.Noise(8))
    assert of(guide="none") == dataclasses.replace(of(), input=inputs.Noise(8))
    assert of(recipe="paper").input == of(recipe="paper", guide="none").input == inputs.Noise(32)
    with pytest.raises(ValueError, match="^guide: found 'nlm', expected one of auto, none"):
        Options(guide="nlm")


@pytest.mark.parametrize("is_framed", [False, True])
def test_least_squares_are_sharper_than_what_was_measured(is_framed):
    edges = np.float32(SMOOTH > 0.5)
    psf = psfs.gaussian(1.0)
    data = problem.deblurring(np.asarray(Blur(psf)(edges)), psf)
    if is_framed:
        inside = np.ones((SIDE, SIDE, 1), bool)
        inside[:, 48:] = False
        measurement = np.where(inside, data.measurement, 7)
        data = data.replace(operator=Framed(data.operator, inside, measurement), measurement=measurement)
    found = np.asarray(jax.jit(guides.LeastSquares(20))(light_keys(1)[0], data))[:, :40]
    assert np.linalg.norm(found - edges[:, :40]) < 0.8 * np.linalg.norm(data.measurement[:, :40] - edges[:, :40])


def test_a_back_projection_learns_nothing_from_what_is_held_out():
    psf, random = psfs.gaussian(1.0), np.random.default_rng(0)
    data = problem.deblurring(random.random((16, 16, 1), np.float32), psf, noise=0.01)
    recipe = dataclasses.replace(mixer_recipe(1), loss=losses.BackProjection(), stopping=HeldOut(correlation=1.0))
    state = loop.init(recipe, light_keys(1)[0], data)
    hidden = np.asarray(state.watch.memory.hidden)
    assert hidden.any()
    other = data.replace(measurement=np.where(hidden, 0.9, data.measurement))
    (one, metrics), (two, others) = (loop.train_step(recipe, state, each) for each in (data, other))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), one.params, two.params)  # but for rounding
    np.testing.assert_allclose(metrics.loss, others.loss, rtol=1e-5)
    plain = dataclasses.replace(recipe, loss=losses.MSE())
    assert loop.train_step(plain, state, data)[1].loss != metrics.loss


def test_noise_that_grows_with_brightness_is_removed_where_it_is_bright_and_where_it_is_dark():
    truth = np.full((64, 64, 1), 0.05, np.float32)
    truth[:, 40:] = 0.8
    noisy = np.float32(np.random.default_rng(0).poisson(30 * truth) / 30)
    known, none = np.ones(truth.shape, bool), np.zeros_like(truth)
    error = {}
    for exponent in (0.0, 1.0):
        made = guides.NonLocalMeans()._on_host(noisy, none, known, 0.0, exponent)
        assert made.dtype == np.float32 and np.isfinite(made).all()
        error[exponent] = np.abs(made - truth)[:, 48:].mean()
        assert abs(np.mean(made[:, :32]) - 0.05) < 0.01
    assert error[1.0] < 0.7 * error[0.0]


@pytest.mark.parametrize("share", [0.0, 0.03, 0.2, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(3, 4, 1), (20, 17, 3)])
def test_medians_at_some_entries_are_those_of_the_filter_at_the_edges_too(shape, share):
    random = np.random.default_rng(0)
    picture, where = random.random(shape, np.float32), random.random(shape) < share
    where[0, 0], where[-1, -1] = share > 0, share > 0
    np.testing.assert_array_equal(guides._medians(picture, where), ndimage.median_filter(picture, (5, 5, 1))[where])
