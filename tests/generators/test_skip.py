import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax.generators import blocks
from dipjax.generators.skip import Skip
from dipjax.recipes import paper

pytestmark = pytest.mark.usefixtures("quick_compilation")

TAPERED = (16, 32, 64, 128, 128, 128)


def tapered(levels, **options):
    return {"down": TAPERED[:levels], "up": TAPERED[:levels], **options}


# Name: the channels of z, the network, its number of parameters (reference dossier, section 2.9).
COUNTS = {
    "default": (32, Skip(), 2_217_831),
    "barbara": (32, Skip(1), 2_217_573),
    "flash": (3, Skip(), 2_184_307),
    "snail": (3, Skip(down=(8, 16, 32, 64, 128), up=(8, 16, 32, 64, 128), skip=(0, 0, 0, 4, 4)), 572_827),
    "vase": (2, Skip(skip=(0,) * 5, upsample=blocks.nearest), 2_157_955),
    "kate, text": (32, Skip(skip=(128,) * 5, upsample=blocks.nearest), 3_002_627),
    "library, depth 2": (1, Skip(**tapered(2, skip=(0,) * 2, kernel_down=5, use_1x1=False)), 59_635),
    "library, depth 4": (1, Skip(**tapered(4, skip=(0,) * 4, kernel_down=5, use_1x1=False)), 1_060_339),
    "library, depth 6": (1, Skip(**tapered(6, skip=(0,) * 6, kernel_down=5, use_1x1=False)), 2_996_467),
    "kate, 98 % missing": (32, Skip(**tapered(5, skip=(0,) * 5, pool=blocks.average_pool)), 1_027_379),
    "feature inversion": (
        32,
        Skip(**tapered(6, skip=(4,) * 6, kernel_down=(7, 7, 5, 5, 3, 3), kernel_up=(7, 7, 5, 5, 3, 3), padding="zero")),
        2_606_763,
    ),
    "feature inversion, depth 2": (
        2,
        Skip(**tapered(6, skip=(4,) * 6, kernel_down=(7, 7, 5, 5, 3, 3), kernel_up=(7, 7, 5, 5, 3, 3), padding="zero")),
        2_583_123,
    ),
    "activation maximisation": (
        32,
        Skip(**tapered(6, skip=(0, 4, 4, 4, 4, 4), kernel_down=(5, 3, 5, 5, 3, 5), kernel_up=(5, 3, 5, 3, 5, 3))),
        2_948_567,
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_number_of_parameters_is_the_official_one(name):
    depth, net, expected = COUNTS[name]
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((64, 64, depth), jnp.float32))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == expected


def test_the_paper_recipes_hold_the_official_networks():
    assert paper.denoising(3).recipe.generator == COUNTS["default"][1]
    assert paper.inpainting(3).recipe.generator == COUNTS["kate, text"][1]


def image(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random(shape, np.float32))


@pytest.fixture(scope="module")
def net():
    return Skip(3, (24,), (24,), (16,))


@pytest.fixture(scope="module")
def params(net):
    return jax.jit(net.init)(jax.random.key(0), image(8, 8, 20))["params"]


def test_kernels_and_biases_start_uniform_within_one_over_the_root_of_the_fan_in(params):
    flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    kernels = {name: leaf for name, leaf in flat.items() if "kernel" in name}
    assert len(kernels) == 6
    for name, kernel in kernels.items():
        bound = math.prod(kernel.shape[:3]) ** -0.5
        bias = flat[name.replace("kernel", "bias")]
        assert jnp.abs(kernel).max() <= bound * (1 + 1e-6)
        assert jnp.abs(bias).max() <= bound * (1 + 1e-6)
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.2)
        np.testing.assert_allclose(kernel.mean(), 0, atol=0.2 * bound)
        assert jnp.abs(bias).max() > 0


