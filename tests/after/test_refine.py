"""Refinement keeps to the measurement, takes the look of examples, and gives back what it cannot improve."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import ndimage

import dipjax
from dipjax.after import refine as after
from dipjax.after.refine import Both, Judged, refine
from dipjax.core.state import psnr
from dipjax.generators.residual import Judge
from dipjax.operators import Downsample, Identity, Mask
from dipjax.operators import problem as problems
from dipjax.tasks.door import TASKS, posed
from dipjax.tasks.options import Diverged
from tests.after.test_distill import clean, noisy

pytestmark = pytest.mark.usefixtures("quick_compilation")
SHAPE = (64, 64)


@pytest.fixture(scope="module")
def blurred():
    """A sharp picture, a noisy one, and a restored one that is too smooth."""
    sharp = clean(1, SHAPE)
    return sharp, noisy(sharp, 0.05), np.float32(ndimage.gaussian_filter(sharp, (1.2, 1.2, 0)))


@pytest.mark.slow
def test_a_picture_that_is_too_smooth_comes_closer_to_the_truth(blurred):
    sharp, measured, smooth = blurred
    losses = []
    made = refine(smooth, measured, [clean(2, SHAPE), clean(3, SHAPE)], num_steps=120, callback=lambda step, loss: losses.append(loss))
    assert made.is_refined and made.after[0] < made.before[0] and made.after[1] < made.before[1]
    assert psnr(made.image, sharp) > psnr(smooth, sharp) + 1
    assert len(losses) == 120 and "refined: misfit" in str(made)


@pytest.mark.slow
def test_a_small_picture_is_the_measurement_of_a_large_one(blurred):
    sharp, _, _ = blurred
    smooth, small = np.float32(ndimage.gaussian_filter(sharp, (3, 3, 0))), np.asarray(Downsample(4)(sharp))
    made = refine(smooth[..., 0], small[..., 0], [clean(2, SHAPE)[..., 0]], num_steps=60)
    assert made.image.shape == SHAPE and made.after[0] < made.before[0]


@pytest.mark.slow
def test_an_enlarged_picture_that_fits_exactly_is_refined_in_what_nobody_measured(blurred):
    sharp, _, _ = blurred
    small = np.asarray(Downsample(4)(sharp))
    smooth = np.float32(ndimage.gaussian_filter(sharp, (3, 3, 0)))
    task = dataclasses.replace(posed(TASKS["superres"], small, {"factor": 4}, after.options(False), is_whole=False), noise=lambda: 0.0)
    exact = dipjax.kriging.put_back(task.problem, smooth[None])[0]
    made = refine(exact, task, [clean(2, SHAPE), clean(3, SHAPE)], num_steps=20, weight=1e-3)
    assert made.is_refined and np.abs(made.image - exact).max() > 1e-3
    assert made.before[0] < after._ROUNDING and made.after[0] < 1.01 * after._ROUNDING


@pytest.mark.slow
def test_what_would_fit_worse_is_given_back(blurred):
    _, measured, smooth = blurred
    made = refine(smooth, measured, [np.random.default_rng(0).random((40, 40, 1)).astype(np.float32)], num_steps=60, weight=30.0, bound=0.0)
    assert not made.is_refined and max(made.after[0] - made.before[0], made.after[1] - made.before[1]) > 0
    np.testing.assert_array_equal(made.image, smooth)
    assert "not refined" in str(made)


@pytest.mark.slow
def test_whole_numbers_and_problems_are_taken(blurred):
    _, measured, smooth = blurred
    whole = [np.uint8(255 * one.clip(0, 1)[..., 0]) for one in (smooth, measured, clean(2, SHAPE))]
    made = refine(*whole[:2], [whole[2]], num_steps=2)
    assert made.image.shape == SHAPE and made.image.min() >= 0 and made.image.max() <= 1
    known = np.random.default_rng(0).random(SHAPE) < 0.5
    assert refine(smooth, problems.inpainting(measured, known), [clean(2, SHAPE)], num_steps=2).image.shape == (*SHAPE, 1)
    free = problems.general(measured, lambda image: image, smooth.shape)  # cannot be cut
    assert refine(smooth, free, [clean(2, SHAPE)], num_steps=2).image.shape == (*SHAPE, 1)


def test_the_hidden_tenth_is_seen_by_nobody():
    random, picture = np.random.default_rng(0), noisy(clean(0, SHAPE))
    data = problems.denoising(picture).replace(guide=picture)
    seen = np.float32(random.random(picture.shape) >= 0.1)
    judge = Judge()
    params = judge.init(jax.random.key(0), picture[:16, :16])
    state = random.bit_generator.state
    part = after._part(random, data, seen, 0.0, 32, judge, params)
    random.bit_generator.state = state
    hidden = picture + np.float32(9) * (seen == 0)
    other = after._part(random, data.replace(measurement=hidden), seen, 0.0, 32, judge, params)
    np.testing.assert_array_equal(part.measurement[0], other.measurement[0])
    one, two = (part.operator(image)[0] for image in (part.guide, part.guide + np.float32(9) * (part.operator.seen == 0)))
    np.testing.assert_array_equal(one, two)
    assert 0.05 < np.mean(part.operator.seen == 0) < 0.2


def test_the_weight_is_that_of_the_look():
    judge, picture = Judge(), clean(0, (16, 16))
    operator = Judged(Identity(), np.ones_like(picture), judge.init(jax.random.key(0), picture), judge)
    measured, opinions, none = operator(picture)
    assert opinions.shape == (2, 2, 1) and none == 0
    assert Both(0.5)((measured, opinions, 0), (measured, opinions + 2, 0)) == pytest.approx(2.0)
    assert Both(0.5)((measured, opinions, 0), (measured + 2, opinions, 0)) == pytest.approx(4.0)
    assert Both(0.5)((measured, opinions, 0), (measured + 2, opinions, 1)) == pytest.approx(3.0)  # what is noise does not count
    assert Both(0.5)((measured, opinions, 0), (measured + 2, opinions, 5)) == 0


def test_noise_is_not_brought_back():
    true = clean(0, SHAPE)
    measured = noisy(true)
    close = 0.85 * true + 0.15 * measured  # of which some noise is left, for a network to find
    made = refine(close, measured, [clean(2, SHAPE)], num_steps=150, weight=0.0)
    error = lambda image: float(np.sqrt(np.mean((image - true) ** 2)))  # noqa: E731
    assert error(made.image) <= 1.1 * error(close)
    assert made.after[0] > 0.97 * made.before[0] or not made.is_refined


def test_parts_lie_on_the_grid_of_the_operator():
    random, picture = np.random.default_rng(0), clean(0, SHAPE)
    data = problems.super_resolution(np.asarray(Downsample(4)(picture)), 4).replace(guide=picture)
    judge = Judge()
    params = judge.init(jax.random.key(0), picture[:16, :16])
    for _ in range(5):
        part = after._part(random, data, np.ones((16, 16, 1), np.float32), 0.0, 32, judge, params)
        assert part.guide.shape == (32, 32, 1) and part.measurement[0].shape == (8, 8, 1)
        whole = np.abs(np.asarray(part.operator(part.guide)[0]) - part.measurement[0])
        assert whole.max() < 1e-4  # what belongs together was cut alike


def test_a_blur_that_is_not_known_is_to_be_given_as_it_was_found():
    pixels = clean(0, (40, 40))
    with pytest.raises(ValueError, match="^of: found the operator UnknownBlur"):
        refine(pixels, problems.deblurring(np.float32(pixels).reshape(40, 40, 1), 5), [clean(2, (40, 40))])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"examples": []}, "examples: found none"),
        ({"examples": [np.zeros((40, 40, 3))]}, r"examples\[0\]: found 3 channels, expected 1"),
        ({"examples": [np.zeros((40, 20, 1))]}, r"examples\[0\]: found 20 x 40 pixels, expected at least 32"),
        ({"of": np.zeros((48, 64))}, "of: found shape"),
        ({"of": np.zeros((128, 128))}, "of: found shape"),
        ({"restored": np.zeros((16, 16)), "of": np.zeros((16, 16))}, "restored: found shape"),
        ({"num_steps": 0}, "num_steps: found 0"),
        ({"weight": -1.0}, "weight: found -1.0"),
        ({"bound": float("nan")}, "bound: found nan"),
        ({"weight": "a"}, "weight: found 'a'"),
        ({"rng": -1}, "rng: found -1"),
        ({"examples": None}, "examples: found None"),
        ({"examples": np.zeros((40, 40))}, "examples: found one array"),
        ({"examples": 3}, "examples: found 3"),
        ({"callback": 3}, "callback: found 3"),
        ({"of": 255 * noisy(clean(1, SHAPE))}, "of: found numbers up to 2.*expected the same unit"),
        ({"restored": np.uint8(255 * clean(1, SHAPE)), "of": 255 * noisy(clean(1, SHAPE))}, "of: found numbers up to .* same unit"),
        ({"restored": 255 * clean(1, SHAPE), "of": np.uint8(255 * clean(1, SHAPE))}, "of: found numbers up to .* same unit"),
        ({"examples": [np.float32(255) * clean(2, SHAPE)]}, "examples: found numbers up to .* same unit"),
        ({"of": noisy(clean(7, SHAPE), 0.05)}, "of: found a measurement that the restored picture misses by"),
        ({"of": problems.denoising(noisy(clean(7, SHAPE), 0.05))}, "of: found a measurement that the restored picture misses by"),
    ],
)
def test_what_does_not_fit_together_is_refused(blurred, change, words):
    _, measured, smooth = blurred
    with pytest.raises(ValueError, match=words):
        refine(**{"restored": smooth, "of": measured, "examples": [clean(2, SHAPE)]} | change)


@pytest.mark.slow
def test_a_training_that_diverges_says_so(blurred):
    _, measured, smooth = blurred
    with pytest.raises(Diverged):
        refine(smooth, problems.denoising(measured).replace(operator=Mask(np.full((*SHAPE, 1), np.nan))), [clean(2, SHAPE)], num_steps=2)


@pytest.mark.slow
def test_what_an_inpainting_knows_stays_as_it_is():
    picture, holes = clean(1, SHAPE)[..., 0], np.random.default_rng(0).random(SHAPE) < 0.3
    how = {"generator": dipjax.generators.Plain(1, 2), "seeds": 1, "num_iter": 2, "return_result": True}
    filled, outcome = dipjax.inpaint(picture, holes, **how)
    made = refine(filled, outcome.task, [clean(2, SHAPE)[..., 0]], num_steps=5)
    assert made.is_refined and made.before == made.after == (0, 0)
    np.testing.assert_array_equal(made.image[~holes], picture[~holes])
    assert np.abs(made.image - filled)[holes].max() > 0


def test_an_unrefined_picture_of_whole_numbers_comes_back_divided_by_their_largest(blurred):
    _, measured, _ = blurred
    whole = np.uint8(255 * measured.clip(0, 1)[..., 0])  # fits exactly
    made = refine(whole, whole, [clean(2, SHAPE)[..., 0]], num_steps=1)
    assert not made.is_refined and made.image.dtype == np.float32
    np.testing.assert_array_equal(made.image, whole / np.float32(255))


def test_of_examples_only_parts_are_kept_and_each_is_asked_for_once():
    asked = []

    def pictures():
        for number in range(100):
            asked.append(number)
            yield np.full((600, 300, 1), number, np.float32)

    kept = after.windows(pictures(), np.random.default_rng(0))
    assert asked == list(range(100)) and len(kept) == 256 and {part.shape for part in kept} == {(256, 256, 1)}
    assert all(part.base is None for part in kept)  # the rest of a picture is not kept
    assert len({part[0, 0, 0] for part in kept}) > 80  # of all of them, not of the first
    small = [clean(0, (40, 50)), clean(1, (256, 256))]
    for one, other in zip(after.windows(small, np.random.default_rng(0)), small, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_public_name_is_this():
    assert dipjax.refine is refine and dataclasses.is_dataclass(Both)
