"""What a recipe is made of beside the generator: inputs, losses, penalties, optimizers. Every one is a frozen dataclass with `__call__`."""
