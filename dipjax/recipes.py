"""Settings that work, one function each: `(channels, *, num_steps, schedule) -> Recipe`.

`fast_*` is for people in a hurry, found by measurement (benchmarks/results/recipe_trials.md); `paper_*` is the official setting. All
functions are cached: equal arguments give the same recipe, and the same compiled program. To add a setting, add a function.

`for_generator` completes any generator with the setting that suits its kind.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import optax

from dipjax import generators, inputs
from dipjax.generators import blocks
from dipjax.generators.skip import Skip
from dipjax.train import Recipe

Schedule = Callable[[float, int], optax.Schedule | float]


def constant(learning_rate: float, num_steps: int) -> float:
    """Returns the same learning rate for every step, as the paper does."""
    del num_steps
    return learning_rate


@cache
def cosine(learning_rate: float, num_steps: int) -> optax.Schedule:
    """Returns a learning rate that falls from `learning_rate` to zero along a half cosine."""
    return optax.cosine_decay_schedule(learning_rate, num_steps)


@cache
def adam(learning_rate: float, num_steps: int, schedule: Schedule = constant) -> optax.GradientTransformation:
    """Returns Adam with optax's (and PyTorch's) defaults; the same object for equal arguments."""
    return optax.adam(schedule(learning_rate, num_steps))


@cache
def fast_denoising(channels: int = 3, *, num_steps: int = 1100, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for noisy pictures."""
    return _fast(channels, num_steps, schedule, input_noise=1 / 30)


@cache
def fast_inpainting(channels: int = 3, *, num_steps: int = 1500, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for pictures with missing pixels."""
    return _fast(channels, num_steps, schedule, input_noise=0.03)


@cache
def fast_super_resolution(channels: int = 3, *, num_steps: int = 1500, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for small pictures."""
    return _fast(channels, num_steps, schedule, input_noise=0.03)


@cache
def fast_deblurring(channels: int = 3, *, num_steps: int = 1500, schedule: Schedule = constant) -> Recipe:
    """Returns the quick setting for blurred pictures."""
    return _fast(channels, num_steps, schedule, input_noise=0.01)


def _fast(channels, num_steps, schedule, *, input_noise):
    # Against the official setting: 32 channels instead of 128, nearest doubling, which fits in half the steps and costs less of them,
    # and 8 input channels instead of 32, which spares drawing most of the noise.
    return Recipe(
        Skip(channels, down=(32,) * 5, up=(32,) * 5, upsample=blocks.nearest),
        inputs.noise(8),
        num_steps,
        adam(0.01, num_steps, schedule),
        input_noise=input_noise,
    )


@cache
def paper_denoising(channels: int = 3, *, num_steps: int = 3000, schedule: Schedule = constant) -> Recipe:
    """Returns the official setting for noise of sigma 25/255 (denoising.ipynb, F16).

    Expected on the nine colour images of the paper: 30.43 dB for the averaged output (section 4).
    """
    return Recipe(Skip(channels), inputs.noise(32), num_steps, adam(0.01, num_steps, schedule), input_noise=1 / 30)


@cache
def paper_super_resolution(channels: int = 3, *, num_steps: int = 2000, schedule: Schedule = constant) -> Recipe:
    """Returns the official setting for factor 4 (super-resolution.ipynb): 29.90 / 27.00 dB on Set5 / Set14, luma."""
    return Recipe(Skip(channels), inputs.noise(32), num_steps, adam(0.01, num_steps, schedule), input_noise=0.03)


@cache
def paper_inpainting(channels: int = 3, *, num_steps: int = 6001, schedule: Schedule = constant) -> Recipe:
    """Returns the official setting for text and scratches (inpainting.ipynb, kate): wide skips, nearest upsampling."""
    generator = Skip(channels, skip=(128,) * 5, upsample=blocks.nearest)
    return Recipe(generator, inputs.noise(32), num_steps, adam(0.01, num_steps, schedule), input_noise=0.03)


@cache
def paper_deblurring(channels: int = 3, *, num_steps: int = 3000, schedule: Schedule = constant) -> Recipe:
    """Returns the official generator and optimizer for deblurring, a task the paper itself does not treat."""
    return Recipe(Skip(channels), inputs.noise(32), num_steps, adam(0.01, num_steps, schedule), input_noise=0.01)


class _Setting(NamedTuple):
    make_input: Callable[[Any], inputs.Input]  # of the generator
    num_steps: int
    learning_rate: float
    input_noise: float = 0.0


_DEFAULT = _Setting(lambda generator: inputs.noise(32, stride=getattr(generator, "stride", 1)), 1800, 0.01, 1 / 30)
_COORDINATES = {"make_input": lambda generator: inputs.meshgrid, "input_noise": 0.0}
_SETTINGS = {
    generators.ResNet: _DEFAULT._replace(learning_rate=0.001),  # as in inpainting.ipynb
    # Jitter of a z so small would drown it: one pixel of it makes many of the image.
    generators.DCGAN: _DEFAULT._replace(input_noise=0.0),
    generators.DeepDecoder: _Setting(lambda generator: inputs.noise(generator.width, stride=generator.stride), 1900, 0.01),
    generators.ConvDecoder: _Setting(lambda generator: inputs.normal(generator.width, scale=1.0, stride=generator.stride), 2500, 0.01),
    generators.Positional: _DEFAULT._replace(**_COORDINATES),
    generators.Siren: _Setting(num_steps=1000, learning_rate=1e-4, **_COORDINATES),
}


@cache
def for_generator(generator: Any, *, num_steps: int | None = None, schedule: Schedule = constant) -> Recipe:
    """Returns a setting for noisy pictures with any generator: its input, jitter, learning rate and number of steps.

    Those of the follow-up methods are their authors'; the official generators, and those that are not listed here, take the official
    input and jitter. What each reaches is measured in benchmarks/results/generators.md.

    Example:
      >>> dipjax.denoise(image, recipe=dipjax.recipes.for_generator(UNet(3)))  # doctest: +SKIP
    """
    setting = _SETTINGS.get(type(generator), _DEFAULT)
    num_steps = num_steps or setting.num_steps
    optimizer = adam(setting.learning_rate, num_steps, schedule)
    return Recipe(generator, setting.make_input(generator), num_steps, optimizer, input_noise=setting.input_noise)


FAST = {
    "denoise": fast_denoising,
    "inpaint": fast_inpainting,
    "superres": fast_super_resolution,
    "deblur": fast_deblurring,
}
PAPER = {
    "denoise": paper_denoising,
    "inpaint": paper_inpainting,
    "superres": paper_super_resolution,
    "deblur": paper_deblurring,
}


def default(task: str) -> Callable[..., Recipe]:
    """Returns the recipe function for a task ("denoise", "inpaint", "superres", "deblur"): `fast` on CPU, else `paper`."""
    return (FAST if jax.default_backend() == "cpu" else PAPER)[task]
