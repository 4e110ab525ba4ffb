import itertools
import logging
import threading
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dipjax import metrics, operators
from dipjax.core import layouts as batching
from dipjax.core import loop as train
from dipjax.fitting import inputs, losses
from dipjax.operators import problem, resampling
from tests.conftest import ADAM, Mixer, mixer_recipe, picture, skip_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEYS = train.seeds(0, 3)
RECIPE = mixer_recipe()
TASK = problem.denoising(picture(), truth=picture(seed=1))
SKIP = skip_recipe()
LAYOUTS = pytest.mark.parametrize("layout", [batching.one_by_one, jax.vmap])


# Arguments in the order in which `iterate` passes them, so that all share its compiled programs.


def start(recipe, layout=batching.one_by_one):
    return train._init_all(recipe, KEYS, TASK, layout, None)


def advance(recipe, states, num_steps=7, layout=batching.one_by_one):
    return train._run_all(recipe, states, TASK, num_steps, layout, None)


def poison(layout=batching.one_by_one):
    """Runs three seeds of which the second has a NaN in its parameters."""
    states = start(RECIPE)
    weight = states.params["weight"].at[1, 0, 0].set(jnp.nan)
    return advance(RECIPE, states._replace(params=states.params | {"weight": weight}), layout=layout)


FOUR_KEYS = jax.random.split(jax.random.key(3), (2, 2))


def inpaintings(with_truth=True):
    def one(n):
        return problem.inpainting(picture(seed=n), picture(seed=n + 9) > 0.4, truth=picture(seed=n) if with_truth else None)

    return [one(0), one(1)]


@pytest.fixture(scope="module")
def three_skips():
    return train.restore(SKIP, KEYS, TASK, batching=batching.one_by_one)


# The loop.


@pytest.mark.parametrize("recipe", [RECIPE, SKIP], ids=["mixer", "skip"])
def test_seven_steps_are_three_and_then_four(recipe):
    states = start(recipe)
    whole, history = advance(recipe, states)
    part, first = advance(recipe, states, 3)
    resumed, second = advance(recipe, part, 4)
    chex.assert_trees_all_equal(resumed, whole)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a[:, :3], b[:, :4]], 1), first, second)
    chex.assert_trees_all_equal(joined, history)


def test_iterate_in_single_steps_equals_one_chunk():
    states, history = advance(RECIPE, start(RECIPE))
    *_, single = train.iterate(RECIPE, KEYS, TASK, batching=batching.one_by_one, chunk_seconds=0)
    chex.assert_trees_all_equal((single.state, single.metrics), (states, history))


def test_run_fills_the_steps_taken_and_leaves_the_rest_nan():
    state, history = train.run(RECIPE, train.init(RECIPE, KEYS[0], TASK), TASK, 3)
    chex.assert_tree_all_finite(jax.tree.map(lambda curve: curve[:3], history))
    assert all(jnp.isnan(curve[3:]).all() for curve in history)
    assert state.step == 3


def test_no_step_at_all_changes_nothing():
    state = train.init(RECIPE, KEYS[0], TASK)
    chex.assert_trees_all_equal(train.run(RECIPE, state, TASK, 0)[0], state)


def test_a_step_is_the_documented_formula():
    recipe = mixer_recipe(penalty=losses.total_variation(0.5), loss=losses.l1)
    state = train.init(recipe, KEYS[0], TASK)
    state = state._replace(opt_state=ADAM.init(state.params))

    def output(params):
        noise = jax.random.normal(jax.random.fold_in(state.key, state.step), state.z.shape)
        return recipe.generator.apply(params, state.z + recipe.input_noise * noise)

    def objective(params):
        return losses.l1(output(params), TASK.measurement) + losses.total_variation(0.5)(output(params))

    updates, _ = ADAM.update(jax.grad(objective)(state.params), state.opt_state, state.params)
    new, now = train.train_step(recipe, state, TASK)
    chex.assert_trees_all_close(new.params, optax.apply_updates(state.params, updates), rtol=1e-5)
    chex.assert_trees_all_close(new.average, output(state.params), rtol=1e-5)
    chex.assert_trees_all_close(now.loss, losses.l1(output(state.params), TASK.measurement), rtol=1e-5)


