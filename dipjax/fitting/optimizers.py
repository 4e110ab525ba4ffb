"""Optimizers and schedules as values: `__call__(progress) -> optax transformation`, with the progress of a run in [0, 1].

A schedule `__call__(progress)` gives the factor of the learning rate. It follows progress and not steps, so that a run of any length
follows all of it, with one compiled program. To add one, add a frozen dataclass; with `is_elementwise = True`, for one that treats every
number alike and is in `optax.flatten`, the parameters are one vector while steps are taken, which compiles sooner.

An optax transformation in place of these is welcome too: `optax.adamw(0.01, weight_decay=1e-2)` for decay of the weights, or
`optax.chain(optax.adam(0.01), optax.contrib.reduce_on_plateau())` for a rate that falls where the loss stands still.

Examples:
  >>> optimizers = dipjax.optimizers
  >>> float(optimizers.Constant()(1.0)), float(optimizers.Cosine()(1.0)), float(optimizers.Halving()(1.0))
  (1.0, 0.0, 0.125)
  >>> step = optimizers.Adam(0.01, optimizers.Cosine())(0.0)
  >>> updates, _ = step.update({"w": jnp.ones(2)}, step.init({"w": jnp.zeros(2)}))
  >>> updates["w"].round(3)
  Array([-0.01, -0.01], dtype=float32)
  >>> [type(optimizers.REGISTRY[name]()(0.0)).__name__ for name in ("with parameter noise", "langevin")]
  ['GradientTransformationExtraArgs', 'GradientTransformationExtraArgs']
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dipjax.core.recipe import transformation
from dipjax.operators import checks

_LEAST_RATE = 0.01  # of a schedule that rises
_KERNEL_RANK = 3  # at least: of a signal, of a picture 4, of a volume 5


@dataclass(frozen=True)
class Constant:
    """The same learning rate for every step, as the paper does."""

    def __call__(self, progress: Array) -> float:
        """Returns 1."""
        del progress
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """A learning rate that falls to zero along a half cosine, `(1 + cos(pi progress)) / 2`.

    Reference: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017; here without restarts.
    """

    def __call__(self, progress: Array) -> Array:
        """Returns a factor from 1 to 0."""
        return 0.5 + 0.5 * jnp.cos(jnp.pi * progress)


@dataclass(frozen=True)
class WarmUp:
    """A learning rate that rises evenly in the first part of the run, times that of another schedule, which is not delayed.

    Reference: Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017.

    Attributes:
      share: of the run, in which it rises; from 1e-6 to 1.
      then: `(progress) -> factor`, by which the rising one is multiplied.

    Raises:
      ValueError: the share is out of its range, or `then` is no function.
    """

    share: float = 0.05
    then: Callable = Constant()

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("share", self.share, least=1e-6, most=1)
        if not callable(self.then):
            raise ValueError(f"then: found {self.then!r}, expected a schedule.")

    def __call__(self, progress: Array) -> Array:
        """Returns a factor from a hundredth on, as a step that changes nothing would be lost."""
        return jnp.clip(progress / self.share, _LEAST_RATE, 1) * self.then(progress)


@dataclass(frozen=True)
class Halving:
    """A learning rate that is halved at some shares of the run; by default those of SelfDeblur, 2000, 3000 and 4000 of 5000 steps.

    Reference: Ren et al., Neural blind deconvolution using deep priors, CVPR 2020, and its code.

    Attributes:
      at: the shares, from 0 to 1.

    Raises:
      ValueError: they are something else.
    """

    at: tuple[float, ...] = (0.4, 0.6, 0.8)

    def __post_init__(self):
        """Checks the settings."""
        if not (isinstance(self.at, tuple) and all(checks.is_real(share) and 0 <= share <= 1 for share in self.at)):
            raise ValueError(f"at: found {self.at!r}, expected shares of the run, numbers from 0 to 1.")

    def __call__(self, progress: Array) -> Array:
        """Returns a factor from 1 down to a power of a half."""
        return 0.5 ** jnp.sum(progress >= jnp.asarray(self.at, jnp.asarray(progress).dtype))


@dataclass(frozen=True)
class Adam:
    """Adam with optax's (and PyTorch's) defaults.

    It works on all parameters as one long vector: the same numbers, in a handful of kernels instead of a handful for each array.

    Reference: Kingma, Ba, Adam: a method for stochastic optimization, ICLR 2015.

    Attributes:
      learning_rate: positive.
      schedule: `(progress) -> factor` of the learning rate.

    Raises:
      ValueError: the learning rate is not positive, or the schedule no function.
    """

    learning_rate: float = 0.01
    schedule: Callable = Constant()
    is_elementwise = True  # so `dipjax.vector` may hand it all parameters as one array

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("learning_rate", self.learning_rate)
        if not callable(self.schedule):
            raise ValueError(f"schedule: found {self.schedule!r}, expected one of this module, or a function (progress).")

    def __call__(self, progress: Array) -> optax.GradientTransformation:
        """Returns the transformation of a step."""
        return optax.flatten(optax.adam(self.learning_rate * self.schedule(progress)))


@dataclass(frozen=True)
class WithParameterNoise:
    """An optimizer that also adds noise to the weights, for good: every step of `optimizer` is followed by one of a random walk.

    The official switch `param_noise` did so until June 2018: the paper's inpainting of the library, activation maximisation and noisy
    feature inversion were made with it. Since then the switch does nothing, by accident. Noise is normal, with `scale` times the
    standard deviation of a convolution kernel's weights; other parameters have none. Weights that are disturbed for one step only are
    `generators.Perturbed`.

    Attributes:
      optimizer: as in a recipe.
      scale: not negative.

    Raises:
      ValueError: the scale is negative.
    """

    optimizer: Any = Adam()
    scale: float = 1 / 50

    def __post_init__(self):
        """Checks the settings."""
        checks.not_negative("scale", self.scale)

    def __call__(self, progress: Array) -> optax.GradientTransformationExtraArgs:
        """Returns the transformation of a step, which takes the `key` of the run's step."""
        return _followed_by_noise(transformation(self.optimizer, progress), lambda kernel: self.scale * kernel.std())


