"""The U-Net of the official library (models/unet.py)."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class UNet(nn.Module):
    """Four halvings by maximum, four doublings, and at every size all features of the encoder joined to those of the decoder.

    "Two convolutions" are 3x3, with normalisation in the encoder only, and ReLU. With the widths w = 64, 128, 256, 512, 1024 divided by
    `feature_scale`:

        encoder:  two convolutions to w[0]; then four times: halve, two convolutions to the next width
                  and `more_layers` times more to w[4]
        decoder:  as often: double to half the channels (by a transposed convolution, or `upsample` and a 3x3 convolution),
                  concat(doubled, features of the encoder at that size), two convolutions
        image:    output(1x1 convolution)

    Decisions where the official code crashes or surprises: more than one of `more_layers` works; sizes that are no multiple of 16 do (an
    odd side is halved rounding up, and what was doubled is cropped); `concat_z` joins z, averaged down, to every stage of the encoder.
    The defaults are those of the inpainting of the library picture but for `feature_scale`, which is 8 there.

    Reference: Ronneberger, Fischer, Brox, U-Net: convolutional networks for biomedical image segmentation, 2015.

    Attributes:
      channels: of the image.
      feature_scale: by which the widths are divided, from 1 to 64.
      more_layers: halvings beyond four, from 0.
      concat_z: whether z joins every stage of the encoder.
      upsample: doubles `(H, W, C)`; None is a transposed convolution.
      padding: "zero" or "reflect".
      use_norm: whether the encoder has normalisation.
      affine: whether that scales and shifts: False is InstanceNorm2d, True is BatchNorm2d.
      use_bias: whether the convolutions have one; the transposed ones do in any case.
      output: the last function, `nn.sigmoid` or `blocks.identity`.

    Raises:
      ValueError: z is no image or has too many channels to be joined, or `feature_scale` is above 64; on the first call.
    """

    channels: int = 3
    feature_scale: int = 4
    more_layers: int = 1
    concat_z: bool = False
    upsample: Callable | None = None
    padding: str = "zero"
    use_norm: bool = True
    affine: bool = False
    use_bias: bool = True
    output: Callable = nn.sigmoid

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(H, W, D)` to an image `(H, W, channels)`."""
        blocks.check_axes("UNet", z)
        widths = [64 // self.feature_scale * 2**stage for stage in range(5)] + [1024 // self.feature_scale] * self.more_layers
        if widths[0] <= (z.shape[-1] if self.concat_z else 0):
            raise ValueError(
                f"UNet: found a z of {z.shape[-1]} channels and a feature_scale of {self.feature_scale}, expected fewer than"
                f" {widths[0]} channels, so that the first stage can join z (concat_z), and a feature_scale of at most 64."
            )
        features = []
        for stage, width in enumerate(widths):
            x = blocks.max_pool(features[-1]) if stage else z
            z = blocks.average_pool(z) if stage else z
            x = self._two_convs(f"down{stage}", width - self.concat_z * z.shape[-1], x, norm=self.use_norm)
            features.append(jnp.concatenate([x, z], -1) if self.concat_z else x)
        x = features.pop()
        for stage in reversed(range(len(features))):
            x = blocks.crop_to(self._double(f"up{stage}", widths[stage], x), features[-1])
            x = self._two_convs(f"join{stage}", widths[stage], jnp.concatenate([x, features.pop()], -1), norm=False)
        return self.output(blocks.Conv(self.channels, 1, 1, self.padding, self.use_bias, name="head")(x))

    def _two_convs(self, name, width, x, *, norm):
        for letter in "ab":
            x = blocks.Conv(width, 3, 1, self.padding, self.use_bias, not norm, name=f"{name}{letter}")(x)
            if norm:
                x = blocks.Norm(affine=self.affine, name=f"{name}{letter}_norm")(x)
            x = nn.relu(x)
        return x

    def _double(self, name, width, x):
        if self.upsample is None:
            return blocks.Deconv(width, name=name)(x)  # with a bias in any case, as there
        return blocks.Conv(width, 3, 1, self.padding, self.use_bias, name=name)(self.upsample(x))
