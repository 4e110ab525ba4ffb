"""What a recipe is made of beside the generator, each a frozen dataclass with `__call__`; and guides, which a problem may hold."""

from dipjax.fitting import guides, inputs, losses, optimizers, penalties

__all__ = ["guides", "inputs", "losses", "optimizers", "penalties"]
