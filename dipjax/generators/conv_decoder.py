"""The ConvDecoder: a Deep Decoder with 3x3 convolutions, grown by a constant ratio."""

import math
from collections.abc import Callable

import numpy as np
from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class ConvDecoder(nn.Module):
    """Grows a small z geometrically, with a convolution at every size.

        x = norm(relu(3x3 convolution of x resized to the next size, by repeating pixels))      num_layers - 1 times
        x = norm(relu(3x3 convolution of x))
        image = output(1x1 convolution of x)

    With N = num_layers - 1 sizes, the n-th is ceil(stride^(n / N) h) for a z of h rows. z is `stride` times smaller than the image:
    `inputs.Noise(depth, stride=generator.stride)`. The paper and deepinv fix the size of z instead, (8, 4) or (4, 4), and take its ratio
    to the image: the same network for an image of `stride` times that. The paper leaves its output free; for pictures a sigmoid is the
    default here.

    Reference: Darestani, Heckel, Accelerated MRI with Un-trained Neural Networks, IEEE TCI 2021.

    Attributes:
      channels: of the image.
      num_layers: convolutions, from 2.
      width: channels inside.
      stride: pixels of the image for each one of z, on each side.
      padding: "zero" or "reflect".
      use_bias: whether the convolutions have one.
      output: the last function, `nn.sigmoid`, or `blocks.identity`, the published one.

    Raises:
      ValueError: z is no image, or there are fewer than two layers; on the first call.
    """

    channels: int = 3
    num_layers: int = 7
    width: int = 256
    stride: int = 64
    padding: str = "zero"
    use_bias: bool = True
    output: Callable = nn.sigmoid

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(h, w, D)` to an image `(stride h, stride w, channels)`."""
        blocks.check_axes("ConvDecoder", z)
        if self.num_layers < 2:
            raise ValueError(f"ConvDecoder: found {self.num_layers} layers, expected at least 2.")
        x = z
        for i in range(1, self.num_layers + 1):
            growth = self.stride ** (min(i / (self.num_layers - 1), 1.0))
            x = _repeat_to(x, tuple(math.ceil(round(growth * side, 6)) for side in z.shape[:2]))
            x = blocks.Conv(self.width, 3, 1, self.padding, self.use_bias, name=f"conv{i}")(x)
            x = blocks.Norm(name=f"norm{i}")(nn.relu(x))
        return self.output(blocks.Conv(self.channels, 1, 1, self.padding, self.use_bias, name="head")(x))


def _repeat_to(image, size):
    """Resizes by repeating pixels: output pixel i is input pixel floor(i h / H)."""
    if size == (2 * image.shape[0], 2 * image.shape[1]):
        return blocks.nearest(image)
    for axis in (0, 1):
        old, new = image.shape[axis], size[axis]
        image = image if old == new else image.take(np.arange(new) * old // new, axis)
    return image