def test_normalisations_start_with_scale_one_and_shift_zero(params):
    flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    scales = {name: leaf for name, leaf in flat.items() if "scale" in name}
    assert len(scales) == 6
    for name, scale in scales.items():
        assert (scale == 1).all()
        assert (flat[name.replace("scale", "bias")] == 0).all()


def test_the_old_scale_is_uniform_between_zero_and_one():
    scale = blocks.uniform_scale(jax.random.key(0), (2000,))
    assert 0 <= scale.min() < 0.01
    assert 0.99 < scale.max() <= 1


def test_norm_is_batch_normalisation_of_one_image():
    x = 3 * image(6, 5, 4) + 7
    params = {"params": {"scale": image(4, seed=1), "bias": image(4, seed=2)}}
    mean, variance = np.float64(x).mean((0, 1)), np.float64(x).var((0, 1))
    expected = params["params"]["scale"] * (x - mean) / np.sqrt(variance + 1e-5) + params["params"]["bias"]
    np.testing.assert_allclose(blocks.Norm().apply(params, x), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (7, 6)])
def test_bilinear_doubling_is_that_of_jax(size):
    x = image(*size, 3)
    expected = jax.image.resize(x, (2 * size[0], 2 * size[1], 3), "bilinear")
    np.testing.assert_allclose(jax.jit(blocks.bilinear)(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (7, 6)])
def test_nearest_doubling_repeats_every_pixel(size):
    x = image(*size, 3)
    np.testing.assert_array_equal(blocks.nearest(x), np.repeat(np.repeat(x, 2, 0), 2, 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (7, 6)])
def test_aligned_doubling_interpolates_between_the_corner_pixels(size):
    x = image(*size, 2)
    positions = [np.linspace(0, side - 1, 2 * side) for side in size]
    expected = np.stack(
        [np.array([np.interp(positions[1], np.arange(size[1]), row) for row in channel]) for channel in np.moveaxis(np.asarray(x), -1, 0)],
        -1,
    )
    expected = np.apply_along_axis(lambda line: np.interp(positions[0], np.arange(size[0]), line), 0, expected)
    found = np.asarray(jax.jit(blocks.bilinear_aligned)(x))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found[0, 0], x[0, 0], atol=1e-6)
    np.testing.assert_allclose(found[-1, -1], x[-1, -1], atol=1e-6)


