"""ConvDecoder and the deep image prior of deepinv, rebuilt from their documentation.

deepinv needs torchvision, which has no CPU build beside the torch used here; its documented network and loop are few
lines.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.torch_reference.train import train


def conv_decoder(
    img_size: tuple[int, int, int],
    *,
    in_size: tuple[int, int] = (4, 4),
    num_layers: int = 7,
    num_channels: int = 256,
    need_bias: bool = True,
) -> nn.Sequential:
    """Builds (L - 1) x [nearest resize -> conv 3 -> ReLU -> BN] -> conv 3 -> ReLU -> BN -> conv 1, without a sigmoid.

    Layer n = 1 .. L - 1 has size ceil((out / in)^(n / (L - 1)) in), per axis. The description does not say how the
    convolutions pad (zeros here) nor whether they have a bias (they do here).

    Args:
        img_size: the shape (C, H, W) of the picture.
        in_size: the height and width of z, whose shape is (1, num_channels, *in_size).
        num_layers: L; 7 in deepinv.
        num_channels: channels of every layer; 256 in deepinv.
        need_bias: whether convolutions have a bias.
    """
    out_channels, *out_size = img_size

    def block() -> list[nn.Module]:
        widen = nn.Conv2d(num_channels, num_channels, 3, padding=1, bias=need_bias)
        return [widen, nn.ReLU(), nn.BatchNorm2d(num_channels)]

    layers: list[nn.Module] = []
    for layer in range(1, num_layers):
        size = tuple(_layer_size(*axis, layer / (num_layers - 1)) for axis in zip(in_size, out_size, strict=True))
        layers.extend([nn.Upsample(size=size, mode="nearest"), *block()])
    return nn.Sequential(*layers, *block(), nn.Conv2d(num_channels, out_channels, 1, bias=need_bias))


def deepinv_reconstruct(
    net: nn.Module,
    latent_shape: tuple[int, int, int],
    operator: Callable[[Tensor], Tensor],
    measurement: Tensor,
    *,
    num_iter: int = 2500,
    lr: float = 0.01,
) -> tuple[Tensor, list[float]]:
    """Fits the network to a measurement as deepinv does: z ~ N(0, 1), Adam, mean squared error, no jitter, no average.

    Args:
        net: the generator, in practice `conv_decoder(...)`.
        latent_shape: the shape of z without its batch axis, (num_channels, *in_size).
        operator: the forward model on (1, C, H, W).
        measurement: what the operator should give.
        num_iter, lr: steps and learning rate.

    Returns:
        The picture (1, C, H, W) after the last step, and the loss before each update.
    """
    z = torch.randn(1, *latent_shape, device=measurement.device)
    output, _, losses = train(net, z, operator, measurement, num_iter=num_iter, lr=lr, reg_noise_std=0.0)
    return output, losses


def _layer_size(in_size: int, out_size: int, progress: float) -> int:
    """Interpolates the size geometrically; the last layer is exact, whatever the rounding of the power."""
    return out_size if progress == 1 else math.ceil((out_size / in_size) ** progress * in_size)
