"""Noise on the weights: kernels only, of the official size, another one for every step and run; for good or for one step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dipjax.core import loop as train
from dipjax.fitting import inputs, parameter_noise
from dipjax.generators import Plain
from dipjax.operators import problem
from tests.conftest import picture

pytestmark = pytest.mark.usefixtures("quick_compilation")

PARAMS = {"kernel": jnp.asarray(np.random.default_rng(0).normal(0, 3, (3, 3, 40, 50)), jnp.float32), "bias": jnp.ones(50)}
NET = Plain(1, num_layers=2, width=3)


def recipe(**options):
    options = {"generator": NET, "optimizer": optax.sgd(0.0)} | options
    return train.Recipe(input=inputs.noise(2), num_steps=3, **options)


def drawn(params, scale=1 / 50):
    noise = parameter_noise.persistent(scale)
    updates, _ = noise.update(jax.tree.map(jnp.zeros_like, params), noise.init(params), params)
    return updates


def test_a_kernel_is_disturbed_by_a_fiftieth_of_its_own_deviation_and_a_bias_is_not():
    updates = drawn(PARAMS)
    np.testing.assert_allclose(updates["kernel"].std(), 3 / 50, rtol=0.05)
    np.testing.assert_allclose(updates["kernel"].mean(), 0, atol=0.003)
    assert (updates["bias"] == 0).all()


def test_other_parameters_get_other_noise_and_equal_ones_the_same():
    other = PARAMS | {"bias": PARAMS["bias"].at[3].add(1e-6)}
    np.testing.assert_array_equal(drawn(PARAMS)["kernel"], drawn(PARAMS)["kernel"])
    correlation = np.corrcoef(drawn(PARAMS)["kernel"].ravel(), drawn(other)["kernel"].ravel())[0, 1]
    assert abs(correlation) < 0.05


def test_persistent_noise_is_a_random_walk_of_its_own_for_every_seed():
    task = problem.denoising(picture(6, 6, 1))
    walking = recipe(optimizer=optax.chain(optax.sgd(0.0), parameter_noise.persistent()))
    start = jax.vmap(lambda key: train.init(walking, key, task))(train.seeds(0, 2))
    end = train.restore(walking, train.seeds(0, 2), task, batching=jax.vmap).state
    steps = np.asarray(end.params["params"]["conv0"]["kernel"] - start.params["params"]["conv0"]["kernel"])
    deviation = np.asarray(start.params["params"]["conv0"]["kernel"]).std((1, 2, 3, 4))
    np.testing.assert_allclose(steps.std((1, 2, 3, 4)) / deviation, 3**0.5 / 50, rtol=0.35)
    assert abs(np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1]) < 0.5
    np.testing.assert_array_equal(end.params["params"]["conv0"]["bias"], start.params["params"]["conv0"]["bias"])


def test_a_perturbed_generator_keeps_its_weights():
    task = problem.denoising(picture(6, 6, 1))
    perturbed = recipe(generator=parameter_noise.Perturbed(NET, 0.3))
    key = jax.random.key(1)
    start, (end, _) = train.init(perturbed, key, task), train.train_step(perturbed, train.init(perturbed, key, task), task)
    jax.tree.map(np.testing.assert_array_equal, start.params, end.params)
    moved = dataclasses.replace(perturbed, optimizer=optax.sgd(1.0))
    gradient = jax.grad(lambda params: jnp.mean((perturbed.generator.apply(params, start.z) - task.measurement) ** 2))(start.params)
    after, _ = train.train_step(moved, train.init(moved, key, task), task)
    expected = jax.tree.map(jnp.subtract, start.params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params, expected)
    plain, disturbed = NET.apply(start.params, start.z), perturbed.generator.apply(start.params, start.z)
    assert 1e-4 < float(jnp.abs(plain - disturbed).max()) < 0.5
    assert perturbed.generator.channels == 1
    assert perturbed.generator.stride == 1
