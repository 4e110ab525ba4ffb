"""Data-fit losses: values with `__call__(prediction, measurement) -> ()`.

Losses are means over all elements, so that a weight means the same at every image size; prediction and measurement are arrays or equal
trees of arrays, real or complex. To add one, add a frozen dataclass, and a row to `REGISTRY`, where `--loss` finds it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dipjax.core.recipe import MSE, mean_of

__all__ = ["L1", "MSE", "REGISTRY", "Huber", "Maximise", "Poisson", "make"]


@dataclass(frozen=True)
class L1:
    """The mean absolute error: robust to a few pixels that are far off, such as salt and pepper."""

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `mean |prediction - measurement|`."""
        return mean_of(jnp.abs, prediction, measurement)


@dataclass(frozen=True)
class Huber:
    """A loss that is quadratic for errors below `delta` and linear above; a smaller `delta` is closer to `L1`."""

    delta: float = 0.1

    def __post_init__(self):
        """Checks the setting."""
        _check_positive("delta", self.delta)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns the mean of `e^2 / 2` or `delta (|e| - delta / 2)`."""
        return mean_of(lambda error: optax.losses.huber_loss(jnp.abs(error), delta=self.delta), prediction, measurement)


@dataclass(frozen=True)
class Poisson:
    """The negative log-likelihood of counts, per element, less that of a perfect fit: noise of few photons.

    `photons` are those of a measurement of 1; what counts is their product with the measurement. The prediction is kept above
    `epsilon`, and so is the measurement, whose noise may have made it negative.
    """

    photons: float = 30.0
    epsilon: float = 1e-3

    def __post_init__(self):
        """Checks the settings."""
        _check_positive("photons", self.photons)
        _check_positive("epsilon", self.epsilon)

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `photons * mean(p - y + y log(y / p))`, never negative."""

        def one(prediction, measurement):
            p, y = jnp.maximum(prediction, self.epsilon), jnp.maximum(measurement, self.epsilon)
            return p - y + y * (jnp.log(y) - jnp.log(p))

        parts = jax.tree.leaves(jax.tree.map(one, prediction, measurement))
        return self.photons * sum(jnp.sum(part) for part in parts) / sum(part.size for part in parts)


@dataclass(frozen=True)
class Maximise:
    """Makes activations as large as they can be; a greater `weight` counts more against a penalty."""

    weight: float = 1.0

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `-weight * sum(prediction)`."""
        del measurement
        return -self.weight * sum(jnp.sum(part) for part in jax.tree.leaves(prediction))


REGISTRY = {"mse": MSE, "l1": L1, "huber": Huber, "poisson": Poisson}
"""Every loss for pictures by its word; a number behind a colon, as in huber:0.1, is its first setting."""


def make(word: str) -> Any:
    """Returns the loss of a word of the command line: `mse`, `l1`, `huber`, `huber:0.05`, `poisson`, `poisson:100`.

    Raises:
      ValueError: there is no such loss, or its number is not positive.
    """
    name, colon, number = word.partition(":")
    if name not in REGISTRY or (colon and not REGISTRY[name].__dataclass_fields__):
        expected = ", ".join(f"{name}[:number]" if loss.__dataclass_fields__ else name for name, loss in REGISTRY.items())
        raise ValueError(f"loss: found {word!r}, expected one of {expected}.")
    try:
        return REGISTRY[name](*([float(number)] if colon else []))
    except ValueError as error:
        raise ValueError(f"loss: found {word!r}, expected a positive number behind the colon.") from error


def _check_positive(name, value):
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: found {value!r}, expected a positive number.")
