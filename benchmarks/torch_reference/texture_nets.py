"""The official multi-scale generator after "Texture Networks" (Ulyanov et al., 2016)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.torch_reference.common import Concat, activation, conv, upsample


def texture_nets(
    in_channels: int = 3,
    out_channels: int = 3,
    *,
    ratios: Sequence[int] = (32, 16, 8, 4, 2, 1),
    num_channels: int = 8,
    fill_noise: bool = False,
    need_sigmoid: bool = False,
    pad: str = "zero",
    upsample_mode: str = "nearest",
    align_corners: bool = False,
    need_bias: bool = True,
    act_fun: str | Callable[[], nn.Module] = "LeakyReLU",
) -> nn.Sequential:
    """Builds the network that joins one branch per ratio, coarsest first.

    Branch: average pooling of z by its ratio -> [fresh noise] -> (conv 3, BN, act) x 2 -> conv 1, BN, act. From the
    second branch on: BN of the stack so far and BN of the branch, concatenated in that order, then (conv 3, BN, act)
    x 2 and conv 1, BN, act on all channels. Nearest or bilinear x2 after each, and at the end a 1x1 convolution to
    the picture.

    Decisions: the official code crashes on Python 3 (its padding is a float), here the padding is (k - 1) / 2 as an
    integer; `fill_noise` replaces the pooled z by N(0, 1) of the same shape at each call. The description does not give
    the defaults of `pad` and `upsample_mode`: 'zero' and 'nearest' are ours.

    Returns:
        A network from (1, D, H, W) to (1, C, H, W), H and W multiples of the largest ratio.
    """
    triple = {"pad": pad, "bias": need_bias, "act_fun": act_fun}
    network = None
    for index, ratio in enumerate(ratios):
        branch = nn.Sequential(
            nn.AvgPool2d(ratio, ratio),
            *([_FreshNoise()] if fill_noise else []),
            *_three_convs(in_channels, num_channels, **triple),
        )
        if network is None:
            network = branch
        else:
            before, joined = num_channels * index, num_channels * (index + 1)
            branch.append(nn.BatchNorm2d(num_channels))
            network.append(nn.BatchNorm2d(before))
            network = nn.Sequential(Concat(network, branch), *_three_convs(joined, joined, **triple))
        if index < len(ratios) - 1:
            network.append(upsample(upsample_mode, align_corners=align_corners))
    network.append(conv(num_channels * len(ratios), out_channels, 1, bias=need_bias, pad=pad))
    return network.append(nn.Sigmoid()) if need_sigmoid else network


class _FreshNoise(nn.Module):
    """Replaces its input by N(0, 1) of the same shape, drawn anew at each call."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x)


def _three_convs(in_channels: int, out_channels: int, *, pad: str, bias: bool, act_fun: str | Callable[[], nn.Module]) -> list[nn.Module]:
    """Builds convolution, BN and activation with kernels 3, 3 and 1."""
    layers: list[nn.Module] = []
    for channels, kernel_size in ((in_channels, 3), (out_channels, 3), (out_channels, 1)):
        layers.append(conv(channels, out_channels, kernel_size, bias=bias, pad=pad))
        layers.extend([nn.BatchNorm2d(out_channels), activation(act_fun)])
    return layers
