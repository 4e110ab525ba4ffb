"""The convolution that every generator is built from.

One image: `(H, W, C)` with a kernel `(k, l, C, O)`, cross-correlation as in PyTorch, no bias. The same numbers are computed by
three means, and the choice is made when the program is lowered for a device, so one traced function serves every backend.

GPU and TPU, one run: XLA's convolution. GPU and TPU under `vmap` over runs, each with its own kernel: patches and one batched matrix
product, because `vmap` of XLA's convolution is a grouped convolution, which took 33 times the memory and 4 times the time
(8 runs, 256 x 256, 32 channels, H100; benchmarks/results/gpu_layouts.md).

CPU: XLA's own gradient convolutions lose up to 86x inside a loop body and its VALID convolution is 4x slower than SAME, so

* forward: SAME convolution of the padded image, the border cropped;
* gradient with respect to the image: that same forward convolution with the flipped, transposed kernel;
* gradient with respect to the kernel: one matrix product per tap over strips of rows, which stay in the cache, and a single one where
  the kernel is 1x1;
* stride s: XLA's own convolutions forward and with respect to the image; for the gradient with respect to the kernel an s x s block of
  pixels becomes s * s channels, of which each tap sees one.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_STRIP_ROWS = 16  # rows per matrix product in the kernel gradient: 8, 16 and 32 measured within 5 % of each other


def pad(image: Array, before: int, after: int, mode: str) -> Array:
    """Pads both sides of both axes of `(H, W, C)`; `mode` is "reflect", "edge" or "zero".

    Any size works: reflection of an axis shorter than the border bounces back and forth, as in NumPy.
    """
    if mode == "zero":
        return jnp.pad(image, ((before, after), (before, after), (0, 0)))
    for axis in (0, 1):
        size = image.shape[axis]
        indices = np.pad(np.arange(size), (before, after), mode=mode)
        first, last = (
            [lax.slice_in_dim(image, i, i + 1, axis=axis) for i in some] for some in (indices[:before], indices[before + size :])
        )
        image = jnp.concatenate([*first, image, *last], axis)
    return image


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(image: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolves an already padded image without further padding (VALID).

    Args:
      image: `(H, W, C)`, the border included.
      kernel: `(k, l, C, O)`.
      stride: step between output pixels.

    Returns:
      `((H - k) // stride + 1, (W - l) // stride + 1, O)`.
    """
    return _by_backend(_forward, stride, image, kernel)


def _conv_forward(image, kernel, stride):
    return conv(image, kernel, stride), (image, kernel)


def _conv_backward(stride, saved, cotangent):
    return _by_backend(_backward, stride, *saved, cotangent)


conv.defvjp(_conv_forward, _conv_backward)


# Row or column i of a 3-tap kernel, seen from output position p of a pair, falls on tap t of two: _TAPS[p, t, i].
_TAPS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
# Rows and columns together, ((t, u, p, q), (i, j)): one product makes all four kernels.
_PHASES = np.einsum("pti,quj->tupqij", _TAPS, _TAPS).reshape(16, 9)


def conv_of_nearest(image: Array, kernel: Array, padding: str) -> Array:
    """Returns the 3x3 convolution of `image`, doubled by repeating pixels and padded by one, without doubling it.

    Args:
      image: `(H, W, C)`.
      kernel: `(3, 3, C, O)`.
      padding: "reflect", "edge" or "zero", of the doubled image.

    Returns:
      `(2 H, 2 W, O)`.
    """
    # Reflecting the doubled image repeats the edge pixel of the small one.
    return _conv_of_phases(pad(image, 1, 1, "zero" if padding == "zero" else "edge"), _phases_of_doubled(kernel))


def conv_of_bilinear(image: Array, kernel: Array, padding: str) -> Array:
    """Returns the 3x3 convolution of `image`, doubled by linear interpolation and padded by one, without doubling it.

    Linear interpolation repeats pixels and then filters with (1, 2, 1) / 4 on each axis. Convolutions commute: here the filter comes
    last, and before it stands the convolution of repeated pixels, with 4 products per output pixel instead of 9. The borders are exact
    too, because the image is continued by the two pixels that become, repeated and filtered, the padding of the doubled image.

    Args:
      image: `(H, W, C)`.
      kernel: `(3, 3, C, O)`.
      padding: "reflect", "edge" or "zero", of the doubled image.

    Returns:
      `(2 H, 2 W, O)`.
    """
    phases = _phases_of_doubled(kernel)
    windows = conv(_continued(image, padding), phases.reshape(*phases.shape[:3], -1))
    windows = windows.reshape(*windows.shape[:2], *phases.shape[3:])  # (H + 3, W + 3, 2, 2, O)
    rows = _filtered(windows, 0, 2)  # (H, 2, W + 3, 2, O)
    return _filtered(rows, 2, 3).reshape(2 * image.shape[0], 2 * image.shape[1], -1)


def _phases_of_doubled(kernel):
    """Returns the 2x2 kernels `(2, 2, C, 2, 2, O)` of every position in the 2 x 2 block."""
    phases = jnp.matmul(_PHASES, kernel.reshape(9, -1), precision="highest")
    return phases.reshape(2, 2, 2, 2, *kernel.shape[2:]).transpose(0, 1, 4, 2, 3, 5)


