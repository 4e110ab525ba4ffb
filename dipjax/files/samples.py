"""What the samples of a TIFF mean: which are colours, which transparency, where white is, what is no data.

Colours are the first three samples of RGB, the first of gray. A sample named as transparency is alpha. Behind RGB, samples of no name or
of the name "unspecified" (infrared, a height) are carried along and not restored; but a single one without any name is alpha, as OpenCV
writes it and as Pillow reads it. Behind gray, unspecified samples are further channels: tifffile writes those of a microscope so.
"""

import contextlib
from dataclasses import dataclass

import numpy as np

from dipjax.files.picture import ImageError, Raw, opaque, white, without_infinities

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # numbers from the TIFF 6.0 tables, like those of the alphas
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
MEANINGS = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)


@dataclass(frozen=True)
class Page:
    """Holds what the tags of a page say about its samples.

    Attributes:
        photometric: one of `MEANINGS`.
        bits: of a sample.
        names: of the samples behind the colours; fewer where some have none.
        nodata: the value that GDAL says stands for no data.
    """

    photometric: int
    bits: int
    names: tuple[int, ...]
    nodata: str | None


def meaning(samples: np.ndarray, page: Page, allow_nan: bool) -> Raw:
    """Tells colours, alpha and other samples of (H, W, S) apart, and turns white is zero around."""
    notes, largest = (), 2**page.bits - 1
    if samples.dtype.kind == "b":
        notes, samples, largest = ("black and white converted to 8-bit gray",), samples * np.uint8(255), 255
    dtype = samples.dtype
    share_of_white = white(dtype) > 1
    highest = largest if share_of_white else 1
    roles, more_notes = _roles(samples.shape[-1], page)
    colours, others = ([place for place, role in enumerate(roles) if role == wanted] for wanted in ("colour", "extra"))
    alpha = samples[..., roles.index("alpha")] if "alpha" in roles else None
    extra = samples[..., others] if others else None
    samples = samples if len(colours) == len(roles) else samples[..., colours]
    notes = (*notes, *more_notes)
    if share_of_white:
        notes = (*notes, *_note_on_nodata(samples, page.nodata))
        samples = samples.dtype.type(largest) - samples if page.photometric == _WHITE_IS_ZERO else samples
    else:
        samples = own_units(samples, page.nodata, allow_nan)
        if page.photometric == _WHITE_IS_ZERO:
            notes = (*notes, "its white is zero but its values were read as they are")
    opacity = largest if share_of_white else opaque(dtype)
    if alpha is not None and alpha.dtype.kind == "f" and not np.isfinite(alpha).all():
        raise ImageError("its transparency has NaN or infinite values; replace them")
    if alpha is not None and _ASSOCIATED_ALPHA in page.names:
        notes = (*notes, "colours divided by their transparency")
        samples = _divided(samples, alpha, opacity)
    named = alpha is None or bool(page.names)
    return Raw(samples, alpha, "TIFF", highest, opacity, notes=notes, extra=extra, alpha_named=named, dtype=dtype)


def _roles(number: int, page: Page) -> tuple[list[str], tuple[str, ...]]:
    """Returns what each sample is, and notes on what is not obvious."""
    num_colours = 3 if page.photometric == _RGB else 1
    if number < num_colours:
        raise ImageError(f"it is RGB but has {number} samples, expected at least 3")
    num_others = number - num_colours
    names = (*[None] * (num_others - len(page.names)), *page.names[:num_others])
    place = next((i for i, name in enumerate(names) if name in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA)), None)
    notes = ()
    if place is None and names == (None,):
        place, notes = 0, ("a sample without a name was taken for transparency; it is carried along as it is",)
    other = "extra" if page.photometric == _RGB else "colour"
    roles = ["colour"] * num_colours + ["alpha" if i == place else other for i in range(num_others)]
    if num_extra := roles.count("extra"):
        notes = (*notes, f"{num_extra} of {number} samples are no colours; they are carried along as they are")
    return roles, notes


def own_units(samples: np.ndarray, nodata: str | None, allow_nan: bool) -> np.ndarray:
    """Returns samples whose infinite values and no data are NaN; raises ImageError if there are any and none is allowed."""
    value = _nodata_value(nodata, samples.dtype)
    if value is not None and (missing := samples == value).any():
        if not allow_nan:
            what = f"{np.count_nonzero(missing):,} values of {value}, which stands for no data"
            raise ImageError(f"it has {what}; fill them in by inpainting")
        samples = samples if samples.dtype.kind == "f" else samples.astype(np.float64)
        samples = np.where(missing, samples.dtype.type(np.nan), samples)
    try:
        return without_infinities(samples, allow_nan)
    except ValueError as error:
        raise ImageError(f"it {error}") from error


def _note_on_nodata(samples: np.ndarray, nodata: str | None) -> tuple[str, ...]:
    """Black often stands for no data in photographs from above; elsewhere in them it is a colour like any other."""
    value = _nodata_value(nodata, samples.dtype)
    count = 0 if value is None else np.count_nonzero((samples == value).all(axis=-1))
    return (f"{count:,} pixels of {value}, which stands for no data, were read as any other",) if count else ()


def _nodata_value(nodata: str | None, dtype: np.dtype):
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        value = dtype.type(float(nodata))
        return None if np.isnan(value) else value  # NaN needs no special care
    return None


def _divided(samples: np.ndarray, alpha: np.ndarray, opacity: int) -> np.ndarray:
    """Undoes the multiplication of colours by alpha."""
    share = (alpha / opacity)[..., None]
    divided = samples / np.where(share > 0, share, 1)
    if samples.dtype.kind == "f":
        return divided.astype(samples.dtype)
    return np.rint(np.clip(divided, np.iinfo(samples.dtype).min, opacity)).astype(samples.dtype)
