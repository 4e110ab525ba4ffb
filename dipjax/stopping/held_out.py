"""Measurements kept out of the loss: the rule for noise of any kind."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dipjax.compiling import compiled
from dipjax.core.problem import Problem
from dipjax.core.recipe import MSE
from dipjax.core.rule import Best, Look, Verdict, nothing, where
from dipjax.stopping.checks import check
from dipjax.stopping.noise import CORRELATED, FAR, PATCH, noise_correlation, white_noise


@dataclass(frozen=True)
class HeldOut:
    """Keeps some of the measurement out of the loss, and takes the moments at which the averaged output predicts it best.

    Each run draws its own entries, of any measurement: pixels, samples of a spectrum, or numbers. Single entries judge noise that is
    independent from one entry to the next. Where noise is correlated, as after a camera's own processing, neighbours give it away;
    there blocks are held out, and only what lies inside of them is scored. The flattest patches of the measurement, in which noise is
    most of what there is, say before the first step which of the two it is and how long a block must be. The score is the recipe's own
    loss at the entries that are scored, smoothed over steps.

    A few hundred numbers cannot tell moments whose scores are nearly equal: chance alone makes scores differ by about `tolerance` over
    the root of how many there are. So the estimate is the mean over all moments since the last real improvement that are not clearly
    worse than the best, by `late` over that root. Late moments have fitted more of the picture, and more noise, most of which goes from
    the mean of many of them, and of many seeds (benchmarks/results/guide.md).

    Fine textures cannot be predicted where they were not seen, yet they are learned where they were: their score is flat while the
    estimate improves. So white noise has a bound from below, as in the discrepancy principle: as long as the square error at what is
    seen exceeds `fit` times that noise, measured where the measurement is flattest, moments are too early to stop at, and only the last
    one counts. That holds where the score tells of such textures, by more than `unseen` times the noise, and is not far worse than the
    best; where nearly all can be predicted the score knows better than a measured noise.

    Reference: Batson, Royer, Noise2Self, ICML 2019, for the error at what was not seen; Yaman, Hosseini, Akcakaya, Zero-shot
    self-supervised learning for MRI reconstruction, ICLR 2022, which stops by it; Broaddus et al., Removing structured noise with
    self-supervised blind-spot networks, ISBI 2020, which hides the neighbours where noise is correlated. Of our own are that every run
    draws its entries, that the picture tells of single entries or blocks, the mean over moments, and the bound from below.

    Attributes:
      singles: share of the entries, between 0 and 1, held out where noise is independent; of more than 128 x 128 a smaller one.
      blocks: share of the entries, between 0 and 1, that lie in blocks held out where it is not; the same.
      side: of a block, odd, of which the inner entries are scored.
      wide: the same where noise is correlated farther than between neighbours; of those blocks only the centre is scored.
      correlation: of the noise between neighbours, above which blocks are held out; 1: never.
      patience: stops when nothing better came for this share of the steps to the best moment, and `least` more.
      least: steps, from 1.
      tolerance: how much scores differ by chance, see above.
      late: how much worse moments may be that count, in the same units.
      smoothing: weight of the past in the score, from 0 to below 1.
      fit: times the white noise, above which the square error at what is seen says that it is too early to stop; 0: it never does.
      unseen: times that noise, below which the score alone decides.
      gain: what is better by less than this share, from 0 to below 1, does not renew the patience: measurements without noise.

    Raises:
      ValueError: a number is out of its range.
    """

    singles: float = 0.04
    blocks: float = 0.15
    side: int = 5
    wide: int = 9
    correlation: float = CORRELATED
    patience: float = 0.4
    least: int = 40
    tolerance: float = 0.25
    late: float = 1.0
    smoothing: float = 0.9
    fit: float = 1.0
    unseen: float = 1.4
    gain: float = 0.0

    def __post_init__(self):
        """Checks the settings."""
        for name in ("singles", "blocks"):
            check(name, getattr(self, name), 0 < getattr(self, name) < 1, "a number between 0 and 1")
        for name in ("smoothing", "gain"):
            check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a number from 0 to below 1")
        for name in ("side", "wide"):
            value = getattr(self, name)
            check(name, value, value >= 1 and value % 2 == 1, "an odd number of entries")
        for name in ("patience", "tolerance", "late", "fit", "unseen"):
            check(name, getattr(self, name), getattr(self, name) >= 0, "a number that is not negative")
        check("least", self.least, self.least >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> "_HeldOut":
        """Draws the entries of one run."""
        leaves, structure = jax.tree.flatten(problem.measurement)
        keys = jax.random.split(key, 1 + len(leaves))
        # Where a hole is, nothing depends on the image, so that nothing is learned from what is held out there.
        two = (keys[0], jax.random.fold_in(keys[0], 1))
        images = [[jax.random.uniform(k, part.shape, jnp.real(part).dtype).astype(part.dtype) for part in estimate] for k in two]
        depends = jax.tree.leaves(jax.tree.map(jnp.not_equal, *(problem.operator(*image) for image in images)))
        scored, hidden, noise = zip(*(self._draw(*parts) for parts in zip(keys[1:], leaves, depends, strict=True)), strict=True)
        noise = sum(one * (there & ~mark).sum() for one, there, mark in zip(noise, depends, hidden, strict=True)).astype(problem.dtype)
        measured = [there.any(-1, keepdims=True) if there.ndim > 1 else there for there in depends]
        trees = (jax.tree.unflatten(structure, list(part)) for part in (scored, hidden, measured))
        best = nothing(problem, estimate)
        return _HeldOut(*trees, noise, jnp.zeros((), problem.dtype), best, best.score, best.step, best.score, jnp.int32(0))

    def _draw(self, key, measurement, measured):
        """Returns what is scored, and what is held out, of one array, for all of its channels at once; and its noise, if that is white."""
        shape = (*measurement.shape[:-1], 1) if measurement.ndim > 1 else measurement.shape
        measured = measured.any(-1, keepdims=True) if measurement.ndim > 1 else measured
        # Of more entries a smaller share suffices: what is held out is restored less well.
        fewer = min(1.0, (_USUAL / measured.size) ** 0.5)
        single = _chosen(key, measured, fewer * self.singles)
        if measurement.ndim != 3 or jnp.iscomplexobj(measurement) or min(shape[:2]) < max(PATCH, 3 * max(self.side, self.wide)):
            return single, single, jnp.inf
        near, far = noise_correlation(measurement)
        scored, hidden = single, single
        correlated = near > self.correlation
        for side, core, is_right in ((self.side, self.side - 2, correlated), (self.wide, 1, correlated & (far > FAR))):
            centre = _chosen(key, measured, fewer * self.blocks / side**2)
            pair = tuple(lax.reduce_window(centre, False, lax.bitwise_or, (n, n, 1), (1, 1, 1), "SAME") for n in (max(core, 1), side))
            scored, hidden = where(is_right, pair, (scored, hidden))
        return scored, hidden, jnp.where(correlated, jnp.inf, white_noise(measurement)[0]) if self.fit else jnp.inf

    def hide(self, memory: "_HeldOut", prediction: Any, measurement: Any) -> Any:
        """Returns the prediction with the measurement itself at all that is held out."""
        return jax.tree.map(jnp.where, memory.hidden, measurement, prediction)

    def seen(self, memory: "_HeldOut", problem: Problem) -> Problem:
        """Returns the problem as the run may see it: what is held out is filled in from around."""
        return problem.replace(measurement=jax.tree.map(filled, problem.measurement, memory.hidden, memory.measured))

    def _misfit(self, memory, look, score):
        """Says whether more is left of what is seen than its noise, and of what is not seen much more."""
        if not (self.fit and isinstance(look.loss, MSE)):
            return jnp.bool(False)
        y = look.problem.measurement
        left = lambda p, y, hidden: jnp.sum(jnp.where(hidden, 0, jnp.abs(p - y) ** 2))  # noqa: E731
        number = lambda y, hidden, there: jnp.sum(jnp.broadcast_to(there & ~hidden, y.shape))  # noqa: E731
        left = sum(jax.tree.leaves(jax.tree.map(left, look.prediction, y, memory.hidden)))
        number = sum(jax.tree.leaves(jax.tree.map(number, y, memory.hidden, memory.measured)))
        return (left > self.fit * memory.noise) & (score * number > self.unseen * memory.noise)

    def update(self, memory: "_HeldOut", look: Look) -> Verdict:
        """Scores the average of the outputs at what is held out."""
        y, dtype = look.problem.measurement, memory.score.dtype
        shown = jax.tree.map(jnp.where, memory.scored, look.prediction, y)
        share = sum(mark.sum() * leaf.shape[-1] for mark, leaf in zip(*map(jax.tree.leaves, (memory.scored, y)), strict=True))
        now = (look.loss(shown, y) * sum(leaf.size for leaf in jax.tree.leaves(y)) / share).astype(dtype)
        weight = jnp.maximum(1 - self.smoothing, 1 / (look.step.astype(dtype) + 1)).astype(dtype)
        score = memory.score + weight * (now - memory.score)
        chance, worse = ((part / jnp.sqrt(share.astype(dtype))).astype(dtype) for part in (self.tolerance, self.late))
        far = _FAR_WORSE / jnp.sqrt(share.astype(dtype))
        is_early = self._misfit(memory, look, score) & (score <= memory.best.score * (1 + far))
        renewed = (score < memory.level * (1 - self.gain)) | is_early
        level, since = where(renewed, (jnp.minimum(score, memory.level), look.step), (memory.level, memory.since))
        stop = look.step - since > self.patience * since + self.least

        lowest, step = where(score < memory.best.score, (score, look.step), (memory.best.score, memory.best.step))
        first, later = (score < memory.first * (1 - chance)) | is_early, score <= lowest * (1 + worse)
        number = jnp.where(first, 1, memory.number + later)
        weight = jnp.where(first, 1, later / jnp.maximum(number, 1)).astype(dtype)
        move = lambda old, new: (old + weight * (new - old)).astype(old.dtype)  # noqa: E731
        best = Best(lowest, step, jax.tree.map(move, memory.best.estimate, look.estimate))
        first = jnp.where(first, score, memory.first)
        return Verdict(_HeldOut(*memory[:4], score, best, level, since, first, number), best, score, stop)


class _HeldOut(NamedTuple):
    scored: Any  # trees of (h, w, 1), bool
    hidden: Any
    measured: Any  # where there is something to learn from
    noise: Array  # (), the sum of squares that white noise has where it is seen; infinite where it is not known
    score: Array  # (), smoothed
    best: Best
    level: Array  # () and the next: the last that was better by `gain`
    since: Array
    first: Array  # () and the next: of the moments over which the estimate is the mean
    number: Array


_FAR_WORSE = 8.0  # in the units of `tolerance`: more than textures that cannot be predicted make a score worse while they are learned
_USUAL = 128**2  # entries, up to which the shares are as they are set; beyond, they fall with the root of the number


def _chosen(key, measured, share):
    """Marks a share of what was measured, at least one entry."""
    draw = jnp.where(measured, jax.random.uniform(key, measured.shape), 2)
    number = jnp.maximum(1, jnp.round(share * measured.sum())).astype(jnp.int32)
    return (draw <= jnp.sort(draw.ravel())[number - 1]) & measured


@compiled(runs_once=True)
def filled(measurement: Array, hidden: Array, measured: Array) -> Array:
    """Returns an array with the mean of what was measured near in the place of what is hidden: within one entry, else within eight."""
    known = measured & ~hidden
    for reach in (1, 8):
        number = _sums(known.astype(measurement.dtype), reach)
        mean = _sums(jnp.where(known, measurement, 0), reach) / jnp.maximum(jnp.real(number), 1)
        found = hidden & (number > 0)
        measurement = jnp.where(found, mean.astype(measurement.dtype), measurement)
        known, hidden = known | found, hidden & ~found
    return jnp.where(hidden, 0, measurement)


def _sums(array, reach):
    """Returns the sums over what is at most so many entries away along every axis but the last, which only a signal has."""
    for axis in range(max(array.ndim - 1, 1)):
        size = tuple(2 * reach + 1 if axis == i else 1 for i in range(array.ndim))
        array = lax.reduce_window(array, 0.0, lax.add, size, (1,) * array.ndim, "SAME")
    return array
