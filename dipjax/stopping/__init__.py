"""When to stop: rules that watch a run from inside the compiled step. What a rule is, says `core.rule`.

To add one, add a class, a line here, and a row to `registry`, where `--stop` finds it.

Examples:
  >>> stopping = dipjax.stopping
  >>> dipjax.recipes.fast.denoising(1).changed(stopping=stopping.HeldOut(patience=0.5)).recipe.stopping.patience
  0.5
  >>> stopping.WindowedVariance(window=50), stopping.AveragedVariance(), stopping.Samples(100, 10)
  (WindowedVariance(window=50, patience=1000), AveragedVariance(weight=0.1, patience=1000, start=100), Samples(start=100, every=10))
  >>> stopping.Discrepancy(sigma=0.1), stopping.Sure()
  (Discrepancy(sigma=0.1, tau=1.0), Sure(sigma=None, pseudo=0.3, patience=0.5, least=100))

  A rule of one's own, with which a run ends after so many steps and gives its last estimate:

  >>> from dataclasses import dataclass
  >>> @dataclass(frozen=True)
  ... class After:
  ...     steps: int
  ...     def init(self, key, problem, estimate):
  ...         return ()
  ...     def update(self, memory, look):
  ...         best = stopping.Best(-look.step.astype(jnp.float32), look.step, look.estimate)
  ...         return stopping.Verdict(memory, best, best.score, look.step + 1 >= self.steps)
  >>> data = dipjax.problem.denoising(np.full((8, 8, 1), 0.5, np.float32))
  >>> setting = dipjax.recipes.for_generator(dipjax.generators.Plain(1, 2)).changed(stopping=After(2))
  >>> int(dipjax.restore(setting.recipe, jax.random.key(0), data, num_steps=9).steps)
  2
"""

from dipjax.core.rule import Best, Look, Verdict
from dipjax.stopping.held_out import HeldOut
from dipjax.stopping.published import AveragedVariance, Discrepancy, Sure, WindowedVariance
from dipjax.stopping.registry import REGISTRY
from dipjax.stopping.samples import Samples

__all__ = ["REGISTRY", "AveragedVariance", "Best", "Discrepancy", "HeldOut", "Look", "Samples", "Sure", "Verdict", "WindowedVariance"]
