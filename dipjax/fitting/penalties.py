"""Image penalties: values with `__call__(image (..., C)) -> ()`, which a recipe adds to its loss.

One that needs them may take two more arguments, the problem and the progress of the run in [0, 1]. To add one, add a frozen dataclass.

Examples:
  >>> image = jnp.eye(8)[..., None]
  >>> round(float(dipjax.penalties.TotalVariation(1.0)(image)), 3), round(float(dipjax.penalties.TotalVariationSum(1.0)(image)), 1)
  (0.374, 23.9)
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from dipjax.operators import checks


@dataclass(frozen=True)
class TotalVariation:
    """Total variation, `weight * mean sqrt(|dx|^2 + |dy|^2 + epsilon^2)`: a greater `weight` gives a flatter image.

    The differences are forward ones along every axis of space, zero at its end.

    Reference: Rudin, Osher, Fatemi, Nonlinear total variation based noise removal algorithms, 1992.

    Attributes:
      weight: positive.
      epsilon: at least 1e-12, in units of intensity: keeps the gradient finite on flat pixels, where the square root alone has none.

    Raises:
      ValueError: a number is out of its range.
    """

    weight: float
    epsilon: float = 1e-3

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("weight", self.weight)
        checks.positive("epsilon", self.epsilon, least=1e-12)

    def __call__(self, image: Array) -> Array:
        """Returns the penalty `()` of an image `(..., C)`."""
        squares = self.epsilon**2
        for axis in range(image.ndim - 1):
            last = image[(slice(None),) * axis + (slice(-1, None),)]
            squares = squares + jnp.diff(image, axis=axis, append=last) ** 2
        return self.weight * jnp.mean(jnp.sqrt(squares))


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


REGISTRY = {"tv": TotalVariation, "tv-sum": TotalVariationSum}
"""Every penalty, for the tables of tests and records."""
