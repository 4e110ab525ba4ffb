"""Every linear operator of this package by name, each with a small example.

The tests hold each of them to the contract: the transpose is the adjoint, the dtype follows the image, operators with different
arrays are one batch. To add an operator, add a line.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from dipjax.operators import psfs
from dipjax.operators.linear import Blur, Compose, Identity, Mask
from dipjax.operators.resampling import BICUBIC, Downsample, Resize


def _mask(height, width):
    return Mask(jnp.asarray(np.add.outer(np.arange(height), np.arange(width))[..., None] % 3 > 0, jnp.float32))


def _psf(k, l):
    return jnp.asarray(psfs.normalized(1 + np.arange(k * l).reshape(k, l) % 5))


LINEAR: dict[str, Callable[[int, int], Callable]] = {
    "identity": lambda height, width: Identity(),
    "mask": _mask,
    "blur, reflect": lambda height, width: Blur(_psf(4, 3)),
    "blur, circular": lambda height, width: Blur(_psf(3, 4), "circular"),
    "blur, valid": lambda height, width: Blur(_psf(4, 5), "valid"),
    "downsample": lambda height, width: Downsample(2),
    "downsample, bicubic": lambda height, width: Downsample(3, BICUBIC),
    "resize": lambda height, width: Resize((height * 2 // 3, width - 1)),
    "composition": lambda height, width: Compose((_mask(height, width), Blur(_psf(3, 3)), Downsample(2))),
}
"""Name: `(height, width) -> operator` for images `(height, width, C)` of at least 5 x 5 pixels."""
