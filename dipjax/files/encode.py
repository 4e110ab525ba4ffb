"""Writing a picture in the manner of the one it was made from. Nothing else in dipjax rounds or clips.

To add a format, add a row to `_DTYPES` and a case to `_encode`.
"""

import io
import math
import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from dipjax.files import metadata, others, paths
from dipjax.files.metadata import Metadata
from dipjax.files.opening import ONLY_READ, SUFFIXES, named
from dipjax.files.picture import DATA_TYPES, OutputError, Picture, opaque, white, words
from dipjax.files.png import chunk

_DTYPES = {"TIFF": DATA_TYPES, "NPY": DATA_TYPES} | dict.fromkeys(("PNG", "PNM", "JPEG2000"), ("uint8", "uint16"))  # of the others: uint8
_DTYPES["FITS"] = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
_MANY_CHANNELS = ("TIFF", "NPY", "FITS")
_PLAIN = {"PNM": others.encode_pnm, "JPEG2000": others.encode_jpeg2000, "NPY": others.encode_npy}
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}  # limits of libjpeg and libwebp
_UNSPECIFIED, _UNASSOCIATED_ALPHA = 0, 2  # names of samples in the TIFF 6.0 tables


def check_writable(path: str | os.PathLike, like: Picture, *, shape: tuple[int, int, int] | None = None, force: bool = False) -> None:
    """Raises what `save` would raise, before the long computation and without touching the disk.

    Args:
        path: the output file.
        like: the input picture.
        shape: (H', W', C) of the result; None is that of the input.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: the file exists, cannot be created, or cannot hold such a picture.
    """
    _check_output(named(path, OutputError), like, shape or like.pixels.shape, like.alpha is not None, force)


def left_out(path: str | os.PathLike, like: Picture) -> list[str]:
    """Names what a picture says of itself that a file of this suffix cannot hold.

    Args:
        path: the output file.
        like: the input picture.
    """
    return metadata.lost(like.metadata, SUFFIXES.get(Path(path).suffix.lower(), ""))


def save(
    path: str | os.PathLike,
    pixels: np.ndarray,
    like: Picture,
    *,
    alpha: np.ndarray | None = None,
    force: bool = False,
    keep_metadata: bool = True,
) -> None:
    """Writes a result in the manner of the picture it was made from, complete or not at all.

    Bit depth, gray or colour, transparency and colour profile are those of `like`; the suffix names the format. uint8 and uint16 are
    clipped to [0, 1] and rounded to the nearest level. Integers of other types are rounded and clipped to what their type holds, floats
    are written as they are. JPEG has quality 95 and full colour resolution; WebP is lossless and stores gray as RGB. EXIF, XMP,
    texts, resolution and places are those of the input, for smaller pixels where the result has more; the orientation is reset.

    Args:
        path: the output file; its suffix is one of `opening.SUFFIXES`, but GIF and HEIC are not written.
        pixels: the result (H', W', C), which may be larger than `like.pixels` (H, W, C).
        like: the input picture.
        alpha: the transparency (H, W) to write, that of `like` if None; resized by Lanczos where the size differs.
        force: whether an existing file may be replaced; its permissions stay.
        keep_metadata: whether what `like` says beside its pixels and its colour profile is written too.

    Raises:
        OutputError: the file exists, cannot be created, or cannot hold such a picture; or the result is not finite.
        ValueError: the result has another number of channels than the input.

    Examples:
        >>> np.save("scan.npy", np.zeros((8, 6, 3), np.uint16))
        >>> picture = dipjax.files.load("scan.npy")
        >>> dipjax.files.save("brighter.png", picture.pixels + 0.1, like=picture)
        >>> dipjax.files.load("brighter.png").pixels.shape
        (8, 6, 3)
    """
    path = named(path, OutputError)
    samples, names, about = _prepared(path, pixels, like, alpha, force, keep_metadata)
    try:
        data = _encode(SUFFIXES[path.suffix.lower()], samples, names, like.icc_profile, about)
    except Exception as error:
        raise OutputError(f"cannot write {str(path)!r}: {words(error)}") from error
    paths.write(path, data, force=force)


