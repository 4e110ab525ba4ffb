"""Which setting a task takes, by the words of the command line, and one for any generator."""

from collections.abc import Callable
from typing import Any

import jax

from dipjax.core.recipe import Recipe
from dipjax.fitting.optimizers import Adam
from dipjax.generators import registry
from dipjax.recipes import fast, paper
from dipjax.recipes.setting import Setting

FAST = {
    "denoise": fast.denoising,
    "dejpeg": fast.dejpeg,
    "inpaint": fast.inpainting,
    "superres": fast.super_resolution,
    "superres 8": fast.super_resolution_8,
    "deblur": fast.deblurring,
    "deblur unknown": fast.blind_deblurring,
    "flash": fast.flash,
    "demosaic": fast.demosaicing,
    "ct": fast.tomography,
    "mri": fast.magnetic_resonance,
}
PAPER = {
    "denoise": paper.denoising,
    "dejpeg": paper.dejpeg,
    "inpaint": paper.inpainting,
    "superres": paper.super_resolution,
    "superres 8": paper.super_resolution_8,
    "deblur": paper.deblurring,
    "deblur unknown": paper.blind_deblurring,
    "flash": paper.flash,
    "demosaic": paper.inpainting,
    "ct": paper.inpainting,
    "mri": paper.inpainting,
}
WORDS = {"fast": FAST, "paper": PAPER}


def choose(task: str, word: str | None = None) -> Callable[[int], Setting]:
    """Returns the setting `(channels) -> Setting` for a kind of task.

    Args:
      task: a key of `FAST`; others take that of "denoise".
      word: "fast" or "paper"; None takes `fast` on a CPU, else `paper`.

    Raises:
      ValueError: the word is neither.

    Examples:
      >>> dipjax.recipes.choose("inpaint", "paper")(3).num_steps
      6001
    """
    word = word or ("fast" if jax.default_backend() == "cpu" else "paper")
    if word not in WORDS:
        raise ValueError(f"recipe: found {word!r}, expected one of {', '.join(WORDS)}.")
    return WORDS[word].get(task, WORDS[word]["denoise"])


def for_generator(generator: Any) -> Setting:
    """Returns a setting for noisy pictures with any generator: its input, jitter, learning rate and number of steps, from the registry.

    What each reaches, and the trials behind it, are in benchmarks/results/generators.md. Other tasks may want more steps, and pictures
    smaller than 256 x 256 fewer. It has no stopping rule: with it as `recipe` all steps are taken and nothing is known of the error, unless
    `stop="held-out"` is given. `dipjax.denoise(image, generator=UNet(3))` is the same setting with the rule.

    Args:
      generator: one of `dipjax.generators`, or a wrapper of one; any other gets what suits `Skip`.

    Examples:
      >>> setting = dipjax.recipes.for_generator(dipjax.generators.UNet(3)).changed(loss=dipjax.losses.L1())
      >>> setting.num_steps, setting.recipe.optimizer.learning_rate, setting.recipe.loss  # as `recipe`, with `stop="held-out"`
      (1800, 0.001, L1())
    """
    row = registry.row_of(generator)
    recipe = Recipe(generator, row.input(generator), Adam(row.learning_rate), input_noise=row.input_noise)
    return Setting(recipe, row.num_steps)
