"""Many runs: each is the run alone, whatever the layout and the chunks; going on from a state; what the host keeps and refuses."""

import threading
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dipjax import compiling
from dipjax.core import drive, layouts, loop
from dipjax.core.problem import Problem, stack
from dipjax.fitting import inputs, losses
from dipjax.fitting.optimizers import Adam, Cosine, WithParameterNoise
from dipjax.generators.plain import Plain
from dipjax.operators import problem
from tests.conftest import Mixer, light_keys, mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEYS = light_keys(3)
RECIPE = mixer_recipe()
TASK = problem.denoising(picture(), truth=picture(seed=1))
LAYOUTS = pytest.mark.parametrize("layout", [layouts.ONE_BY_ONE, layouts.TOGETHER], ids=["one by one", "together"])
restore = partial(drive.restore, num_steps=7)
FOUR_KEYS = jax.random.split(KEYS[2], (2, 2))


def alone(recipe, key, task, num_steps=7):
    """The run as anyone can compute it from the public parts."""
    return loop.run(recipe, loop.init(recipe, key, task), task, num_steps)


def entry(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def inpaintings(with_truth=True):
    def one(n):
        return problem.inpainting(picture(seed=n), picture(seed=n + 9) > 0.4, truth=picture(seed=n) if with_truth else None)

    return [one(0), one(1)]


def poisoned(key=1):
    """The states of three seeds of which one has a NaN in its parameters."""
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(loop.init(RECIPE, k, TASK) for k in KEYS))
    return state._replace(params=state.params | {"weight": state.params["weight"].at[key, 0, 0].set(jnp.nan)})


# Runs do not know of each other.


@pytest.mark.parametrize(
    "recipe",
    [
        mixer_recipe(optimizer=optax.adam(0.1), backtracking=5.0, watch=(lambda estimate, task: estimate.mean(),)),
        replace(RECIPE, generator=Plain(1, 2, 3)),
    ],
    ids=["mixer", "convolutions"],
)
def test_a_run_in_a_batch_is_bit_for_bit_the_run_alone(recipe):
    keys = drive.seeds(0, 3)
    batch, single = (restore(recipe, some, TASK, batching=layouts.ONE_BY_ONE) for some in (keys, keys[1]))
    state, metrics = alone(recipe, keys[1], TASK)
    chex.assert_trees_all_equal(entry((batch.state, batch.metrics), 1), (state, metrics))
    chex.assert_trees_all_equal((single.state, single.metrics), (state, metrics))
    np.testing.assert_array_equal(batch.images[1], state.average)


def test_a_run_under_vmap_is_the_run_alone_up_to_rounding():
    together = restore(RECIPE, KEYS, TASK, batching=layouts.TOGETHER)
    for k, key in enumerate(KEYS):
        state, metrics = alone(RECIPE, key, TASK)
        np.testing.assert_allclose(together.images[k], state.average, atol=1e-5)
        np.testing.assert_allclose(together.metrics.loss[k], metrics.loss, rtol=1e-4)


def test_a_seed_does_not_depend_on_how_many_there_are():
    chex.assert_trees_all_equal(drive.seeds(5, 2), drive.seeds(jax.random.key(5), 7)[:2])
    few, many = (restore(RECIPE, KEYS[:n], TASK, batching=layouts.ONE_BY_ONE) for n in (2, 3))
    np.testing.assert_array_equal(few.images, many.images[:2])


def test_seeds_are_all_different():
    assert len({tuple(row) for row in np.asarray(jax.random.key_data(drive.seeds(0, 50))).tolist()}) == 50


@LAYOUTS
def test_one_key_is_the_one_seed_of_a_batch_of_one(layout):
    single, batch = (restore(RECIPE, keys, TASK, batching=layout) for keys in (KEYS[0], KEYS[:1]))
    np.testing.assert_array_equal(single.image, batch.image)
    chex.assert_shape([single.image, single.std, batch.std], TASK.shape)
    chex.assert_shape([single.metrics.loss, batch.metrics.loss[0]], (7,))
    assert np.isnan(single.std).all() and np.isnan(batch.std).all()


