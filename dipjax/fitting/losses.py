"""Data-fit losses `(prediction, measurement) -> ()` and image penalties `(image (H, W, C)) -> ()`.

Losses are means over all elements, so that a weight means the same at every image size. Factories are cached: equal arguments give
the same function, so that equal recipes are equal and nothing recompiles. To add one, add a function.
"""

from collections.abc import Callable
from functools import cache

import jax.numpy as jnp
import optax
from jax import Array

Loss = Callable[[Array, Array], Array]
Penalty = Callable[[Array], Array]


def mse(prediction: Array, measurement: Array) -> Array:
    """Returns the mean squared error: Gaussian noise, and the official loss of every task."""
    return jnp.mean(optax.losses.squared_error(prediction, measurement))


def l1(prediction: Array, measurement: Array) -> Array:
    """Returns the mean absolute error: robust to a few pixels that are far off, such as salt and pepper."""
    return jnp.mean(jnp.abs(prediction - measurement))


@cache
def huber(delta: float = 0.1) -> Loss:
    """Returns a loss that is quadratic for errors below `delta` and linear above; a smaller `delta` is closer to `l1`."""

    def loss(prediction, measurement):
        return jnp.mean(optax.losses.huber_loss(prediction, measurement, delta=delta))

    return loss


@cache
def total_variation(weight: float, *, epsilon: float = 1e-3) -> Penalty:
    """Returns `weight * mean sqrt(|dx|^2 + |dy|^2 + epsilon^2)`: a greater `weight` gives a flatter image.

    The differences are forward ones, zero at the last row and column. `epsilon`, in units of intensity, keeps the gradient finite on
    flat pixels, where the square root alone has none.
    """

    def penalty(image):
        down = jnp.diff(image, axis=0, append=image[-1:])
        right = jnp.diff(image, axis=1, append=image[:, -1:])
        return weight * jnp.mean(jnp.sqrt(down**2 + right**2 + epsilon**2))

    return penalty


@cache
def total_variation_sum(weight: float, *, epsilon: float = 1e-3) -> Penalty:
    """Returns `total_variation` as a sum over pixels and channels, which the weights of the paper mean."""
    mean = total_variation(weight, epsilon=epsilon)

    def penalty(image):
        return image.size * mean(image)

    return penalty


@cache
def maximise(weight: float = 1.0) -> Loss:
    """Returns `-weight * sum(prediction)`, for activations that are to be as large as they can."""

    def loss(prediction, measurement):
        del measurement
        return -weight * jnp.sum(prediction)

    return loss