def test_metrics_and_output_belong_to_the_parameters_before_the_update():
    recipe = mixer_recipe(smoothing=0.0)
    state = train.init(recipe, KEYS[0], TASK)
    for _ in range(3):
        noise = jax.random.normal(jax.random.fold_in(state.key, state.step), state.z.shape)
        image = recipe.generator.apply(state.params, state.z + recipe.input_noise * noise)
        state, now = train.train_step(recipe, state, TASK)
        chex.assert_trees_all_close(state.average, image, rtol=1e-5)
        np.testing.assert_allclose(now.loss, losses.mse(image, TASK.measurement), rtol=1e-5)
        np.testing.assert_allclose(now.psnr, metrics.psnr(image, TASK.truth), rtol=1e-5)
        np.testing.assert_allclose(now.psnr_average, now.psnr, rtol=1e-6)


def test_the_average_is_exponential_with_a_window_that_grows_from_the_first_output():
    last = mixer_recipe(smoothing=0.0)
    expected, state = None, train.init(last, KEYS[0], TASK)
    for step in range(RECIPE.num_steps):
        state, _ = train.train_step(last, state, TASK)
        weight = max(1 - RECIPE.smoothing, 10 / (step + 10))
        expected = weight * state.average + (1 - weight) * (0 if expected is None else expected)
    found, _ = train.run(RECIPE, train.init(RECIPE, KEYS[0], TASK), TASK, 7)
    chex.assert_trees_all_close(found.average, expected, rtol=1e-5)
    chex.assert_trees_all_close(found.params, state.params, rtol=1e-5)


def test_late_in_a_run_the_average_is_the_official_one():
    late = train.init(RECIPE, KEYS[0], TASK)._replace(step=jnp.int32(2000), average=jnp.full(TASK.shape, 0.25))
    image = train.train_step(mixer_recipe(smoothing=0.0), late, TASK)[0].average
    found = train.train_step(RECIPE, late, TASK)[0].average
    chex.assert_trees_all_close(found, 0.9 * late.average + 0.1 * image, rtol=1e-5)


def test_the_loss_falls():
    result = train.restore(mixer_recipe(num_steps=50), KEYS, TASK)
    assert (result.metrics.loss[:, -1] < result.metrics.loss[:, 0]).all()


def test_training_is_blind_to_the_truth():
    blind = train.restore(RECIPE, KEYS, replace(TASK, truth=None))
    seeing = train.restore(RECIPE, KEYS, TASK)
    chex.assert_trees_all_equal(blind.state, seeing.state)
    assert np.isnan([blind.metrics.psnr, blind.metrics.psnr_average]).all()
    assert np.isfinite([seeing.metrics.psnr, seeing.metrics.psnr_average]).all()


def test_the_noise_is_fresh_in_every_step():
    frozen = mixer_recipe(optimizer=optax.sgd(0.0), smoothing=0.0, input_noise=0.5)
    state = train.init(frozen, KEYS[0], TASK)
    first, _ = train.train_step(frozen, state, TASK)
    second, _ = train.train_step(frozen, first, TASK)
    assert jnp.abs(first.average - second.average).max() > 0.01


# Runs do not know of each other.


