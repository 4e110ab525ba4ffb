"""Generators: networks that turn a fixed input z into an image. One file each.

A generator is a linen module, or anything hashable with `init(key, z) -> params` and `apply(params, z)`, for one z `(h, w, D)` without a
batch axis. It keeps the size of z, or makes `stride` pixels of each one; the loop crops what exceeds the image. It returns an image
`(H, W, channels)`, or a tuple of an image and further unknowns, which the operator takes after the image. `Plain`, `Siren` and `Pixels`
do the same with signals and volumes.

Derivatives of any order, forwards and backwards, pass through every generator here.

To add one, add a file, a line here, and its row in `registry`, which is all that tests, recipes and the command line look at.

Examples:
  >>> generators, z = dipjax.generators, jnp.zeros((16, 16, 4))
  >>> generator = generators.Plain(3, num_layers=2, width=4)
  >>> generator.apply(generator.init(jax.random.key(0), z), z).shape
  (16, 16, 3)
  >>> def shape_of(generator):  # which computes nothing
  ...     return jax.eval_shape(lambda key: generator.apply(generator.init(key, z), z), jax.random.key(0)).shape
  >>> shape_of(generators.Skip(3, down=(8, 8), up=(8, 8), skip=(2, 2)))
  (16, 16, 3)
  >>> shape_of(generators.UNet(3, feature_scale=8, more_layers=0)), shape_of(generators.ResNet(3, num_blocks=1))
  ((16, 16, 3), (16, 16, 3))
  >>> shape_of(generators.TextureNet(3, num_levels=2)), shape_of(generators.Positional(3, (8,), (8,), (2,)))
  ((16, 16, 3), (16, 16, 3))
  >>> shape_of(generators.Siren(3)), shape_of(generators.Pixels(3)), shape_of(generators.Perturbed(generator))
  ((16, 16, 3), (16, 16, 3), (16, 16, 3))
  >>> {shape_of(kind(3, num_doublings=2)) for kind in (generators.DCGAN, generators.DeepDecoder)}
  {(64, 64, 3)}
  >>> with_psf = generators.WithPsf(generator, (5, 5), width=8)
  >>> [made.shape for made in with_psf.apply(with_psf.init(jax.random.key(0), z), z)]
  [(16, 16, 3), (5, 5)]
  >>> shape_of(generators.ConvDecoder(3, stride=4))
  (64, 64, 3)
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
