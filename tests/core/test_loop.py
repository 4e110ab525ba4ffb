"""One run: what a step computes, what the average is, what it means to die, and that steps are steps however they are taken."""

from dataclasses import dataclass, replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dipjax.core import drive, loop
from dipjax.core.state import psnr
from dipjax.fitting import losses, optimizers, penalties
from dipjax.fitting.optimizers import Adam, Cosine
from dipjax.operators import problem
from tests.conftest import light_keys, mixer_recipe, picture, skip_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = light_keys(1)[0]
RECIPE = mixer_recipe()
TASK = problem.denoising(picture(), truth=picture(seed=1))
LAST = mixer_recipe(smoothing=0.0)


def noise(recipe, state):
    return recipe.input_noise * loop.noise(state)


# A step.


def test_a_step_is_the_documented_formula():
    loss, penalty, adam = losses.L1(), penalties.TotalVariation(0.5), optax.adam(0.01)
    recipe = mixer_recipe(penalty=penalty, loss=loss)
    state = loop.init(recipe, KEY, TASK)

    def output(params):
        return recipe.generator.apply(params, state.z + noise(recipe, state))

    grads = jax.grad(lambda params: loss(output(params), TASK.measurement) + penalty(output(params)))(state.params)
    updates, _ = adam.update(grads, adam.init(state.params), state.params)
    new, now = loop.train_step(recipe, state, TASK)
    chex.assert_trees_all_close(new.params, optax.apply_updates(state.params, updates), rtol=1e-5)
    chex.assert_trees_all_close(new.average, output(state.params), rtol=1e-5)
    np.testing.assert_allclose(now.loss, loss(output(state.params), TASK.measurement), rtol=1e-5)  # without the penalty


def test_metrics_and_output_belong_to_the_parameters_before_the_update():
    state = loop.init(LAST, KEY, TASK)
    for _ in range(3):
        image = LAST.generator.apply(state.params, state.z + noise(LAST, state))
        state, now = loop.train_step(LAST, state, TASK)
        chex.assert_trees_all_close(state.average, image, rtol=1e-5)
        np.testing.assert_allclose(now.loss, losses.MSE()(image, TASK.measurement), rtol=1e-5)
        np.testing.assert_allclose(now.psnr, psnr(image, TASK.truth), rtol=1e-5)
        np.testing.assert_allclose(now.psnr_average, now.psnr, rtol=1e-6)


def test_the_average_is_exponential_with_a_window_that_grows_from_the_first_output():
    expected, state = None, loop.init(LAST, KEY, TASK)
    for step in range(7):
        state, _ = loop.train_step(LAST, state, TASK)
        weight = max(1 - RECIPE.smoothing, 10 / (step + 10))
        expected = weight * state.average + (1 - weight) * (0 if expected is None else expected)
    found, _ = loop.run(RECIPE, loop.init(RECIPE, KEY, TASK), TASK, 7)
    chex.assert_trees_all_close(found.average, expected, rtol=1e-5)
    chex.assert_trees_all_close(found.params, state.params, rtol=1e-5)


def test_late_in_a_run_the_average_is_the_official_one():
    late = loop.init(RECIPE, KEY, TASK)._replace(step=jnp.int32(2000), average=jnp.full(TASK.shape, 0.25))
    image = loop.train_step(LAST, late, TASK)[0].average
    found = loop.train_step(RECIPE, late, TASK)[0].average
    chex.assert_trees_all_close(found, 0.9 * late.average + 0.1 * image, rtol=1e-5)


def test_the_noise_is_fresh_in_every_step():
    frozen = mixer_recipe(optimizer=optax.sgd(0.0), smoothing=0.0, input_noise=0.5)
    first, _ = loop.train_step(frozen, loop.init(frozen, KEY, TASK), TASK)
    second, _ = loop.train_step(frozen, first, TASK)
    assert jnp.abs(first.average - second.average).max() > 0.01


def test_training_is_blind_to_the_truth():
    blind, seeing = (loop.run(RECIPE, loop.init(RECIPE, KEY, task), task, 5) for task in (replace(TASK, truth=None), TASK))
    chex.assert_trees_all_equal(blind[0], seeing[0])
    assert blind[1].psnr is blind[1].psnr_average is None
    chex.assert_tree_all_finite(seeing[1])


