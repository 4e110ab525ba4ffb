"""How sure a restoration is: for every pixel a standard deviation of the error of the returned picture, without a truth.

Seeds disagree where the measurement leaves the answer open, but they err by more than they disagree: an error that all of them make alike
does not show. What they have not seen tells by how much. At held-out entries the squared residual of a prediction is

    E |A x - y|^2 = noise(brightness) + error(variance of A x over seeds),

because noise that was not seen is independent of the prediction. Both are fitted to these entries, and the second turns the disagreement
into an error everywhere. The noise may depend on the brightness, as that of photons does, and may have outliers. The variance is that of
the neighbours: at the entry itself it would follow the noise, which the other seeds have seen. Where all seeds err alike the fit may
take it for noise; but noise is never more than what the mean of the neighbours leaves at the same entries, so the rest is error.

An entry that a seed has not seen is no entry like the others: the seed errs more there, and has fitted nothing of its noise, of which it
has taken over a share everywhere else. Both show in how far it lies from the seeds that have seen the entry. Around a block that was held
out seeds also disagree more than elsewhere; so the error elsewhere follows the disagreement there.

Examples:
  >>> random = np.random.default_rng(0)
  >>> found = dipjax.uncertainty.Uncertainty(std=np.full((8, 8, 1), 0.02), noise=0.1)
  >>> found.gained, dipjax.uncertainty.variance(random.random((4, 8, 8, 1))).shape
  (True, (8, 8, 1))
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage

from dipjax.core.problem import Problem
from dipjax.core.state import Result, deviation
from dipjax.stopping.held_out import HeldOut, filled
from dipjax.stopping.noise import CORRELATED, SURELY, of_picture
from dipjax.stopping.samples import Sampled, Samples

_REACH = 2.0  # pixels, over which the disagreement of neighbours counts, because that of a few seeds at one pixel says little
_NEIGHBOURS = 4.0  # degrees of freedom that the neighbours together have, beside the K - 1 of the pixel itself
_OUTLIER = 16.0  # times the expected square, above which a residual is an outlier: four standard deviations
_KNOTS = 6  # of the noise over brightness: photons, and what was clipped at black and white
_ROUNDS = 12
_BROUGHT_IN = 0.15  # of the noise, by patches that repeat perfectly
_LEAST_SIDE = 32  # pixels, of a picture that tells of its own noise
_DOUBT = 2.0  # times the mean square of the noise, beyond which the error is sure to be larger: an error of all seeds may hide the noise


class Uncertainty(NamedTuple):
    """What was found without a truth, in the units of the image.

    Attributes:
      std: `(H, W, C)`, standard deviation of the error; NaN where it is not known.
      noise: root mean square of the noise of the measurement, outliers included; NaN where it is not known.
    """

    std: np.ndarray
    noise: float

    @property
    def gained(self) -> bool | None:
        """Whether the error is not clearly larger than the noise, over all that is known; None where either is not known at all."""
        if np.isnan(self.noise) or np.isnan(self.std).all():
            return None
        return bool(np.nanmean(self.std**2) < _DOUBT * self.noise**2)


def least_seeds(rule: Any) -> int | None:
    """Returns of how many seeds with a stopping rule something can be known; None of a rule that holds nothing out, and of no rule."""
    if isinstance(rule, Samples):
        return 1
    return 2 if isinstance(rule, HeldOut) else None


def calibrated(result: Result, problem: Problem) -> Uncertainty | None:
    """Finds how much `result.image` errs.

    Args:
      result: of seeds `(K,)` of one problem, with the rule `stopping.HeldOut`; or with `stopping.Samples`, whose deviation is taken as
        it is, so that nothing is known of the noise.
      problem: that problem.

    Returns:
      The map and the noise; None where nothing was held out, fewer than two seeds count, or fewer than two samples were taken.

    Examples:
      >>> data = dipjax.problem.denoising(np.random.default_rng(0).random((8, 8, 1), np.float32))
      >>> setting = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).changed(stopping=dipjax.stopping.HeldOut())
      >>> result = dipjax.restore(setting.recipe, dipjax.seeds(0, 2), data, num_steps=3)
      >>> dipjax.uncertainty.calibrated(result, data).std.shape
      (8, 8, 1)
    """
    counted = np.flatnonzero(result.counted)
    if result.stopped is None or not result.over_seeds or not len(counted):
        return None
    watch = result.state.watch
    if isinstance(watch.memory, Sampled):
        return _sampled(watch.memory, counted)
    scored = getattr(watch.memory, "scored", None)
    if scored is None or len(counted) < 2:
        return None
    of_counted = partial(jax.tree.map, lambda leaf: np.asarray(leaf)[counted])
    parts = (watch.best.estimate, scored, watch.memory.hidden, watch.memory.measured)
    estimates, scored, hidden, measured = map(of_counted, parts)
    predicted = [problem.operator(*(part[k] for part in estimates)) for k in range(len(counted))]
    most = _of_neighbours(problem.measurement, scored, hidden, measured)
    inside = getattr(problem.operator, "inside", True)  # of a frame, see `operators.frame`
    entries = _entries(predicted, scored, problem.measurement, inside)
    error_of, noise = _calibrate(_least_noise(problem.measurement), most, len(counted), *entries)
    spread = variance(result.images[counted])
    # An error that all seeds make does not shrink in the mean, the rest does.
    return Uncertainty(np.sqrt(np.maximum(error_of(spread) - spread, 0) + spread / len(counted)), noise)


def _calibrate(least, most, num_seeds, squares, brightness, spread, distance, fitted, elsewhere, usual):
    """Returns the expected squared error of one seed as a function of the variance over seeds, and the root mean square of the noise,
    whose mean square is at least `least` and at most `most`.

    Elsewhere than at a held-out entry a seed x has taken over a share f of the noise n, as all the others have, whose mean is m. So

        E (m - x)^2 = f^2 n^2 + scatter + g^2,  E (m - x) (y - m) = f (1 - f) n^2 - scatter,

    where g is the error of a seed that has not seen the entry, as far as it is its own.
    """
    root, linear = _fit(squares, brightness, spread)
    differing = lambda variance: root * np.sqrt(variance) + linear * variance  # noqa: E731, the error of seeds that differ so much
    of_hidden = differing(spread).mean()
    rest = max(squares.mean() - of_hidden, 0)
    noise = min(max(rest, least), most)
    rest = max(rest, noise)
    of_hidden = max(squares.mean() - rest, 0)
    scatter, tiny = usual / num_seeds, np.finfo(float).tiny
    f = 0.5 - 0.5 * np.sqrt(max(1 - 4 * max(fitted.mean() + scatter, 0) / max(noise, tiny), 0))
    taken = f**2 * noise
    unseen = max(distance.mean() - taken - usual, 0)  # by how much g^2 is more than elsewhere
    share = max(of_hidden - unseen + taken, 0) / max(differing(elsewhere).mean(), tiny)
    error_of = lambda variance: (share * differing(variance) + rest - noise).astype(variance.dtype)  # noqa: E731
    return error_of, float(np.sqrt(noise))


def _least_noise(measurement):
    """Returns the variance of the white noise of a picture: textures that no seed can predict are no noise, and hide it; 0 if not known."""
    parts = jax.tree.leaves(measurement)
    if len(parts) != 1 or parts[0].ndim != 3 or np.iscomplexobj(parts[0]) or min(parts[0].shape[:2]) < _LEAST_SIDE:
        return 0.0
    (near, _), (variance, _) = of_picture(parts[0])
    return float(SURELY * variance) if float(near) <= CORRELATED and np.isfinite(variance) else 0.0


def _of_neighbours(measurement, scored, hidden, measured):
    """Returns the mean square of what the mean of the neighbours leaves at the held-out entries: their noise, and a little more."""
    squares = []
    for values, *marks in zip(*map(jax.tree.leaves, (measurement, scored, hidden, measured)), strict=True):
        for mark, hide, there in zip(*marks, strict=True):
            left = np.abs(np.asarray(filled(values, hide, there)) - values) ** 2
            squares.append(left[np.broadcast_to(mark, left.shape)])
    return float(np.concatenate(squares).mean(dtype=np.float64))


def _sampled(memory, counted):
    number = np.asarray(memory.number)[counted].min()
    if number < 2:
        return None
    return Uncertainty(np.sqrt(np.asarray(memory.squares)[counted].mean(axis=0) / (number - 1)), np.nan)


def after(std: np.ndarray, added: np.ndarray, noise: float) -> np.ndarray:
    """Returns the standard deviation of the error of an estimate to which something was added.

    What kriging adds is the error that is to be expected. As far as it is, its square is less by that of what was added, here by the mean
    around a pixel. At least half of the deviation stays, and a share of the noise, which kriging brings in: neither is known so well.

    Args:
      std: `(..., C)`, of the estimate before.
      added: of the same shape; where it is NaN nothing was.
      noise: standard deviation of that of the measurement; NaN where it is not known.
    """
    squares = ndimage.gaussian_filter(np.nan_to_num(added) ** 2, _REACH, axes=tuple(range(added.ndim - 1)), mode="mirror")
    least = np.maximum(std**2 / 4, (_BROUGHT_IN * np.nan_to_num(noise)) ** 2)
    return np.sqrt(np.maximum(std**2 - squares, least)).astype(std.dtype)


def variance(images: np.ndarray) -> np.ndarray:
    """Returns the variance `(..., C)` over K seeds, in which neighbouring pixels have a say.

    Args:
      images: `(K, ..., C)`, of at least two seeds.
    """
    own, degrees = _own_variance(images), len(images) - 1
    return (_NEIGHBOURS * _around(own) + degrees * own) / (_NEIGHBOURS + degrees)


def _own_variance(images):
    return deviation(images, np.ones(len(images), bool)) ** 2


def _around(values):
    """Returns the weighted mean of the neighbours of every entry `(..., C)`, of which it is no part itself."""
    axes = tuple(range(values.ndim - 1))
    centre = np.zeros((9,) * len(axes))
    centre[(4,) * len(axes)] = 1
    own = ndimage.gaussian_filter(centre, _REACH).max()  # the weight of the entry
    return np.maximum(ndimage.gaussian_filter(values, _REACH, axes=axes, mode="mirror") - own * values, 0) / (1 - own)


def _entries(predicted, scored, measurement, inside):
    """Returns of all held-out entries the squared residual, the brightness, the variance over seeds, the squared distance from the mean of
    the other seeds, and the product of that distance with their residual, each `(N,)`; and elsewhere the variance and the mean distance."""
    columns, spreads, distances = [[], [], [], [], []], [], []
    for measured, marks, *seeds in zip(*map(jax.tree.leaves, (measurement, scored, *predicted)), strict=True):
        made = np.stack([np.asarray(one) for one in seeds])
        spread, mean, rest = _around(_own_variance(made)), made.mean(axis=0), len(made) / (len(made) - 1)
        for one, mark in zip(made, marks, strict=True):
            away, where = rest * (mean - one), np.broadcast_to(mark, one.shape)  # from one to the mean of the others
            distance, fitted = np.abs(away) ** 2, np.real(np.conj(away) * (measured - one - away))
            values = (np.abs(one - measured) ** 2, np.abs(mean), spread, distance, fitted)
            for column, value in zip(columns, values, strict=True):
                column.append(value[where])
            seen = ~where & np.broadcast_to(inside, where.shape)
            spreads.append(spread[seen])
            distances.append(distance[seen])
    return *(np.concatenate(column).astype(np.float64) for column in (*columns, spreads)), float(np.concatenate(distances).mean())


def _fit(squares: np.ndarray, brightness: np.ndarray, spread: np.ndarray) -> tuple[float, float]:
    """Fits `squares = noise(brightness) + a sqrt(spread) + b spread`; the noise is a broken line, and nothing is negative.

    The root is of errors that all seeds make alike, which are larger where the seeds differ, but not in proportion.

    The likelihood is that of squares of normal numbers, so that every entry counts by its relative error; outliers are left out.
    """
    from scipy.optimize import nnls

    knots = np.unique(np.quantile(brightness, np.linspace(0, 1, _KNOTS)))
    hats = [np.interp(brightness, knots, row) for row in np.eye(len(knots))]
    columns = np.stack([*hats, np.sqrt(spread), spread], -1)
    scale = columns.mean(axis=0) + np.finfo(float).tiny
    columns = columns / scale
    expected = np.full_like(squares, np.median(squares) / 0.455)  # the median of a square with one degree of freedom
    for _ in range(_ROUNDS):
        inside = squares <= _OUTLIER * expected
        weight = 1 / np.maximum(expected[inside], np.finfo(float).tiny)
        found, _ = nnls(columns[inside] * weight[:, None], squares[inside] * weight)
        expected = np.maximum(columns @ found, 1e-12 * squares.mean())
    return tuple((found / scale)[-2:])