def _continued(image, padding):
    """Adds the two pixels beyond each edge from which interpolation would make the padding of the doubled image."""
    for axis in (0, 1):
        edge = partial(lax.slice_in_dim, image, axis=axis)
        n = image.shape[axis]
        first, last = edge(0, 1), edge(n - 1, n)
        if padding == "reflect":
            outer = edge(min(1, n - 1), min(1, n - 1) + 1), edge(max(n - 2, 0), max(n - 2, 0) + 1)
        else:
            outer = (first, last) if padding == "edge" else (-3 * first, -3 * last)
        image = jnp.concatenate([outer[0], first, image, last, outer[1]], axis)
    return image


def _filtered(windows, axis, phase_axis):
    """Filters with (1, 2, 1) / 4 what even and odd outputs see of every window of two pixels, and interleaves them after `axis`."""
    even, odd = (lax.index_in_dim(windows, phase, phase_axis, keepdims=False) for phase in (0, 1))
    take = partial(lax.slice_in_dim, axis=axis)
    n = windows.shape[axis] - 3
    # Output 2 i lies in window i + 1 and output 2 i + 1 in window i + 2, but the outputs beyond the edges in the outermost windows.
    odd, even = (
        jnp.concatenate([take(even, 0, 1), take(odd, 2, n + 2)], axis),
        jnp.concatenate([take(even, 1, n + 1), take(odd, n + 2, n + 3)], axis),
    )
    before, after = take(odd, 0, n), take(odd, 1, n + 1)
    here, beyond = take(even, 0, n), take(even, 1, n + 1)
    return jnp.stack([before + 2 * here + after, here + 2 * after + beyond], axis + 1) / 4


def conv_transpose(image: Array, kernel: Array) -> Array:
    """Doubles an image with a transposed 4x4 convolution of stride 2 and padding 1, PyTorch's ConvTranspose2d(4, 2, 1).

    Args:
      image: `(H, W, C)`.
      kernel: `(4, 4, C, O)`; input pixel i adds `kernel[t]` times itself to output pixel 2 i - 1 + t.

    Returns:
      `(2 H, 2 W, O)`.
    """
    taps = np.array([[3, 1], [2, 0]])  # output position p of a pair sees these taps of its two input pixels
    phases = kernel[taps[:, :, None, None], taps[None, None]].transpose(1, 3, 4, 0, 2, 5)
    return _conv_of_phases(pad(image, 1, 1, "zero"), phases)


def _conv_of_phases(image, phases):
    """Convolves a padded image `(H + 2, W + 2, C)` with one 2x2 kernel per position in the 2 x 2 block; phases `(2, 2, C, 2, 2, O)`."""
    height, width = image.shape[0] - 2, image.shape[1] - 2
    windows = conv(image, phases.reshape(*phases.shape[:3], -1)).reshape(height + 1, width + 1, *phases.shape[3:])
    rows = [[windows[p : p + height, q : q + width, p, q] for q in (0, 1)] for p in (0, 1)]
    blocks = jnp.stack([jnp.stack(row, 2) for row in rows], 1)
    return blocks.reshape(2 * height, 2 * width, -1)


def _forward(form, stride, image, kernel):
    return form(image, kernel, stride)


def _backward(form, stride, image, kernel, cotangent):
    return jax.vjp(partial(form, stride=stride), image, kernel)[1](cotangent)


def _by_backend(direction, stride, *arrays):
    """Calls `direction` with the form of the convolution that is fast on the device the program is lowered for."""

    @custom_vmap
    def accelerator(*arrays):
        return direction(_xla, stride, *arrays)

    @accelerator.def_vmap
    def _(axis_size, is_batched, *arrays):
        del axis_size
        _, kernel_is_batched, *_ = is_batched
        in_axes = [0 if batched else None for batched in is_batched]
        form = _patches if kernel_is_batched else _xla
        result = jax.vmap(partial(direction, form, stride), in_axes)(*arrays)
        return result, jax.tree.map(lambda _: True, result)

    return lax.platform_dependent(*arrays, cpu=partial(direction, _cpu, stride), default=accelerator)


def _xla(image, kernel, stride):
    return lax.conv_general_dilated(image[None], kernel, (stride, stride), "VALID", dimension_numbers=_LAYOUT)[0]


