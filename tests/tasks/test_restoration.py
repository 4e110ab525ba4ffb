"""The functions for people: what they take, what they return, what they refuse; with a generator that compiles in no time."""

import dataclasses
import importlib
import inspect
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dipjax
from dipjax.core import drive, layouts, rule
from dipjax.fitting import losses, optimizers
from dipjax.operators import problem, psfs
from dipjax.recipes import Setting
from dipjax.stopping import REGISTRY, AveragedVariance, Discrepancy, HeldOut, Sure, WindowedVariance
from dipjax.tasks.door import TASKS as COMMANDS
from dipjax.tasks.options import Options, arguments
from dipjax.tasks.restore import Outcome, setting_for
from tests.conftest import mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")
choices, flow = map(importlib.import_module, ("dipjax.recipes.by_name", "dipjax.tasks.restore"))


@cache
def quick(channels=3):
    return Setting(mixer_recipe(channels), 3)


@pytest.fixture(autouse=True)
def quick_recipes(monkeypatch):
    for table in (choices.FAST, choices.PAPER):
        for task in table:
            monkeypatch.setitem(table, task, quick)
    monkeypatch.setattr(flow, "_GENEROUS", 1)


GRAY = picture()[..., 0]
MASK = np.zeros((9, 8), bool)
MASK[2:4, 3:6] = True


def mri(image, **how):
    """Takes a picture for a spectrum."""
    is_picture = isinstance(image, np.ndarray) and image.dtype.kind in "uf" and image.ndim == 2 and image.size and np.isfinite(image).all()
    return dipjax.mri(image.astype(np.complex64) if is_picture else image, **how)


TASKS = {
    "denoise": dipjax.denoise,
    "dejpeg": dipjax.dejpeg,
    "inpaint": partial(dipjax.inpaint, mask=MASK),
    "super_resolve": partial(dipjax.super_resolve, factor=2),
    "deblur": partial(dipjax.deblur, psf=psfs.box(3)),
    "flash": partial(dipjax.flash, flash_image=GRAY[::-1]),
    "demosaic": dipjax.demosaic,
    "ct": dipjax.ct,
    "mri": mri,
    "restore_photo": partial(dipjax.restore_photo, mask=MASK),
}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())

LAYOUTS = {
    "gray": ((9, 8), "auto"),
    "gray without an axis": ((9, 8), None),
    "gray with an axis": ((9, 8, 1), "auto"),
    "colour": ((9, 8, 3), "auto"),
    "colour, axis 2": ((9, 8, 3), 2),
    "five channels first": ((5, 9, 8), 0),
    "channels first, from the end": ((3, 9, 8), -3),
    "channels in the middle": ((9, 5, 8), 1),
}


def as_dtype(unit, dtype):
    kind = np.dtype(dtype)
    return (unit * np.iinfo(kind).max).astype(kind) if kind.kind == "u" else unit.astype(kind)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_result_is_float32_in_the_layout_of_the_picture(layout):
    shape, axis = LAYOUTS[layout]
    restored = dipjax.denoise(np.random.default_rng(0).random(shape, np.float32), seeds=2, channel_axis=axis)
    assert type(restored) is np.ndarray
    assert restored.dtype == np.float32
    assert restored.shape == shape


@pytest.mark.parametrize("shape", [(8, 64, 64), (3, 64, 64)])
def test_a_stack_and_channels_that_come_first_are_no_picture_of_64_channels(shape):
    with pytest.raises(ValueError, match="^image has shape .*channel_axis=0"):
        dipjax.denoise(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64", ">u2", ">f4"])
def test_every_dtype_means_the_same_picture(dtype):
    restored = dipjax.inpaint(as_dtype(GRAY, dtype), MASK, seeds=1)
    assert restored.dtype == (np.float64 if dtype == "float64" else np.float32)
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
    one, again, other = (task(GRAY, seeds=2, rng=rng) for rng in (3, jax.random.key(3), np.int64(4)))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3)])
def test_inpainting_returns_the_known_pixels_exactly(dtype, shape):
    image = as_dtype(np.random.default_rng(0).random(shape), dtype)
    restored = dipjax.inpaint(image, MASK, seeds=2)
    white = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    before = image.astype(restored.dtype) / restored.dtype.type(white)
    np.testing.assert_array_equal(restored[~MASK], before[~MASK])
    assert np.abs(restored - before)[MASK].max() > 0


