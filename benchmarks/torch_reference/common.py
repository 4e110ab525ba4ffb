"""Pieces that every official network is made of: padded convolution, activation, upsampling, concatenation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.torch_reference.downsampler import Downsampler

ACTIVATIONS = {
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "Swish": nn.SiLU,  # x * sigmoid(x)
    "ELU": nn.ELU,
    "none": nn.Sequential,
}


def activation(act_fun: str | Callable[[], nn.Module]) -> nn.Module:
    """Builds an activation from its official name or from a callable without arguments, such as a module class."""
    if not isinstance(act_fun, str):
        return act_fun()
    if act_fun not in ACTIVATIONS:
        raise ValueError(f"act_fun is {act_fun!r}; expected one of {sorted(ACTIVATIONS)} or a module class.")
    return ACTIVATIONS[act_fun]()


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    bias: bool = True,
    pad: str = "reflection",
    downsample_mode: str = "stride",
) -> nn.Sequential:
    """Builds [reflection pad] -> convolution -> [downsampler], each only where it is needed.

    With `pad='reflection'` the convolution is child 1 (even for a 1x1 kernel, which is padded by 0); with any other
    value the convolution itself pads with zeros and is child 0.
    """
    width = (kernel_size - 1) // 2
    reflects = pad == "reflection"
    strides_in_conv = downsample_mode == "stride"
    layers: list[nn.Module] = [nn.ReflectionPad2d(width)] if reflects else []
    layers.append(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride if strides_in_conv else 1,
            padding=0 if reflects else width,
            bias=bias,
        )
    )
    if stride != 1 and not strides_in_conv:
        layers.append(_downsampler(downsample_mode, out_channels, stride))
    return nn.Sequential(*layers)


def upsample(mode: str, *, align_corners: bool = False) -> nn.Upsample:
    """Doubles height and width; `align_corners=True` is how bilinear behaved before PyTorch 0.4."""
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"upsample_mode is {mode!r}; expected 'nearest' or 'bilinear'.")
    return nn.Upsample(scale_factor=2, mode=mode, align_corners=align_corners if mode == "bilinear" else None)


def crop_to(x: Tensor, height: int, width: int) -> Tensor:
    """Crops (N, C, H, W) to its centre; an odd excess loses one more row or column at the end."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


class Concat(nn.Module):
    """Applies every branch to the same input, crops the results to the smallest, stacks the channels in order."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        for index, branch in enumerate(branches):
            self.add_module(str(index), branch)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.children()]
        height, width = (min(output.shape[axis] for output in outputs) for axis in (2, 3))
        return torch.cat([crop_to(output, height, width) for output in outputs], dim=1)


def append(sequence: nn.Sequential, *modules: nn.Module) -> nn.Sequential:
    """Appends modules under the official names: child number n is called `str(n)`, counted from 1."""
    for module in modules:
        sequence.add_module(str(len(sequence) + 1), module)
    return sequence


def _downsampler(mode: str, num_channels: int, factor: int) -> nn.Module:
    if mode == "avg":
        return nn.AvgPool2d(factor, factor)
    if mode == "max":
        return nn.MaxPool2d(factor, factor)
    if mode in ("lanczos2", "lanczos3"):
        return Downsampler(num_channels, factor, mode, phase=0.5, preserve_size=True)
    raise ValueError(f"downsample_mode is {mode!r}; expected 'stride', 'avg', 'max', 'lanczos2' or 'lanczos3'.")
