"""Optimizers and schedules with names: optax's, cached, so that equal arguments give the same object and nothing recompiles."""

from collections.abc import Callable
from functools import cache

import optax

Schedule = Callable[[float, int], optax.Schedule | float]


def constant(learning_rate: float, num_steps: int) -> float:
    """Returns the same learning rate for every step, as the paper does."""
    del num_steps
    return learning_rate


@cache
def cosine(learning_rate: float, num_steps: int) -> optax.Schedule:
    """Returns a learning rate that falls from `learning_rate` to zero along a half cosine."""
    return optax.cosine_decay_schedule(learning_rate, num_steps)


@cache
def adam(learning_rate: float, num_steps: int, schedule: Schedule = constant) -> optax.GradientTransformation:
    """Returns Adam with optax's (and PyTorch's) defaults; the same object for equal arguments.

    It works on all parameters as one long vector: the same numbers, in a handful of kernels instead of a handful for each array.
    """
    return optax.flatten(optax.adam(schedule(learning_rate, num_steps)))
