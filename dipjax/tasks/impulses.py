"""What becomes of a picture in which some pixels were replaced by black and white ones: those are restored, the others stay.

Examples:
  >>> picture = np.full((32, 32, 1), 0.5, np.float32)
  >>> picture[::5, ::5], picture[2::5, 2::5] = 0, 1
  >>> finish = dipjax.tasks.impulses.Others(picture, *dipjax.stopping.noise.impulses(picture))
  >>> restored = finish(np.full((2, 32, 32, 1), 0.4, np.float32))
  >>> restored.shape, bool(abs(restored - 0.5).max() < 1e-3)
  ((2, 32, 32, 1), True)
"""

import numpy as np

from dipjax.core.problem import Problem
from dipjax.large import tiling
from dipjax.operators.linear import Mask
from dipjax.stopping.noise import SURELY, beyond_grain, noise_deviation, white_variance

_MOST = 0.6  # of a picture, black or white: it may be a drawing, or dithered
_FAR = 4.0  # standard deviations of what an estimate leaves of the others, beyond which black or white is an impulse that was missed


class Others:
    """Puts the pixels that were not hit into an estimate, as far as they are free of other noise.

    By how much the estimate is off there is put back, and continued to where a pixel was hit, see `kriging`: the estimate knows the
    textures, and its neighbours by how much it is off.

    To call it turns estimates `(..., H, W, C)` into pictures of that shape.

    Args:
      pixels: `(H, W, C)`, with black and white ones among them that are none of the picture's.
      hit: which they are, and the next: as `stopping.noise.impulses` finds them.
      median: of what lies around each.
    """

    def __init__(self, pixels: np.ndarray, hit: np.ndarray, median: np.ndarray):
        """Finds how noisy the rest is."""
        self.pixels, self.hit = pixels, hit
        self.at_end = (pixels == pixels.min()) | (pixels == pixels.max())
        rest = np.where(hit, median, pixels)
        # Textures count as noise in both, in the second more; the first is not known where most of the picture is clipped.
        measured = white_variance(rest) / SURELY
        measured = measured if np.isfinite(measured) else noise_deviation(rest) ** 2
        self.noise = beyond_grain(measured)

    def __call__(self, estimates: np.ndarray) -> np.ndarray:
        """Returns pictures `(..., H, W, C)`."""
        images = estimates.reshape(-1, *estimates.shape[-3:])
        return np.stack([self._whole(image) for image in images]).reshape(estimates.shape)

    def _whole(self, estimate):
        left = self.pixels - estimate
        missed = self.at_end & (left**2 > _FAR**2 * self._mean(left**2))
        known = np.isfinite(estimate) & ~self.hit & ~missed  # tiles that were not restored count for nothing
        data = Problem(np.where(known, self.pixels, 0), Mask(known.astype(estimate.dtype)), estimate.shape)
        (made,) = tiling.put_back(data, np.nan_to_num(estimate)[None], self.noise**0.5)
        made = np.where(known & (self.noise == 0), self.pixels, made)
        return np.where(np.isfinite(estimate), made, estimate)

    @property
    def is_told(self) -> bool:
        """Whether most of the picture is neither black nor white, so that impulses can be told from it."""
        return bool(self.at_end.mean() < _MOST)

    def std(self, std: np.ndarray) -> np.ndarray:
        """Returns the standard deviation of the error of the picture, of that of the estimate, `(H, W, C)`."""
        share = self._share(self._mean(std**2))
        return np.where(self.hit, std, std * np.sqrt(1 - share).astype(std.dtype))

    def _mean(self, squares):
        """Returns the mean over what was not hit, `(..., 1, 1, 1)`; tiles that were not restored do not count."""
        counted, axes = ~self.hit & np.isfinite(squares), (-3, -2, -1)
        number = np.maximum(counted.sum(axis=axes, keepdims=True), 1)
        return np.where(counted, squares, 0).sum(axis=axes, keepdims=True) / number

    def _share(self, error):
        """Returns the weight of the pixels, from 0 to 1, where an estimate has that mean square error."""
        return error / np.maximum(error + self.noise, np.finfo(np.float32).tiny)
