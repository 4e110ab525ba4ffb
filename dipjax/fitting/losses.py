"""Data-fit losses: values with `__call__(prediction, measurement) -> ()`.

Losses are means over all elements, so that a weight means the same at every image size; prediction and measurement are arrays or equal
trees of arrays, real or complex, of any shape. To add one, add a frozen dataclass, and a row to `REGISTRY`, where `--loss` finds it.

Examples:
  >>> prediction, measurement, losses = np.full((8, 8, 1), 0.5, np.float32), np.zeros((8, 8, 1), np.float32), dipjax.losses
  >>> {word: round(float(losses.make(word)(prediction, measurement)), 3) for word in ("mse", "l1", "huber:0.1", "gradients")}
  {'mse': 0.25, 'l1': 0.5, 'huber:0.1': 0.045, 'gradients': 0.0}
  >>> losses.make("l1+ssim:0.01")
  Sum(losses=(L1(), Structure(scales=3, window=7)), weights=(1.0, 0.01))
  >>> features = losses.Perceptual(lambda image: image.mean((0, 1)), weight=2.0)
  >>> float(features(prediction, measurement)), float(losses.Maximise()(prediction, measurement))
  (0.5, -32.0)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from dipjax.core.recipe import MSE, mean_of
from dipjax.operators import checks

__all__ = [
    "Consistency",
    "L1",
    "MSE",
    "REGISTRY",
    "Anscombe",
    "BackProjection",
    "Gradients",
    "Huber",
    "Logarithm",
    "Maximise",
    "Perceptual",
    "Poisson",
    "RootMSE",
    "Structure",
    "Sum",
    "make",
]


@dataclass(frozen=True)
class BackProjection(MSE):
    """The mean squared error after all frequencies were made as strong as before the operator weakened them: for a blur, or sums of rays.

    A network fits last of what little is left; what a blur has left of fine detail is little. The misfit is taken as
    `(A A^T + level)^(-1/2) (A x - y)`, by `whiten` of the operator, which many steps fewer fit, to a sharper picture; of a blur that is not
    known by what pictures usually hold of each frequency. For an operator without `whiten` it is the mean squared error, and so it is as a
    function of two arrays.

    Reference: Tirer, Giryes, Back-projection based fidelity term for ill-posed linear inverse problems, IEEE TIP 2020; Zukerman, Tirer,
    Giryes, BP-DIP: A backprojection based deep image prior, EUSIPCO 2020.
    """

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `mean |prediction - measurement|^2`, `()`."""
        return super().__call__(prediction, measurement)

    def whitened(self, operator: Callable, prediction: Any, measurement: Any) -> Any:
        """Returns the measurement and the misfit of the prediction as the operator whitens it, of the measurement's shape."""
        whiten = getattr(operator, "whiten", None)
        return prediction if whiten is None else measurement + whiten(prediction - measurement)


@dataclass(frozen=True)
class L1:
    """The mean absolute error: robust to a few pixels that are far off, such as salt and pepper."""

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `mean |prediction - measurement|`, `()`."""
        return mean_of(jnp.abs, prediction, measurement)


@dataclass(frozen=True)
class Huber:
    """A loss that is quadratic for small errors e and linear for large ones.

    Reference: Huber, Robust estimation of a location parameter, 1964.

    Attributes:
      delta: where the one becomes the other, in units of the measurement; a smaller one is closer to `L1`.

    Raises:
      ValueError: delta is not positive.
    """

    delta: float = 0.1

    def __post_init__(self):
        """Checks the setting."""
        checks.positive("delta", self.delta, least=1e-30)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns the mean `()` of `e^2 / 2` where `|e| <= delta`, else `delta (|e| - delta / 2)`."""
        return mean_of(lambda error: optax.losses.huber_loss(jnp.abs(error), delta=self.delta), prediction, measurement)


