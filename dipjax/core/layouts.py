"""How independent runs are laid out on the machine: the only thing that differs between a laptop and a pod.

A layout has the signature of `jax.vmap`, `(function, in_axes) -> batched function`, so `jax.vmap` itself is one. To add one, add a
function, hashable and equal to itself when made twice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec


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


@dataclass(frozen=True)
class OverDevices:
    """A layout that spreads the runs over all local devices, and on each of them lays its share out by another layout.

    Runs are independent, so the compiled program holds no communication. `jit` with sharded arguments would not do: its partitioner
    gathers the grouped convolutions of `vmap`.
    """

    layout: Callable = one_by_one

    @property
    def __name__(self) -> str:
        """What a record of a run calls this layout."""
        return f"over_devices({self.layout.__name__})"

    def __call__(self, function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
        """Returns `function` mapped over the first axis of the arguments marked 0; that axis must divide among the devices used."""

        def batched(*arguments):
            marked = [argument for argument, axis in zip(arguments, in_axes, strict=True) if axis == 0]
            num_runs = jax.tree.leaves(marked)[0].shape[0]
            devices = jax.local_devices()
            num_devices = max(n for n in range(1, len(devices) + 1) if num_runs % n == 0)
            mesh = Mesh(np.asarray(devices[:num_devices]), ("runs",))
            specs = tuple(PartitionSpec("runs") if axis == 0 else PartitionSpec() for axis in in_axes)
            # What a loop carries starts equal on all devices and then differs, which the check would refuse.
            spread = jax.shard_map(
                self.layout(function, in_axes), mesh=mesh, in_specs=specs, out_specs=PartitionSpec("runs"), check_vma=False
            )
            return spread(*arguments)

        return batched

    def num_filled(self, num_runs: int) -> int:
        """Returns the number of runs, not below `num_runs`, that keeps all devices equally busy."""
        num_devices = min(jax.local_device_count(), num_runs)
        return -(-num_runs // num_devices) * num_devices


# 8 runs of 256 x 256 pixels: where `vmap` was measured on a GPU, three times faster per run and with sixteen times the memory.
_MOST_PIXELS_AT_ONCE = 8 * 256**2


def default(num_pixels: int = 0) -> Callable:
    """Returns the layout that measured fastest for the current backend and `num_pixels` of all runs together.

    Where there are several local devices, the runs are spread over them. On each, on CPU, it is `one_by_one`. On GPU and TPU it is
    `jax.vmap` for up to 8 runs of 256 x 256 pixels, because small runs leave the device idle (benchmarks/results/gpu_layouts.md), and
    `one_by_one` beyond, which needs the memory of a single run.
    """
    few = num_pixels <= _MOST_PIXELS_AT_ONCE  # of all devices: how many of them a few runs keep busy is not known here
    return spread(jax.vmap if few and jax.default_backend() != "cpu" else one_by_one)


def spread(layout: Callable) -> Callable:
    """Returns `layout`, over all local devices where there are several."""
    return OverDevices(layout) if jax.local_device_count() > 1 else layout
