"""Noise on the weights for one step: another one for every step and run, of kernels only."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax.generators import Perturbed, Plain

pytestmark = pytest.mark.usefixtures("quick_compilation")

PARAMS = {"kernel": jnp.asarray(np.random.default_rng(0).normal(0, 3, (3, 3, 40, 50)), jnp.float32), "bias": jnp.ones(50)}


@dataclass(frozen=True)
class Bare:
    """Returns its parameters beside an image: a generator with a further unknown."""

    channels: int = 3

    def init(self, key, z):
        return PARAMS

    def apply(self, params, z):
        return z, params


def noise(params, scale=1 / 50):
    _, disturbed = jax.jit(Perturbed(Bare(), scale).apply)(params, jnp.zeros((2, 2, 3)))
    return jax.tree.map(jnp.subtract, disturbed, params)


def test_a_kernel_is_disturbed_by_a_fiftieth_of_its_own_deviation_and_a_bias_is_not():
    drawn = noise(PARAMS)
    np.testing.assert_allclose(drawn["kernel"].std(), 3 / 50, rtol=0.05)
    np.testing.assert_allclose(drawn["kernel"].mean(), 0, atol=0.003)
    assert (drawn["bias"] == 0).all()


def test_other_parameters_get_other_noise_and_equal_ones_the_same():
    other = PARAMS | {"bias": PARAMS["bias"].at[3].add(1e-6)}
    np.testing.assert_array_equal(noise(PARAMS)["kernel"], noise(PARAMS)["kernel"])
    correlation = np.corrcoef(noise(PARAMS)["kernel"].ravel(), noise(other)["kernel"].ravel())[0, 1]
    assert abs(correlation) < 0.05


@pytest.mark.parametrize("shape", [(5, 2), (5, 4, 2), (3, 4, 5, 2)])
def test_the_kernels_of_signals_images_and_volumes_are_disturbed(shape):
    net, z = Plain(1, num_layers=1), jnp.asarray(np.random.default_rng(0).random(shape, np.float32))
    params = jax.jit(net.init)(jax.random.key(0), z)
    found, plain = jax.jit(lambda params: (Perturbed(net, 0.3).apply(params, z), net.apply(params, z)))(params)
    assert jnp.abs(found - plain).max() > 1e-4


def test_gradients_are_those_at_the_disturbed_weights():
    net, z = Plain(1, num_layers=2, width=3), jnp.asarray(np.random.default_rng(0).random((6, 6, 2), np.float32))
    perturbed = Perturbed(net, 0.3)
    params = jax.jit(net.init)(jax.random.key(0), z)

    def loss(apply, params):
        return jnp.mean(apply(params, z) ** 2)

    def gradients(params):
        _, disturbed = Perturbed(Bare(), 0.3).apply(params, z)
        return jax.grad(loss, 1)(perturbed.apply, params), jax.grad(loss, 1)(net.apply, disturbed)

    found, expected = jax.jit(gradients)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    assert perturbed.channels == 1
    assert perturbed.stride == 1