def test_what_lies_under_the_mask_does_not_matter():
    plain = dipjax.inpaint(GRAY, MASK, seeds=2)
    for other in (1 - GRAY, 1e30, np.nan, np.inf):
        np.testing.assert_array_equal(dipjax.inpaint(np.where(MASK, other, GRAY), MASK, seeds=2), plain)


def test_what_is_not_known_is_filled_in_without_being_marked():
    nothing = np.zeros_like(MASK)
    unknown = np.where(MASK, np.float32(np.nan), GRAY)
    np.testing.assert_array_equal(dipjax.inpaint(unknown, nothing, seeds=2), dipjax.inpaint(GRAY, MASK, seeds=2))


def test_a_mask_of_zeros_and_ones_is_one_of_booleans():
    np.testing.assert_array_equal(dipjax.inpaint(GRAY, MASK, seeds=2), dipjax.inpaint(GRAY, MASK.astype(int), seeds=2))


def test_a_mask_grows():
    changed = dipjax.inpaint(GRAY, MASK, 1, seeds=2) != GRAY
    grown = MASK.copy()
    grown[1:5, 3:6] = grown[2:4, 2:7] = True
    np.testing.assert_array_equal(changed, grown)


@pytest.mark.parametrize(("shape", "axis", "factor", "expected"), [((4, 5, 3), -1, 3, (12, 15, 3)), ((2, 4, 5), 0, 2, (2, 8, 10))])
def test_super_resolution_enlarges_both_sides(shape, axis, factor, expected):
    assert dipjax.super_resolve(picture(*shape), factor, seeds=2, channel_axis=axis).shape == expected


@pytest.mark.parametrize("boundary", ["reflect", "circular", "valid"])
def test_deblurring_has_the_size_of_the_picture(boundary):
    assert dipjax.deblur(GRAY, psfs.box(3), boundary=boundary, seeds=2).shape == GRAY.shape


def test_a_blur_that_is_not_known_is_found_beside_the_picture():
    restored, outcome = dipjax.deblur(GRAY, 3, seeds=2, return_result=True)
    assert restored.shape == GRAY.shape
    assert outcome.psf.shape == (3, 3)
    np.testing.assert_allclose(outcome.psf.sum(), 1, rtol=1e-5)
    assert dipjax.deblur(GRAY, np.ones((3, 3)), seeds=2, return_result=True)[1].psf is None
    again = dipjax.deblur(GRAY, 3, seeds=2, recipe=outcome.recipe, num_iter=outcome.num_steps)  # which has the psf already
    np.testing.assert_array_equal(again, restored)


def test_a_recipe_of_an_unknown_blur_suits_another_size_and_a_known_one():
    _, outcome = dipjax.deblur(GRAY, 5, seeds=2, return_result=True)
    assert outcome.psf.shape == (5, 5)
    how = {"seeds": 2, "recipe": outcome.recipe, "num_iter": 3, "return_result": True}
    assert dipjax.deblur(GRAY, 3, **how)[1].psf.shape == (3, 3)
    assert dipjax.deblur(GRAY, outcome.psf, **how)[1].psf is None
    assert dipjax.denoise(GRAY, **how)[1].psf is None


def test_a_psf_may_have_any_scale():
    plain = dipjax.deblur(GRAY, np.ones((3, 3)), seeds=2)
    for scale in (1e308, 1e-300):
        np.testing.assert_allclose(dipjax.deblur(GRAY, np.full((3, 3), scale), seeds=2), plain, atol=1e-6)


def test_the_part_returned_after_a_valid_blur_lies_where_the_picture_was():
    """For a kernel that moves nothing, though it is 5 x 4 pixels large, the blurred estimate is the estimate cut."""
    psf = np.zeros((5, 4))
    psf[2, 2] = 1  # the centre
    task = COMMANDS["deblur"].build(GRAY[..., None], psf, boundary="valid")
    estimate = np.random.default_rng(0).random(task.problem.shape, np.float32)
    np.testing.assert_allclose(task.finish(estimate), task.problem.operator(estimate), atol=1e-6)