@dataclass(frozen=True)
class Poisson:
    """The negative log-likelihood of counts, per element, less that of a perfect fit: noise of few photons.

    The logarithm of the prediction goes on as a straight line below `epsilon`, so that it has a gradient there.

    Reference: Shepp, Vardi, Maximum likelihood reconstruction for emission tomography, 1982.

    Attributes:
      photons: those of a measurement of 1; what counts is their product with the measurement.
      epsilon: above which the measurement is kept, whose noise may have made it negative; None is 0.03 photons, and 1e-3 at most.

    Raises:
      ValueError: either is not positive.
    """

    photons: float = 30.0
    epsilon: float | None = None

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("photons", self.photons, most=1e30)
        if self.epsilon is not None:
            checks.positive("epsilon", self.epsilon, least=1e-30)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `photons * mean(p - y + y log(y / p))`, `()`, never negative.

        Raises:
          ValueError: the measurement is complex.
        """
        _check_real("poisson", measurement)
        epsilon = min(1e-3, 0.03 / self.photons) if self.epsilon is None else self.epsilon

        def one(prediction, measurement):
            y = jnp.maximum(measurement, epsilon)
            log = jnp.log(jnp.maximum(prediction, epsilon)) + jnp.minimum(prediction / epsilon - 1, 0)
            return prediction - y + y * (jnp.log(y) - log)

        parts = jax.tree.leaves(jax.tree.map(one, prediction, measurement))
        return self.photons * sum(jnp.sum(part) for part in parts) / sum(part.size for part in parts)


@dataclass(frozen=True)
class Anscombe:
    """The square error of what is stabilised for noise of photons, times the gain, so that it is of one size with the plain one.

    Stabilised noise has the same strength everywhere, so that dark parts, where it is weak, count more than in the plain square error.

    Reference: Anscombe, The transformation of Poisson, binomial and negative-binomial data, 1948.

    Attributes:
      gain: what one photon adds to a measurement, 1 over the photons at 1.

    Raises:
      ValueError: the gain is not positive.
    """

    gain: float = 1 / 30

    def __post_init__(self):
        """Checks the setting."""
        checks.positive("gain", self.gain, least=1e-30, most=1e30)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `gain * mean (2 sqrt(p / gain + 3/8) - 2 sqrt(y / gain + 3/8))^2`, `()`; negative values are taken for 0.

        Raises:
          ValueError: the measurement is complex.
        """
        _check_real("anscombe", measurement)
        return self.gain * _transformed(lambda value: 2 * jnp.sqrt(value / self.gain + 3 / 8), prediction, measurement)


@dataclass(frozen=True)
class Logarithm:
    """The square error of logarithms: noise in proportion to the brightness, speckle.

    Attributes:
      epsilon: what is added before, in units of intensity: measurements may be zero. A greater one lets dark parts count less.

    Raises:
      ValueError: epsilon is not positive.
    """

    epsilon: float = 0.05

    def __post_init__(self):
        """Checks the setting."""
        checks.positive("epsilon", self.epsilon, least=1e-30)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `mean (log(p + epsilon) - log(y + epsilon))^2`, `()`; negative values are taken for 0.

        Raises:
          ValueError: the measurement is complex.
        """
        _check_real("log", measurement)
        return _transformed(lambda value: jnp.log(value + self.epsilon), prediction, measurement)


def _check_real(name, measurement):
    if any(map(jnp.iscomplexobj, jax.tree.leaves(measurement))):
        raise ValueError(f"loss: found {name} for a complex measurement, expected a real one.")


def _transformed(function, prediction, measurement):
    return MSE()(*(jax.tree.map(lambda value: function(jnp.maximum(value, 0)), tree) for tree in (prediction, measurement)))


@dataclass(frozen=True)
class RootMSE:
    """The root of the mean square error: beside a penalty such as total variation one weight fits noise of every strength.

    Reference: Belloni, Chernozhukov, Wang, Square-root lasso, 2011.

    Attributes:
      epsilon: in units of the measurement: keeps the gradient finite at a perfect fit.

    Raises:
      ValueError: epsilon is not positive.
    """

    epsilon: float = 1e-3

    def __post_init__(self):
        """Checks the setting."""
        checks.positive("epsilon", self.epsilon, least=1e-12)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `sqrt(mean |p - y|^2 + epsilon^2) - epsilon`, `()`."""
        return jnp.sqrt(MSE()(prediction, measurement) + self.epsilon**2) - self.epsilon


@dataclass(frozen=True)
class Consistency:
    """How far the residuals are, together, from normal noise of a known `sigma`: least where they look like it, and not at a perfect fit.

    So nothing is gained by fitting the noise. With `u = Phi((y - p) / sigma)`, uniform if the model is right, it is the distance of
    Wasserstein of `log(u / (1 - u))` from the logistic distribution, whose quantiles stand for its samples. Where a residual lies does
    not count, only how large it is; residuals of exactly zero, of what a mask, a frame or a stopping rule leaves out, do not count at
    all. Sorting makes a step dearer.

    Attributes:
      sigma: standard deviation of the noise, in units of intensity, positive.

    Reference: Webber et al., Distributional consistency loss, ICLR 2026.
    """

    sigma: float = 0.1

    def __post_init__(self):
        """Checks the setting."""
        checks.positive("sigma", self.sigma, least=1e-12)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns the mean distance over all elements of the trees together whose residual is not zero; over all where all are.

        Raises:
          ValueError: the measurement is complex.
        """
        _check_real("consistency", measurement)
        errors = jnp.concatenate([e.ravel() for e in jax.tree.leaves(jax.tree.map(jnp.subtract, measurement, prediction))])
        there = errors != 0
        there = there | ~there.any()
        number = there.sum().astype(errors.dtype)
        places = jnp.arange(errors.size, dtype=errors.dtype) + 0.5
        counts = places < number
        ordered = jnp.sort(jnp.where(there, errors / self.sigma, jnp.inf))  # and the logits are in the same order
        ordered = jnp.where(counts, ordered, 0)
        logits = jax.scipy.stats.norm.logcdf(ordered) - jax.scipy.stats.norm.logcdf(-ordered)
        levels = jnp.where(counts, places / number, 0.5)
        return jnp.sum(jnp.abs(logits - jnp.log(levels / (1 - levels)))) / number


@dataclass(frozen=True)
class Gradients:
    """The mean absolute error of the differences of neighbours, along every axis of space: edges count, brightness does not."""

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns the mean `()` over all differences of arrays `(..., C)`; 0 where there are none."""
        parts = [_differences(error) for error in jax.tree.leaves(jax.tree.map(jnp.subtract, prediction, measurement))]
        parts = [jnp.abs(part) for of_one in parts for part in of_one]
        return sum(jnp.sum(part) for part in parts) / max(1, sum(part.size for part in parts))


