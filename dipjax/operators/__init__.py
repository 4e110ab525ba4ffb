"""What turned the image we want into the measurement we have: operators, kernels, and the problems that they make."""

from dipjax.operators import problem, psfs, resampling
from dipjax.operators.linear import Blur, Compose, Identity, Mask
from dipjax.operators.resampling import Downsample, Resize

__all__ = ["Blur", "Compose", "Downsample", "Identity", "Mask", "Resize", "problem", "psfs", "resampling"]
