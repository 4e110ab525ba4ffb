"""The method as a value: `Recipe`, a frozen dataclass of frozen dataclasses.

Recipes compare and hash by value, print, pickle, and go to JSON and back. Equal recipes share one compiled program. A part may also be
anything of the user's (an optax transformation, a function, a flax module); it hashes as it does, and its record only names it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dipjax import record


@dataclass(frozen=True)
class MSE:
    """The mean squared error: Gaussian noise, and the official loss of every task."""

    def __call__(self, prediction: Any, measurement: Any) -> Array:
        """Returns `mean |prediction - measurement|^2`, `()`, over all elements of arrays, or of equal trees of arrays, real or complex."""
        return mean_of(lambda error: jnp.real(error * jnp.conj(error)), prediction, measurement)


def mean_of(function: Callable[[Array], Array], prediction: Any, measurement: Any) -> Array:
    """Returns the mean of `function(prediction - measurement)` over all elements of two equal trees of arrays."""
    errors = jax.tree.leaves(jax.tree.map(jnp.subtract, prediction, measurement))
    number = sum(error.size for error in errors)
    if len(errors) == 1:
        return jnp.mean(function(errors[0]))
    return sum(jnp.sum(function(error)) for error in errors) / number


def transformation(optimizer: Any, progress: Array | float) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer's optax transformation of a step; `progress` runs from 0 at the start of a run to 1 at its end."""
    is_fixed = isinstance(optimizer, optax.GradientTransformation)
    return optax.with_extra_args_support(optimizer if is_fixed else optimizer(progress))


@dataclass(frozen=True)
class Recipe:
    """The method. Hashable: it decides the compiled program. How many steps are taken is no part of it.

    Attributes:
      generator: a linen module, or anything hashable with `init(key, z) -> params` and `apply(params, z (h, w, D)) -> (H, W, C)` or larger.
      input: `(key, problem) -> z (h, w, D)`, see `inputs`.
      optimizer: `(progress) -> optax transformation`, see `optimizers`; or an optax transformation itself.
      loss: `(prediction, measurement) -> ()`, see `losses`; it may have `whitened(operator, prediction, measurement)`, the prediction it
        is to see in a step.
      penalty: `(image) -> ()`, see `penalties`; it may also take the problem, and the progress after that.
      input_noise: standard deviation of the normal noise added to z afresh in every step.
      smoothing: weight of the past in the exponential average of the outputs, from 0, which keeps the last output, to below 1.
      backtracking: dB; a step whose output fits the measurement so much worse than the last is undone.
      precision: of matrix products and convolutions, see `jax.default_matmul_precision`.
      watch: `(estimate, problem) -> ()`, each a curve beside loss and PSNR: `Metrics.watched`.
      stopping: a rule, see `rule`, such as those of `dipjax.stopping`; None takes all the steps and gives the last average.

    Examples:
      >>> generator = dipjax.generators.Skip(1, down=(8, 8), up=(8, 8), skip=(2, 2))
      >>> recipe = dipjax.Recipe(generator, dipjax.inputs.Noise(8), dipjax.optimizers.Adam(0.01), input_noise=0.03)
      >>> dipjax.Recipe.from_json(recipe.to_json()) == recipe
      True
    """

    generator: Any
    input: Callable
    optimizer: Any
    loss: Callable = MSE()
    penalty: Callable | None = None
    input_noise: float = 0.0
    smoothing: float = 0.99
    backtracking: float | None = None
    precision: str | None = None
    watch: tuple[Callable, ...] = ()
    stopping: Any = None

    def __reduce__(self):
        """Pickles the recipe by the names of its parts: functions of JAX cannot be pickled."""
        return record.decode, (record.encode(self, keep_own=True),)

    def to_json(self) -> str:
        """Returns the recipe as JSON: every part by its name and settings; of what is the user's own, the name."""
        return record.dumps(self)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Returns the recipe that `to_json` wrote.

        Raises:
          ValueError: the text is no recipe, or has a part that is not of dipjax.
        """
        recipe = record.loads(text)
        if not isinstance(recipe, cls):
            raise ValueError(f"recipe: found the record of a {type(recipe).__name__}, expected that of a Recipe.")
        return recipe
