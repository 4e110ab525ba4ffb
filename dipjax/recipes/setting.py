"""A setting: a recipe, and how many steps it wants."""

import dataclasses
import math
from collections.abc import Callable

from dipjax.core.recipe import Recipe

_LARGEST_SIDE = 384  # as far as it was measured; larger pictures, which would take hours, get what this one gets
_FEWEST_STEPS = 150


@dataclasses.dataclass(frozen=True)
class Setting:
    """A recipe, and after how many steps it restores well.

    Where `side` is given, `num_steps` are those of a picture of side x side pixels, and others want them in proportion to their side (its
    geometric mean): the smaller the picture, the sooner noise is fitted. Measured for noise of sigma 25/255 at sides of 64, 128, 256 and
    384 (benchmarks/results/recipe_trials.md).

    Attributes:
      recipe: the method.
      num_steps: of every run, from 1.
      side: pixels; None: the steps are the same for every size.

    Examples:
      >>> setting = dipjax.recipes.Setting(dipjax.recipes.fast.denoising(1).recipe, 1000, side=256)
      >>> setting.steps_for((128, 128, 1)), setting.changed(loss=dipjax.losses.L1()).recipe.loss
      (500, L1())
      >>> setting.with_schedule(dipjax.optimizers.Cosine()).recipe.optimizer
      Adam(learning_rate=0.01, schedule=Cosine())
    """

    recipe: Recipe
    num_steps: int
    side: int | None = None

    def steps_for(self, shape: tuple[int, ...]) -> int:
        """Returns the number of steps for a picture, or a tile, of `shape (H, W, ...)`."""
        if self.side is None:
            return self.num_steps
        side = min(math.sqrt(shape[0] * shape[1]), _LARGEST_SIDE)
        return max(_FEWEST_STEPS, round(self.num_steps * side / self.side))

    def with_schedule(self, schedule: Callable) -> "Setting":
        """Returns the setting with another schedule of the learning rate, see `optimizers`.

        Raises:
          ValueError: its optimizer has no schedule.
        """
        optimizer = self.recipe.optimizer
        if not hasattr(optimizer, "schedule"):
            raise ValueError(f"schedule: found the optimizer {type(optimizer).__name__}, expected one with a schedule, such as Adam.")
        return self.changed(optimizer=dataclasses.replace(optimizer, schedule=schedule))

    def changed(self, **parts) -> "Setting":
        """Returns the setting with other parts in its recipe, such as `loss=losses.L1()`."""
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, **parts))
