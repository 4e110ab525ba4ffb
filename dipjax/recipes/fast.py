"""Settings that work, one function each: `(channels, *, num_steps, schedule) -> Recipe`.

`fast_*` is for people in a hurry, found by measurement (benchmarks/results/recipe_trials.md); the official settings are in `paper`. All
functions are cached: equal arguments give the same recipe, and the same compiled program. To add a setting, add a function.

`for_generator` completes any generator with the setting that suits its kind.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax

from dipjax import generators
from dipjax.core.loop import Recipe
from dipjax.fitting import inputs
from dipjax.fitting.optimizers import Schedule, adam, constant
from dipjax.generators import Skip, blocks
from dipjax.recipes import paper


@cache
def fast_denoising(channels: int = 3, *, num_steps: int = 1100, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for noisy pictures; its number of steps is for 256 x 256 pixels, see `denoising_steps`."""
    return _fast(channels, num_steps, schedule, input_noise=1 / 30)


@cache
def fast_inpainting(channels: int = 3, *, num_steps: int = 1500, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for pictures with missing pixels."""
    return _fast(channels, num_steps, schedule, input_noise=0.03)


@cache
def fast_super_resolution(channels: int = 3, *, num_steps: int = 1200, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for small pictures.

    Bilinear doubling: what is repeated shows as a grid where no pixel was measured. An input with a grain: without it more steps are
    needed for a picture that is less smooth (benchmarks/results/grain.md).
    """
    return _fast(channels, num_steps, schedule, input_noise=0.03, upsample=blocks.bilinear, grain=8)


@cache
def fast_super_resolution_8(channels: int = 3, *, num_steps: int = 1200, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for pictures to be enlarged more than four times: the official jitter of factor 8, and no grain."""
    return _fast(channels, num_steps, schedule, input_noise=0.05, upsample=blocks.bilinear)


@cache
def fast_deblurring(channels: int = 3, *, num_steps: int = 1500, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for blurred pictures. An input with a grain restores them better too (benchmarks/results/grain.md)."""
    return _fast(channels, num_steps, schedule, input_noise=0.01, grain=8)


def _fast(channels, num_steps, schedule, *, input_noise, upsample=blocks.nearest, grain=1):
    # Against the official setting: 32 channels instead of 128, nearest doubling, which fits in half the steps and costs less of them,
    # and 8 input channels instead of 32, which spares drawing most of the noise. A grain only where it was found to help: denoising and
    # holes lose by it.
    return Recipe(
        Skip(channels, down=(32,) * 5, up=(32,) * 5, upsample=upsample),
        inputs.noise(8, grain=grain),
        num_steps,
        adam(0.01, num_steps, schedule),
        input_noise=input_noise,
    )


@cache
def fast_flash(channels: int = 3, *, num_steps: int = 600, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for a picture without flash, guided by one with flash."""
    return dataclasses.replace(_fast(channels, num_steps, schedule, input_noise=0.0), input=inputs.guide)


class _Setting(NamedTuple):
    make_input: Callable[[Any], inputs.Input]  # of the generator
    num_steps: int
    learning_rate: float
    input_noise: float = 0.0


_DEFAULT = _Setting(lambda generator: inputs.noise(32, stride=getattr(generator, "stride", 1)), 1800, 0.01, 1 / 30)
_COORDINATES = {"make_input": lambda generator: inputs.meshgrid, "input_noise": 0.0}
_SETTINGS = {
    # As in inpainting.ipynb: its decoder has no normalisation, and where the learning rate is higher its units die.
    generators.UNet: _DEFAULT._replace(learning_rate=0.001),
    # Networks without scales see little of z around a pixel, so its jitter hides the image; without any they fit noise at once.
    generators.ResNet: _DEFAULT._replace(num_steps=600, input_noise=0.01),
    generators.Plain: _DEFAULT._replace(num_steps=1000, input_noise=0.02),
    # Jitter of a z so small would drown it: one pixel of it makes many of the image.
    generators.DCGAN: _DEFAULT._replace(num_steps=500, input_noise=0.0),
    generators.DeepDecoder: _Setting(lambda generator: inputs.noise(generator.width, stride=generator.stride), 1900, 0.01),
    generators.ConvDecoder: _Setting(lambda generator: inputs.normal(generator.width, scale=1.0, stride=generator.stride), 2500, 0.01),
    generators.Positional: _DEFAULT._replace(**_COORDINATES),
    # Ten times the authors' learning rate and few steps: it fits noise soon.
    generators.Siren: _Setting(num_steps=120, learning_rate=0.001, **_COORDINATES),
}


@cache
def for_generator(generator: Any, *, num_steps: int | None = None, schedule: Schedule = constant) -> Recipe:
    """Returns a setting for noisy pictures with any generator: its input, jitter, learning rate and number of steps.

    Where nothing else was found to be needed, they are those of `paper.denoising`; those of the Deep Decoder and of the positional
    encoding are their authors', that of the ConvDecoder is deepinv's. What each reaches, and the trials behind the others, are in
    benchmarks/results/generators.md. Other tasks may want more steps, and pictures smaller than 256 x 256 fewer.

    Example:
      >>> dipjax.denoise(image, recipe=dipjax.recipes.for_generator(UNet(3)))  # doctest: +SKIP
    """
    setting = _SETTINGS.get(type(generator), _DEFAULT)
    num_steps = setting.num_steps if num_steps is None else num_steps
    optimizer = adam(setting.learning_rate, num_steps, schedule)
    return Recipe(generator, setting.make_input(generator), num_steps, optimizer, input_noise=setting.input_noise)


FAST = {
    "denoise": fast_denoising,
    "dejpeg": paper.dejpeg,  # the official network is small already
    "inpaint": fast_inpainting,
    "superres": fast_super_resolution,
    "superres 8": fast_super_resolution_8,
    "deblur": fast_deblurring,
    "flash": fast_flash,
}
PAPER = {
    "denoise": paper.denoising,
    "dejpeg": paper.dejpeg,
    "inpaint": paper.inpainting,
    "superres": paper.super_resolution,
    "superres 8": paper.super_resolution_8,
    "deblur": paper.deblurring,
    "flash": paper.flash,
}


def choose(task: str, name: str | None = None, *, factor: int = 1) -> Callable[..., Recipe]:
    """Returns the recipe function for a task of the command line.

    `name` is "fast" or "paper"; None takes `fast` on CPU, else `paper`. `factor` is that of super-resolution: beyond 4 the setting is the
    one published for 8.
    """
    name = name or ("fast" if jax.default_backend() == "cpu" else "paper")
    key = f"{task} 8" if task == "superres" and factor > 4 else task
    return {"fast": FAST, "paper": PAPER}[name][key]


def for_size(make: Callable[..., Recipe], height: int, width: int) -> dict[str, int]:
    """Returns what of the settings of a recipe function depends on the size of the picture, or of a tile: `num_steps`, or nothing."""
    return {"num_steps": denoising_steps(height, width)} if make is fast_denoising else {}


def denoising_steps(height: int, width: int) -> int:
    """Returns after how many steps `fast_denoising` restores best: the smaller the picture, the sooner it fits the noise.

    In proportion to the side (its geometric mean): 1100 for 256 x 256. Measured for noise of sigma 25/255 at sides of 64, 128, 256 and 384
    (benchmarks/results/recipe_trials.md); larger pictures, which would take hours, get what 384 gets, and tiny ones 150 steps.
    """
    return max(150, round(1100 * min(math.sqrt(height * width), 384) / 256))