@pytest.mark.parametrize(("layout", "with_truth"), [(layouts.ONE_BY_ONE, True), (layouts.TOGETHER, False), (layouts.Layout(3), True)])
def test_a_batch_of_problems_equals_separate_runs(layout, with_truth):
    tasks = inpaintings(with_truth)
    go = partial(restore, RECIPE, batching=layout, problem_axis=0)
    one_each, two_each = go(FOUR_KEYS[:, 0], stack(tasks)), go(FOUR_KEYS, stack(tasks))
    chex.assert_shape([one_each.images, one_each.image, one_each.std, two_each.image, two_each.std], (2, *TASK.shape))
    chex.assert_shape(two_each.images, (2, 2, *TASK.shape))
    chex.assert_shape(two_each.metrics.loss, (2, 2, 7))
    for n, k in np.ndindex(2, 2):
        state, metrics = alone(RECIPE, FOUR_KEYS[n, k], tasks[n])
        np.testing.assert_allclose(two_each.images[n, k], state.average, atol=1e-5)
        np.testing.assert_allclose(two_each.metrics.loss[n, k], metrics.loss, rtol=1e-4)
    np.testing.assert_allclose(one_each.images, two_each.images[:, 0], atol=1e-5)
    np.testing.assert_allclose(two_each.image, two_each.images.mean(1), atol=1e-6)
    np.testing.assert_allclose(two_each.std, two_each.images.std(1, ddof=1), atol=1e-6)


@LAYOUTS
def test_what_a_batch_shares_is_said_once(layout):
    """One psf for two pictures, and a tree of which only a part has an entry for each."""
    psf = np.random.default_rng(0).random((3, 3))
    tasks = [problem.deblurring(picture(seed=n), psf) for n in range(2)]
    batch = Problem(jnp.stack([task.measurement for task in tasks]), tasks[0].operator, TASK.shape)
    axes = Problem(measurement=0, operator=None, shape=TASK.shape)
    shared = restore(RECIPE, FOUR_KEYS, batch, problem_axis=axes, batching=layout)
    copied = restore(RECIPE, FOUR_KEYS, stack(tasks), problem_axis=0, batching=layout)
    np.testing.assert_allclose(shared.images, copied.images, atol=1e-6)
    np.testing.assert_allclose(shared.images[1, 0], alone(RECIPE, FOUR_KEYS[1, 0], tasks[1])[0].average, atol=1e-5)


def both(image):
    return {"whole": image, "part": image[::2]}


def test_of_a_tree_only_a_part_may_have_an_entry_for_each():
    pictures = [picture(seed=n) for n in range(2)]
    tasks = [problem.general({"whole": y, "part": picture(seed=7)[::2]}, both, TASK.shape) for y in pictures]
    batch = tasks[0].replace(measurement={"whole": jnp.stack(pictures), "part": tasks[0].measurement["part"]})
    axes = Problem(measurement={"whole": 0, "part": None}, operator=None, shape=TASK.shape)
    found = restore(RECIPE, FOUR_KEYS[:, 0], batch, problem_axis=axes)
    for n in range(2):
        np.testing.assert_array_equal(found.images[n], alone(RECIPE, FOUR_KEYS[n, 0], tasks[n])[0].average)


def test_the_estimate_is_the_mean_over_seeds_and_the_uncertainty_their_unbiased_deviation():
    result = restore(RECIPE, KEYS, TASK)
    np.testing.assert_allclose(result.image, np.mean(result.images, 0), atol=1e-6)
    np.testing.assert_allclose(result.std, np.std(result.images, 0, ddof=1), atol=1e-6)
    assert result.std.min() > 0


# Everything random is a seed's own.


def noises(recipe, num_steps=2):
    """What every seed's parameters have gone, if nothing but noise moves them."""
    same = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), loop.init(recipe, KEYS[0], TASK))
    own = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(loop.init(recipe, key, TASK) for key in KEYS[:2]))
    start = same._replace(key=own.key, opt_state=own.opt_state)  # of equal parameters
    end = drive.restore(recipe, start, TASK, num_steps=num_steps).state
    return [np.concatenate([np.ravel(leaf[k]) for leaf in jax.tree.leaves(end.params)]) for k in range(2)], same


