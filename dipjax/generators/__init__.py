"""Generators: networks that turn a fixed input z into an image. One file each.

A generator is a linen module, or anything hashable with `init(key, z) -> params` and `apply(params, z)`, for one z `(h, w, D)` without a
batch axis. It keeps the size of z, or makes `stride` pixels of each one; the loop crops what exceeds the image.
To add one, add a file, a line here and in `named`, its setting in `recipes`, and a row in tests/test_contracts.py.
"""

from dipjax.generators.conv_decoder import ConvDecoder
from dipjax.generators.dcgan import DCGAN
from dipjax.generators.deep_decoder import DeepDecoder
from dipjax.generators.pixels import Pixels
from dipjax.generators.plain import Plain
from dipjax.generators.positional import Positional
from dipjax.generators.resnet import ResNet
from dipjax.generators.siren import Siren
from dipjax.generators.skip import Skip
from dipjax.generators.texture_net import TextureNet
from dipjax.generators.unet import UNet

__all__ = ["ConvDecoder", "DCGAN", "DeepDecoder", "Pixels", "Plain", "Positional", "ResNet", "Siren", "Skip", "TextureNet", "UNet"]
