"""What every part of a recipe promises: found by looking, so that a new one is under test or fails for want of an example.

Operators and generators have tables of their own, which their registries fill: tests/operators/test_contract.py and
tests/generators/test_every_generator.py. The functions here are also what a stranger's new part is held to, at the end.
"""

import dataclasses
import inspect
import pickle
from dataclasses import dataclass
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax.flatten_util import ravel_pytree

import dipjax
from dipjax import record, stopping
from dipjax.core import drive, layouts, recipe
from dipjax.core.problem import Problem
from dipjax.fitting import guides, inputs, losses, optimizers, penalties
from dipjax.generators import registry as generators
from dipjax.operators import problem
from dipjax.operators import registry as operators
from tests import flags
from tests.conftest import light_keys, mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")

# One or more of every kind, spelled in two ways that are equal.
EXAMPLES = {
    inputs.Noise: [(inputs.Noise(), inputs.Noise(32, scale=0.1)), (inputs.Noise(3, grain=2, stride=2),) * 2],
    inputs.Normal: [(inputs.Normal(), inputs.Normal(depth=32))],
    inputs.BandLimited: [(inputs.BandLimited(), inputs.BandLimited(32, highest=0.125))],
    inputs.Fourier: [(inputs.Fourier(), inputs.Fourier(32, highest=0.125))],
    inputs.Meshgrid: [(inputs.Meshgrid(),) * 2],
    inputs.Guide: [(inputs.Guide(),) * 2],
    inputs.Guided: [(inputs.Guided(), inputs.Guided(noise=inputs.Noise(8)))],
    guides.LeastSquares: [(guides.LeastSquares(), guides.LeastSquares(num_steps=10))],
    guides.NonLocalMeans: [(guides.NonLocalMeans(), guides.NonLocalMeans(0.6))],
    stopping.HeldOut: [(stopping.HeldOut(), stopping.HeldOut(0.04, patience=0.4)), (stopping.HeldOut(0.1, correlation=1.0),) * 2],
    stopping.WindowedVariance: [(stopping.WindowedVariance(), stopping.WindowedVariance(100))],
    stopping.AveragedVariance: [(stopping.AveragedVariance(), stopping.AveragedVariance(weight=0.1))],
    stopping.Discrepancy: [(stopping.Discrepancy(), stopping.Discrepancy(None))],
    stopping.Sure: [(stopping.Sure(), stopping.Sure(pseudo=0.3))],
    losses.MSE: [(losses.MSE(),) * 2],
    losses.BackProjection: [(losses.BackProjection(),) * 2],
    losses.L1: [(losses.L1(),) * 2],
    losses.Huber: [(losses.Huber(), losses.Huber(delta=0.1))],
    losses.Poisson: [(losses.Poisson(), losses.Poisson(30, epsilon=None)), (losses.Poisson(9, 1e-3),) * 2],
    losses.Anscombe: [(losses.Anscombe(), losses.Anscombe(gain=1 / 30))],
    losses.Logarithm: [(losses.Logarithm(), losses.Logarithm(0.05))],
    losses.RootMSE: [(losses.RootMSE(), losses.RootMSE(1e-3))],
    losses.Consistency: [(losses.Consistency(), losses.Consistency(0.1))],
    losses.Gradients: [(losses.Gradients(),) * 2],
    losses.Structure: [(losses.Structure(), losses.Structure(3, window=7)), (losses.Structure(1, 3),) * 2],
    losses.Perceptual: [(losses.Perceptual(penalties.TotalVariation(0.1)), losses.Perceptual(penalties.TotalVariation(0.1), 1.0))],
    losses.Sum: [(losses.Sum((losses.L1(), losses.MSE()), (1.0, 0.5)), losses.Sum((losses.L1(), losses.MSE()), (1, 0.5)))],
    losses.Maximise: [(losses.Maximise(), losses.Maximise(1))],
    penalties.TotalVariation: [
        (penalties.TotalVariation(0.1), penalties.TotalVariation(weight=0.1, epsilon=1e-3)),
        (penalties.TotalVariation(0.1, is_isotropic=False),) * 2,
    ],
    penalties.WeightedTotalVariation: [(penalties.WeightedTotalVariation(0.1), penalties.WeightedTotalVariation(0.1, side=5))],
    penalties.Denoised: [(penalties.Denoised(0.1), penalties.Denoised(0.1, None))],
    penalties.TotalVariationSum: [(penalties.TotalVariationSum(0.1), penalties.TotalVariationSum(weight=0.1))],
    optimizers.Constant: [(optimizers.Constant(),) * 2],
    optimizers.Cosine: [(optimizers.Cosine(),) * 2],
    optimizers.WarmUp: [(optimizers.WarmUp(), optimizers.WarmUp(0.05, then=optimizers.Constant()))],
    optimizers.Halving: [(optimizers.Halving((0.5,)), optimizers.Halving(at=(0.5,)))],
    optimizers.Adam: [
        (optimizers.Adam(), optimizers.Adam(0.01, optimizers.Constant())),
        (optimizers.Adam(0.1, optimizers.Cosine()), optimizers.Adam(schedule=optimizers.Cosine(), learning_rate=0.1)),
    ],
    stopping.Samples: [(stopping.Samples(), stopping.Samples(7000, every=50))],
    optimizers.Langevin: [(optimizers.Langevin(), optimizers.Langevin(0.01))],
    optimizers.WithParameterNoise: [(optimizers.WithParameterNoise(), optimizers.WithParameterNoise(optimizers.Adam(0.01), 0.02))],
}
SCHEDULES = {optimizers.Constant, optimizers.Cosine, optimizers.Halving, optimizers.WarmUp}
MODULES = (inputs, guides, losses, penalties, optimizers, stopping)


