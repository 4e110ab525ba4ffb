from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dipjax
from dipjax.core import loop as train
from dipjax.fitting import optimizers
from dipjax.large import tiling
from dipjax.operators import problem, psfs
from dipjax.recipes import fast as recipes
from tests.conftest import mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")


@cache
def quick(channels=3, *, num_steps=3, schedule=optimizers.constant):
    del schedule
    return mixer_recipe(channels, num_steps)


@cache
def explosive(channels=3, *, num_steps=3):
    return mixer_recipe(channels, num_steps, optimizer=optax.sgd(np.inf))


@pytest.fixture(autouse=True)
def quick_recipes(monkeypatch):
    for table in (recipes.FAST, recipes.PAPER):
        for task in table:
            monkeypatch.setitem(table, task, quick)


GRAY = picture()[..., 0]
MASK = np.zeros((9, 8), bool)
MASK[2:4, 3:6] = True
TASKS = {
    "denoise": dipjax.denoise,
    "inpaint": partial(dipjax.inpaint, mask=MASK),
    "super_resolve": partial(dipjax.super_resolve, factor=2),
    "deblur": partial(dipjax.deblur, psf=psfs.box(3)),
}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())

LAYOUTS = {
    "gray": ((9, 8), -1),
    "gray without an axis": ((9, 8), None),
    "gray with an axis": ((9, 8, 1), -1),
    "colour": ((9, 8, 3), -1),
    "colour, axis 2": ((9, 8, 3), 2),
    "five channels first": ((5, 9, 8), 0),
    "channels first, from the end": ((3, 9, 8), -3),
    "channels in the middle": ((9, 5, 8), 1),
}
DTYPES = ["uint8", "uint16", "float16", "float32", "float64", ">u2", ">f4"]


def as_dtype(unit, dtype):
    kind = np.dtype(dtype)
    return (unit * np.iinfo(kind).max).astype(kind) if kind.kind == "u" else unit.astype(kind)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_result_is_float32_in_the_layout_of_the_picture(layout):
    shape, axis = LAYOUTS[layout]
    restored = dipjax.denoise(np.random.default_rng(0).random(shape), seeds=2, channel_axis=axis)
    assert type(restored) is np.ndarray
    assert restored.dtype == np.float32
    assert restored.shape == shape
    assert 0 <= restored.min() < restored.max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_means_the_same_picture(dtype):
    restored = dipjax.inpaint(as_dtype(GRAY, dtype), MASK, seeds=2)
    assert restored.dtype == np.float32
    tolerance = {"uint8": 1 / 255, "float16": 1e-3}.get(dtype, 1e-4)
    np.testing.assert_allclose(restored[~MASK], GRAY[~MASK], atol=tolerance)


@each_task
def test_the_picture_is_left_as_it_was(task):
    image = GRAY.copy()
    restored = task(image, seeds=2)
    np.testing.assert_array_equal(image, GRAY)
    assert not np.shares_memory(restored, image)


@each_task
def test_equal_rng_gives_an_equal_result_and_another_rng_another(task):
    one, again, other = (task(GRAY, seeds=2, rng=rng) for rng in (3, jax.random.key(3), 4))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-4


def test_a_numpy_integer_is_an_rng_as_good_as_any():
    np.testing.assert_array_equal(dipjax.denoise(GRAY, seeds=2, rng=np.int64(3)), dipjax.denoise(GRAY, seeds=2, rng=3))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3)])
def test_inpainting_returns_the_known_pixels_exactly(dtype, shape):
    image = as_dtype(np.random.default_rng(0).random(shape, np.float32), dtype)
    restored = dipjax.inpaint(image, MASK, seeds=2)
    white = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    np.testing.assert_array_equal(restored[~MASK], image[~MASK].astype(np.float32) / np.float32(white))
    assert np.abs(restored - image.astype(np.float32) / np.float32(white))[MASK].max() > 0


def test_what_lies_under_the_mask_does_not_matter():
    other = np.where(MASK, 1 - GRAY, GRAY)
    np.testing.assert_array_equal(dipjax.inpaint(GRAY, MASK, seeds=2), dipjax.inpaint(other, MASK, seeds=2))


def test_a_mask_of_zeros_and_ones_is_one_of_booleans():
    np.testing.assert_array_equal(dipjax.inpaint(GRAY, MASK, seeds=2), dipjax.inpaint(GRAY, MASK.astype(int), seeds=2))


def test_an_empty_mask_returns_the_picture():
    np.testing.assert_array_equal(dipjax.inpaint(GRAY, np.zeros_like(MASK), seeds=2), GRAY)


@pytest.mark.parametrize(("shape", "axis", "factor", "expected"), [((4, 5, 3), -1, 3, (12, 15, 3)), ((2, 4, 5), 0, 2, (2, 8, 10))])
def test_super_resolution_enlarges_both_sides(shape, axis, factor, expected):
    assert dipjax.super_resolve(picture(*shape), factor, seeds=2, channel_axis=axis).shape == expected


@pytest.mark.parametrize(("boundary", "shape"), [("reflect", (9, 8)), ("circular", (9, 8)), ("valid", (11, 10))])
def test_deblurring_has_the_size_of_the_picture_and_a_margin_if_valid(boundary, shape):
    assert dipjax.deblur(GRAY, psfs.box(3), boundary=boundary, seeds=2).shape == shape


