"""How close an image is to the truth: PSNR inside the loop, SSIM outside it.

Images are float `(H, W, C)` in [0, 1]; the data range is 1, no border is cut, and colour images count all channels alike.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array


def psnr(image: Array, truth: Array) -> Array:
    """Returns the peak signal-to-noise ratio in dB, `10 log10(1 / mean((image - truth)^2))`, unclipped; jittable."""
    return -10 * jnp.log10(jnp.mean((image - truth) ** 2))


def ssim(image: Array, truth: Array) -> float:
    """Returns the structural similarity of Wang et al. (2004): Gaussian window of sigma 1.5, mean over channels.

    The window is 11 pixels wide; an image smaller than that has no SSIM, and the result is NaN.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:2]) < 11:
        return float("nan")
    return float(
        structural_similarity(
            np.asarray(image, np.float64),
            np.asarray(truth, np.float64),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
        )
    )
