"""What every generator of the registry promises: derivatives, dtypes, axes, records. A new row is under test by itself."""

from functools import partial
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import generators, record
from dipjax.generators import blocks, registry

pytestmark = pytest.mark.usefixtures("quick_compilation", "strict")

# Small, so that they compile soon. What has no line here is tested as it is by default.
LEVEL = ["down=3", "up=3"]
SMALL = {
    "skip": [*LEVEL, "skip=2"],
    "encoder-decoder": [*LEVEL, "skip=0"],
    "unet": ["feature_scale=32", "more_layers=0"],
    "resnet": ["num_blocks=1", "width=3"],
    "texture-net": ["num_levels=2", "width=2"],
    "dcgan": ["num_doublings=1", "width=3"],
    "plain": ["num_layers=2", "width=3"],
    "deep-decoder": ["num_doublings=1", "width=4"],
    "conv-decoder": ["num_layers=3", "stride=3", "width=4"],
    "positional": [*LEVEL, "skip=2", "num_frequencies=2", "max_frequency=3"],
    "siren": ["num_layers=1", "width=4", "frequency=3"],
}
every_generator = pytest.mark.parametrize("name", registry.GENERATORS)


@pytest.fixture
def strict():
    """64 bits, no silent promotion, no NaN on the way."""
    flags = {"jax_enable_x64": True, "jax_numpy_dtype_promotion": "strict", "jax_debug_nans": True}
    before = {flag: getattr(jax.config, flag) for flag in flags}
    for flag, value in flags.items():
        jax.config.update(flag, value)
    yield
    for flag, value in before.items():
        jax.config.update(flag, value)


def make(name, more=()):
    return registry.make(name, 3, [*SMALL.get(name, ()), *more])


def z_of(name, generator, shape=(8, 6), dtype=np.float64):
    """Draws what the generator's own input would be for an image of that shape, but with all of its values at random."""
    problem = SimpleNamespace(shape=(*shape, 3), dtype=dtype)
    z = jax.eval_shape(lambda key: registry.GENERATORS[name].input(generator)(key, problem), jax.random.key(0))
    return np.random.default_rng(1).random(z.shape).astype(dtype)


def random_like(tree, seed, scale=0.3):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape), leaf.dtype), tree)


def variants(name):
    """Yields options of which every word of every option is in one, at least where all others allow it."""
    defaults = {key: value for key, value in registry.option_defaults(name).items() if f"{key}=" not in "".join(SMALL.get(name, ()))}
    words = {key: ["true", "false"] for key, value in defaults.items() if isinstance(value, bool)}
    for key, value in defaults.items():
        if key in registry._FUNCTIONS:
            words[key] = [word for word, function in registry._FUNCTIONS[key].items() if function is not None or value is None]
    for i in range(max(map(len, words.values()), default=0)):
        yield [f"{key}={choice[i % len(choice)]}" for key, choice in words.items()]


@every_generator
@pytest.mark.slow
def test_derivatives_of_first_and_second_order_are_finite_differences_under_jit_vmap_and_in_a_loop(name):
    generator = make(name)
    z = z_of(name, generator)
    z = jnp.stack([z, 0.7 * z[::-1]])
    shapes = jax.eval_shape(generator.init, jax.random.key(0), z[0])
    params, direction = (random_like(jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape), leaf.dtype), shapes), seed) for seed in (0, 1))

    def derivatives(params, direction, z):
        def loss(params):
            return jnp.mean((generator.apply(params, z) - 0.3) ** 2)

        def again(carry, step):
            start = jax.tree.map(lambda one, other: one + step * other, params, direction)
            return carry, jax.jvp(jax.value_and_grad(loss), (start,), (direction,))

        return jax.lax.scan(again, 0, jnp.asarray([-1e-5, 1e-5, 0.0]))[1]

    (values, gradients), tangents = jax.jit(jax.vmap(derivatives))(params, direction, z)
    found = jax.tree.map(lambda leaf: leaf[:, 2], tangents)
    expected = jax.tree.map(lambda leaf: (leaf[:, 1] - leaf[:, 0]) / 2e-5, (values, gradients))
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-7)
    slope = sum(
        jnp.sum((one[:, 2] * other).reshape(2, -1), 1) for one, other in zip(*map(jax.tree.leaves, (gradients, direction)), strict=True)
    )
    chex.assert_trees_all_close(found[0], slope, rtol=1e-9)
    assert (jnp.abs(slope) > 1e-4).all()


