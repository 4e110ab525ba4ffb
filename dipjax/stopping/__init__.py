"""When to stop: rules that watch a run from inside the compiled step. What a rule is, says `core.rule`.

To add one, add a class, a line here, and a row to `registry`, where `--stop` finds it.
"""

from dipjax.core.rule import Best, Look, Verdict
from dipjax.stopping.held_out import HeldOut
from dipjax.stopping.published import AveragedVariance, Discrepancy, Sure, WindowedVariance
from dipjax.stopping.registry import REGISTRY
from dipjax.stopping.samples import Samples

__all__ = ["REGISTRY", "AveragedVariance", "Best", "Discrepancy", "HeldOut", "Look", "Samples", "Sure", "Verdict", "WindowedVariance"]