def parts_of(module):
    """Returns the public settings of a module of `fitting`, or of a package."""
    return {
        thing for name, thing in vars(module).items()
        if inspect.isclass(thing) and dataclasses.is_dataclass(thing) and not name.startswith("_")
        and {"__call__", "update"} & set(vars(thing))
        and (thing.__module__.startswith(module.__name__) or thing.__module__ == recipe.__name__)
    }  # fmt: skip


def examples(name, module, but=()):
    kinds = sorted(parts_of(module) - set(but), key=lambda kind: kind.__name__)
    return pytest.mark.parametrize(name, [one for kind in kinds for one, _ in EXAMPLES.get(kind, [])], ids=lambda part: repr(part)[:40])


every_part = pytest.mark.parametrize(
    ("one", "other"), [pair for pairs in EXAMPLES.values() for pair in pairs], ids=lambda part: repr(part)[:40]
)
OF_PICTURES = {losses.Gradients, losses.Structure, losses.Perceptual}  # which look at neighbours, so that they are no mean over elements
every_loss = examples("loss", losses, but={losses.Maximise, losses.Consistency})  # which are not least at a perfect fit


def test_every_part_has_an_example():
    assert set.union(*map(parts_of, MODULES)) == set(EXAMPLES)


def test_every_registry_lists_its_parts():
    assert set(inputs.REGISTRY.values()) == parts_of(inputs)
    assert set(guides.REGISTRY.values()) == parts_of(guides)
    assert set(losses.REGISTRY.values()) == parts_of(losses) - {losses.Maximise, losses.Perceptual, losses.Sum}  # which take functions
    assert set(penalties.REGISTRY.values()) == parts_of(penalties)
    assert set(optimizers.REGISTRY.values()) == parts_of(optimizers) - SCHEDULES
    assert set(stopping.REGISTRY.values()) == parts_of(stopping) - {stopping.Samples}  # which stops nothing
    assert {type(schedule) for schedule in optimizers.SCHEDULES.values()} == SCHEDULES


# What all settings promise.


def check_setting(one, other):
    """A setting is a frozen value: equal however it is spelled, hashable, printable, picklable, JSON and back."""
    assert dataclasses.is_dataclass(one) and type(one).__dataclass_params__.frozen
    assert one == other and hash(one) == hash(other)
    assert eval(repr(one), {name: thing for module in MODULES for name, thing in vars(module).items()}) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert record.loads(record.dumps(one)) == one
    for field in dataclasses.fields(one):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, field.name, 0)


@every_part
def test_a_part_is_a_value(one, other):
    check_setting(one, other)


def test_parts_differ_from_one_another():
    every = [one for pairs in EXAMPLES.values() for one, _ in pairs]
    assert len(set(every)) == len(every)


# Losses.


def random(shape, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).random((2, *shape))
    return jnp.asarray((values[0] + 1j * values[1] if np.issubdtype(dtype, np.complexfloating) else values[0]).astype(dtype))