@pytest.mark.parametrize("optimizer", [
    optax.chain(optax.sgd(0.0), optax.add_noise(0.1, 0.0, 0)), optax.chain(optax.add_noise(0.1, 0.0, jax.random.key(0)), optax.sgd(1.0)),
    optax.adamw(0.1), optax.noisy_sgd(0.5, key=0),
], ids=["raw key", "typed key", "without noise", "noisy sgd"])  # fmt: skip
def test_an_optimizer_that_adds_noise_gives_every_seed_its_own(optimizer):
    (first, second), _ = noises(mixer_recipe(optimizer=optimizer, input_noise=0.0))
    if isinstance(optimizer.init({"a": jnp.zeros(1)})[0], optax.ScaleByAdamState):
        np.testing.assert_array_equal(first, second)  # the other cases differ by nothing but the noise
    else:
        assert np.abs(first - second).min() > 0


class Filter(Mixer):
    """Its weights have the shape of a convolution's."""

    def init(self, key, z):
        return {"kernel": jax.random.normal(key, (3, 3, z.shape[-1], 5)), "bias": jnp.zeros(20)}

    def apply(self, params, z):
        return jax.nn.sigmoid(z @ params["kernel"].sum((0, 1, 3))[:, None] + params["bias"].sum())


def test_parameter_noise_is_another_one_for_every_seed_and_step():
    recipe = replace(RECIPE, generator=Filter(), optimizer=WithParameterNoise(optax.sgd(0.0)), input_noise=0.0)
    (first, second), start = noises(recipe, 1)
    begin = np.concatenate([np.ravel(leaf[0]) for leaf in jax.tree.leaves(start.params)])
    moved = np.abs(first - begin) > 0
    assert moved.mean() == 0.9
    assert abs(np.corrcoef((first - begin)[moved], (second - begin)[moved])[0, 1]) < 0.2
    (later, _), _ = noises(recipe, 2)
    assert abs(np.corrcoef((first - begin)[moved], (later - first)[moved])[0, 1]) < 0.2


# Going on.


def test_a_run_that_goes_on_is_bit_for_bit_the_unbroken_one():
    recipe = mixer_recipe(optimizer=Adam(0.05, Cosine()), backtracking=5.0)
    whole = drive.restore(recipe, KEYS, TASK, num_steps=50)
    for part in drive.iterate(recipe, KEYS, TASK, num_steps=50, chunk_seconds=0):
        if part.num_steps == 20:
            break
    resumed = drive.restore(recipe, part.state, TASK, num_steps=50)
    assert resumed.num_steps == 30
    chex.assert_trees_all_equal(resumed.state, whole.state)
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b], -1), part.metrics, resumed.metrics)
    chex.assert_trees_all_equal(joined, whole.metrics)


@LAYOUTS
def test_states_of_a_batch_of_problems_go_on(layout):
    go = partial(drive.restore, RECIPE, problem=stack(inpaintings()), problem_axis=0, batching=layout)
    whole, part = go(FOUR_KEYS, num_steps=9), go(FOUR_KEYS, num_steps=4)
    resumed = go(part.state, num_steps=9)
    np.testing.assert_allclose(resumed.images, whole.images, atol=1e-6)
    assert resumed.state.step.tolist() == [[9, 9], [9, 9]] and resumed.num_steps == 5


def test_a_state_that_has_all_its_steps_is_returned_as_it_is():
    done = restore(RECIPE, KEYS, TASK)
    again = restore(RECIPE, done.state, TASK)
    assert again.num_steps == 0 and again.metrics.loss.shape == again.metrics.psnr.shape == (3, 0)
    chex.assert_trees_all_equal(again.state, done.state)


