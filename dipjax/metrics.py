"""How close an image is to the truth: PSNR inside the loop, SSIM outside it.

No border is cut, and colour images count all channels alike. PSNR takes a data range of 1.

Examples:
  >>> truth = np.tile(np.linspace(0, 0.9, 16)[:, None, None], (1, 16, 1))
  >>> round(float(dipjax.metrics.psnr(truth + 0.1, truth)), 2), round(dipjax.metrics.ssim(truth + 0.1, truth), 2)
  (20.0, 0.98)
"""

import numpy as np
from jax import Array

from dipjax.core.state import psnr

__all__ = ["psnr", "ssim"]


def ssim(image: Array, truth: Array, *, data_range: float = 1.0) -> float:
    """Returns the structural similarity of Wang et al. (2004): Gaussian window of sigma 1.5, mean over channels.

    Args:
      image: `(..., C)`, real.
      truth: the same shape.
      data_range: the distance from black to white.

    Returns:
      At most 1, for equal images. The window is 11 pixels wide; an image smaller than that has no SSIM, and the result is NaN.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:-1]) < 11:
        return float("nan")
    return float(
        structural_similarity(
            np.asarray(image, np.float64),
            np.asarray(truth, np.float64),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
        )
    )
