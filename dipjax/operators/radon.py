"""Tomography: the sums of an image along rays, of parallel beams and of fans, and what few photons make of them.

A sinogram is `(num_detectors, num_views, C)`, in the convention of `skimage.transform.radon`: the image turns around its pixel
`(H // 2, W // 2)`, whose ray meets detector `num_detectors // 2`. Sums are in pixels: of an image in units per pixel.

Examples:
  >>> image, angles = np.ones((8, 8, 1), np.float32), dipjax.radon.views(4)
  >>> sinogram = dipjax.operators.Radon(angles, 9)(image)
  >>> sinogram.shape, float(sinogram[4, 0, 0])
  ((9, 4, 1), 8.0)
  >>> counts = 1000 * dipjax.operators.Transmission()(0.1 * sinogram)
  >>> round(float(dipjax.radon.line_integrals(counts, 1000)[4, 0, 0]), 3)
  0.8
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from dipjax import struct
from dipjax.operators.checks import inexact, numbers, positive, whole, wide

_LOWEST = 0.02  # cycles per detector, see `Radon.whiten`; 0.1 is a third slower (benchmarks/results/back_projection.md)


@struct.dataclass
class Radon:
    """Sums an image along rays: computed tomography with parallel beams, or with fans from a source at a `distance`.

    A ray steps over the rows of the image, or over its columns if it lies flatter, and takes the two nearest pixels in each by their
    distance; outside the image is nothing. Of a fan, the detectors stand on a straight line: `spacing` is how far apart their rays are
    at the centre of the image.

    Reference: Joseph, An improved algorithm for reprojecting rays through pixel images, 1982.

    Attributes:
      angles: `(T,)`, of the views, in degrees.
      num_detectors: from 1.
      distance: from source to centre, in pixels, outside of the image; infinite: parallel beams.
      spacing: of the detectors, in pixels.
    """

    angles: Array
    num_detectors: int = struct.field(pytree_node=False)
    distance: float = struct.field(pytree_node=False, default=math.inf)
    spacing: float = struct.field(pytree_node=False, default=1.0)

    def __call__(self, image: Array) -> Array:
        """Returns the sinogram `(num_detectors, T, C)`."""
        image = inexact(image)
        side = max(image.shape[:2])
        starts, slopes, lengths, is_flat = self._rays(image)
        steps = jnp.arange(side, dtype=starts.dtype)
        across = jnp.clip(starts[..., None] + slopes[..., None] * steps + 1, 0, side + 1)  # (D, T, side)
        left = jnp.minimum(jnp.floor(across), side)
        places = left.astype(jnp.int32) + (side + 2) * (jnp.arange(side, dtype=jnp.int32) + side * is_flat[..., None].astype(jnp.int32))
        shares, lengths = (across - left).astype(image.dtype), lengths.astype(image.dtype)

        def channel(plane):
            # The image and its transpose, one above the other, each between two columns of zeros.
            planes = [jnp.pad(one, ((0, side - one.shape[0]), (1, side - one.shape[1] + 1))) for one in (plane, plane.T)]
            values = jnp.concatenate(planes).ravel()
            # Single numbers from two tables: pairs of numbers from one take twice as long on a CPU.
            near, more = (table.at[places].get(mode="promise_in_bounds") for table in (values, jnp.roll(values, -1) - values))
            return lengths * jnp.sum(near + shares * more, -1)

        return jnp.stack([channel(image[..., c]) for c in range(image.shape[-1])], -1)

    def whiten(self, misfit: Array) -> Array:
        """Returns a misfit `(num_detectors, T, C)` with the frequencies of every view as if sums had kept them all alike.

        Sums weaken a frequency f by `1 / sqrt(f)`, so this is the square root of the ramp that filtered back-projection has, with a little
        added: few views do not weaken the lowest. Beyond the detectors the misfit is zero.
        """
        if jnp.iscomplexobj(misfit):
            return lax.complex(self.whiten(misfit.real), self.whiten(misfit.imag))
        size, values = 2 * self.num_detectors, misfit.astype(wide(misfit.dtype))
        spectrum = jnp.fft.rfft(values, size, axis=0)
        ramp = jnp.sqrt(jnp.fft.rfftfreq(size, dtype=values.dtype) + _LOWEST)
        return jnp.fft.irfft(spectrum * ramp[:, None, None].astype(spectrum.dtype), size, axis=0)[: self.num_detectors].astype(misfit.dtype)

    def _rays(self, image):
        """Returns of every ray `(D, T)` where it meets the first row (or column), how far it moves in each, its length there, which."""
        dtype = jnp.float64 if jnp.finfo(image.dtype).bits == 64 else jnp.float32  # places of half precision would be off by pixels
        detectors = (jnp.arange(self.num_detectors, dtype=dtype) - self.num_detectors // 2) * self.spacing
        angles = jnp.deg2rad(jnp.asarray(self.angles).astype(dtype))
        turned = jnp.arctan(detectors / self.distance)[:, None]
        angles, offsets = angles + turned, detectors[:, None] * jnp.cos(turned)
        cosine, sine = jnp.cos(angles), jnp.sin(angles)
        is_flat = jnp.abs(sine) > jnp.abs(cosine)
        large, small = jnp.where(is_flat, sine, cosine), jnp.where(is_flat, cosine, sine)
        rows, columns = (side // 2 for side in image.shape[:2])
        slopes = small / large
        offsets = jnp.where(is_flat, -offsets, offsets) / large
        starts = jnp.where(is_flat, rows - slopes * columns, columns - slopes * rows) + offsets
        return starts, slopes, 1 / jnp.abs(large), is_flat


@struct.dataclass
class Transmission:
    """Lets through `exp(-x)` of the light: what a detector sees behind a `Radon`, by the law of Beer and Lambert. It is not linear.

    `Compose((radon, Transmission()))` predicts counts divided by those without an object, whose likelihood is
    `losses.Poisson(photons)`: the loss for low doses, where the logarithm of `line_integrals` is biased.
    """

    def __call__(self, image: Array) -> Array:
        """Returns `exp(-image)`, of any shape; of sums along rays `(D, T, C)` the shares of the light."""
        return jnp.exp(-inexact(image))


def line_integrals(counts: ArrayLike, photons: float) -> np.ndarray:
    """Returns the sums along rays `-log(counts / photons)`, of any shape, from counts of photons; none counts as half a one.

    Reference: Kak, Slaney, Principles of computerized tomographic imaging, 1988, for the logarithm; half a photon is a convention here.

    Args:
      counts: how many photons each detector saw, at least 0.
      photons: how many it sees without an object.

    Returns:
      float32, of the shape of the counts. The variance of its noise is `1 / counts`, to first order.

    Raises:
      ValueError: photons are not positive, or counts negative, complex or not finite.
    """
    positive("photons", photons)
    counts = numbers("counts", counts)
    if not ((counts >= 0) & np.isfinite(counts)).all():
        raise ValueError("counts: found negative or non-finite numbers, expected counts of photons.")
    return np.log(photons / np.maximum(counts, 0.5)).astype(np.float32)


def views(num_views: int, *, full: bool = False) -> np.ndarray:
    """Returns angles `(num_views,)` that divide the half circle, or with `full` the whole one, as fans want it, evenly; in degrees.

    Raises:
      ValueError: num_views is no whole number from 1.
    """
    if not (whole(num_views) and num_views >= 1):
        raise ValueError(f"num_views: found {num_views!r}, expected a whole number from 1.")
    return (np.arange(num_views) * ((360 if full else 180) / num_views)).astype(np.float32)
