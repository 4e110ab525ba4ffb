"""The Deep Decoder (Heckel and Hand, 2019): 1x1 convolutions and bilinear upsampling only."""

from torch import nn

from benchmarks.torch_reference.common import upsample


def deep_decoder(
    out_channels: int = 3,
    *,
    num_channels: int = 128,
    num_doublings: int = 5,
    need_sigmoid: bool = True,
    align_corners: bool = False,
) -> nn.Sequential:
    """Builds 5 x [conv 1 -> bilinear x2 -> ReLU -> BN] -> conv 1 -> ReLU -> BN -> conv 1 -> [sigmoid], without biases.

    Its input is `make_input(num_channels, (H / 32, W / 32), 'noise')`, so H and W are multiples of 2^num_doublings.
    The published denoising setting is 128 channels, Adam 0.01, 1900 steps. That the last convolution has no bias
    either, and that corners are not aligned, are our reading; the description is silent.

    Returns:
        A network from (1, num_channels, h, w) to (1, C, 2^num_doublings h, 2^num_doublings w).
    """

    def mix(channels: int) -> nn.Conv2d:
        return nn.Conv2d(num_channels, channels, 1, bias=False)

    def act_bn() -> list[nn.Module]:
        return [nn.ReLU(), nn.BatchNorm2d(num_channels)]

    layers: list[nn.Module] = []
    for _ in range(num_doublings):
        layers.extend([mix(num_channels), upsample("bilinear", align_corners=align_corners), *act_bn()])
    layers.extend([mix(num_channels), *act_bn(), mix(out_channels)])
    return nn.Sequential(*layers, *([nn.Sigmoid()] if need_sigmoid else []))