def save_stack(path: str | os.PathLike, pictures: list[Picture], *, force: bool = False, keep_metadata: bool = True) -> None:
    """Writes pictures as the pages of a TIFF file, each as `save` would write it, complete or not at all.

    Args:
        path: the output file, whose suffix is one of TIFF.
        pictures: one for each page.
        force: as for `save`.
        keep_metadata: as for `save`.

    Raises:
        OutputError: it exists, cannot be created, or is no TIFF file.
    """
    path = named(path, OutputError)
    if SUFFIXES.get(path.suffix.lower()) != "TIFF":
        raise OutputError(f"cannot write {str(path)!r}: only TIFF holds several pages; use .tif")
    pages = [
        (*_prepared(path, one.pixels, one, None, force, keep_metadata, allow_nan=one.dtype.kind == "f"), one.icc_profile)
        for one in pictures
    ]
    try:
        data = _tiff(pages)
    except Exception as error:
        raise OutputError(f"cannot write {str(path)!r}: {words(error)}") from error
    paths.write(path, data, force=force)


def _prepared(path, pixels, like, alpha, force, keep_metadata, *, allow_nan=False):
    """Returns the samples (H, W, S) of a file, what those are that are no colours, and the metadata."""
    dtype = np.float64 if like.pixels.dtype == np.float64 else np.float32
    pixels = np.asarray(pixels, dtype)
    if pixels.ndim != 3 or pixels.shape[-1] != like.pixels.shape[-1] or pixels.size == 0:
        raise ValueError(f"pixels has shape {pixels.shape}, expected (H, W, {like.pixels.shape[-1]}) as in the input")
    alpha = like.alpha if alpha is None else np.asarray(alpha, dtype)
    _check_output(path, like, pixels.shape, alpha is not None, force)
    if not (allow_nan or (np.isfinite(pixels).all() and (alpha is None or np.isfinite(alpha).all()))):
        raise OutputError(f"cannot write {str(path)!r}: the result has NaN or infinite values")
    size = pixels.shape[:2]
    layers = [_samples(pixels, like.dtype, white(like.dtype))]
    if alpha is not None:
        layers.append(_samples(_resized(alpha[..., None], size), like.dtype, opaque(like.dtype)))
    if like.extra is not None:
        layers.append(_samples(_resized(like.extra, size), like.dtype, white(like.dtype)))
    unnamed = not like.alpha_named and pixels.shape[-1] == 3  # behind gray that would make it one of two channels
    names = [_UNSPECIFIED if unnamed else _UNASSOCIATED_ALPHA] * (alpha is not None)
    names += [_UNSPECIFIED] * (0 if like.extra is None else like.extra.shape[-1])
    about = like.metadata.of_result(size[0] / like.pixels.shape[0], size) if keep_metadata else Metadata()
    return layers[0] if len(layers) == 1 else np.concatenate(layers, axis=-1), names, about


def encode_map(path: str | os.PathLike, values: np.ndarray) -> bytes:
    """Returns a file of numbers that are not negative `(H, W, C)`: TIFF as they are, in float32; PNG with 65535 for the largest and NaN."""
    if SUFFIXES[Path(path).suffix.lower()] == "TIFF":
        return _encode("TIFF", np.float32(values), [], None, Metadata())
    largest = np.nanmax(values, initial=np.finfo(np.float32).tiny)
    shares = np.where(np.isnan(values), 1, values / largest)
    return _encode("PNG", _samples(shares, np.dtype(np.uint16), white(np.dtype(np.uint16))), [], None, Metadata())


def _samples(pixels: np.ndarray, dtype: np.dtype, largest: int) -> np.ndarray:
    """Turns pixels into the samples of a file whose `largest` is 1."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.clip(pixels, limits.min, limits.max).astype(dtype)
    low, high = (0, 1) if largest > 1 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.rint(np.clip(pixels, low, high) * pixels.dtype.type(largest)).astype(dtype)


def _resized(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns (H, W, C) in another size by Lanczos."""
    if array.shape[:2] == size:
        return array
    layers = np.moveaxis(array.astype(np.float32), -1, 0)
    return np.stack([np.asarray(Image.fromarray(layer).resize(size[::-1], Image.Resampling.LANCZOS)) for layer in layers], axis=-1)