def test_a_run_in_a_batch_equals_the_run_alone(three_skips):
    alone, history = advance(SKIP, jax.tree.map(lambda leaf: leaf[1:2], start(SKIP)))
    together = jax.tree.map(lambda leaf: leaf[1:2], three_skips.state)
    chex.assert_trees_all_close((together.params, together.average), (alone.params, alone.average), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(three_skips.metrics.loss[1:2], history.loss, rtol=1e-6)


def test_vmap_equals_one_by_one(three_skips):
    states, history = advance(SKIP, start(SKIP), layout=jax.vmap)
    np.testing.assert_allclose(history.loss, three_skips.metrics.loss, rtol=1e-3)
    np.testing.assert_allclose(states.average, three_skips.images, atol=1e-3)


def test_a_seed_does_not_depend_on_how_many_there_are():
    chex.assert_trees_all_equal(train.seeds(5, 2), train.seeds(jax.random.key(5), 7)[:2])
    few, many = (train.restore(RECIPE, train.seeds(0, n), TASK, batching=batching.one_by_one) for n in (2, 3))
    chex.assert_trees_all_close(few.images, many.images[:2], atol=1e-7)


def test_seeds_are_all_different():
    assert len({tuple(row) for row in np.asarray(jax.random.key_data(train.seeds(0, 50))).tolist()}) == 50


@LAYOUTS
def test_one_key_is_the_one_seed_of_a_batch_of_one(layout):
    alone, batch = (train.restore(RECIPE, keys, TASK, batching=layout) for keys in (KEYS[0], KEYS[:1]))
    chex.assert_trees_all_equal(alone.image, batch.image)
    chex.assert_shape([alone.image, alone.std, batch.std], TASK.shape)
    chex.assert_shape([alone.metrics.loss, batch.metrics.loss[0]], (7,))
    assert (alone.std == 0).all()
    assert (batch.std == 0).all()


@pytest.mark.parametrize(("layout", "with_truth"), [(batching.one_by_one, True), (jax.vmap, False)])
def test_a_batch_of_problems_equals_separate_restorations(layout, with_truth):
    tasks = inpaintings(with_truth)
    go = partial(train.restore, RECIPE, batching=layout)
    one_each = go(FOUR_KEYS[:, 0], problem.stack(tasks), problem_axis=0)
    two_each = go(FOUR_KEYS, problem.stack(tasks), problem_axis=0)
    estimates = [one_each.images, one_each.image, one_each.std, two_each.image, two_each.std]
    chex.assert_shape(estimates, (2, *TASK.shape))
    chex.assert_shape(two_each.images, (2, 2, *TASK.shape))
    chex.assert_shape(two_each.metrics.loss, (2, 2, 7))
    for n, task in enumerate(tasks):
        separate = go(FOUR_KEYS[n], task)
        np.testing.assert_allclose(two_each.images[n], separate.images, atol=1e-6)
        np.testing.assert_allclose(two_each.metrics.loss[n], separate.metrics.loss, rtol=1e-5)
        np.testing.assert_allclose(two_each.image[n], separate.image, atol=1e-6)
        np.testing.assert_allclose(two_each.std[n], separate.std, atol=1e-6)
        np.testing.assert_allclose(one_each.image[n], separate.images[0], atol=1e-6)


def test_the_estimate_is_the_mean_over_seeds_and_the_uncertainty_their_deviation():
    result = train.restore(RECIPE, KEYS, TASK)
    np.testing.assert_allclose(result.image, np.mean(result.images, 0), atol=1e-6)
    np.testing.assert_allclose(result.std, np.std(result.images, 0), atol=1e-6)


# Divergence.


@LAYOUTS
def test_a_diverged_seed_is_frozen_and_leaves_the_others_bit_identical(layout):
    healthy = advance(RECIPE, start(RECIPE), layout=layout)
    states, history = poison(layout)
    assert states.alive.tolist() == [True, False, True]
    others = lambda tree: jax.tree.map(lambda leaf: leaf[jnp.array([0, 2])], tree)  # noqa: E731
    chex.assert_trees_all_equal(others((states, history)), others(healthy))
    assert np.isnan(history.loss[1]).all()
    assert int(states.step[1]) == 7


def test_a_diverged_seed_is_left_out_of_mean_and_deviation():
    result = train.Result(*poison(), 7, 0.0, 0.0, over_seeds=True)
    np.testing.assert_allclose(result.image, np.mean(result.images[jnp.array([0, 2])], 0), atol=1e-6)
    np.testing.assert_allclose(result.std, np.std(result.images[jnp.array([0, 2])], 0), atol=1e-6)


def test_a_run_that_dies_late_keeps_what_it_had():
    def explode_at_three(step):
        return jnp.where(step == 3, jnp.inf, 0.1)

    recipe = mixer_recipe(optimizer=optax.sgd(explode_at_three))
    result = train.restore(recipe, KEYS, TASK, batching=batching.one_by_one)
    before, _ = advance(recipe, start(recipe), 3)
    assert not result.alive.any()
    chex.assert_trees_all_close((result.state.params, result.images), (before.params, before.average), atol=1e-7)
    chex.assert_tree_all_finite((result.images, result.state.params))


def test_when_every_run_is_dead_the_loop_ends_and_the_estimate_is_nan():
    broken = replace(TASK, measurement=TASK.measurement.at[0, 0, 0].set(jnp.nan))
    results = list(train.iterate(RECIPE, KEYS, broken, chunk_seconds=0))
    assert [result.num_steps for result in results] == [0, 1]
    assert not results[-1].alive.any()
    assert np.isnan(results[-1].image).all()
    assert np.isnan(results[-1].std).all()


def test_in_a_batch_of_problems_only_the_broken_one_dies():
    healthy, broken = inpaintings()
    tasks = problem.stack([healthy, replace(broken, measurement=broken.measurement * jnp.nan)])
    result = train.restore(RECIPE, FOUR_KEYS[:, 0], tasks, problem_axis=0)
    assert result.alive.tolist() == [True, False]
    chex.assert_tree_all_finite(result.image[0])
    assert np.isnan(result.image[1]).all()
    many = train.restore(RECIPE, FOUR_KEYS, tasks, problem_axis=0)
    chex.assert_tree_all_finite((many.image[0], many.std[0]))
    assert np.isnan([many.image[1], many.std[1]]).all()


# The host side.


def test_a_second_restoration_of_the_same_shape_compiles_nothing(caplog):
    def go(seed):
        task = problem.denoising(picture(seed=seed), truth=picture(seed=seed + 1))
        result = train.restore(mixer_recipe(), train.seeds(seed, 3), task, batching=batching.one_by_one)
        return jax.block_until_ready((result.image, result.std))

    go(0)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        go(1)
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]


