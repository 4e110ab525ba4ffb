"""Linear operators A: what turned the image we want into the measurement we have.

An operator is a callable pytree: `operator(image (..., C)) -> measurement`. Arrays (a mask, a psf) are leaves, so that many
pictures with many masks are one batch and nothing recompiles; what decides shapes is static. The result has the dtype of the image,
float or complex, and the arrays follow it; an image of whole numbers is refused. `Downsample` is in `resampling`. To add a linear one,
write a small `struct.dataclass` with `__call__`, export it, and add a line to `registry`; any function of the user's works in
`problem.general`.

An operator that can serve large pictures, which `tiling` restores tile by tile, has three more things: `cut(measurement, rows, columns,
shape)` gives what was measured of a part of the image, two slices of one of `shape`, and the operator of that part, which must have the
same structure for every part of one size; `reach` says how many pixels of the image around its own one measured pixel
depends on, and `stride` of which number of pixels the edges of a part must be multiples, but for the image's own. `cut` works on NumPy
arrays.
One that leaves much less of some frequencies than of others may have `whiten(misfit)`, which `losses.BackProjection` asks for.

Examples:
  >>> image = np.ones((8, 8, 1), np.float32)
  >>> blur = dipjax.operators.Blur(dipjax.psfs.box(3), "valid")
  >>> blur(image).shape
  (6, 6, 1)
  >>> dipjax.operators.UnknownBlur()(image, dipjax.psfs.box(3)).shape
  (6, 6, 1)
  >>> dipjax.operators.Compose((blur, dipjax.operators.Downsample(2)))(image).shape
  (3, 3, 1)
  >>> dipjax.operators.Identity()(image) is image
  True
  >>> known = np.eye(8, dtype=np.float32)[..., None]
  >>> float(dipjax.operators.Mask(known)(image).sum())
  8.0
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dipjax import struct
from dipjax.operators import checks

_USUAL_LEVEL = 0.01  # see `Blur`
_REACH, _LOWEST = 16, 0.1  # pixels and cycles per pixel, see `UnknownBlur.whiten` and benchmarks/results/back_projection.md


@struct.dataclass
class Identity:
    """Leaves the image as it is, `(..., C) -> (..., C)`: denoising. Any number of axes of space."""

    reach, stride = 0, 1

    def __call__(self, image: Array) -> Array:
        """Returns `image`."""
        return image

    def cut(self, measurement, rows: slice, columns: slice, shape: tuple) -> tuple:
        """Returns the measurement of a part of the image, and its operator."""
        del shape
        return measurement[rows, columns], self


@struct.dataclass
class Mask:
    """Keeps the known pixels and sets the others to zero, `(..., C) -> (..., C)`: inpainting. Any number of axes of space.

    Note the polarity: `known` is 1 where a pixel was measured, as in the paper; the functions for people (`dipjax.inpaint` and the
    command line) take the opposite, a mask that is True where a pixel is to be filled.

    Attributes:
      known: `(..., 1)` or `(..., C)`, in [0, 1], 1 where measured.
    """

    known: Array
    reach, stride = 0, 1

    def __call__(self, image: Array) -> Array:
        """Returns `image * known`."""
        image = checks.inexact(image)
        return image * jnp.asarray(self.known).astype(image.dtype)

    def cut(self, measurement, rows: slice, columns: slice, shape: tuple) -> tuple:
        """Returns the measurement of a part of the image, and its operator."""
        del shape
        known = self.known[rows, columns]
        if not known.any():
            raise ValueError(
                f"tile: found no known pixel in rows {rows.start} to {rows.stop} and columns {columns.start} to {columns.stop},"
                " expected some in every tile; take tiles larger than the holes."
            )
        return measurement[rows, columns], Mask(known)


@struct.dataclass
class Blur:
    """Convolves every channel with a point spread function: deblurring.

    Computed with fast Fourier transforms, whose cost does not grow with the psf.

    Attributes:
      psf: `(k, l)`, sums to one, centre at `(k // 2, l // 2)`.
      boundary: "reflect": the scene outside the frame mirrors it; same size. "circular": it repeats; same size. "valid": nothing is
        assumed, the measurement `(H - k + 1, W - l + 1, C)` holds only pixels whose whole psf lies inside the image.
      level: `()`, positive, for `whiten` alone: the power of the noise in that of the picture; of what the psf has left, to the square, as
        a share, less counts as this; None: 0.01.
    """

    psf: Array
    boundary: str = struct.field(pytree_node=False, default="reflect")
    level: Array | None = None
    stride = 1

    def __call__(self, image: Array) -> Array:
        """Returns the convolution of `image (H, W, C)` with the psf, `(H, W, C)` or smaller.

        Raises:
          ValueError: the boundary is none of the three.
        """
        image, (k, l) = checks.inexact(image), self.psf.shape
        if self.boundary == "circular":
            return _filtered(image, self._spectrum(image, (-(k // 2), -(l // 2))))
        if self.boundary not in {"reflect", "valid"}:
            raise ValueError(f'boundary: found {self.boundary!r}, expected "reflect", "circular" or "valid".')
        if self.boundary == "reflect":
            # Convolution flips the psf: the pixels after the centre reach back before the image.
            before, after = (k - 1 - k // 2, l - 1 - l // 2), (k // 2, l // 2)
            image = jnp.pad(image, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="reflect")
        rows, columns = image.shape[:2]
        # The product is circular: only its first k - 1 rows and l - 1 columns are spoilt, and those are dropped.
        canvas = jnp.pad(image, ((0, _fast_size(rows) - rows), (0, _fast_size(columns) - columns), (0, 0)))
        return _filtered(canvas, self._spectrum(canvas))[k - 1 : rows, l - 1 : columns]

    def whiten(self, misfit: Array) -> Array:
        """Returns `(A A^T + level)^(-1/2)` times a misfit `(h, w, C)`: its frequencies as if the psf had kept them all alike.

        Beyond the edges the misfit is mirrored, with `boundary="circular"` it goes on at the other side.
        """
        return _whitened(misfit, self.psf.shape, self.boundary, self.level, lambda canvas: jnp.abs(self._spectrum(canvas)) ** 2)

    def _spectrum(self, image, shift=(0, 0)):
        """Returns what the psf does to the frequencies of a canvas of the image's height and width, `(H, F, 1)`."""
        k, l = self.psf.shape
        dtype = checks.wide(image.dtype)
        kernel = jnp.zeros(image.shape[:2], dtype).at[:k, :l].set(jnp.asarray(self.psf).astype(dtype))
        return _transforms(image)[0](jnp.roll(kernel, shift, (0, 1))[..., None], axes=(0, 1))

    @property
    def reach(self) -> int:
        """How far a measured pixel sees."""
        return max(self.psf.shape) // 2

    def cut(self, measurement, rows: slice, columns: slice, shape: tuple) -> tuple:
        """Returns the measurement of a part of the image, without the pixels that see more than the part, and its operator."""
        k, l = self.psf.shape
        if self.boundary == "valid":
            return measurement[rows.start : rows.stop - k + 1, columns.start : columns.stop - l + 1], self
        margins = [(size - 1 - size // 2, size // 2) for size in (k, l)]
        seen = unspoilt((rows, columns), shape, margins, wraps=self.boundary == "circular")
        return measurement[rows, columns] * seen, Compose((self, Mask(seen)))


@struct.dataclass
class UnknownBlur:
    """Convolves every channel with a point spread function that the generator makes beside the image: deblurring without knowing the blur.

    Linear in each of the two for itself. See `generators.WithPsf` for the generator.

    Attributes:
      boundary: as for `Blur`.
      level: `()`, positive, for `whiten` alone: the power of the noise in that of the picture; None: 0.01.
    """

    boundary: str = struct.field(pytree_node=False, default="valid")
    level: Array | None = None
    reach, stride = 0, 1

    def __call__(self, image: Array, psf: Array) -> Array:
        """Returns the convolution of `image (H, W, C)` with `psf (k, l)`."""
        return Blur(psf, self.boundary)(image)

    def whiten(self, misfit: Array) -> Array:
        """Returns a misfit `(h, w, C)` with its frequencies as if pictures held them all alike, as far as noise leaves them.

        The power of a picture falls about as that of its edges, 1 / f^2, and fine detail, which is next to nothing of the square error,
        tells most of the blur: methods that find one fit gradients (Cho, Lee, Fast motion deblurring, SIGGRAPH Asia 2009).
        """
        return _whitened(misfit, (_REACH, _REACH), self.boundary, self.level, _usual_power)

    def cut(self, measurement, rows: slice, columns: slice, shape: tuple) -> tuple:
        """Refuses, since every tile would find a blur of its own."""
        raise ValueError(
            "tile: found a picture to be cut whose blur is not known, expected one that fits the memory; find the blur in a part with edges"
            " of it (--found psf.png, or `psf` of the Outcome), and then give it for the whole (--psf psf.png)."
        )


def unspoilt(part: tuple, shape: tuple, margins: list, *, wraps: bool = False, stride: int = 1) -> np.ndarray:
    """Returns 1 for the measured pixels `(h, w, 1)` of a part that depend on no image outside of it, else 0.

    Args:
      part: rows and columns of the image, two slices.
      shape: of the whole image.
      margins: for each of the two axes, the measured pixels before and after a part that see what lies beyond its edge.
      wraps: whether the image repeats, so that its own edges count as well.
      stride: the pixels of the image along a side of a measured one.
    """
    axes = []
    for piece, size, (before, after) in zip(part, shape, margins, strict=False):
        seen = np.ones((piece.stop - piece.start) // stride, np.float32)
        whole = piece.stop - piece.start == size
        if not whole and (wraps or piece.start > 0):
            seen[:before] = 0
        if not whole and (wraps or piece.stop < size):
            seen[seen.size - after :] = 0
        axes.append(seen)
    return np.multiply.outer(*axes)[..., None]


def _transforms(image):
    """Returns the Fourier transform that suits the numbers of an image, and its inverse."""
    return (jnp.fft.fft2, jnp.fft.ifft2) if jnp.iscomplexobj(image) else (jnp.fft.rfft2, jnp.fft.irfft2)


def _usual_power(canvas):
    """Returns the power of the frequencies of a usual picture `(H, F, 1)`, whose mean over all is one."""
    dtype = checks.wide(jnp.real(canvas).dtype)
    rows, columns = (jnp.fft.fftfreq(side, dtype=dtype) for side in canvas.shape[:2])
    power = 1 / (rows[:, None, None] ** 2 + columns[:, None] ** 2 + _LOWEST**2)
    half = slice(None if jnp.iscomplexobj(canvas) else canvas.shape[1] // 2 + 1)  # as `_transforms`; both halves are alike
    return (power / power.mean())[:, half]


def _filtered(image, response):
    """Multiplies the frequencies of an image `(H, W, C)` by a response `(H, F, 1)`."""
    there, back = _transforms(image)
    spectrum = there(image.astype(checks.wide(image.dtype)), axes=(0, 1))
    return back(spectrum * response.astype(spectrum.dtype), s=image.shape[:2], axes=(0, 1)).astype(image.dtype)


def _whitened(misfit, sides, boundary, level, power):
    """Divides the frequencies of a misfit `(h, w, C)` by the root of `power(canvas) (H, F, 1)` and a level.

    Beyond its edges it is mirrored for so many pixels, unless the boundary is circular.
    """
    height, width = misfit.shape[:2]
    canvas = misfit
    if boundary == "circular":
        sides = (0, 0)
    else:
        pads = [(side, _fast_size(size + 2 * side) - size - side) for side, size in zip(sides, (height, width), strict=True)]
        canvas = jnp.pad(misfit, (*pads, (0, 0)), mode="symmetric")
    power = power(canvas)
    level = jnp.asarray(_USUAL_LEVEL if level is None else level).astype(power.dtype)
    white = _filtered(canvas, lax.rsqrt(power + level))
    return white[sides[0] : sides[0] + height, sides[1] : sides[1] + width]


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
class Compose:
    """Applies several operators one after the other, the first one first: `Compose((blur, downsample))`.

    Attributes:
      operators: each takes an image of the shape that the one before makes.
    """

    operators: tuple[Callable[[Array], Array], ...]

    def __call__(self, image: Array) -> Array:
        """Returns `operators[-1](... operators[0](image))`, of the shape that the last one makes of an image `(..., C)`."""
        for operator in self.operators:
            image = operator(image)
        return image

    @property
    def whiten(self) -> Callable:
        """That of the first, where the others only leave something out; else there is none."""
        if not self.operators or not all(isinstance(operator, Mask) for operator in self.operators[1:]):
            raise AttributeError("whiten")
        return self.operators[0].whiten
