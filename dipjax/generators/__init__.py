"""Generators: networks that turn a fixed input z into an image. One file each.

A generator is a linen module, or anything hashable with `init(key, z) -> params` and `apply(params, z)`, for one z `(h, w, D)` without a
batch axis. It keeps the size of z, or makes `stride` pixels of each one; the loop crops what exceeds the image. It returns an image
`(H, W, channels)`, or a tuple of an image and further unknowns, which the operator takes after the image. `Plain`, `Siren` and `Pixels`
do the same with signals and volumes.

Derivatives of any order, forwards and backwards, pass through every generator here.

To add one, add a file, a line here, and its row in `registry`, which is all that tests, recipes and the command line look at.
"""

from dipjax.generators.conv_decoder import ConvDecoder
from dipjax.generators.dcgan import DCGAN
from dipjax.generators.deep_decoder import DeepDecoder
from dipjax.generators.perturbed import Perturbed
from dipjax.generators.pixels import Pixels
from dipjax.generators.plain import Plain
from dipjax.generators.positional import Positional
from dipjax.generators.resnet import ResNet
from dipjax.generators.siren import Siren
from dipjax.generators.skip import Skip
from dipjax.generators.texture_net import TextureNet
from dipjax.generators.unet import UNet
from dipjax.generators.with_psf import WithPsf

__all__ = [
    "ConvDecoder",
    "DCGAN",
    "DeepDecoder",
    "Perturbed",
    "Pixels",
    "Plain",
    "Positional",
    "ResNet",
    "Siren",
    "Skip",
    "TextureNet",
    "UNet",
    "WithPsf",
]