@every_generator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.slow
def test_parameters_and_image_have_the_dtype_of_z_whatever_the_options(name, dtype):
    for options in variants(name):
        generator = make(name, options)
        z = z_of(name, generator, (12, 10), dtype)[..., :1]  # no more channels than a small UNet can join
        params = jax.eval_shape(generator.init, jax.random.key(0), z)
        image, tangent = jax.eval_shape(
            lambda params, z=z, apply=generator.apply: jax.jvp(partial(apply, z=z), (params,), (params,)), params
        )
        assert {leaf.dtype for leaf in jax.tree.leaves((params, image, tangent))} == {np.dtype(dtype)}, options
        assert image.shape[-1] == 3


@every_generator
@pytest.mark.slow
def test_in_32_bits_the_image_is_finite_and_that_of_64_bits(name):
    generator = make(name)
    z = z_of(name, generator)
    params = random_like(jax.eval_shape(generator.init, jax.random.key(0), z), 0)
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), (params, z))
    found, expected = jax.jit(lambda: (generator.apply(*single), generator.apply(params, z)))()
    assert (found.dtype, expected.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@every_generator
@pytest.mark.parametrize("sides", [(7,), (3, 4, 5)])
def test_a_signal_and_a_volume_are_made_or_refused_in_a_sentence(name, sides):
    generator = make(name)
    z = np.random.default_rng(0).random((*sides, 4))
    try:
        image, _ = jax.eval_shape(partial(generator.init_with_output, jax.random.key(0)), z)
    except ValueError as error:
        assert "expected an image (H, W, D)" in str(error)
        assert str(z.shape) in str(error)
        assert name not in {"plain", "siren"}
    else:
        assert image.shape == (*sides, 3)


@pytest.mark.parametrize("sides", [(7,), (3, 4, 5), (1, 1, 1)])
@pytest.mark.parametrize(
    "generator", [generators.Plain(2, num_layers=2, width=3), generators.Siren(2, num_layers=1, width=4), generators.Pixels(2)]
)
def test_the_gradient_for_signals_and_volumes_is_finite_and_not_zero(generator, sides):
    z = jnp.asarray(np.random.default_rng(0).random((*sides, 4)))
    params = random_like(jax.eval_shape(generator.init, jax.random.key(0), z), 0)
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(generator.apply(params, z) ** 2)))(params)
    chex.assert_tree_all_finite(gradients)
    assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(gradients)) > 0


def test_more_axes_than_a_convolution_has_are_refused():
    with pytest.raises(ValueError, match=r"^Plain: found .*expected a signal"):
        jax.eval_shape(generators.Plain(1).init, jax.random.key(0), np.zeros((2, 2, 2, 2, 1)))


@every_generator
def test_a_generator_goes_into_a_record_and_back(name):
    for options in [(), *variants(name)]:
        for generator in (make(name, options), generators.Perturbed(make(name, options), 0.1)):
            assert record.loads(record.dumps(generator)) == generator


@pytest.mark.parametrize("shape", [(6, 2), (5, 4, 2), (3, 2, 4, 2)])
@pytest.mark.parametrize("weigh", [None, blocks._weigh_doubled])
def test_the_derivatives_of_norm_are_those_of_its_formula(shape, weigh):
    if weigh and len(shape) != 3:
        pytest.skip("what is doubled is an image")
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.standard_normal(size)) for size in (shape, (2,), (2,))]
    tangents, weights = [jnp.cos(array) for array in arrays], jnp.asarray(rng.standard_normal(shape))

    def formula(image, scale, bias):
        axes = tuple(range(image.ndim - 1))
        centred = image - image.mean(axes)
        variance = (centred * (weigh(centred) if weigh else centred)).mean(axes)
        return scale * centred / jnp.sqrt(variance + 1e-5) + bias

    def second(function):
        gradients = jax.grad(lambda *arrays: jnp.sum(weights * jnp.tanh(function(*arrays))), (0, 1, 2))

        def product(*arrays):
            return sum(jnp.sum(one * other) for one, other in zip(gradients(*arrays), tangents, strict=True))

        return jax.jvp(gradients, arrays, tangents), jax.grad(product, (0, 1, 2))(*arrays), jax.jvp(function, arrays, tangents)

    found, expected = jax.jit(lambda: (second(partial(blocks.normalize, weigh=weigh)), second(formula)))()
    chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-9)
