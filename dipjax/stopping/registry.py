"""The rules by name."""

from dipjax.stopping.held_out import HeldOut
from dipjax.stopping.published import AveragedVariance, Discrepancy, Sure, WindowedVariance

REGISTRY = {"held-out": HeldOut, "wmv": WindowedVariance, "emv": AveragedVariance, "discrepancy": Discrepancy, "sure": Sure}
"""The word of `--stop`, and its rule."""
