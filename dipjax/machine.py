"""What this process has of the machine, as far as that is known before JAX starts.

Examples:
  >>> from dipjax import machine
  >>> machine.num_cores() > 0
  True
"""

import os

_PREFIXES = ("JAX_", "XLA_", "CUDA_", "TPU_")


def num_cores() -> int:
    """Returns how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def variables() -> dict[str, str]:
    """Returns the variables of the environment that JAX, and what is under it, reads."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(_PREFIXES)}
