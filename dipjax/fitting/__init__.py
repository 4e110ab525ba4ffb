"""What a recipe is made of beside the generator: inputs, losses, penalties, optimizers. Every one is a frozen dataclass with `__call__`."""

from dipjax.fitting import inputs, losses, optimizers, penalties

__all__ = ["inputs", "losses", "optimizers", "penalties"]
