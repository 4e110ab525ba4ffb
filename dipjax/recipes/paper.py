"""The settings of the official notebooks, one function each: `(channels) -> Setting`.

Each docstring names its notebook and what it is known to reach. All generate with `Skip` unless they say otherwise, and fit with Adam.
They are the official code of today but for the average of the outputs, which here every recipe makes and there only denoising.ipynb: set
`smoothing=0.0` for the last output alone. Feature inversion and activation maximisation work at the size of the problem; the
notebooks crop 256 x 256 to the size of their network. The numbers of the paper were made with the PyTorch of 2018, which differed in two
defaults: `as_in_2018`.
To add a setting, add a function. `channels` are those of the image.

Reference: Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, CVPR 2018, and the notebooks of github.com/DmitryUlyanov/deep-image-prior.

Examples:
  >>> setting = dipjax.paper.denoising(3)
  >>> setting.num_steps, setting.recipe.backtracking, dipjax.paper.as_in_2018(setting).recipe.generator.upsample.__name__
  (3000, 5.0, 'bilinear_aligned')
"""

from dipjax.core.recipe import Recipe
from dipjax.fitting import inputs, losses
from dipjax.fitting.optimizers import Adam, Halving, Langevin
from dipjax.fitting.penalties import TotalVariationSum
from dipjax.generators import Pixels, ResNet, Skip, UNet, blocks
from dipjax.recipes.setting import Setting
from dipjax.stopping import Samples

_TAPERED = (16, 32, 64, 128, 128, 128)


def denoising(channels: int = 3) -> Setting:
    """Returns the setting for noise of sigma 25/255 (denoising.ipynb, F16), with the paper's backtracking.

    Expected on the nine colour images of the paper: 29.22 dB for the last output of 1800 steps, 30.43 for the averaged output, and
    31.00 for the average of two runs (section 4).
    """
    return _setting(Skip(channels), inputs.Noise(32), 3000, input_noise=1 / 30, backtracking=5.0)


def denoising_50(channels: int = 3) -> Setting:
    """Returns the setting for noise of sigma 50/255 (a comment in denoising.ipynb).

    Expected on the nine colour images: 27.69 dB (the authors' published pictures; their setting is not known for certain).
    """
    return _setting(Skip(channels), inputs.Noise(32), 3000, input_noise=1 / 20, backtracking=5.0)


def langevin(channels: int = 3) -> Setting:
    """Returns the setting of the Bayesian deep image prior: samples of a posterior, every fiftieth output after the 7000th of 20,000.

    Their mean is the estimate and their deviation the uncertainty. Expected on the nine colour images, sigma 25: 30.81 dB.

    Reference: Cheng, Gadelha, Maji, Sheldon, A Bayesian perspective on the deep image prior, CVPR 2019, and its notebook Image_Denoising.
    """
    setting = _setting(Skip(channels), inputs.Noise(32), 20_000, input_noise=1 / 30, backtracking=5.0)
    return setting.changed(optimizer=Langevin(0.01), stopping=Samples(7000, 50))


def dejpeg(channels: int = 3) -> Setting:
    """Returns the setting for compression artefacts (denoising.ipynb, snail): a tapered network that forgets blocks. No numbers."""
    widths = (8, 16, 32, 64, 128)
    generator = Skip(channels, widths, widths, (0, 0, 0, 4, 4))
    return _setting(generator, inputs.Noise(3), 2400, input_noise=1 / 30, backtracking=5.0)


def super_resolution(channels: int = 3) -> Setting:
    """Returns the setting for factor 4 (super-resolution.ipynb): 29.90 / 27.00 dB on Set5 / Set14, luma without a 4-pixel frame."""
    return _setting(Skip(channels), inputs.Noise(32), 2000, input_noise=0.03)


def super_resolution_8(channels: int = 3) -> Setting:
    """Returns the setting for factor 8 (super-resolution.ipynb): 25.89 / 24.15 dB on Set5 / Set14, luma without a 4-pixel frame."""
    return _setting(Skip(channels), inputs.Noise(32), 4000, input_noise=0.05)


def prior_effect(channels: int = 3) -> Setting:
    """Returns the deep image prior of the comparison of priors (sr_prior_effect.ipynb, zebra crop, factor 4). No numbers."""
    return _setting(Skip(channels), inputs.Noise(3), 2000, input_noise=1 / 30)


def no_prior(channels: int = 3) -> Setting:
    """Returns the fit of the pixels themselves (sr_prior_effect.ipynb): 26.56 / 24.93 dB on Set5 / Set14, factor 4, luma."""
    return _setting(Pixels(channels), inputs.Noise(channels), 2000)


def total_variation(channels: int = 3) -> Setting:
    """Returns the fit of the pixels with a total variation penalty (sr_prior_effect.ipynb): 28.86 / 26.42 dB as above."""
    return no_prior(channels).changed(penalty=TotalVariationSum(1e-7))


def region_inpainting(channels: int = 3) -> Setting:
    """Returns the setting for one large hole (inpainting.ipynb, vase, figure 6): coordinates as input, no skips. No numbers."""
    generator = Skip(channels, skip=(0,) * 5, upsample=blocks.nearest)
    return _setting(generator, inputs.Meshgrid(), 5001, input_noise=0.03)


def inpainting(channels: int = 3) -> Setting:
    """Returns the setting for text and scratches (inpainting.ipynb, kate, figure 7): wide skips, nearest doubling.

    Expected on kate, whole image, RGB: 33.3 dB after 1500 steps, 36.2 after 3000, 39.0 after 6000 (the authors' pictures).
    """
    generator = Skip(channels, skip=(128,) * 5, upsample=blocks.nearest)
    return _setting(generator, inputs.Noise(32), 6001, input_noise=0.03)


