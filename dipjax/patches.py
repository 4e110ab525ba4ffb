"""What a network leaves of a noisy picture, put back where similar patches leave it too: kriging with the covariance of patches.

A network draws first what is smooth or repeats, and fits noise and fine texture alike. Where it is stopped its image x is short of some
detail, which the picture y still has, beneath its noise. A patch of y tells little of it, but x tells which patches of the picture are
alike. K such patches of x have a mean m and a covariance C, and with noise of variance s^2 the expected patch is

    p = m + (C + e^2 I) (C + e^2 I + s^2 I)^(-1) (y - m),

where e^2 is the variance of the error of x: what the mean over the patches of y - x has more than noise would leave of it, and a little
more. By that much m is moved towards the mean of y too. Patches overlap, and what they say of a pixel is averaged. The result tells better
still what is alike, so all of it is done again, until it hardly changes any more.

Colours are first turned so that they have nothing in common in x. The noise is as what x leaves of y, in each of these colours, and as it
varies with the brightness of x: photons and speckle need no model of their own.

Reference: Lebrun, Buades, Morel, A nonlocal Bayesian image denoising algorithm, SIAM J. Imaging Sciences 2013, whose second stage takes the
statistics from the result of the first; here from a network, which has an error, too.

Examples:
  >>> truth = np.tile(np.float32([0.2, 0.2, 0.8, 0.8]), (32, 8))[..., None]
  >>> noisy = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape).astype(np.float32)
  >>> better = dipjax.patches.put_back(noisy, np.full_like(truth, 0.5) + 0.8 * (truth - 0.5), 0.1)
  >>> better.shape, bool(np.abs(better - truth).mean() < 0.03)
  ((32, 32, 1), True)
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from dipjax.stopping.noise import finest

_SIDE = 5  # pixels of a patch
_STRIDE = 3  # pixels from one patch that others are looked for to the next
_ALIKE = 24  # patches, itself included
_REACH = 12  # pixels, within which they are looked for
_FLOOR = 0.1  # of the noise: the least error of an estimate
_ROUNDS = 8  # at most
_SETTLED = 0.003  # of the variance of the noise: a smaller change is the last
_GROUPS = 8  # of brightness
_BLUR = 2.0  # pixels, over which brightness is taken
_AT_ONCE = 4096  # patches that others are looked for, times channels, in some rows; each of ...
_THREADS = 4  # ... needs some 130 MB for them
SMALLEST = 16  # pixels on a side


def put_back(picture: np.ndarray, estimate: np.ndarray, noise: float) -> np.ndarray:
    """Returns a better estimate of a picture.

    Args:
      picture: `(H, W, C)`, with white noise.
      estimate: of the same shape.
      noise: standard deviation of the noise, at most: where the estimate leaves less, that is taken.

    Returns:
      `(H, W, C)`; the estimate where one is not finite, or smaller than 16 x 16 pixels.
    """
    if min(estimate.shape[:2]) < SMALLEST or not np.isfinite(estimate).all() or not np.isfinite(picture).all():
        return estimate
    turn = _turn(estimate)
    y, x = (np.asarray(image @ turn, np.float32) for image in (picture, estimate))
    variance = _variance(y, x, noise)  # later estimates have fitted some of the noise
    rows, columns = (np.unique(np.minimum(np.arange(0, size - _SIDE + _STRIDE, _STRIDE), size - _SIDE)) for size in x.shape[:2])
    bands = np.array_split(rows, -(-x.shape[-1] * len(columns) * len(rows) // _AT_ONCE))
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in range(_ROUNDS):
            summed, weight = np.zeros(x.shape), np.zeros((*x.shape[:2], 1))
            for band, sums, number in pool.map(partial(_band, y, x, variance, columns), bands):
                summed[band] += sums
                weight[band] += number
            before, x = x, np.asarray(summed / weight, np.float32)
            if np.mean((x - before) ** 2) < _SETTLED * np.mean((y - x) ** 2):
                break
    return np.asarray(x @ turn.T, estimate.dtype)


def _turn(image):
    """Returns the rotation `(C, C)` into colours whose detail has nothing in common."""
    details = np.concatenate([np.diff(image, axis=axis).reshape(-1, image.shape[-1]) for axis in (0, 1)]).astype(np.float64)
    return np.linalg.eigh(details.T @ details)[1]


def _variance(y, x, noise):
    """Returns the variance of the noise `(H, W, C)`: that of an estimate's residual, in groups of equal brightness, and at most as told.

    From the finest differences, where there is hardly anything of the picture.
    """
    squares, brightness = finest(y - x) ** 2, ndimage.gaussian_filter(x[..., -1], _BLUR)  # the last colour varies most
    levels = np.quantile(brightness, np.linspace(0, 1, _GROUPS + 1))
    group = np.clip(np.searchsorted(levels, brightness, "right") - 1, 0, _GROUPS - 1)[:-1, :-1].ravel()
    number = np.bincount(group, minlength=_GROUPS)
    there = number > 0
    means = [
        np.bincount(group, weights=channel.ravel(), minlength=_GROUPS)[there] / number[there] for channel in np.moveaxis(squares, -1, 0)
    ]
    middles = (levels[1:] + levels[:-1])[there] / 2
    found = np.stack([np.interp(brightness, middles, mean) for mean in means], -1)
    share = min(1.0, noise**2 / max(float(found.mean()), np.finfo(np.float32).tiny))
    least = max(np.finfo(np.float32).eps * max(float(found.max()), float(x.var())), 1e-20)  # something can be divided by
    return np.maximum(share * found, least).astype(np.float32)


def _band(y, x, variance, columns, rows):
    """Returns of which rows the patches at some rows and columns say something, the sum of it, and how many say it."""
    _, width, channels = x.shape
    r, c = _alike(x, rows, columns)  # (N, K)
    windows = (sliding_window_view(image, (_SIDE, _SIDE), (0, 1)) for image in (y, x, variance))
    # (N C, K, P), one colour after the other
    ys, xs, noise = (np.moveaxis(window[r, c], 2, 1).reshape(-1, r.shape[1], _SIDE**2) for window in windows)
    made = _expected(ys, xs, noise.mean((1, 2)))
    made = np.moveaxis(made.reshape(len(r), channels, -1, _SIDE, _SIDE), 1, -1)  # (N, K, s, s, C)
    first, end = int(r.min()), int(r.max()) + _SIDE
    down, across = np.ogrid[:_SIDE, :_SIDE]
    where = ((r[..., None, None] - first + down) * width + c[..., None, None] + across).ravel()
    count, shape = (end - first) * width, (end - first, width)
    sums = [np.bincount(where, made[..., channel].ravel(), minlength=count).reshape(shape) for channel in range(channels)]
    return slice(first, end), np.stack(sums, -1), np.bincount(where, minlength=count).reshape(*shape, 1)


def _alike(x, rows, columns):
    """Returns the corners of the patches that are most like each of those at the rows and columns, two arrays `(N, K)`."""
    height, width = x.shape[:2]
    offsets = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1].reshape(2, -1).T
    first, end = rows[0], rows[-1] + _SIDE
    padded = np.pad(
        x[max(0, first - _REACH) : end + _REACH], [(max(0, _REACH - first), max(0, end + _REACH - height)), (_REACH, _REACH), (0, 0)]
    )
    own = np.ascontiguousarray(np.moveaxis(x[first:end], -1, 0))
    others = np.ascontiguousarray(np.moveaxis(padded, -1, 0))
    distances = np.empty((len(offsets), len(rows), len(columns)), np.float32)
    for distance, (down, across) in zip(distances, offsets, strict=True):
        other = others[:, _REACH + down : _REACH + down + end - first, _REACH + across : _REACH + across + width]
        squares = np.sum((own - other) ** 2, axis=0)
        over_rows = sum(squares[rows - first + i] for i in range(_SIDE))
        distance[:] = sum(over_rows[:, columns + i] for i in range(_SIDE))
        is_inside = [(at + by >= 0) & (at + by <= size - _SIDE) for at, by, size in ((rows, down, height), (columns, across, width))]
        distance[~np.logical_and.outer(*is_inside)] = np.inf
    distances = distances.reshape(len(offsets), -1)
    distances[len(offsets) // 2] = -1  # itself, whatever was rounded
    best = np.argpartition(distances, _ALIKE, axis=0)[:_ALIKE].T
    down, across = np.moveaxis(offsets[best], -1, 0)
    row, column = (grid.reshape(-1, 1) for grid in np.meshgrid(rows, columns, indexing="ij"))
    return row + down, column + across


def _expected(ys, xs, noise):
    """Returns the expected patches `(G, K, P)` of groups that are alike, with noise of variance `(G,)`."""
    mean, noise = xs.mean(1, keepdims=True), noise[:, None, None]
    shift = ys.mean(1, keepdims=True) - mean
    error = np.maximum(np.mean(shift**2, (1, 2), keepdims=True) - noise / _ALIKE, 0) + _FLOOR**2 * noise
    middle = mean + error / (error + noise / _ALIKE) * shift
    xs = xs - mean
    one = np.eye(_SIDE**2, dtype=xs.dtype)
    covariance = np.matmul(xs.transpose(0, 2, 1), xs) / (_ALIKE - 1) + error * one
    return middle + np.matmul(ys - middle, np.linalg.solve(covariance + noise * one, covariance))
