"""Every operator of this package by name, each with a small example.

The tests hold each of them to the contract: the dtype follows the image, operators with different arrays are one batch; of the linear
ones the transpose is the adjoint. To add an operator, add a line.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from dipjax.operators import fourier, psfs, radon, sensing
from dipjax.operators.camera import Bayer
from dipjax.operators.fourier import Complex, Fourier, FourierMagnitude, NonUniformFourier
from dipjax.operators.jpeg import JPEG
from dipjax.operators.linear import Blur, Compose, Identity, Mask
from dipjax.operators.radon import Radon, Transmission
from dipjax.operators.resampling import BICUBIC, Downsample, Resize


def _some(height, width):
    return jnp.asarray(np.add.outer(np.arange(height), np.arange(width)) % 3 > 0, jnp.float32)


def _mask(height, width):
    return Mask(_some(height, width)[..., None])


def _psf(k, l):
    return jnp.asarray(psfs.normalized(1 + np.arange(k * l).reshape(k, l) % 5))


def _level():
    return jnp.float32(0.01)


def _coils(height, width):
    rows, columns = np.mgrid[:height, :width]
    strengths, phases = np.stack([0 * rows + 0.5, columns / width]), np.stack([rows / height, 2 - columns / width])
    return jnp.asarray(strengths * np.exp(1j * phases), jnp.complex64)


def _angles(number, first=10.0):
    return jnp.asarray(radon.views(number) + first, jnp.float32)


LINEAR: dict[str, Callable[[int, int], Callable]] = {
    "identity": lambda height, width: Identity(),
    "mask": _mask,
    "blur, reflect": lambda height, width: Blur(_psf(4, 3)),
    "blur, circular": lambda height, width: Blur(_psf(3, 4), "circular", _level()),
    "blur, valid": lambda height, width: Blur(_psf(4, 5), "valid", _level()),
    "downsample": lambda height, width: Downsample(2),
    "downsample, bicubic": lambda height, width: Downsample(3, BICUBIC),
    "resize": lambda height, width: Resize((height * 2 // 3, width - 1)),
    "composition": lambda height, width: Compose((_mask(height, width), Blur(_psf(3, 3)), Downsample(2))),
    "complex": lambda height, width: Complex(),
    "fourier": lambda height, width: Fourier(_some(height, width)),
    "fourier, coils": lambda height, width: Fourier(_some(height, width), _coils(height, width)),
    "fourier, anywhere": lambda height, width: NonUniformFourier(jnp.asarray(fourier.radial(3, 7))),
    "radon": lambda height, width: Radon(_angles(5), 9),
    "radon, fan": lambda height, width: Radon(_angles(4), 8, 30.0, 1.5),
    "bayer": lambda height, width: Bayer("GRBG"),
    "matrix": lambda height, width: sensing.gaussian(7, (height, width)),
    "hadamard": lambda height, width: sensing.hadamard(0.5, (height, width)),
}
"""Name: `(height, width) -> operator` for images `(height, width, C)` of at least 5 x 5 pixels, see `CHANNELS`."""

NONLINEAR: dict[str, Callable[[int, int], Callable]] = {
    "fourier magnitude": lambda height, width: FourierMagnitude(_some(height, width)),
    "transmission": lambda height, width: Transmission(),
    "jpeg": lambda height, width: JPEG(*jnp.full((2, 8, 8), 16.0)),
}
"""The same of those that are not linear."""

CHANNELS = {"bayer": 3, "complex": 2, "jpeg": 3}
"""How many channels an image must have; the others take any number."""

COMPLEX = {"complex", "fourier", "fourier, coils", "fourier, anywhere"}
"""Those whose measurement is complex, of real images too."""