def check_loss(loss, dtype=np.float32, is_mean=True):
    """A loss is a real mean over all elements of any tree, least at the measurement, with a finite gradient there too.

    Some are not: of those all but the mean is checked.
    """
    x, y = random((7, 5, 3), dtype), random((7, 5, 3), dtype, 1)
    real = jnp.finfo(dtype).dtype
    with jax.debug_nans(True), jax.numpy_dtype_promotion("strict"):
        value = loss(x, y)
        with_slope = jax.jit(jax.value_and_grad(loss))
        (compiled, slope), (least, at_the_end) = with_slope(x, y), with_slope(y, y)
    chex.assert_shape([value, compiled], ())
    chex.assert_type([value, compiled], real)
    np.testing.assert_allclose(value, compiled, rtol=1e-5)
    chex.assert_tree_all_finite((slope, at_the_end))
    assert jnp.abs(slope).max() > 0
    assert abs(least) < 1e-6 < value

    if not is_mean:
        values = jax.jit(jax.vmap(loss))(jnp.stack([x, y]), jnp.stack([y, y]))
        np.testing.assert_allclose(values, [value, least], rtol=1e-4, atol=1e-6)
        return

    @jax.jit
    def others(x, y):
        tiled = loss(jnp.tile(x, (2, 3, 1)), jnp.tile(y, (2, 3, 1)))
        parts = loss({"a": x[:3], "b": (x[3:],)}, {"a": y[:3], "b": (y[3:],)})
        return tiled, parts, *jax.vmap(loss)(jnp.stack([x, y]), jnp.stack([y, y]))

    np.testing.assert_allclose(others(x, y), [value, value, value, least], rtol=1e-4, atol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_a_loss_is_a_mean_that_is_least_at_the_measurement(loss, dtype):
    if type(loss) in {losses.Poisson, losses.Anscombe, losses.Logarithm, losses.Structure, losses.Perceptual} and dtype == np.complex64:
        pytest.skip("neither counts nor pictures are complex")
    with flags.sixty_four_bits(dtype == np.float64):
        check_loss(loss, dtype, is_mean=type(loss) not in OF_PICTURES)


KNOWN = {
    losses.MSE(): 0.25, losses.L1(): 0.5, losses.Huber(0.1): 0.1 * (0.5 - 0.05), losses.Huber(1.0): 0.125,
    losses.Anscombe(0.1): 0.4 * (np.sqrt(10.375) - np.sqrt(5.375)) ** 2, losses.Logarithm(0.1): np.log(1.1 / 0.6) ** 2,
    losses.RootMSE(0.1): np.sqrt(0.26) - 0.1, losses.Gradients(): 0.0, losses.Structure(1, 3): 1 - (1 + 1e-4) / (1.25 + 1e-4),
    losses.Perceptual(jnp.square, 2.0): 2 * 0.75**2, losses.Sum((losses.L1(), losses.MSE()), (2, 4)): 2.0,
    losses.Poisson(10): 10 * (1.0 - 0.5 + 0.5 * np.log(0.5 / 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("loss", KNOWN, ids=lambda loss: repr(loss)[:28])
def test_a_loss_has_its_known_value(loss):
    x, y = jnp.full((3, 4, 2), 1.0), jnp.full((3, 4, 2), 0.5)
    np.testing.assert_allclose(loss(x, y), KNOWN[loss], rtol=1e-5)


def test_complex_errors_count_by_their_modulus():
    x, y = jnp.full((3, 3), 3 + 4j), jnp.zeros((3, 3), jnp.complex64)
    assert [float(loss(x, y)) for loss in (losses.MSE(), losses.L1())] == [25, 5]
    np.testing.assert_allclose(losses.Huber(1.0)(x, y), 4.5, rtol=1e-6)


def test_poisson_stands_predictions_and_measurements_below_zero():
    grad = jax.grad(losses.Poisson())(jnp.full((3,), -1.0), jnp.full((3,), -2.0))
    chex.assert_tree_all_finite(grad)


def test_the_noise_of_photons_and_of_speckle_counts_alike_in_dark_and_in_bright_parts():
    draw = np.random.default_rng(0)
    for loss, noisy in (
        (losses.Anscombe(0.01), lambda level: draw.poisson(level / 0.01, 10_000) * 0.01),
        (losses.Logarithm(1e-6), lambda level: level * (1 + 0.1 * draw.standard_normal(10_000))),
    ):
        dark, bright = (float(loss(jnp.full(10_000, level), jnp.asarray(noisy(level), jnp.float32))) for level in (0.1, 0.9))
        assert 0.9 < dark / bright < 1.1
        assert 0.9 < dark / 0.01 < 1.1  # the gain, or the square of a tenth


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_residuals_are_consistent_where_they_look_like_the_noise_and_not_at_a_perfect_fit(dtype):
    with flags.sixty_four_bits(dtype == np.float64):
        clean = random((60, 50, 3), dtype)
        noise = jnp.asarray(np.random.default_rng(5).normal(0, 0.2, clean.shape), dtype)
        loss = jax.jit(losses.Consistency(0.2))
        right = loss(clean, clean + noise)
        chex.assert_type(right, dtype)
        assert right < 0.05
        for wrong in (clean + noise, clean + noise / 2, clean - noise, clean + 0.1):
            assert loss(wrong, clean + noise) > 10 * right
        np.testing.assert_allclose(
            loss({"a": clean[:9], "b": clean[9:]}, {"a": (clean + noise)[:9], "b": (clean + noise)[9:]}), right, rtol=1e-4
        )
        some = random(clean.shape, dtype, seed=4) < 0.05  # all else is left out, as by a stopping rule or a frame
        assert loss(jnp.where(some, clean, clean + noise), clean + noise) < 0.2
        factors = (0.7, 1.0, 1.4)
        of_some = [loss(jnp.where(some, clean + (1 - factor) * noise, clean + noise), clean + noise) for factor in factors]
        assert min(of_some) == of_some[1]
        for far in (0.0, 1.0, 100.0):
            chex.assert_tree_all_finite(jax.grad(losses.Consistency(0.01))(clean, clean + far))
    with pytest.raises(ValueError, match="^loss: found consistency for a complex"):
        losses.Consistency()(jnp.ones(3), jnp.ones(3) * 1j)


def test_structure_sees_blur_and_gradients_do_not_see_brightness():
    sharp = random((32, 30, 3))
    blurred = (sharp + jnp.roll(sharp, 1, 0) + jnp.roll(sharp, 1, 1)) / 3
    assert losses.Structure()(blurred, sharp) > 10 * losses.Structure()(sharp + 0.05, sharp) > 0
    np.testing.assert_allclose(losses.Gradients()(sharp + 0.3, sharp), 0, atol=1e-6)
    with pytest.raises(ValueError, match="^loss: found ssim"):
        losses.Structure()(jnp.ones(5), jnp.ones(5))


def test_the_weight_of_a_root_beside_a_penalty_means_the_same_for_every_strength_of_noise():
    x, y = random((9, 9, 1)), random((9, 9, 1), seed=1)
    slope = jax.grad(lambda factor: losses.RootMSE(1e-6)(x + factor * (y - x), x))
    np.testing.assert_allclose(slope(0.1), slope(0.7), rtol=1e-4)


def test_maximise_rewards_large_activations():
    tree = (jnp.ones(3), jnp.ones((2, 2)))
    assert losses.Maximise(5.0)(tree, tree) == -35
    chex.assert_trees_all_equal(jax.grad(losses.Maximise(5.0))(tree, tree), jax.tree.map(lambda leaf: -5 * leaf, tree))


@pytest.mark.parametrize(("word", "loss"), [
    ("mse", losses.MSE()), ("l1", losses.L1()), ("huber", losses.Huber()), ("huber:0.05", losses.Huber(0.05)),
    ("poisson:100", losses.Poisson(100.0)), ("anscombe:0.01", losses.Anscombe(0.01)), ("log", losses.Logarithm()),
    ("l1+ssim:0.01", losses.Sum((losses.L1(), losses.Structure()), (1.0, 0.01))),
    ("mse:2+gradients", losses.Sum((losses.MSE(), losses.Gradients()), (2.0, 1.0))),
])  # fmt: skip
def test_a_word_is_a_loss(word, loss):
    assert losses.make(word) == loss


@pytest.mark.parametrize(
    "word",
    [
        "",
        "l2",
        "l1:3",
        "huber:",
        "huber:x",
        "huber:0",
        "huber:-1",
        "huber:nan",
        "huber:inf",
        "ssim:inf",
        "ssim:2.5",
        "rmse:1e-30",
        "log:1e-46",
        "poisson:1e39",
        "MSE",
        ":",
        "mse:",
        "l1+",
        "+",
        "l1+l2",
        "l1:0+mse",
        "l1:x+mse",
        "mse+ssim:-1",
        "perceptual",
    ],
)
def test_a_word_that_is_no_loss_is_refused(word):
    with pytest.raises(ValueError, match="^loss: found"):
        losses.make(word)


@pytest.mark.parametrize("loss", [losses.Poisson(), losses.Anscombe(), losses.Logarithm()])
def test_a_loss_for_brightness_refuses_complex_numbers(loss):
    with pytest.raises(ValueError, match="^loss: found .* for a complex measurement"):
        loss(jnp.ones(3) * 1j, jnp.ones(3) * 1j)


def test_few_of_many_photons_count_and_what_is_below_zero_is_drawn_back():
    loss, y, p = losses.Poisson(1e5), jnp.float32(55.3e-5), jnp.float32(12.3e-5)
    np.testing.assert_allclose(loss(p, y), 12.3 - 55.3 + 55.3 * np.log(55.3 / 12.3), rtol=1e-4)
    for prediction in (1e-9, 0.0, -0.3):
        assert jax.grad(loss)(jnp.float32(prediction), y) < 0
        assert loss(jnp.float32(prediction), y) > loss(p, y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.Huber("0.1"), lambda: losses.Huber(True), lambda: losses.Maximise(float("nan")), lambda: losses.Structure(None),
        lambda: losses.Sum(losses.L1(), 1.0), lambda: losses.Sum((losses.L1(),), ("1",)), lambda: losses.Sum((1,), (1.0,)),
        lambda: losses.Perceptual(lambda image: [])(jnp.ones((3, 3, 1)), jnp.ones((3, 3, 1))),
        lambda: penalties.TotalVariation(-1.0), lambda: penalties.TotalVariation(1.0, 0.0), lambda: penalties.TotalVariationSum(1.0, 1e-30),
        lambda: penalties.TotalVariation(1.0, is_isotropic=True, epsilon=-1.0), lambda: penalties.WeightedTotalVariation(1.0, side=4),
        lambda: penalties.WeightedTotalVariation(0.0), lambda: penalties.Denoised(-1.0), lambda: penalties.Denoised(1.0, "median"),
        lambda: penalties.Denoised(1.0, lambda image: image[:2])(jnp.ones((3, 3, 1))), lambda: inputs.Fourier(highest=0.6),
        lambda: inputs.BandLimited(highest=0.0), lambda: optimizers.WarmUp(2.0), lambda: optimizers.WarmUp(0.1, "cosine"),
        lambda: inputs.Noise(grain=0), lambda: inputs.Noise(-1), lambda: inputs.Normal(stride=0), lambda: inputs.Normal(scale=float("inf")),
        lambda: optimizers.Adam("0.1"), lambda: optimizers.Adam(1e-3, "cosine"), lambda: optimizers.Halving((2.0,)),
        lambda: optimizers.WithParameterNoise(scale=float("nan")), lambda: optimizers.Langevin(noise=-1.0),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_by_name(make):
    with pytest.raises(ValueError, match="^[a-z_]+: found"):
        make()


# Penalties.


@examples("penalty", penalties)
@pytest.mark.parametrize(("shape", "dtype"), [
    ((1, 1, 1), np.float32), ((6, 4, 2), np.float64), ((6, 4, 2), np.float32), ((9, 2), np.float32), ((3, 4, 5, 1), np.float32),
])  # fmt: skip
def test_a_penalty_is_a_number_with_a_finite_gradient_even_on_a_flat_image(penalty, shape, dtype):
    with flags.sixty_four_bits(dtype == np.float64), jax.debug_nans(True), jax.numpy_dtype_promotion("strict"):
        flat, image = jnp.full(shape, 0.5, dtype), random(shape, dtype)
        with_slope = jax.jit(jax.vmap(jax.value_and_grad(penalty)))
        (least, value), (level, slope) = with_slope(jnp.stack([flat, image]))
        chex.assert_shape(value, ())
        chex.assert_type([value, slope], dtype)
        chex.assert_tree_all_finite(slope)
        np.testing.assert_allclose(value, penalty(image), rtol=1e-5)
        np.testing.assert_allclose(level, np.zeros(shape), atol=1e-6)
        assert least <= value


def test_total_variation_has_its_known_value_along_every_axis():
    for axis in range(3):
        ramp = jnp.moveaxis(jnp.broadcast_to(0.1 * jnp.arange(5.0)[:, None, None], (5, 3, 4)), 0, axis)[..., None]
        np.testing.assert_allclose(jax.jit(penalties.TotalVariation(2.0, 1e-6))(ramp), 2 * 0.1 * 4 / 5, rtol=1e-4)
        np.testing.assert_allclose(jax.jit(penalties.TotalVariationSum(2.0, 1e-6))(ramp), 60 * 2 * 0.1 * 4 / 5, rtol=1e-4)


def test_an_anisotropic_variation_adds_what_an_isotropic_one_takes_together():
    steps = jnp.indices((9, 9)).sum(0)[..., None] * 0.1  # along a diagonal
    both = [float(penalties.TotalVariation(1.0, 1e-9, is_isotropic=word)(steps)) for word in (True, False)]
    inner = (8 / 9) ** 2
    assert both[1] == pytest.approx(2 * 0.1 * 8 / 9, rel=1e-3) and both[0] == pytest.approx(
        0.1 * (np.sqrt(2) * inner + 2 * 8 / 81), rel=1e-3
    )


def test_a_weighted_variation_spares_what_varies():
    picture = np.zeros((16, 32, 1), np.float32)
    picture[:, :16] = 0.01 * random((16, 16, 1)) + 0.5
    picture[:, 16:] = random((16, 16, 1))
    slopes = {made: np.abs(jax.grad(made)(picture)) for made in (penalties.TotalVariation(1.0), penalties.WeightedTotalVariation(1.0))}
    flat, rough = zip(*((slope[:, 3:13].mean(), slope[:, 19:].mean()) for slope in slopes.values()), strict=True)
    assert flat[1] > 1.5 * flat[0] and rough[1] < 0.3 * rough[0]


@pytest.mark.parametrize("is_numpy", [False, True])
def test_an_image_is_drawn_to_what_a_denoiser_makes_of_it(is_numpy):
    from scipy import ndimage

    denoiser = partial(ndimage.median_filter, size=(3, 3, 1), mode="nearest") if is_numpy else None
    images = random((2, 7, 9, 2))
    slope = jax.jit(jax.vmap(jax.grad(penalties.Denoised(0.6, denoiser, is_numpy=is_numpy))))(images)
    expected = np.stack([ndimage.median_filter(image, size=(3, 3, 1), mode="nearest") for image in images])
    np.testing.assert_allclose(slope, 0.6 * (images - expected) / images[0].size, rtol=1e-4, atol=1e-8)


# Inputs.


@examples("draw", inputs)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 9, 3), (11, 2), (3, 4, 5, 1)])
def test_an_input_has_the_size_of_the_image_or_a_stride_th_of_it_and_the_type_of_its_real_numbers(draw, dtype, shape):
    with flags.sixty_four_bits(dtype == np.float64), jax.numpy_dtype_promotion("strict"):
        real = jnp.finfo(dtype).dtype
        task = Problem(jnp.zeros(shape, dtype), None, shape, guide=jnp.zeros((*shape[:-1], 2), real))
        z = jax.eval_shape(draw, jax.random.key(0), task)
        stride = getattr(draw, "stride", 1)
        chex.assert_shape(z, (*(-(-side // stride) for side in shape[:-1]), None))
        assert z.dtype == real


@examples("make_z", inputs)
def test_an_input_follows_from_its_key(make_z):
    task = Problem(jnp.zeros((6, 5, 1)), None, (6, 5, 1), guide=random((6, 5, 2)))
    draw, keys = partial(make_z, problem=task), jax.random.split(jax.random.key(0), 2)
    first, again, second = draw(keys[0]), draw(keys[0]), draw(keys[1])
    chex.assert_trees_all_equal(first, again)
    chex.assert_trees_all_close(jax.vmap(draw)(keys), jnp.stack([first, second]), rtol=1e-6)
    assert bool((first == second).all()) == isinstance(make_z, (inputs.Meshgrid, inputs.Guide))
    chex.assert_tree_all_finite(first)


def test_no_grain_is_the_official_noise_and_a_grain_is_a_square_of_equal_values():
    task, key = Problem(jnp.zeros((130, 125, 3)), None, (130, 125, 3)), jax.random.key(0)
    np.testing.assert_array_equal(inputs.Noise(2)(key, task), 0.1 * jax.random.uniform(key, (130, 125, 2)))
    z = np.asarray(inputs.Noise(3, scale=0.2, grain=8)(key, task))
    values = z[::8, ::8]
    np.testing.assert_array_equal(z, np.kron(values, np.ones((8, 8, 1)))[:130, :125])
    assert len(np.unique(values)) == values.size
    assert 0 <= values.min() < 0.01 and 0.19 < values.max() < 0.2


def test_a_band_has_no_higher_frequency_and_the_strength_of_noise():
    task = Problem(jnp.zeros((64, 48, 3)), None, (64, 48, 3))
    z = np.asarray(inputs.BandLimited(4, scale=0.2, highest=0.1)(jax.random.key(0), task))
    np.testing.assert_allclose(z.mean((0, 1)), 0.1, rtol=1e-3)
    np.testing.assert_allclose(z.std((0, 1)), 0.2 / np.sqrt(12), rtol=1e-3)
    far = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(48), indexing="ij")) > 0.101
    assert np.abs(np.fft.fft2(z, axes=(0, 1)))[far].max() < 1e-3


def test_a_feature_is_one_wave_from_0_to_the_scale():
    z = np.asarray(inputs.Fourier(6, scale=0.2, highest=0.25)(jax.random.key(1), Problem(jnp.zeros((200, 9, 1)), None, (200, 9, 1))))
    assert z.min() >= 0 and z.max() <= 0.2 + 1e-6 and z.max() > 0.19
    wave = z[..., 0] - 0.1
    share = [(wave[i + 1] + wave[i - 1]) / 2 for i in (5, 50)]  # of a cosine, a fixed multiple of what lies between
    np.testing.assert_allclose(share[0] * wave[50], share[1] * wave[5], atol=1e-4)


def test_the_coordinates_run_from_0_to_1_with_the_last_axis_first():
    z = inputs.Meshgrid()(jax.random.key(0), Problem(jnp.zeros((3, 5, 1)), None, (3, 5, 1)))
    np.testing.assert_allclose(z[0, :, 0], np.linspace(0, 1, 5), atol=1e-6)
    np.testing.assert_allclose(z[:, 0, 1], np.linspace(0, 1, 3), atol=1e-6)


def test_a_guide_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="^guide: found none"):
        drive.restore(dataclasses.replace(mixer_recipe(), input=inputs.Guide()), light_keys(1), problem.denoising(picture()), num_steps=1)


# Schedules and optimizers.


@pytest.mark.parametrize("schedule", [schedule() for schedule in sorted(SCHEDULES - {optimizers.WarmUp}, key=repr)], ids=repr)
def test_a_schedule_is_a_factor_that_begins_with_one_and_never_rises(schedule):
    progress = jnp.linspace(0, 1, 11)
    factors = jnp.stack([jnp.asarray(jax.jit(schedule)(p)) for p in progress])
    assert factors[0] == 1 and (jnp.diff(factors) <= 0).all() and factors[-1] >= 0


def test_a_warm_up_rises_evenly_and_then_follows_another():
    rising = optimizers.WarmUp(0.2, optimizers.Cosine())
    found = [float(jax.jit(rising)(p)) for p in (0.0, 0.1, 0.2, 0.5, 1.0)]
    falling = [float(optimizers.Cosine()(p)) for p in (0.0, 0.1, 0.2, 0.5, 1.0)]
    np.testing.assert_allclose(found, np.multiply([0.01, 0.5, 1, 1, 1], falling), atol=1e-6)


def test_what_optax_has_for_plateaus_and_for_decay_is_taken():
    import optax

    for optimizer in (optax.chain(optax.adam(0.01), optax.contrib.reduce_on_plateau()), optax.adamw(0.01, weight_decay=1e-2)):
        recipe = dataclasses.replace(mixer_recipe(), optimizer=optimizer)
        result = drive.restore(recipe, light_keys(2), problem.denoising(picture()), num_steps=3)
        assert result.alive.all() and (result.metrics.loss[:, -1] < result.metrics.loss[:, 0]).all()


def test_a_cosine_ends_with_zero_and_is_half_in_the_middle():
    np.testing.assert_allclose([optimizers.Cosine()(p) for p in (0.0, 0.5, 1.0)], [1, 0.5, 0], atol=1e-7)
    assert [float(optimizers.Halving()(p)) for p in (0.0, 0.39, 0.4, 0.7, 1.0)] == [1, 1, 0.5, 0.25, 0.125]


@examples("optimizer", optimizers, but=SCHEDULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_optimizer_goes_downhill_with_the_rate_of_its_schedule(optimizer, dtype):
    with flags.sixty_four_bits(dtype == np.float64):
        params = {"kernel": random((3, 3, 2, 2), dtype), "bias": jnp.ones(5, dtype)}
        grads = jax.tree.map(jnp.ones_like, params)

        @jax.jit
        def step(progress):
            made = optimizer(progress)
            updates, state = made.update(grads, made.init(params), params, key=jax.random.key(0)) if needs_key else made.update(
                grads, made.init(params), params
            )  # fmt: skip
            return updates, state

        needs_key = isinstance(optimizer, (optimizers.WithParameterNoise, optimizers.Langevin))
        (early, state), (late, _) = step(jnp.zeros((), dtype)), step(jnp.asarray(0.75, dtype))
        chex.assert_type([leaf for leaf in jax.tree.leaves((early, state)) if jnp.issubdtype(leaf.dtype, jnp.floating)], dtype)
        assert (early["bias"] < 0).all()
        rate = getattr(optimizer, "schedule", optimizers.Constant())(0.75)
        np.testing.assert_allclose(late["bias"], rate * early["bias"], rtol=1e-5)


def test_adam_is_that_of_optax():
    import optax

    params = {"kernel": random((3, 2)), "bias": jnp.ones(5)}
    grads = jax.tree.map(lambda leaf: leaf - 0.3, params)
    ours, theirs = optimizers.Adam(0.1)(0.0), optax.adam(0.1)
    found, expected = (made.update(grads, made.init(params), params)[0] for made in (ours, theirs))
    chex.assert_trees_all_close(found, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 50), (3, 3, 40, 50), (2, 2, 3, 20, 30)])
def test_parameter_noise_is_a_fiftieth_of_the_deviation_of_a_kernel_of_any_rank_and_nothing_elsewhere(shape):
    import optax

    params = {"kernel": 3 * random(shape), "bias": jnp.ones(50), "matrix": random((9, 9))}
    noise = optimizers.WithParameterNoise(optax.sgd(0.0))(0.0)

    def draw(key):
        return noise.update(jax.tree.map(jnp.zeros_like, params), noise.init(params), params, key=key)[0]

    first, again, other = draw(jax.random.key(0)), draw(jax.random.key(0)), draw(jax.random.key(1))
    np.testing.assert_allclose(first["kernel"].std(), params["kernel"].std() / 50, rtol=0.15)
    assert (first["bias"] == 0).all() and (first["matrix"] == 0).all()
    chex.assert_trees_all_equal(first, again)
    assert abs(np.corrcoef(first["kernel"].ravel(), other["kernel"].ravel())[0, 1]) < 0.2


@pytest.mark.parametrize("shape", [(3, 4, 50), (3, 3, 40, 50)])
def test_langevin_takes_the_step_of_adam_and_adds_noise_of_two_learning_rates_to_kernels(shape):
    params = {"kernel": random(shape), "bias": jnp.ones(50)}
    grads = jax.tree.map(lambda leaf: leaf - 0.3, params)
    ours, adam = optimizers.Langevin(0.01)(0.5), optimizers.Adam(0.01)(0.5)
    found = ours.update(grads, ours.init(params), params, key=jax.random.key(0))[0]
    expected = adam.update(grads, adam.init(params), params)[0]
    np.testing.assert_allclose(found["bias"], expected["bias"], rtol=1e-4)
    np.testing.assert_allclose((found["kernel"] - expected["kernel"]).std(), 0.02, rtol=0.15)


@pytest.mark.parametrize("make", [
    partial(optimizers.Langevin, 0.0), partial(optimizers.Langevin, 0.01, -1.0),
    partial(optimizers.Adam, 0.0), partial(optimizers.Adam, -1), partial(optimizers.Adam, float("nan")),
    partial(optimizers.Adam, float("inf")),
    partial(losses.Huber, 0), partial(losses.Huber, float("nan")), partial(losses.Poisson, -1.0), partial(losses.Poisson, 30, 0.0),
    partial(losses.Anscombe, -1.0), partial(losses.Logarithm, 0.0), partial(losses.RootMSE, 0.0), partial(losses.Structure, 0),
    partial(losses.Perceptual, 3), partial(losses.Perceptual, abs, 0.0), partial(losses.Sum, (losses.L1(),), (1.0, 2.0)),
    partial(losses.Sum, (losses.L1(),), (-1.0,)),
])  # fmt: skip
def test_a_number_that_cannot_be_is_refused_by_name(make):
    with pytest.raises(ValueError, match="^(learning_rate|noise|delta|photons|epsilon|gain|scales|features|weight|weights): found"):
        make()


# Layouts.


@pytest.mark.parametrize("layout", [layouts.ONE_BY_ONE, layouts.TOGETHER, layouts.Layout(3, 2)])
def test_a_layout_is_a_value(layout):
    again = layouts.Layout(layout.at_once, layout.num_devices)
    assert again == layout and hash(again) == hash(layout) and pickle.loads(pickle.dumps(layout)) == layout
    assert record.loads(record.dumps(layout)) == layout


# A stranger.


@dataclass(frozen=True)
class Quartic:
    """A loss of someone else."""

    weight: float = 1.0

    def __call__(self, prediction, measurement):
        return recipe.mean_of(lambda error: self.weight * (jnp.abs(error) ** 2 + jnp.abs(error) ** 4), prediction, measurement)


@struct.dataclass
class Dim:
    """An operator of someone else."""

    factor: jax.Array

    def __call__(self, image):
        return image * self.factor.astype(image.dtype)


@dataclass(frozen=True)
class Painter:
    """A generator of someone else: a colour for every pixel."""

    channels: int = 3
    width: int = 4

    def init(self, key, z):
        return {"image": jax.random.normal(key, (*z.shape[:-1], self.channels), z.dtype) / self.width}

    def apply(self, params, z):
        return jax.nn.sigmoid(params["image"])


@pytest.fixture
def strangers(monkeypatch):
    monkeypatch.setitem(losses.REGISTRY, "quartic", Quartic)
    monkeypatch.setitem(operators.LINEAR, "dim", lambda height, width: Dim(jnp.asarray([0.5], jnp.float32)))
    row = generators.Row(Painter, lambda generator: inputs.Noise(2), learning_rate=0.1, input_noise=0.0, num_steps=40)
    monkeypatch.setitem(generators.GENERATORS, "painter", row)


def test_what_a_stranger_adds_is_at_once_everywhere(strangers, capsys):
    noisy = 0.2 + 0.6 * picture(20, 16, 3)
    restored, outcome = dipjax.denoise(
        noisy, loss="quartic:2", generator="painter", option=["width=8"], seeds=2, stop="none", return_result=True
    )
    assert outcome.recipe.loss == Quartic(2.0) and outcome.recipe.generator == Painter(3, 8) and outcome.num_steps == 40
    assert outcome.metrics.loss[:, -1].max() < outcome.metrics.loss[:, 0].min() and restored.shape == noisy.shape
    assert "painter" in generators.GENERATORS and generators.described("painter") == {"width": "4"}
    with pytest.raises(ValueError, match=r"quartic\[:number\]"):
        losses.make("nothing")
    dim = operators.LINEAR["dim"](1, 1)
    task = problem.general(0.5 * noisy, dim, noisy.shape, truth=noisy)
    result = drive.restore(outcome.recipe, light_keys(2), task, num_steps=200)
    assert np.abs(result.image - noisy).mean() < 0.02


def test_what_a_stranger_adds_is_listed_and_taken_by_the_command_line(strangers, capsys, tmp_path):
    from PIL import Image

    from dipjax import app, files

    assert app.main(["generators"]) == 0
    assert "painter" in capsys.readouterr().out
    source, made = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(np.uint8(255 * picture(20, 16, 3))).save(source)
    asked = ("--generator", "painter", "--option", "width=2", "--loss", "quartic:3", "--seeds", "1", "--steps", "2")
    assert app.main(["denoise", str(source), *asked, "-o", str(made)]) == 0
    assert files.load(made).pixels.shape == (20, 16, 3)


def test_what_a_stranger_adds_is_held_to_the_contracts(strangers):
    from tests.generators import test_every_generator as of_generators
    from tests.operators import test_contract as of_operators

    check_loss(losses.make("quartic"))
    one, other = Quartic(), Quartic(weight=1.0)
    assert one == other and hash(one) == hash(other) and pickle.loads(pickle.dumps(one)) == one
    of_operators.test_the_transpose_is_the_adjoint_and_both_derivatives_are_those_of_a_linear_map("dim", (5, 6), np.float32)
    of_operators.test_operators_with_different_arrays_are_one_batch("dim")
    of_operators.test_two_calls_give_equal_operators_whose_leaves_are_arrays("dim")
    generator = of_generators.make("painter")
    z = of_generators.z_of("painter", generator, dtype=np.float32)
    params = generator.init(jax.random.key(0), z)
    chex.assert_shape(generator.apply(params, z), (*z.shape[:-1], 3))


def errors(prediction, measurement):
    return ravel_pytree(jax.tree.map(jnp.subtract, prediction, measurement))[0]


@pytest.mark.parametrize("loss", [
    lambda *both: jnp.sum(errors(*both) ** 2), lambda *both: jnp.sqrt(jnp.mean(errors(*both) ** 2)),
    lambda *both: jnp.mean(errors(*both) ** 2) + 1,
    lambda *both: jnp.float32(0.3), lambda *both: jnp.mean(errors(*both) ** 2, keepdims=True),
], ids=["sum", "root", "offset", "constant", "shape"])  # fmt: skip
def test_a_loss_that_breaks_the_contract_is_found(loss):
    with pytest.raises((AssertionError, FloatingPointError, TypeError)):
        check_loss(loss)