def test_a_perfect_fit_is_no_nan():
    """The metrics of an exact estimate, in a process that stops at every NaN."""
    flat = problem.denoising(np.full((4, 4, 1), 0.5, np.float32), truth=np.full((4, 4, 1), 0.5, np.float32))
    recipe = mixer_recipe(input_noise=0.0)
    state = loop.init(recipe, KEY, flat)
    exact = state._replace(params=jax.tree.map(jnp.zeros_like, state.params), average=jnp.full((4, 4, 1), 0.5))
    with jax.debug_nans(True):
        _, now = loop.train_step(recipe, exact, flat)
    assert now.loss == 0 and np.isposinf(now.psnr) and np.isposinf(now.psnr_average)


# Steps in a row.


def test_seven_steps_are_three_and_then_four():
    recipe, state = RECIPE, loop.init(RECIPE, KEY, TASK)
    whole, history = loop.run(recipe, state, TASK, 7)
    part, first = loop.run(recipe, state, TASK, 3, 7)
    resumed, second = loop.run(recipe, part, TASK, 4)
    chex.assert_trees_all_equal(resumed, whole)
    chex.assert_trees_all_equal(jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second), history)


def test_a_run_longer_than_the_room_for_its_metrics_is_in_one_piece():
    state = loop.init(RECIPE, KEY, TASK)
    end, metrics = loop.run(RECIPE, state, TASK, 2 * loop.LONGEST_CHUNK + 1)
    assert end.step == metrics.loss.size == 2 * loop.LONGEST_CHUNK + 1
    assert metrics.loss.all()
    part, _ = loop.run(RECIPE, state, TASK, loop.LONGEST_CHUNK, 2 * loop.LONGEST_CHUNK + 1)
    np.testing.assert_array_equal(loop.run(RECIPE, part, TASK, 1)[1].loss, metrics.loss[loop.LONGEST_CHUNK : loop.LONGEST_CHUNK + 1])


def test_no_step_at_all_changes_nothing():
    state = loop.init(RECIPE, KEY, TASK)
    same, metrics = loop.run(RECIPE, state, TASK, 0)
    chex.assert_trees_all_equal(same, state)
    assert metrics.loss.shape == (0,)


def test_init_and_run_work_under_vmap_and_jit():
    keys = light_keys(2)

    def go(key):
        return loop.run(RECIPE, loop.init(RECIPE, key, TASK), TASK, 3)

    together = jax.jit(jax.vmap(go))(keys)
    for k in range(2):
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, k=k: leaf[k], together)[0].params, go(keys[k])[0].params, rtol=1e-5)
    assert together[1].loss.shape == (2, 3)


# Schedules follow progress.


@dataclass(frozen=True)
class Recorder:
    """Writes down, as its state, the progress it was last told, the rate of `schedule`, and the number of updates."""

    schedule: object = Cosine()

    def __call__(self, progress):
        def update(updates, state, params=None):
            told = jnp.stack([jnp.asarray(progress, jnp.float32), jnp.asarray(self.schedule(progress), jnp.float32), state[2] + 1])
            return jax.tree.map(jnp.zeros_like, updates), told

        return optax.GradientTransformation(lambda params: jnp.zeros(3), update)


@pytest.mark.parametrize("num_steps", [1, 2, 17, 1000, 1900])
def test_a_schedule_ends_for_every_number_of_steps(num_steps):
    """The last of n steps has the progress (n - 1) / n; one step more would have the rate zero."""
    recipe = mixer_recipe(optimizer=Recorder())
    for state in (
        loop.run(recipe, loop.init(recipe, KEY, TASK), TASK, num_steps)[0],
        drive.restore(recipe, KEY, TASK, num_steps=num_steps).state,
    ):
        progress, rate, count = np.asarray(state.opt_state)
        assert count == num_steps
        np.testing.assert_allclose(progress, (num_steps - 1) / num_steps, rtol=1e-6)
        np.testing.assert_allclose(rate, 0.5 - 0.5 * np.cos(np.pi / num_steps), atol=1e-6)


