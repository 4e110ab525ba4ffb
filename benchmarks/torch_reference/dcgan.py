"""The official DCGAN-like decoder, which no notebook uses."""

from torch import nn

from benchmarks.torch_reference.common import upsample


def dcgan(
    in_channels: int = 2,
    out_channels: int = 3,
    *,
    num_filters: int = 32,
    num_ups: int = 4,
    need_sigmoid: bool = True,
    need_convT: bool = True,
    align_corners: bool = False,
    negative_slope: float = 0.2,
) -> nn.Sequential:
    """Builds ConvT 3 -> BN -> act -> (num_ups - 3) x [double -> BN -> act] -> double -> [sigmoid], without any bias.

    "Double" is ConvT 4 with stride 2, or bilinear upsampling and conv 3 with `need_convT=False`. Decisions: the
    official activation is `LeakyReLU(True)`, that is slope 1, which makes the network linear; it was meant as
    LeakyReLU(0.2, inplace=True), the default here, and `negative_slope=1.0` gives the official behaviour. The number
    of doublings is num_ups - 2, as there, whatever the name promises.

    Returns:
        A network from (1, D, h, w) to (1, C, (h + 2) 2^(num_ups - 2), (w + 2) 2^(num_ups - 2)).
    """

    def double(channels: int) -> list[nn.Module]:
        if need_convT:
            return [nn.ConvTranspose2d(num_filters, channels, 4, stride=2, padding=1, bias=False)]
        widen = upsample("bilinear", align_corners=align_corners)
        return [widen, nn.Conv2d(num_filters, channels, 3, padding=1, bias=False)]

    def bn_act() -> list[nn.Module]:
        return [nn.BatchNorm2d(num_filters), nn.LeakyReLU(negative_slope)]

    layers = [nn.ConvTranspose2d(in_channels, num_filters, 3, bias=False), *bn_act()]
    for _ in range(num_ups - 3):
        layers.extend([*double(num_filters), *bn_act()])
    layers.extend(double(out_channels))
    return nn.Sequential(*layers, *([nn.Sigmoid()] if need_sigmoid else []))
