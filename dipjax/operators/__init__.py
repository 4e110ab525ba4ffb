"""What turned the image we want into the measurement we have: operators, kernels, and the problems that they make."""

from dipjax.operators.linear import Blur, Compose, Downsample, Identity, Mask

__all__ = ["Blur", "Compose", "Downsample", "Identity", "Mask"]
