"""Large pictures: tiles that overlap, every one restored by runs of its own, and blended.

All tiles have one shape, so that one compiled program serves them all, one tile after the other: memory is that of one tile, and time
grows with the number of pixels. What a tile knows of the picture is what the operator's `cut` gives it, see `operators`. A
picture that one tile covers is restored as if there were no tiles, bit for bit.

Examples:
  >>> data = dipjax.problem.denoising(np.full((8, 28, 1), 0.5, np.float32))
  >>> recipe = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).recipe
  >>> grid, reason = dipjax.tiling.plan(recipe, data, 2, tile=16, overlap=4)
  >>> print(grid)
  2 x 1 tiles of 16 x 8 pixels, which overlap by at least 4
  >>> [dipjax.tiling.cut(data, *part).shape for part in grid.parts], float(sum(next(grid.windows())[0, :12]).item())
  ([(8, 16, 1), (8, 16, 1)], 12.0)
  >>> *_, result = dipjax.tiling.iterate(recipe, dipjax.seeds(0, 2), data, grid, num_steps=2)
  >>> result.images.shape, result.num_steps
  ((2, 8, 28, 1), 4)
  >>> dipjax.tiling.cover((100, 200), 64, 16, reach=2).lefts
  (0, 45, 91, 136)
  >>> dipjax.tiling.put_back(data, result.images, grid=grid).shape
  (2, 8, 28, 1)
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from dipjax import kriging, uncertainty
from dipjax.core import drive
from dipjax.core.layouts import Layout
from dipjax.core.problem import Problem
from dipjax.core.recipe import Recipe
from dipjax.core.state import Result
from dipjax.large import memory

_SIDES = (1024, 768, 512, 384, 256, 192, 128)  # of tiles that are chosen automatically: the settings were found at 128 to 512
_SHARE = 0.8  # of the memory there is, which a restoration may need before tiles are chosen for it
_PICTURES = 4  # of every seed, that are held at the size of the whole: what is being made, and copies to show and to write
_PIXELS_PER_SECOND = 2**24  # of all seeds; to show the whole picture more often would slow the work down


@dataclass(frozen=True)
class Grid:
    """Where the tiles lie in an image: one for every pair of a top and a left edge.

    Attributes:
      shape: `(H, W)` of the image.
      tile: `(h, w)` of every tile.
      tops: the first row of each.
      lefts: the first column of each.
      overlap: pixels that neighbours share, at least.
      reach: pixels at a tile's inner edges of which nothing is taken.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    overlap: int
    reach: int

    @property
    def parts(self) -> list[tuple[slice, slice]]:
        """The rows and columns of every tile."""
        height, width = self.tile
        return [(slice(top, top + height), slice(left, left + width)) for top in self.tops for left in self.lefts]

    def windows(self) -> Iterator[np.ndarray]:
        """Yields the weight of every tile's pixels `(h, w, 1)`; over any pixel of the image they sum to one."""
        axes = zip(self.shape, self.tile, (self.tops, self.lefts), strict=True)
        down, across = (_weights(*axis, self.overlap, self.reach) for axis in axes)
        return (np.multiply.outer(rows, columns)[..., None] for rows in down for columns in across)

    def __str__(self) -> str:
        """Says it for people."""
        (height, width), rows, columns = self.tile, len(self.tops), len(self.lefts)
        return f"{columns} x {rows} tiles of {width} x {height} pixels, which overlap by at least {self.overlap}"


class Plan(NamedTuple):
    """How a problem will be restored.

    Attributes:
      grid: None without tiles.
      reason: why the tiles were chosen, empty where the caller chose.
    """

    grid: Grid | None
    reason: str


def plan(
    recipe: Recipe,
    problem: Problem,
    num_seeds: int,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    batching: Layout | None = None,
) -> Plan:
    """Decides on tiles and refuses what cannot be done; nothing is compiled.

    Args:
      recipe: the method.
      problem: the data.
      num_seeds: the runs of each tile.
      tile: side of the tiles in pixels of the image, rounded down to what the operator can cut; 0 for none, however large the image;
        None for the largest that fits the memory, and none where the whole image does.
      overlap: pixels that neighbours share; None for an eighth of the tile, and more where the operator reaches farther.
      batching: a layout, as for `restore`.

    Raises:
      ValueError: the tiles do not fit the operator, or not the memory there is.
    """
    if tile == 0:
        return Plan(None, "")
    needed = partial(memory.needed, recipe, num_seeds=num_seeds, layout=batching)
    free, height, width = memory.available(), *problem.shape[:2]
    if tile is None:
        whole = needed(problem) if free else 0
        if _fits(whole, free):
            return Plan(None, "")
        reason = f"the whole picture would need about {_gigabytes(whole)} of memory, and there are {_gigabytes(free)}"
        sides = [side for side in _SIDES if side < max(height, width)] or [_SIDES[-1]]
    else:
        reason, sides = "", [tile]
    for side in sides:
        grid = _grid(problem, side, overlap)
        if grid is None:
            return Plan(None, "")
        least = needed(_check(problem, grid)) + _PICTURES * 4 * num_seeds * math.prod(problem.shape)
        if free is None or least <= (_SHARE if tile is None else 1) * free:
            return Plan(grid, reason)
    seeds = f"{num_seeds} seed{'s' * (num_seeds > 1)}"
    raise ValueError(
        f"tile: found {sides[-1]} pixels, which with {seeds} would need about {_gigabytes(least)} of memory where there are"
        f" {_gigabytes(free)}; take smaller tiles, fewer seeds or a smaller network."
    )