def test_a_single_state_goes_on_and_steps_of_zero_begin_the_schedule_anew():
    state, _ = alone(RECIPE, KEYS[0], TASK)
    on = drive.restore(RECIPE, state, TASK, num_steps=9)
    np.testing.assert_array_equal(on.image, loop.run(RECIPE, state, TASK, 2)[0].average)
    anew = drive.restore(RECIPE, state._replace(step=jnp.zeros_like(state.step)), TASK, num_steps=9)
    assert anew.num_steps == 9


@pytest.mark.parametrize(
    ("name", "dtype"), [("step", float), ("step", np.uint8), ("alive", float), ("z", np.float16), ("z", np.float64), ("z", np.float32)]
)
def test_numbers_of_another_type_in_a_state_are_taken_as_they_are_meant(name, dtype):
    state = restore(RECIPE, KEYS, TASK).state
    old = getattr(state, name)
    new = np.zeros(3, dtype) if name == "step" else old.astype(dtype)
    results = [drive.restore(RECIPE, state._replace(**{name: one}), TASK, num_steps=9) for one in (new, new.astype(old.dtype))]
    np.testing.assert_array_equal(results[0].images, results[1].images)
    assert results[0].num_steps == results[1].num_steps == (9 if name == "step" else 2)


def test_a_state_with_an_input_of_another_size_is_refused():
    state = restore(RECIPE, KEYS, TASK).state
    with pytest.raises(ValueError, match="whose z are of other shapes"):
        drive.restore(RECIPE, state._replace(z=state.z[:, 1:]), TASK, num_steps=9)


def test_without_compilation_the_result_is_the_same_and_functions_see_numbers():
    seen = []

    def watch(estimate, problem):
        seen.append(isinstance(estimate, jax.core.Tracer))
        return (estimate - problem.measurement).mean()

    def go():
        seen.clear()
        recipe = mixer_recipe(watch=(watch,))
        return drive.restore(recipe, KEYS[:2], TASK, num_steps=2, batching=layouts.Layout(1, 1)).images

    expected = go()
    assert seen and all(seen)
    with jax.disable_jit():
        np.testing.assert_allclose(go(), expected, atol=1e-5)
    assert not all(seen)


def test_a_run_goes_on_whatever_precision_the_caller_has_set_since():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        results = drive.iterate(RECIPE, KEYS, TASK, num_steps=5, chunk_seconds=0)
        next(results), next(results)
    *_, last = results
    assert last.num_steps == 5


def test_a_warm_start_keeps_the_parameters_and_begins_another_optimizer_anew():
    warm = restore(RECIPE, KEYS, TASK).state
    other = mixer_recipe(optimizer=optax.sgd(0.5, momentum=0.9), loss=losses.L1(), backtracking=4.0)
    nudged = problem.denoising(picture(seed=3), truth=picture(seed=1))
    result = drive.restore(other, warm._replace(step=np.zeros_like(warm.step)), nudged, num_steps=4)
    for k in range(3):
        state = loop.init(other, KEYS[k], nudged)
        params, average = entry((warm.params, warm.average), k)
        kept = state.kept._replace(params=params)
        expected = state._replace(params=params, average=average, kept=kept)
        chex.assert_trees_all_equal(entry(result.state, k), loop.run(other, expected, nudged, 4)[0])


def test_the_same_optimizer_with_another_rate_keeps_its_moments():
    warm = restore(RECIPE, KEYS[0], TASK).state
    faster = mixer_recipe(optimizer=Adam(0.1))
    chex.assert_trees_all_equal(drive.restore(faster, warm, TASK, num_steps=9).state, loop.run(faster, warm, TASK, 2)[0])


@pytest.mark.parametrize("rates", [[0.0, 0.1], np.array([0.0, 0.1]), np.float32([0.0, 0.1])], ids=["list", "float64", "float32"])
def test_every_run_may_have_a_rate_of_its_own(rates):
    recipe = mixer_recipe(optimizer=optax.inject_hyperparams(optax.adam)(learning_rate=0.01))
    start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(loop.init(recipe, key, TASK) for key in KEYS[:2]))
    start.opt_state.hyperparams["learning_rate"] = np.asarray(rates)
    result = restore(recipe, start, TASK)
    moved = np.abs(result.state.params["weight"] - np.asarray(start.params["weight"])).max((1, 2))
    assert moved[0] == 0 and 0.3 < moved[1] < 1
    np.testing.assert_allclose(result.state.opt_state.hyperparams["learning_rate"], [0, 0.1], rtol=1e-6)


