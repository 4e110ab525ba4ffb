"""The default generator of the deep image prior: an hourglass with thin skip connections.

    level i:  deeper = [conv stride 2, BN, act, conv, BN, act, level i+1, upsample]
              skip   = [conv, BN, act], where the level has skip channels
              Concat(skip, deeper) -> BN -> conv -> BN -> act -> [conv 1x1 -> BN -> act]
    network:  level 0 -> conv 1x1 -> [sigmoid]

State-dict names are the official ones, because children are called `str(len + 1)`: '1.1.1.1.weight' is the first
stride-2 convolution of level 0 with reflection padding ('1.1.1.0.weight' with zero padding, '1.1.1.weight' without
skip channels).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from benchmarks.torch_reference.common import Concat, activation, append, conv, upsample


class _Level(NamedTuple):
    channels_down: int
    channels_up: int
    channels_skip: int
    filter_size_down: int
    filter_size_up: int
    upsample_mode: str
    downsample_mode: str


class _Shared(NamedTuple):
    filter_size_skip: int
    bias: bool
    pad: str
    act_fun: str | Callable[[], nn.Module]
    need1x1_up: bool
    align_corners: bool

    def conv_bn_act(self, in_channels: int, out_channels: int, kernel_size: int, **options: Any) -> list[nn.Module]:
        return [
            conv(in_channels, out_channels, kernel_size, bias=self.bias, pad=self.pad, **options),
            nn.BatchNorm2d(out_channels),
            activation(self.act_fun),
        ]


def skip(
    in_channels: int = 32,
    out_channels: int = 3,
    *,
    channels_down: Sequence[int] = (128, 128, 128, 128, 128),
    channels_up: Sequence[int] = (128, 128, 128, 128, 128),
    channels_skip: Sequence[int] = (4, 4, 4, 4, 4),
    filter_size_down: int | Sequence[int] = 3,
    filter_size_up: int | Sequence[int] = 3,
    filter_skip_size: int = 1,
    upsample_mode: str | Sequence[str] = "bilinear",
    align_corners: bool = False,
    downsample_mode: str | Sequence[str] = "stride",
    pad: str = "reflection",
    need1x1_up: bool = True,
    need_sigmoid: bool = True,
    need_bias: bool = True,
    act_fun: str | Callable[[], nn.Module] = "LeakyReLU",
) -> nn.Sequential:
    """Builds the skip network; the defaults are the "default skip" of the notebooks.

    Sequences hold one value per level, level 0 (full resolution) first; their number of levels is that of
    `channels_down`. A level whose `channels_skip` is 0 has no skip branch.

    Args:
        in_channels: channels of the input z.
        out_channels: channels of the picture.
        channels_down, channels_up, channels_skip: channels of the three kinds of convolution.
        filter_size_down, filter_size_up: kernel widths, one for all levels or one per level.
        filter_skip_size: kernel width of all skip convolutions.
        upsample_mode: 'nearest' or 'bilinear', one for all levels or one per level.
        align_corners: the corner rule of bilinear upsampling; True is PyTorch before 0.4.
        downsample_mode: 'stride', 'avg', 'max', 'lanczos2' or 'lanczos3', one for all levels or one per level. The two
            Lanczos filters are trained with the rest, as in the official code.
        pad: 'reflection'; every other value means zeros.
        need1x1_up: whether each level ends with a 1x1 convolution.
        need_sigmoid: whether the output passes a sigmoid.
        need_bias: whether convolutions have a bias.
        act_fun: 'LeakyReLU' (slope 0.2), 'Swish', 'ELU', 'none' or a module class.

    Returns:
        A network from (1, D, H, W) to (1, C, H, W). With stride downsampling and skips on every level the size is kept
        for any H, W that the reflection padding admits; without, H and W must be multiples of 2^levels.
    """
    num_levels = len(channels_down)
    columns = {
        "channels_up": channels_up,
        "channels_skip": channels_skip,
        "filter_size_down": filter_size_down,
        "filter_size_up": filter_size_up,
        "upsample_mode": upsample_mode,
        "downsample_mode": downsample_mode,
    }
    columns = [_per_level(name, value, num_levels) for name, value in columns.items()]
    levels = [_Level(*row) for row in zip(channels_down, *columns, strict=True)]
    shared = _Shared(filter_skip_size, need_bias, pad, act_fun, need1x1_up, align_corners)
    network = _level(levels, shared, in_channels)
    append(network, conv(levels[0].channels_up, out_channels, 1, bias=need_bias, pad=pad))
    return append(network, nn.Sigmoid()) if need_sigmoid else network


def _level(levels: Sequence[_Level], shared: _Shared, in_channels: int) -> nn.Sequential:
    """Builds the first of the levels with all deeper ones inside it."""
    level, *rest = levels
    down, num_skip = level.channels_down, level.channels_skip
    width, mode = level.filter_size_down, level.downsample_mode
    deeper = append(
        nn.Sequential(),
        *shared.conv_bn_act(in_channels, down, width, stride=2, downsample_mode=mode),
        *shared.conv_bn_act(down, down, width),
    )
    if rest:
        append(deeper, _level(rest, shared, down))
    append(deeper, upsample(level.upsample_mode, align_corners=shared.align_corners))

    branch = deeper
    if num_skip:
        thin = append(nn.Sequential(), *shared.conv_bn_act(in_channels, num_skip, shared.filter_size_skip))
        branch = Concat(thin, deeper)
    joined = num_skip + (rest[0].channels_up if rest else down)
    network = append(
        nn.Sequential(),
        branch,
        nn.BatchNorm2d(joined),
        *shared.conv_bn_act(joined, level.channels_up, level.filter_size_up),
    )
    if shared.need1x1_up:
        append(network, *shared.conv_bn_act(level.channels_up, level.channels_up, 1))
    return network


def _per_level(name: str, value: Any, num_levels: int) -> tuple:
    """Repeats a scalar for every level, and checks the length of a sequence."""
    values = (value,) * num_levels if isinstance(value, (int, str)) else tuple(value)
    if len(values) != num_levels:
        raise ValueError(f"{name} has {len(values)} values; expected {num_levels}, as many as channels_down.")
    return values