@dataclass(frozen=True)
class Langevin:
    """Adam, and after every step noise on the kernels: stochastic gradient Langevin dynamics as published for the deep image prior.

    With `stopping.Samples`, outputs of many steps are samples of a posterior, whose mean is the estimate and whose deviation tells how
    sure it is. The noise is that of the authors' notebook, proportional to the learning rate.

    Reference: Cheng, Gadelha, Maji, Sheldon, A Bayesian perspective on the deep image prior, CVPR 2019.

    Attributes:
      learning_rate: positive.
      noise: standard deviation, in units of the learning rate; not negative.
      weight_decay: what is added to the gradient is so much of each weight; not negative.

    Raises:
      ValueError: a number is out of its range.
    """

    learning_rate: float = 0.01
    noise: float = 2.0
    weight_decay: float = 5e-8

    def __post_init__(self):
        """Checks the settings."""
        checks.positive("learning_rate", self.learning_rate)
        for name in ("noise", "weight_decay"):
            checks.not_negative(name, getattr(self, name))

    def __call__(self, progress: Array) -> optax.GradientTransformationExtraArgs:
        """Returns the transformation of a step, which takes the `key` of the run's step."""
        del progress
        inner = optax.chain(optax.add_decayed_weights(self.weight_decay), optax.adam(self.learning_rate))
        return _followed_by_noise(optax.with_extra_args_support(optax.flatten(inner)), lambda kernel: self.noise * self.learning_rate)


def _followed_by_noise(inner, deviation):
    """Returns a transformation that also adds normal noise of `deviation(kernel)` to the kernels of convolutions."""

    def noise(key, leaf):
        if leaf.ndim < _KERNEL_RANK:
            return jnp.zeros_like(leaf)
        return (deviation(leaf) * jax.random.normal(key, leaf.shape, leaf.dtype)).astype(leaf.dtype)

    def update(updates, state, params=None, *, key, **extra):
        updates, state = inner.update(updates, state, params, key=key, **extra)
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
        noises = [noise(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.map(jnp.add, updates, jax.tree.unflatten(structure, noises)), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


SCHEDULES = {"constant": Constant(), "cosine": Cosine(), "halving": Halving(), "warm-up": WarmUp()}
"""Every schedule by its word on the command line."""

REGISTRY = {"adam": Adam, "with parameter noise": WithParameterNoise, "langevin": Langevin}
"""Every optimizer, for the tables of tests and records."""
