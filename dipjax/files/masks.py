"""Masks from files: which pixels a person has marked, in whatever way programs store that.

A mask has a ground, which is kept, and marks, which are filled in. The ground is the darkest colour, or what is transparent; whatever is
not quite the ground is marked, so that the soft rim of a stroke, which is half damage, counts as damage. White on black, 1 on 0, red on
black, the classes of a segmentation, and strokes of any colour on a transparent layer are all read so, and a note says what was found.
"""

import math
import numbers
import os

import numpy as np

from dipjax.files.decode import load
from dipjax.files.opening import MAX_PIXELS, named
from dipjax.files.picture import ImageError, Picture, white

_ALIKE = 8 / 255  # strokes whose colours differ by less have one colour: rounding under transparency, lossy compression
_SHADES, _MANY = 31.0, 256  # levels that are told apart in a colour, and colours that a mask does not have
_LOSSY = ("JPEG", "WEBP")
_FLAT, _RINGING = 4 / 255, 1 / 8  # of the range: what lossy compression does to an even ground, and to the ground beside a stroke


def load_mask(
    path: str | os.PathLike, shape: tuple[int, int], *, known: bool = False, grow: float = 0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads a mask from a picture: True where a pixel is to be filled in.

    Args:
        path: any picture that `load` reads. Where only its transparency varies, opaque is marked; otherwise what differs from its darkest
            colour, transparent being black. If the ground is uneven, as in a scan, what is lighter than half is marked.
        shape: the (H, W) that the mask must have.
        known: whether the marks are what is kept instead of what is filled in.
        grow: pixels by which what is filled in is widened on all sides, at least 0.

    Returns:
        Booleans (H, W), neither all True nor all False, and notes on how the file was read if that is not plain.

    Raises:
        ImageError: the file cannot be read, has another size, or marks nothing or everything.
        ValueError: `grow` is no number of pixels.
    """
    if isinstance(grow, bool) or not isinstance(grow, numbers.Real) or not 0 <= grow < math.inf:
        raise ValueError(f"grow: found {grow!r}, expected a number of pixels, at least 0")
    path = named(path, ImageError)
    picture = load(path, max_pixels=max(MAX_PIXELS, math.prod(shape)))
    if picture.pixels.shape[:2] != tuple(shape):
        sizes = [f"{width} x {height} pixels" for height, width in (picture.pixels.shape[:2], shape)]
        raise ImageError(f"the mask {str(path)!r} is {sizes[0]} but the picture is {sizes[1]}; they must be the same size")
    try:
        level, note = _level(picture, known)
    except ImageError as error:
        raise ImageError(f"the mask {str(path)!r} {error}") from None
    level = 1 - level if known else level
    mask, shades = _marked(level, picture.file_format in _LOSSY)
    if grow:
        mask = grown(mask, grow)
        if mask.all():
            raise ImageError(f"the mask {str(path)!r} marks every pixel once it is widened by {grow:g}; choose a smaller grow")
    notes = [note, shades, *(note for note in picture.notes if "converted" not in note)]
    if mask.mean() > 0.5:
        advice = "leave out --mask-known" if known else "use --mask-known"
        notes.append(f"the mask fills in {mask.mean():.0%} of the picture; if that is the wrong way round, {advice}")
    return mask, tuple(note for note in notes if note)


def grown(mask: np.ndarray, pixels: float) -> np.ndarray:
    """Returns the mask (H, W) with all that lies within so many pixels of what it marks."""
    from scipy.ndimage import distance_transform_edt  # takes longer than all other imports here

    return distance_transform_edt(~mask) <= pixels if mask.any() else mask  # else there is nothing to be distant from


def _level(picture: Picture, known: bool) -> tuple[np.ndarray, str | None]:
    """Returns how far every pixel (H, W) is from the ground, 0, to the farthest mark, 1, and a note unless that is white on black."""
    colours, alpha, fate = picture.pixels, picture.alpha, "kept" if known else "filled in"
    if alpha is not None and np.ptp(alpha) > 0:
        visible = colours[alpha > alpha.max() / 2]
        if np.ptp(visible, axis=0).max() <= _ALIKE * max(1, np.abs(visible).max()):
            return (alpha - alpha.min()) / np.ptp(alpha), f"the mask was read by its transparency: what is opaque is {fate}"
        if len(np.unique(np.rint(visible[:, :3] * _SHADES) @ (_SHADES ** np.arange(visible.shape[1])[:3]))) > _MANY:
            raise ImageError("has many colours and transparent parts, as a picture has; expected one colour where to fill in")
        colours = colours * (alpha / alpha.max())[..., None]
    brightness = colours.sum(axis=-1)
    ground, brightest = (colours[np.unravel_index(find(brightness), brightness.shape)] for find in (np.argmin, np.argmax))
    level = np.abs(colours - ground).max(axis=-1)
    if not level.max() > 0:
        advice = "paint what is to be filled in with another colour, white on black for example"
        raise ImageError(f"has the value {_value(ground, picture)} everywhere, so it marks nothing; {advice}")
    even = (level > 0) <= (colours == brightest).all(axis=-1)  # every mark is the brightest colour
    if even.all():
        plain = not ground.any() and (brightest == 1).all() and white(picture.dtype) > 1
        values = [_value(colour, picture) for colour in (ground, brightest)]
        note = f"the two values of the mask are {values[0]} and {values[1]}: {values[1]} is {fate}"
        return level / level.max(), None if plain else note
    return level / level.max(), f"the mask has more than two values: what is not {_value(ground, picture)} is {fate}"


def _marked(level: np.ndarray, lossy: bool) -> tuple[np.ndarray, str | None]:
    """Returns what is above the ground, and a note on shades between ground and marks."""
    shades = np.count_nonzero((level > 0) & (level < 1))
    if not shades:
        return level > 0, None
    flat = np.count_nonzero(level <= (_FLAT if lossy else 0))
    if flat < np.count_nonzero(level < 0.5) / 2:  # no even ground: a scan, a photograph
        return level > 0.5, f"{shades:,} pixels of the mask are neither ground nor quite marked: those above half were taken for marked"
    threshold = _RINGING if lossy else 0
    above = "those above an eighth" if lossy else "they"
    return level > threshold, f"{shades:,} pixels of the mask are neither ground nor quite marked: {above} were taken for marked"


def _value(colour: np.ndarray, picture: Picture) -> str:
    """Writes a colour (C,) in the numbers of the file."""
    values = [f"{value * white(picture.dtype):.6g}" for value in colour.tolist()]
    return values[0] if len(set(values)) == 1 else f"({', '.join(values)})"


def nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns values `(H, W, ...)` that are, where nothing is `known` `(H, W)`, those of the nearest pixel of which something is."""
    from scipy.ndimage import distance_transform_edt

    return values[tuple(distance_transform_edt(~known, return_distances=False, return_indices=True))]
