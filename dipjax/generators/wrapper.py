"""What a generator around another one takes from it."""

from typing import Any


class Wrapper:
    """A base of settings whose field `generator` is any generator."""

    generator: Any

    @property
    def stride(self) -> int:
        """Pixels of the image for each one of z, on each side."""
        return getattr(self.generator, "stride", 1)

    @property
    def channels(self) -> int:
        """The channels of the image."""
        return self.generator.channels