def _differences(image):
    return [jnp.diff(image, axis=axis) for axis in range(image.ndim - 1)]


@dataclass(frozen=True)
class Structure:
    """One less the structural similarity of pictures `(H, W, C)` in [0, 1], on several scales, each half of the one before.

    On every scale but the coarsest only contrast and structure are compared, on the coarsest brightness too. All weigh the same and are
    averaged, not multiplied, so that the gradient is finite where they are negative. Windows are squares.

    Reference: Wang, Simoncelli, Bovik, Multiscale structural similarity for image quality assessment, 2003.

    Attributes:
      scales: from 1; fewer are taken for a small picture.
      window: pixels on a side, from 1; fewer for a small picture.

    Raises:
      ValueError: either is no whole number from 1.
    """

    scales: int = 3
    window: int = 7

    def __post_init__(self):
        """Checks the settings."""
        for name in ("scales", "window"):
            value = getattr(self, name)
            checks.count(name, int(value) if isinstance(value, float) and value.is_integer() else value)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns the mean `()` over scales and windows, from 0 to 2.

        Raises:
          ValueError: the measurement is no real picture, or several.
        """
        pairs = list(zip(jax.tree.leaves(prediction), jax.tree.leaves(measurement), strict=True))
        if len(pairs) != 1 or pairs[0][1].ndim != 3 or jnp.iscomplexobj(pairs[0][1]):
            shapes = ", ".join(f"{y.shape} of {y.dtype}" for _, y in pairs)
            raise ValueError(f"loss: found ssim for a measurement {shapes}, expected one real picture (H, W, C).")
        x, y = pairs[0]
        side = min(int(self.window), *y.shape[:2])
        scales, parts = min(int(self.scales), (min(y.shape[:2]) // side).bit_length()), []
        for scale in range(scales):
            parts.append(_dissimilarity(x, y, side, with_brightness=scale == scales - 1))
            x, y = (mean_over(image, 2, 2) for image in (x, y)) if scale < scales - 1 else (x, y)
        return sum(parts) / scales


_DARK, _FLAT = 0.01**2, 0.03**2  # what the paper adds to brightness and to variance, for a range of 1


def mean_over(image: Array, side: int, stride: int = 1) -> Array:
    """Returns the means over every `stride`-th window of an image `(..., C)`, of `side` pixels along each axis of space."""
    axes = image.ndim - 1
    sums = lax.reduce_window(image, np.zeros((), image.dtype), lax.add, (*(side,) * axes, 1), (*(stride,) * axes, 1), "VALID")
    return sums / side**axes


def _dissimilarity(x, y, side, *, with_brightness):
    # Variances are of what is left without the mean of all: less of them is lost to rounding.
    centre = lax.stop_gradient(jnp.mean(y))
    a, b = x - centre, y - centre
    mean_a, mean_b = mean_over(a, side), mean_over(b, side)
    variances = mean_over(a**2, side) - mean_a**2 + mean_over(b**2, side) - mean_b**2
    alike = (2 * (mean_over(a * b, side) - mean_a * mean_b) + _FLAT) / (variances + _FLAT)
    if with_brightness:
        mean_x, mean_y = mean_a + centre, mean_b + centre
        alike = alike * (2 * mean_x * mean_y + _DARK) / (mean_x**2 + mean_y**2 + _DARK)
    return 1 - jnp.mean(alike)


@dataclass(frozen=True)
class Perceptual:
    """The square error of features of a picture: those of a network that somebody has trained, or of anything. Nothing is downloaded.

    Reference: Johnson, Alahi, Fei-Fei, Perceptual losses for real-time style transfer and super-resolution, 2016.

    Attributes:
      features: a function of a picture, or of whatever the measurement is, to an array or a tree of arrays; each array counts the same.
        What its network expects of pixels, their scale, mean and order, is up to it.
      weight: a greater one counts more against other losses.

    Raises:
      ValueError: the features are no function, or the weight is not positive.
    """

    features: Callable
    weight: float = 1.0

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("weight", self.weight)
        if not callable(self.features):
            raise ValueError(f"features: found {self.features!r}, expected a function of a picture.")

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `weight * mean |f(p) - f(y)|^2`, `()`, the mean over the arrays of the features."""
        pairs = zip(*(jax.tree.leaves(self.features(value)) for value in (prediction, measurement)), strict=True)
        errors = [MSE()(*pair) for pair in pairs]
        if not errors:
            raise ValueError("features: found a function that returns no array, expected at least one.")
        return self.weight * sum(errors) / len(errors)


