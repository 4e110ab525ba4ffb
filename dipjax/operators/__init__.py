"""What turned the image we want into the measurement we have: operators, kernels, and the problems that they make."""

from dipjax.operators import camera, foreign, fourier, instruments, jpeg, problem, psfs, radon, resampling, sensing
from dipjax.operators.camera import Bayer
from dipjax.operators.fourier import Complex, Fourier, FourierMagnitude, NonUniformFourier
from dipjax.operators.jpeg import JPEG
from dipjax.operators.linear import Blur, Compose, Identity, Mask, UnknownBlur
from dipjax.operators.radon import Radon, Transmission
from dipjax.operators.resampling import Downsample, Resize
from dipjax.operators.sensing import Hadamard, Matrix

__all__ = [
    "JPEG",
    "Bayer",
    "Blur",
    "Complex",
    "Compose",
    "Downsample",
    "Fourier",
    "FourierMagnitude",
    "Hadamard",
    "Identity",
    "Mask",
    "Matrix",
    "NonUniformFourier",
    "Radon",
    "Resize",
    "Transmission",
    "UnknownBlur",
    "camera",
    "foreign",
    "fourier",
    "instruments",
    "jpeg",
    "problem",
    "psfs",
    "radon",
    "resampling",
    "sensing",
]
