"""Fourier transforms: what a magnetic resonance scanner measures of an image, and what is left of it without its phases.

The transforms are orthonormal and centred: the pixel `(H // 2, W // 2)` is the origin, and so is the sample of that place. `Fourier`,
`NonUniformFourier` and `Complex` make complex numbers of real images too; they are linear, and `registry` holds them to it.
A generator draws real channels: `Complex` makes a complex image of twice as many of them. To add a pattern of
samples, add a function; the constructors of problems are in `instruments`.

Examples:
  >>> image, fourier = np.ones((8, 8, 1), np.float32), dipjax.operators.fourier
  >>> kspace = dipjax.operators.Fourier(fourier.cartesian((8, 8), 2, centre=0.25))(image)
  >>> kspace.shape, kspace.dtype, float(abs(kspace[4, 4, 0]))
  ((8, 8, 1), dtype('complex64'), 8.0)
  >>> dipjax.operators.NonUniformFourier(fourier.radial(3, 8))(image).shape
  (24, 1)
  >>> dipjax.operators.FourierMagnitude(np.ones((8, 8)))(image).shape
  (16, 16, 1)
  >>> dipjax.operators.Complex()(np.ones((8, 8, 2), np.float32))[0, 0]
  Array([1.+1.j], dtype=complex64)
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import struct
from dipjax.operators.checks import is_real, random, sides, whole

_AXES = (-2, -1)


@struct.dataclass
class Complex:
    """Makes a complex image of its real and its imaginary part: `(..., 2 C) -> (..., C)`, the first half of the channels is real."""

    def __call__(self, image: Array) -> Array:
        """Returns `image[..., :C] + 1j * image[..., C:]`."""
        image = jnp.asarray(image)
        image = image.astype(_complex(image.dtype))
        real, imaginary = jnp.split(image, 2, axis=-1)
        return real + 1j * imaginary


@struct.dataclass
class Fourier:
    """Measures samples of the spectrum of an image on its own grid: magnetic resonance with one coil or with several.

    `mask * F(image)`, or `mask * F(coils[k] * image)` for every coil k. Samples that were not taken are zero.

    Reference: Pruessmann, Weiger, Scheidegger, Boesiger, SENSE: sensitivity encoding for fast MRI, 1999.

    Attributes:
      mask: `(H, W)`, 1 where the spectrum was sampled.
      coils: `(K, H, W)`, complex: how strongly each coil sees each pixel; None: one that sees all alike.
    """

    mask: Array
    coils: Array | None = None

    def __call__(self, image: Array) -> Array:
        """Returns the spectrum `(H, W, C)`, with coils `(K, H, W, C)`; complex."""
        image = jnp.asarray(image)
        kind = _complex(image.dtype)
        channels = jnp.moveaxis(image.astype(kind), -1, 0)
        if self.coils is not None:
            channels = channels * jnp.asarray(self.coils).astype(kind)[:, None]
        return jnp.moveaxis(_transform(channels) * jnp.asarray(self.mask).astype(kind), -3, -1)


@struct.dataclass
class NonUniformFourier:
    """Measures the spectrum of an image anywhere: `sum image[r, c] exp(-2 pi i (k r + l c)) / sqrt(H W)`, radial sampling for example.

    Direct sums, as products of matrices `(M, H)` and `(M, W)`: exact, and quick enough up to about 256 x 256 pixels.

    Attributes:
      frequencies: `(M, 2)`, rows and columns, in periods per pixel, from -1/2 to 1/2.
    """

    frequencies: Array

    def __call__(self, image: Array) -> Array:
        """Returns the samples `(M, C)` of an image `(H, W, C)`, complex."""
        image = jnp.asarray(image)
        kind = _complex(image.dtype)
        places = jnp.asarray(self.frequencies).astype(jnp.finfo(kind).dtype)
        rows, columns = (_waves(places[:, axis], image.shape[axis], kind) for axis in (0, 1))
        summed = jnp.einsum("mr,rcx->mcx", rows, image.astype(kind), precision="highest")
        return jnp.einsum("mc,mcx->mx", columns, summed, precision="highest") / (image.shape[0] * image.shape[1]) ** 0.5


@struct.dataclass
class FourierMagnitude:
    """Measures how strong each frequency is, without its phase: `|F(support * image)|`, coherent diffraction. It is not linear.

    The image is surrounded with zeros up to `oversampling` times its sides. An image, its mirror image, and both moved inside
    the support, have the same magnitudes: what is known is only what the support tells apart.

    Reference: Fienup, Phase retrieval algorithms: a comparison, 1982.

    Attributes:
      support: `(H, W)`, 1 where the object may be.
      oversampling: a whole number from 1.
    """

    support: Array
    oversampling: int = struct.field(pytree_node=False, default=2)

    def __call__(self, image: Array) -> Array:
        """Returns the magnitudes `(H * oversampling, W * oversampling, C)`, real."""
        image = jnp.asarray(image)
        kind = _complex(image.dtype)
        image = image * jnp.asarray(self.support).astype(image.dtype)[..., None]
        margins = [((self.oversampling - 1) * side // 2, -((1 - self.oversampling) * side // 2)) for side in image.shape[:2]]
        channels = jnp.moveaxis(jnp.pad(image, [*margins, (0, 0)]).astype(kind), -1, 0)
        return jnp.moveaxis(jnp.abs(_transform(channels)), 0, -1).astype(jnp.finfo(image.dtype).dtype)


def cartesian(shape: tuple[int, int], acceleration: float = 4.0, *, centre: float = 0.08, power: float = 2.0, seed: int = 0) -> np.ndarray:
    """Returns which lines of a spectrum are sampled: all in the middle, elsewhere the fewer the farther out.

    Args:
      shape: `(H, W)` of the image; lines are columns, H samples long.
      acceleration: every so manieth line is taken, from 1.
      centre: share of the lines in the middle that are all taken; they count as well.
      power: of the distance from the edge of the spectrum, 0 to 1, with which the chance of a line grows; 0 is uniform.
      seed: of NumPy's generator.

    Returns:
      `(H, W)`, True where sampled.

    Raises:
      ValueError: a number is out of its range, or more lines are in the middle than are to be taken.
    """
    shape = sides("shape", shape)
    for name, value, low, high in (("acceleration", acceleration, 1, shape[1]), ("centre", centre, 0, 1), ("power", power, 0, 100)):
        _check(name, value, is_real(value) and low <= value <= high, f"a number from {low} to {high}")
    width, number = shape[1], max(1, round(shape[1] / acceleration))
    inner = round(centre * width)
    _check("centre", centre, inner <= number, f"at most 1 / acceleration, {1 / acceleration:.3g}")
    taken = np.zeros(width, bool)
    taken[width // 2 - inner // 2 :][:inner] = True
    distance = np.abs(np.arange(width) - width // 2) / (width / 2 + 1)
    chance = np.where(taken, 0, np.maximum((1 - distance) ** power, 1e-30))
    if number > inner:
        taken[random(seed).choice(width, number - inner, replace=False, p=chance / chance.sum())] = True
    return np.broadcast_to(taken, shape).copy()


def radial(num_spokes: int, num_samples: int) -> np.ndarray:
    """Returns the places `(num_spokes * num_samples, 2)` of samples on lines through the origin, in periods per pixel.

    The lines divide the half circle evenly; the samples lie half a step from the origin and from one another's ends.

    Args:
      num_spokes: lines, from 1.
      num_samples: of each line, from 1.

    Raises:
      ValueError: either is no whole number from 1.
    """
    for name, value in (("num_spokes", num_spokes), ("num_samples", num_samples)):
        _check(name, value, whole(value) and value >= 1, "a whole number from 1")
    angles = np.pi * np.arange(num_spokes) / num_spokes
    along = (np.arange(num_samples) + 0.5) / num_samples - 0.5
    return np.stack([np.outer(part, along).ravel() for part in (np.sin(angles), np.cos(angles))], -1).astype(np.float32)


def _transform(channels):
    return jnp.fft.fftshift(jnp.fft.fft2(jnp.fft.ifftshift(channels, _AXES), norm="ortho"), _AXES)


def _waves(frequencies, size, kind):
    places = jnp.arange(size, dtype=frequencies.dtype) - size // 2
    return jnp.exp(jnp.multiply.outer(frequencies, places).astype(kind) * (-2j * jnp.pi))


def _complex(dtype):
    return jnp.complex128 if jnp.finfo(dtype).bits == 64 else jnp.complex64  # there is no transform of half precision


def _check(name, found, condition, expected):
    if not condition:
        raise ValueError(f"{name}: found {found!r}, expected {expected}.")
