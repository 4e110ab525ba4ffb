"""SIREN: a network that maps the coordinates of a pixel to its colour, with sines between its layers."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


def from_signed(image: Array) -> Array:
    """Maps [-1, 1], the range that the paper fits, to [0, 1]; of any shape."""
    return 0.5 + 0.5 * image


class Siren(nn.Module):
    """An implicit representation: every pixel by itself, its coordinates (x, y) through a network of sines.

        x = sin(frequency (W x + b))      the first time, and num_layers times more
        image = output(W x + b)

    Its z is `inputs.Meshgrid()`; `frequency` is the only prior: lower is smoother. It refers to the whole image, so larger images want a
    larger one. Weights start in U(-1/D, 1/D) in the first layer, and within sqrt(6 / width) / frequency of zero after it.

    Reference: Sitzmann, Martel, Bergman, Lindell, Wetzstein, Implicit Neural Representations with Periodic Activation Functions,
    NeurIPS 2020.

    Attributes:
      channels: of the image.
      num_layers: of sines behind the first one, from 0.
      width: channels inside.
      frequency: omega_0 of the paper, positive.
      output: the last function, `from_signed` or `nn.sigmoid`.
    """

    channels: int = 3
    num_layers: int = 3
    width: int = 256
    frequency: float = 30.0
    output: Callable = from_signed

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps coordinates z `(..., D)` from 0 to 1, of D = 2 axes for an image, to `(..., channels)`."""
        x = 2 * z - 1
        for i in range(self.num_layers + 1):
            bound = math.sqrt(6 / x.shape[-1]) / self.frequency if i else 1 / x.shape[-1]
            x = _sin(self.frequency * self._linear(f"layer{i}", self.width, bound, x))
        return self.output(self._linear("head", self.channels, math.sqrt(6 / x.shape[-1]) / self.frequency, x))

    def _linear(self, name, width, bound, x):
        kernel = self.param(f"{name}_kernel", blocks.uniform_fan_in(bound**-2), (x.shape[-1], width), x.dtype)
        return x @ kernel + self.param(f"{name}_bias", blocks.uniform_fan_in(x.shape[-1]), (width,), x.dtype)


@jax.custom_jvp
def _sin(x):
    """The sine; in 32 bits of |x| < 1e4 within 1e-6, because XLA's own, good for any argument, takes five times as long on a CPU."""
    if x.dtype != jnp.float32:
        return jnp.sin(x)
    half_turns = jnp.round(x * (1 / math.pi))
    # Pi in two parts, of which the first has few enough digits for an exact product.
    rest = x - half_turns * 3.140625 - half_turns * (math.pi - 3.140625)
    square = rest * rest
    series = 1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square * (1 / 362880 - square / 39916800))))
    sign = 1 - 2 * (half_turns - 2 * jnp.floor(0.5 * half_turns))
    return sign * rest * series


@_sin.defjvp
def _(primals, tangents):
    return _sin(primals[0]), _sin(primals[0] + math.pi / 2) * tangents[0]