def test_an_input_may_be_refreshed_between_two_calls():
    task, recipe = problem.denoising(picture()), mixer_recipe()
    first = drive.restore(recipe, drive.seeds(0, 2), task, num_steps=2)
    seen = np.array(first.state.z)
    seen[..., :1] = first.images - 0.5
    as_it_is, refreshed = (drive.restore(recipe, first.state._replace(z=z), task, num_steps=4) for z in (first.state.z, seen))
    np.testing.assert_array_equal(refreshed.state.z, seen)
    assert refreshed.num_steps == 2 and (np.asarray(refreshed.state.step) == 4).all()
    assert not np.allclose(refreshed.images, as_it_is.images)


def test_a_state_of_another_network_or_size_is_refused():
    state = restore(RECIPE, KEYS, TASK).state
    for recipe, task in ((mixer_recipe(2), problem.denoising(picture(channels=2))), (RECIPE, problem.denoising(picture(7, 7)))):
        with pytest.raises(ValueError, match="^key: found a state whose"):
            restore(recipe, state, task)


# Divergence.


@LAYOUTS
def test_a_diverged_seed_is_frozen_and_leaves_the_others_bit_identical(layout):
    healthy, sick = restore(RECIPE, KEYS, TASK, batching=layout), restore(RECIPE, poisoned(), TASK, batching=layout)
    assert sick.alive.tolist() == [True, False, True]
    for k in (0, 2):
        chex.assert_trees_all_equal(entry((sick.state, sick.metrics), k), entry((healthy.state, healthy.metrics), k))
    assert np.isposinf(sick.metrics.loss[1]).all() and np.isneginf(sick.metrics.psnr[1]).all()
    assert sick.state.step[1] == 7


def test_a_diverged_seed_is_left_out_of_mean_and_deviation():
    result = restore(RECIPE, poisoned(), TASK)
    np.testing.assert_allclose(result.image, np.mean(result.images[[0, 2]], 0), atol=1e-6)
    np.testing.assert_allclose(result.std, np.std(result.images[[0, 2]], 0, ddof=1), atol=1e-6)


def test_one_survivor_has_an_estimate_but_no_deviation():
    start = poisoned()
    start = start._replace(params=start.params | {"bias": start.params["bias"].at[0].set(jnp.nan)})
    result = restore(RECIPE, start, TASK)
    assert result.alive.tolist() == [False, False, True]
    np.testing.assert_array_equal(result.image, result.images[2])
    assert np.isnan(result.std).all()


def test_when_every_run_is_dead_the_loop_ends_and_the_estimate_is_nan():
    broken = replace(TASK, measurement=TASK.measurement.at[0, 0, 0].set(jnp.nan))
    results = list(drive.iterate(RECIPE, KEYS, broken, num_steps=7, chunk_seconds=0))
    assert [result.num_steps for result in results] == [0, 1]
    assert not results[-1].alive.any()
    assert np.isnan(results[-1].image).all() and np.isnan(results[-1].std).all()


def test_in_a_batch_of_problems_only_the_broken_one_dies():
    healthy, broken = inpaintings()
    tasks = stack([healthy, replace(broken, measurement=broken.measurement * jnp.nan)])
    result, many = (restore(RECIPE, keys, tasks, problem_axis=0) for keys in (FOUR_KEYS[:, 0], FOUR_KEYS))
    assert result.alive.tolist() == [True, False]
    chex.assert_tree_all_finite((result.image[0], many.image[0], many.std[0]))
    assert np.isnan(result.image[1]).all() and np.isnan([many.image[1], many.std[1]]).all()


