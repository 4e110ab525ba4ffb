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
) -> nn.Sequential:
    """Builds conv -> act -> residual blocks -> conv -> norm -> conv -> [sigmoid], all kernels 3x3.

    Only the first and the last convolution take `pad`; those between pad with zeros. Blocks have no bias and no
    activation after their sum. Decisions where the official code surprises: `need_sigmoid=False` is ignored there and
    honoured here; get_net passes a batch norm as the activation and crashes, here the activation is LeakyReLU(0.2)
    unless given.

    Returns:
        A network from (1, D, H, W) to (1, C, H, W) for any H and W.
    """
    blocks = (_Block(num_channels, need_residual=need_residual, act_fun=act_fun, norm=norm) for _ in range(num_blocks))
    return nn.Sequential(
        OrderedDict(
            first=conv(in_channels, num_channels, 3, pad=pad),
            act=activation(act_fun),
            blocks=nn.Sequential(*blocks),
            merge=nn.Conv2d(num_channels, num_channels, 3, padding=1),
            norm=norm(num_channels),
            last=conv(num_channels, out_channels, 3, pad=pad),
            output=nn.Sigmoid() if need_sigmoid else nn.Identity(),
        )
    )


class _Block(nn.Module):
    """Adds to its input conv -> norm -> act -> conv -> norm; without `need_residual` only returns the latter."""

    def __init__(
        self,
        channels: int,
        *,
        need_residual: bool,
        act_fun: str | Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.need_residual = need_residual
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm(channels),
            activation(act_fun),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.need_residual else self.body(x)