def test_any_number_of_steps_is_one_program():
    before = train._run_all._cache_size()
    recipe = mixer_recipe(num_steps=11)
    for num_steps in (0, 1, 5, 11):
        advance(recipe, start(RECIPE), num_steps)
    assert train._run_all._cache_size() == before + 1


def test_results_of_different_chunks_do_not_share_memory():
    results = list(train.iterate(RECIPE, KEYS, TASK, chunk_seconds=0))
    assert [result.num_steps for result in results] == list(range(8))
    assert not any(np.shares_memory(a.metrics.loss, b.metrics.loss) for a, b in itertools.combinations(results, 2))
    for result in results:
        assert np.isfinite(result.metrics.loss).sum() == 3 * result.num_steps
    results[-1].metrics.loss[:] = 0
    assert np.isfinite(results[3].metrics.loss).sum() == 9


def test_the_callback_sees_every_chunk_and_ends_the_restoration_with_true():
    seen = []

    def callback(result):
        seen.append(result.num_steps)
        return result.num_steps >= 1

    result = train.restore(RECIPE, KEYS, TASK, callback=callback)
    assert seen == [0, 1]
    assert result.num_steps == 1
    assert result.state.step.tolist() == [1, 1, 1]


def test_a_callback_without_a_verdict_lets_the_restoration_finish():
    assert train.restore(RECIPE, KEYS, TASK, callback=lambda result: None).num_steps == 7


def test_two_restorations_at_once_equal_two_in_turn():
    tasks = [TASK, problem.denoising(picture(seed=4), truth=picture(seed=5))]
    go = partial(train.restore, RECIPE, KEYS)
    expected, found = [go(task).images for task in tasks], [None, None]

    def work(n):
        found[n] = go(tasks[n]).images

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chex.assert_trees_all_equal(found, expected)


# What plugs in.


def test_a_function_with_arrays_is_an_operator():
    def weigh(weights, image):
        return (image * weights).sum(0, keepdims=True)

    weights = jnp.asarray(picture(seed=3))
    operator = jax.tree_util.Partial(weigh, weights)
    task = problem.Problem(operator(jnp.asarray(picture())), operator, (9, 8, 1))
    result = train.restore(mixer_recipe(num_steps=50), KEYS[:2], problem.stack([task, task]), problem_axis=0)
    chex.assert_tree_all_finite(result.image)
    assert (result.metrics.loss[:, -1] < result.metrics.loss[:, 0]).all()


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.polyak_sgd(max_learning_rate=0.1),  # needs value=
        optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau()),  # needs value= after one that does not
        optax.contrib.schedule_free_adamw(0.1),
        optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    ],
    ids=["polyak", "plateau", "schedule free", "accumulated"],
)
def test_any_optax_optimizer_works(optimizer):
    recipe, state = mixer_recipe(optimizer=optimizer), train.init(RECIPE, KEYS[0], TASK)
    state = state._replace(opt_state=optimizer.init(state.params))
    new, history = train.run(recipe, state, TASK, 7)
    chex.assert_tree_all_finite((new.params, history.loss))
    assert bool(new.alive)
    assert history.loss[-1] < history.loss[0]


