"""The convolution that every generator is built from: one primitive, which says how it is differentiated, batched and computed.

One signal, image or volume, `(W, C)`, `(H, W, C)` or `(D, H, W, C)`, with a kernel `(k, ..., C, O)`; cross-correlation as in PyTorch,
no bias.

The sum of `output * conv(image, kernel)` is linear in each of its three arrays. Its derivative by one of them, from the two others, is
the convolution or one of its two gradients. So the derivatives of each of the three are again among the three, and one primitive,
told which of them it makes, can be differentiated forwards and backwards, as often as wanted. What every device computes for it is in
`conv_forms`; the choice is made when the program is lowered, so one traced function serves every backend.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from dipjax.generators import conv_forms


def pad(image: Array, before: int, after: int, mode: str) -> Array:
    """Pads both ends of every axis but the channels; `mode` is "reflect", "edge" or "zero".

    Any size works: reflection of an axis shorter than the border bounces back and forth, as in NumPy.
    """
    if mode == "zero":
        return jnp.pad(image, (*((before, after),) * (image.ndim - 1), (0, 0)))
    return (_looked_up if jax.default_backend() == "cpu" else _joined)(before, after, mode, image)


# Looked up, all axes are one kernel with one copy of what made the image; joined, every axis is one with three, which a CPU takes longer to
# compile. But the transpose of what is looked up is a sum over indices, which is slow, so the gradient is that of the joined one. Other
# devices, TPUs above all, are slow to look up. Unlike that of a convolution, the choice is made while the function is traced.
@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _looked_up(before, after, mode, image):
    image = jnp.asarray(image)
    for axis in range(image.ndim - 1):
        indices = np.pad(np.arange(image.shape[axis]), (before, after), mode=mode)
        image = image.at[(slice(None),) * axis + (indices,)].get(mode="promise_in_bounds")
    return image


@_looked_up.defjvp
def _tangent_looked_up(before, after, mode, primals, tangents):
    return _looked_up(before, after, mode, *primals), _joined(before, after, mode, *tangents)


def _joined(before, after, mode, image):
    for axis in range(image.ndim - 1):
        size = image.shape[axis]
        indices = np.pad(np.arange(size), (before, after), mode=mode)
        first, last = (
            [lax.slice_in_dim(image, i, i + 1, axis=axis) for i in some] for some in (indices[:before], indices[before + size :])
        )
        image = jnp.concatenate([*first, image, *last], axis)
    return image


def conv(image: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolves an already padded image without further padding (VALID).

    Args:
      image: `(H, W, C)`, the border included; or with one or three axes beside the channels.
      kernel: `(k, l, C, O)`, with as many axes.
      stride: step between output pixels.

    Returns:
      `((H - k) // stride + 1, (W - l) // stride + 1, O)`.
    """
    dtype = jnp.promote_types(image.dtype, kernel.dtype)
    sides = [(n - k) // stride + 1 for n, k in zip(image.shape[:-1], kernel.shape[:-2], strict=True)]
    return _primitive.bind(
        image.astype(dtype),
        kernel.astype(dtype),
        made="output",
        shape=(*sides, kernel.shape[-1]),
        runs=(),
        stride=stride,
        precision=jax.config.jax_default_matmul_precision,  # of where it is called, which may be gone when it is lowered
    )


# Operands: the two of image, kernel and output that are not made, in this order. Parameters:
#   made       what is made of them
#   shape      of what is made, for one run
#   runs       for every `vmap` around it, outermost first: which of the two operands have an axis for it, in front
#   stride, precision
_primitive = Primitive("dipjax_convolution")
_PARTS = ("image", "kernel", "output")


@_primitive.def_impl
@jax.disable_jit(False)  # which has no other way than a program
@partial(jax.jit, static_argnames=("made", "shape", "runs", "stride", "precision"))
def _compiled(first, second, **parameters):
    return _primitive.bind(first, second, **parameters)


@_primitive.def_abstract_eval
def _result(first, second, *, shape, runs, **parameters):
    del parameters
    axes = {0: iter(first.shape), 1: iter(second.shape)}
    sizes = [[next(axes[i]) for i in (0, 1) if has_axis[i]][0] for has_axis in runs]
    return jax.core.ShapedArray((*sizes, *shape), first.dtype)


def _transpose(which, cotangent, first, second, *, made, runs, **parameters):
    """Returns the cotangent of one of the operands: the derivative by it, from the cotangent of what was made and the other operand."""
    operands = dict(zip((part for part in _PARTS if part != made), (first, second), strict=True))
    wanted, given = list(operands)[which], list(operands)[1 - which]
    has_axis = {made: (True,) * len(runs), given: tuple(level[1 - which] for level in runs)}
    arrays = {made: cotangent, given: operands[given]}
    parts = [part for part in _PARTS if part != wanted]
    num_axes = sum(level[which] for level in runs)
    result = _primitive.bind(
        *(arrays[part] for part in parts),
        **parameters
        | {
            "made": wanted,
            "shape": operands[wanted].aval.shape[num_axes:],
            "runs": tuple(zip(*(has_axis[part] for part in parts), strict=True)),
        },
    )
    shared = tuple(i for i, level in enumerate(runs) if not level[which])
    return result.sum(shared) if shared else result


ad.defbilinear(_primitive, partial(_transpose, 0), partial(_transpose, 1))


def _batch(arrays, axes, *, runs, **parameters):
    has_axis = tuple(axis is not None for axis in axes)
    arrays = [array if axis is None else jnp.moveaxis(array, axis, 0) for array, axis in zip(arrays, axes, strict=True)]
    return _primitive.bind(*arrays, runs=(has_axis, *runs), **parameters), 0


batching.primitive_batchers[_primitive] = _batch


def _compute(choose, first, second, *, made, shape, runs, stride, precision):
    function = partial(choose(made, runs), shape=shape, stride=stride)
    for has_axis in reversed(runs):
        function = jax.vmap(function, [0 if has else None for has in has_axis])
    with jax.default_matmul_precision(precision):
        return function(first, second)


mlir.register_lowering(_primitive, mlir.lower_fun(partial(_compute, conv_forms.on_accelerator), multiple_results=False))
mlir.register_lowering(_primitive, mlir.lower_fun(partial(_compute, conv_forms.on_cpu), multiple_results=False), platform="cpu")
