"""The official U-Net: max pooling, two convolutions per stage, normalisation in the encoder only."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.torch_reference.common import conv, crop_to, upsample


class UNet(nn.Module):
    """The U-Net of the deep image prior.

    start -> down1 .. down4 -> [more_downs] -> [more_ups] -> up4 .. up1 -> final, channels 64, 128, 256, 512, 1024 over
    `feature_scale`. Decisions where the official code crashes or surprises:

    * `more_layers >= 2` crashes there; here every extra stage keeps the channels of down4 and has its own up stage.
    * `concat_x=True` appends the average-pooled z after each encoder stage, extra ones included, as the last channels;
      the stage itself then makes that many channels fewer. A pyramid: each size is pooled from the one before.
    * `pad='replication'` and `'none'` silently mean zeros there; here every value but 'reflection' means zeros.

    Args:
        in_channels, out_channels: channels D of z and C of the picture.
        feature_scale: divisor of the channels; 8 in the library experiment, 4 through get_net.
        more_layers: extra stages below down4; 1 in the library experiment.
        concat_x: whether the encoder sees the input again at every scale.
        upsample_mode: 'deconv', 'nearest' or 'bilinear'.
        align_corners: the corner rule of bilinear upsampling.
        pad: 'reflection'; every other value means zeros.
        norm: makes a normalisation from a number of channels, or None; `nn.BatchNorm2d` through get_net.
        need_sigmoid, need_bias: whether there is a final sigmoid, and a bias in convolutions.

    State-dict names are the official ones: 'start.conv1.0.0.weight', 'down1.conv.conv2.1.bias', 'up4.up.weight', 'final.0.0.weight'.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        feature_scale: int = 4,
        more_layers: int = 0,
        concat_x: bool = False,
        upsample_mode: str = "deconv",
        align_corners: bool = False,
        pad: str = "zero",
        norm: Callable[[int], nn.Module] | None = nn.InstanceNorm2d,
        need_sigmoid: bool = True,
        need_bias: bool = True,
    ) -> None:
        super().__init__()
        # Doubling, where the official code divides each by the scale: the same for the powers of two that work there.
        filters = [64 // feature_scale * 2**stage for stage in range(5)]
        repeated = in_channels if concat_x else 0
        if filters[0] <= repeated:
            raise ValueError(f"in_channels is {in_channels}; with concat_x, expected fewer than {filters[0]}.")

        def down(stage_in: int, stage_out: int) -> _Down:
            return _Down(_TwoConvs(stage_in, stage_out - repeated, norm=norm, bias=need_bias, pad=pad))

        def up(stage_out: int, *, same_channels: bool = False) -> _Up:
            mode = (upsample_mode, align_corners)
            return _Up(stage_out, *mode, same_channels=same_channels, bias=need_bias, pad=pad)

        self.concat_x = concat_x
        self.start = _TwoConvs(in_channels, filters[0] - repeated, norm=norm, bias=need_bias, pad=pad)
        self.down1, self.down2, self.down3, self.down4 = map(down, filters[:-1], filters[1:])
        self.more_downs = nn.ModuleList(down(filters[4], filters[4]) for _ in range(more_layers))
        self.more_ups = nn.ModuleList(up(filters[4], same_channels=True) for _ in range(more_layers))
        self.up4, self.up3, self.up2, self.up1 = map(up, reversed(filters[:-1]))
        final = conv(filters[0], out_channels, 1, bias=need_bias, pad=pad)
        self.final = nn.Sequential(final, nn.Sigmoid()) if need_sigmoid else final

    def forward(self, x: Tensor) -> Tensor:
        features, stages = [], (self.start, self.down1, self.down2, self.down3, self.down4, *self.more_downs)
        for index, stage in enumerate(stages):
            out = stage(features[-1] if features else x)
            if self.concat_x:
                x = nn.functional.avg_pool2d(x, 2, 2) if index else x
                out = torch.cat([out, x], dim=1)
            features.append(out)
        out = features.pop()
        for up in (*reversed(self.more_ups), self.up4, self.up3, self.up2, self.up1):
            out = up(out, features.pop())
        return self.final(out)


class _Down(nn.Module):
    """Halves by the maximum, then convolves twice."""

    def __init__(self, convs: "_TwoConvs") -> None:
        super().__init__()
        self.conv = convs
        self.down = nn.MaxPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.down(x))


class _Up(nn.Module):
    """Upsamples the deep features, appends the centre crop of the encoder's, mixes both without normalisation."""

    def __init__(self, channels: int, mode: str, align_corners: bool, *, same_channels: bool, bias: bool, pad: str) -> None:
        super().__init__()
        deep = channels if same_channels else 2 * channels
        if mode == "deconv":
            self.up = nn.ConvTranspose2d(deep, channels, 4, stride=2, padding=1)
        else:
            widen = upsample(mode, align_corners=align_corners)
            self.up = nn.Sequential(widen, conv(deep, channels, 3, bias=bias, pad=pad))
        self.conv = _TwoConvs(2 * channels, channels, norm=None, bias=bias, pad=pad)

    def forward(self, deep: Tensor, encoded: Tensor) -> Tensor:
        deep = self.up(deep)
        return self.conv(torch.cat([deep, crop_to(encoded, *deep.shape[2:])], dim=1))


class _TwoConvs(nn.Module):
    """Applies twice: 3x3 convolution -> [normalisation] -> ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Callable[[int], nn.Module] | None, bias: bool, pad: str) -> None:
        super().__init__()

        def layer(channels: int) -> nn.Sequential:
            convolution = conv(channels, out_channels, 3, bias=bias, pad=pad)
            return nn.Sequential(convolution, *([norm(out_channels)] if norm else []), nn.ReLU())

        self.conv1, self.conv2 = layer(in_channels), layer(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))
