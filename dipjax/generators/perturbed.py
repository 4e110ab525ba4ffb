"""Any generator with weights that are disturbed for one step only."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from dipjax.generators.wrapper import Wrapper

_SMALLEST_KERNEL_RANK = 3  # that of a signal's; a matrix of a pixelwise network is none


@dataclass(frozen=True)
class Perturbed(Wrapper):
    """A generator whose weights are disturbed anew in every step; gradients belong to the disturbed weights.

    Convolution kernels get normal noise of `scale` times the standard deviation of their weights; 1/50 is the official value. It is what
    the official switch `param_noise` reads like, but has never done: see `optimizers.WithParameterNoise` for what it did.

    It needs no key: a step's noise follows from the bits of the parameters that it disturbs, so every run and every step has its own.

    Attributes:
      generator: any other one.
      scale: of the noise, not negative.
    """

    generator: Any
    scale: float = 1 / 50

    def init(self, key: Array, z: Array) -> Any:
        """Returns the parameters of the generator for a z `(h, w, D)`."""
        return self.generator.init(key, z)

    def apply(self, params: Any, z: Array) -> Any:
        """Maps z `(h, w, D)` to what the generator makes with disturbed weights: an image, or an image and further unknowns."""
        leaves, structure = jax.tree.flatten(params)
        fixed = [lax.stop_gradient(leaf) for leaf in leaves]
        bits = sum(jnp.sum(lax.bitcast_convert_type(leaf, jnp.uint32), dtype=jnp.uint32) for leaf in fixed)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), bits), len(leaves))
        disturbed = [leaf + self._noise(key, still) for leaf, key, still in zip(leaves, keys, fixed, strict=True)]
        return self.generator.apply(jax.tree.unflatten(structure, disturbed), z)

    def _noise(self, key, leaf):
        if leaf.ndim < _SMALLEST_KERNEL_RANK:
            return jnp.zeros_like(leaf)
        return self.scale * leaf.std() * jax.random.normal(key, leaf.shape, leaf.dtype)
