"""Image penalties: values with `__call__(image (..., C)) -> ()`, which a recipe adds to its loss.

One that needs them may take two more arguments, the problem and the progress of the run in [0, 1]. To add one, add a frozen dataclass.

Examples:
  >>> image = jnp.eye(8)[..., None]
  >>> round(float(dipjax.penalties.TotalVariation(1.0)(image)), 3), round(float(dipjax.penalties.TotalVariationSum(1.0)(image)), 1)
  (0.374, 23.9)
  >>> round(float(dipjax.penalties.WeightedTotalVariation(1.0)(image)), 3), round(float(dipjax.penalties.Denoised(1.0)(image)), 4)
  (0.047, 0.0469)
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import jax.numpy as jnp
from jax import Array, lax

from dipjax.fitting.losses import mean_over
from dipjax.operators import checks, foreign


@dataclass(frozen=True)
class TotalVariation:
    """Total variation, `weight * mean sqrt(|dx|^2 + |dy|^2 + epsilon^2)`: a greater `weight` gives a flatter image.

    The differences are forward ones along every axis of space, zero at its end. The anisotropic one, `sqrt(|dx|^2 + epsilon^2) +
    sqrt(|dy|^2 + epsilon^2)`, likes edges along the axes better than others.

    Reference: Rudin, Osher, Fatemi, Nonlinear total variation based noise removal algorithms, 1992.

    Attributes:
      weight: positive.
      epsilon: at least 1e-12, in units of intensity: keeps the gradient finite on flat pixels, where the square root alone has none.
      is_isotropic: whether edges of all directions count alike.

    Raises:
      ValueError: a number is out of its range.
    """

    weight: float
    epsilon: float = 1e-3
    is_isotropic: bool = True

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("weight", self.weight)
        checks.positive("epsilon", self.epsilon, least=1e-12)

    def __call__(self, image: Array) -> Array:
        """Returns the penalty `()` of an image `(..., C)`."""
        squares = [difference**2 for difference in _differences(image)]
        squares = [sum(squares)] if self.is_isotropic else squares
        return self.weight * sum(jnp.mean(jnp.sqrt(one + self.epsilon**2)) for one in squares)


def _differences(image):
    """Returns the differences of neighbours along every axis of space, each of the image's shape."""
    lasts = (image[(slice(None),) * axis + (slice(-1, None),)] for axis in range(image.ndim - 1))
    return [jnp.diff(image, axis=axis, append=last) for axis, last in enumerate(lasts)]


@dataclass(frozen=True)
class TotalVariationSum:
    """`TotalVariation` as a sum over pixels and channels, which the weights of the paper mean (utils/sr_utils.py, tv_loss).

    Attributes:
      weight: positive.
      epsilon: as for `TotalVariation`.

    Raises:
      ValueError: a number is out of its range.
    """

    weight: float
    epsilon: float = 1e-3

    def __post_init__(self):
        """Checks the settings."""
        TotalVariation(self.weight, self.epsilon)

    def __call__(self, image: Array) -> Array:
        """Returns the penalty `()` of an image `(..., C)`."""
        return image.size * TotalVariation(self.weight, self.epsilon)(image)