@pytest.mark.parametrize("pool", [blocks.average_pool, blocks.max_pool, blocks.lanczos2_pool])
@pytest.mark.parametrize("size", [(1, 1), (2, 4), (5, 6)])
def test_pooling_halves_both_sides_rounding_up_and_keeps_constants(pool, size):
    pooled = jax.jit(pool)(jnp.full((*size, 2), 0.7))
    chex.assert_shape(pooled, (-(-size[0] // 2), -(-size[1] // 2), 2))
    np.testing.assert_allclose(pooled, 0.7, atol=1e-6)


def test_pooling_takes_the_mean_or_the_maximum_of_blocks():
    x = image(4, 6, 2)
    tiles = np.asarray(x).reshape(2, 2, 3, 2, 2)
    np.testing.assert_allclose(blocks.average_pool(x), tiles.mean((1, 3)), atol=1e-6)
    np.testing.assert_array_equal(blocks.max_pool(x), tiles.max((1, 3)))


def test_leaky_relu_has_slope_one_fifth():
    np.testing.assert_allclose(blocks.leaky_relu(jnp.array([-2.0, 0.0, 3.0])), [-0.4, 0.0, 3.0], atol=1e-6)


def test_the_output_lies_between_zero_and_one_with_a_sigmoid_and_anywhere_without(net, params):
    z = image(8, 8, 20)
    head = params["head"] | {"kernel": 5 * params["head"]["kernel"]}
    bounded = jax.jit(net.apply)({"params": params | {"head": head}}, z)
    assert 0 < bounded.min() < bounded.max() < 1
    free = jax.jit(net.clone(output=blocks.identity).apply)({"params": params | {"head": head}}, z)
    assert free.min() < 0 or free.max() > 1
    np.testing.assert_allclose(jax.nn.sigmoid(free), bounded, atol=1e-5)


@pytest.mark.parametrize(("padding", "num_skip"), [("reflect", 2), ("zero", 0)])
@pytest.mark.parametrize("doubling", [blocks.nearest, blocks.bilinear])
@pytest.mark.slow
def test_the_folded_doubling_and_its_gradients_are_the_plain_one(doubling, num_skip, padding):
    inputs = image(34, 36, num_skip), image(17, 18, 5)
    folded = blocks.UpConvNorm(4, padding=padding, upsample=doubling)
    plain = folded.clone(upsample=partial(doubling))  # not the function itself, so nothing is folded
    params = jax.jit(folded.init)(jax.random.key(1), *inputs)

    def value_and_gradient(layer):
        return jax.jit(jax.value_and_grad(lambda params: jnp.mean(layer.apply(params, *inputs) ** 2)))(params)

    chex.assert_trees_all_close(value_and_gradient(folded), value_and_gradient(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "is_doubled"), [(32, False), (30, True)])
def test_only_an_image_that_is_not_tiny_is_convolved_without_doubling_it(side, is_doubled, monkeypatch):
    doubled = []
    net = Skip(1, (4,), (4,), (2,), upsample=lambda image: doubled.append(image.shape) or blocks.nearest(image))
    monkeypatch.setitem(blocks._FOLDED, net.upsample, blocks._FOLDED[blocks.nearest])
    jax.eval_shape(net.init, jax.random.key(0), image(side, side, 3))
    assert bool(doubled) == is_doubled


@pytest.mark.parametrize(("down", "up", "skip"), [((4,), (4, 4), (0,)), ((4, 4), (4, 4), (0,)), ((4,), (4, 4), (0, 0)), ((), (), ())])
def test_level_counts_that_differ_are_refused(down, up, skip):
    with pytest.raises(ValueError, match="^Skip: found"):
        jax.eval_shape(Skip(1, down, up, skip).init, jax.random.key(0), image(8, 8, 2))


@pytest.mark.parametrize("option", ["kernel_down", "kernel_up", "upsample", "pool"])
@pytest.mark.parametrize("entries", [1, 3])
def test_an_option_with_another_number_of_levels_is_refused(option, entries):
    value = {"upsample": blocks.nearest, "pool": None}.get(option, 3)
    net = Skip(1, (4, 4), (4, 4), (2, 2), **{option: (value,) * entries})
    with pytest.raises(ValueError, match=f"^Skip: found .*{option}"):
        jax.eval_shape(net.init, jax.random.key(0), image(8, 8, 2))


def test_no_bias_leaves_none_in_the_convolutions():
    net = Skip(1, (4,), (4,), (2,), use_bias=False)
    shapes = jax.eval_shape(net.init, jax.random.key(0), image(8, 8, 2))["params"]
    with_bias = jax.eval_shape(net.clone(use_bias=True).init, jax.random.key(0), image(8, 8, 2))["params"]
    count = [sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for tree in (shapes, with_bias)]
    assert count[1] - count[0] == 4 + 4 + 2 + 4 + 4 + 1
    assert set(shapes["head"]) == {"kernel"}


@pytest.mark.parametrize("scalar", [3, 5])
def test_a_single_value_counts_for_all_levels(scalar):
    one, each = Skip(1, (4, 4), (4, 4), (2, 2), kernel_down=scalar), Skip(1, (4, 4), (4, 4), (2, 2), kernel_down=(scalar,) * 2)
    shapes = [jax.eval_shape(net.init, jax.random.key(0), image(8, 8, 2)) for net in (one, each)]
    chex.assert_trees_all_equal_shapes(*shapes)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="odd"):
        jax.eval_shape(Skip(1, down=(4,), up=(4,), skip=(0,), kernel_up=2).init, jax.random.key(0), jnp.zeros((4, 4, 2)))