def test_the_outcome_on_request_belongs_to_the_picture_returned():
    restored, outcome = dipjax.denoise(GRAY, seeds=2, num_iter=3, return_result=True)
    assert isinstance(outcome, Outcome)
    assert (outcome.num_steps, outcome.result.num_steps, outcome.ending) == (3, 3, "done")
    assert outcome.images.shape == (2, 9, 8, 1)
    assert outcome.metrics.loss.shape == (2, 3)
    assert outcome.scores is None
    np.testing.assert_array_equal(restored, outcome.image[..., 0])
    np.testing.assert_allclose(outcome.std, outcome.images.std(0, ddof=1), rtol=1e-5)


def test_one_seed_has_no_standard_deviation():
    assert np.isnan(dipjax.denoise(GRAY, seeds=1, return_result=True)[1].std).all()


def test_a_function_for_people_is_the_core_with_the_same_recipe_and_seeds():
    restored = dipjax.denoise(GRAY, seeds=2, rng=5, range="full", stop="none")
    result = drive.restore(quick(1).recipe, drive.seeds(5, 2), problem.denoising(GRAY[..., None]), num_steps=3)
    np.testing.assert_allclose(restored, result.image[..., 0], atol=1e-6)


def test_a_truth_gives_curves_and_scores():
    _, outcome = dipjax.denoise(GRAY, seeds=2, truth=GRAY[::-1], return_result=True, range="full")
    assert outcome.metrics.psnr_average.shape == (2, 3)
    assert outcome.scores["input"]["psnr"] == pytest.approx(-10 * np.log10(np.mean((GRAY - GRAY[::-1]) ** 2)), abs=1e-3)
    assert len(outcome.scores["seeds"]) == 2


def test_a_callback_ends_the_work():
    seen = []
    _, outcome = dipjax.denoise(GRAY, seeds=2, num_iter=10**9, callback=lambda now: seen.append(now) or now.num_steps, return_result=True)
    assert outcome.ending == "callback"
    assert outcome.result is seen[-1]
    assert 0 < outcome.result.num_steps < 10**9


def test_a_budget_ends_the_work_however_many_steps_there_were_to_be():
    _, outcome = dipjax.denoise(GRAY, seeds=1, num_iter=2**31 - 1, stop="none", budget=0.2, return_result=True)
    assert outcome.ending == "budget"
    assert 0 < outcome.result.num_steps < 2**31 - 1
    assert outcome.metrics.loss.shape == (1, outcome.result.num_steps)


def test_an_interruption_returns_the_result_so_far_with_a_warning_at_the_line_that_was_interrupted():
    def interrupt(result):
        if result.num_steps:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="interrupted: the result of [0-9]+ of 1000000000 steps is returned") as caught:
        restored, outcome = dipjax.denoise(GRAY, seeds=2, num_iter=10**9, callback=interrupt, return_result=True)
    assert caught[0].filename == __file__
    assert outcome.ending == "interrupted"
    assert np.isfinite(restored).all()


