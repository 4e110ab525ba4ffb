"""Noise on the weights, in the two meanings that the official switch `param_noise` has had.

Until June 2018 every step added noise to the weights for good, a random walk: the paper's inpainting of the library, activation
maximisation and noisy feature inversion were made so (`persistent`). Since then the switch does nothing, by accident. What it reads
like, weights that are disturbed for one step only, is `Perturbed`. Both disturb convolution kernels by a normal noise of `scale`
times the standard deviation of the kernel's weights; the official scale is 1/50.

Neither needs a key: a step's noise follows from the bits of the parameters it disturbs, so every run and every step has its own.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

_KERNEL_RANK = 4


@cache
def persistent(scale: float = 1 / 50) -> optax.GradientTransformation:
    """Returns the optax transformation that adds noise to the weights for good; chain it after an optimizer.

    Example:
      >>> optimizer = optax.chain(optax.adam(0.01), dipjax.parameter_noise.persistent())  # doctest: +SKIP
    """

    def update(updates, state, params=None):
        return jax.tree.map(jnp.add, updates, _noise(params, scale)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


@dataclass(frozen=True)
class Perturbed:
    """A generator whose weights are disturbed anew in every step; gradients belong to the disturbed weights."""

    generator: Any
    scale: float = 1 / 50

    @property
    def stride(self) -> int:
        """Pixels of the image for each one of z, on each side."""
        return getattr(self.generator, "stride", 1)

    @property
    def channels(self) -> int:
        """The channels of the image."""
        return self.generator.channels

    def init(self, key: Array, z: Array) -> Any:
        """Returns the parameters of the generator."""
        return self.generator.init(key, z)

    def apply(self, params: Any, z: Array) -> Array:
        """Maps z to an image, with disturbed weights."""
        noise = _noise(lax.stop_gradient(params), self.scale)
        return self.generator.apply(jax.tree.map(jnp.add, params, noise), z)


def _noise(params, scale):
    leaves, structure = jax.tree.flatten(params)
    bits = sum(jnp.sum(lax.bitcast_convert_type(leaf, jnp.uint32), dtype=jnp.uint32) for leaf in leaves)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), bits), len(leaves))

    def draw(key, leaf):
        if leaf.ndim != _KERNEL_RANK:
            return jnp.zeros_like(leaf)
        return scale * leaf.std() * jax.random.normal(key, leaf.shape, leaf.dtype)

    return jax.tree.unflatten(structure, [draw(key, leaf) for key, leaf in zip(keys, leaves, strict=True)])
