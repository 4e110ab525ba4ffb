"""How the convolution and its two gradients are computed: by three means, which give the same numbers.

GPU and TPU, one run: XLA's convolution. GPU and TPU under `vmap` over runs, each with its own kernel: patches and one batched matrix
product, because `vmap` of XLA's convolution is a grouped convolution, which took 33 times the memory and 4 times the time
(8 runs, 256 x 256, 32 channels, H100; benchmarks/results/gpu_layouts.md).

CPU: XLA's own gradient convolutions lose up to 86x inside a loop body and its VALID convolution is 4x slower than SAME, so

* forward: SAME convolution of the padded image, the border cropped, with some zeros where there are few channels;
* gradient with respect to the image: that same forward convolution with the flipped, transposed kernel;
* gradient with respect to the kernel: one matrix product per tap over strips of rows, which stay in the cache, and a single one where
  the kernel is 1x1;
* stride s: XLA's own convolutions forward and with respect to the image; for the gradient with respect to the kernel an s x s block of
  pixels becomes s * s channels, of which each tap sees one.

A form takes the two of image `(H, W, C)`, kernel `(k, l, C, O)` and output `(h, w, O)` that are given, in this order, and the shape of
the one it makes. "Row" is an index of the first axis, however many there are.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Rows per matrix product in the kernel gradient, by the number of axes. For images 8, 16 and 32 were within 5 % of each other.
_STRIP_ROWS = {1: 2048, 2: 16, 3: 2}

# From 17 channels on, going in or out, XLA has a library do convolutions of pictures, which is 1.3 to 3.5 times as fast as what does the
# others: so few channels get zeros beside them (benchmarks/PERFORMANCE.md). Runs with a kernel each, side by side, gain nothing by it.
_HAS_LIBRARY = jax.__version_info__ >= (0, 10)
_WIDE = 20


def on_cpu(made: str, runs: tuple) -> Callable:
    """Returns the form that makes "output", "image" or "kernel" on a CPU."""
    if made == "kernel":
        return _kernel_gradient
    return partial({"output": _forward, "image": _image_gradient}[made], widened=not _kernels_differ(made, runs))


def on_accelerator(made: str, runs: tuple) -> Callable:
    """Returns the form for other devices; `runs` tells, for every `vmap`, which of the two operands differ between its runs."""
    return partial(_of, patches if _kernels_differ(made, runs) else xla, made)


def _kernels_differ(made, runs):
    kernel = {"output": 1, "image": 0}.get(made)
    return any(level[kernel] for level in runs) if kernel is not None else bool(runs)


def _of(convolve, made, first, second, stride, shape):
    if made == "output":
        return convolve(first, second, stride)
    wanted = jax.ShapeDtypeStruct(shape, first.dtype)
    if made == "image":
        return jax.linear_transpose(lambda image: convolve(image, first, stride), wanted)(second)[0]
    return jax.linear_transpose(lambda kernel: convolve(first, kernel, stride), wanted)(second)[0]


def xla(image, kernel, stride):
    """The convolution as XLA does it."""
    strides = (stride,) * (image.ndim - 1)
    return lax.conv_general_dilated(image[None], kernel, strides, "VALID", dimension_numbers=_layout(image))[0]


def _layout(image):
    axes = "DHW"[-(image.ndim - 1) :]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def patches(image, kernel, stride):
    """The convolution as one matrix product with all that every output pixel sees."""
    image, kernel = _without_stride(image, kernel, stride)
    sides = _valid_sides(image, kernel)
    shifted = [image[tuple(slice(i, i + n) for i, n in zip(tap, sides, strict=True))] for tap in np.ndindex(kernel.shape[:-2])]
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _valid_sides(image, kernel):
    return [n - k + 1 for n, k in zip(image.shape[:-1], kernel.shape[:-2], strict=True)]


def _without_stride(image, kernel, stride):
    """Returns an image and a kernel whose convolution with stride 1 is that of the arguments with `stride`."""
    if stride == 1:
        return image, kernel
    blocks = [-(-k // stride) for k in kernel.shape[:-2]]
    sides = [((n - k) // stride + b) * stride for n, k, b in zip(image.shape[:-1], kernel.shape[:-2], blocks, strict=True)]
    kernel = _resize_canvas(kernel, [b * stride for b in blocks])
    return _space_to_depth(_resize_canvas(image, sides), stride, len(sides)), _space_to_depth(kernel, stride, len(sides))


def _resize_canvas(array, sides):
    """Crops or zero-pads the far ends of the first axes; what is added to an image only ever meets kernel taps that are zero."""
    array = array[tuple(slice(side) for side in sides)]
    added = [(0, side - n) for side, n in zip(sides, array.shape, strict=False)]
    return jnp.pad(array, added + [(0, 0)] * (array.ndim - len(sides)))


def _space_to_depth(array, size, num_axes):
    """Turns every block of `size` pixels along each of the first axes into channels of the axis behind them."""
    sides, (channels, *rest) = [side // size for side in array.shape[:num_axes]], array.shape[num_axes:]
    blocks = array.reshape(*(n for side in sides for n in (side, size)), channels, *rest)
    blocks = jnp.moveaxis(blocks, range(1, 2 * num_axes, 2), range(num_axes, 2 * num_axes))
    return blocks.reshape(*sides, size**num_axes * channels, *rest)


def _is_one_pixel(kernel_shape, stride):
    return stride == 1 and set(kernel_shape[:-2]) == {1}


def _forward(image, kernel, stride, shape, widened):
    if _is_one_pixel(kernel.shape, stride):
        return image @ kernel.reshape(kernel.shape[-2:])
    if stride > 1:
        return xla(image, kernel, stride)
    # SAME starts (k - 1) // 2 pixels before the first VALID window.
    return _same(image, kernel, widened)[tuple(slice(first, first + n) for first, n in zip(_before(kernel), shape[:-1], strict=True))]


def _same(image, kernel, widened):
    channels, num_out = kernel.shape[-2:]
    if widened and _HAS_LIBRARY and image.ndim == 3 and image.dtype == jnp.float32 and max(channels, num_out) < _WIDE:
        more, more_out = (-channels % 4, _WIDE - num_out) if num_out >= channels else (_WIDE - channels, 0)
        image = jnp.pad(image, ((0, 0), (0, 0), (0, more)))
        return _same(image, jnp.pad(kernel, ((0, 0), (0, 0), (0, more), (0, more_out))), False)[..., :num_out]
    return lax.conv_general_dilated(image[None], kernel, (1,) * (image.ndim - 1), "SAME", dimension_numbers=_layout(image))[0]


def _before(kernel):
    return [(k - 1) // 2 for k in kernel.shape[:-2]]


def _image_gradient(kernel, output, stride, shape, widened):
    """The full correlation with the flipped kernel, for stride 1 written as one SAME convolution of the image's own size."""
    if _is_one_pixel(kernel.shape, stride):
        return output @ kernel.reshape(kernel.shape[-2:]).T
    flipped = jnp.swapaxes(jnp.flip(kernel, range(kernel.ndim - 2)), -2, -1)
    if stride > 1:
        sides = zip(shape, output.shape, kernel.shape[:-2], strict=False)
        padding = [(k - 1, n - (m - 1) * stride - 1) for n, m, k in sides]
        steps = (1,) * len(padding), padding, (stride,) * len(padding)
        return lax.conv_general_dilated(output[None], flipped, *steps, dimension_numbers=_layout(output))[0]
    padding = [(k - 1 - before, before) for k, before in zip(kernel.shape[:-2], _before(kernel), strict=True)]
    return _same(jnp.pad(output, (*padding, (0, 0))), flipped, widened)


