"""Public names; `__init__.py` loads each one when it is first used."""

from . import generators, interop, metrics, operators, recipes
from .core import layouts
from .core.loop import Metrics, Recipe, Result, State, init, iterate, restore, run, seeds, train_step
from .core.problem import Problem
from .fitting import inputs, losses, optimizers, parameter_noise
from .large import memory, tiling
from .operators import problem, psfs, resampling
from .recipes import paper
from .tasks.restoration import deblur, dejpeg, denoise, flash, inpaint, super_resolve

__version__: str

__all__ = [
    "Metrics",
    "Problem",
    "Recipe",
    "Result",
    "State",
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
    "layouts",
    "losses",
    "memory",
    "metrics",
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
