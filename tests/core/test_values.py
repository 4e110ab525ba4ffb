"""The records of the core: what is made of many runs, what a batch shares, how runs are laid out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import metrics
from dipjax.core import layouts
from dipjax.core.layouts import Layout
from dipjax.core.problem import Problem, spread, stack
from dipjax.core.recipe import MSE, transformation
from dipjax.core.rule import disagreeing
from dipjax.core.state import Metrics, Result, psnr
from dipjax.operators import problem
from tests import flags
from tests.conftest import picture

RANDOM = np.random.default_rng(0)


def result(images, alive, *, over_seeds=True):
    return Result(np.asarray(images), np.asarray(alive), Metrics(None, None, None), 0, 0.0, 0.0, over_seeds, lambda: None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_mean_and_deviation_are_those_of_the_living_seeds(dtype):
    images = RANDOM.random((2, 5, 4, 3, 1)).astype(dtype)
    if dtype == np.complex64:
        images = images + 1j * images[::-1]
    alive = np.array([[True, False, True, True, False], [False, False, True, False, False]])
    images[0, 1], images[1, 0] = np.inf, np.nan
    found = result(images, alive)
    np.testing.assert_allclose(found.image[0], images[0, alive[0]].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std[0], images[0, alive[0]].std(0, ddof=1), rtol=1e-5)
    np.testing.assert_array_equal(found.image[1], images[1, 2])
    assert np.isnan(found.std[1]).all()
    assert found.image.dtype == dtype and found.std.dtype == images.real.dtype


def test_two_seeds_differ_by_the_square_root_of_two_deviations():
    images = np.float32([[[[0.25]]], [[[0.75]]]])
    np.testing.assert_allclose(result(images, [True, True]).std, 0.5 / np.sqrt(2), rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_without_seeds_the_estimate_is_the_run_and_its_deviation_is_not_defined(shape):
    images, alive = np.ones((*shape, 4, 3, 1), np.float32), np.ones(shape, bool)
    if shape:
        alive[1] = False
    found = result(images, alive, over_seeds=False)
    assert found.image.shape == found.std.shape == images.shape
    assert np.isnan(found.std).all()
    assert np.isnan(found.image).all((-1, -2, -3)).tolist() == (~alive).tolist()


def test_no_seed_alive_is_nan_without_a_warning():
    found = result(np.ones((2, 4, 3, 1), np.float32), [False, False])
    assert np.isnan(found.image).all() and np.isnan(found.std).all()


def test_psnr_is_that_of_the_textbook_for_jax_and_numpy_and_there_is_one():
    image, truth = picture(), picture(seed=1)
    expected = 10 * np.log10(1 / np.mean((np.float64(image) - truth) ** 2))
    for found in (psnr(image, truth), psnr(jnp.asarray(image), truth), jax.jit(psnr)(image, truth)):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isposinf(psnr(image, image)) and np.isposinf(psnr(jnp.asarray(image), image))
    assert metrics.psnr is psnr


# Batches.


def test_a_stack_has_an_entry_for_each_and_keeps_the_size():
    batch = stack([problem.inpainting(picture(seed=n), picture(seed=9) > 0.4, truth=picture(seed=2)) for n in range(3)])
    assert batch.shape == (9, 8, 1) and batch.measurement.shape == batch.truth.shape == (3, 9, 8, 1)
    np.testing.assert_array_equal(batch.truth[2], picture(seed=2))


def test_what_a_batch_shares_is_said_leaf_by_leaf():
    task = Problem({"a": 1.0, "b": (2.0, 3.0)}, jax.tree_util.Partial(jnp.add, 4.0), (1, 1), truth=5.0)
    assert spread(task, None) == [False] * 5 and spread(task, 0) == [True] * 5
    assert spread(task, Problem(0, None, ())) == [True, True, True, False, False]
    assert spread(task, Problem({"a": None, "b": 0}, 0, (), truth=0)) == [False, True, True, True, True]
    assert spread(task, Problem({"a": 0, "b": (None, 0)}, None, ())) == [True, False, True, False, False]


@pytest.mark.parametrize("measurement", [jnp.ones(2), jnp.ones(2, jnp.complex64), {"a": jnp.ones(2), "b": jnp.ones(2, jnp.complex64)}])
def test_the_type_of_a_problem_is_that_of_its_real_numbers(measurement):
    with jax.numpy_dtype_promotion("strict"):
        assert Problem(measurement, None, (1, 1)).dtype == np.float32
    with flags.sixty_four_bits():
        doubled = jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(leaf, jnp.float64)), measurement)
        assert Problem(doubled, None, (1, 1)).dtype == np.float64


# Layouts.


@pytest.mark.parametrize("layout", [layouts.ONE_BY_ONE, layouts.TOGETHER, Layout(3), Layout(2, 1)])
@pytest.mark.parametrize("num_runs", [1, 2, 5, 7])
def test_a_fitted_layout_has_room_for_all_runs_in_equal_groups_and_wastes_little(layout, num_runs):
    fitted = layout.fitted(num_runs)
    num_groups = -(-num_runs // fitted.width)
    assert 1 <= fitted.width <= num_runs and num_groups * fitted.width - num_runs < num_groups
    if layout.at_once:
        assert fitted.at_once <= layout.at_once
    else:
        assert num_groups == 1


@pytest.mark.parametrize("width", [1, 3])
def test_a_layout_maps_the_arguments_marked_zero_and_shares_the_others(width):
    def function(tree, shared, number):
        return tree["a"] * shared + number, tree["b"].sum()

    tree = {"a": RANDOM.random((width, 4), np.float32), "b": RANDOM.random((width, 2, 2), np.float32)}
    shared, number = RANDOM.random(4, np.float32), 2.0
    made = Layout(width, 1)(function, (0, None, None))(tree, shared, number)
    np.testing.assert_allclose(made[0], tree["a"] * shared + number, rtol=1e-6)
    np.testing.assert_allclose(made[1], tree["b"].sum((1, 2)), rtol=1e-6)


def test_the_default_layout_spares_memory_on_accelerators_when_there_is_much_to_do(monkeypatch):
    assert layouts.default() == layouts.default(10**9) == layouts.ONE_BY_ONE  # on CPU always
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert layouts.default(4 * 64**2) == layouts.TOGETHER
    assert layouts.default(8 * 512**2) == layouts.ONE_BY_ONE


@pytest.mark.parametrize("arguments", [(0,), (-1,), (True,), (1.5,), ("2",), (1, 0), (1, 2.0)])
def test_a_layout_of_no_runs_is_refused(arguments):
    with pytest.raises(ValueError, match="^(at_once|num_devices): found"):
        Layout(*arguments)


def test_the_mean_squared_error_is_the_mean_over_all_elements_of_a_tree():
    tree, other = {"a": jnp.ones((2, 3)), "b": 1j * jnp.ones(4)}, {"a": jnp.zeros((2, 3)), "b": jnp.ones(4) + 0j}
    np.testing.assert_allclose(MSE()(tree, other), (6 * 1 + 4 * 2) / 10, rtol=1e-6)


def test_an_optimizer_is_a_transformation_or_makes_one():
    import optax

    from dipjax.fitting.optimizers import Adam

    for optimizer in (optax.adam(0.1), Adam(0.1), lambda progress: optax.adam(0.1)):
        made = transformation(optimizer, 0.5)
        updates, _ = made.update({"a": jnp.ones(1)}, made.init({"a": jnp.ones(1)}), {"a": jnp.ones(1)}, value=1.0, unheard_of=2)
        np.testing.assert_allclose(updates["a"], -0.1, rtol=1e-4)


def test_a_seed_is_left_out_only_where_it_is_worse_and_far_from_the_others():
    random = np.random.default_rng(0)
    images = 0.5 + 0.01 * random.standard_normal((5, 6, 7, 1)).astype(np.float32)
    far = images.copy()
    far[3] += 0.1
    alive, worse = np.ones(5, bool), np.float32([1, 1.02, 0.99, 1.5, 1])
    assert disagreeing(far, alive, worse).tolist() == [False, False, False, True, False]
    assert not disagreeing(images, alive, worse).any()  # it looks like the others
    assert not disagreeing(far, alive, np.ones(5, np.float32)).any()  # it predicts as well
    assert not disagreeing(far[2:4], alive[:2], worse[2:4]).any()  # one of two
    assert disagreeing(far, np.arange(5) != 0, worse).tolist() == [False, False, False, True, False]
    assert disagreeing(far, alive, worse - 2).tolist() == [False, False, False, True, False]  # scores may be negative
    assert not disagreeing(far, np.arange(5) != 3, worse).any()  # the dead are out anyway
    batch = disagreeing(np.stack([far, images]), np.ones((2, 5), bool), np.stack([worse, worse]))
    assert batch.tolist() == [[False, False, False, True, False], [False] * 5]


def test_what_is_left_out_counts_neither_in_the_mean_nor_in_the_deviation():
    images = np.float32([1, 2, 9]).reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 1), np.float32)
    found = dataclasses.replace(result(images, [True] * 3), left_out=np.array([False, False, True]))
    assert found.counted.tolist() == [True, True, False]
    np.testing.assert_allclose(found.image, 1.5)
    np.testing.assert_allclose(found.std, np.sqrt(0.5))
