"""How independent runs are laid out on the machine: the only thing that differs between a laptop and a pod.

A layout has the signature of `jax.vmap`, `(function, in_axes) -> batched function`, so `jax.vmap` itself is one. To add one, add a
function.
"""

from collections.abc import Callable

import jax
from jax import lax


def one_by_one(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """Returns `function` mapped over the first axis of the arguments marked 0, one run after the other in one program.

    Memory is that of one run. On CPU this is the fast layout: `vmap` would turn every convolution into a grouped one, several times
    slower per run.
    """

    def batched(*arguments):
        mapped = [argument for argument, axis in zip(arguments, in_axes, strict=True) if axis == 0]

        def one(slices):
            slices = iter(slices)
            return function(*(next(slices) if axis == 0 else argument for argument, axis in zip(arguments, in_axes, strict=True)))

        return lax.map(one, mapped)

    return batched


# 8 runs of 256 x 256 pixels: where `vmap` was measured on a GPU, three times faster per run and with sixteen times the memory.
_MOST_PIXELS_AT_ONCE = 8 * 256**2


def default(num_pixels: int = 0) -> Callable:
    """Returns the layout that measured fastest for the current backend and `num_pixels` of all runs together.

    On CPU that is `one_by_one`. On GPU and TPU it is `jax.vmap` for up to 8 runs of 256 x 256 pixels, because small runs leave the
    device idle (benchmarks/results/gpu_layouts.md), and `one_by_one` beyond, which needs the memory of a single run.
    """
    return one_by_one if jax.default_backend() == "cpu" or num_pixels > _MOST_PIXELS_AT_ONCE else jax.vmap