def _obstacle(file_format: str, like: Picture, shape: tuple[int, int, int], has_alpha: bool) -> str | None:
    """Names what of a picture the format cannot hold."""
    longest = _LONGEST_SIDE.get(file_format, math.inf)
    obstacles = {
        f"{shape[-1]} channels": shape[-1] not in (1, 3) and file_format not in _MANY_CHANNELS,
        f"{like.dtype} samples": like.dtype.name not in _DTYPES.get(file_format, ("uint8",)),
        "samples besides the colours": like.extra is not None and file_format != "TIFF",
        "transparency": has_alpha and file_format not in ("PNG", "TIFF", "WEBP", "AVIF"),
        "a colour profile": like.icc_profile is not None and file_format not in ("PNG", "TIFF", "WEBP", "AVIF", "JPEG"),
        f"a side longer than {longest} pixels": max(shape[:2]) > longest,
    }
    return next((obstacle for obstacle, applies in obstacles.items() if applies), None)


def _check_output(path: Path, like: Picture, shape: tuple[int, int, int], has_alpha: bool, force: bool) -> None:
    """Raises the OutputErrors that can be known before anything is written."""
    file_format = SUFFIXES.get(path.suffix.lower())
    if file_format is None or file_format in ONLY_READ:
        able = [suffix for suffix, kind in SUFFIXES.items() if kind not in ONLY_READ]
        problem = f"its suffix names no format that is written; use one of {', '.join(able)}"
    elif obstacle := _obstacle(file_format, like, shape, has_alpha):
        able = [suffix for suffix in (".png", ".tif") if not _obstacle(SUFFIXES[suffix], like, shape, has_alpha)]
        problem = f"{file_format} cannot hold {obstacle}; use the suffix {' or '.join(able)}"
    else:
        paths.check_free(path, force=force)
        return
    raise OutputError(f"cannot write {str(path)!r}: {problem}")


def _encode(file_format: str, samples: np.ndarray, names: list[int], icc_profile: bytes | None, about: Metadata) -> bytes:
    """Returns the bytes of a file with these samples (H, W, S), of which `names` tells what the last ones are that are no colours."""
    if file_format != "TIFF" and samples.shape[-1] == 1:
        samples = samples[..., 0]
    if file_format == "PNG":
        from imagecodecs import png_encode

        data = png_encode(samples)
        profile = chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)) if icc_profile else b""
        chunks = b"".join(chunk(*part) for part in metadata.for_png(about))
        return data[:33] + profile + chunks + data[33:]  # behind the signature and the header
    if file_format in _PLAIN:
        return _PLAIN[file_format](samples)
    if file_format == "FITS":
        return others.encode_fits(samples, about.header, about.factor)
    if file_format == "TIFF":
        return _tiff([(samples, names, about, icc_profile)])
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True}, "BMP": {}}
    options["AVIF"] = {"quality": 95, "subsampling": "4:4:4"}
    options, buffer = options[file_format] | metadata.for_pillow(about, file_format), io.BytesIO()
    Image.fromarray(samples).save(buffer, file_format, icc_profile=icc_profile, **options)
    return buffer.getvalue()


def _tiff(pages) -> bytes:
    """Returns a TIFF file of `(samples, names, metadata, profile)`, a page each."""
    import tifffile

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for samples, names, about, icc_profile in pages:
            num_colours = samples.shape[-1] - len(names)
            plain = samples[..., 0] if samples.shape[-1] == 1 else samples
            writer.write(
                plain,
                photometric="rgb" if num_colours == 3 else "minisblack",
                planarconfig="contig" if plain.ndim == 3 else None,
                extrasamples=[_UNSPECIFIED] * (0 if num_colours == 3 else num_colours - 1) + names,
                compression="zlib",
                iccprofile=icc_profile,
                metadata=None,
                **metadata.for_tiff(about),
            )
    return buffer.getvalue()