def _patches(image, kernel, stride):
    image, kernel = _without_stride(image, kernel, stride)
    (k, l), (height, width) = kernel.shape[:2], _valid_size(image, kernel)
    shifted = [image[i : i + height, j : j + width] for i in range(k) for j in range(l)]
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _without_stride(image, kernel, stride):
    """Returns an image and a kernel whose convolution with stride 1 is that of the arguments with `stride`."""
    if stride == 1:
        return image, kernel
    size = [(n - k) // stride + 1 for n, k in zip(image.shape, kernel.shape[:2], strict=False)]
    blocks = [-(-k // stride) for k in kernel.shape[:2]]
    rows, columns = ((n + k - 1) * stride for n, k in zip(size, blocks, strict=True))
    kernel_padding = [(0, n * stride - k) for n, k in zip(blocks, kernel.shape[:2], strict=True)]
    kernel = jnp.pad(kernel, (*kernel_padding, (0, 0), (0, 0)))
    return _space_to_depth(_resize_canvas(image, rows, columns), stride), _space_to_depth(kernel, stride)


def _resize_canvas(image, rows, columns):
    """Crops or zero-pads the bottom and the right; what is added only ever meets kernel taps that are zero."""
    image = image[:rows, :columns]
    return jnp.pad(image, ((0, rows - image.shape[0]), (0, columns - image.shape[1]), (0, 0)))


def _space_to_depth(array, size):
    """Turns every size x size block of the first two axes into channels of the third."""
    rows, columns, channels, *rest = array.shape
    blocks = array.reshape(rows // size, size, columns // size, size, channels, *rest)
    blocks = jnp.moveaxis(blocks, (1, 3), (2, 3))
    return blocks.reshape(rows // size, columns // size, size * size * channels, *rest)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _cpu(image, kernel, stride):
    if kernel.shape[:2] == (1, 1) and stride == 1:
        return image @ kernel[0, 0]
    if stride > 1:
        return _xla(image, kernel, stride)
    full = lax.conv_general_dilated(image[None], kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)[0]
    # SAME starts (k - 1) // 2 pixels before the first VALID window.
    (top, left), (height, width) = _before(kernel), _valid_size(image, kernel)
    return full[top : top + height, left : left + width]


def _cpu_forward(image, kernel, stride):
    return _cpu(image, kernel, stride), (image, kernel)


def _cpu_backward(stride, saved, cotangent):
    image, kernel = saved
    return _image_gradient(image, kernel, cotangent, stride), _kernel_gradient(image, kernel, cotangent, stride)


_cpu.defvjp(_cpu_forward, _cpu_backward)


def _before(kernel):
    return (kernel.shape[0] - 1) // 2, (kernel.shape[1] - 1) // 2


def _valid_size(image, kernel):
    return image.shape[0] - kernel.shape[0] + 1, image.shape[1] - kernel.shape[1] + 1


def _image_gradient(image, kernel, cotangent, stride):
    """The full correlation with the flipped kernel, for stride 1 written as one SAME convolution of the image's own size."""
    if kernel.shape[:2] == (1, 1) and stride == 1:
        return cotangent @ kernel[0, 0].T
    flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    if stride > 1:
        sizes = zip(image.shape, cotangent.shape, kernel.shape[:2], strict=False)
        padding = [(k - 1, n - (m - 1) * stride - 1) for n, m, k in sizes]
        spread = {"lhs_dilation": (stride, stride), "dimension_numbers": _LAYOUT}
        return lax.conv_general_dilated(cotangent[None], flipped, (1, 1), padding, **spread)[0]
    padding = [(k - 1 - before, before) for k, before in zip(kernel.shape[:2], _before(kernel), strict=True)]
    cotangent = jnp.pad(cotangent, (*padding, (0, 0)))
    return lax.conv_general_dilated(cotangent[None], flipped, (1, 1), "SAME", dimension_numbers=_LAYOUT)[0]


def _kernel_gradient(image, kernel, cotangent, stride):
    """Sums the products of the cotangent with the pixels that every tap sees: over strips of rows, but for 1x1 kernels at once."""
    height, width, num_out = cotangent.shape
    k, l, channels, _ = kernel.shape
    if (k, l, stride) == (1, 1, 1):
        return (image.reshape(-1, channels).T @ cotangent.reshape(-1, num_out)).reshape(kernel.shape)
    rows = min(_STRIP_ROWS, height)
    num_strips = -(-height // rows)
    # Tap (i, j) sees, of the blocks that begin i // s rows and j // s columns further on, pixel (i % s, j % s).
    more_rows, more_columns = (k - 1) // stride, (l - 1) // stride
    taps = [(i // stride, j // stride, (i % stride * stride + j % stride) * channels) for i in range(k) for j in range(l)]
    cotangent = _resize_canvas(cotangent, num_strips * rows, width)
    image = _resize_canvas(image, (num_strips * rows + more_rows) * stride, (width + more_columns) * stride)
    image = _space_to_depth(image, stride) if stride > 1 else image

    def add_strip(total, strip):
        pixels = lax.dynamic_slice_in_dim(image, strip * rows, rows + more_rows)
        weights = lax.dynamic_slice_in_dim(cotangent, strip * rows, rows).reshape(-1, num_out)

        def product(tap):
            seen = lax.dynamic_slice(pixels, tap, (rows, width, channels))
            return seen.reshape(-1, channels).T @ weights

        # A loop rather than k * l copies of the same code: it runs as fast and compiles faster.
        return total + lax.map(product, jnp.array(taps)), None

    total, _ = lax.scan(add_strip, jnp.zeros((k * l, channels, num_out), image.dtype), jnp.arange(num_strips))
    return total.reshape(kernel.shape)
