"""Deep image prior in JAX: restore one picture with an untrained network, many seeds at once.

A convolutional network with random parameters draws a picture from fixed noise z. Its parameters are fitted until the picture, degraded as
yours was, equals yours: minimise loss(A f(z), y). Natural pictures are fitted soon and noise late, so one stops in between. No training
data is needed, and the mean of several random starts, the seeds, is better than each of them.

For people, NumPy in and NumPy out; `(H, W)` or with channels, whole numbers or floats:

    restored = dipjax.denoise(noisy)                           # seeds stop by themselves
    filled = dipjax.inpaint(photo, scratches)                  # True where to fill in
    large = dipjax.super_resolve(small, 4)
    sharp = dipjax.deblur(photo, dipjax.psfs.gaussian(2.0))    # or dipjax.deblur(photo, 15), where the blur is not known
    restored, outcome = dipjax.denoise(noisy, seeds=8, return_result=True)
    outcome.uncertainty, outcome.std, outcome.images           # of the error; over the seeds; each seed's own

The others are `dejpeg`, `restore_photo`, `flash`, `demosaic`, `ct` and `mri`. All take the keywords of `Options`, and `help` of each
explains them. `distill` and `apply` teach a light network by such results, `refine` gives one the look of clean examples.

For research, data is a pytree, method is a frozen dataclass, behaviour is a function for one image and one key:

    task = dipjax.problem.general(measured, operator, shape=(H, W, C))       # any differentiable operator
    recipe = dipjax.Recipe(generator, dipjax.inputs.Noise(32), dipjax.optimizers.Adam(0.01), loss=dipjax.losses.L1())
    result = dipjax.restore(recipe, dipjax.seeds(0, 4), task, num_steps=2000)
    result.image, result.std, result.images, result.metrics

`problem`, `operators`, `psfs` and `instruments` hold what degrades a picture; `generators`, `inputs`, `losses`, `penalties` and
`optimizers` the parts of a recipe; `recipes` and `paper` settings that were measured or published; `stopping` the rules; `layouts`,
`tiling` and `pod` how runs lie on a machine. The loop itself is `init`, `train_step`, `run`.

The public names are listed in `__init__.pyi` and loaded when first used, so that `dipjax --help` does not wait for JAX. Every example in a
docstring runs after `import dipjax, jax`, `import jax.numpy as jnp` and `import numpy as np`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