@pytest.mark.parametrize(("truth", "options", "layout"), [
    (None, {}, layouts.ONE_BY_ONE), (TASK.truth, {}, layouts.TOGETHER),
    (None, {"backtracking": 5.0}, layouts.TOGETHER), (TASK.truth, {"backtracking": 5.0}, layouts.ONE_BY_ONE),
])  # fmt: skip
def test_a_healthy_restoration_makes_no_nan_anywhere(truth, options, layout):
    with jax.debug_nans(True):
        result = restore(mixer_recipe(**options), KEYS, replace(TASK, truth=truth), batching=layout)
    chex.assert_tree_all_finite((result.images, result.metrics))
    assert (result.metrics.psnr is None) == (truth is None)


# The host side.


def test_iterate_in_single_steps_equals_one_chunk_and_its_results_stay_as_they_were():
    whole = drive.restore(RECIPE, KEYS, TASK, num_steps=12)
    results = list(drive.iterate(RECIPE, KEYS, TASK, num_steps=12, chunk_seconds=0))
    assert [result.num_steps for result in results] == list(range(13))
    chex.assert_trees_all_equal((results[-1].state, results[-1].metrics), (whole.state, whole.metrics))
    for result in results:
        chex.assert_trees_all_equal(result.metrics, jax.tree.map(lambda curve, n=result.num_steps: curve[:, :n], whole.metrics))
        assert (result.state.step == result.num_steps).all()


def test_the_curves_of_many_chunks_are_in_order(monkeypatch):
    """With room for five steps, so that the arrays grow several times, against all steps at once."""
    num_steps, counted = 37, mixer_recipe(watch=(lambda estimate, task: estimate[0, 0, 0],), smoothing=0.0)
    whole = drive.restore(counted, KEYS, TASK, num_steps=num_steps)
    monkeypatch.setattr(loop, "LONGEST_CHUNK", 5)
    compiling.forget()
    results = list(drive.iterate(counted, KEYS, TASK, num_steps=num_steps, chunk_seconds=1e-3))
    compiling.forget()
    assert len(results) > 8
    for result in results:
        expected = jax.tree.map(lambda curve, n=result.num_steps: curve[:, :n], whole.metrics)
        chex.assert_trees_all_close(result.metrics, expected, rtol=1e-5)


def test_a_watched_quantity_is_a_curve():
    watch = (lambda estimate, task: jnp.max(estimate), lambda estimate, task: jnp.mean((estimate - task.measurement) ** 2))
    result = restore(mixer_recipe(watch=watch, smoothing=0.0), KEYS, TASK)
    chex.assert_shape(result.metrics.watched, (3, 7))
    np.testing.assert_allclose(result.metrics.watched[1], result.metrics.loss, rtol=1e-5)
    np.testing.assert_allclose(result.metrics.watched[0][:, -1], result.images.max((1, 2, 3)), rtol=1e-5)


def test_a_billion_steps_cost_no_memory_until_they_are_taken():
    seen = []
    result = drive.restore(RECIPE, KEYS, TASK, num_steps=10**9, callback=lambda now: bool(seen.append(now)) or now.num_steps >= 1)
    assert result.num_steps == 1 and len(seen) == 2
    assert result.metrics.loss.base.nbytes <= 4 * 3 * loop.LONGEST_CHUNK


def test_the_callback_sees_every_chunk_and_ends_the_restoration_with_true():
    seen = []
    result = restore(RECIPE, KEYS, TASK, callback=lambda now: bool(seen.append(now.num_steps)) or now.num_steps >= 1)
    assert seen == [0, 1]
    assert result.num_steps == 1 and result.state.step.tolist() == [1, 1, 1]
    assert restore(RECIPE, KEYS, TASK, callback=lambda now: None).num_steps == 7


def test_two_restorations_at_once_equal_two_in_turn():
    tasks = [TASK, problem.denoising(picture(seed=4), truth=picture(seed=5))]
    expected, found = [restore(RECIPE, KEYS, task).images for task in tasks], [None, None]

    def work(n):
        found[n] = restore(RECIPE, KEYS, tasks[n]).images

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chex.assert_trees_all_equal(found, expected)


