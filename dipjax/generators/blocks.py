"""The layers that generators share: convolution, normalisation, activations, changes of size.

Everything maps one image `(H, W, C)` and keeps no state; `Conv`, `Norm` and the activations do so with signals `(W, C)` and volumes
`(D, H, W, C)` too. Parameters have the dtype of what comes in. Initialisation is PyTorch's default, which the method was tuned with.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from dipjax.generators import conv as convolution
from dipjax.generators import doubling
from dipjax.operators import resampling


def check_axes(name: str, z: Array, allowed: tuple[int, ...] = (2,)) -> None:
    """Raises a ValueError if z has another number of axes, beside its channels, than the generator can take."""
    if z.ndim - 1 not in allowed:
        kinds = {1: "a signal (W, D)", 2: "an image (H, W, D)", 3: "a volume (depth, H, W, D)"}
        others = "" if len(allowed) > 1 else "; signals and volumes are for Plain and Siren"
        raise ValueError(f"{name}: found a z of shape {z.shape}, expected {' or '.join(kinds[n] for n in allowed)}{others}.")


def uniform_fan_in(fan_in: int) -> Callable:
    """Returns an initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for kernels and biases of convolutions."""

    def initialise(key, shape, dtype=jnp.float32):
        # Drawn flat: the same numbers, and a much smaller program than a draw of four dimensions.
        flat = jax.random.uniform(key, (math.prod(shape),), dtype, -(fan_in**-0.5), fan_in**-0.5)
        return flat.reshape(shape)

    return initialise


class Conv(nn.Module):
    """Convolves with padding `(size - 1) // 2`, so that stride 1 and an odd kernel keep the size.

    A normalisation behind it takes away what the same bias adds everywhere. PyTorch's networks have one there all the same, and so it is
    among the parameters; but adding it, and its gradient, would cost two passes over the image, so `adds_bias` is False there.
    """

    channels: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "reflect"  # "reflect", "edge" or "zero"
    use_bias: bool = True  # whether there is one
    adds_bias: bool = True  # whether it matters

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Maps `(H, W, C)` to `(ceil(H / stride), ceil(W / stride), channels)`; with one or three axes likewise."""
        size, num_axes, num_in = self.kernel_size, image.ndim - 1, image.shape[-1]
        fan_in = size**num_axes * num_in
        kernel = self.param("kernel", uniform_fan_in(fan_in), (*(size,) * num_axes, num_in, self.channels), image.dtype)
        border = (size - 1) // 2
        image = convolution.pad(image, border, border, self.padding) if border else image
        image = convolution.conv(image, kernel, self.stride)
        bias = self.param("bias", uniform_fan_in(fan_in), (self.channels,), image.dtype) if self.use_bias else 0
        return image + bias if self.use_bias and self.adds_bias else image


class Deconv(nn.Module):
    """Doubles both sides with a transposed 4x4 convolution of stride 2."""

    channels: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Maps `(H, W, C)` to `(2 H, 2 W, channels)`."""
        fan_in = 16 * self.channels  # PyTorch takes the number of outputs for that of inputs
        kernel = self.param("kernel", uniform_fan_in(fan_in), (4, 4, image.shape[-1], self.channels), image.dtype)
        image = doubling.conv_transpose(image, kernel)
        return image + self.param("bias", uniform_fan_in(fan_in), (self.channels,), image.dtype) if self.use_bias else image


class Norm(nn.Module):
    """Normalises each channel over all other axes, then scales and shifts it.

    This is batch normalisation in training mode on a batch of one, as the official code always uses it: no running statistics,
    biased variance, epsilon 1e-5.
    """

    scale_init: Callable = nn.initializers.ones  # `uniform_scale` for what PyTorch did when the paper was written
    affine: bool = True  # whether there are a scale and a shift

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Maps `(H, W, C)` to the same shape."""
        channels = image.shape[-1:]
        if not self.affine:
            return normalize(image, jnp.ones(channels, image.dtype), jnp.zeros(channels, image.dtype))
        scale = self.param("scale", self.scale_init, channels, image.dtype)
        return normalize(image, scale, self.param("bias", nn.initializers.zeros, channels, image.dtype))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def normalize(image: Array, scale: Array, bias: Array, weigh: Callable[[Array], Array] | None = None) -> Array:
    """Returns `scale * (image - mean) / sqrt(variance + 1e-5) + bias`, all per channel.

    The variance is the mean of `centred * weigh(centred)`: with `weigh`, a symmetric linear map that keeps constants, it is that of a
    resized image. The derivative is written out, so that its transpose, the gradient, makes few kernels to compile.
    """
    centred, factor = _centred_and_factor(image, weigh)
    return centred * (scale * factor) + bias