def test_the_result_on_request_belongs_to_the_picture_returned():
    restored, result = dipjax.denoise(GRAY, seeds=2, num_iter=3, return_result=True)
    assert isinstance(result, train.Result)
    assert result.num_steps == 3
    assert result.images.shape == (2, 9, 8, 1)
    assert result.metrics.loss.shape == (2, 3)
    np.testing.assert_allclose(restored, np.asarray(result.image)[..., 0], atol=1e-6)


def test_a_function_for_people_is_the_core_with_the_same_recipe_and_seeds():
    restored = dipjax.denoise(GRAY, seeds=2, rng=5)
    result = train.restore(quick(1), train.seeds(5, 2), problem.denoising(GRAY[..., None]))
    np.testing.assert_allclose(restored, np.asarray(result.image)[..., 0], atol=1e-6)


def test_a_callback_ends_the_work():
    seen = []
    _, result = dipjax.denoise(GRAY, seeds=2, callback=lambda now: bool(seen.append(now)) or True, return_result=True)
    assert len(seen) == 1
    assert result.num_steps == 0 or result.num_steps < 3


def test_the_layout_of_the_runs_does_not_change_the_result():
    np.testing.assert_allclose(dipjax.denoise(GRAY, seeds=2, batching=jax.vmap), dipjax.denoise(GRAY, seeds=2), atol=1e-4)


def test_an_array_of_jax_and_a_list_are_pictures_too():
    for image in (jnp.asarray(GRAY), GRAY.tolist()):
        np.testing.assert_array_equal(dipjax.denoise(image, seeds=2), dipjax.denoise(GRAY, seeds=2))


def changed(value):
    image = GRAY.copy()
    image[1, 2] = value
    return image


PICTURES = {
    "NaN": changed(np.nan),
    "infinite": changed(np.inf),
    "above one": changed(1.01),
    "below zero": changed(-0.01),
    "meant as 255": 255 * GRAY,
    "empty": np.zeros((0, 8)),
    "no channels": np.zeros((9, 8, 0)),
    "one axis": np.zeros(9),
    "four axes": np.zeros((2, 9, 8, 3)),
    "scalar": np.float32(0.5),
    "int64": np.zeros((9, 8), np.int64),
    "bool": np.zeros((9, 8), bool),
    "complex": np.zeros((9, 8), complex),
    "text": np.full((9, 8), "a"),
}


@each_task
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_is_not_valid_is_refused_by_name(task, name):
    with pytest.raises(ValueError, match="^image "):
        task(PICTURES[name])


REFUSED = {
    "channel_axis": partial(dipjax.denoise, np.zeros((9, 8, 3)), channel_axis=3),
    "channel_axis ": partial(dipjax.denoise, np.zeros((9, 8, 3)), channel_axis=None),
    "seeds": partial(dipjax.denoise, GRAY, seeds=0),
    "seeds ": partial(dipjax.denoise, GRAY, seeds=-1),
    "seeds  ": partial(dipjax.denoise, GRAY, seeds=2.5),
    "num_iter": partial(dipjax.denoise, GRAY, num_iter=0),
    "num_iter ": partial(dipjax.denoise, GRAY, num_iter=2.5),
    "rng": partial(dipjax.denoise, GRAY, rng="0"),
    "rng ": partial(dipjax.denoise, GRAY, rng=jax.random.split(jax.random.key(0), 2)),
    "mask": partial(dipjax.inpaint, GRAY, MASK.T),
    "mask ": partial(dipjax.inpaint, GRAY, MASK[..., None]),
    "mask  ": partial(dipjax.inpaint, GRAY, np.ones_like(MASK)),
    "mask   ": partial(dipjax.inpaint, GRAY, 255 * MASK.astype(np.uint8)),
    "mask    ": partial(dipjax.inpaint, GRAY, np.where(MASK, np.nan, 0)),
    "factor": partial(dipjax.super_resolve, GRAY, 0),
    "factor ": partial(dipjax.super_resolve, GRAY, 1.5),
    "psf": partial(dipjax.deblur, GRAY, np.ones((3, 3, 1))),
    "psf ": partial(dipjax.deblur, GRAY, np.ones((10, 3))),
    "psf  ": partial(dipjax.deblur, GRAY, np.zeros((3, 3))),
    "boundary": partial(dipjax.deblur, GRAY, np.ones((3, 3)), boundary="mirror"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_that_is_not_valid_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name.strip()):
        REFUSED[name]()


def test_when_every_seed_diverges_the_error_says_what_to_try():
    with pytest.raises(RuntimeError, match="all 2 seeds diverged.*learning rate"):
        dipjax.denoise(GRAY, seeds=2, recipe=explosive)


def test_the_setting_is_that_for_the_part_of_the_picture_that_one_network_sees(monkeypatch):
    monkeypatch.setattr(recipes, "for_size", lambda make, height, width: {"num_steps": height + width})
    noisy = np.zeros((40, 20))
    chosen = [
        dipjax.denoise(noisy, seeds=1, channel_axis=None, return_result=True, **options)[1].num_steps
        for options in ({}, {"num_iter": 2}, {"tile": 32})
    ]
    assert chosen == [40 + 20, 2, 2 * (32 + 20)]
    monkeypatch.setattr(
        tiling, "plan", lambda *arguments, **options: tiling.Plan(tiling._grid(problem.denoising(noisy[..., None]), 32, 20), "")
    )
    assert dipjax.denoise(noisy, seeds=1, channel_axis=None, return_result=True)[1].num_steps == 2 * (32 + 20)
