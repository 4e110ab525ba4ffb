"""What a picture says of its own noise: known noise on a picture with a smooth half and a textured one."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from dipjax.stopping.noise import noise_correlation, white_noise


def _picture(seed=0):
    random = np.random.default_rng(seed)
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 128)[:, None, None], (128, 128, 3)).copy()
    ramp[:, 64:] += 0.1 * np.sign(ndimage.gaussian_filter(random.standard_normal((128, 64, 3)), (1, 1, 0)))
    return ramp, random


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_noise_of_one_strength_is_found_beside_texture(sigma):
    picture, random = _picture()
    variance, exponent = jax.jit(white_noise)(np.float32(picture + random.normal(0, sigma, picture.shape)))
    assert 0.8 < variance / sigma**2 < 1.25
    assert abs(exponent) < 0.4


GROWING = [(1, lambda p, r: r.poisson(p * 200) / 200), (2, lambda p, r: p * (1 + r.normal(0, 0.1, p.shape)))]


@pytest.mark.parametrize(("power", "make"), GROWING)
def test_noise_that_grows_with_brightness_is_told_by_its_exponent(power, make):
    picture, random = _picture()
    noisy = make(picture, random)
    variance, exponent = white_noise(np.float32(noisy - noisy.min()))
    assert 0.75 < variance / np.mean((noisy - picture) ** 2) < 1.3
    assert 0.5 * power < exponent < 1.5 * power


def test_dark_channels_that_are_clipped_hide_nothing_of_the_noise_of_another():
    picture, random = _picture()
    picture[..., 1:] = 0.02
    variance, exponent = jax.jit(white_noise)(np.float32((picture + random.normal(0, 0.1, picture.shape)).clip(0, 1)))
    assert 0.75 < variance / 0.1**2 < 1.25
    assert abs(exponent) < 0.4


def test_the_noise_of_a_brighter_channel_may_be_stronger_without_growing_with_brightness():
    picture, random = _picture()
    sigmas = np.array([0.02, 0.05, 0.1])
    variance, exponent = jax.jit(white_noise)(np.float32(picture + [0, 0.1, 0.2] + sigmas * random.standard_normal(picture.shape)))
    assert 0.8 < variance / np.mean(sigmas**2) < 1.25
    assert abs(exponent) < 0.4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [64, 128])
def test_groups_that_differ_in_brightness_by_their_noise_alone_tell_nothing(side, channels):
    random = np.random.default_rng(0)
    exponents = [float(white_noise(np.float32(0.5 + random.normal(0, 0.1, (side, side, channels))))[1]) for _ in range(3)]
    assert exponents == [0.0] * 3


def test_where_all_is_clipped_nothing_is_known():
    picture, random = _picture()
    assert np.isinf(white_noise(np.float32(np.rint((picture + random.normal(0, 1, picture.shape)).clip(0, 1))))[0])


def test_neighbours_tell_white_noise_from_blurred():
    picture, random = _picture()
    noise = random.standard_normal(picture.shape)
    assert abs(noise_correlation(np.float32(picture + 0.05 * noise))[0]) < 0.15
    blurred = ndimage.gaussian_filter(noise, (1, 1, 0))
    assert noise_correlation(np.float32(picture + 0.05 * blurred / blurred.std()))[0] > 0.4
