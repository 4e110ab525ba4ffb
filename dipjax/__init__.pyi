"""Public names; `__init__.py` loads each one when it is first used."""

from . import checkpoint, files, generators, interop, kriging, metrics, operators, patches, recipes, stopping, struct, uncertainty
from .after.distill import apply, distill
from .after.refine import Refined, refine
from .after.student import Student
from .app.notebook import show
from .core import layouts
from .core.drive import iterate, restore, seeds
from .core.loop import init, run, train_step
from .core.problem import Problem
from .core.recipe import Recipe
from .core.state import Metrics, Result, State
from .fitting import guides, inputs, losses, optimizers, penalties
from .large import memory, pod, tiling
from .operators import instruments, problem, psfs, radon, resampling
from .recipes import paper
from .tasks.door import Task
from .tasks.options import Options
from .tasks.restore import Outcome
from .tasks.tasks import ct, deblur, dejpeg, demosaic, denoise, flash, inpaint, mri, restore_photo, super_resolve

__version__: str

__all__ = [
    "Metrics",
    "Options",
    "Outcome",
    "Problem",
    "Recipe",
    "Refined",
    "Result",
    "State",
    "Student",
    "Task",
    "apply",
    "checkpoint",
    "ct",
    "deblur",
    "dejpeg",
    "demosaic",
    "denoise",
    "distill",
    "files",
    "flash",
    "generators",
    "guides",
    "init",
    "inpaint",
    "inputs",
    "instruments",
    "interop",
    "kriging",
    "iterate",
    "layouts",
    "losses",
    "memory",
    "metrics",
    "mri",
    "operators",
    "optimizers",
    "paper",
    "patches",
    "penalties",
    "pod",
    "problem",
    "psfs",
    "radon",
    "recipes",
    "refine",
    "resampling",
    "restore",
    "restore_photo",
    "run",
    "seeds",
    "show",
    "stopping",
    "struct",
    "super_resolve",
    "tiling",
    "train_step",
    "uncertainty",
]
