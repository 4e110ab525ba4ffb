"""Operators of other libraries that compute with NumPy on the host: `Foreign`, and `of_scipy` for a `LinearOperator`.

A function of JAX needs none of this: `problem.general` takes it as it is, and it runs on the device.

Examples:
  >>> operator = dipjax.operators.foreign.of_scipy(np.ones((5, 64)), (8, 8, 1))
  >>> float(operator(np.ones((8, 8, 1), np.float32))[0])
  64.0
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dipjax import struct
from dipjax.operators import checks


@struct.dataclass
class Foreign:
    """Calls a linear function of NumPy's arrays, and its adjoint for the gradient, from the compiled program.

    It works under jit and vmap, where images are taken one after another; forward mode does not work. Both functions must be pure, and
    must not call JAX, as libraries do that are written in it: they and the compiled program may wait for each other for ever. Where that is
    seen, by an array that goes to the device, an error is raised. What JAX cannot trace of such a library is taken as its matrix
    (docs/pages/research.md).

    Attributes:
      forward: `(H, W, C) -> measured`.
      adjoint: `measured -> (H, W, C)`, its conjugate transpose.
      measured: the shape of the measurement.
      is_complex: whether the measurement is complex.
    """

    forward: Callable[[np.ndarray], Any] = struct.field(pytree_node=False)
    adjoint: Callable[[np.ndarray], Any] = struct.field(pytree_node=False)
    measured: tuple[int, ...] = struct.field(pytree_node=False)
    is_complex: bool = struct.field(pytree_node=False, default=False)

    def __call__(self, image: Array) -> Array:
        """Returns the measurement."""
        return _call(self, jnp.asarray(image))


def of_scipy(operator: Any, shape: tuple[int, ...]) -> Foreign:
    """Returns a `scipy.sparse.linalg.LinearOperator`, or a sparse matrix, `(M, H * W * C)`, as an operator of images.

    Args:
      operator: what SciPy takes for one; `rmatvec` is its adjoint.
      shape: of the image, `(H, W, C)`; its pixels are taken row after row, the channels of a pixel together.

    Returns:
      An operator whose measurement is `(M,)`.

    Raises:
      ValueError: it is none, or has another number of columns.
    """
    from scipy.sparse.linalg import aslinearoperator

    shape = checks.image_shape(shape)
    try:
        linear = aslinearoperator(operator)
    except TypeError as error:
        raise ValueError(f"operator: found {type(operator).__name__}, expected a LinearOperator or a matrix of SciPy.") from error
    if linear.shape[1] != int(np.prod(shape)):
        raise ValueError(f"operator: found shape {linear.shape}, expected {int(np.prod(shape))} columns for an image of shape {shape}.")
    return Foreign(
        lambda image: linear.matvec(image.ravel()),
        lambda measurement: linear.rmatvec(measurement).reshape(shape),
        (linear.shape[0],),
        np.issubdtype(linear.dtype, np.complexfloating),
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _call(foreign, image):
    dtype = jnp.promote_types(image.dtype, jnp.complex64) if foreign.is_complex else image.dtype
    return on_host(foreign.forward, foreign.measured, dtype, image)


def _pulled(foreign, image, cotangent):
    # JAX wants the transpose, without a conjugate.
    def transpose(vector):
        made = np.conj(foreign.adjoint(np.conj(vector)))
        return made if jnp.iscomplexobj(image) else made.real

    return (on_host(transpose, image.shape, image.dtype, cotangent),)


def on_host(function: Callable[[np.ndarray], Any], shape: tuple[int, ...], dtype: Any, array: Array, *, name: str = "operator") -> Array:
    """Returns, with that `shape` and `dtype`, what a pure function of NumPy's arrays makes of an array; errors begin with `name`."""

    def called(array):
        array = np.asarray(array)
        try:
            with jax.transfer_guard_host_to_device("disallow_explicit"):  # the device is busy with the program that calls
                made = function(array)
        except jax.errors.JaxRuntimeError as error:
            if "Disallowed" not in str(error):
                raise
            raise ValueError(f"{name}: found a function of NumPy's that calls JAX, expected one that does not.") from error
        made = np.asarray(made)
        if made.shape != shape:
            raise ValueError(f"{name}: found an array of shape {made.shape} from a function of NumPy's, expected {shape}.")
        if np.iscomplexobj(made) and not np.issubdtype(dtype, np.complexfloating):
            raise ValueError(f"{name}: found complex numbers from a function of NumPy's, expected real ones, or `is_complex=True`.")
        return made.astype(dtype)

    return jax.pure_callback(called, jax.ShapeDtypeStruct(shape, dtype), array, vmap_method="sequential")


_call.defvjp(lambda foreign, image: (_call(foreign, image), image), _pulled)