def fits(recipe: Recipe, problem: Problem, num_runs: int, *, batching: Layout | None = None) -> bool:
    """Says whether so many runs of a problem surely fit the memory there is, as far as that is known.

    Args:
      recipe: the method.
      problem: the data.
      num_runs: at the same time.
      batching: a layout, as for `restore`.
    """
    free = memory.available()
    return _fits(memory.needed(recipe, problem, num_seeds=num_runs, layout=batching) if free else 0, free)


def _fits(whole, free):
    return whole <= _SHARE * (free or 0)


def cover(shape: tuple[int, int], side: int, overlap: int | None, *, reach: int, stride: int = 1) -> Grid:
    """Returns where the tiles of one size lie in an image.

    Args:
      shape: `(H, W)` of the image.
      side: of the tiles, in pixels; less where the image is.
      overlap: pixels that neighbours share, at least; None for an eighth of the tile, and more where `reach` asks for it.
      reach: pixels at a tile's inner edges of which nothing is taken.
      stride: tiles begin at multiples of it.

    Raises:
      ValueError: the tiles are too small for such a reach, or the overlap is.
    """
    height, width = _tile(shape, side, stride)
    overlap = max(side // 8, 2 * reach + 16) if overlap is None else overlap
    overlap = -(-overlap // stride) * stride
    if not 2 * reach < overlap < side:
        raise ValueError(
            f"tile: found tiles of {side} pixels that overlap by {overlap}, expected an overlap of more than {2 * reach}, twice what one"
            " measured pixel sees beyond its own, and less than the tile; take larger tiles or another overlap."
        )
    starts = (_starts(size, length, overlap, stride) for size, length in zip(shape, (height, width), strict=True))
    return Grid(tuple(shape), (height, width), *starts, overlap, reach)


def iterate(
    recipe: Recipe,
    keys: Array,
    problem: Problem,
    grid: Grid | None,
    *,
    num_steps: int,
    batching: Layout | None = None,
    budget: float | None = None,
    folder: Any = None,
) -> Iterator[Result]:
    """Yields the result so far, as `drive.iterate` does, of which it is the whole where `grid` is None.

    Until a tile has begun, its part of the images shows the measurement. Where a seed diverges in a tile, the mean of the others
    stands in for it there; where all do, they count as diverged and the work ends. The metrics `(K, T)` and the number of steps count
    those of all tiles, one tile after the other; the state is that of the latest tile.

    Args:
      recipe: the method.
      keys: `(K,)` from `seeds`; the runs of tile t take `fold_in(key, t)`.
      problem: the data, not stacked.
      grid: where the tiles lie, see `plan`.
      num_steps: those of every run, in every tile.
      batching: a layout, as for `restore`.
      budget: seconds that the caller has, of which every tile takes an equal share.
      folder: keeps what was done, and gives it back, see `checkpoint.Folder`.
    """
    if grid is None:
        yield from _runs(recipe, keys, problem, 0, folder, num_steps=num_steps, batching=batching)
        return
    problem, parts, start = jax.tree.map(np.asarray, problem), grid.parts, time.perf_counter()
    shown = _enlarged(problem.measurement, problem.shape)
    images, alive = np.repeat(shown[None], keys.size, axis=0), np.ones(keys.size, bool)
    finished, spent, left_out = [], (0, 0.0, 0.0), ()
    steps = best_steps = np.zeros(keys.size, int)  # of the finished tiles
    all_stopped = np.ones(keys.size, bool)
    known = _Known(np.zeros(problem.shape, np.float32), np.zeros((*problem.shape[:2], 1), np.float32))
    chunk_seconds = max(0.5, images.size / problem.shape[-1] / _PIXELS_PER_SECOND)
    for index, (part, window) in enumerate(zip(parts, grid.windows(), strict=True)):
        tile = jax.tree.map(jax.numpy.asarray, cut(problem, *part))
        tile_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        before, end = images[:, *part].copy(), None
        how = {"num_steps": num_steps, "batching": batching, "chunk_seconds": chunk_seconds}
        for now in _runs(recipe, tile_keys, tile, index, folder, **how):
            if end is None:
                end = _end(budget, start, len(parts) - index)  # what the compilation took is shared by all
            if now.num_steps:
                images[:, *part] = before + window * (_of_the_others(now.images, now.counted) - shown[part])
            alive[:] = now.alive.any()
            so_far = [total + own for total, own in zip(spent, (now.num_steps, now.seconds, now.compile_seconds), strict=True)]
            curves = _joined([*finished, now.metrics])
            ends = {}
            if now.stopped is not None:
                stopped = all_stopped & now.stopped & (index == len(parts) - 1)
                ends = {"stopped": stopped, "steps": steps + now.steps, "best_steps": best_steps + now.best_steps}
            make_uncertainty = partial(_known_with, known, now, tile, part, window)
            out = left_out if now.left_out is None else (*left_out, *((index, int(seed)) for seed in np.flatnonzero(now.left_out)))
            how = {"over_seeds": True, "make_state": now.make_state, "make_uncertainty": make_uncertainty, "left_out_of": out}
            yield Result(images.copy(), alive.copy(), curves, *so_far, **how, **ends)
            if now.num_steps and time.perf_counter() >= end:
                break
        spent, left_out = so_far, out
        known = known.and_of(now, tile, part, window) if index + 1 < len(parts) else known  # what was yielded last finds it by itself
        if now.stopped is not None:
            steps, best_steps, all_stopped = ends["steps"], ends["best_steps"], all_stopped & now.stopped
        finished.append(now.metrics)
        if not alive.any():
            return


def _runs(recipe, keys, problem, index, folder, **how):
    """Yields the results of one tile, with what was done before in the folder."""
    start, before = folder.begin(index, keys, problem) if folder else (keys, None)
    now = None
    try:
        for now in drive.iterate(recipe, start, problem, **how):
            if before:
                seconds, compiling = now.seconds + before.seconds, now.compile_seconds + before.compile_seconds
                curves = _joined([before.metrics, now.metrics])
                now = replace(now, metrics=curves, num_steps=curves.loss.shape[-1], seconds=seconds, compile_seconds=compiling)  # noqa: PLW2901
            if folder and now.num_steps:
                folder.saw(index, problem, now)
            yield now
    finally:
        if folder and now is not None and now.num_steps:
            folder.saw(index, problem, now, is_last=True)


class _Known(NamedTuple):
    """The uncertainty of some tiles: their maps blended as the pictures are, and the squares of their noise."""

    std: np.ndarray
    weight: np.ndarray
    squares: tuple[float, ...] = ()

    def and_of(self, result, tile, part, window):
        """Returns what is known with another tile, of which it may be nothing."""
        found = uncertainty.calibrated(result, tile)
        if found is None:
            return self
        std, weight = self.std.copy(), self.weight.copy()
        std[part] += window * found.std
        weight[part] += window
        return _Known(std, weight, (*self.squares, found.noise**2))

    def whole(self):
        """Returns the uncertainty; NaN where not all tiles are known that share a pixel. None where none is."""
        if not self.squares:
            return None
        std = np.where(self.weight > 0.999, self.std, np.float32(np.nan))  # the weights sum to one
        return uncertainty.Uncertainty(std, float(np.sqrt(np.mean(self.squares))))


def _known_with(known, *latest):
    return known.and_of(*latest).whole()


def cut(problem: Problem, rows: slice, columns: slice) -> Problem:
    """Returns the problem of a part of the image: everything that belongs to it, and the operator that measured it.

    Args:
      problem: of an operator with `cut`, in arrays of NumPy where it has any.
      rows: of the image, multiples of the operator's `stride`, but for the image's own edge.
      columns: the same.
    """
    measurement, operator = problem.operator.cut(problem.measurement, rows, columns, problem.shape)
    shape = (rows.stop - rows.start, columns.stop - columns.start, problem.shape[2])
    truth, guide = (None if image is None else image[rows, columns] for image in (problem.truth, problem.guide))
    return Problem(measurement, operator, shape, truth, guide)


def put_back(problem: Problem, images: np.ndarray, noise: float = 0.0, *, grid: Grid | None = None) -> np.ndarray:
    """Adds to estimates what they leave of the measurement, see `kriging.put_back`, tile by tile.

    Args:
      problem: one, without a batch.
      images: `(K, H, W, C)`; in a tile where one is not finite, or nothing was measured, nothing is added to it.
      noise: standard deviation of the noise of the measurement.
      grid: that they were made in; None for large tiles where the image is larger than one, and can be cut.

    Returns:
      `(K, H, W, C)`.
    """
    if grid is None and len(problem.shape) == 3 and hasattr(problem.operator, "cut"):
        grid = _grid(problem, max(_SIDES[0], 4 * (problem.operator.reach + problem.operator.stride + 8)), None)
    if grid is None:
        return kriging.put_back(problem, images, noise)
    made, problem = np.array(images), jax.tree.map(np.asarray, problem)
    for part, window in zip(grid.parts, grid.windows(), strict=True):
        try:
            tile = cut(problem, *part)
        except ValueError:  # nothing was measured there
            continue
        with np.errstate(invalid="ignore"):
            added = kriging.put_back(tile, images[:, *part], noise) - images[:, *part]
        made[:, *part] += window * np.nan_to_num(added)
    return made


def _joined(pieces):
    """Returns the metrics of all tiles, one after the other; before its first step a tile has none."""
    taken = [piece for piece in pieces if piece.loss.shape[-1]]
    return jax.tree.map(lambda *curves: np.concatenate(curves, -1), *taken) if taken else pieces[0]


def _grid(problem, tile, overlap):
    """Returns the grid, None where one tile covers the image."""
    operator = problem.operator
    if len(problem.shape) != 3:
        raise ValueError(f"tile: found an image of shape {problem.shape}, expected (H, W, C); 0 restores it as a whole.")
    if not hasattr(operator, "cut"):
        raise ValueError(
            f"tile: found the operator {type(operator).__name__}, which cannot be cut into tiles, expected one with `cut`,"
            " see `operators`; 0 restores the picture as a whole."
        )
    stride, reach = operator.stride, operator.reach
    side = tile // stride * stride
    if _tile(problem.shape[:2], side, stride) == problem.shape[:2]:
        return None
    return cover(problem.shape[:2], side, overlap, reach=reach, stride=stride)


def _tile(shape, side, stride):
    """Returns the sides of every tile: of an image whose own are no multiples of the stride so many more that the last begins at one."""
    return tuple(min(side + size % stride, size) for size in shape)


def _check(problem, grid):
    """Returns one of the tiles, after a look at them all."""
    problem = jax.tree.map(np.asarray, problem)
    for part in grid.parts:
        tile = cut(problem, *part)
    return tile


def _starts(size, length, overlap, stride):
    """Returns where tiles begin, evenly spread from edge to edge, at multiples of the stride."""
    apart = (length - overlap) // stride * stride  # at most, for such an overlap
    num_tiles = 1 if size == length else 1 - (length - size) // apart
    return tuple(int(start) * stride for start in np.linspace(0, (size - length) // stride, num_tiles).round())


def _weights(size, length, starts, overlap, reach):
    """Returns the weights `(num_tiles, length)` along one axis: raised cosines at inner edges, which sum to one over the image."""
    inwards = np.arange(length) + 0.5 - reach  # from the edge of what is taken
    ramp = np.sin(0.5 * np.pi * (inwards / (overlap - 2 * reach)).clip(0, 1)) ** 2
    flat = np.ones(length)
    weights = [(ramp if start else flat) * (ramp[::-1] if start + length < size else flat) for start in starts]
    total = np.zeros(size)
    for weight, start in zip(weights, starts, strict=True):
        total[start : start + length] += weight
    return np.float32([weight / total[start : start + length] for weight, start in zip(weights, starts, strict=True)])


def _enlarged(measurement, shape):
    """Returns the measurement at the size of the image: pixels repeated, the edges of one that is only a little smaller, one channel."""
    axes = []
    for size, large in zip(measurement.shape[:2], shape[:2], strict=True):
        times = large // size
        axes.append(((np.arange(large) - (large - times * size) // 2) // times).clip(0, size - 1))
    return np.broadcast_to(measurement[np.ix_(*axes)], shape)


def _of_the_others(images, counted):
    """Returns the images with the mean of those that count in the place of the others."""
    absent = ~counted[:, None, None, None]
    return np.where(absent, images[counted].mean(0), images) if counted.any() and absent.any() else images


def _end(budget, start, num_left):
    """Returns when a tile must end that begins now: after its share of the time that is left; whoever follows ends the last one."""
    now = time.perf_counter()
    return np.inf if budget is None or num_left == 1 else now + (start + budget - now) / num_left


def _gigabytes(num_bytes):
    return f"{num_bytes / 2**30:.1f} GiB"
