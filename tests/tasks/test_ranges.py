"""The range of a measurement: the right one on pictures of every kind, and results in the units of the input."""

import numpy as np
import pytest

import dipjax
from dipjax.recipes import Setting
from dipjax.tasks import ranges, tasks  # noqa: F401, which registers them
from dipjax.tasks.door import TASKS, planned
from dipjax.tasks.options import Options
from dipjax.tasks.ranges import Range
from tests.conftest import mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIDE = 64
FULL = Range(0.0, 1.0)


def scene():
    """Flat surfaces from 0 to 1, as in a photograph of boxes."""
    rows, columns = np.mgrid[:SIDE, :SIDE] // 16
    return ((rows * 4 + columns) / 15)[..., None]


def noisy(sigma=25 / 255, seed=0):
    return scene() + np.random.default_rng(seed).normal(0, sigma, (SIDE, SIDE, 1))


def salted(values, share=0.3):
    """Salt and pepper at the ends of the type."""
    chance = np.random.default_rng(1).random(values.shape)
    return np.where(chance < share / 2, 0.0, np.where(chance > 1 - share / 2, 1.0, values))


def hot(values, value, number=20):
    changed = values.copy()
    changed.flat[np.random.default_rng(2).choice(values.size, number, replace=False)] = value
    return changed


UNITS = {  # black and white of the scene
    "12 bits in 16": (0.0, 4095 / 65535),
    "10 bits in 16": (0.0, 1023 / 65535),
    "an offset": (1000.0, 1050.0),
    "millionths": (0.0, 1e-6),
    "tens of thousands": (0.0, 1e4),
    "faded": (0.4, 0.6),
    "negative": (-1000.0, 3000.0),
    "between -1 and 1": (-1.0, 1.0),
    "0 to 255 in floats": (0.0, 255.0),
}
each_unit = pytest.mark.parametrize(("low", "high"), UNITS.values(), ids=UNITS)


def assert_close(found, low, high, share=0.15):
    assert found.found
    assert abs(found.low - low) < share * (high - low)
    assert abs(found.high - high) < share * (high - low)


@each_unit
@pytest.mark.parametrize("sigma", [0.0, 25 / 255, 50 / 255])
def test_what_a_picture_fills_is_found(low, high, sigma):
    assert_close(ranges.choose("auto", low + (high - low) * noisy(sigma)), low, high, 0.15 if sigma < 0.1 else 0.3)


@each_unit
def test_hot_and_dead_pixels_do_not_count(low, high):
    values = low + (high - low) * noisy()
    assert_close(ranges.choose("auto", hot(hot(values, high + 100 * (high - low)), low - 100 * (high - low))), low, high)


@pytest.mark.parametrize("name", ["12 bits in 16", "10 bits in 16", "faded"])
def test_salt_and_pepper_at_the_ends_of_the_type_does_not_count(name):
    low, high = UNITS[name]
    assert_close(ranges.choose("auto", salted(low + (high - low) * noisy(0.02))), low, high)


@pytest.mark.parametrize(
    "values",
    [
        scene(),
        noisy(),
        noisy().clip(0, 1),
        noisy(50 / 255).clip(0, 1),
        salted(scene()),
        0.1 + 0.8 * noisy(),
        hot(noisy(), 5.0),
        np.full((9, 9, 1), 0.5),
    ],
)
def test_an_ordinary_picture_is_taken_as_it_is(values):
    assert ranges.choose("auto", values) == FULL


@each_unit
def test_holes_do_not_count(low, high):
    values = low + (high - low) * noisy()
    values[10:20, :30] = np.nan
    assert_close(ranges.choose("auto", values), low, high)


def test_a_wish_counts():
    values = 0.4 + 0.1 * scene()
    assert ranges.choose("full", values) == FULL
    assert ranges.choose((0.25, 4), values) == Range(0.25, 4.0)


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.3, 1e-9, 4000.0])
def test_one_value_everywhere_has_a_range_that_holds_it(value):
    found = ranges.choose("auto", np.full((5, 5, 1), value))
    assert found.low <= value <= found.high
    assert found.low < found.high


@each_unit
def test_outside_undoes_scaled(low, high):
    values, found = low + (high - low) * noisy(), Range(low, high, found=True)
    np.testing.assert_allclose(found.outside(found.scaled(values)), values, rtol=0, atol=1e-9 * (high - low))


def test_inside_brings_what_is_far_off_nearer_and_keeps_unclipped_noise():
    inside = Range(0.0, 10.0).inside(np.array([-1e9, -9.0, 5.0, 19.0, 1e9, np.nan]))
    assert inside.dtype == np.float32
    np.testing.assert_allclose(inside, [-1, -0.9, 0.5, 1.9, 2, np.nan], rtol=1e-6)


def tiny(channels):
    return Setting(mixer_recipe(channels), 5)


def restored(image, **options):
    return dipjax.denoise(image, seeds=2, recipe=tiny, return_result=True, **options)


