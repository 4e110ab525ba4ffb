"""Pictures, masks and kernels in files and in arrays of the caller: the only code that knows uint8, colour modes and the disk.

Examples:
  >>> from PIL import Image
  >>> files, half = dipjax.files, np.full((8, 12), 128, np.uint8)
  >>> Image.fromarray(half).save("photo.png")
  >>> picture = files.load("photo.png")
  >>> picture.pixels.shape, picture.dtype, picture.file_format, files.num_pages("photo.png")
  ((8, 12, 1), dtype('uint8'), 'PNG', 1)
  >>> output = files.default_output("photo.png", "denoised")
  >>> output.name, files.left_out(output, picture)
  ('photo.denoised.png', [])
  >>> files.check_writable(output, picture)  # nothing is wrong
  >>> files.save(output, 0.5 * picture.pixels, picture)
  >>> files.save_stack("stack.tif", [picture, picture])
  >>> files.num_pages("stack.tif")
  2
  >>> Image.fromarray(np.uint8(255 * np.eye(8, 12))).save("mask.png")
  >>> mask, notes = files.load_mask("mask.png", (8, 12))
  >>> int(mask.sum()), notes
  (8, ())
  >>> files.write("psf.txt", b"1 2 1")
  >>> files.load_psf("psf.txt")
  array([[0.25, 0.5 , 0.25]], dtype=float32)
  >>> files.check_free("psf.txt")
  Traceback (most recent call last):
  dipjax.files.picture.OutputError: cannot write 'psf.txt': it already exists; use --force to replace it
  >>> files.sweep(".")
  >>> files.is_whole(half)
  True
"""

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
