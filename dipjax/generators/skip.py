"""The hourglass with skip connections: the official default generator (models/skip.py)."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jax import Array

from dipjax.generators import blocks


class Skip(nn.Module):
    """An encoder that halves the image at every level, a decoder that doubles it, and thin skips between them.

    Level i maps its input x, of size S, to `up[i]` channels of the same size:

        deep = two convolutions to down[i] channels, the first one halving
        deep = level i + 1 (deep), then doubled
        x = norm(concat(1x1 convolution of x to skip[i] channels, deep))      no skip where skip[i] is 0
        x = convolution to up[i] channels, then a 1x1 convolution

    Every convolution is followed by normalisation and activation; a last 1x1 convolution and `output` make the image. Any image
    size from 1 x 1 up works: where a side is odd, what was doubled is cropped to it. Tuples have one entry per level, from the
    full resolution down; a single value counts for all levels. The defaults are the official ones: 2,217,831 parameters for 32
    input and 3 output channels.

    Reference: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, supplementary material, figure 21.

    Attributes:
      channels: of the image.
      down: of the encoder, channels of every level.
      up: of the decoder, as many.
      skip: of what is handed over, as many; 0 for nothing.
      kernel_down: odd sizes of the encoder's kernels.
      kernel_up: odd sizes of the decoder's.
      kernel_skip: the odd size of the skips'.
      upsample: doubles `(H, W, C)`: `blocks.bilinear`, `blocks.nearest`, `blocks.bilinear_aligned`.
      pool: halves `(H, W, C)`: `blocks.average_pool` and others; None halves by the stride.
      padding: "reflect" or "zero".
      activation: of any shape.
      use_1x1: whether there is a 1x1 convolution after every `up`.
      output: the last function, `nn.sigmoid` or `blocks.identity`.
      use_bias: whether the convolutions have one.
      scale_init: of the normalisations' scales, `nn.initializers.ones` or `blocks.uniform_scale`.
      remat: whether of a layer only what goes in is kept, and the rest computed anew for the gradient: for memory, at the cost of time. It
        has no effect on a CPU, whose compiler (JAX 0.10.2) drops the barriers between the two computations and merges them again.

    Raises:
      ValueError: z is no image, the levels are not as many of each, or a kernel is even; on the first call.
    """

    channels: int = 3
    down: tuple[int, ...] = (128,) * 5
    up: tuple[int, ...] = (128,) * 5
    skip: tuple[int, ...] = (4,) * 5
    kernel_down: int | tuple[int, ...] = 3
    kernel_up: int | tuple[int, ...] = 3
    kernel_skip: int = 1
    upsample: Callable | tuple[Callable, ...] = blocks.bilinear
    pool: Callable | tuple[Callable | None, ...] | None = None
    padding: str = "reflect"
    activation: Callable = blocks.leaky_relu
    use_1x1: bool = True
    output: Callable = nn.sigmoid
    use_bias: bool = True
    scale_init: Callable = nn.initializers.ones
    remat: bool = False

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Maps z `(H, W, D)` to an image `(H, W, channels)`."""
        blocks.check_axes("Skip", z)
        if not len(self.down) == len(self.up) == len(self.skip) > 0:
            raise ValueError(
                f"Skip: found {len(self.down)} down, {len(self.up)} up and {len(self.skip)} skip channels,"
                " expected the same number of each, one per level."
            )
        for name in ("kernel_down", "kernel_up", "upsample", "pool"):
            option = getattr(self, name)
            if isinstance(option, tuple) and len(option) != len(self.down):
                raise ValueError(f"Skip: found {len(option)} entries of {name}, expected {len(self.down)}, one per level.")
        sizes = {at_level(kernel, i) for kernel in (self.kernel_down, self.kernel_up, self.kernel_skip) for i in range(len(self.down))}
        if any(size % 2 == 0 for size in sizes):
            raise ValueError(f"Skip: found kernel sizes {sorted(sizes)}, expected odd ones.")
        image = self._level(0, z)
        return self.output(blocks.Conv(self.channels, 1, 1, self.padding, self.use_bias, name="head")(image))

    def _level(self, i: int, x: Array) -> Array:
        kernel_down, kernel_up = at_level(self.kernel_down, i), at_level(self.kernel_up, i)
        pool, stride = at_level(self.pool, i), 1 if at_level(self.pool, i) else 2
        deep = self._conv(f"down{i}a", self.down[i], kernel_down, stride=stride, pool=pool)(x)
        deep = self._conv(f"down{i}b", self.down[i], kernel_down)(deep)
        if i + 1 < len(self.down):
            deep = self._level(i + 1, deep)
        skip = self._conv(f"skip{i}", self.skip[i], self.kernel_skip)(x) if self.skip[i] else x[..., :0]
        up = self._layer(blocks.UpConvNorm)(
            self.up[i],
            kernel_up,
            self.padding,
            self.use_bias,
            at_level(self.upsample, i),
            self.activation,
            self.scale_init,
            name=f"up{i}",
        )(skip, deep)
        return self._conv(f"mix{i}", self.up[i], 1)(up) if self.use_1x1 else up

    def _layer(self, layer):
        return nn.remat(layer) if self.remat else layer

    def _conv(self, name, channels, kernel_size, *, stride=1, pool=None):
        return self._layer(blocks.ConvNorm)(
            channels,
            kernel_size,
            stride,
            self.padding,
            self.use_bias,
            pool,
            self.activation,
            self.scale_init,
            name=name,
        )


def at_level(option: Any, level: int) -> Any:
    """Returns what a level takes of an option that is one value for all levels or a tuple with one for each."""
    return option[level] if isinstance(option, tuple) else option