def test_a_shortened_run_ends_its_schedule_and_what_goes_on_beyond_it_stays_at_its_end():
    recipe = mixer_recipe(optimizer=Recorder())
    short, _ = loop.run(recipe, loop.init(recipe, KEY, TASK), TASK, 10, 30)
    np.testing.assert_allclose(short.opt_state[0], 9 / 30, rtol=1e-6)
    beyond, _ = loop.run(recipe, short, TASK, 30, 30)
    np.testing.assert_allclose(beyond.opt_state[:2], [1, 0], atol=1e-7)


def test_the_last_rate_of_a_cosine_is_nearly_nothing_and_its_first_the_whole():
    recipe = mixer_recipe(optimizer=Adam(0.1, Cosine()))
    state = loop.init(recipe, KEY, TASK)
    sizes = []
    for _ in range(20):
        new, _ = loop.run(recipe, state, TASK, 1, 20)
        sizes.append(jnp.abs(new.params["bias"] - state.params["bias"]).max())
        state = new
    assert 0.09 < sizes[0] < 0.11 and sizes[-1] < 0.01 * sizes[0]


# The penalty.


def by_progress(image, task, progress):
    return (1 - progress) * jnp.mean((image - task.truth) ** 2)


def test_a_penalty_may_see_the_problem_and_the_progress():
    recipe = mixer_recipe(penalty=by_progress, smoothing=0.0)
    state = loop.init(recipe, KEY, TASK)
    image = recipe.generator.apply(state.params, state.z + noise(recipe, state))
    for progress in (0.0, 0.25):
        np.testing.assert_allclose(
            loop.penalty(recipe, image, TASK, progress), (1 - progress) * jnp.mean((image - TASK.truth) ** 2), rtol=1e-6
        )
    plain, moved = (loop.train_step(LAST, state, TASK)[0], loop.train_step(recipe, state, TASK, 0.0)[0])
    assert (
        jnp.abs(plain.params["bias"] - moved.params["bias"]).max() > 0 or jnp.abs(plain.opt_state[0].mu - moved.opt_state[0].mu).max() > 0
    )
    at_the_end = loop.train_step(recipe, state, TASK, 1.0)[0]
    chex.assert_trees_all_close(at_the_end.params, plain.params, rtol=1e-6)


@pytest.mark.parametrize("penalty", [
    lambda image: image.mean(), lambda image, task: image.mean() + 0 * task.measurement.mean(), lambda *seen: seen[0].mean(),
    lambda image, *, weight=1.0: weight * image.mean(), penalties.TotalVariation(0.1), jnp.mean, optax.tree.norm,
], ids=["one", "two", "any", "keyword", "setting", "numpy", "optax"])  # fmt: skip
def test_a_penalty_is_told_as_much_as_it_asks_for(penalty):
    assert jnp.shape(loop.penalty(mixer_recipe(penalty=penalty), jnp.asarray(picture()), TASK, 0.5)) == ()


# Unknowns.


@dataclass(frozen=True)
class WithGain:
    """Makes an image and a gain, which the operator takes after the image."""

    def init(self, key, z):
        return {"image": z[..., :1], "gain": jnp.zeros((), z.dtype)}

    def apply(self, params, z):
        return jax.nn.sigmoid(params["image"]), jnp.exp(params["gain"])


def gained(image, gain):
    return image * gain


def test_an_operator_takes_unknowns_and_the_state_averages_them():
    truth = 0.2 + 0.5 * picture(6, 5)
    task = problem.general(0.5 * truth, gained, (6, 5, 1), unknowns=(jax.ShapeDtypeStruct((), np.float32),))
    recipe = mixer_recipe(optimizer=Adam(0.05), input_noise=0.0, smoothing=0.9)
    recipe = replace(recipe, generator=WithGain())
    state = loop.init(recipe, KEY, task)
    (average,), expected = state.unknowns, None
    assert average.shape == () and average == 0
    for step in range(5):
        gain = jnp.exp(state.params["gain"])
        weight = max(0.1, 10 / (step + 10))
        expected = gain if expected is None else weight * gain + (1 - weight) * expected
        state, _ = loop.train_step(recipe, state, task)
        np.testing.assert_allclose(state.unknowns[0], expected, rtol=1e-6)
    result = drive.restore(recipe, drive.seeds(0, 2), task, num_steps=300)
    assert result.state.unknowns[0].shape == (2,)
    np.testing.assert_allclose(result.state.unknowns[0][:, None, None, None] * result.images, [task.measurement] * 2, atol=0.03)


