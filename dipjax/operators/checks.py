"""Checks at the boundary: what the constructors of problems accept, and in which words they refuse.

Every function returns what it has checked, or raises a ValueError that begins with the name of the argument. Nothing is compiled.
Arrays are copied: JAX may share the memory of an array of the caller's, who is free to change it.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_MOST_CHANNELS = 16  # of a signal (W, C); with more it is likelier a gray picture (H, W) without an axis of channels


def floats(name: str, value: Any) -> np.ndarray:
    """Returns floats or complex numbers, in the precision that JAX computes with."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: found a masked array, expected a plain one; `inpainting(array.filled(0), ~array.mask)` fills it in.")
    array = read(name, value)
    if array.dtype.kind in "bui":
        raise ValueError(f"{name}: found whole numbers ({array.dtype}), expected floats; divide by what white is, 255 for 8 bits.")
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        raise ValueError(f"{name}: found {type(value).__name__} of {array.dtype}, expected an array of floats.")
    wide = jnp.finfo(array.dtype).bits > 32
    dtype = ("complex64", "complex128")[wide] if np.iscomplexobj(array) else ("float32", "float64")[wide]
    with np.errstate(over="ignore"):  # `finite` says it
        return array.astype(jax.dtypes.canonicalize_dtype(dtype))


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """Returns an array without NaN and infinity."""
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: found NaN, infinity, or numbers too large for {array.dtype}, expected finite numbers.")
    return array


def image(name: str, value: Any, *, planar: bool = False) -> np.ndarray:
    """Returns an image `(..., C)` with one or more axes of space, or with two if it must be `planar`. It may have NaN."""
    array = floats(name, value)
    more = "" if planar else ", a volume (D, H, W, C) or a signal (W, C)"
    if array.size == 0 or array.ndim < 2 or (planar and array.ndim != 3):
        raise ValueError(f"{name}: found shape {array.shape}, expected a non-empty image (H, W, C){more}.")
    if array.ndim == 2 and array.shape[1] > min(array.shape[0], _MOST_CHANNELS):
        raise ValueError(
            f"{name}: found shape {array.shape}, expected an image (H, W, C){more} of at most {_MOST_CHANNELS} channels, and fewer than"
            " points; of a gray picture take image[..., None]."
        )
    return array


def known_pixels(known: Any, measurement: np.ndarray) -> np.ndarray:
    """Returns weights in [0, 1], not all zero, of a shape that multiplies the measurement `(..., C)`."""
    known = read("known", known)
    if known.dtype.kind not in "buif":
        raise ValueError(f"known: found values of type {known.dtype}, expected True (or 1) where a pixel was measured, else False.")
    shape, known = known.shape, known[..., None] if known.ndim == measurement.ndim - 1 else known
    if known.shape not in {(*measurement.shape[:-1], 1), measurement.shape}:
        raise ValueError(f"known: found shape {shape}, expected {measurement.shape[:-1]}, or that with 1 or all channels behind.")
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError("known: found values outside [0, 1], expected True (or 1) where a pixel was measured, else False.")
    known = known.astype(measurement.real.dtype)
    if not known.any():
        raise ValueError("known: found no known pixel, expected some to restore from; is the mask inverted?")
    return known


def whole(value: Any) -> bool:
    """Says whether a value is a whole number, of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def positive(name: str, value: Any, *, least: float = 0.0, most: float = math.inf) -> None:
    """Refuses what is no positive, finite number, or none from `least` to `most`, between which float32 can compute with it."""
    if not (is_real(value) and 0 < value < math.inf):
        raise ValueError(f"{name}: found {value!r}, expected a positive number.")
    if not least <= value <= most:
        raise ValueError(f"{name}: found {value!r}, expected a number {f'of at least {least:g}' if value < least else f'up to {most:g}'}.")


def not_negative(name: str, value: Any) -> None:
    """Refuses what is no finite number from 0."""
    if not (is_real(value) and 0 <= value < math.inf):
        raise ValueError(f"{name}: found {value!r}, expected a number that is not negative.")


def count(name: str, value: Any, least: int = 1, *, most: float = math.inf) -> None:
    """Refuses what is no whole number from `least` to `most`."""
    if not (whole(value) and least <= value <= most):
        limits = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name}: found {value!r}, expected a whole number {limits}.")


def random(seed: Any) -> np.random.Generator:
    """Returns NumPy's generator that begins with `seed`."""
    count("seed", seed, 0)
    return np.random.default_rng(int(seed))


