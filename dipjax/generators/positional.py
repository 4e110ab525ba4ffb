"""The positional-encoding image prior: the skip network without spatial kernels, on Fourier features of the coordinates."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dipjax.generators import blocks
from dipjax.generators.skip import Skip


class Positional(nn.Module):
    """A `Skip` of 1x1 kernels on cos(f x), sin(f x), cos(f y) and sin(f y) of the coordinates x and y, for several frequencies f.

    Its z is `inputs.Meshgrid()`, and its frequencies are b^i from 1 to `max_frequency`, 8 of them by default.
    Pixels are mixed only by halving and doubling: the smoothness of the features is the prior. With `trainable` the frequencies
    are fitted too, as the authors do for super-resolution and inpainting (there with noise on them, which is left out here).

    Reference: Shabtay, Schwartz, Giryes, PIP: Positional-encoding Image Prior, 2022.

    Attributes:
      channels: of the image.
      down: of every level of the encoder, channels.
      up: of the decoder.
      skip: of what is handed over; 0 for nothing.
      num_frequencies: of sines and cosines of either coordinate, from 1.
      max_frequency: the largest of them, in radians over the whole image.
      trainable: whether the frequencies are parameters.
      upsample: doubles `(H, W, C)`.
      output: the last function, `nn.sigmoid` or `blocks.identity`.

    Raises:
      ValueError: z is no image, or the levels are not as many of each; on the first call.
    """

    channels: int = 3
    down: tuple[int, ...] = (128,) * 5
    up: tuple[int, ...] = (128,) * 5
    skip: tuple[int, ...] = (4,) * 5
    num_frequencies: int = 8
    max_frequency: float = 256.0
    trainable: bool = False
    upsample: Callable = blocks.bilinear
    output: Callable = nn.sigmoid

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps coordinates z `(H, W, 2)` from 0 to 1 to an image `(H, W, channels)`."""
        blocks.check_axes("Positional", z)
        initial = jnp.geomspace(1.0, self.max_frequency, self.num_frequencies, dtype=z.dtype)
        frequencies = self.param("frequencies", lambda key: initial) if self.trainable else initial
        angles = (z[..., None] * frequencies).reshape(*z.shape[:2], -1)
        features = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
        network = Skip(
            self.channels,
            self.down,
            self.up,
            self.skip,
            kernel_down=1,
            kernel_up=1,
            upsample=self.upsample,
            output=self.output,
            name="net",
        )
        return network(features)
