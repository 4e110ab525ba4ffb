"""Scores have known values, for NumPy and JAX alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import metrics
from dipjax.core import state

TRUTH = np.random.default_rng(0).random((16, 14, 3), np.float32)


def test_there_is_one_psnr():
    assert metrics.psnr is state.psnr


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_the_psnr_of_an_error_of_a_tenth_is_20_dB(make):
    assert abs(metrics.psnr(make(TRUTH + np.float32(0.1)), make(TRUTH)) - 20) < 1e-4
    assert abs(metrics.psnr(make(TRUTH + np.complex64(0.1j)), make(TRUTH)) - 20) < 1e-4
    assert metrics.psnr(make(TRUTH), make(TRUTH)) == np.inf


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_ssim_of_equal_images_is_one_and_falls_with_noise(make, channels):
    truth = TRUTH[..., :channels]
    noise = np.random.default_rng(1).normal(0, 0.1, truth.shape).astype(np.float32)
    scores = [metrics.ssim(make(truth + strength * noise), make(truth)) for strength in (0, 1, 2)]
    assert scores[0] == 1
    assert scores[0] > scores[1] > scores[2]


def test_the_ssim_of_another_unit_is_the_same_with_its_range():
    noisy = TRUTH + np.random.default_rng(1).normal(0, 0.1, TRUTH.shape)
    expected = metrics.ssim(noisy, TRUTH)
    np.testing.assert_allclose(metrics.ssim(4095 * noisy, 4095.0 * TRUTH, data_range=4095), expected, rtol=1e-6)


def test_an_image_smaller_than_the_window_has_no_ssim():
    assert np.isnan(metrics.ssim(TRUTH[:10], TRUTH[:10]))


def test_a_score_of_numpy_arrays_starts_no_program_of_jax():
    with jax.log_compiles(True), jax.transfer_guard("disallow"):
        assert isinstance(metrics.psnr(TRUTH, TRUTH / 2), np.floating)