# Divergence.


def test_a_run_that_dies_late_keeps_what_it_had():
    recipe = mixer_recipe(optimizer=optax.sgd(lambda step: jnp.where(step == 3, jnp.inf, 0.1)))
    state = loop.init(recipe, KEY, TASK)
    end, metrics = loop.run(recipe, state, TASK, 7)
    before, _ = loop.run(recipe, state, TASK, 3)
    assert not end.alive and end.step == 7
    chex.assert_trees_all_equal((end.params, end.average), (before.params, before.average))
    chex.assert_tree_all_finite((end.params, end.average, metrics))


@pytest.mark.parametrize("what", ["measurement", "params", "loss"])
def test_a_step_that_is_not_finite_counts_as_infinitely_bad_and_never_as_nan(what):
    recipe, task = mixer_recipe(watch=(lambda estimate, task: estimate.mean() + task.measurement[0, 0, 0],)), TASK
    state = loop.init(recipe, KEY, TASK)
    if what == "measurement":
        task = task.replace(measurement=task.measurement.at[0, 0, 0].set(jnp.nan))
    elif what == "params":
        state = state._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, state.params))
    else:
        recipe = replace(recipe, loss=lambda prediction, measurement: jnp.log(-jnp.mean(prediction)))
    end, metrics = loop.run(recipe, state, task, 3)
    assert not end.alive
    assert not any(np.isnan(curve).any() for curve in jax.tree.leaves(metrics))
    assert np.isposinf(metrics.loss).all()
    if what == "params":
        assert np.isneginf(metrics.psnr).all()
    if what == "measurement":
        assert np.isposinf(metrics.watched[0]).all()


# Backtracking.

BACKTRACKING = mixer_recipe(backtracking=3.0)
DARK = problem.denoising(0.2 * picture())


def worse(state):
    """The same state with parameters that make quite another image."""
    return state._replace(params=jax.tree.map(lambda leaf: leaf + 9.0, state.params))


def test_backtracking_changes_nothing_while_the_output_does_not_fall_off():
    (plain, _), (careful, _) = (loop.run(recipe, loop.init(recipe, KEY, DARK), DARK, 7) for recipe in (RECIPE, BACKTRACKING))
    chex.assert_trees_all_close((plain.params, plain.average), (careful.params, careful.average), rtol=1e-5)


def test_a_step_that_falls_off_is_undone_with_optimizer_and_average_and_tried_again():
    state = loop.init(BACKTRACKING, KEY, DARK)
    for _ in range(3):
        before = state
        state, _ = loop.train_step(BACKTRACKING, state, DARK)
    undone, metrics = loop.train_step(BACKTRACKING, worse(state), DARK)
    assert -10 * np.log10(metrics.loss) < float(state.kept.fit) - 3
    chex.assert_trees_all_equal((undone.params, undone.opt_state), (before.params, before.opt_state))
    np.testing.assert_array_equal(undone.average, state.average)
    chex.assert_trees_all_equal(undone.kept._replace(tolerance=state.kept.tolerance), state.kept)
    assert undone.step == state.step + 1
    again, _ = loop.train_step(BACKTRACKING, undone, DARK)
    assert again.alive
    assert jnp.abs(again.params["weight"] - undone.params["weight"]).max() > 0
    assert undone.kept.tolerance == 2 * state.kept.tolerance > again.kept.tolerance


def test_a_run_whose_every_step_falls_off_still_gets_on():
    rising = mixer_recipe(optimizer=optax.sgd(-300.0), backtracking=0.1)  # away from the optimum
    plain = replace(rising, backtracking=None)
    far = loop.run(plain, loop.init(plain, KEY, DARK), DARK, 30)[1].loss[-1]
    _, metrics = loop.run(rising, loop.init(rising, KEY, DARK), DARK, 30)
    assert metrics.loss[-1] > 0.5 * far > metrics.loss[0]


# What plugs in.


