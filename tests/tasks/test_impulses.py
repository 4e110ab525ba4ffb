"""What was not hit by impulses stays as it is, as far as it is not noisy as well."""

import numpy as np
import pytest

import dipjax
import dipjax.tasks.tasks  # noqa: F401, fills TASKS
from dipjax.recipes import Setting
from dipjax.stopping.noise import impulses
from dipjax.tasks.door import TASKS, posed
from dipjax.tasks.impulses import Others
from dipjax.tasks.options import Options
from tests.conftest import mixer_recipe


def others_of(noisy):
    return Others(noisy, *impulses(noisy))


def scene(side=48, channels=3):
    """Returns a smooth picture with an edge, `(side, side, channels)`, between 0.2 and 0.8."""
    rows, columns = np.indices((side, side)) / side
    plane = 0.3 + 0.2 * rows + 0.2 * (columns > 0.5)
    return np.float32(plane[..., None] * np.linspace(0.8, 1.1, channels))


def salted(picture, share=0.1, *, together=True, seed=0):
    """Returns the picture with salt and pepper, and where that is."""
    draw = np.random.default_rng(seed).random((*picture.shape[:2], 1) if together else picture.shape)
    hit = np.broadcast_to((draw < share / 2) | (draw > 1 - share / 2), picture.shape)
    return np.where(draw < share / 2, 0, np.where(draw > 1 - share / 2, 1, picture)).astype(np.float32), hit


@pytest.mark.parametrize("together", [True, False])
def test_impulses_are_found_in_every_channel(together):
    noisy, hit = salted(scene(), together=together)
    np.testing.assert_array_equal(impulses(noisy)[0], hit)


def test_a_pixel_of_which_one_channel_is_near_white_is_hit_as_a_whole():
    picture = scene()
    picture[..., 2] = 0.97  # so that white there is not far
    noisy, hit = salted(picture)
    np.testing.assert_array_equal(impulses(noisy)[0], hit)


def test_what_was_not_hit_stays_and_what_was_is_restored():
    noisy, hit = salted(scene())
    estimates = np.stack([scene() + 0.05, scene() - 0.02])
    finished = others_of(noisy)(estimates)
    assert finished.shape == estimates.shape and finished.dtype == np.float32
    np.testing.assert_allclose(finished[:, ~hit], np.stack([noisy[~hit]] * 2), atol=2e-3)
    # By how much an estimate is off is known from around.
    np.testing.assert_allclose(finished[:, hit], np.stack([scene()[hit]] * 2), atol=2e-3)


def test_a_missed_impulse_is_told_by_the_estimate():
    picture = scene()
    noisy, _ = salted(picture)
    noisy[20:25, 30:35] = 1  # the median of a blot is white
    others = others_of(noisy)
    assert not others.hit[22, 32].any()
    np.testing.assert_allclose(others(picture)[22, 32], picture[22, 32], atol=1e-3)


def test_noise_of_the_rest_is_not_put_back():
    random, picture = np.random.default_rng(1), scene()
    noisy, hit = salted((picture + random.normal(0, 0.05, picture.shape)).clip(0.01, 0.99))
    estimate = picture + np.float32(random.normal(0, 0.01, picture.shape))
    finished = others_of(noisy)(estimate)
    error = lambda image: np.sqrt(np.mean((image - picture)[~hit] ** 2))  # noqa: E731
    assert error(finished) < 1.2 * error(estimate) < 0.5 * error(noisy)


def test_the_error_shrinks_with_what_stays():
    noisy, hit = salted(scene())
    std = np.full_like(noisy, 0.04)
    std[:4] = np.nan  # of a tile that was not finished
    kept = others_of(noisy).std(std)
    np.testing.assert_array_equal(kept[hit], std[hit])
    assert np.nanmax(kept[~hit]) < 0.01 and np.isnan(kept[:4]).all()


@pytest.mark.parametrize("frame", [False, True])
def test_a_picture_in_a_frame_is_finished_as_one_without(frame):
    noisy, hit = salted(scene(45), 0.2)
    made = posed(TASKS["denoise"], noisy, {}, Options(), frame=frame)
    assert "the others stay" in made.found
    estimate = np.full((2, *made.problem.shape), 0.4, np.float32)
    assert (estimate.shape[1:] == noisy.shape) is not frame
    finished = made.finish(estimate)
    np.testing.assert_array_equal(finished[0], finished[1])
    np.testing.assert_allclose(finished[0][~hit], noisy[~hit], atol=2e-3)
    assert np.sqrt(np.mean((finished[0] - scene(45))[hit] ** 2)) < 0.03
    std = made.finish_std(estimate[0])
    assert std.shape == noisy.shape and std[~hit].max() < std[hit].min()


def test_a_tile_that_was_not_restored_changes_no_other_and_warns_of_nothing():
    noisy, _ = salted(scene())
    estimate = scene() + 0.05
    whole = others_of(noisy)(estimate)
    estimate[32:] = np.nan
    part = others_of(noisy)(estimate)
    np.testing.assert_allclose(part[:28], whole[:28], atol=2e-3)
    assert np.isnan(part[32:]).all() and np.isnan(others_of(noisy)(np.full_like(noisy, np.nan))).all()
    assert np.isnan(others_of(noisy).std(np.full_like(noisy, np.nan))).all()


def test_channels_that_were_hit_apart_are_continued_apart_and_tiles_meet():
    picture = np.repeat(scene(), 6, axis=0)  # more rows than a tile
    noisy, hit = salted(picture, together=False)
    finished = others_of(noisy)(picture - 0.03)
    np.testing.assert_allclose(finished[~hit], noisy[~hit], atol=2e-3)
    np.testing.assert_allclose(finished[hit], picture[hit], atol=5e-3)


@pytest.mark.parametrize("shape", [(2, 2, 1), (3, 4, 4), (6, 5, 3)])
def test_tiny_pictures_of_which_all_was_hit_are_finished_too(shape):
    random = np.random.default_rng(0)
    for _ in range(20):
        noisy = np.float32(random.choice([0, 0.4, 1], shape, p=[0.4, 0.2, 0.4]))
        assert np.isfinite(others_of(noisy)(np.full_like(noisy, 0.5))).all()


def test_of_a_dithered_picture_nothing_stays():
    dithered = np.float32(np.random.default_rng(0).random((64, 64, 1)) < np.linspace(0.2, 0.8, 64)[:, None, None])
    made = TASKS["denoise"].build(dithered)
    assert made.finish_std is None and "stay" not in made.found


def test_denoise_keeps_what_was_not_hit():
    noisy, hit = salted(scene(45), 0.2)
    recipe = Setting(mixer_recipe(3), 3).recipe
    image, outcome = dipjax.denoise(noisy, seeds=2, num_iter=3, recipe=recipe, stop="held-out", return_result=True)
    np.testing.assert_allclose(image[~hit], noisy[~hit], atol=0.02)
    assert np.sqrt(np.mean((image - scene(45))[hit] ** 2)) < 0.25 * np.sqrt(np.mean((noisy - scene(45))[hit] ** 2))
    assert outcome.uncertainty[~hit].mean() < outcome.uncertainty[hit].mean() and outcome.gained


@pytest.mark.parametrize("noise", ["gaussian", "impulse"])
def test_without_impulses_at_the_ends_or_by_another_name_nothing_is_put_back(noise):
    noisy = salted(scene())[0] if noise == "gaussian" else scene()
    made = TASKS["denoise"].build(noisy, noise=noise)
    np.testing.assert_array_equal(made.finish(scene()), scene())
    assert made.finish_std is None and not made.found