# What plugs in.


def weigh(weights, image):
    return (image * weights).sum(0, keepdims=True)


def test_a_function_with_arrays_is_an_operator_and_many_are_a_batch():
    operators = [jax.tree_util.Partial(weigh, picture(seed=n)) for n in (3, 4)]
    tasks = [problem.general(operator(picture()), operator, TASK.shape) for operator in operators]
    result = drive.restore(RECIPE, FOUR_KEYS[:, 0], stack(tasks), problem_axis=0, num_steps=50)
    assert (result.metrics.loss[:, -1] < result.metrics.loss[:, 0]).all()
    np.testing.assert_allclose(result.images[1], alone(RECIPE, FOUR_KEYS[1, 0], tasks[1], 50)[0].average, atol=1e-6)


def test_an_operator_may_hold_a_number():
    task = problem.general(0.5 * picture(), jax.tree_util.Partial(jnp.multiply, 0.5), TASK.shape)
    result = drive.restore(mixer_recipe(optimizer=Adam(0.1)), KEYS, task, num_steps=50)
    assert (result.metrics.loss[:, -1] < result.metrics.loss[:, 0]).all()


def test_the_guide_is_the_input():
    task = replace(TASK, guide=jnp.asarray(picture(channels=2, seed=2)))
    recipe = replace(RECIPE, input=inputs.Guide())
    np.testing.assert_array_equal(restore(recipe, KEYS[0], task).state.z, task.guide)


def fourier(image):
    return jnp.fft.fft2(image, axes=(0, 1))


def pair(image):
    return jnp.fft.fft2(image, axes=(0, 1)), image[:2]


MEASUREMENTS = {
    "complex": (fourier, TASK.shape), "real and complex": (pair, TASK.shape), "dictionary": (both, TASK.shape),
    "volume": (lambda image: image.mean(0), (4, 5, 6, 2)), "signal": (jnp.cumsum, (20, 1)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "layout"), [(name, layouts.TOGETHER) for name in MEASUREMENTS] + [("real and complex", layouts.ONE_BY_ONE)]
)
def test_measurements_of_every_kind_are_fitted(name, layout):
    operator, shape = MEASUREMENTS[name]
    truth = 0.3 + 0.4 * np.random.default_rng(0).random(shape, np.float32)
    task = problem.general(jax.tree.map(np.asarray, operator(jnp.asarray(truth))), operator, shape, truth=truth)
    recipe = replace(mixer_recipe(shape[-1], optimizer=Adam(0.05)), generator=Mixer(shape[-1]))
    with jax.debug_nans(True):
        result = drive.restore(recipe, KEYS[:2], task, num_steps=40, batching=layout)
    assert result.image.shape == shape
    assert result.alive.all()
    assert (result.metrics.loss[:, -1] < result.metrics.loss[:, 0]).all()


class Wave(Mixer):
    """Makes a complex image."""

    def apply(self, params, z):
        x = super().apply(params, z)
        return jax.lax.complex(x, 1 - x)


