"""The official residual network at constant resolution."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.torch_reference.common import activation, conv


def resnet(
    in_channels: int,
    out_channels: int,
    num_blocks: int,
    num_channels: int,
    *,
    need_residual: bool = True,
    act_fun: str | Callable[[], nn.Module] = "LeakyReLU",
    need_sigmoid: bool = True,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    pad: str = "reflection",
) -> nn.Module:
    """Builds conv -> act -> residual blocks -> conv -> norm -> conv -> [sigmoid], all kernels 3x3.

    Only the first and the last convolution take `pad`; those between pad with zeros. Blocks have no bias and no
    activation after their sum. Decisions where the official code surprises: `need_sigmoid=False` is ignored there and
    honoured here; get_net passes a batch norm as the activation and crashes, here the activation is LeakyReLU(0.2)
    unless given.

    State-dict names are the official ones: 'model.0.1.weight', 'model.2.0.weight', 'model.2.1.bias'.

    Returns:
        A network from (1, D, H, W) to (1, C, H, W) for any H and W.
    """
    layers = [conv(in_channels, num_channels, 3, pad=pad), activation(act_fun)]
    layers += [_block(num_channels, need_residual=need_residual, act_fun=act_fun, norm=norm) for _ in range(num_blocks)]
    layers += [nn.Conv2d(num_channels, num_channels, 3, padding=1), norm(num_channels)]
    layers += [conv(num_channels, out_channels, 3, pad=pad), *([nn.Sigmoid()] if need_sigmoid else [])]
    return nn.Sequential(OrderedDict(model=nn.Sequential(*layers)))


class _Residual(nn.Sequential):
    """Adds the chain's result to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _block(
    channels: int, *, need_residual: bool, act_fun: str | Callable[[], nn.Module], norm: Callable[[int], nn.Module]
) -> nn.Sequential:
    """Builds conv -> norm -> act -> conv -> norm, added to its input or not."""
    return (_Residual if need_residual else nn.Sequential)(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        norm(channels),
        activation(act_fun),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        norm(channels),
    )
