"""Random keys whose numbers cost one small kernel each, for drawing parameters and the noise of every step.

A network of fifty layers draws fifty times. With JAX's own generator every draw is a loop of dozens of kernels, whose compilation
took as long as a fifth of the whole step's; the noise of a step, drawn so, was another fifth of its code. Here a draw is a hash of
the key and the position of the number, pcg4d of M. Jarzynski and M. Olano, Hash Functions for GPU Rendering, JCGT 2020: good enough
for networks, not for cryptography. The keys work with all of `jax.random`; equal keys give equal numbers, alone, under `vmap` and,
but for `normal`, on every device.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend import random as extension


def light(key: Array) -> Array:
    """Returns a light key that follows from any typed key of JAX."""
    words = jax.random.bits(key, (2,), jnp.uint32)
    return jax.random.wrap_key_data(words, impl=IMPLEMENTATION)


def normal(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Draws normal numbers of deviation one; on a CPU each of them is one of 65,536 quantiles, so that none exceeds 4.4.

    `jax.random.normal` computes a logarithm for every number, which took a CPU as long as a tenth of the whole step. Other devices do that
    sooner than they look up a number.

    Args:
      key: `()`, of any kind.
      shape: of what is returned.
      dtype: of what is returned.
    """
    if jax.default_backend() != "cpu":
        return jax.random.normal(key, shape, dtype)
    bits = jax.random.bits(key, shape, jnp.uint16)
    return jnp.asarray(_quantiles(), dtype).at[bits.astype(jnp.int32)].get(mode="promise_in_bounds")


@functools.cache
def _quantiles():
    from scipy.special import ndtri  # a seventh of a second, which a program that was kept does not need

    quantiles = ndtri((np.arange(2**16) + 0.5) / 2**16)
    return quantiles / quantiles.std()


def _pcg4d(words, purpose, counter):
    """Returns four arrays of random bits, of the shape of the counter."""
    x, y, z, w = (word * jnp.uint32(1664525) + jnp.uint32(1013904223) for word in (counter, words[0], words[1], jnp.uint32(purpose)))
    for last in (False, True):
        x = x + y * w
        y = y + z * x
        z = z + x * y
        w = w + y * z
        x, y, z, w = (word if last else word ^ (word >> jnp.uint32(16)) for word in (x, y, z, w))
    return x, y, z, w


def _seed(seed):
    bits = _pcg4d(jnp.zeros(2, jnp.uint32), 1, jnp.asarray(seed).astype(jnp.uint32))
    return jnp.stack(bits[2:])


def _fold_in(words, data):
    return jnp.stack(_pcg4d(words, 2, data.astype(jnp.uint32))[2:])


def _split(words, shape):
    return jnp.stack(_pcg4d(words, 3, _positions(shape))[2:], -1)


def _random_bits(words, bit_width, shape):
    low, high = _pcg4d(words, 4, _positions(shape))[2:]
    if bit_width == 64:
        return low.astype(jnp.uint64) | (high.astype(jnp.uint64) << jnp.uint64(32))
    return (low >> jnp.uint32(32 - bit_width)).astype({8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32}[bit_width])  # the low ones are weaker


def _positions(shape):
    return lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


IMPLEMENTATION = extension.define_prng_impl(
    key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name="pcg4d", tag="pcg4d"
)
