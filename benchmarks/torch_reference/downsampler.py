"""The official low-pass filter and decimation, used as the super-resolution operator and inside `skip`."""

import numpy as np
import torch
from torch import Tensor, nn

GAUSSIANS = {"gauss12": (7, 1 / 2), "gauss1sq2": (9, 1 / np.sqrt(2))}  # kernel width, sigma
LANCZOS_ORDERS = {"lanczos2": 2, "lanczos3": 3}


def downsampling_kernel(kernel_type: str, factor: int, *, phase: float = 0.0) -> np.ndarray:
    """Computes the filter of a downsampling by `factor`, normalised to sum 1.

    lanczosA: A sin(pi t) sin(pi t / A) / (pi t)^2 per axis, t the distance to the kernel's centre over the factor;
    width 2 A factor + 1 with phase 0 (centred on a pixel), one less with phase 0.5 (centred between pixels).
    gauss12, gauss1sq2: exp(-(d/2)^2 / (2 sigma^2)), phase 0 only. box: constant over factor x factor, phase 0.5 only.

    Returns:
        The kernel (k, k) in float64.
    """
    if phase not in (0, 0.5):
        raise ValueError(f"phase is {phase}; expected 0 or 0.5.")
    if kernel_type in LANCZOS_ORDERS:
        order = LANCZOS_ORDERS[kernel_type]
        distance = _centred(2 * order * factor + (1 if phase == 0 else 0)) / factor
        weights = np.sinc(distance) * np.sinc(distance / order)
    elif kernel_type in GAUSSIANS and phase == 0:
        width, sigma = GAUSSIANS[kernel_type]
        weights = np.exp(-((_centred(width) / 2) ** 2) / (2 * sigma**2))
    elif kernel_type == "box" and phase == 0.5:
        weights = np.ones(factor)
    else:
        expected = "lanczos2, lanczos3 (phase 0 or 0.5), gauss12, gauss1sq2 (phase 0) or box (phase 0.5)"
        raise ValueError(f"kernel_type is {kernel_type!r} with phase {phase}; expected {expected}.")
    kernel = np.outer(weights, weights)
    return kernel / kernel.sum()


class Downsampler(nn.Module):
    """Filters every channel alike and keeps each `factor`-th pixel: (N, C, H, W) -> (N, C, H/factor, W/factor).

    A dense convolution with the kernel on its diagonal and bias 0, as in the official code: slower than a depthwise
    one, and trainable where it is a child of a network. `preserve_size` pads by replication so that H/factor comes
    out. Phase 0.5 with an odd factor then comes out one pixel short, as in the official code, because the padding is
    truncated.
    """

    def __init__(self, num_channels: int, factor: int, kernel_type: str, *, phase: float = 0.0, preserve_size: bool = False) -> None:
        super().__init__()
        kernel = downsampling_kernel(kernel_type, factor, phase=phase)
        width = len(kernel)
        padding = (width - 1) // 2 if width % 2 else (width - factor) // 2
        self.pad = nn.ReplicationPad2d(padding) if preserve_size else nn.Identity()
        self.downsampler_ = nn.Conv2d(num_channels, num_channels, width, stride=factor)
        with torch.no_grad():
            self.downsampler_.weight.zero_()
            self.downsampler_.bias.zero_()
            diagonal = torch.arange(num_channels)
            self.downsampler_.weight[diagonal, diagonal] = torch.tensor(kernel, dtype=self.downsampler_.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsampler_(self.pad(x))


def _centred(width: int) -> np.ndarray:
    """Signed distances of `width` pixels from the middle of the row."""
    return np.arange(width) - (width - 1) / 2