@pytest.fixture(scope="module")
def expected():
    """The result of the faded scene, brought to the scene's own units."""
    return (restored(0.4 + 0.2 * noisy()[..., 0])[0] - 0.4) / 0.2


@each_unit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_result_has_the_units_of_the_input_and_is_the_same_in_all(low, high, dtype, expected):
    image, outcome = restored((low + (high - low) * noisy()[..., 0]).astype(dtype))
    assert image.dtype == dtype
    atol = 0.02 if dtype == "float64" else 0.02 + 1e-7 * abs(low) / (high - low)
    np.testing.assert_allclose((np.float64(image) - low) / (high - low), expected, atol=atol)
    assert outcome.task.span.found
    assert outcome.std.max() < high - low


def test_64_bits_keep_a_small_scene_on_a_large_offset(expected):
    image, _ = restored(1e9 + 1e-2 * noisy()[..., 0])
    np.testing.assert_allclose((image - 1e9) / 1e-2, expected, atol=0.02)


def test_12_bits_in_16_come_back_as_12_bits():
    image, outcome = restored(np.uint16(4095 * noisy()[..., 0].clip(0, 1)))
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() < 1.2 * 4095 / 65535
    assert outcome.task.span.high == pytest.approx(4095 / 65535, rel=0.1)


def test_psnr_refers_to_the_range_of_the_measurement():
    options = {"truth": 4095 / 65535 * scene()[..., 0]}
    before = restored(4095 / 65535 * noisy()[..., 0], **options)[1].scores["input"]["psnr"]
    span = (1 + 1 / 8) * (noisy().max() - noisy().min())
    assert -20 * np.log10(25 / 255) < before < -20 * np.log10(25 / 255 / span)


def test_a_mosaic_fills_what_its_brightest_colour_does():
    raw = np.random.default_rng(0).uniform(0.02, 0.04, (40, 40))
    raw[::2, ::2] *= 10  # a red scene
    span = planned(TASKS["demosaic"], np.float32(raw)[..., None], {}, Options(), is_whole=True).task.span
    assert span.high >= 0.38 and span.low < 0.03


@pytest.mark.parametrize(("noise", "low"), [("auto", 0.3), ("poisson", 0.0), ("speckle", 0.0)])
def test_noise_that_depends_on_brightness_counts_it_from_zero(noise, low):
    pixels = np.float32(np.random.default_rng(0).uniform(0.35, 0.65, (40, 40, 1)))
    span = planned(TASKS["denoise"], pixels, {"noise": noise}, Options(), is_whole=False).task.span
    assert span.low == low or span.low > low > 0
    given = planned(TASKS["denoise"], pixels, {"noise": noise}, Options(range=(0.3, 0.7)), is_whole=False).task.span
    assert (given.low, given.high) == (0.3, 0.7)  # who knows what black is says so


@pytest.mark.parametrize("wish", ["full", (0.0, 0.5), (-2.0, 3.0)])
def test_the_range_of_the_caller_reaches_the_network(wish):
    _, outcome = restored(0.4 + 0.05 * noisy()[..., 0], range=wish)
    low, high = (0, 1) if wish == "full" else wish
    assert (outcome.task.span.low, outcome.task.span.high) == (low, high)
    mean = np.mean(outcome.task.problem.measurement)
    assert mean == pytest.approx((0.425 - low) / (high - low), abs=0.01)


@pytest.mark.parametrize("wish", ["half", (1, 1), (2, 1), (0, np.inf), (0, np.nan), (0, 1, 2), 3, None])
def test_a_range_that_is_none_is_refused(wish):
    with pytest.raises(ValueError, match="^range: found"):
        restored(scene()[..., 0], range=wish)


@pytest.mark.parametrize("span", [0.3, 0.5, 0.55, 0.7, 1.0, 1.3])
@pytest.mark.parametrize("kind", ["noise", "ramp", "spots", "hole"])
def test_the_quick_look_says_nothing_that_the_long_one_does_not(span, kind, monkeypatch):
    random, told = np.random.default_rng(0), 0
    for shape in ((40, 37, 3), (9, 70, 1), (130, 110, 1), (3, 2, 1)):
        ramp = np.linspace(0.5 - span / 2, 0.5 + span / 2, shape[1])[None, :, None] + np.zeros(shape)
        values = {"noise": ramp + random.normal(0, 0.05, shape), "ramp": ramp, "spots": np.where(random.random(shape) < 0.2, 5.0, ramp)}
        values = values.get(kind, np.where(random.random((*shape[:2], 1)) < 0.1, np.nan, ramp)).astype(np.float32)
        told += ranges._is_nominal(values)
        quick = ranges.choose("auto", values)
        with monkeypatch.context() as long:
            long.setattr(ranges, "_is_nominal", lambda values: False)
            assert quick == ranges.choose("auto", values)
    if kind in {"spots", "hole"} or span in {0.3, 1.3}:
        assert told == 0
    elif span in {0.7, 1.0}:
        assert told >= 1
