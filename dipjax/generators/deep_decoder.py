"""The Deep Decoder: no convolution wider than one pixel, and fewer parameters than the image has pixels."""

from collections.abc import Callable

from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class DeepDecoder(nn.Module):
    """Mixes the channels of a small z and doubles it, again and again.

        x = norm(relu(upsample(1x1 convolution of x)))      num_doublings times
        x = norm(relu(1x1 convolution of x))
        image = output(1x1 convolution of x)                no bias anywhere

    z is `stride = 2^num_doublings` times smaller than the image: `inputs.Noise(depth, stride=generator.stride)`. It cannot fit noise well,
    so it need not be stopped early, but neither can it fit fine texture. The defaults are those of the paper's denoising: 100,224
    parameters for 128 input and 3 output channels.

    Reference: Heckel, Hand, Deep Decoder: Concise Image Representations from Untrained Non-convolutional Networks, ICLR 2019.

    Attributes:
      channels: of the image.
      width: channels inside.
      num_doublings: from 0.
      upsample: doubles `(H, W, C)`: `blocks.bilinear`, `blocks.nearest`.
      output: the last function, `nn.sigmoid` or `blocks.identity`.

    Raises:
      ValueError: z is no image; on the first call.
    """

    channels: int = 3
    width: int = 128
    num_doublings: int = 5
    upsample: Callable = blocks.bilinear
    output: Callable = nn.sigmoid

    @property
    def stride(self) -> int:
        """How many pixels of the image one of z makes, on each side."""
        return 2**self.num_doublings

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(h, w, D)` to an image `(stride h, stride w, channels)`."""
        blocks.check_axes("DeepDecoder", z)
        x = z
        for i in range(self.num_doublings + 1):
            x = blocks.Conv(self.width, 1, use_bias=False, name=f"mix{i}")(x)
            x = self.upsample(x) if i < self.num_doublings else x
            x = blocks.Norm(name=f"norm{i}")(nn.relu(x))
        return self.output(blocks.Conv(self.channels, 1, use_bias=False, name="head")(x))