def test_the_optimizer_is_told_the_value_whose_gradient_it_gets():
    def update(updates, state, params=None, *, value, **extra):
        del state, params, extra
        return jax.tree.map(jnp.zeros_like, updates), value

    recorder = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    recipe = mixer_recipe(optimizer=recorder, penalty=lambda image: 3.0 + image.mean(), smoothing=0.0)
    state = train.init(RECIPE, KEYS[0], TASK)._replace(opt_state=jnp.zeros(()))
    new, now = train.train_step(recipe, state, TASK)
    np.testing.assert_allclose(new.opt_state, now.loss + 3 + new.average.mean(), rtol=1e-5)


def test_the_guide_is_the_input():
    task = replace(TASK, guide=jnp.asarray(picture(channels=2, seed=2)))
    recipe = train.Recipe(Mixer(), inputs.guide, 3, ADAM)
    chex.assert_trees_all_equal(train.restore(recipe, KEYS[0], task).state.z, task.guide)


def test_a_recipe_precision_of_highest_reaches_every_product():
    recipe = replace(skip_recipe(), precision="highest")
    state = jax.eval_shape(partial(train.init, recipe), KEYS[0], TASK)
    program = str(jax.make_jaxpr(partial(train.train_step, recipe))(state, TASK))
    products = program.count("dot_general[") + program.count("conv_general_dilated[")
    assert products == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 10


def test_without_a_precision_the_one_of_the_caller_holds():
    state = jax.eval_shape(partial(train.init, RECIPE), KEYS[0], TASK)
    with jax.default_matmul_precision("highest"):
        program = str(jax.make_jaxpr(partial(train.train_step, mixer_recipe(smoothing=0.5)))(state, TASK))
    assert "Precision.HIGHEST" in program


@pytest.mark.skipif(not hasattr(jax, "enable_x64"), reason="this JAX has the switch under another name")
def test_a_run_is_float32_where_jax_allows_64_bits_too():
    with jax.enable_x64(True):
        state = jax.eval_shape(partial(train.init, SKIP), KEYS[0], TASK)
        chex.assert_type([state.z, state.average, *jax.tree.leaves(state.params)], jnp.float32)
        after, now = jax.eval_shape(partial(train.train_step, SKIP), state, TASK)
        chex.assert_type([*now, *jax.tree.leaves(after.params)], jnp.float32)


# What is refused. Nothing is computed for it.

WRONG_RECIPES = {
    "num_steps": replace(RECIPE, num_steps=0),
    "input": replace(RECIPE, input=lambda key, task: jnp.zeros((3, 3, 4))),
    "input ": replace(RECIPE, input=lambda key, task: jnp.zeros((9, 8))),
    "generator": mixer_recipe(3),
    "generator ": mixer_recipe(3, loss=losses.l1),
    "loss": replace(RECIPE, loss=lambda prediction, measurement: prediction - measurement),
    "penalty": replace(RECIPE, penalty=lambda image: image),
}


@pytest.mark.parametrize("name", WRONG_RECIPES)
def test_a_recipe_that_does_not_fit_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"^{name.strip()}: found"):
        train.restore(WRONG_RECIPES[name], KEYS, TASK)


def test_an_operator_that_does_not_fit_its_measurement_is_refused():
    task = problem.Problem(TASK.measurement, operators.Downsample(2, resampling.BOX), TASK.shape)
    with pytest.raises(ValueError, match="^operator: found"):
        train.restore(RECIPE, KEYS, task)


def test_a_guide_of_another_size_is_refused_by_name():
    recipe = train.Recipe(Mixer(), inputs.guide, 3, ADAM)
    with pytest.raises(ValueError, match="^input: found"):
        train.restore(recipe, KEYS[0], replace(TASK, guide=jnp.zeros((3, 3, 1))))


@pytest.mark.parametrize("problem_axis", [1, -1, "0"])
def test_another_problem_axis_is_refused(problem_axis):
    with pytest.raises(ValueError, match="^problem_axis: found"):
        train.restore(RECIPE, KEYS, TASK, problem_axis=problem_axis)


@pytest.mark.parametrize(("shape", "problem_axis"), [((0,), None), ((), 0), ((3,), 0), ((3, 2), 0), ((2, 2, 2), 0), ((2, 0), 0)])
def test_keys_of_the_wrong_shape_are_refused_by_name(shape, problem_axis):
    task = TASK if problem_axis is None else problem.stack([TASK, TASK])
    keys = jax.random.split(jax.random.key(0), shape) if shape else jax.random.key(0)
    with pytest.raises(ValueError, match="^key: found"):
        train.restore(RECIPE, keys, task, problem_axis=problem_axis)


