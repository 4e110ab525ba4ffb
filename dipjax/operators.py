"""Degradation operators A: what turned the image we want into the measurement we have.

An operator is a callable pytree: `operator(image (H, W, C)) -> measurement`. Arrays (a mask, a psf) are leaves, so that many
pictures with many masks are one batch and nothing recompiles; what decides shapes is static. All operators here are linear. To add
one, write a small `flax.struct.dataclass` with `__call__`; any user function works as `jax.tree_util.Partial(function, arrays)`.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import struct
from jax import Array

from dipjax import resampling


@struct.dataclass
class Identity:
    """Leaves the image as it is: denoising."""

    def __call__(self, image: Array) -> Array:
        """Returns `image`."""
        return image


@struct.dataclass
class Mask:
    """Keeps the known pixels and sets the others to zero: inpainting.

    Note the polarity: `known` is 1 where a pixel was measured, as in the paper; the functions for people (`dipjax.inpaint` and the
    command line) take the opposite, a mask that is True where a pixel is to be filled.
    """

    known: Array  # (H, W, 1) or (H, W, C), 1 where measured

    def __call__(self, image: Array) -> Array:
        """Returns `image * known`."""
        return image * self.known


@struct.dataclass
class Blur:
    """Convolves every channel with a point spread function: deblurring.

    Computed with fast Fourier transforms, whose cost does not grow with the psf.

    boundary "reflect": the scene outside the frame mirrors it; same size. "circular": it repeats; same size. "valid": nothing is
    assumed, the measurement `(H - k + 1, W - l + 1, C)` holds only pixels whose whole psf lies inside the image.
    """

    psf: Array  # (k, l), sums to one, centre at (k // 2, l // 2)
    boundary: str = struct.field(pytree_node=False, default="reflect")

    def __call__(self, image: Array) -> Array:
        """Returns the convolution of `image` with the psf."""
        (k, l), (height, width, _) = self.psf.shape, image.shape
        if self.boundary == "circular":
            kernel = jnp.zeros((height, width)).at[:k, :l].set(self.psf)
            return _fourier_product(image, jnp.roll(kernel, (-(k // 2), -(l // 2)), (0, 1)))
        if self.boundary not in {"reflect", "valid"}:
            raise ValueError(f'boundary: found {self.boundary!r}, expected "reflect", "circular" or "valid".')
        if self.boundary == "reflect":
            # Convolution flips the psf: the pixels after the centre reach back before the image.
            before, after = (k - 1 - k // 2, l - 1 - l // 2), (k // 2, l // 2)
            image = jnp.pad(image, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="reflect")
        rows, columns = image.shape[:2]
        # The product is circular: only its first k - 1 rows and l - 1 columns are spoilt, and those are dropped.
        canvas = jnp.pad(image, ((0, _fast_size(rows) - rows), (0, _fast_size(columns) - columns), (0, 0)))
        kernel = jnp.zeros(canvas.shape[:2]).at[:k, :l].set(self.psf)
        return _fourier_product(canvas, kernel)[k - 1 : rows, l - 1 : columns]


def _fourier_product(image, kernel):
    spectrum = jnp.fft.rfft2(image, axes=(0, 1)) * jnp.fft.rfft2(kernel)[..., None]
    return jnp.fft.irfft2(spectrum, s=image.shape[:2], axes=(0, 1))


def _fast_size(size: int) -> int:
    """The next length without prime factors above 5."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


@struct.dataclass
class Downsample:
    """Shrinks the image by an integer factor, `(H, W, C) -> (H / factor, W / factor, C)`: super-resolution.

    `kernel` is one of `resampling.LANCZOS2` (the official operator), `LANCZOS3`, `BICUBIC` (Pillow's) or `BOX`.
    """

    factor: int = struct.field(pytree_node=False)
    kernel: resampling.Kernel = struct.field(pytree_node=False, default=resampling.LANCZOS2)

    def __call__(self, image: Array) -> Array:
        """Returns the smaller image."""
        return resampling.shrink(image, self.factor, self.kernel)


@struct.dataclass
class Compose:
    """Applies several operators one after the other, the first one first: `Compose((blur, downsample))`."""

    operators: tuple[Callable[[Array], Array], ...]

    def __call__(self, image: Array) -> Array:
        """Returns `operators[-1](... operators[0](image))`."""
        for operator in self.operators:
            image = operator(image)
        return image
