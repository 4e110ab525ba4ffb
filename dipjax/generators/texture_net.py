"""The multi-scale network of the official library, after Texture Networks (models/texture_nets.py)."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class TextureNet(nn.Module):
    """A pyramid of z, joined from the coarsest level to the finest.

        stack = triple(z at 1 / 2^(num_levels - 1) of its size)
        stack = triple(concat(norm(doubled stack), norm(triple(z at twice the size))))      up to the full size
        image = output(1x1 convolution)

    "Triple" is two 3x3 convolutions and a 1x1 convolution, each with normalisation and activation; those of z have `width` channels, and
    every join adds as many. This is what the official code intends: on Python 3 it crashes (its padding is not an integer). Its switch
    that replaces z by fresh normal noise in every step is left out, since a generator is a pure function: `Recipe.input_noise` does
    that. Any image size works: an odd side is halved rounding up, and what was doubled is cropped.

    Reference: Ulyanov, Lebedev, Vedaldi, Lempitsky, Texture Networks, ICML 2016.

    Attributes:
      channels: of the image.
      num_levels: from 1.
      width: channels that every level adds.
      upsample: doubles `(H, W, C)`: `blocks.nearest`, `blocks.bilinear`.
      padding: "zero" or "reflect".
      activation: of any shape.
      output: the last function, `nn.sigmoid`, or `blocks.identity`, the official default.
      use_bias: whether the convolutions have one.

    Raises:
      ValueError: z is no image, or there is no level; on the first call.
    """

    channels: int = 3
    num_levels: int = 6
    width: int = 8
    upsample: Callable = blocks.nearest
    padding: str = "zero"
    activation: Callable = blocks.leaky_relu
    output: Callable = nn.sigmoid
    use_bias: bool = True

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(H, W, D)` to an image `(H, W, channels)`."""
        blocks.check_axes("TextureNet", z)
        if self.num_levels < 1:
            raise ValueError(f"TextureNet: found {self.num_levels} levels, expected at least 1.")
        pyramid = [z]
        for _ in range(1, self.num_levels):
            pyramid.append(blocks.average_pool(pyramid[-1]))
        stack = self._triple("branch0", self.width, pyramid.pop())
        for i in range(1, self.num_levels):
            branch = self._triple(f"branch{i}", self.width, pyramid.pop())
            branch = blocks.Norm(name=f"branch{i}_norm")(branch)
            stack = blocks.crop_to(self.upsample(stack), branch)
            stack = jnp.concatenate([blocks.Norm(name=f"stack{i}_norm")(stack), branch], -1)
            stack = self._triple(f"join{i}", self.width * (i + 1), stack)
        return self.output(blocks.Conv(self.channels, 1, 1, self.padding, self.use_bias, name="head")(stack))

    def _triple(self, name, width, x):
        for letter, size in zip("abc", (3, 3, 1), strict=True):
            layer = blocks.ConvNorm(
                width, size, padding=self.padding, use_bias=self.use_bias, activation=self.activation, name=f"{name}{letter}"
            )
            x = layer(x)
        return x
