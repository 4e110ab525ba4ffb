"""Pictures as arrays of the caller: what is taken for one, and how the result gets its layout back."""

import operator
import os
import textwrap
from collections.abc import Callable

import numpy as np
from PIL import Image

from dipjax.files.picture import parts, white, without_infinities, working_dtype

_FEW_CHANNELS, _MOST_CHANNELS = 4, 32  # taken for channels whatever the size is, and if both sides are longer
_PILLOW_MODES = ("1", "L", "RGB", "I", "I;16", "I;16L", "I;16B", "F")
_EXACT = 2**53  # the largest integer up to which float64 holds all


def is_whole(image: object) -> bool:
    """Says whether an `image` of the caller holds numbers that end at a largest one, by which `to_pixels` divides them."""
    return np.asarray(image).dtype.name in {"uint8", "uint16", "bool"}


def to_pixels(
    image: object,
    *,
    channel_axis: int | str | None = "auto",
    name: str = "image",
    allow_nan: bool = False,
    allow_complex: bool = False,
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Brings an array of the caller into the layout of dipjax.

    uint8 and uint16 are divided by their largest value. Floats of any range are taken as they are, and so are integers of other types;
    False is 0 and True is 1.

    Args:
        image: an array, or what NumPy turns into one: (H, W), or three axes of which one holds channels. Of pictures of Pillow those
            with mode L, RGB, I;16, I, F or 1.
        channel_axis: the axis that holds the channels, None if there is none; (H, W) is gray in any case. "auto" takes the last one if
            it is no longer than 4, or no longer than 32 and shorter than both others; it refuses stacks and channels that come first.
        name: what the caller calls the array, for error messages.
        allow_nan: whether values may be NaN because they will be filled in; infinite ones become NaN too.
        allow_complex: whether the numbers may be complex, (H, W) or (K, H, W), whose `picture.parts` become the channels.

    Returns:
        The pixels (H, W, C) in float32, or in float64 for types that it cannot hold, and a function from a result (H', W', C) to an
        array of the same type in the layout of `image`, neither clipped nor multiplied.

    Raises:
        ValueError: anything else.

    Examples:
        >>> pixels, restore_layout = dipjax.files.to_pixels(np.zeros((3, 48, 64), np.uint8), channel_axis=0)
        >>> pixels.shape, restore_layout(pixels).shape
        ((48, 64, 3), (3, 48, 64))
    """
    array = _array(image, name, "buifc" if allow_complex else "buif")
    if array.dtype.kind == "c":
        if array.ndim not in (2, 3):
            raise ValueError(f"{name} has shape {array.shape}, expected (H, W) or (K, H, W)")
        pixels, restore_layout = to_pixels(parts(array), channel_axis=-1, name=name, allow_nan=allow_nan)
        return pixels, lambda result: restore_layout(result)[..., 0] if result.shape[-1] == 1 else restore_layout(result)
    axis = _axis(array.shape, channel_axis, name)
    pixels = array[..., None] if axis is None else np.moveaxis(array, axis, -1)
    dtype = working_dtype(array.dtype)
    pixels = np.divide(pixels, dtype(white(array.dtype)), out=np.empty(pixels.shape, dtype), casting="unsafe")
    if array.dtype.kind == "f":
        try:
            pixels = without_infinities(pixels, allow_nan)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None

    def restore_layout(result: np.ndarray) -> np.ndarray:
        result = np.asarray(result, dtype)
        if axis is None:  # gray, unless it has become a picture in colour
            return result[..., 0] if result.shape[-1] == 1 else result
        return np.moveaxis(result, -1, axis)

    return pixels, restore_layout


def _array(image: object, name: str, kinds: str) -> np.ndarray:
    """Returns an array of numbers, or raises ValueError."""
    if isinstance(image, str | bytes | os.PathLike):
        raise ValueError(f"{name} is the name {image!r}, expected an array; open the file first, for example with PIL.Image.open")
    if isinstance(image, Image.Image) and image.mode not in _PILLOW_MODES:
        raise ValueError(f"{name} is a picture of mode {image.mode}, expected L, RGB, I;16 or F; call its convert('RGB') first")
    if isinstance(image, np.ma.MaskedArray) and np.ma.is_masked(image):
        advice = f"pass {name}.filled(0), and {name}.mask as the mask of an inpainting"
        raise ValueError(f"{name} has {np.ma.count_masked(image):,} masked values, expected none; {advice}")
    try:
        array = np.asarray(image)
    except Exception as error:
        reason = textwrap.shorten(str(error), 150) or type(error).__name__
        raise ValueError(f"{name} is a {type(image).__name__} that cannot be turned into an array: {reason}") from error
    if array.dtype.name == "bfloat16":  # of JAX; for NumPy it is no float
        array = array.astype(np.float32)
    if array.dtype.kind not in kinds:
        advice = "; take their abs, real or imag" if array.dtype.kind == "c" else ""
        raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers such as uint8, uint16 or float32{advice}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one pixel")
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu" and not -_EXACT <= int(array.min()) <= int(array.max()) <= _EXACT:
        raise ValueError(f"{name} has values from {array.min()} to {array.max()}, expected at most 2**53; divide them first")
    return array


def _axis(shape: tuple[int, ...], channel_axis: object, name: str) -> int | None:
    """Returns the axis that holds channels, from 0 to 2, or None."""
    if isinstance(channel_axis, str) and channel_axis == "auto":
        chosen = None
    elif channel_axis is not None:
        try:
            chosen = operator.index(channel_axis)
        except TypeError:
            chosen = None
        if chosen is None or isinstance(channel_axis, bool | np.bool_) or not -3 <= chosen < 3:
            raise ValueError(f"channel_axis: found {channel_axis!r}, expected a whole number from -3 to 2, None or 'auto'")
    if len(shape) not in (2, 3):
        one = "; restore the pages of a stack one by one" if len(shape) > 3 else ""
        raise ValueError(f"{name} has shape {shape}, expected one picture, (H, W) or (H, W, C){one}")
    if len(shape) == 2:
        return None
    if channel_axis is None:
        raise ValueError(f"{name} has shape {shape} but channel_axis is None; say which axis holds the channels, often -1")
    if chosen is not None:
        return chosen % 3
    height, width, channels = shape
    if channels <= _FEW_CHANNELS or (channels <= _MOST_CHANNELS and channels < min(height, width)):
        return 2
    shortest = int(np.argmin(shape))
    advice = f"if its channels are on axis {shortest}, give channel_axis={shortest}; of a stack, restore the pages one by one"
    raise ValueError(f"{name} has shape {shape}, which is no (H, W) or (H, W, C) with a few channels; {advice}")