@pytest.mark.parametrize("key", [0, jax.random.PRNGKey(0)], ids=["int", "raw"])
def test_a_key_that_is_not_typed_is_refused_by_name(key):
    with pytest.raises(ValueError, match="^key: found"):
        train.restore(RECIPE, key, TASK)


def image_errors(make):
    nan = np.full((4, 5, 1), np.nan)
    return {
        "rank": partial(make, np.zeros((4, 5))),
        "empty": partial(make, np.zeros((0, 5, 1))),
        "NaN": partial(make, nan),
        "infinite": partial(make, -np.inf * np.ones((4, 5, 1))),
        "no channels": partial(make, np.zeros((4, 5, 0))),
    }


IMAGE = np.full((4, 5, 2), 0.5)
REFUSED = {
    f"{constructor} {name}": ("measurement", call)
    for constructor, make in {
        "denoising": problem.denoising,
        "inpainting": lambda image: problem.inpainting(image, np.ones((4, 5))),
        "super_resolution": lambda image: problem.super_resolution(image, 2),
        "deblurring": lambda image: problem.deblurring(image, np.ones((1, 1))),
    }.items()
    for name, call in image_errors(make).items()
} | {
    "truth of another size": ("truth", lambda: problem.denoising(IMAGE, truth=IMAGE[:3])),
    "truth of the small size": ("truth", lambda: problem.super_resolution(IMAGE, 2, truth=IMAGE)),
    "truth with NaN": ("truth", lambda: problem.denoising(IMAGE, truth=IMAGE * np.nan)),
    "known of another size": ("known", lambda: problem.inpainting(IMAGE, np.ones((5, 4)))),
    "known of other channels": ("known", lambda: problem.inpainting(IMAGE, np.ones((4, 5, 3)))),
    "nothing known": ("known", lambda: problem.inpainting(IMAGE, np.zeros((4, 5)))),
    "known with NaN": ("known", lambda: problem.inpainting(IMAGE, np.where(np.eye(4, 5), np.nan, 1))),
    "known up to 255": ("known", lambda: problem.inpainting(IMAGE, np.full((4, 5), 255))),
    "known below 0": ("known", lambda: problem.inpainting(IMAGE, np.where(np.eye(4, 5), -1, 1))),
    "factor 0": ("factor", lambda: problem.super_resolution(IMAGE, 0)),
    "factor 1.5": ("factor", lambda: problem.super_resolution(IMAGE, 1.5)),
    "factor text": ("factor", lambda: problem.super_resolution(IMAGE, "2")),
    "boundary": ("boundary", lambda: problem.deblurring(IMAGE, np.ones((1, 1)), boundary="mirror")),
    "psf too large": ("psf", lambda: problem.deblurring(IMAGE, np.ones((5, 5)))),
    "psf too large, circular": ("psf", lambda: problem.deblurring(IMAGE, np.ones((3, 6)), boundary="circular")),
    "psf of rank 3": ("psf", lambda: problem.deblurring(IMAGE, np.ones((3, 3, 1)))),
    "psf empty": ("psf", lambda: problem.deblurring(IMAGE, np.ones((0, 3)))),
    "psf zero": ("psf", lambda: problem.deblurring(IMAGE, np.zeros((3, 3)))),
    "psf negative": ("psf", lambda: problem.deblurring(IMAGE, -np.eye(3))),
    "psf with NaN": ("psf", lambda: problem.deblurring(IMAGE, np.eye(3) * np.nan)),
    "stack of nothing": ("problems", lambda: problem.stack([])),
    "stack of two sizes": ("problems", lambda: problem.stack([problem.denoising(IMAGE), problem.denoising(IMAGE[:3])])),
    "stack of two tasks": (
        "problems",
        lambda: problem.stack([problem.denoising(IMAGE), problem.inpainting(IMAGE, np.ones((4, 5)))]),
    ),
    "stack with and without truth": (
        "problems",
        lambda: problem.stack([problem.denoising(IMAGE), problem.denoising(IMAGE, truth=IMAGE)]),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_problem_that_is_not_valid_is_refused_by_name(name):
    argument, call = REFUSED[name]
    with pytest.raises(ValueError, match=f"^{argument}: "):
        call()


def test_a_measurement_is_zero_where_it_is_not_known():
    task = problem.inpainting(IMAGE, np.eye(4, 5, dtype=bool))
    chex.assert_trees_all_equal(task.measurement, jnp.asarray(IMAGE * np.eye(4, 5)[..., None], jnp.float32))


def test_optimizers_with_a_line_search_work():
    recipe = mixer_recipe(optimizer=optax.lbfgs(), num_steps=3, input_noise=0.0)
    result = train.restore(recipe, train.seeds(0, 2), problem.denoising(picture()))
    assert bool(result.alive.all())
    assert (result.metrics.loss[:, -1] < result.metrics.loss[:, 0]).all()


def test_the_default_layout_spares_memory_on_accelerators_when_there_is_much_to_do(monkeypatch):
    assert batching.default() is batching.one_by_one  # on CPU always
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert batching.default(4 * 64**2) is jax.vmap
    assert batching.default(8 * 512**2) is batching.one_by_one


BACKTRACKING = mixer_recipe(backtracking=3.0)
DARK = 0.2 * picture()


def worse(state):
    """The same state with parameters that make quite another image."""
    return state._replace(params=jax.tree.map(lambda leaf: leaf + 9.0, state.params))


def test_backtracking_changes_nothing_while_the_output_does_not_fall_off():
    task = problem.denoising(DARK)
    plain = train.restore(mixer_recipe(), train.seeds(0, 2), task)
    careful = train.restore(BACKTRACKING, train.seeds(0, 2), task)
    chex.assert_trees_all_close(plain.state.params, careful.state.params, rtol=1e-5)
    np.testing.assert_allclose(plain.image, careful.image, rtol=1e-5)


def test_a_step_that_falls_off_is_undone_with_optimizer_and_average_and_tried_again():
    task = problem.denoising(DARK)
    state = train.init(BACKTRACKING, jax.random.key(0), task)
    for _ in range(3):
        before = state
        state, _ = train.train_step(BACKTRACKING, state, task)
    undone, metrics = train.train_step(BACKTRACKING, worse(state), task)
    assert -10 * np.log10(metrics.loss) < float(state.kept.fit) - 3
    chex.assert_trees_all_equal(undone.params, before.params)
    chex.assert_trees_all_equal(undone.opt_state, before.opt_state)
    np.testing.assert_array_equal(undone.average, state.average)
    chex.assert_trees_all_equal(undone.kept._replace(tolerance=state.kept.tolerance), state.kept)
    assert undone.step == state.step + 1
    again, _ = train.train_step(BACKTRACKING, undone, task)
    assert again.alive
    assert any((jax.tree.leaves(again.params)[0] != jax.tree.leaves(undone.params)[0]).ravel())
    assert undone.kept.tolerance == 2 * state.kept.tolerance > again.kept.tolerance


def test_a_run_whose_every_step_falls_off_still_gets_on():
    rising = train.Recipe(Mixer(1), inputs.noise(4), 30, optax.sgd(-300.0), input_noise=0.03, backtracking=0.1)  # away from the optimum
    plain = replace(rising, backtracking=None)
    task = problem.denoising(DARK)
    start, far = train.init(rising, jax.random.key(0), task), train.restore(plain, train.seeds(0, 1), task).metrics.loss[0, -1]
    end, metrics = train.run(rising, start, task, 30)
    assert metrics.loss[-1] > 0.5 * far > metrics.loss[0]


@pytest.mark.parametrize("layout", [jax.vmap, batching.one_by_one])
def test_backtracking_works_per_seed(layout):
    task = problem.denoising(DARK)
    states = [train.train_step(BACKTRACKING, train.init(BACKTRACKING, key, task), task)[0] for key in train.seeds(0, 2)]
    mixed = [states[0], worse(states[1])]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *mixed)
    together = jax.jit(layout(partial(train.train_step, BACKTRACKING), in_axes=(0, None)))(batch, task)[0]
    alone = [train.train_step(BACKTRACKING, state, task)[0] for state in mixed]
    for k in (0, 1):
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, k=k: leaf[k], together.params), alone[k].params, atol=1e-5)
    chex.assert_trees_all_equal(alone[1].params, states[1].kept.params)


@pytest.mark.parametrize("options", [{"backtracking": 0.0}, {"backtracking": -1.0}, {"backtracking": 5.0, "input_noise": 0.0}])
def test_backtracking_that_cannot_work_is_refused(options):
    with pytest.raises(ValueError, match="^backtracking: found"):
        train.check(mixer_recipe(**options), problem.denoising(picture()))
