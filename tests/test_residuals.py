"""What is left of a measurement: where it is known, and what its neighbours have in common."""

import numpy as np
import pytest
from scipy import ndimage

from dipjax.operators import frame, problem
from dipjax.residuals import residual

NOISE = np.random.default_rng(0).normal(0, 0.1, (64, 60, 3)).astype(np.float32)
IMAGE = np.full(NOISE.shape, 0.5, np.float32)


def test_independent_noise_has_no_more_correlation_than_chance_makes():
    found = residual(IMAGE, problem.denoising(IMAGE + NOISE))
    np.testing.assert_allclose(found.values, NOISE, atol=1e-6)
    assert abs(found.correlation) < 4 * found.chance < 0.06


@pytest.mark.parametrize("left", [ndimage.gaussian_filter(NOISE, (2, 2, 0)), np.full_like(NOISE, 0.1)], ids=["smooth", "offset"])
def test_what_neighbours_share_is_found(left):
    assert residual(IMAGE, problem.denoising(IMAGE + left)).correlation > 0.8


def test_fitted_noise_has_neighbours_of_opposite_signs():
    left = NOISE - ndimage.gaussian_filter(NOISE, (1, 1, 0))
    found = residual(IMAGE, problem.denoising(IMAGE + left))
    assert found.correlation < -4 * found.chance


def test_where_nothing_was_measured_nothing_is_left():
    known = np.random.default_rng(1).random(NOISE.shape[:2]) < 0.7
    found = residual(IMAGE, problem.inpainting((IMAGE + NOISE) * known[..., None], known))
    np.testing.assert_array_equal(np.isfinite(found.values).all(axis=-1), known)
    assert abs(found.correlation) < 4 * found.chance


def test_a_frame_is_cut_off():
    large = problem.denoising(frame.framed(IMAGE + NOISE, (80, 80)))
    inside = np.zeros((80, 80, 1), bool)
    inside[:64, :60] = True
    large = large.replace(operator=frame.Framed(large.operator, inside, large.measurement))
    alone, framed = residual(IMAGE, problem.denoising(IMAGE + NOISE)), residual(frame.framed(IMAGE, (80, 80)), large)
    np.testing.assert_array_equal(framed.values, alone.values)
    assert framed[1:] == pytest.approx(alone[1:])


def test_a_single_pixel_has_no_neighbours():
    assert np.isnan(residual(IMAGE[:1, :1], problem.denoising(IMAGE[:1, :1] + NOISE[:1, :1])).correlation)
