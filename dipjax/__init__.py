"""Deep image prior in JAX: restore one picture with an untrained network, many seeds at once.

The public names are listed in `__init__.pyi` and loaded when first used, so that `dipjax --help` does not wait for JAX.

Every example in a docstring runs after `import dipjax, jax`, `import jax.numpy as jnp` and `import numpy as np`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
