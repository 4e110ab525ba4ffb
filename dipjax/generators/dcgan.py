"""The decoder of a DCGAN in the official library (models/dcgan.py)."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dipjax.generators import blocks
from dipjax.generators import conv as convolution


class DCGAN(nn.Module):
    """A small z, grown by transposed convolutions.

        x = activation(norm(transposed 3x3 convolution of z))          two pixels larger on both sides
        x = activation(norm(doubled x))                                num_doublings - 1 times
        image = output(doubled x)                                      to the channels of the image

    "Doubled" is a transposed 4x4 convolution, or `upsample` and a 3x3 convolution; nothing has a bias. z is `stride = 2^num_doublings`
    times smaller than the image: `inputs.Noise(depth, stride=generator.stride)`. Decisions: the official activation is
    `LeakyReLU(True)`, which has slope 1 and makes the network linear but for its sigmoid; slope 0.2 was meant, and
    `activation=blocks.identity` is the official behaviour. `upsample` is that of every doubling, where the official code takes it
    for all but the last, which is bilinear. The two extra pixels become a frame of `stride` pixels, which is cropped.
    Two doublings are what the official `num_ups=4` does.

    Attributes:
      channels: of the image.
      num_doublings: from 1.
      width: channels inside.
      upsample: doubles `(H, W, C)`, such as `blocks.bilinear`; None is a transposed convolution.
      activation: of any shape.
      output: the last function, `nn.sigmoid` or `blocks.identity`.

    Raises:
      ValueError: z is no image, or there is no doubling; on the first call.
    """

    channels: int = 3
    num_doublings: int = 2
    width: int = 32
    upsample: Callable | None = None
    activation: Callable = blocks.leaky_relu
    output: Callable = nn.sigmoid

    @property
    def stride(self) -> int:
        """How many pixels of the image one of z makes, on each side."""
        return 2**self.num_doublings

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(h, w, D)` to an image `(stride h, stride w, channels)`."""
        blocks.check_axes("DCGAN", z)
        if self.num_doublings < 1:
            raise ValueError(f"DCGAN: found {self.num_doublings} doublings, expected at least 1.")
        # PyTorch's fan-in of a transposed convolution counts its outputs.
        kernel = self.param("first", blocks.uniform_fan_in(9 * self.width), (3, 3, z.shape[-1], self.width), z.dtype)
        x = convolution.conv(jnp.pad(z, ((2, 2), (2, 2), (0, 0))), kernel[::-1, ::-1])
        for i in range(self.num_doublings):
            x = self.activation(blocks.Norm(name=f"norm{i}")(x))
            x = self._double(f"up{i}", self.channels if i + 1 == self.num_doublings else self.width, x)
        return self.output(x[self.stride : -self.stride, self.stride : -self.stride])

    def _double(self, name, width, x):
        if self.upsample is None:
            return blocks.Deconv(width, use_bias=False, name=name)(x)
        return blocks.Conv(width, 3, 1, "zero", use_bias=False, name=name)(self.upsample(x))
