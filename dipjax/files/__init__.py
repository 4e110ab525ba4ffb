"""Pictures, masks and kernels in files and in arrays of the caller: the only code that knows uint8, colour modes and the disk."""

from dipjax.files.arrays import is_whole, to_pixels
from dipjax.files.decode import load, num_pages
from dipjax.files.encode import check_writable, left_out, save, save_stack
from dipjax.files.kernels import load_psf
from dipjax.files.masks import load_mask
from dipjax.files.paths import check_free, default_output, sweep, write, writing
from dipjax.files.picture import ImageError, OutputError, Picture, printable

__all__ = [
    "ImageError",
    "OutputError",
    "Picture",
    "check_free",
    "check_writable",
    "default_output",
    "is_whole",
    "left_out",
    "load",
    "load_mask",
    "load_psf",
    "num_pages",
    "printable",
    "save",
    "save_stack",
    "sweep",
    "to_pixels",
    "write",
    "writing",
]