def test_a_complex_image_has_an_estimate_and_a_real_deviation():
    truth = picture() + 1j * picture(seed=1)
    task = problem.denoising(truth, truth=truth)
    result = restore(replace(RECIPE, generator=Wave()), KEYS, task)
    assert np.iscomplexobj(result.image) and not np.iscomplexobj(result.std)
    np.testing.assert_allclose(result.std, np.std(result.images, 0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(
        result.metrics.psnr_average[:, -1], -10 * np.log10(np.mean(np.abs(result.images - truth) ** 2, (1, 2, 3))), rtol=1e-4
    )


# What is refused. Nothing is computed for it.


WRONG_RECIPES = {
    "input": {"input": lambda key, task: jnp.zeros((3, 3, 4))},
    "input ": {"input": lambda key, task: jnp.zeros((9, 8))},
    "generator": {"generator": Mixer(3)},
    "loss": {"loss": lambda prediction, measurement: prediction - measurement},
    "penalty": {"penalty": lambda image: image},
    "backtracking": {"backtracking": 0.0},
    "backtracking ": {"backtracking": -1.0},
    "backtracking  ": {"backtracking": 5.0, "input_noise": 0.0},
}


@pytest.mark.parametrize("name", WRONG_RECIPES)
def test_a_recipe_that_does_not_fit_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"^{name.strip()}: found"):
        restore(replace(RECIPE, **WRONG_RECIPES[name]), KEYS, TASK)


@pytest.mark.parametrize("num_steps", [0, -1, True, 2**31, 1.5, "7", None, np.float32(3)])
def test_a_number_of_steps_that_is_none_is_refused(num_steps):
    with pytest.raises(ValueError, match="^num_steps: found"):
        drive.restore(RECIPE, KEYS, TASK, num_steps=num_steps)


def test_a_number_of_steps_of_numpy_is_fine():
    assert drive.restore(RECIPE, KEYS, TASK, num_steps=np.int64(2)).num_steps == 2


@pytest.mark.parametrize(("name", "task"), [
    ("operator", TASK.replace(operator=problem.super_resolution(picture(), 2).operator)),
    ("problem", TASK.replace(operator=fourier)),
    ("measurement", TASK.replace(measurement=jnp.zeros(TASK.shape, int))),
    ("input", TASK.replace(guide=jnp.zeros((3, 3, 1)))),
], ids=["shape", "function", "whole numbers", "guide"])  # fmt: skip
def test_a_problem_that_does_not_fit_is_refused_by_name(name, task):
    recipe = replace(RECIPE, input=inputs.Guide()) if name == "input" else RECIPE
    with pytest.raises(ValueError, match=f"^{name}: found"):
        restore(recipe, KEYS, task)


@pytest.mark.parametrize("problem_axis", [1, -1, "0", True, Problem(1, None, ()), Problem({"a": 0}, None, ()), 0.0, [0], np.zeros(2)])
def test_another_problem_axis_is_refused(problem_axis):
    with pytest.raises(ValueError, match="^problem_axis: found"):
        restore(RECIPE, KEYS, TASK, problem_axis=problem_axis)


@pytest.mark.parametrize(
    ("shape", "problem_axis"), [((0,), None), ((3, 2), None), ((), 0), ((3,), 0), ((3, 2), 0), ((2, 2, 2), 0), ((2, 0), 0)]
)
def test_keys_of_the_wrong_shape_are_refused_by_name(shape, problem_axis):
    task = TASK if problem_axis is None else stack([TASK, TASK])
    keys = jax.random.split(jax.random.key(0), shape) if shape else jax.random.key(0)
    with pytest.raises(ValueError, match="^key: found"):
        restore(RECIPE, keys, task, problem_axis=problem_axis)


@pytest.mark.parametrize("key", [0, jax.random.PRNGKey(0), None], ids=["int", "raw", "none"])
def test_a_key_that_is_not_typed_is_refused_by_name(key):
    with pytest.raises(ValueError, match="^key: found"):
        restore(RECIPE, key, TASK)


def test_a_batch_whose_parts_are_of_different_length_is_refused():
    batch = stack([TASK, TASK])
    for wrong in (batch.replace(truth=batch.truth[:1]), batch.replace(operator=jax.tree_util.Partial(jnp.multiply, 0.5))):
        with pytest.raises(ValueError, match="^problem: found first axes"):
            restore(RECIPE, KEYS[:2], wrong, problem_axis=0)


def test_what_is_no_recipe_or_no_problem_is_refused_by_name():
    from dipjax.recipes import fast

    with pytest.raises(ValueError, match="^recipe: found Setting, .*setting.recipe"):
        restore(fast.denoising(1), KEYS, TASK)
    with pytest.raises(ValueError, match="^problem: found ndarray"):
        restore(RECIPE, KEYS, picture())


@pytest.mark.parametrize("batching", ["vmap", jax.vmap, 1])
def test_a_layout_that_is_none_is_refused(batching):
    with pytest.raises(ValueError, match="^batching: found"):
        restore(RECIPE, KEYS, TASK, batching=batching)