def library(channels: int = 3, *, depth: int = 6) -> Setting:
    """Returns the setting for several holes (inpainting.ipynb, library, figure 8): a `depth` of 2, 4 or 6 levels, deeper fills better."""
    widths = _TAPERED[:depth]
    generator = Skip(channels, widths, widths, (0,) * depth, kernel_down=5, upsample=blocks.nearest, use_1x1=False)
    return _setting(generator, inputs.Noise(1), 3001)


def library_unet(channels: int = 3) -> Setting:
    """Returns the U-Net of the library comparison (inpainting.ipynb): its skips are detrimental there, says the paper."""
    return _setting(UNet(channels, feature_scale=8), inputs.Noise(1), 3001, learning_rate=0.001)


def library_resnet(channels: int = 3) -> Setting:
    """Returns the ResNet of the library comparison (inpainting.ipynb)."""
    return _setting(ResNet(channels), inputs.Noise(1), 3001, learning_rate=0.001)


def restoration(channels: int = 1) -> Setting:
    """Returns the setting for half of the pixels missing (restoration.ipynb, barbara): 33.48 dB on eleven gray images, raw output.

    The notebook looks for a fall of the output every 50 steps only, the backtracking here in every step.
    """
    generator = Skip(channels)
    return _setting(generator, inputs.Noise(32), 11000, learning_rate=0.001, input_noise=0.03, backtracking=5.0)


def restoration_98(channels: int = 3) -> Setting:
    """Returns the setting for 98 % of the pixels missing (restoration.ipynb, kate): averages halve, no skips. No numbers."""
    generator = Skip(channels, _TAPERED[:5], _TAPERED[:5], (0,) * 5, pool=blocks.average_pool)
    return _setting(generator, inputs.Noise(32), 1000)


def flash(channels: int = 3) -> Setting:
    """Returns the setting for a picture without flash, guided by one with flash (flash-no-flash.ipynb). No numbers.

    Its input is `problem.guide`. The authors warn that a run is sometimes stuck at a reddish image: use several seeds.
    """
    generator = Skip(channels, upsample=(blocks.nearest,) * 2 + (blocks.bilinear,) * 3)
    return _setting(generator, inputs.Guide(), 601, learning_rate=0.1)


def deblurring(channels: int = 3) -> Setting:
    """Returns the official generator and optimizer for deblurring, a task that neither paper nor notebooks treat."""
    return _setting(Skip(channels), inputs.Noise(32), 3000, input_noise=0.01)


def blind_deblurring(channels: int = 3) -> Setting:
    """Returns the setting of SelfDeblur for a blur that is not known, for a generator in `generators.WithPsf`.

    Source: Ren et al., *Neural Blind Deconvolution Using Deep Priors*, CVPR 2020, and its code, which from step 1000 on fits the
    structural similarity instead of the square error, and takes an eighth of our steps for the psf.
    """
    setting = _setting(Skip(channels, skip=(16,) * 5), inputs.Noise(8), 5000, input_noise=0.001)
    return setting.with_schedule(Halving())


def feature_inversion(channels: int = 3) -> Setting:
    """Returns the setting for `problem.feature_inversion` (feature_inversion.ipynb, AlexNet and VGG19). No numbers."""
    kernels = (7, 7, 5, 5, 3, 3)
    generator = Skip(
        channels,
        _TAPERED,
        _TAPERED,
        (4,) * 6,
        kernel_down=kernels,
        kernel_up=kernels,
        upsample=blocks.nearest,
        pool=blocks.average_pool,
        padding="zero",
    )
    return _setting(generator, inputs.Noise(32), 3100, learning_rate=0.001)


def activation_maximisation(channels: int = 3) -> Setting:
    """Returns the setting for `problem.activation_maximisation` of convolutional maps (activation_maximization.ipynb). No numbers."""
    generator = Skip(
        channels,
        _TAPERED,
        _TAPERED,
        (0, 4, 4, 4, 4, 4),
        kernel_down=(5, 3, 5, 5, 3, 5),
        kernel_up=(5, 3, 5, 3, 5, 3),
        pool=blocks.average_pool,
    )
    setting = _setting(generator, inputs.Noise(32), 3100, learning_rate=0.001, input_noise=0.03)
    return setting.changed(loss=losses.Maximise(5.0))


def as_in_2018(setting: Setting) -> Setting:
    """Returns a `setting` with the two defaults of the PyTorch that the paper's numbers were made with (0.2, 0.3).

    Normalisation scales start in U(0, 1) instead of at 1, and bilinear doubling aligns the corner pixels.
    """

    def aligned(upsample):
        if isinstance(upsample, tuple):
            return tuple(map(aligned, upsample))
        return blocks.bilinear_aligned if upsample is blocks.bilinear else upsample

    generator = setting.recipe.generator
    changes = {"scale_init": blocks.uniform_scale} if hasattr(generator, "scale_init") else {}
    changes |= {"upsample": aligned(generator.upsample)} if hasattr(generator, "upsample") else {}
    return setting.changed(generator=generator.clone(**changes))


def _setting(generator, make_input, num_steps, *, learning_rate=0.01, input_noise=0.0, backtracking=None):
    recipe = Recipe(generator, make_input, Adam(learning_rate), input_noise=input_noise, backtracking=backtracking)
    return Setting(recipe, num_steps)
