"""The residual network at constant resolution of the official library (models/resnet.py)."""

from collections.abc import Callable

from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class ResNet(nn.Module):
    """A chain of residual blocks at full resolution.

        x = activation(first(z))
        x = x + norm(conv(activation(norm(conv(x)))))      num_blocks times; no bias, and no activation after the sum
        image = output(last(norm(merge(x))))

    All kernels are 3x3. As in the official code only the first and the last convolution take `padding`; the others pad with zeros.
    Two decisions where that code surprises: it ignores its switch for the sigmoid, `output` here is honoured; and its `get_net` crashes,
    because it passes a normalisation for the activation. The defaults are those of the inpainting of the library picture: 158,979
    parameters for one input channel. Any image size from 1 x 1 up works.

    Reference: He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016.

    Attributes:
      channels: of the image.
      num_blocks: from 0.
      width: channels inside.
      use_residual: whether a block adds to what goes in.
      padding: of the first and the last convolution, "reflect" or "zero".
      activation: of any shape.
      output: the last function, `nn.sigmoid` or `blocks.identity`.
      scale_init: of the normalisations' scales, `nn.initializers.ones` or `blocks.uniform_scale`.

    Raises:
      ValueError: z is no image; on the first call.
    """

    channels: int = 3
    num_blocks: int = 8
    width: int = 32
    use_residual: bool = True
    padding: str = "reflect"
    activation: Callable = blocks.leaky_relu
    output: Callable = nn.sigmoid
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(H, W, D)` to an image `(H, W, channels)`."""
        blocks.check_axes("ResNet", z)
        x = self.activation(blocks.Conv(self.width, 3, 1, self.padding, name="first")(z))
        for j in range(self.num_blocks):
            body = self.activation(self._conv_norm(f"block{j}a")(x))
            body = self._conv_norm(f"block{j}b")(body)
            x = x + body if self.use_residual else body
        x = self._conv_norm("merge", use_bias=True)(x)
        return self.output(blocks.Conv(self.channels, 3, 1, self.padding, name="last")(x))

    def _conv_norm(self, name, *, use_bias=False):
        return blocks.ConvNorm(
            self.width,
            padding="zero",
            use_bias=use_bias,
            activation=blocks.identity,
            scale_init=self.scale_init,
            name=name,
        )