def is_real(value: Any) -> bool:
    """Says whether a value is one real number, of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


def numbers(name: str, value: Any) -> np.ndarray:
    """Returns real numbers, whole ones too, in float64."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: found a masked array, expected a plain one.")
    array = read(name, value)
    if array.dtype.kind not in "uif":
        raise ValueError(f"{name}: found numbers of type {array.dtype}, expected real ones.")
    return array.astype(np.float64)


def inexact(image: Any) -> Array:
    """Returns an image whose numbers are floats or complex, as an operator's arrays can follow."""
    image = jnp.asarray(image)
    if not jnp.issubdtype(image.dtype, jnp.inexact):
        raise ValueError(f"image: found numbers of type {image.dtype}, expected floats; divide by what white is, 255 for 8 bits.")
    return image


def sides(name: str, value: Any) -> tuple[int, int]:
    """Returns height and width."""
    if not (isinstance(value, (tuple, list)) and len(value) == 2 and all(whole(side) and side >= 1 for side in value)):
        raise ValueError(f"{name}: found {value!r}, expected height and width, whole numbers.")
    return tuple(int(side) for side in value)


def image_shape(shape: Any) -> tuple[int, ...]:
    """Returns the shape `(..., C)` of an image."""
    if not (isinstance(shape, (tuple, list)) and len(shape) > 1 and all(whole(size) and size >= 1 for size in shape)):
        raise ValueError(f"shape: found {shape!r}, expected that of an image, (H, W, C) or (..., C), of whole numbers.")
    return tuple(int(size) for size in shape)


def wide(dtype: Any) -> Any:
    """Returns the type itself, or float32 for shorter numbers, of which there is no Fourier transform; without any promotion."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def image_alone(name: str, operator: Callable, shape: tuple[int, ...], dtype: Any, way: str) -> None:
    """Refuses an operator that takes more than the image, such as a psf that is not known; `way` says what is to be given instead."""
    try:
        jax.eval_shape(operator, jax.ShapeDtypeStruct(shape, dtype))
    except TypeError as error:
        raise ValueError(
            f"{name}: found the operator {type(operator).__name__}, expected one that takes the image alone; {way}."
        ) from error


def pytree(name: str, function: Any) -> Callable:
    """Returns a function whose leaves are its arrays and numbers; the functions that it is made of are static, and hash by identity."""
    if not callable(function):
        raise ValueError(f"{name}: found {type(function).__name__}, expected a function of an image.")

    def leaf(part):
        if isinstance(part, np.ndarray):
            return jnp.asarray(part.copy())
        if callable(part):
            return jax.tree_util.Partial(part if _has_hash(part) else part.__call__)  # a bound method has a hash in any case
        if not isinstance(part, (Array, np.generic, int, float, complex)):
            raise ValueError(f"{name}: found {part!r} among its arrays, expected arrays, numbers and functions.")
        return part

    return jax.tree.map(leaf, function)


def prediction(operator: Callable, shape: tuple[int, ...], dtype: Any, unknowns: tuple = ()) -> Any:
    """Returns the shapes and dtypes that an operator makes of an image."""
    try:
        return jax.eval_shape(operator, jax.ShapeDtypeStruct(shape, dtype), *unknowns)
    except Exception as error:  # it is the user's function
        found = f"{type(error).__name__} ({_first_line(error)})"
        raise ValueError(f"operator: found {found} for an image of shape {shape}, expected a prediction.") from error


def described(tree: Any) -> Any:
    """Returns what every array of a tree is, in words: whether real, and its shape."""

    def leaf(array):
        real, imaginary = (jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.complexfloating))
        return f"{'real' if real else 'complex' if imaginary else array.dtype} numbers {array.shape}"

    return jax.tree.map(leaf, tree)


def alike(tree: Any, other: Any) -> bool:
    """Says whether two trees have the same structure, shapes and kinds of numbers; the precision may differ."""
    same = jax.tree.structure(tree) == jax.tree.structure(other)
    return same and jax.tree.leaves(described(tree)) == jax.tree.leaves(described(other))


def read(name: str, value: Any) -> np.ndarray:
    """Returns any array."""
    try:
        return np.asarray(value)
    except Exception as error:  # ragged lists, tensors with gradients or on another device; a class of anyone's may raise anything
        found = f"{type(value).__name__}, which NumPy cannot read ({_first_line(error)})"
        raise ValueError(f"{name}: found {found}, expected an array.") from error


def _has_hash(thing):
    try:
        hash(thing)
    except TypeError:
        return False
    return True


def _first_line(error):
    return str(error).strip().partition("\n")[0]