@pytest.mark.parametrize("optimizer", [
    optax.polyak_sgd(max_learning_rate=0.1),  # needs value=
    optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau()),  # needs value= after one that does not
    optax.contrib.schedule_free_adamw(0.1),
    optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    optax.lbfgs(),  # needs value_fn=, and a line without noise to search along
], ids=["polyak", "plateau", "schedule free", "accumulated", "lbfgs"])  # fmt: skip
def test_any_optax_optimizer_works(optimizer):
    recipe = mixer_recipe(optimizer=optimizer, input_noise=0.0)
    new, history = loop.run(recipe, loop.init(recipe, KEY, TASK), TASK, 7)
    chex.assert_tree_all_finite((new.params, history.loss))
    assert bool(new.alive)
    assert history.loss[-1] < history.loss[0]


def test_the_optimizer_is_told_the_value_whose_gradient_it_gets():
    def update(updates, state, params=None, *, value, **extra):
        del state, params, extra
        return jax.tree.map(jnp.zeros_like, updates), value

    recorder = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    recipe = mixer_recipe(optimizer=recorder, penalty=lambda image: 3.0 + image.mean(), smoothing=0.0)
    new, now = loop.train_step(recipe, loop.init(recipe, KEY, TASK), TASK)
    np.testing.assert_allclose(new.opt_state, now.loss + 3 + new.average.mean(), rtol=1e-5)


def test_a_recipe_precision_of_highest_reaches_every_product():
    recipe = replace(skip_recipe(), precision="highest")
    state = jax.eval_shape(partial(loop.init, recipe), KEY, TASK)
    lines = loop.train_step.lower(recipe, state, TASK).as_text().splitlines()
    products = [line for line in lines if "stablehlo.dot_general" in line or "stablehlo.convolution" in line]
    assert len(products) > 10
    assert all(line.count("HIGHEST") == 2 for line in products)


def test_without_a_precision_the_one_of_the_caller_holds():
    state = jax.eval_shape(partial(loop.init, RECIPE), KEY, TASK)
    with jax.default_matmul_precision("highest"):
        program = str(jax.make_jaxpr(partial(loop.train_step, mixer_recipe(smoothing=0.5)))(state, TASK))
    assert "Precision.HIGHEST" in program


# Numbers of every kind.


def floats(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


CASES = {
    "plain": {}, "backtracking": {"backtracking": 5.0}, "cosine": {"optimizer": Adam(0.01, Cosine())},
    "parameter noise": {"optimizer": optimizers.WithParameterNoise()}, "optax": {"optimizer": optax.adam(0.01)},
    "penalty": {"penalty": penalties.TotalVariation(0.1)}, "huber": {"loss": losses.Huber()},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_everything_has_the_precision_of_the_image_where_jax_allows_64_bits(name, dtype):
    with jax.enable_x64(True):
        task = problem.denoising(picture().astype(dtype), truth=picture(seed=1).astype(dtype))
        recipe = mixer_recipe(**CASES[name])
        state = loop.init(recipe, jax.random.key(0), task)
        chex.assert_type(floats(state), dtype)
        after, metrics = loop.run(recipe, state, task, 3)
        chex.assert_type(floats((after, metrics)), dtype)
        assert after.step.dtype == np.int32
        chex.assert_tree_all_finite(metrics)


@pytest.mark.parametrize("name", CASES)
def test_no_type_is_promoted_by_accident(name):
    with jax.numpy_dtype_promotion("strict"):
        recipe = mixer_recipe(**CASES[name])
        assert loop.run(recipe, loop.init(recipe, KEY, TASK), TASK, 2)[0].alive


def test_half_precision_runs_and_counts_its_steps_rightly():
    task = problem.denoising(picture()).replace(measurement=jnp.asarray(picture(), jnp.bfloat16))
    recipe = mixer_recipe(optimizer=Recorder())
    state = loop.init(recipe, KEY, task)
    chex.assert_type(floats(state._replace(opt_state=None)), jnp.bfloat16)
    late, _ = loop.run(recipe, state._replace(step=jnp.int32(69_999)), task, 1, 100_000)
    np.testing.assert_allclose(late.opt_state[0], 0.7, atol=0.005)
    assert late.average.dtype == jnp.bfloat16 and late.alive