def test_an_interruption_before_the_first_step_is_one():
    def interrupt(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dipjax.denoise(GRAY, seeds=2, callback=interrupt)


@pytest.mark.slow
def test_tiles_give_a_picture_of_the_same_size():
    image = picture(40, 36)[..., 0]
    restored, outcome = dipjax.denoise(image, seeds=2, tile=32, tile_overlap=8, return_result=True)
    assert restored.shape == image.shape
    assert outcome.num_tiles == 4
    assert outcome.result.num_steps == 4 * 3


@pytest.mark.parametrize("batching", ["vmap", "map", layouts.TOGETHER])
def test_the_layout_of_the_runs_does_not_change_the_result(batching):
    np.testing.assert_allclose(dipjax.denoise(GRAY, seeds=2, batching=batching), dipjax.denoise(GRAY, seeds=2), atol=1e-4)


def test_an_array_of_jax_and_a_list_are_pictures_too():
    plain = dipjax.denoise(GRAY, seeds=2)
    for image in (jnp.asarray(GRAY), GRAY.tolist()):
        np.testing.assert_allclose(dipjax.denoise(image, seeds=2), plain, atol=1e-6)


RULES = {
    "held-out": HeldOut(), "auto": HeldOut(), "none": None, "wmv": WindowedVariance(), "emv": AveragedVariance(),
    "sure": Sure(), "discrepancy": Discrepancy(),
}  # fmt: skip


@pytest.mark.parametrize("word", RULES)
def test_a_stopping_rule_has_a_word(word):
    task = COMMANDS["denoise"].build(GRAY[..., None])
    assert setting_for(task, Options(stop=word))[0].recipe.stopping == RULES[word]
    assert set(RULES) == {*REGISTRY, "auto", "none"}


def test_a_record_of_a_sooner_end_waits_where_nothing_is_put_back():
    task = COMMANDS["denoise"].build(np.random.default_rng(0).random((20, 20, 1), np.float32))
    recipe = setting_for(task, Options())[0].recipe
    assert recipe.stopping == task.sooner
    for noise, rule_of in ((task.noise, task.sooner), (None, HeldOut())):
        assert setting_for(dataclasses.replace(task, noise=noise), Options(recipe=recipe))[0].recipe.stopping == rule_of


def test_a_rule_of_the_caller_is_used_and_ends_the_work():
    restored, outcome = dipjax.denoise(GRAY, seeds=3, stop=Discrepancy(sigma=100.0), return_result=True)
    assert outcome.ending == "stopped"
    np.testing.assert_array_equal(outcome.result.steps, 1)
    np.testing.assert_allclose(restored, outcome.images.mean(0)[..., 0], atol=1e-6)
    assert dipjax.denoise(GRAY, seeds=1, stop="held-out", num_iter=5, return_result=True)[1].num_steps == 5


def test_the_noise_of_a_rule_is_in_the_units_of_the_picture():
    seen = []
    for scale in (1, 4000):
        outcome = dipjax.denoise(scale * GRAY, seeds=1, stop="sure", sigma=0.1 * scale, range=(0, scale), return_result=True)[1]
        seen.append(outcome.recipe.stopping.sigma)
    np.testing.assert_allclose(seen, 0.1)


def test_a_recipe_keeps_its_rule_unless_another_one_is_asked_for():
    own = quick(1).changed(stopping=Discrepancy(0.5))
    task = COMMANDS["denoise"].build(GRAY[..., None])
    assert setting_for(task, Options(recipe=own))[0].recipe.stopping == Discrepancy(0.5)
    assert setting_for(task, Options(recipe=own, stop="emv"))[0].recipe.stopping == AveragedVariance()


def test_salt_and_pepper_are_fitted_by_a_loss_that_forgets_them_unless_another_one_is_asked_for():
    draw = np.random.default_rng(0).random((40, 40, 1))
    salted = np.where(draw < 0.05, 0, np.where(draw > 0.95, 1, 0.3 + 0.4 * np.indices((40, 40)).sum(0)[..., None] / 80)).astype(np.float32)
    build, loss_of = COMMANDS["denoise"].build, lambda task, **options: setting_for(task, Options(**options))[0].recipe.loss
    assert loss_of(build(salted)) == loss_of(build(salted), recipe="paper") == losses.L1()
    assert "salt and pepper" in build(salted).found
    assert loss_of(build(salted), loss="huber") == losses.Huber()
    assert loss_of(build(salted), recipe=quick(1)) == quick(1).recipe.loss  # somebody has settled it
    assert loss_of(build(salted, noise="gaussian")) == loss_of(build(GRAY[..., None])) == losses.MSE()
    assert loss_of(build(GRAY[..., None], noise="impulse")) == losses.L1()


@pytest.mark.parametrize("recipe", ["paper", quick(1), quick(1).recipe, quick])
def test_a_recipe_that_is_named_takes_all_its_steps(recipe):
    task = COMMANDS["denoise"].build(GRAY[..., None])
    assert setting_for(task, Options(recipe=recipe))[0].recipe.stopping is None
    assert setting_for(task, Options(recipe=recipe, stop="held-out"))[0].recipe.stopping == HeldOut()
    own = quick(1).changed(stopping=Discrepancy(0.5))
    assert setting_for(task, Options(recipe=own, stop="none"))[0].recipe.stopping is None


@pytest.mark.slow
def test_by_default_a_seed_stops_by_itself(monkeypatch):
    monkeypatch.setattr(flow, "_GENEROUS", 4)
    enlarging = HeldOut(correlation=1.0, gain=0.08, patience=0.4, least=100, late=0.25, fit=0)
    rules = {"denoise": HeldOut(), "flash": HeldOut(), "restore_photo": HeldOut(), "super_resolve": enlarging}
    for name, task in TASKS.items():
        outcome, expected = task(GRAY, seeds=1, return_result=True)[1], rules.get(name)
        assert outcome.recipe.stopping == expected, name
        assert outcome.num_steps == (3 if expected is None else 12)


@pytest.mark.parametrize("how", ["mean", "median", "trimmed"])
def test_seeds_are_put_together_as_asked(how):
    restored, outcome = dipjax.denoise(GRAY, seeds=5, stop="none", aggregate=how, return_result=True)
    images = np.sort(outcome.images[..., 0], axis=0)
    expected = {"mean": images.mean(0), "median": images[2], "trimmed": images[1:4].mean(0)}[how]
    np.testing.assert_allclose(restored, expected, atol=1e-6)


def test_a_seed_that_is_left_out_changes_nothing(monkeypatch):
    odd = np.array([False, True, False])
    monkeypatch.setattr(rule, "disagreeing", lambda images, alive, scores: odd)
    restored, outcome = dipjax.denoise(GRAY, seeds=3, return_result=True)
    monkeypatch.setattr(type(outcome), "gained", None)
    np.testing.assert_allclose(outcome.image[..., 0], outcome.images[~odd].mean(0)[..., 0], atol=1e-6)
    np.testing.assert_allclose(outcome.std, outcome.images[~odd].std(0, ddof=1), rtol=1e-4)


@pytest.mark.slow
def test_the_uncertainty_has_the_units_and_the_shape_of_the_result():
    image = picture(40, 36)[..., 0]
    maps = []
    for scale in (1, 4000):
        outcome = dipjax.denoise(scale * image, seeds=2, range=(0, scale), return_result=True)[1]
        assert outcome.uncertainty.shape == (40, 36, 1) and (outcome.uncertainty > 0).all()
        assert outcome.noise > 0
        maps.append(outcome.uncertainty / scale)
    np.testing.assert_allclose(*maps, rtol=1e-3)
    for more in ({"seeds": 1}, {"stop": "none", "seeds": 2}, {"stop": "emv", "seeds": 2}):
        outcome = dipjax.denoise(image, return_result=True, **more)[1]
        assert outcome.uncertainty is None and outcome.noise is None and outcome.gained is None


@pytest.mark.slow
def test_what_was_known_has_no_error():
    mask = np.zeros((40, 36), bool)
    mask[5:15, 5:15] = True
    outcome = dipjax.inpaint(picture(40, 36)[..., 0], mask, seeds=2, stop="held-out", return_result=True)[1]
    assert (outcome.uncertainty[~mask] == 0).all() and (outcome.uncertainty[mask] > 0).all()
    assert outcome.gained is None  # a picture with holes is no answer
    large = dipjax.super_resolve(picture(20, 18)[..., 0], 2, seeds=2, return_result=True)[1]
    assert large.uncertainty.shape == (40, 36, 1)


@pytest.mark.slow
def test_the_uncertainty_of_tiles_is_blended_and_unknown_where_a_tile_is_not_finished():
    image = picture(40, 70)[..., 0]
    how = {"seeds": 2, "tile": 40, "tile_overlap": 10, "return_result": True}
    outcome = dipjax.denoise(image, **how)[1]
    assert outcome.num_tiles == 2
    assert outcome.uncertainty.shape == (40, 70, 1) and (outcome.uncertainty > 0).all()
    first = dipjax.denoise(image[:, :40], seeds=2, return_result=True, tile=0)[1].uncertainty
    part = outcome.uncertainty[:, :30]
    np.testing.assert_allclose(part.mean(), first[:, :30].mean(), rtol=2)
    broken = dipjax.denoise(image, callback=lambda now: now.num_steps > 0, **how)[1]
    assert np.isfinite(broken.uncertainty[:, :30]).all() and np.isnan(broken.uncertainty[:, 40:]).all()


@pytest.mark.parametrize(("error", "gained"), [(0.01, True), (0.2, False)])
def test_where_nothing_was_gained_the_input_is_the_result(monkeypatch, error, gained):
    found = dipjax.uncertainty.Uncertainty(np.full((9, 8, 1), error, np.float32), 0.1)
    monkeypatch.setattr(dipjax.uncertainty, "calibrated", lambda result, problem: found)
    restored, outcome = dipjax.denoise(GRAY, seeds=2, return_result=True)
    assert outcome.gained is gained
    assert np.array_equal(restored, GRAY) is not gained
    assert not np.array_equal(dipjax.dejpeg(GRAY, seeds=2), GRAY)  # there the input is no answer


def test_every_tile_stops_for_itself():
    outcome = dipjax.denoise(
        picture(40, 36)[..., 0], seeds=2, tile=32, tile_overlap=8, stop=Discrepancy(sigma=10.0), num_iter=60, return_result=True
    )[1]
    assert outcome.ending == "stopped"
    assert outcome.result.steps.tolist() == outcome.result.best_steps.tolist() == [4, 4]
    assert outcome.result.num_steps == 4


LOSSES = {"mse": losses.MSE(), "l1": losses.L1(), "huber": losses.Huber(), "huber:0.05": losses.Huber(0.05), "poisson:9": losses.Poisson(9)}


@pytest.mark.parametrize("word", LOSSES)
def test_a_loss_has_a_word(word):
    task = COMMANDS["denoise"].build(GRAY[..., None])
    assert setting_for(task, Options(loss=word))[0].recipe.loss == LOSSES[word]


def test_a_loss_of_the_caller_is_used():
    outcome = dipjax.denoise(GRAY, seeds=1, loss=lambda prediction, measurement: 7 + 0 * prediction.sum(), return_result=True)[1]
    np.testing.assert_array_equal(outcome.metrics.loss, 7)


def test_a_schedule_ends_with_the_steps_however_many_there_are(monkeypatch):
    for schedule in ("cosine", optimizers.Cosine()):
        outcome = dipjax.denoise(GRAY, seeds=1, num_iter=2, schedule=schedule, return_result=True)[1]
        assert outcome.recipe.optimizer == optimizers.Adam(0.01, optimizers.Cosine())
    monkeypatch.setattr(flow, "_GENEROUS", 4)
    assert dipjax.denoise(GRAY, seeds=1, schedule="cosine", return_result=True)[1].num_steps == 3  # it would not fall in time
    assert dipjax.denoise(GRAY, seeds=1, schedule="warm-up", return_result=True)[1].num_steps == 12
    plain, cosine = (dipjax.denoise(GRAY, seeds=1, num_iter=50, rng=1, schedule=word, stop="none") for word in ("constant", "cosine"))
    assert np.abs(plain - cosine).max() > 1e-5


def sized(channels):
    return Setting(mixer_recipe(channels), 2560, side=256)


def test_a_recipe_that_is_a_function_keeps_its_rule_for_the_size_which_is_that_of_a_tile():
    noisy = picture(32, 18)[..., 0]
    steps = [
        dipjax.denoise(noisy, seeds=1, recipe=recipe, return_result=True, **options)[1].num_steps
        for recipe, options in ((sized, {}), (partial(sized), {}), (sized(1), {}), (sized, {"num_iter": 2}), (sized(1).recipe, {}))
    ]
    assert steps == [240, 240, 240, 2, 3]


def test_a_generator_of_the_caller_brings_its_setting():
    outcome = dipjax.denoise(GRAY, seeds=1, num_iter=1, generator="siren", option=("width=4", "num_layers=2"), return_result=True)[1]
    assert outcome.setting_name == "for_generator(siren)"
    assert outcome.recipe.generator.width == 4


def test_help_explains_every_option_and_the_signature_has_them():
    for spec in COMMANDS.values():
        signature = inspect.signature(spec.function)
        for name, argument in arguments().items():
            assert f"  {name}: {argument.help}." in inspect.getdoc(spec.function)
            assert signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert set(signature.parameters) == {"image", *spec.parameters, *arguments()}


def changed(value):
    image = GRAY.copy()
    image[1, 2] = value
    return image


PICTURES = {
    "NaN": changed(np.nan),
    "infinite": changed(np.inf),
    "empty": np.zeros((0, 8)),
    "no channels": np.zeros((9, 8, 0)),
    "one axis": np.zeros(9),
    "four axes": np.zeros((2, 9, 8, 3)),
    "scalar": np.float32(0.5),
    "complex": np.zeros((9, 8), complex),
    "text": np.full((9, 8), "a"),
    "a name": "photo.png",
    "masked": np.ma.masked_array(GRAY, MASK),
}


@each_task
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_is_not_valid_is_refused_by_name(task, name):
    if getattr(task, "func", None) in (dipjax.inpaint, dipjax.restore_photo) and name in {"NaN", "infinite"}:
        return
    if task is mri and name == "complex":
        return
    with pytest.raises(ValueError, match="^image "):
        task(PICTURES[name])


OPTIONS = {
    "seeds": (0, -1, 2.5, True, 10**30, "4", None),
    "num_iter": (0, 2.5, 2**31, True),
    "budget": (0, -1, np.nan, np.inf, "1", True),
    "stop": ("soon", "", 3, HeldOut, losses.MSE()),
    "sigma": (0, -1, np.nan, "25", True, 0.1),
    "rng": ("0", -1, 2**64, 2**32, True, 0.5, jax.random.split(jax.random.key(0), 2)),
    "batching": ("scan", 3, jax.vmap),
    "recipe": ("slow", 3, "missing.json", lambda channels: 3),
    "generator": ("gan",),
    "option": ("width=3", (3,), ("width=3",)),
    "loss": ("l2", "huber:", "huber:x", "huber:-1", "huber:nan", "mse:1", "l1:2", "poisson:0", 3),
    "schedule": ("linear", 3),
    "tile": (-1, 1.5, True),
    "tile_overlap": (0, "8"),
    "truth": (GRAY.T, "clean.png"),
    "channel_axis": ("c", 3, True, 1.0),
    "callback": (3,),
}
CASES = [(name, value) for name, values in OPTIONS.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{name} {i}" for i, (name, _) in enumerate(CASES)])
def test_an_option_that_is_not_valid_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        dipjax.denoise(GRAY, **{name: value})


def test_what_is_no_option_is_a_type_error():
    with pytest.raises(TypeError, match="steps"):
        dipjax.denoise(GRAY, steps=3)


REFUSED = {
    "channel_axis": partial(dipjax.denoise, np.zeros((9, 8, 3)), channel_axis=None),
    "generator": partial(dipjax.flash, GRAY, GRAY, generator="siren"),
    "generator ": partial(dipjax.denoise, GRAY, generator="siren", recipe="fast"),
    "mask": partial(dipjax.inpaint, GRAY, MASK.T),
    "mask ": partial(dipjax.inpaint, GRAY, MASK[..., None]),
    "mask  ": partial(dipjax.inpaint, GRAY, np.ones_like(MASK)),
    "mask   ": partial(dipjax.inpaint, GRAY, 255 * MASK.astype(np.uint8)),
    "mask    ": partial(dipjax.inpaint, GRAY, np.where(MASK, np.nan, 0)),
    "mask     ": partial(dipjax.inpaint, GRAY, np.zeros_like(MASK)),
    "mask      ": partial(dipjax.inpaint, GRAY, "mask.png"),
    "grow": partial(dipjax.inpaint, GRAY, MASK, -1),
    "grow ": partial(dipjax.inpaint, GRAY, MASK, 1.5),
    "factor": partial(dipjax.super_resolve, GRAY, 0),
    "factor ": partial(dipjax.super_resolve, GRAY, 0.5),
    "factor  ": partial(dipjax.super_resolve, GRAY, True),
    "kernel": partial(dipjax.super_resolve, GRAY, 2, "nearest"),
    "noise": partial(dipjax.denoise, GRAY, "salt"),
    "psf": partial(dipjax.deblur, GRAY, np.ones((3, 3, 1))),
    "psf ": partial(dipjax.deblur, GRAY, np.ones((10, 3))),
    "psf    ": partial(dipjax.deblur, GRAY, 1),
    "psf     ": partial(dipjax.deblur, GRAY, 9),
    "psf      ": partial(dipjax.deblur, GRAY, True),
    "psf       ": partial(dipjax.deblur, GRAY, 3.0),
    "psf  ": partial(dipjax.deblur, GRAY, np.zeros((3, 3))),
    "psf   ": partial(dipjax.deblur, GRAY, np.full((3, 3), 1j)),
    "boundary": partial(dipjax.deblur, GRAY, np.ones((3, 3)), boundary="mirror"),
    "flash": partial(dipjax.flash, GRAY, GRAY[:5]),
    "flash ": partial(dipjax.flash, GRAY, "flash.png"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_that_is_not_valid_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name.strip()):
        REFUSED[name]()


def test_when_every_seed_diverges_the_error_says_what_to_try():
    explosive = mixer_recipe(1, optimizer=optax.sgd(np.inf))
    with pytest.raises(RuntimeError, match="all 2 seeds diverged.*learning rate"):
        dipjax.denoise(GRAY, seeds=2, recipe=explosive)
