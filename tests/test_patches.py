"""What is put back of a noisy picture."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage import data

import dipjax
from dipjax import kriging, patches, problem
from dipjax.core.problem import Problem
from dipjax.operators import Identity
from dipjax.operators.frame import Framed
from dipjax.tasks import restore
from dipjax.tasks.tasks import denoise  # noqa: F401, fills TASKS


def woven(height, width, channels=3):
    """Returns a picture that repeats itself, in several colours."""
    rows, columns = np.mgrid[:height, :width]
    tone = 0.3 + 0.4 * ((rows // 4 + columns // 3) % 2)
    return np.float32(tone[..., None] * np.linspace(1, 0.6, channels))


def example(height=48, width=60, channels=3, sigma=0.1):
    truth = woven(height, width, channels)
    noisy = truth + np.random.default_rng(0).normal(0, sigma, truth.shape).astype(np.float32)
    return truth, noisy, ndimage.gaussian_filter(truth, (0.7, 0.7, 0))


def error(image, truth):
    return float(np.sqrt(np.mean((image - truth) ** 2)))


@pytest.mark.parametrize("shape", [(48, 60, 3), (47, 45, 1), (53, 32, 2), (31, 47, 4)])
def test_what_repeats_comes_back_and_noise_does_not(shape):
    truth, noisy, estimate = example(*shape)
    made = patches.put_back(noisy, estimate, np.inf)
    assert made.shape == shape
    assert made.dtype == estimate.dtype
    assert error(made, truth) < min(0.75 * error(estimate, truth), 0.5 * error(noisy, truth))


@pytest.mark.parametrize("height", range(16, 65))
def test_every_pixel_of_every_size_is_in_a_patch(height, monkeypatch):
    monkeypatch.setattr(patches, "_REACH", 4)
    _, noisy, estimate = example(height, 80 - height, 1)
    assert np.isfinite(patches.put_back(noisy, estimate, 0.1)).all()


@pytest.mark.parametrize("scale", [1e-3, 50])
def test_units_matter_neither_up_nor_down(scale):
    truth, noisy, estimate = example(40, 40, 1)
    made, other = (patches.put_back(unit * noisy, unit * estimate, unit * 0.1) / unit for unit in (1, scale))
    assert error(other, truth) == pytest.approx(error(made, truth), rel=0.05)


def test_a_perfect_estimate_is_hardly_changed():
    truth, noisy, _ = example()
    assert error(patches.put_back(noisy, truth, 0.1), truth) < 0.15 * error(noisy, truth)


def test_without_noise_the_measurement_is_the_result():
    truth, _, estimate = example()
    np.testing.assert_allclose(patches.put_back(truth, estimate, 0.0), truth, atol=0.01)


@pytest.mark.parametrize("kind", ["photons", "speckle"])
def test_noise_that_grows_with_brightness_needs_no_model(kind):
    truth, _, estimate = example(64, 64)
    dark = np.linspace(0.05, 1, 64, dtype=np.float32)[:, None, None]
    truth, estimate, random = truth * dark, estimate * dark, np.random.default_rng(1)
    noisy = random.poisson(truth * 40) / 40 if kind == "photons" else truth * (1 + random.normal(0, 0.2, (64, 64, 1)))
    made = patches.put_back(noisy.astype(np.float32), estimate, np.inf)
    assert error(made, truth) < 0.8 * error(estimate, truth)
    assert error(made[:16], truth[:16]) < error(estimate[:16], truth[:16])


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_flat_pictures_stay_flat_and_finite(value):
    flat = np.full((24, 24, 3), value, np.float32)
    np.testing.assert_allclose(patches.put_back(flat, flat, 0.1), flat, atol=1e-6)


def test_what_cannot_be_told_stays_as_it_is():
    small, broken = np.ones((15, 40, 1), np.float32), np.full((20, 20, 1), np.nan, np.float32)
    assert patches.put_back(0 * small, small, 0.1) is small
    assert patches.put_back(np.zeros_like(broken), broken, 0.1) is broken
    tiny, lost = np.random.default_rng(0).random((2, 16, 17, 1), np.float32)
    assert np.isfinite(patches.put_back(tiny, lost, 0.1)).all()


def test_a_band_of_rows_knows_the_rows_around_it(monkeypatch):
    _, noisy, estimate = example(60, 40)
    whole = patches.put_back(noisy, estimate, 0.1)
    monkeypatch.setattr(patches, "_AT_ONCE", 50)
    np.testing.assert_allclose(patches.put_back(noisy, estimate, 0.1), whole, atol=1e-5)


def test_kriging_takes_patches_for_a_noisy_picture_also_in_a_frame():
    _, noisy, estimate = example(32, 40)
    alone = kriging.put_back(problem.denoising(noisy), estimate[None], 0.1)
    np.testing.assert_array_equal(alone[0], patches.put_back(noisy, estimate, 0.1))
    inside = np.zeros((40, 48, 1), bool)
    inside[:32, :40] = True
    frame = [(0, 8), (0, 8), (0, 0)]
    larger, guess = np.pad(noisy, frame, mode="symmetric"), np.pad(estimate, frame)
    made = kriging.put_back(Problem(jnp.asarray(larger), Framed(Identity(), inside, larger), larger.shape), guess[None], 0.1)[0]
    np.testing.assert_allclose(made[:32, :40], alone[0], atol=1e-6)
    np.testing.assert_array_equal(made[32:], guess[32:])


def test_a_picture_that_is_too_small_for_patches_is_put_back_smoothly():
    measured = np.random.default_rng(0).random((1, 12, 30, 1), np.float32)
    made = kriging.put_back(problem.denoising(measured[0]), np.full_like(measured, 0.5))
    assert error(made, measured) < 0.1 * error(0.5, measured)


def restored(picture, **how):
    how = {"seeds": 2, "num_iter": 40, "range": "full", "generator": dipjax.generators.Plain(picture.shape[-1], 8)} | how
    return dipjax.denoise(picture, return_result=True, **how)[1]


def test_denoise_puts_back_unless_asked_not_to():
    truth = np.float32(data.camera()[128:192, 160:224, None] / 255)
    noisy = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape).astype(np.float32)
    outcome = restored(noisy)
    networks = restore.finished(outcome.task, outcome.result.image)
    assert outcome.recipe.stopping.gain > 0
    alone = restored(noisy, kriging="none")
    assert alone.recipe.stopping == dipjax.stopping.HeldOut()
    np.testing.assert_array_equal(alone.image, restore.finished(alone.task, alone.result.image))
    assert error(outcome.image, truth) < error(networks, truth)
    assert outcome.images.shape == (2, *truth.shape)


def test_correlated_noise_is_not_taken_for_structure():
    truth, _, _ = example(64, 64)
    blurred = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, truth.shape), (1, 1, 0)).astype(np.float32)
    outcome = restored(truth + 0.1 * blurred / blurred.std())
    assert outcome.task.noise is None
    assert outcome.recipe.stopping == dipjax.stopping.HeldOut()
    np.testing.assert_array_equal(outcome.image, restore.finished(outcome.task, outcome.result.image))
