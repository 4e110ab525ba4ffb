"""Settings for people in a hurry, found by measurement (benchmarks/results/recipe_trials.md): `(channels) -> Setting`.

To add one, add a function, and for a task a row in `recipes.by_name`. `channels` are those of the image.

Examples:
  >>> setting = dipjax.recipes.fast.denoising(1)
  >>> setting.steps_for((256, 256)), setting.steps_for((64, 64)), setting.recipe.generator.channels
  (600, 150, 1)
"""

from dataclasses import replace

from dipjax.core.recipe import Recipe
from dipjax.fitting import guides, inputs, losses
from dipjax.fitting.optimizers import Adam
from dipjax.generators import Skip, blocks
from dipjax.recipes.setting import Setting


def denoising(channels: int = 3) -> Setting:
    """Returns the quick setting for noisy pictures; its number of steps follows the picture's size.

    Beside noise the network sees non-local means of the picture: a fourth of the steps for more quality. And its
    level of full size has 16 channels, which costs two thirds of the time and no quality (benchmarks/results/guide.md).
    """
    setting = Setting(_recipe(channels, input_noise=1 / 30, first=16), 600, side=256)
    return setting.changed(input=inputs.Guided())


def inpainting(channels: int = 3) -> Setting:
    """Returns the quick setting for pictures with missing pixels. Where what it leaves is not put back (`kriging`) take twice the steps."""
    return Setting(_recipe(channels, input_noise=0.03), 750)


def dejpeg(channels: int = 3) -> Setting:
    """Returns the quick setting for strong compression: that of missing pixels, stopped before it draws blocks.

    Measured at 128 x 128, and up to 600 steps at 256 x 256, in benchmarks/results/compression.md.
    """
    return replace(inpainting(channels), num_steps=900, side=256)


def demosaicing(channels: int = 3) -> Setting:
    """Returns the quick setting for a camera's mosaic: that of missing pixels, with fewer steps as one colour corrects the others.

    Where what it leaves is not put back (`kriging`) take five times the steps.
    """
    return replace(inpainting(channels), num_steps=300)


def magnetic_resonance(channels: int = 2) -> Setting:
    """Returns the quick setting for spectra of which most was not measured: that of missing pixels, which gains for longer here."""
    return replace(inpainting(channels), num_steps=1500)


def super_resolution(channels: int = 3) -> Setting:
    """Returns the quick setting for small pictures.

    Bilinear doubling: what is repeated shows as a grid where no pixel was measured. An input with a grain: without it more steps are
    needed for a picture that is less smooth (benchmarks/results/grain.md).
    """
    return Setting(_recipe(channels, input_noise=0.03, upsample=blocks.bilinear, grain=8), 800)


def super_resolution_8(channels: int = 3) -> Setting:
    """Returns the quick setting for pictures to be enlarged more than four times: the official jitter of factor 8, and no grain."""
    return Setting(_recipe(channels, input_noise=0.05, upsample=blocks.bilinear), 1200)


def deblurring(channels: int = 3) -> Setting:
    """Returns the quick setting for pictures whose blur is known: a loss that fits fine detail as soon as the rest, and a grain.

    What each does is in benchmarks/results/back_projection.md and grain.md. Larger pictures want more steps.
    """
    return Setting(_recipe(channels, input_noise=0.01, grain=8), 1200, side=256).changed(loss=losses.BackProjection())


def tomography(channels: int = 3) -> Setting:
    """Returns the quick setting for sinograms of few views: beside noise the network sees what conjugate gradients make of them, and the
    loss fits fine detail as soon as the rest (benchmarks/results/back_projection.md).
    """
    setting = Setting(_recipe(channels, input_noise=0.03), 600)
    return setting.changed(input=inputs.Guided(guides.LeastSquares()), loss=losses.BackProjection())


def blind_deblurring(channels: int = 3) -> Setting:
    """Returns the quick setting for pictures with a blur that is not known, for a generator in `generators.WithPsf`.

    Its loss weighs fine detail as much as the rest, which tells most of a blur (benchmarks/results/back_projection.md).
    """
    return Setting(_recipe(channels, input_noise=0.01, grain=8), 1500).changed(loss=losses.BackProjection())


def flash(channels: int = 3) -> Setting:
    """Returns the quick setting for a picture without flash, guided by one with flash."""
    return Setting(_recipe(channels, input_noise=0.0), 600).changed(input=inputs.Guide())


def _recipe(channels, *, input_noise, upsample=blocks.nearest, grain=1, first=32):
    # Against the official setting: 32 channels instead of 128, nearest doubling, which fits in half the steps and costs less of them,
    # and 8 input channels instead of 32, which spares drawing most of the noise. A grain only where it was found to help: denoising and
    # holes lose by it.
    generator = Skip(channels, down=(first, 32, 32, 32, 32), up=(first, 32, 32, 32, 32), upsample=upsample)
    return Recipe(generator, inputs.Noise(8, grain=grain), Adam(0.01), input_noise=input_noise)
