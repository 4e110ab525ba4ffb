"""Any generator, and beside the image the blur that it was photographed with."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dipjax.generators.wrapper import Wrapper

_INPUTS = 200  # of the small network, all of the same value
_INPUT = 0.05  # the mean of what the official code draws there


@dataclass(frozen=True)
class WithPsf(Wrapper):
    """A generator of images beside one of point spread functions: makes `(image, psf)` for the operator `UnknownBlur`.

    The psf is the softmax of what a network of one hidden layer makes of a constant input, so that it is positive and sums to one; Ren et
    al., *Neural Blind Deconvolution Using Deep Priors* (SelfDeblur), CVPR 2020. A picture moved to the left and a psf moved to the right
    are the same blurred picture: the psf is moved, between pixels too, until its centre of mass is in the middle, so that seeds agree on
    where the picture is.

    Its weights are `rate` times its parameters. With an optimizer whose steps are all of one length, such as Adam, they so take steps of
    `rate` times that of the image's. The official code takes 0.01 (1e-4 beside 1e-2); others are in benchmarks/results/back_projection.md.

    Attributes:
      generator: any other one, which makes the image.
      size: `(k, l)` of the psf.
      width: of the hidden layer.
      rate: positive.
    """

    generator: Any
    size: tuple[int, int]
    width: int = 1000
    rate: float = 0.08

    def __post_init__(self):
        """Checks the settings."""
        if not (isinstance(self.size, tuple) and len(self.size) == 2 and all(isinstance(side, int) and side >= 1 for side in self.size)):
            raise ValueError(f"size: found {self.size!r}, expected two whole numbers of pixels.")
        if not (isinstance(self.width, int) and self.width >= 1):
            raise ValueError(f"width: found {self.width!r}, expected a whole number from 1.")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate: found {self.rate!r}, expected a positive number.")

    def init(self, key: Array, z: Array) -> Any:
        """Returns the parameters of both."""
        image_key, *keys = jax.random.split(key, 5)
        sides = (_INPUTS, self.width, math.prod(self.size))

        def drawn(key, inputs, shape):
            return jax.random.uniform(key, shape, z.dtype, -1, 1) / (math.sqrt(inputs) * self.rate)

        layers = [
            {"kernel": drawn(keys[2 * i], sides[i], sides[i : i + 2]), "bias": drawn(keys[2 * i + 1], sides[i], sides[i + 1])}
            for i in range(2)
        ]
        return {"image": self.generator.init(image_key, z), "psf": layers}

    def apply(self, params: Any, z: Array) -> tuple:
        """Maps z to an image and a psf `(k, l)`, and what else the generator makes."""
        made = self.generator.apply(params["image"], z)
        image, *others = made if isinstance(made, tuple) else (made,)
        first, last = jax.tree.map(lambda leaf: self.rate * leaf, params["psf"])
        hidden = jax.nn.relu6(_INPUT * first["kernel"].sum(0) + first["bias"])
        psf = jax.nn.softmax(hidden @ last["kernel"] + last["bias"]).reshape(self.size)
        return image, centred(psf), *others


def centred(psf: Array) -> Array:
    """Moves a psf `(k, l)` so that its centre of mass is at `(k // 2, l // 2)`; between pixels by linear interpolation.

    What would leave it is lost, and the rest sums to one again.
    """
    for axis, size in enumerate(psf.shape):
        places = jnp.arange(size, dtype=psf.dtype)
        off = jnp.sum(jnp.moveaxis(psf, axis, -1) * places) / jnp.sum(psf) - size // 2
        weights = jnp.maximum(1 - jnp.abs(places[:, None] + off - places), 0)  # (to, from)
        psf = jnp.moveaxis(jnp.tensordot(weights, psf, ((1,), (axis,))), 0, axis)
    return psf / jnp.sum(psf)
