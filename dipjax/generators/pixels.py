"""No prior at all: the pixels of the image are the parameters."""

from flax import linen as nn
from jax import Array


class Pixels(nn.Module):
    """The image itself, which starts at z: what every prior has to beat (sr_prior_effect.ipynb).

    Attributes:
      channels: of the image.

    Raises:
      ValueError: z has fewer channels; on the first call.
    """

    channels: int = 3

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Returns the image `(H, W, channels)`, or any other `(..., channels)`; z has that shape, or more channels."""
        if z.shape[-1] < self.channels:
            raise ValueError(f"Pixels: found a z of {z.shape[-1]} channels, expected at least {self.channels}, those of the image.")
        return self.param("image", lambda key: z[..., : self.channels])
