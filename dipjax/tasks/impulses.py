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

from dipjax.stopping.noise import SURELY, beyond_grain, noise_deviation, white_variance

_MOST = 0.6  # of a picture, black or white: it may be a drawing, or dithered
_STRIP, _MARGIN = 256, 16  # rows
_FAR = 4.0  # standard deviations of what an estimate leaves of the others, beyond which black or white is an impulse that was missed


def _continued(values, hit):
    """Returns values `(H, W, C)` that go on smoothly where a pixel was hit; what is not finite counts as zero around."""
    known = np.where(hit | ~np.isfinite(values), 0, values)
    alike = bool((hit == hit[..., :1]).all())
    parts = [slice(None)] if alike else [slice(c, c + 1) for c in range(hit.shape[-1])]
    smooth = [_filled(known[..., part], hit[..., part].any(axis=-1)) for part in parts]
    return np.where(hit, np.concatenate(smooth, -1), values)


def _filled(values, holes):
    """Solves the biharmonic equation in strips, whose memory is small, with a margin that is wider than most holes."""
    from skimage.restoration import inpaint_biharmonic

    made = []
    for start in range(0, len(holes), _STRIP):
        first, end = max(start - _MARGIN, 0), start + _STRIP + _MARGIN
        part, hole = values[first:end], holes[first:end]
        if hole.any() and not hole.all():
            part = inpaint_biharmonic(part, hole, channel_axis=-1)
        made.append(part[start - first :][:_STRIP])
    return np.concatenate(made)


class Others:
    """Puts the pixels that were not hit into an estimate, as far as they are free of other noise.

    Such a pixel differs from the truth by the noise of the rest, and the estimate by what lies between the two beyond that noise. Their
    mean is weighted by both variances, as if those errors were independent (Wiener's filter of what the estimate leaves). Where a pixel was
    hit, what the estimate leaves of those around is continued smoothly, by the biharmonic equation, and weighted alike: the estimate knows
    the textures, and its neighbours by how much it is off there (as in kriging with a trend).

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
        left = self.pixels - estimates
        squares = self._mean(left**2)
        hit = self.hit | (self.at_end & (left**2 > _FAR**2 * squares))
        share = self._share(np.maximum(squares - self.noise, 0))
        shape = (-1, *left.shape[-3:])
        pairs = zip(left.reshape(shape), hit.reshape(shape), strict=True)
        left = np.stack([_continued(*pair) for pair in pairs]).reshape(left.shape)
        return estimates + (share * np.nan_to_num(left)).astype(estimates.dtype)

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