@dataclass(frozen=True)
class WeightedTotalVariation:
    """Total variation that spares what varies: each pixel counts in inverse proportion to how much the image varies around it.

    So flat parts become flatter and textures stay. The weights are those of the image of the same step, and their mean is one; no
    gradient goes through them.

    Reference: Cascarano, Sebastiani, Comes, Franchini, Porta, Combining weighted total variation and deep image prior for natural and
    medical image restoration via ADMM, ICCSA 2021; here by the gradient alone, and with the channels together.

    Attributes:
      weight: positive; greater ones give a flatter image.
      side: pixels of the square that is around a pixel, odd.
      floor: positive, in units of intensity: what varies less counts as if it varied so much.
      epsilon: as for `TotalVariation`.

    Raises:
      ValueError: a number is out of its range.
    """

    weight: float
    side: int = 5
    floor: float = 0.01
    epsilon: float = 1e-3

    def __post_init__(self):
        """Checks the settings."""
        TotalVariation(self.weight, self.epsilon)
        checks.count("side", self.side)
        checks.positive("floor", self.floor)
        if self.side % 2 == 0:
            raise ValueError(f"side: found {self.side}, expected an odd number.")

    def __call__(self, image: Array) -> Array:
        """Returns the penalty `()` of an image `(..., C)`."""
        squares = sum(difference**2 for difference in _differences(image))
        varies = lax.stop_gradient(jnp.mean(jnp.sqrt(squares), -1, keepdims=True))
        weights = 1 / jnp.maximum(mean_over(_padded(varies, self.side // 2), self.side), self.floor)
        return self.weight * jnp.mean(weights / jnp.mean(weights) * jnp.sqrt(squares + self.epsilon**2))


def _padded(image, reach):
    """Returns the image with so many more pixels around it; beyond its edges it goes on as there."""
    return jnp.pad(image, [(reach, reach)] * (image.ndim - 1) + [(0, 0)], mode="edge")


def median(image: Array) -> Array:
    """Returns the median of a pixel and its neighbours, corners too, of every channel of an image `(..., C)`: a denoiser."""
    padded, sizes = _padded(image, 1), image.shape[:-1]
    places = product(range(3), repeat=len(sizes))
    moved = [padded[tuple(slice(first, first + size) for first, size in zip(place, sizes, strict=True))] for place in places]
    return jnp.median(jnp.stack(moved), axis=0)


@dataclass(frozen=True)
class Denoised:
    """Regularisation by denoising: the image is drawn to what a denoiser makes of it, with the gradient `weight (x - D(x)) / N`.

    That is the gradient of `weight sum(x (x - D(x))) / (2 N)` where the denoiser is as the paper wants it; of any other it is taken for
    the gradient, as the paper does in practice. So a denoiser needs no derivative. It is called in every step: a slow one makes all slow.

    References: Romano, Elad, Milanfar, The little engine that could: regularization by denoising (RED), SIAM J. Imaging Sci. 2017; Mataev,
    Elad, Milanfar, DeepRED: deep image prior powered by RED, ICCV workshops 2019.

    Attributes:
      weight: positive; of 1, a difference counts half as much as one from the measurement does in `losses.MSE`.
      denoiser: `(image (..., C)) -> image`; None is `median`.
      is_numpy: whether it computes with NumPy, on the host, as those of scikit-image do; it must not call JAX then.

    Raises:
      ValueError: the weight is not positive, the denoiser no function, or what it gives has another shape; of one with `is_numpy` that
        is found out in the run, and is a JaxRuntimeError.
    """

    weight: float
    denoiser: Callable | None = None
    is_numpy: bool = False

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("weight", self.weight)
        if not (callable(self.denoiser) or (self.denoiser is None and not self.is_numpy)):
            raise ValueError(f"denoiser: found {self.denoiser!r}, expected a function (image).")

    def __call__(self, image: Array) -> Array:
        """Returns `weight mean (x - D(x))^2 / 2`, `()`; no gradient goes through the denoiser."""
        shown = lax.stop_gradient(image)
        if self.is_numpy:
            made = foreign.on_host(self.denoiser, image.shape, image.dtype, shown, name="denoiser")
        else:
            made = (median if self.denoiser is None else self.denoiser)(shown)
        if made.shape != image.shape:
            raise ValueError(f"denoiser: found an image of shape {made.shape} from it, expected {image.shape}.")
        return self.weight * 0.5 * jnp.mean((image - lax.stop_gradient(made).astype(image.dtype)) ** 2)


REGISTRY = {"tv": TotalVariation, "tv-sum": TotalVariationSum, "weighted-tv": WeightedTotalVariation, "red": Denoised}
"""Every penalty, for the tables of tests and records."""
