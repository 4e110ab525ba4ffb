"""The plain convolutional network: one convolution after another at full resolution, as tutorials build it."""

from collections.abc import Callable

from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class Plain(nn.Module):
    """`num_layers` convolutions of equal width; all but the last with normalisation and activation.

    Nothing but the size of its kernels makes such a network prefer smooth images, so it is the weakest prior here and the baseline
    that the others have to beat: 5 layers are a shallow one, 15 a deep one. Any size from 1 pixel up works, of signals, images and volumes.

    Attributes:
      channels: of the image.
      num_layers: convolutions, from 1.
      width: channels inside.
      kernel_size: odd, from 1.
      padding: "reflect" or "zero".
      use_norm: whether there is normalisation.
      activation: of any shape.
      output: the last function, `nn.sigmoid` or `blocks.identity`.

    Raises:
      ValueError: a number is out of its range, or z has more than three axes of space; on the first call.
    """

    channels: int = 3
    num_layers: int = 9
    width: int = 64
    kernel_size: int = 3
    padding: str = "reflect"
    use_norm: bool = True
    activation: Callable = nn.relu
    output: Callable = nn.sigmoid

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(H, W, D)` to an image `(H, W, channels)`, or a signal or a volume to another."""
        blocks.check_axes("Plain", z, (1, 2, 3))
        if self.num_layers < 1 or self.kernel_size % 2 == 0:
            raise ValueError(
                f"Plain: found {self.num_layers} layers with kernels of {self.kernel_size}, expected at least one layer and an odd kernel."
            )
        x = z
        for i in range(self.num_layers - 1):
            x = blocks.Conv(self.width, self.kernel_size, 1, self.padding, adds_bias=not self.use_norm, name=f"conv{i}")(x)
            x = blocks.Norm(name=f"norm{i}")(x) if self.use_norm else x
            x = self.activation(x)
        return self.output(blocks.Conv(self.channels, self.kernel_size, 1, self.padding, name="head")(x))
