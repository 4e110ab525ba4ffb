"""Light networks for many pictures, not one: a corrector of pictures, and a judge of their patches; see `dipjax.after`.

They are no deep image priors, and so not in the registry: what they see is a picture, and they are trained on many.

References: Zhang, Zuo, Chen, Meng, Zhang, Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising, TIP 2017, here
without normalisation; Isola, Zhu, Zhou, Efros, Image-to-image translation with conditional adversarial networks, CVPR 2017, for the judge.
"""

from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class Residual(nn.Module):
    """Adds a correction to a picture, found by `num_layers` convolutions of 3 x 3 pixels. Any size works, from 2 x 2 pixels up.

    It begins close to the identity: of what the last convolution makes a tenth is added.

    Attributes:
      channels: of the picture.
      width: channels inside.
      num_layers: convolutions, from 1.
    """

    channels: int = 1
    width: int = 16
    num_layers: int = 6

    @property
    def reach(self) -> int:
        """How many pixels around its own a pixel of the result depends on."""
        return self.num_layers

    @nn.compact
    def __call__(self, picture: Array) -> Array:
        """Maps a picture `(H, W, channels)` to another."""
        blocks.check_axes("Residual", picture)
        x = picture
        for i in range(self.num_layers - 1):
            x = nn.relu(blocks.Conv(self.width, name=f"conv{i}")(x) * _GAIN)
        return picture + _SMALL * blocks.Conv(self.channels, name="head")(x)


class Judge(nn.Module):
    """Says of the neighbourhood of every eighth pixel whether it looks like those of the examples: about 1 if so, else about 0."""

    width: int = 16
    stride = 8

    @nn.compact
    def __call__(self, picture: Array) -> Array:
        """Maps a picture `(H, W, C)` to opinions `(ceil(H / 8), ceil(W / 8), 1)`."""
        blocks.check_axes("Judge", picture)
        x = picture
        for i, factor in enumerate((1, 2, 2)):
            x = blocks.leaky_relu(blocks.Conv(factor * self.width, 3, 2, name=f"conv{i}")(x) * _GAIN)
        return blocks.Conv(1, name="head")(x)


_GAIN = 6**0.5  # brings the house's initialisation, of variance 1 / (3 fan-in), to He's of 2 / fan-in, without which signals fade
_SMALL = 0.1
