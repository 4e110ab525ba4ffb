"""Public names; `__init__.py` loads each one when it is first used."""

from . import (
    batching,
    generators,
    inputs,
    interop,
    losses,
    memory,
    metrics,
    named,
    operators,
    optimizers,
    paper,
    parameter_noise,
    problem,
    psfs,
    recipes,
    resampling,
    tiling,
)
from .problem import Problem
from .restoration import deblur, dejpeg, denoise, flash, inpaint, super_resolve
from .train import Metrics, Recipe, Result, State, init, iterate, restore, run, seeds, train_step

__version__: str

__all__ = [
    "Metrics",
    "Problem",
    "Recipe",
    "Result",
    "State",
    "batching",
    "deblur",
    "dejpeg",
    "denoise",
    "flash",
    "generators",
    "init",
    "inpaint",
    "inputs",
    "interop",
    "iterate",
    "losses",
    "memory",
    "metrics",
    "named",
    "operators",
    "optimizers",
    "paper",
    "parameter_noise",
    "problem",
    "psfs",
    "recipes",
    "resampling",
    "restore",
    "run",
    "seeds",
    "super_resolve",
    "tiling",
    "train_step",
]