@dataclass(frozen=True)
class Sum:
    """Several losses, each times its weight: `Sum((L1(), Structure()), (1.0, 0.01))`.

    Attributes:
      losses: at least one.
      weights: one for each, positive; a greater one counts more.

    Raises:
      ValueError: there is no loss, one is no function or a `BackProjection`, or there are not as many positive weights.
    """

    losses: tuple[Callable, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        """Checks the settings."""
        if not isinstance(self.losses, (tuple, list)) or not self.losses or not all(map(callable, self.losses)):
            raise ValueError(f"losses: found {self.losses!r}, expected one or more functions (prediction, measurement).")
        if not isinstance(self.weights, (tuple, list)) or len(self.losses) != len(self.weights):
            raise ValueError(f"weights: found {self.weights!r} for {len(self.losses)} losses, expected one for each.")
        for weight in self.weights:
            checks.positive("weights", weight)
        if any(hasattr(loss, "whitened") for loss in self.losses):
            raise ValueError("losses: found a back-projection in a sum, expected it alone: what it sees is no picture.")

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns the sum, `()`."""
        return sum(weight * loss(prediction, measurement) for loss, weight in zip(self.losses, self.weights, strict=True))


@dataclass(frozen=True)
class Maximise:
    """Makes activations as large as they can be (activation_maximization.ipynb).

    Attributes:
      weight: positive; a greater one counts more against a penalty.

    Raises:
      ValueError: the weight is not positive.
    """

    weight: float = 1.0

    def __post_init__(self):
        """Checks the setting."""
        checks.positive("weight", self.weight)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `-weight * sum(prediction)`, `()`; the measurement is not looked at."""
        del measurement
        return -self.weight * sum(jnp.sum(part) for part in jax.tree.leaves(prediction))


REGISTRY = {
    "mse": MSE,
    "back-projection": BackProjection,
    "l1": L1,
    "huber": Huber,
    "poisson": Poisson,
    "anscombe": Anscombe,
    "log": Logarithm,
    "rmse": RootMSE,
    "consistency": Consistency,
    "gradients": Gradients,
    "ssim": Structure,
}
"""Every loss for pictures by its word; a number behind a colon, as in huber:0.1, is its first setting."""


def make(word: str) -> Any:
    """Returns the loss of a word of the command line: `mse`, `l1`, `huber`, `huber:0.05`, `poisson`, `poisson:100`.

    Several are added, as in `l1+ssim:0.01`; there a number is a weight, 1 where there is none.

    Raises:
      ValueError: there is no such loss, or its number is not positive.
    """
    if "+" not in word:
        return _one(word, word)
    parts = [part.partition(":") for part in word.split("+")]
    chosen = tuple(_one(name, word) for name, _, _ in parts)
    if "back-projection" in word:
        raise ValueError(f"loss: found {word!r}, expected back-projection alone.")
    try:
        return Sum(chosen, tuple(float(number) if colon else 1.0 for _, colon, number in parts))
    except ValueError as error:
        raise ValueError(f"loss: found {word!r}, expected a positive weight behind each colon, as in l1+ssim:0.01.") from error


def _one(word, whole):
    name, colon, number = word.partition(":")
    if name not in REGISTRY or (colon and not REGISTRY[name].__dataclass_fields__):
        expected = ", ".join(f"{name}[:number]" if loss.__dataclass_fields__ else name for name, loss in REGISTRY.items())
        raise ValueError(f"loss: found {whole!r}, expected one of {expected}, or several of them with + between.")
    try:
        value = float(number) if colon else None
    except ValueError as error:
        raise ValueError(f"loss: found {whole!r}, expected a number behind the colon.") from error
    try:
        return REGISTRY[name](*([value] if colon else []))
    except ValueError as error:
        raise ValueError(f"loss: found {whole!r}, whose {error}") from error
