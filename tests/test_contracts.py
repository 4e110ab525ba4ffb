"""What every operator, generator, input, loss, penalty and layout promises. A new one is one more row of the table."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import operators
from dipjax.core import layouts as batching
from dipjax.fitting import inputs, losses, optimizers, parameter_noise
from dipjax.generators import DCGAN, ConvDecoder, DeepDecoder, Plain, Positional, ResNet, Siren, Skip, TextureNet, UNet, blocks
from dipjax.generators import registry as named
from dipjax.operators import problem, psfs, resampling
from dipjax.recipes import fast as recipes
from dipjax.recipes import paper
from tests.conftest import Mixer, mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")

SIZES = [(1, 1), (1, 5), (2, 3), (7, 9), (33, 34), (48, 40)]
CASES = list(zip(SIZES, (1, 2, 3, 5, 1, 3), strict=True))  # with as many channels
PLAIN, ODD, EVEN = (7, 9, 3), (33, 35), (48, 40)


class Row(NamedTuple):
    """One thing under contract."""

    kind: str
    make: Callable[..., Any]  # operator: (H, W) -> operator; else () -> thing; two calls give equal things
    smallest: int = 1  # operator: the shortest side it can take
    size: Callable[[int], int] = lambda side: side  # side of the image -> operator: side of the measurement; input: side of z


def psf(k, l):
    return psfs.normalized(np.random.default_rng(k * 10 + l).random((k, l)))


def mask(height, width, channels=1):
    return jnp.asarray(np.random.default_rng(0).random((height, width, channels)) > 0.5, jnp.float32)


def blur(k, l, boundary):
    smallest = 1 if boundary == "reflect" else max(k, l)
    size = (lambda side: side - k + 1) if boundary == "valid" else (lambda side: side)
    return Row("operator", lambda h, w: operators.Blur(jnp.asarray(psf(k, l)), boundary), smallest, size)


def shrink(factor, kernel):
    return Row("operator", lambda h, w: operators.Downsample(factor, kernel), factor, lambda side: side // factor)


def composition(h, w):
    return operators.Compose((operators.Mask(mask(h, w)), operators.Downsample(3), operators.Blur(jnp.asarray(psf(3, 2)))))


ROWS = {
    "identity": Row("operator", lambda h, w: operators.Identity()),
    "mask": Row("operator", lambda h, w: operators.Mask(mask(h, w))),
    "blur 3x3 reflect": blur(3, 3, "reflect"),
    "blur 4x4 reflect": blur(4, 4, "reflect"),
    "blur 2x5 reflect": blur(2, 5, "reflect"),
    "blur 1x1 reflect": blur(1, 1, "reflect"),
    "blur 3x3 circular": blur(3, 3, "circular"),
    "blur 4x4 circular": blur(4, 4, "circular"),
    "blur 5x2 circular": blur(5, 2, "circular"),
    "blur 3x3 valid": blur(3, 3, "valid"),
    "blur 4x4 valid": blur(4, 4, "valid"),
    "downsample 1": shrink(1, resampling.LANCZOS2),
    "downsample 2 Lanczos 2": shrink(2, resampling.LANCZOS2),
    "downsample 3 Lanczos 3": shrink(3, resampling.LANCZOS3),
    "downsample 4 bicubic": shrink(4, resampling.BICUBIC),
    "downsample 5 box": shrink(5, resampling.BOX),
    "composition": Row("operator", composition, 3, lambda side: side // 3),
    "skip": Row("generator", lambda: Skip(3, (4,), (4,), (2,))),
    "skip, options per level": Row(
        "generator",
        lambda: Skip(
            5,
            down=(3, 4),
            up=(5, 4),
            skip=(0, 2),
            kernel_down=(5, 3),
            kernel_up=(3, 1),
            kernel_skip=3,
            upsample=(blocks.nearest, blocks.bilinear_aligned),
            pool=(blocks.average_pool, None),
            padding="zero",
            activation=jax.nn.swish,
            use_1x1=False,
        ),
    ),
    "skip, pooled": Row(
        "generator",
        lambda: Skip(
            1,
            down=(3, 4),
            up=(3, 4),
            skip=(2, 0),
            pool=(blocks.max_pool, blocks.lanczos2_pool),
            upsample=blocks.nearest,
            padding="edge",
            output=blocks.identity,
            use_bias=False,
            scale_init=blocks.uniform_scale,
        ),
    ),
    "unet": Row("generator", lambda: UNet(3, feature_scale=32)),
    "unet, other options": Row(
        "generator",
        lambda: UNet(
            1,
            feature_scale=8,
            more_layers=0,
            concat_z=True,
            upsample=blocks.bilinear,
            padding="reflect",
            affine=True,
            use_bias=False,
            output=blocks.identity,
        ),
    ),
    "resnet": Row("generator", lambda: ResNet(3, num_blocks=2, width=4)),
    "resnet, other options": Row(
        "generator", lambda: ResNet(2, 1, 4, use_residual=False, padding="zero", activation=jax.nn.elu, output=blocks.identity)
    ),
    "texture net": Row("generator", lambda: TextureNet(3, num_levels=3, width=2)),
    "dcgan": Row("generator", lambda: DCGAN(3, width=4)),
    "dcgan, upsampled": Row("generator", lambda: DCGAN(1, num_doublings=1, width=4, upsample=blocks.bilinear)),
    "plain": Row("generator", lambda: Plain(3, num_layers=3, width=4)),
    "plain, other options": Row("generator", lambda: Plain(1, num_layers=2, width=4, kernel_size=5, padding="zero", use_norm=False)),
    "encoder-decoder": Row("generator", lambda: named.make("encoder-decoder", 2, ["down=3,4", "up=3,4", "skip=0,0"])),
    "deep decoder": Row("generator", lambda: DeepDecoder(3, width=5, num_doublings=2)),
    "conv decoder": Row("generator", lambda: ConvDecoder(3, num_layers=3, width=5, stride=4)),
    "conv decoder, no power of two": Row(
        "generator", lambda: ConvDecoder(1, num_layers=3, width=5, stride=3, padding="reflect", output=blocks.identity)
    ),
    "positional": Row("generator", lambda: Positional(3, (4,), (4,), (2,), num_frequencies=3)),
    "positional, trainable": Row("generator", lambda: Positional(1, (4,), (4,), (2,), trainable=True, upsample=blocks.nearest)),
    "siren": Row("generator", lambda: Siren(3, num_layers=2, width=8)),
    "perturbed": Row("generator", lambda: parameter_noise.Perturbed(Plain(3, num_layers=2, width=4))),
    "not flax": Row("generator", lambda: Mixer(3)),
    "uniform noise": Row("input", lambda: inputs.noise(5)),
    "coarse uniform noise": Row("input", lambda: inputs.noise(5, stride=3), size=lambda side: -(-side // 3)),
    "grainy uniform noise": Row("input", lambda: inputs.noise(5, grain=4)),
    "normal noise": Row("input", lambda: inputs.normal(5, scale=0.2)),
    "coarse normal noise": Row("input", lambda: inputs.normal(5, stride=4), size=lambda side: -(-side // 4)),
    "meshgrid": Row("input", lambda: inputs.meshgrid),
    "guide": Row("input", lambda: inputs.guide),
    "mse": Row("loss", lambda: losses.mse),
    "l1": Row("loss", lambda: losses.l1),
    "huber": Row("loss", lambda: losses.huber(0.05)),
    "total variation as a sum": Row("penalty", lambda: losses.total_variation_sum(0.1)),
    "total variation": Row("penalty", lambda: losses.total_variation(0.1)),
    "vmap": Row("layout", lambda: jax.vmap),
    "one by one": Row("layout", lambda: batching.one_by_one),
    "default layout": Row("layout", batching.default),
    "adam": Row("setting", lambda: optimizers.adam(0.01, 10)),
    "cosine": Row("setting", lambda: optimizers.cosine(0.01, 10)),
    "adam with a schedule": Row("setting", lambda: optimizers.adam(0.01, 10, optimizers.cosine)),
    "recipe": Row("setting", mixer_recipe),
    "parameter noise": Row("setting", lambda: parameter_noise.persistent(0.02)),
    "box kernel": Row("setting", lambda: resampling.BOX),
}
SETTINGS = {thing for thing in vars(paper).values() if hasattr(thing, "cache_info") and thing.__module__ == paper.__name__}
SETTINGS |= set(recipes.FAST.values())
ROWS |= {f"setting {thing.__name__}": Row("setting", partial(thing, 3, num_steps=5)) for thing in SETTINGS}
ROWS |= {
    f"for {name}": Row("setting", lambda name=name: recipes.for_generator(named.make(name, 3), num_steps=5)) for name in named.GENERATORS
}


def of_kind(*kinds):
    return pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.kind in kinds])


def image(shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).random(shape, np.float32))


def call(operator, image):
    return operator(image)  # jit hashes its function, and an operator holds arrays


def case(name):
    """Returns a function and its arguments, arrays or trees of them."""
    kind, thing = ROWS[name].kind, ROWS[name].make
    if kind == "operator":
        return call, (thing(*EVEN), image((*EVEN, 2)))
    if kind == "generator":
        z = image((7, 6, 4))
        shapes = jax.eval_shape(thing().init, jax.random.key(0), z)  # drawn by NumPy: `init` takes longest to compile
        return thing().apply, (jax.tree.map(lambda leaf: image(leaf.shape, leaf.size) - 0.4, shapes), z)
    if kind == "input":
        size, guide = (6, 4, 1), image((6, 4, 2))
        return lambda guide: thing()(jax.random.key(0), problem.Problem(None, None, size, guide=guide)), (guide,)
    return thing(), (image(PLAIN), image(PLAIN, 2))[: 1 if kind == "penalty" else 2]


@of_kind("operator")
def test_an_operator_survives_flattening_and_unflattening(name):
    operator = ROWS[name].make(*EVEN)
    leaves, structure = jax.tree.flatten(operator)
    again = jax.tree.unflatten(structure, leaves)
    assert structure == jax.tree.structure(ROWS[name].make(*EVEN))
    assert hash(structure) == hash(jax.tree.structure(again))
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    chex.assert_trees_all_equal(operator(image((*EVEN, 1))), again(image((*EVEN, 1))))


@of_kind("generator", "input", "loss", "penalty", "layout", "setting")
def test_what_decides_the_program_is_hashable_and_equal_for_equal_arguments(name):
    one, other = ROWS[name].make(), ROWS[name].make()
    assert one == other
    assert hash(one) == hash(other)


@of_kind("operator", "input", "loss", "penalty")  # a generator outside jit compiles every operation by itself
def test_the_result_is_the_same_under_jit(name):
    function, arguments = case(name)
    chex.assert_trees_all_close(jax.jit(function)(*arguments), function(*arguments), rtol=1e-4, atol=1e-5)


@of_kind("generator", "input", "loss", "penalty")
def test_the_result_is_the_same_under_vmap(name):
    function, arguments = case(name)
    single = jax.jit(function)
    other = jax.tree.map(lambda leaf: leaf[::-1] * 0.9, arguments)
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), arguments, other)
    expected = jnp.stack([single(*arguments), single(*other)])
    chex.assert_trees_all_close(jax.jit(jax.vmap(function))(*batch), expected, rtol=1e-4, atol=1e-5)


@of_kind("operator")
def test_operators_with_different_arrays_are_one_batch(name):
    operator, images = ROWS[name].make(*EVEN), image((2, *EVEN, 2))
    other = jax.tree.map(lambda leaf: leaf[::-1], operator)
    apply = jax.jit(call)
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), operator, other)
    expected = jnp.stack([apply(operator, images[0]), apply(other, images[1])])
    chex.assert_trees_all_close(jax.jit(jax.vmap(apply))(batch, images), expected, rtol=1e-4, atol=1e-5)


@of_kind("generator", "loss", "penalty")
def test_gradients_are_finite_and_not_all_zero(name):
    function, arguments = case(name)
    grads = jax.jit(jax.grad(lambda first: jnp.mean(function(first, *arguments[1:]) ** 2)))(arguments[0])
    chex.assert_tree_all_finite(grads)
    assert max(jnp.abs(grad).max() for grad in jax.tree.leaves(grads)) > 0


@of_kind("penalty")
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (6, 4, 2)])
def test_a_penalty_has_a_finite_gradient_on_a_flat_image(name, shape):
    grad = jax.grad(ROWS[name].make())(jnp.full(shape, 0.5))
    chex.assert_trees_all_close(grad, jnp.zeros(shape), atol=1e-6)


@of_kind("loss")
def test_a_loss_is_a_mean_that_is_zero_with_a_finite_gradient_at_the_measurement(name):
    loss, x, y = ROWS[name].make(), image(PLAIN), image(PLAIN, 2)
    assert loss(x, x) == 0
    chex.assert_tree_all_finite(jax.grad(loss)(x, x))
    tiled = [jnp.tile(array, (2, 3, 1)) for array in (x, y)]
    np.testing.assert_allclose(loss(*tiled), loss(x, y), rtol=1e-5)


@of_kind("operator")
@pytest.mark.parametrize("size", [ODD, EVEN])
def test_the_transpose_of_a_linear_operator_is_its_adjoint(name, size):
    operator, x = ROWS[name].make(*size), image((*size, 2)) - 0.5
    y = image(jax.eval_shape(operator, x).shape, 2) - 0.5
    both = jax.jit(lambda x, y: (operator(x), *jax.linear_transpose(operator, x)(y)))
    x, y, forward, back = (np.float64(array).ravel() for array in (x, y, *both(x, y)))
    assert abs(forward @ y - x @ back) <= 1e-5 * np.linalg.norm(forward) * np.linalg.norm(y)


@of_kind("operator")
@pytest.mark.parametrize(("size", "channels"), CASES)
def test_an_operator_maps_every_size_and_stays_finite_and_float32(name, size, channels):
    row = ROWS[name]
    if min(size) < row.smallest:
        pytest.skip("smaller than one pixel of the measurement")
    measurement = jax.jit(call)(row.make(*size), image((*size, channels)))
    chex.assert_shape(measurement, (row.size(size[0]), row.size(size[1]), channels))
    chex.assert_type(measurement, jnp.float32)
    chex.assert_tree_all_finite(measurement)


@of_kind("generator")
@pytest.mark.parametrize(("size", "depth"), CASES)
def test_a_generator_keeps_every_size_and_float32(name, size, depth):
    generator = ROWS[name].make()
    stride = getattr(generator, "stride", 1)
    z = jax.ShapeDtypeStruct((*(-(-side // stride) for side in size), depth), jnp.float32)
    params = jax.eval_shape(generator.init, jax.random.key(0), z)
    made = jax.eval_shape(generator.apply, params, z)
    chex.assert_shape(made, (stride * z.shape[0], stride * z.shape[1], generator.channels))
    chex.assert_type([made, *jax.tree.leaves(params)], jnp.float32)


@of_kind("generator")
def test_a_generator_is_finite_with_finite_gradients_on_one_pixel(name):
    generator, (params, z) = ROWS[name].make(), case(name)[1]
    made, grads = jax.jit(jax.value_and_grad(lambda params: generator.apply(params, z[:1, :1]).sum()))(params)
    chex.assert_tree_all_finite((made, grads))


@of_kind("input")
@pytest.mark.parametrize("size", SIZES)
def test_an_input_has_the_size_of_the_image_or_a_stride_th_of_it_and_float32(name, size):
    task = problem.Problem(None, None, (*size, 3), guide=image((*size, 2)))
    z = ROWS[name].make()(jax.random.key(0), task)
    chex.assert_shape(z, (*map(ROWS[name].size, size), None))
    chex.assert_type(z, jnp.float32)
    chex.assert_tree_all_finite(z)


def test_the_grain_of_noise_is_a_square_of_equal_values_and_leaves_their_distribution():
    task = problem.Problem(None, None, (130, 125, 3))
    z = np.asarray(inputs.noise(3, scale=0.2, grain=8)(jax.random.key(0), task))
    values = z[::8, ::8]
    np.testing.assert_array_equal(z, np.kron(values, np.ones((8, 8, 1)))[:130, :125])
    assert len(np.unique(values)) == values.size
    assert 0 <= values.min() < 0.01
    assert 0.19 < values.max() < 0.2


def test_no_grain_is_the_official_noise():
    task, key = problem.Problem(None, None, (9, 7, 3)), jax.random.key(0)
    np.testing.assert_array_equal(inputs.noise(2)(key, task), 0.1 * jax.random.uniform(key, (9, 7, 2)))


@of_kind("loss", "penalty")
@pytest.mark.parametrize(("size", "channels"), CASES)
def test_a_loss_or_penalty_is_a_float32_scalar_for_every_size(name, size, channels):
    arguments = (image((*size, channels)), image((*size, channels), 2))
    value = ROWS[name].make()(*arguments[: 1 if ROWS[name].kind == "penalty" else 2])
    chex.assert_shape(value, ())
    chex.assert_type(value, jnp.float32)
    chex.assert_tree_all_finite(value)


@of_kind("layout")
def test_a_layout_maps_the_arguments_marked_zero_and_shares_the_others(name):
    def function(tree, shared, number):
        return tree["a"] * shared + number, tree["b"].sum()

    tree = {"a": image((3, 4)), "b": image((3, 2, 2), 2)}
    shared, number = image((4,), 3), 2.0
    made = jax.jit(ROWS[name].make()(function, in_axes=(0, None, None)))(tree, shared, number)
    chex.assert_trees_all_close(made, (tree["a"] * shared + number, tree["b"].sum((1, 2))), rtol=1e-6)
