"""When to stop: rules that watch a run from inside the compiled step, each for itself.

A rule is a frozen dataclass with two pure methods. `init(key, problem, estimate)` returns what it remembers before the first step, where
`estimate` is the image and the unknowns, `(image, *unknowns)`, in zeros. `update(memory, look)` returns a `Verdict`. What the run gives is
the estimate of the best moment so far, whether the rule stopped the run or something else did; a stopped run is frozen. A rule may also
have `hide(memory, prediction, measurement)`: the prediction that the loss sees, for example with the measurement itself where entries are
held out, which leaves no residual and no gradient there; and `seen(memory, problem)`, the problem as the input may see it. To add a rule,
add a class, and a row to `REGISTRY`, where `--stop` finds it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dipjax.core.problem import Problem
from dipjax.core.recipe import Recipe
from dipjax.core.state import Metrics, State, Watch


class Look(NamedTuple):
    """What a rule sees of a step."""

    step: Array  # (), counted from 0
    output: tuple  # what the generator made in this step, the image and the unknowns
    estimate: tuple  # the same of the running average
    prediction: Any  # the measurement that the estimate predicts
    problem: Problem
    loss: Any  # the recipe's: (prediction, measurement) -> ()


class Best(NamedTuple):
    """The best moment so far."""

    score: Array  # (), the lower the better; infinite before there is one
    step: Array  # (), its step
    estimate: tuple  # the image and the unknowns


class Verdict(NamedTuple):
    """What a rule says after a step."""

    memory: Any
    best: Best
    score: Array  # (), of this step
    stop: Array  # (), bool


def _nothing(problem: Problem, estimate: tuple) -> Best:
    return Best(jnp.array(jnp.inf, problem.dtype), jnp.int32(0), estimate)


def _better(best: Best, score: Array, look: Look, estimate: tuple | None = None) -> Best:
    """Returns the better of the best moment and this one."""
    new = Best(score.astype(best.score.dtype), look.step, look.estimate if estimate is None else estimate)
    return where(score < best.score, new, best)


def where(condition: Array, tree: Any, other: Any) -> Any:
    """Returns one of two equal trees."""
    return jax.tree.map(partial(jnp.where, condition), tree, other)


def begin(recipe: Recipe, key: Array, problem: Problem, estimate: tuple) -> Watch | None:
    """Returns what the recipe's rule knows of a run before the first step; None without a rule."""
    if recipe.stopping is None:
        return None
    zero = jnp.zeros((), problem.dtype)
    scores = (None, None) if problem.truth is None else (zero, zero)
    last = Metrics(zero, *scores, (zero,) * len(recipe.watch), zero)
    memory = recipe.stopping.init(jax.random.fold_in(key, 2**32 - 1), problem, estimate)  # no step has this number
    return Watch(memory, _nothing(problem, estimate), jnp.bool(False), last)