def _kernel_gradient(image, output, stride, shape):
    """Sums the products of the output with the pixels that every tap sees: over strips of rows, but for 1x1 kernels at once."""
    *size, channels, num_out = shape
    if _is_one_pixel(shape, stride):
        return (image.reshape(-1, channels).T @ output.reshape(-1, num_out)).reshape(shape)
    height, *others = output.shape[:-1]
    rows = min(_STRIP_ROWS[len(size)], height)
    num_strips = -(-height // rows)
    # Tap (i, j) sees, of the blocks that begin i // s rows and j // s columns further on, pixel (i % s, j % s).
    more_rows, *more = [(k - 1) // stride for k in size]
    taps = np.array(list(np.ndindex(*size)))
    pixel = np.ravel_multi_index(tuple((taps % stride).T), (stride,) * len(size))
    taps = np.column_stack([taps // stride, pixel * channels])
    sides = [num_strips * rows + more_rows, *(n + m for n, m in zip(others, more, strict=True))]
    image = _resize_canvas(image, [side * stride for side in sides])
    image = _space_to_depth(image, stride, len(size)) if stride > 1 else image
    output = _resize_canvas(output, [num_strips * rows])

    def add_strip(total, strip):
        pixels = lax.dynamic_slice_in_dim(image, strip * rows, rows + more_rows)
        weights = lax.dynamic_slice_in_dim(output, strip * rows, rows).reshape(-1, num_out)

        def product(tap):
            seen = lax.dynamic_slice(pixels, tap, (rows, *others, channels))
            return seen.reshape(-1, channels).T @ weights

        # A loop rather than a copy of the same code for every tap: it runs as fast and compiles faster.
        return total + lax.map(product, jnp.asarray(taps)), None

    total, _ = lax.scan(add_strip, jnp.zeros((len(taps), channels, num_out), image.dtype), jnp.arange(num_strips))
    return total.reshape(shape)
