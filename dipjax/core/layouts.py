"""How independent runs are laid out on the machine: the only thing that differs between a laptop and a pod.

The host takes the runs in groups. One compiled program serves all groups, whatever their number, so that neither more seeds nor runs
that have ended make anything compile. A `Layout` says how large a group is; `ONE_BY_ONE` and `TOGETHER` are two of them.

Examples:
  >>> dipjax.layouts.Layout(4, num_devices=1).fitted(6)
  Layout(at_once=3, num_devices=1)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Layout:
    """A group has `at_once` runs for each of `num_devices` devices; groups follow one another.

    Runs on one device share a program by `jax.vmap`. Runs on several devices share nothing: the program is spread by `jax.shard_map` and
    holds no communication. (`jit` with sharded arguments would not do: its partitioner gathers the grouped convolutions of `vmap`.)

    Attributes:
      at_once: from 1; None: all runs.
      num_devices: from 1; None: all local devices.

    Raises:
      ValueError: either is no whole number from 1.
    """

    at_once: int | None = 1
    num_devices: int | None = None

    def __post_init__(self):
        """Checks the settings."""
        for name, number in (("at_once", self.at_once), ("num_devices", self.num_devices)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1):
                raise ValueError(f"{name}: found {number!r}, expected a whole number from 1, or None.")

    def fitted(self, num_runs: int) -> "Layout":
        """Returns the layout for so many runs: none of its devices idle, its groups as equal as can be."""
        if (self.num_devices or 1) > jax.local_device_count():
            raise ValueError(f"num_devices: found {self.num_devices}, expected at most {jax.local_device_count()}, those of this process.")
        num_devices = min(self.num_devices or jax.local_device_count(), num_runs)
        share = -(-num_runs // num_devices)
        num_groups = -(-share // min(self.at_once or share, share))
        return replace(self, at_once=-(-share // num_groups), num_devices=num_devices)

    @property
    def width(self) -> int:
        """The runs of one group, once `fitted`."""
        return self.at_once * self.num_devices

    def groups(self, num_runs: int) -> list[np.ndarray]:
        """Returns the runs of each group, once `fitted`; where they do not fill the last one, the last run is there again."""
        starts = range(0, num_runs, self.width)
        return [np.arange(start, start + self.width).clip(max=num_runs - 1) for start in starts]

    def __call__(self, function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
        """Returns `function` mapped over the first axis, `width` long, of the arguments marked 0; all others are shared."""
        mapped = jax.vmap(function, in_axes) if self.at_once > 1 else _single(function, in_axes)
        if self.num_devices == 1:
            return mapped
        mesh = self._mesh()
        specs = tuple(PartitionSpec("runs") if axis == 0 else PartitionSpec() for axis in in_axes)
        # What a loop carries starts equal on all devices and then differs, which the check would refuse.
        return jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("runs"), check_vma=False)

    def placed(self, tree: Any) -> Any:
        """Returns arrays `(width, ...)` where the program leaves its own: from elsewhere, the same program would be compiled again."""
        return jax.device_put(tree, self._sharding())

    def shapes(self, tree: Any) -> Any:
        """Returns the shapes of what one group holds, where `placed` puts it, from those of one run."""
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((self.width, *leaf.shape), leaf.dtype, sharding=self._sharding()), tree)

    def _sharding(self):
        return None if self.num_devices == 1 else NamedSharding(self._mesh(), PartitionSpec("runs"))

    def _mesh(self):
        return Mesh(np.asarray(jax.local_devices()[: self.num_devices]), ("runs",))


def _single(function, in_axes):
    """Like `jax.vmap` for an axis of length one, which makes no grouped convolutions: on a CPU those are several times slower."""

    def mapped(*arguments):
        pairs = zip(arguments, in_axes, strict=True)
        arguments = [jax.tree.map(lambda leaf: leaf[0], argument) if axis == 0 else argument for argument, axis in pairs]
        return jax.tree.map(lambda leaf: leaf[None], function(*arguments))

    return mapped


ONE_BY_ONE = Layout(1)  # on every device; memory is that of one run
TOGETHER = Layout(None)

# 8 runs of 256 x 256 pixels: where `vmap` was measured on a GPU, three times faster per run and with sixteen times the memory.
_MOST_PIXELS_AT_ONCE = 8 * 256**2


def default(num_pixels: int = 0) -> Layout:
    """Returns the layout that measured fastest for the current backend and `num_pixels` of all runs together.

    On a CPU, `ONE_BY_ONE`. On a GPU and a TPU, `TOGETHER` for up to 8 runs of 256 x 256 pixels, because small runs leave the device idle
    (benchmarks/results/gpu_layouts.md), and `ONE_BY_ONE` beyond, which needs the memory of a single run.
    """
    few = num_pixels <= _MOST_PIXELS_AT_ONCE  # of all devices: how many of them a few runs keep busy is not known here
    return TOGETHER if few and jax.default_backend() != "cpu" else ONE_BY_ONE


def filling(layout: Layout | None, num_runs: int, sides: tuple[int, ...]) -> int:
    """Returns how many images of these `sides (H, W)`, with `num_runs` each, fill the machine in a `layout`: one on a CPU."""
    if jax.default_backend() == "cpu":
        return 1
    num_devices = (layout and layout.num_devices) or jax.local_device_count()
    at_once = (layout and layout.at_once) or _MOST_PIXELS_AT_ONCE // math.prod(sides) // num_devices
    return max(1, max(1, at_once) * num_devices // num_runs)


def chosen(layout: Layout | None, num_runs: int, sides: tuple[int, ...]) -> Layout:
    """Returns the layout of `num_runs` of images of these `sides (H, W)`: the caller's or the `default`, fitted to their number."""
    return (layout or default(num_runs * math.prod(sides))).fitted(num_runs)
