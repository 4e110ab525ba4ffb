"""Pictures in files: the only module that knows uint8, colour modes and the disk.

Inside dipjax an image is float32, (H, W, C), in [0, 1]. `load` brings a file into that layout and keeps in a `Picture`
what the numbers alone do not say (bit depth, transparency, colour profile); `save` uses it to write a result the way
its input was. Nothing else in the library rounds or clips.

Files are untrusted: the first bytes decide the format, the size is checked before decoding, five formats are parsed and
no others, and whatever a decoder raises becomes an `ImageError` of one sentence. Outputs appear complete or not at all.
To add a format, add a row to `_SUFFIXES`, `_MAGIC` and `_DTYPES`, and a case to `_encode`.
"""

import contextlib
import dataclasses
import io
import logging
import math
import os
import secrets
import struct
import textwrap
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
_SUFFIXES |= {".tif": "TIFF", ".tiff": "TIFF"}
_MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP", b"BM": "BMP"}
_MAGIC |= dict.fromkeys([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"], "TIFF")
_DTYPES = {"PNG": ("uint8", "uint16"), "TIFF": ("uint8", "uint16", "float16", "float32", "float64")}  # others: uint8
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}  # limits of libjpeg and libwebp

# Numbers from the TIFF 6.0 tables.
_BITS_PER_SAMPLE, _ORIENTATION, _ICC_PROFILE = 258, 274, 34675  # tags; EXIF has the second one too
_TIFFFILE_COMPRESSIONS = (1, 5, 8, 32773, 32946, 50000)  # none, LZW, deflate, PackBits, deflate again, Zstandard
_TIFFFILE_COLOURS = (0, 1, 2)  # white is zero, black is zero, RGB
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2

_ROTATED = "rotated as its EXIF tag says"

# tifffile logs what it then raises. Without any handler Python would print those lines above our one sentence.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class ImageError(ValueError):
    """Says in one sentence why an input file cannot be used."""


class OutputError(OSError):
    """Says in one sentence why an output file cannot be written."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """Holds the pixels of a file and what is needed to write a result the same way."""

    pixels: np.ndarray  # (H, W, C) float32 in [0, 1]; colour only: C is 1 for gray, 3 for RGB, any for TIFF
    alpha: np.ndarray | None  # (H, W) float32 in [0, 1]
    dtype: np.dtype  # of the samples in the file
    file_format: str  # PNG, JPEG, WEBP, BMP or TIFF
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = ()  # what was changed or left out in reading


def load(path: str | os.PathLike, *, max_pixels: int = 64_000_000) -> Picture:
    """Reads the first picture of a PNG, JPEG, WebP, BMP or TIFF file.

    Args:
        path: the file; its content decides the format, not its suffix.
        max_pixels: a larger picture is refused from its header, before anything is decoded.

    Returns:
        A `Picture` with pixels (H, W, C), turned upright, transparency apart, integers divided by their largest value.
        Raises `ImageError` for whatever keeps the file from being read.

    Example:
        >>> picture = load("photo.jpg")
        >>> picture.pixels.shape
        (480, 640, 3)
    """
    path = Path(path)
    with _reading(path) as file:
        file_format = _sniff(file)
        if file_format is None:
            raise ImageError("it is not a PNG, JPEG, WebP, BMP or TIFF picture" if file.read(1) else "it is empty")
        decode = _decode_tiff if file_format == "TIFF" else _decode_with_pillow
        picture = decode(file, file_format, max_pixels)
    if _SUFFIXES.get(path.suffix.lower(), file_format) != file_format:
        note = f"named {path.suffix} but its content is {file_format}"
        picture = dataclasses.replace(picture, notes=(*picture.notes, note))
    return picture


def load_mask(path: str | os.PathLike, shape: tuple[int, int]) -> np.ndarray:
    """Reads a mask from a picture: True where it is lighter than half (white = fill in).

    Args:
        path: any picture that `load` reads; its transparency is ignored.
        shape: the (H, W) that the mask must have.

    Returns:
        Booleans (H, W). Raises `ImageError` if the file cannot be read or has another size.
    """
    mask = load(path).pixels.mean(axis=-1) > 0.5
    if mask.shape != tuple(shape):
        sizes = [f"{width} x {height} pixels" for height, width in (mask.shape, shape)]
        raise ImageError(f"the mask {str(path)!r} is {sizes[0]} but the picture is {sizes[1]}; they must be the same size")
    return mask


def load_psf(path: str | os.PathLike) -> np.ndarray:
    """Reads a blur kernel from a picture, a .npy array, or numbers in a .txt or .csv file.

    Args:
        path: the file. Colours of a picture are averaged; numbers are separated by spaces in .txt, by commas in .csv.

    Returns:
        The kernel (k, l) in float32, divided by its sum. Raises `ImageError` if the file cannot be read, or is not
        two-dimensional, non-negative and somewhere positive.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with _reading(path) as file:
            psf = np.lib.format.read_array(file, allow_pickle=False)
    elif suffix in (".txt", ".csv"):
        with _reading(path) as file:
            psf = np.loadtxt(file, delimiter="," if suffix == ".csv" else None, ndmin=2)
    else:
        psf = load(path).pixels.mean(axis=-1)
    if psf.ndim != 2 or psf.dtype.kind not in "buif":
        raise ImageError(f"the kernel {str(path)!r} is {psf.dtype} of shape {psf.shape}, expected numbers in rows (k, l)")
    psf = psf.astype(np.float64)
    if not ((psf >= 0).all() and 0 < psf.sum() < math.inf):
        raise ImageError(f"the kernel {str(path)!r} must have finite values, none negative and not all zero")
    return (psf / psf.sum()).astype(np.float32)


def check_writable(path: str | os.PathLike, like: Picture, *, factor: int = 1, force: bool = False) -> None:
    """Raises what `save` would raise, before the long computation and without touching the disk.

    Args:
        path: the output file.
        like: the input picture.
        factor: how many times longer than in the input each side of the result will be.
        force: whether an existing file may be replaced.
    """
    height, width, num_channels = like.pixels.shape
    _check_output(Path(path), like, (factor * height, factor * width, num_channels), like.alpha is not None, force)


def save(path: str | os.PathLike, pixels: np.ndarray, like: Picture, *, alpha: np.ndarray | None = None, force: bool = False) -> None:
    """Writes a result in the manner of the picture it was made from, complete or not at all.

    Bit depth, gray or colour, transparency and colour profile are those of `like`; the suffix names the format. Values
    are clipped to [0, 1], the one place in dipjax that does, and rounded to the nearest level. JPEG has quality 95 and
    full colour resolution; WebP is lossless and stores gray as RGB. EXIF tags are not written.

    Args:
        path: the output file; its suffix is .png, .jpg, .jpeg, .webp, .bmp, .tif or .tiff.
        pixels: the result (H', W', C), which may be larger than `like.pixels` (H, W, C).
        like: the input picture.
        alpha: the transparency (H, W) to write, that of `like` if None; resized by Lanczos where the size differs.
        force: whether an existing file may be replaced.

    Returns:
        Nothing. Raises `OutputError` if the file exists, cannot be created, or cannot hold such a picture.

    Example:
        >>> save("photo.denoised.png", result, like=picture)
    """
    path = Path(path)
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim != 3 or pixels.shape[-1] != like.pixels.shape[-1] or pixels.size == 0:
        raise ValueError(f"pixels has shape {pixels.shape}, expected (H, W, {like.pixels.shape[-1]}) as in the input")
    alpha = like.alpha if alpha is None else np.asarray(alpha, np.float32)
    _check_output(path, like, pixels.shape, alpha is not None, force)
    if not np.isfinite(pixels).all():
        raise OutputError(f"cannot write {str(path)!r}: the result has NaN or infinite values")
    if alpha is not None:
        if alpha.shape != pixels.shape[:2]:
            alpha = np.asarray(Image.fromarray(alpha).resize(pixels.shape[1::-1], Image.Resampling.LANCZOS))
        pixels = np.concatenate([pixels, alpha[..., None]], axis=-1)
    samples = np.clip(pixels, 0, 1)
    if like.dtype.kind == "u":
        samples = np.rint(samples * np.float32(np.iinfo(like.dtype).max))
    samples = samples.astype(like.dtype)
    with _writing(path):
        _write(path, _encode(_SUFFIXES[path.suffix.lower()], samples, alpha is not None, like.icc_profile), force)


def write(path: str | os.PathLike, data: bytes, *, force: bool = False) -> None:
    """Writes any other file in the same way: complete or not at all, or an `OutputError`."""
    check_free(path, force=force)
    with _writing(Path(path)):
        _write(Path(path), data, force)


def default_output(path: str | os.PathLike, word: str) -> Path:
    """Names the output beside its input: 'photo.png' and 'denoised' make 'photo.denoised.png'.

    Args:
        path: the input file.
        word: what was done to it.

    Returns:
        A path with the suffix of the input, or one of its real format where the suffix says something else.
    """
    path = Path(path)
    named, found = _SUFFIXES.get(path.suffix.lower()), None
    with contextlib.suppress(OSError), path.open("rb") as file:
        found = _sniff(file)
    if named and found in (None, named):
        return path.with_name(f"{path.stem}.{word}{path.suffix}")
    suffix = next((suffix for suffix, file_format in _SUFFIXES.items() if file_format == found), ".png")
    return path.with_name(f"{path.stem}.{word}{suffix}")


def to_unit(image: np.ndarray, *, channel_axis: int | None, name: str = "image") -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Brings a caller's array into dipjax's layout, and says how to bring a result back.

    Args:
        image: uint8, uint16, or floats in [0, 1]; (H, W), or three axes of which one holds channels.
        channel_axis: the axis that holds the channels, None if there is none; a (H, W) array is gray in any case.
        name: what the caller calls the array, for error messages.

    Returns:
        The image (H, W, C) in float32 in [0, 1], and a function from a result (H', W', C) to a float32 array in the
        layout of `image`, not clipped. Raises ValueError for any other type, shape or range of values.
    """
    array = np.asarray(image)
    kind, shape = array.dtype.kind, array.shape
    if f"{kind}{array.dtype.itemsize}" not in ("u1", "u2", "f2", "f4", "f8"):
        problem = f"has dtype {array.dtype}; use uint8, uint16, or float with values in [0, 1]"
    elif array.size == 0:
        problem = f"is empty, its shape is {shape}; give at least one pixel"
    elif array.ndim not in (2, 3):
        problem = f"has shape {shape}; give one image, (H, W) or (H, W, C)"
    elif array.ndim == 3 and channel_axis is None:
        problem = f"has shape {shape} but no channel_axis; say which axis holds the channels, often -1"
    elif array.ndim == 3 and not -3 <= channel_axis < 3:
        problem = f"has shape {shape} and no axis {channel_axis}; give a channel_axis from -3 to 2"
    else:
        problem = _float_problem(array) if kind == "f" else None
    if problem:
        raise ValueError(f"{name} {problem}")
    pixels = array[..., None] if array.ndim == 2 else np.moveaxis(array, channel_axis, -1)

    def restore_layout(result: np.ndarray) -> np.ndarray:
        result = np.asarray(result, np.float32)
        return result[..., 0] if array.ndim == 2 else np.moveaxis(result, -1, channel_axis)

    white = np.float32(np.iinfo(array.dtype).max if kind == "u" else 1)
    return np.ascontiguousarray(pixels, np.float32) / white, restore_layout


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Opens an untrusted file; whatever goes wrong inside becomes one ImageError."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ImageError("it is a directory" if path.is_dir() else "it is not a regular file")
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield file
    except ImageError as error:
        raise ImageError(f"cannot read {str(path)!r}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise ImageError(f"cannot read {str(path)!r}: it has too many pixels; make it smaller first") from error
    except Exception as error:
        bad = "" if getattr(error, "strerror", None) else "it is truncated, damaged or of a kind not supported: "
        raise ImageError(f"cannot read {str(path)!r}: {bad}{_words(error)}") from error


def _words(error: Exception) -> str:
    """Says in a few words what a library or the system meant."""
    return getattr(error, "strerror", None) or textwrap.shorten(str(error), 100) or type(error).__name__


def _sniff(file: BinaryIO) -> str | None:
    """Returns the format that the first bytes announce, and rewinds."""
    head = file.read(12)
    file.seek(0)
    found = next((file_format for magic, file_format in _MAGIC.items() if head.startswith(magic)), None)
    return None if found == "WEBP" and head[8:] != b"WEBP" else found


def _float_problem(array: np.ndarray) -> str | None:
    """Says what is wrong with floats that are not all in [0, 1]."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        return f"has {len(bad)} NaN or infinite values, the first at {tuple(bad[0].tolist())}; replace them"
    low, high = array.min(), array.max()
    advice = "divide by 255 if that means white, clip the overshoot, or use uint8 or uint16"
    return None if low >= 0 and high <= 1 else f"has values from {low:.6g} to {high:.6g}, expected [0, 1]; {advice}"


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if not 0 < int(width) * int(height) <= max_pixels:  # a damaged TIFF has tuples here, whose product fills the memory
        limits = f"expected 1 to {max_pixels:,}"
        raise ImageError(f"it has {width} x {height} pixels, {limits}; crop it or make it smaller first")


def _upright(array: np.ndarray, orientation: int | None) -> np.ndarray:
    """Undoes the eight EXIF orientations of (H, W) or (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array[::-1] if orientation in (3, 4, 7, 8) else array


def _developed(raw: Picture, white: int, orientation: int | None) -> Picture:
    """Turns a Picture that has the arrays of the file into one that keeps the promises of `Picture`."""
    if raw.pixels.size == 0:
        raise ImageError("it has no colours")
    pixels, alpha = (
        None if array is None else np.ascontiguousarray(_upright(array, orientation), np.float32) / np.float32(white)
        for array in (raw.pixels, raw.alpha)
    )
    notes = (*raw.notes, _ROTATED) if orientation in range(2, 9) else raw.notes
    dtype = raw.pixels.dtype.newbyteorder("=")
    icc_profile = raw.icc_profile if isinstance(raw.icc_profile, bytes) and raw.icc_profile else None
    return Picture(pixels, alpha, dtype, raw.file_format, icc_profile, notes)


def _decode_with_pillow(file: BinaryIO, file_format: str, max_pixels: int) -> Picture:
    image = Image.open(file, formats=(file_format,))
    _check_size(*image.size, max_pixels)
    image.load()
    orientation = image.getexif().get(_ORIENTATION)  # after load, which turns a TIFF itself and drops its tag
    mode, notes, alpha = image.mode, [], None
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"):
        raise ImageError(f"its colours are stored as {mode}; convert it to RGB or gray")
    if mode in ("1", "P", "PA", "CMYK"):
        what = {"1": "black and white", "CMYK": "CMYK"}.get(mode, "palette")
        notes.append(f"{what} converted to {'8-bit gray' if mode == '1' else 'RGB'}")
    if file_format != "TIFF" and getattr(image, "n_frames", 1) > 1:
        notes.append(f"first of {image.n_frames} frames")
    file.seek(0)
    depth, colour = file.read(26)[24:26] if file_format == "PNG" else (8, None)
    if depth != 8 and colour != 3:  # Pillow halves 16-bit colours in silence; a palette has 8 bits at any depth
        from imagecodecs import png_decode

        file.seek(0)
        samples = png_decode(file.read())
    else:
        wanted = ("L" if mode in ("1", "L", "LA") else "RGB") + "A" * image.has_transparency_data
        samples = np.asarray(image.convert(wanted))
    samples = samples.reshape(*samples.shape[:2], -1)
    if samples.shape[-1] in (2, 4):
        samples, alpha = samples[..., :-1], samples[..., -1]
    icc_profile = None if mode == "CMYK" else image.info.get("icc_profile")  # that of CMYK describes inks
    raw = Picture(samples, alpha, samples.dtype, file_format, icc_profile, tuple(notes))
    return _developed(raw, np.iinfo(samples.dtype).max, orientation)


def _decode_tiff(file: BinaryIO, file_format: str, max_pixels: int) -> Picture:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        page, num_pages = tiff.pages[0], len(tiff.pages)
        _check_size(page.imagewidth, page.imagelength, max_pixels)
        if max(page.size, math.prod(map(int, page.chunks))) > 4 * max_pixels:  # a tile may claim to be larger than the picture
            raise ImageError(f"it announces more than {4 * max_pixels:,} numbers to decode; make it smaller first")
        notes = [f"first of {num_pages} pages"] if num_pages > 1 else []
        orientation, icc_profile = (page.tags.valueof(tag) for tag in (_ORIENTATION, _ICC_PROFILE))
        if page.compression not in _TIFFFILE_COMPRESSIONS or page.photometric not in _TIFFFILE_COLOURS:
            if page.bitspersample > 8:  # Pillow would halve them in silence
                what = f"{page.bitspersample}-bit samples with {page.compression!r} and {page.photometric!r}"
                raise ImageError(f"it has {what}, which cannot be read; save it as gray or RGB with deflate")
            file.seek(0)  # JPEG, fax, palette, CMYK, YCbCr: Pillow converts these, tifffile gives their raw numbers
            picture = _decode_with_pillow(file, file_format, max_pixels)
            notes += [_ROTATED] if orientation in range(2, 9) else []
            return dataclasses.replace(picture, notes=(*notes, *picture.notes))
        if page.samplesperpixel > 1 and _BITS_PER_SAMPLE not in page.tags:  # tifffile would go on with one bit
            raise ImageError("it is truncated or damaged, its BitsPerSample tag cannot be read")
        if page.dtype is None or page.dtype.kind not in "buf" or (page.dtype.kind == "u" and page.dtype.itemsize > 2):
            raise ImageError(f"its samples are {page.dtype}; convert it to uint8, uint16, or float32 in [0, 1]")
        if page.axes not in ("YX", "YXS", "SYX"):
            raise ImageError(f"its layout {page.axes} {page.shape} is not one picture; save one gray or RGB page")
        samples = page.asarray()
        white, extra = 2**page.bitspersample - 1, page.extrasamples
    if samples.dtype.kind == "b":
        notes.append("black and white converted to 8-bit gray")
        samples, white = samples * np.uint8(255), 255
    elif samples.dtype.kind == "f":
        white = 1
        if problem := _float_problem(samples):
            raise ImageError(f"it {problem}")
    samples = np.moveaxis(samples, 0, -1) if page.axes == "SYX" else samples.reshape(*samples.shape[:2], -1)
    alpha, alpha_kind = None, next((kind for kind in extra if kind in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA)), None)
    if alpha_kind is not None:
        place = samples.shape[-1] - len(extra) + extra.index(alpha_kind)
        alpha, samples = samples[..., place], np.delete(samples, place, axis=-1)
    if page.photometric == 0:  # white is zero
        samples = samples.dtype.type(white) - samples
    if alpha_kind == _ASSOCIATED_ALPHA:
        notes.append("colours divided by their transparency")
        divided = white * np.minimum(samples / np.maximum(alpha, np.float32(1e-6))[..., None], 1)
        samples = (divided if white == 1 else np.rint(divided)).astype(samples.dtype)
    raw = Picture(samples, alpha, samples.dtype, file_format, icc_profile, tuple(notes))
    return _developed(raw, white, orientation)


def _obstacle(file_format: str, like: Picture, shape: tuple[int, int, int], has_alpha: bool) -> str | None:
    """Names what of a picture the format cannot hold."""
    longest = _LONGEST_SIDE.get(file_format, math.inf)
    obstacles = {
        f"{shape[-1]} channels": shape[-1] not in (1, 3) and file_format != "TIFF",
        f"{like.dtype} samples": like.dtype.name not in _DTYPES.get(file_format, ("uint8",)),
        "transparency": has_alpha and file_format in ("JPEG", "BMP"),
        "a colour profile": like.icc_profile is not None and file_format == "BMP",
        f"a side longer than {longest} pixels": max(shape[:2]) > longest,
    }
    return next((obstacle for obstacle, applies in obstacles.items() if applies), None)


def _check_output(path: Path, like: Picture, shape: tuple[int, int, int], has_alpha: bool, force: bool) -> None:
    """Raises the OutputErrors that can be known before anything is written."""
    file_format = _SUFFIXES.get(path.suffix.lower())
    if file_format is None:
        problem = f"its suffix names no format; use one of {', '.join(_SUFFIXES)}"
    elif obstacle := _obstacle(file_format, like, shape, has_alpha):
        able = [suffix for suffix in (".png", ".tif") if not _obstacle(_SUFFIXES[suffix], like, shape, has_alpha)]
        problem = f"{file_format} cannot hold {obstacle}; use the suffix {' or '.join(able)}"
    else:
        check_free(path, force=force)
        return
    raise OutputError(f"cannot write {str(path)!r}: {problem}")


def check_free(path: str | os.PathLike, *, force: bool = False) -> None:
    """Raises what `write` would raise, as far as it can be known without touching the disk."""
    path = Path(path)
    if path.is_dir():
        problem = "it is a directory; give the name of a file"
    elif not force and os.path.lexists(path):
        problem = "it already exists; use --force to replace it"
    elif not path.parent.is_dir():
        problem = f"there is no directory {str(path.parent)!r}; make it first"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        problem = f"you have no permission to write in {str(path.parent)!r}; choose another directory"
    else:
        return
    raise OutputError(f"cannot write {str(path)!r}: {problem}")


def _encode(file_format: str, samples: np.ndarray, has_alpha: bool, icc_profile: bytes | None) -> bytes:
    """Returns the bytes of a file with these samples (H, W, C), the last of which may be alpha."""
    num_colours = samples.shape[-1] - has_alpha
    samples = samples[..., 0] if samples.shape[-1] == 1 else samples
    if file_format == "PNG":
        from imagecodecs import png_encode

        data = png_encode(samples)
        chunk = b"iCCPICC profile\0\0" + zlib.compress(icc_profile or b"")
        chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:33] + chunk + data[33:] if icc_profile else data  # behind the signature and the header
    buffer = io.BytesIO()
    if file_format == "TIFF":
        import tifffile

        num_unnamed = num_colours - (3 if num_colours == 3 else 1)
        tifffile.imwrite(
            buffer,
            samples,
            photometric="rgb" if num_colours == 3 else "minisblack",
            planarconfig="contig" if samples.ndim == 3 else None,
            extrasamples=[0] * num_unnamed + [_UNASSOCIATED_ALPHA] * has_alpha,
            compression="zlib",
            iccprofile=icc_profile,
            metadata=None,
        )
    else:
        options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True}, "BMP": {}}
        Image.fromarray(samples).save(buffer, file_format, icc_profile=icc_profile, **options[file_format])
    return buffer.getvalue()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes one OutputError."""
    try:
        yield
    except Exception as error:
        reason = "it already exists; use --force to replace it" if isinstance(error, FileExistsError) else _words(error)
        raise OutputError(f"cannot write {str(path)!r}: {reason}") from error


def _write(path: Path, data: bytes, force: bool) -> None:
    """Puts a complete file in place in one step, or leaves no trace."""
    temporary = path.with_name(f".dipjax-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not force:
            try:
                os.link(temporary, path)  # unlike os.replace, fails if another program has just made the file
                return
            except OSError as error:  # or there are no hard links here: FAT, network drives
                if os.path.lexists(path):
                    raise FileExistsError(path) from error
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