@normalize.defjvp
def _(weigh, primals, tangents):
    image, scale, bias = primals
    image_tangent, scale_tangent, bias_tangent = tangents
    axes = tuple(range(image.ndim - 1))
    centred, factor = _centred_and_factor(image, weigh)
    standard = centred * factor
    # Every mean is made before it meets a whole image: backwards, two sums are all that the gradients need.
    bias_tangent -= scale * (factor * image_tangent.mean(axes))
    scale_tangent -= scale * (factor * (_weighed(standard, weigh) * image_tangent).mean(axes))
    return centred * (scale * factor) + bias, (scale * factor) * image_tangent + standard * scale_tangent + bias_tangent


def _centred_and_factor(image, weigh):
    axes = tuple(range(image.ndim - 1))
    centred = image - image.mean(axes)
    return centred, jax.lax.rsqrt(jnp.mean(centred * _weighed(centred, weigh), axes) + 1e-5)


def _weighed(image, weigh):
    return weigh(image) if weigh else image


def uniform_scale(key, shape, dtype=jnp.float32) -> Array:
    """Draws normalisation scales from U(0, 1), as PyTorch up to 1.1 did; the paper's numbers were made with it."""
    return jax.random.uniform(key, shape, dtype)


class ConvNorm(nn.Module):
    """Convolution, then an optional pooling, then normalisation, then activation."""

    channels: int
    kernel_size: int = 3
    stride: int = 1
    padding: str = "reflect"
    use_bias: bool = True
    pool: Callable[[Array], Array] | None = None
    activation: Callable[[Array], Array] = nn.relu
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Maps `(H, W, C)` to `channels` channels."""
        adds_bias = self.pool not in _KEEPING_CONSTANTS
        image = Conv(self.channels, self.kernel_size, self.stride, self.padding, self.use_bias, adds_bias, name="conv")(image)
        image = self.pool(image) if self.pool else image
        return self.activation(Norm(self.scale_init, name="norm")(image))


class UpConvNorm(nn.Module):
    """Doubles an image, joins it with a skip, normalises, convolves, normalises, activates.

    Where the doubling is `nearest` or `bilinear` and the image not tiny, nothing is doubled: a 3x3 convolution of repeated pixels is
    four 2x2 convolutions of the pixels themselves, one for each position in the 2 x 2 block, which needs 4 products per output pixel
    instead of 9, and linear interpolation is a filter of that.
    """

    channels: int
    kernel_size: int = 3
    padding: str = "reflect"
    use_bias: bool = True
    upsample: Callable[[Array], Array] | None = None
    activation: Callable[[Array], Array] = nn.relu
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, skip: Array, deep: Array) -> Array:
        """Maps skip `(H, W, S)` and deep `(H / 2, W / 2, D)`, rounded up, to `(H, W, channels)`; S may be 0."""
        size, num_skip, num_in = self.kernel_size, skip.shape[-1], skip.shape[-1] + deep.shape[-1]
        fan_in = size**2 * num_in
        scale = self.param("join_scale", self.scale_init, (num_in,), deep.dtype)
        shift = self.param("join_bias", nn.initializers.zeros, (num_in,), deep.dtype)
        kernel = self.param("kernel", uniform_fan_in(fan_in), (size, size, num_in, self.channels), deep.dtype)
        foldable = size == 3 and min(deep.shape[:2]) >= _FOLDED_FROM and skip.shape[:2] == (2 * deep.shape[0], 2 * deep.shape[1])
        folded = _FOLDED.get(self.upsample) if foldable else None
        if folded:
            convolve, weigh = folded
            deep = normalize(deep, scale[num_skip:], shift[num_skip:], weigh)
            image = convolve(deep, kernel[:, :, num_skip:], self.padding)
            if num_skip:
                skip = normalize(skip, scale[:num_skip], shift[:num_skip])
                skip = convolution.pad(skip, 1, 1, self.padding)
                image += convolution.conv(skip, kernel[:, :, :num_skip])
        else:
            border = (size - 1) // 2
            image = jnp.concatenate([skip, crop_to(self.upsample(deep), skip)], -1)
            image = convolution.pad(normalize(image, scale, shift), border, border, self.padding)
            image = convolution.conv(image, kernel)
        if self.use_bias:  # without effect, see `Conv`
            self.param("bias", uniform_fan_in(fan_in), (self.channels,), image.dtype)
        return self.activation(Norm(self.scale_init, name="norm")(image))


def leaky_relu(image: Array) -> Array:
    """Returns max(x, x / 5), the official activation (slope 0.2)."""
    return jnp.where(image >= 0, image, 0.2 * image)


def identity(image: Array) -> Array:
    """Returns `image`: no activation, or a linear output for data outside [0, 1]."""
    return image


def nearest(image: Array) -> Array:
    """Doubles both sides by repeating pixels."""
    height, width, channels = image.shape
    blocks = jnp.broadcast_to(image[:, None, :, None], (height, 2, width, 2, channels))
    return blocks.reshape(2 * height, 2 * width, channels)


def bilinear(image: Array) -> Array:
    """Doubles both sides by linear interpolation, pixels at their centres, edges clamped (align_corners=False)."""
    return _double_linearly(_double_linearly(image, 0), 1)


def _double_linearly(image, axis):
    take = lambda start, stop: jax.lax.slice_in_dim(image, start, stop, axis=axis)  # noqa: E731
    size = image.shape[axis]
    before = jnp.concatenate([take(0, 1), take(0, size - 1)], axis)
    after = jnp.concatenate([take(1, size), take(size - 1, size)], axis)
    pairs = jnp.stack([0.25 * before + 0.75 * image, 0.75 * image + 0.25 * after], axis + 1)
    return pairs.reshape(*image.shape[:axis], 2 * size, *image.shape[axis + 1 :])


def _weigh_doubled(image):
    """Multiplies with the matrix of the mean square of `bilinear(image)`: (3, 10, 3) / 16 on each axis, edges repeated."""
    for axis in (0, 1):
        size = image.shape[axis]
        padded = jnp.concatenate(
            [jax.lax.slice_in_dim(image, 0, 1, axis=axis), image, jax.lax.slice_in_dim(image, size - 1, size, axis=axis)], axis
        )
        around = jax.lax.slice_in_dim(padded, 0, size, axis=axis) + jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
        image = 0.625 * image + 0.1875 * around
    return image


# The doublings that a convolution can take in, with what makes the variance of the small image that of the doubled one. The mean is the
# same for both, and repetition does not change the variance either.
_FOLDED = {nearest: (doubling.conv_of_nearest, None), bilinear: (doubling.conv_of_bilinear, _weigh_doubled)}
_FOLDED_FROM = 16  # pixels of the shorter side; in a smaller image the border and the four kernels cost more than is saved (on a CPU)


def bilinear_aligned(image: Array) -> Array:
    """Doubles both sides by linear interpolation between the corner pixels (align_corners=True), as PyTorch before 0.4 did."""
    for axis in (0, 1):
        size = image.shape[axis]
        positions = jnp.linspace(0, size - 1, 2 * size, dtype=image.dtype)
        weights = jnp.maximum(0, 1 - jnp.abs(positions[:, None] - jnp.arange(size, dtype=image.dtype)))
        image = jnp.moveaxis(jnp.tensordot(weights, image, (1, axis), precision="highest"), 0, axis)
    return image


def average_pool(image: Array) -> Array:
    """Halves both sides by the mean of 2 x 2 blocks; an odd side first repeats its last pixel."""
    return _blocks(image).mean((1, 3))


def max_pool(image: Array) -> Array:
    """Halves both sides by the maximum of 2 x 2 blocks; an odd side first repeats its last pixel."""
    blocks = _blocks(image)
    rows = _larger(blocks[:, 0], blocks[:, 1])
    return _larger(rows[:, :, 0], rows[:, :, 1])


def _larger(first, second):
    # The gradient of `max` divides by the number of pixels that equal it: none, and so NaN, where the compiler computes them twice.
    return jnp.where(first >= second, first, second)


def _blocks(image):
    image = _even(image)
    height, width, channels = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, channels)


def _even(image):
    return jnp.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")


def lanczos2_pool(image: Array) -> Array:
    """Halves both sides with a fixed Lanczos kernel of two lobes; an odd side first repeats its last pixel.

    The official code leaves this kernel trainable by accident; here it stays what its name says.
    """
    return resampling.shrink(_even(image), 2, resampling.LANCZOS2)


def lanczos3_pool(image: Array) -> Array:
    """Halves both sides with a fixed Lanczos kernel of three lobes; an odd side first repeats its last pixel."""
    return resampling.shrink(_even(image), 2, resampling.LANCZOS3)


_KEEPING_CONSTANTS = (None, average_pool, max_pool, lanczos2_pool, lanczos3_pool)  # pool(x + c) = pool(x) + c


def crop_to(image: Array, like: Array) -> Array:
    """Crops the bottom and the right of `image` to the height and width of `like`."""
    return image[: like.shape[0], : like.shape[1]]
