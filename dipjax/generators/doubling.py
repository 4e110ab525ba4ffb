"""Convolutions of an image that is doubled, without doubling it.

A convolution of repeated pixels is one smaller convolution for each position in the 2 x 2 block that a pixel becomes. Linear interpolation
is that and a filter, and a transposed convolution is of the same kind. Images have two axes here, `(H, W, C)`.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dipjax.generators.conv import conv, pad

# Row or column i of a 3-tap kernel, seen from output position p of a pair, falls on tap t of two: _TAPS[p, t, i].
_TAPS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
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
    phases = jnp.matmul(_PHASES.astype(kernel.dtype), kernel.reshape(9, -1), precision="highest")
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
