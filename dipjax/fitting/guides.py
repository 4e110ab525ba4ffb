"""Quick classical restorations that a network sees beside noise, so that it need not find by training what is easy to know.

A guide is a function `(measurement (h, w, C)) -> (H, W, C)` of NumPy, made once on the host; None where there is none that helps. What a
run has not seen is hidden from it in the guide too, see `inputs.Guided`.
"""

import numpy as np
from scipy import ndimage

from dipjax.core.stopping import noise_correlation

_IMPULSE = 0.2  # of the range: a pixel at one of its ends is an impulse where it is farther from the median around it
_FEW = 0.01  # of the pixels: fewer impulses are left alone
_CORRELATED = 0.3  # correlation of the noise between neighbours, above which non-local means takes it for structure
_LEAST = 0.005  # of the range, taken for the noise of a picture that seems to have none
_STRENGTH = 0.6  # of the noise: how different the patches may be that are averaged


def of_noise(measurement: np.ndarray) -> np.ndarray | None:
    """Returns non-local means of a noisy picture, with impulses replaced by the median around them; None for correlated noise.

    Reference: Buades, Coll, Morel, A non-local algorithm for image denoising, CVPR 2005; in scikit-image.
    """
    from skimage.restoration import denoise_nl_means

    if measurement.ndim != 3 or min(measurement.shape[:2]) < 16:
        return None
    if float(noise_correlation(measurement)[0]) > _CORRELATED:
        return None
    median = ndimage.median_filter(measurement, (5, 5, 1))
    at_end = (measurement <= 0) | (measurement >= 1)
    impulses = (at_end & (np.abs(measurement - median) > _IMPULSE)).any(axis=-1, keepdims=True)
    clean = np.where(impulses, median, measurement) if impulses.mean() > _FEW else measurement
    differences = np.diff(np.diff(clean, axis=0), axis=1)
    sigma = max(float(np.median(np.abs(differences))) / 2 / 0.6745, _LEAST)  # Donoho and Johnstone, 1994
    how = {"h": _STRENGTH * sigma, "sigma": sigma, "patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
    return denoise_nl_means(clean, **how).astype(measurement.dtype)