def watched(recipe: Recipe, state: State, new: State, now: Metrics, output: tuple, problem: Problem) -> tuple[State, Metrics]:
    """Asks the rule about a step, from `state` to `new`; a run that has ended before it stays as it was."""
    if recipe.stopping is None:
        return new, now
    image, unknowns = output
    estimate = (new.average, *new.unknowns)
    look = Look(state.step, (image, *unknowns), estimate, problem.operator(*estimate), problem, recipe.loss)
    memory, best, score, stop = recipe.stopping.update(state.watch.memory, look)
    now = now._replace(score=jnp.where(jnp.isnan(score), jnp.inf, score).astype(now.loss.dtype))
    new = new._replace(watch=Watch(memory, best, stop, now))
    return where(state.watch.stopped | ~state.alive, (state, state.watch.last), (new, now))


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
    """

    singles: float = 0.04  # of the entries are held out where noise is independent; of more than 128 x 128 a smaller share
    blocks: float = 0.15  # of the entries lie in blocks that are held out where it is not; the same
    side: int = 5  # of a block, of which the inner entries are scored ...
    wide: int = 9  # ... and where noise is correlated farther than between neighbours, of which only the centre is
    correlation: float = 0.3  # of the noise between neighbours, above which blocks are held out; 1: never
    patience: float = 0.5  # stops when nothing better came for this share of the steps to the best moment ...
    least: int = 60  # ... and so many more
    tolerance: float = 0.25  # how much scores differ by chance, see above
    late: float = 1.0  # how much worse moments may be that count, in the same units
    smoothing: float = 0.9  # weight of the past in the score
    gain: float = 0.0  # what is better by less than this share does not renew the patience: measurements without noise

    def __post_init__(self):
        """Checks the settings."""
        for name in ("singles", "blocks"):
            _check(name, getattr(self, name), 0 < getattr(self, name) < 1, "a number between 0 and 1")
        for name in ("smoothing", "gain"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a number from 0 to below 1")
        for name in ("side", "wide"):
            value = getattr(self, name)
            _check(name, value, value >= 1 and value % 2 == 1, "an odd number of entries")
        for name in ("patience", "tolerance", "late"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "a number that is not negative")
        _check("least", self.least, self.least >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> "_HeldOut":
        """Draws the entries of one run."""
        leaves, structure = jax.tree.flatten(problem.measurement)
        keys = jax.random.split(key, 1 + len(leaves))
        # Where a hole is, nothing depends on the image, so that nothing is learned from what is held out there.
        two = (keys[0], jax.random.fold_in(keys[0], 1))
        images = [[jax.random.uniform(k, part.shape, jnp.real(part).dtype).astype(part.dtype) for part in estimate] for k in two]
        depends = jax.tree.leaves(jax.tree.map(jnp.not_equal, *(problem.operator(*image) for image in images)))
        drawn = [self._draw(*parts) for parts in zip(keys[1:], leaves, depends, strict=True)]
        scored, hidden = (jax.tree.unflatten(structure, list(part)) for part in zip(*drawn, strict=True))
        best = _nothing(problem, estimate)
        return _HeldOut(scored, hidden, jnp.zeros((), problem.dtype), best, best.score, best.step, best.score, jnp.int32(0))

    def _draw(self, key, measurement, measured):
        """Returns what is scored, and what is held out, of one array, for all of its channels at once."""
        shape = (*measurement.shape[:-1], 1) if measurement.ndim > 1 else measurement.shape
        measured = measured.any(-1, keepdims=True) if measurement.ndim > 1 else measured
        # Of more entries a smaller share suffices: what is held out is restored less well.
        fewer = min(1.0, (_USUAL / measured.size) ** 0.5)
        single = _chosen(key, measured, fewer * self.singles)
        if measurement.ndim != 3 or jnp.iscomplexobj(measurement) or min(shape[:2]) < max(_PATCH, 3 * max(self.side, self.wide)):
            return single, single
        near, far = noise_correlation(measurement)
        scored, hidden = single, single
        correlated = near > self.correlation
        for side, core, is_right in ((self.side, self.side - 2, correlated), (self.wide, 1, correlated & (far > _FAR))):
            centre = _chosen(key, measured, fewer * self.blocks / side**2)
            pair = tuple(lax.reduce_window(centre, False, lax.bitwise_or, (n, n, 1), (1, 1, 1), "SAME") for n in (max(core, 1), side))
            scored, hidden = where(is_right, pair, (scored, hidden))
        return scored, hidden

    def hide(self, memory: "_HeldOut", prediction: Any, measurement: Any) -> Any:
        """Returns the prediction with the measurement itself at all that is held out."""
        return jax.tree.map(jnp.where, memory.hidden, measurement, prediction)

    def seen(self, memory: "_HeldOut", problem: Problem) -> Problem:
        """Returns the problem as the run may see it: what is held out is filled in from around."""
        return problem.replace(measurement=jax.tree.map(filled, problem.measurement, memory.hidden))

    def update(self, memory: "_HeldOut", look: Look) -> Verdict:
        """Scores the average of the outputs at what is held out."""
        y, dtype = look.problem.measurement, memory.score.dtype
        shown = jax.tree.map(jnp.where, memory.scored, look.prediction, y)
        share = sum(mark.sum() * leaf.shape[-1] for mark, leaf in zip(*map(jax.tree.leaves, (memory.scored, y)), strict=True))
        now = (look.loss(shown, y) * sum(leaf.size for leaf in jax.tree.leaves(y)) / share).astype(dtype)
        weight = jnp.maximum(1 - self.smoothing, 1 / (look.step.astype(dtype) + 1)).astype(dtype)
        score = memory.score + weight * (now - memory.score)
        chance, worse = ((part / jnp.sqrt(share.astype(dtype))).astype(dtype) for part in (self.tolerance, self.late))
        renewed = score < memory.level * (1 - self.gain)
        level, since = where(renewed, (score, look.step), (memory.level, memory.since))
        stop = look.step - since > self.patience * since + self.least

        lowest, step = where(score < memory.best.score, (score, look.step), (memory.best.score, memory.best.step))
        first, later = score < memory.first * (1 - chance), score <= lowest * (1 + worse)
        number = jnp.where(first, 1, memory.number + later)
        weight = jnp.where(first, 1, later / jnp.maximum(number, 1)).astype(dtype)
        move = lambda old, new: (old + weight * (new - old)).astype(old.dtype)  # noqa: E731
        best = Best(lowest, step, jax.tree.map(move, memory.best.estimate, look.estimate))
        held = _HeldOut(memory.scored, memory.hidden, score, best, level, since, jnp.where(first, score, memory.first), number)
        return Verdict(held, best, score, stop)


class _HeldOut(NamedTuple):
    scored: Any  # trees of (h, w, 1), bool
    hidden: Any
    score: Array  # (), smoothed
    best: Best
    level: Array  # () and the next: the last that was better by `gain`
    since: Array
    first: Array  # () and the next: of the moments over which the estimate is the mean
    number: Array


_USUAL = 128**2  # entries, up to which the shares are as they are set; beyond, they fall with the root of the number


def _chosen(key, measured, share):
    """Marks a share of what was measured, at least one entry."""
    draw = jnp.where(measured, jax.random.uniform(key, measured.shape), 2)
    number = jnp.maximum(1, jnp.round(share * measured.sum())).astype(jnp.int32)
    return (draw <= jnp.sort(draw.ravel())[number - 1]) & measured


def filled(measurement: Array, hidden: Array) -> Array:
    """Returns an array with the mean of what is near in the place of what is hidden: within one entry, else within eight."""
    for reach in (1, 8):
        size = (2 * reach + 1,) * max(measurement.ndim - 1, 1)
        window = (size if measurement.ndim == 1 else (*size, 1), (1,) * measurement.ndim, "SAME")
        number = lax.reduce_window((~hidden).astype(measurement.dtype), 0.0, lax.add, *window)
        mean = lax.reduce_window(jnp.where(hidden, 0, measurement), 0.0, lax.add, *window) / jnp.maximum(jnp.real(number), 1)
        measurement, hidden = jnp.where(hidden, mean.astype(measurement.dtype), measurement), hidden & (number == 0)
    return measurement


_PATCH = 8  # pixels on a side
_FAR = 0.1  # correlation over two pixels, from which noise is correlated farther than between neighbours


def noise_correlation(picture: Array) -> tuple[Array, Array]:
    """Returns the correlation of the noise over one and over two pixels of a real picture `(h, w, C)`, measured where it is flattest.

    From the tenth of all patches of 8 x 8 pixels that vary least around a plane. White noise has -0.05 to 0.1; noise that a camera has
    interpolated 0.5 and more.
    """
    axis = np.linspace(-1, 1, _PATCH)
    plane = np.stack([np.ones((_PATCH, _PATCH)), *np.meshgrid(axis, axis)], -1).reshape(-1, 3)
    rest = jnp.asarray(np.eye(_PATCH**2) - plane @ np.linalg.pinv(plane), picture.dtype)
    starts = [np.arange(0, size - _PATCH + 1, max(_PATCH // 2, size // 64)) for size in picture.shape[:2]]
    rows, columns = (start[:, None] + np.arange(_PATCH) for start in starts)
    patches = picture[rows][:, :, columns].transpose(0, 2, 4, 1, 3).reshape(-1, picture.shape[-1], _PATCH**2)
    patches = jnp.einsum("ncp,pq->ncq", patches, rest, precision="highest").reshape(*patches.shape[:2], _PATCH, _PATCH)
    power = jnp.mean(patches**2, (1, 2, 3))
    # Where the range of the camera ends there is no noise.
    order = jnp.argsort(jnp.where(power > jnp.finfo(power.dtype).eps, power, jnp.inf))
    flattest = patches[order[: max(8, len(power) // 10)]]
    squares = jnp.maximum(jnp.mean(flattest**2), jnp.finfo(power.dtype).tiny)

    def over(lag):
        across, down = flattest[..., lag:] * flattest[..., :-lag], flattest[..., lag:, :] * flattest[..., :-lag, :]
        return (jnp.mean(across) + jnp.mean(down)) / 2 / squares

    return over(1), over(2)


@dataclass(frozen=True)
class WindowedVariance:
    """ES-WMV: stops where the outputs of a window of steps vary least (Wang et al., Early stopping for deep image prior, 2021).

    The estimate is the output of that moment. Memory grows with `window` pictures for every run.
    """

    window: int = 100
    patience: int = 1000

    def __post_init__(self):
        """Checks the settings."""
        _check("window", self.window, self.window >= 2, "a whole number of steps from 2")
        _check("patience", self.patience, self.patience >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Returns an empty window."""
        del key
        image = estimate[0]
        ring = jnp.zeros((self.window, *image.shape), image.dtype)
        return ring, image, jnp.zeros((), problem.dtype), _nothing(problem, estimate)

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Takes the newest output into the window and drops the oldest: mean and sum of squares follow exactly, in O(N)."""
        ring, mean, squares, best = memory
        new, place = look.output[0], look.step % self.window
        old = ring[place]
        ring = ring.at[place].set(new)
        # At the end of a window both are computed afresh, so that rounding does not pile up.
        moved = mean + (new - old) / self.window
        change = jnp.sum(jnp.real((new - old) * jnp.conj((new - moved) + (old - mean))))
        whole = ring.mean(0)
        fresh = place == self.window - 1
        mean = jnp.where(fresh, whole, moved)
        squares = jnp.where(fresh, jnp.sum(jnp.abs(ring - whole) ** 2), squares + change).astype(squares.dtype)
        full = look.step >= self.window - 1
        score = jnp.where(full, squares / (self.window * new.size), jnp.inf).astype(best.score.dtype)
        best = _better(best, score, look, look.output)
        return Verdict((ring, mean, squares, best), best, score, full & (look.step - best.step >= self.patience))


@dataclass(frozen=True)
class AveragedVariance:
    """ES-EMV: like ES-WMV with exponential averages instead of a window, which need the memory of one picture (Wang et al., 2021).

    The estimate is the exponential average of the outputs.
    """

    weight: float = 0.1  # of the newest output
    patience: int = 1000
    start: int = 100  # steps before which nothing is compared

    def __post_init__(self):
        """Checks the settings."""
        _check("weight", self.weight, 0 < self.weight < 1, "a number between 0 and 1")
        _check("patience", self.patience, self.patience >= 1, "a whole number of steps from 1")
        _check("start", self.start, self.start >= 0, "a whole number of steps from 0")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Returns empty averages."""
        del key
        return estimate, jnp.zeros((), problem.dtype), _nothing(problem, estimate)

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Takes the newest output into the averages."""
        mean, variance, best = memory
        first = look.step == 0
        weight = jnp.where(first, 1, self.weight).astype(variance.dtype)
        distance = jnp.mean(jnp.abs(look.output[0] - mean[0]) ** 2)
        variance = jnp.where(first, 0, (1 - weight) * (variance + weight * distance)).astype(variance.dtype)
        mean = jax.tree.map(lambda old, new: (old + weight * (new - old)).astype(old.dtype), mean, look.output)
        counts = look.step > self.start
        score = jnp.where(counts, variance, jnp.inf).astype(best.score.dtype)
        best = _better(best, score, look, mean)
        return Verdict((mean, variance, best), best, score, counts & (look.step - best.step >= self.patience))


@dataclass(frozen=True)
class Discrepancy:
    """The discrepancy principle: stops when the average fits the measurement as closely as its noise allows (Morozov, 1966)."""

    sigma: float | None = None  # standard deviation of the noise, in the units of the measurement; None: estimated
    tau: float = 1.0  # stops at `tau^2 sigma^2`; more stops sooner

    def __post_init__(self):
        """Checks the settings."""
        _check_sigma(self.sigma)
        _check("tau", self.tau, self.tau > 0, "a positive number")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Estimates the noise where it is not given."""
        del key
        return _variance(self.sigma, problem), _nothing(problem, estimate)

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Compares the residual with the noise."""
        variance, best = memory
        score = jnp.abs(_mean_square(look) - self.tau**2 * variance).astype(best.score.dtype)
        best = _better(best, score, look)
        return Verdict((variance, best), best, score, _mean_square(look) <= self.tau**2 * variance)


@dataclass(frozen=True)
class Sure:
    """Stein's unbiased estimate of the error, for Gaussian noise and a squared loss: takes the moment at which it is least.

    `|A x - y|^2 / N - sigma^2 + 2 sigma^2 d`, where d is the share of the noise that was fitted. It is measured: the run fits the
    measurement with a little noise more, whose component in the prediction is d (Stein, 1981; pseudo-noise as in the orthogonal stopping
    criterion of 2019). No derivative is needed.
    """

    sigma: float | None = None  # standard deviation of the noise, in the units of the measurement; None: estimated
    pseudo: float = 0.3  # standard deviation of what is added, in units of sigma
    patience: float = 0.5  # as in `HeldOut`
    least: int = 100

    def __post_init__(self):
        """Checks the settings."""
        _check_sigma(self.sigma)
        _check("pseudo", self.pseudo, self.pseudo > 0, "a positive number")
        _check("patience", self.patience, self.patience >= 0, "a number that is not negative")
        _check("least", self.least, self.least >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> tuple:
        """Draws the noise that is added."""
        variance = _variance(self.sigma, problem)
        leaves, structure = jax.tree.flatten(problem.measurement)
        size = self.pseudo * jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).eps))
        keys = jax.random.split(key, len(leaves))
        added = [size * jax.random.rademacher(k, y.shape, problem.dtype) for k, y in zip(keys, leaves, strict=True)]
        return variance, jax.tree.unflatten(structure, added), _nothing(problem, estimate)

    def hide(self, memory: tuple, prediction: Any, measurement: Any) -> Any:
        """Returns the prediction less what is added to the measurement: the residual that counts."""
        del measurement
        return jax.tree.map(lambda p, noise: p - noise.astype(p.dtype), prediction, memory[1])

    def update(self, memory: tuple, look: Look) -> Verdict:
        """Computes the estimate of the error."""
        variance, added, best = memory
        residual = jax.tree.map(jnp.subtract, look.prediction, look.problem.measurement)
        inner = lambda a, b: sum(map(lambda x, y: jnp.sum(jnp.real(x) * y), *map(jax.tree.leaves, (a, b))))  # noqa: E731
        fitted = inner(residual, added) / inner(added, added)  # the chance correlation with the measurement is gone with it
        score = (_mean_square(look) - variance + 2 * variance * fitted).astype(best.score.dtype)
        best = _better(best, score, look)
        stop = look.step - best.step > self.patience * best.step + self.least
        return Verdict((variance, added, best), best, score, stop)


@dataclass(frozen=True)
class Samples:
    """Gives the mean of outputs at a distance, and keeps their variance; never stops. For `optimizers.Langevin` (Cheng et al., 2019)."""

    start: int = 7000  # steps before the first sample
    every: int = 50  # steps from one to the next

    def __post_init__(self):
        """Checks the settings."""
        _check("start", self.start, self.start >= 0, "a whole number of steps from 0")
        _check("every", self.every, self.every >= 1, "a whole number of steps from 1")

    def init(self, key: Array, problem: Problem, estimate: tuple) -> "Sampled":
        """Returns no samples."""
        del key
        return Sampled(jnp.int32(0), jnp.zeros(estimate[0].shape, problem.dtype), _nothing(problem, estimate))

    def update(self, memory: "Sampled", look: Look) -> Verdict:
        """Takes a sample where one is due."""
        due = (look.step >= self.start) & ((look.step - self.start) % self.every == 0)
        number = memory.number + due
        mean = memory.best.estimate
        share = (due / jnp.maximum(number, 1)).astype(memory.squares.dtype)
        new = jax.tree.map(lambda old, output: (old + share * (output - old)).astype(old.dtype), mean, look.output)
        change = jnp.real((look.output[0] - mean[0]) * jnp.conj(look.output[0] - new[0]))
        squares = memory.squares + jnp.where(due, change, 0)
        score = jnp.where(number > 0, -number, jnp.inf).astype(memory.best.score.dtype)
        best = Best(score, jnp.where(due, look.step, memory.best.step), new)
        return Verdict(Sampled(number, squares.astype(memory.squares.dtype), best), best, score, jnp.bool(False))


class Sampled(NamedTuple):
    """What `Samples` remembers."""

    number: Array  # ()
    squares: Array  # (H, W, C), the sum of squared distances from the mean
    best: Best


_WORSE = 0.1  # of the median of the scores above it, and ...
_FARTHER = 2.0  # ... times the median distance from the others: what a seed must exceed in both to be left out


def disagreeing(images: np.ndarray, alive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns which of `K` seeds predict what they have not seen worse than the others, and also lie far from them, `(..., K)`.

    Of fewer than three living seeds none can be said to be the odd one, and of more at most every third is.

    Args:
      images: `(..., K, H, W, C)`.
      alive: `(..., K)`.
      scores: `(..., K)`, the lower the better.
    """
    odd = np.zeros(alive.shape, bool)
    for at in np.ndindex(alive.shape[:-1]):
        living = np.flatnonzero(alive[at] & np.isfinite(scores[at]))
        middle = np.median(scores[at][living]) if len(living) > 2 else np.inf
        worse = living[scores[at][living] > middle + _WORSE * abs(middle)]
        if not len(worse):
            continue
        # From the median of the others, which an odd one among them does not move.
        distance = np.array([np.mean(np.abs(images[at][k] - np.median(images[at][living[living != k]], axis=0)) ** 2) for k in living])
        far = living[distance > _FARTHER**2 * np.median(distance)]
        both = sorted(set(worse) & set(far), key=lambda k: -scores[at][k])
        odd[at][both[: len(living) // 3]] = True
    return odd


def _mean_square(look):
    parts = jax.tree.leaves(jax.tree.map(lambda p, y: jnp.abs(p - y) ** 2, look.prediction, look.problem.measurement))
    return sum(part.sum() for part in parts) / sum(part.size for part in parts)


def _variance(sigma, problem):
    """Returns the variance of the noise: given, or from the finest differences."""
    if sigma is not None:
        return jnp.array(sigma**2, problem.dtype)
    parts = [finest(y).ravel() for y in jax.tree.leaves(problem.measurement)]
    return ((jnp.median(jnp.concatenate(parts)) / 0.6745) ** 2).astype(problem.dtype)


def finest(measurement: Array) -> Array:
    """Returns the absolute diagonal differences of neighbours, scaled to the noise, whose deviation is their median over 0.6745.

    Arrays of NumPy stay so: what is called back from a compiled program must not compute with JAX.

    Reference: Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994.
    """
    numpy = np if isinstance(measurement, np.ndarray) else jnp
    axes = [axis for axis in range(max(measurement.ndim - 1, 1)) if measurement.shape[axis] > 1]
    for axis in axes:
        measurement = numpy.diff(measurement, axis=axis)
    return numpy.abs(measurement) * 0.5 ** (len(axes) / 2)


def _check(name, value, is_right, expected):
    if not is_right:
        raise ValueError(f"{name}: found {value!r}, expected {expected}.")


def _check_sigma(sigma):
    _check("sigma", sigma, sigma is None or sigma > 0, "a positive number, or None to estimate it")


REGISTRY = {"held-out": HeldOut, "wmv": WindowedVariance, "emv": AveragedVariance, "discrepancy": Discrepancy, "sure": Sure}
"""The word of `--stop`, and its rule."""
