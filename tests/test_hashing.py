"""Light keys: JAX's own functions take them, and their numbers look random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dipjax import hashing

KEY = hashing.light(jax.random.key(0))


def test_numbers_of_a_key_are_uniform_and_neighbours_unrelated():
    numbers = np.asarray(jax.random.uniform(KEY, (1000, 1000)), np.float64) - 0.5
    assert abs(numbers.mean()) < 5 * 12**-0.5 / 1000
    assert abs(12 * numbers.var() - 1) < 0.005
    for shift in ((0, 1), (1, 0), (0, 2), (0, 32)):
        other = np.roll(numbers, shift, (0, 1))
        assert abs(12 * (numbers * other).mean()) < 5 / 1000, shift
    counts = np.histogram(numbers, 1000, (-0.5, 0.5))[0]
    assert abs((counts - 1000) ** 2 / 1000).mean() < 1.25


def _split(key):
    return jax.random.split(key, 500)


def _fold(key):
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(500))


def _seeds(key):
    return jax.vmap(hashing.light)(jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(500)))


@pytest.mark.parametrize("make", [_split, _fold, _seeds])
def test_different_keys_give_unrelated_numbers(make):
    numbers = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (400,)))(make(KEY)))
    related = np.corrcoef(numbers)[np.triu_indices(500, 1)] * 400**0.5
    assert abs(related.std() - 1) < 0.02
    assert abs(related).max() < 6.5


def test_equal_keys_give_equal_numbers_alone_and_in_a_batch():
    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(lambda key: jax.random.bits(key, (7,))))(keys)
    np.testing.assert_array_equal(together, jnp.stack([jax.random.bits(key, (7,)) for key in keys]))
    assert not np.array_equal(together[0], together[1])
    np.testing.assert_array_equal(jax.random.bits(jax.random.key(5, impl=hashing.IMPLEMENTATION), (2,)).shape, (2,))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16, jnp.uint32])
def test_every_width_of_bits_fills_its_range(dtype):
    numbers = np.asarray(jax.random.bits(KEY, (4096,), dtype))
    for bit in range(8 * numbers.itemsize):
        assert 0.45 < ((numbers >> bit) & 1).mean() < 0.55


@pytest.mark.skipif(not hasattr(jax, "enable_x64"), reason="this JAX has the switch under another name")
def test_in_double_precision_all_bits_are_drawn():
    with jax.enable_x64(True):
        numbers = np.asarray(jax.random.uniform(KEY, (4096,), jnp.float64))
    assert (numbers != numbers.astype(np.float32)).mean() > 0.99


@pytest.mark.parametrize(("backend", "dtype"), [("cpu", np.float32), ("cpu", np.float16), ("tpu", np.float32)])
@pytest.mark.parametrize("key", [KEY, jax.random.key(3)])
def test_normal_numbers_are_normal_and_each_its_own(key, dtype, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    drawn = hashing.normal(key, (300, 200), dtype)
    assert drawn.dtype == dtype
    numbers = np.float64(drawn).ravel()
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(numbers)) < 0.1 and 3.9 < abs(numbers).max() < (4.4 if backend == "cpu" else 5)
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers, np.float64(hashing.normal(jax.random.fold_in(key, 1), (300, 200))).ravel())[0, 1]) < 0.02
    np.testing.assert_array_equal(drawn, jax.vmap(lambda key: hashing.normal(key, (300, 200), dtype))(key[None])[0])
