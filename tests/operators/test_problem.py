"""Constructors of problems take what makes sense, as arrays of their own, and refuse the rest by name."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from dipjax.operators import Blur, Compose, Downsample, Identity, problem, psfs, resampling
from tests.flags import sixty_four_bits

pytestmark = pytest.mark.usefixtures("quick_compilation")


def picture(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


RGB = picture(6, 7, 3)
WAVE = RGB + 1j * RGB[::-1]
KNOWN = picture(6, 7) > 0.5
PSF = np.ones((3, 2))
MAKERS = {
    "denoising": problem.denoising,
    "inpainting": lambda image, **options: problem.inpainting(image, KNOWN, **options),
    "super_resolution": lambda image, **options: problem.super_resolution(image, 2, **options),
    "deblurring": lambda image, **options: problem.deblurring(image, PSF, **options),
    "deblurring, valid": lambda image, **options: problem.deblurring(image, PSF, boundary="valid", **options),
    "flash": lambda image, **options: problem.flash(image, RGB, **options),
    "general": lambda image, **options: problem.general(image, Identity(), RGB.shape, **options),
}
each_maker = pytest.mark.parametrize("name", MAKERS)


# What is taken.


@each_maker
@pytest.mark.parametrize("scale", [1, -40, 1e6])
def test_a_measurement_of_any_range_is_taken_as_it_is(name, scale):
    task = MAKERS[name](scale * RGB)
    expected = scale * RGB * KNOWN[..., None] if name == "inpainting" else scale * RGB
    np.testing.assert_array_equal(task.measurement, expected.astype(np.float32))
    assert jax.eval_shape(task.operator, jax.ShapeDtypeStruct(task.shape, jnp.float32)).shape == task.measurement.shape


@each_maker
def test_a_complex_measurement_stays_complex(name):
    task = MAKERS[name](WAVE)
    expected = WAVE * KNOWN[..., None] if name == "inpainting" else WAVE
    np.testing.assert_array_equal(task.measurement, expected)
    chex.assert_type(task.measurement, jnp.complex64)
    chex.assert_type(task.operator(jnp.zeros(task.shape, jnp.complex64)), jnp.complex64)


@each_maker
@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_sixty_four_bits_stay_where_they_are_switched_on_and_nothing_else_becomes_so(name, dtype, x64):
    with sixty_four_bits(x64), jax.numpy_dtype_promotion("strict"):
        bits = 64 if x64 and dtype in ("float64", "complex128") else 32
        task = MAKERS[name](RGB.astype(dtype))
        real = f"float{bits}"
        chex.assert_type(task.measurement, f"complex{2 * bits}" if "complex" in dtype else real)
        task = MAKERS[name](RGB.astype(dtype), truth=np.ones(task.shape))
        chex.assert_type(task.truth, real)
        assert task.dtype == real
        if task.guide is not None:
            chex.assert_type(task.guide, real)
        prediction = jax.eval_shape(task.operator, jax.ShapeDtypeStruct(task.shape, task.measurement.dtype))
        assert (prediction.shape, prediction.dtype) == (task.measurement.shape, task.measurement.dtype)


def test_a_psf_has_the_precision_of_the_measurement():
    with sixty_four_bits():
        assert abs(float(problem.deblurring(RGB.astype(float), np.full((3, 2), 0.1)).operator.psf.sum()) - 1) < 1e-15
        chex.assert_type(problem.deblurring(RGB, PSF).operator.psf, jnp.float32)


@each_maker
def test_a_problem_does_not_change_with_the_array_of_the_caller(name):
    image = picture(200, 200, 3)[:6, :7]
    for mine in (image, np.copy(image)):
        task = MAKERS[name](mine, truth=None)
        before = np.array(task.measurement)
        mine[:] = -1
        np.testing.assert_array_equal(task.measurement, before)


@pytest.mark.parametrize("shape", [(16, 2), (5, 6, 1), (3, 4, 5, 2), (64, 64, 200)])
def test_signals_volumes_and_many_channels_are_images_too(shape):
    image = picture(*shape)
    for task in (problem.denoising(image, truth=image), problem.inpainting(image, image[..., 0] > 0.4), problem.flash(image, image)):
        assert task.shape == shape == task.operator(jnp.zeros(shape)).shape
    np.testing.assert_array_equal(problem.inpainting(image, image > 0.4).measurement, image * (image > 0.4))


def test_what_lies_at_unknown_pixels_is_not_looked_at():
    hole = np.where(KNOWN[..., None], RGB, np.nan)
    expected = problem.inpainting(RGB, KNOWN)
    for values in (np.nan, np.inf, -1e300):
        damaged = np.where(KNOWN[..., None], RGB.astype(float), values)
        chex.assert_trees_all_equal(problem.inpainting(damaged, KNOWN), expected)
    with pytest.raises(ValueError, match="^measurement: found NaN"):
        problem.inpainting(hole, np.ones((6, 7)))


def test_pixels_that_are_known_in_part_count_in_part():
    known = np.full((6, 7, 1), 0.25, np.float32)
    task = problem.inpainting(RGB, known)
    np.testing.assert_array_equal(task.measurement, 0.25 * RGB)
    np.testing.assert_array_equal(task.operator(RGB), 0.25 * RGB)


def test_the_known_mask_of_a_problem_keeps_its_polarity():
    task = problem.inpainting(np.ones((2, 2, 1)), np.array([[True, False], [False, True]]))
    np.testing.assert_array_equal(task.operator(jnp.ones((2, 2, 1)))[..., 0], np.eye(2))


def test_a_valid_problem_is_larger_by_the_margin_and_blurs_back_to_the_measurement():
    task = problem.deblurring(picture(6, 5, 1), np.ones((3, 4)), boundary="valid")
    assert task.shape == (8, 8, 1)
    chex.assert_shape(task.operator(jnp.zeros(task.shape)), (6, 5, 1))


@pytest.mark.parametrize("boundary", ["reflect", "circular"])
def test_a_psf_as_large_as_the_picture_works(boundary):
    task = problem.deblurring(picture(4, 5, 1), np.ones((4, 5)), boundary=boundary)
    expected = scipy.ndimage.convolve(picture(4, 5), np.full((4, 5), 0.05), mode={"reflect": "mirror"}.get(boundary, "wrap"))
    np.testing.assert_allclose(task.operator(task.measurement)[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1e308, 1e-308, 1, 7])
def test_a_psf_of_any_scale_is_the_same(scale):
    psf = np.array([[0.5, 1], [1, 1.5]])
    np.testing.assert_allclose(problem.deblurring(RGB, psf * scale).operator.psf, psf / 4, rtol=1e-6)


def test_whole_factors_of_numpy_are_fine():
    assert problem.super_resolution(RGB, np.int64(2)).operator == Downsample(2)


# Any operator.


class Rays(NamedTuple):
    straight: object
    slanted: object


def fourier(image):
    return jnp.fft.fft2(image, axes=(0, 1))


class Weighted:
    """An object that is no pytree and has no hash."""

    __hash__ = None

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, image):
        return self.weight * image


WEIGHT = picture(6, 7, 1)
GENERAL = {
    "a function": (fourier, np.fft.fft2(RGB, axes=(0, 1)).astype(np.complex64)),
    "a function that closes over an array": (lambda image: image * WEIGHT, RGB * WEIGHT),
    "a pytree": (jax.tree_util.Partial(lambda weight, image: image * weight, WEIGHT), RGB * WEIGHT),
    "a partial": (partial(jnp.multiply, WEIGHT), RGB * WEIGHT),
    "an object without a hash": (Weighted(WEIGHT), RGB * WEIGHT),
    "a composition with a function": (Compose((jnp.square, Downsample(1))), RGB**2),
    "a tree": (lambda image: {"sums": image.sum(0), "parts": (image[:2], fourier(image))}, {"sums": RGB.sum(0), "parts": (RGB[:2], WAVE)}),
    "a named tuple": (lambda image: Rays(image.sum(0), image.sum(1)), Rays(RGB.sum(0), RGB.sum(1))),
    "of a complex image": (Identity(), WAVE),
    "of numbers": (lambda image: image.sum(), np.float32(3.0)),
}


@pytest.mark.parametrize("name", GENERAL)
def test_any_operator_makes_a_problem_that_jit_and_vmap_take(name):
    operator, measurement = GENERAL[name]
    tasks = [problem.general(measurement, operator, (6, 7, 3), truth=RGB) for _ in range(2)]
    assert jax.tree.structure(tasks[0]) == jax.tree.structure(tasks[1])
    hash(jax.tree.structure(tasks[0]))
    chex.assert_trees_all_equal(tasks[0].measurement, measurement)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(tasks[0]))
    made = jax.jit(jax.vmap(lambda task: task.operator(task.truth)))(problem.stack(tasks))
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[1], made), operator(jnp.asarray(RGB)), rtol=1e-4, atol=1e-4)


def test_an_operator_takes_what_else_the_generator_makes_after_the_image():
    def blind(image, psf):
        return image * psf.sum()

    task = problem.general(RGB, blind, (6, 7, 3), unknowns=(jax.ShapeDtypeStruct((3, 3), jnp.float32),))
    np.testing.assert_array_equal(task.operator(RGB, jnp.ones((1, 2))), 2 * RGB)
    with pytest.raises(ValueError, match="^operator: found TypeError"):
        problem.general(RGB, blind, (6, 7, 3))


def test_a_tree_of_two_precisions_has_the_larger_one():
    with sixty_four_bits():
        task = problem.general((RGB, RGB[0].astype(float)), lambda image: (image, image[0]), RGB.shape, truth=RGB, guide=RGB)
        assert [leaf.dtype for leaf in task.measurement] == ["float32", "float64"]
        chex.assert_type([task.truth, task.guide], "float64")


def test_arrays_in_an_operator_of_the_users_are_copies():
    weight = picture(6, 7, 3)
    task = problem.general(RGB, jax.tree_util.Partial(jnp.multiply, weight), RGB.shape)
    before = np.array(task.operator(RGB))
    weight[:] = 0
    np.testing.assert_array_equal(task.operator(RGB), before)


def test_features_may_be_several_layers():
    task = problem.feature_inversion(RGB, lambda image: (image.mean(), image[::2] ** 2))
    np.testing.assert_allclose(task.measurement[1], RGB[::2] ** 2, rtol=1e-6)
    assert task.shape == RGB.shape


def test_the_target_of_a_maximisation_is_zero_in_the_shape_of_the_activation():
    task = problem.activation_maximisation(lambda image: {"score": image.sum((0, 1))}, (6, 7, 3))
    chex.assert_trees_all_equal(task.measurement, {"score": jnp.zeros(3)})


# What is refused.


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("on another device\nwith more lines")


IMAGES = {
    "a gray picture without channels": (picture(64, 64), "shape"),
    "a row": (picture(5), "shape"),
    "a number": (0.5, "shape"),
    "empty": (np.zeros((0, 5, 1)), "shape"),
    "no channels": (np.zeros((4, 5, 0)), "shape"),
    "bytes of a picture": (np.full((6, 7, 3), 200, np.uint8), "divide by"),
    "16 bits": (np.full((6, 7, 3), 200, np.uint16), "divide by"),
    "whole numbers in lists": ([[[0], [1]]], "divide by"),
    "booleans": (KNOWN[..., None], "whole numbers"),
    "NaN": (RGB * np.nan, "found NaN"),
    "infinity": (-np.inf * RGB, "found NaN"),
    "complex NaN": (WAVE * np.nan, "found NaN"),
    "too large for float32": (RGB.astype(float) * 1e300, "found NaN"),
    "a path": (Path("photo.png"), "PosixPath"),
    "a name": ("photo.png", "str"),
    "bytes": (b"photo", "bytes"),
    "nothing": (None, "NoneType"),
    "a ragged list": ([[[1.0], [2.0, 3.0]]], "list"),
    "an object": ([[[object()]]], "list"),
    "what NumPy cannot read": (Broken(), r"Broken, which NumPy cannot read \(on another device\)"),
    "times": (np.zeros((6, 7, 3), "datetime64[s]"), "datetime64"),
    "keys": (jax.random.split(jax.random.key(0), (6, 7, 3)), "found"),
    "a masked array": (np.ma.array(RGB, mask=RGB > 0.5), "masked array"),
}


@pytest.mark.parametrize("what", IMAGES)
@each_maker
def test_what_is_no_image_is_refused_in_one_sentence_by_name(name, what):
    if name == "general" and (IMAGES[what][1] == "shape" or isinstance(IMAGES[what][0], list | None)):
        pytest.skip("a measurement of any shape will do, and a list is a tree of measurements")
    with pytest.raises(ValueError, match=f"^measurement: .*{IMAGES[what][1]}") as caught:
        MAKERS[name](IMAGES[what][0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["a name", "bytes of a picture", "NaN", "what NumPy cannot read"])
@each_maker
def test_what_is_no_truth_is_refused_by_name(name, what):
    with pytest.raises(ValueError, match=f"^truth: .*{IMAGES[what][1]}"):
        MAKERS[name](RGB, truth=IMAGES[what][0])


def test_a_tensor_that_requires_gradients_is_refused_with_advice():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(RGB)
    np.testing.assert_array_equal(problem.denoising(tensor).measurement, RGB)
    with pytest.raises(ValueError, match=r"^measurement: found Tensor, which NumPy cannot read.*detach"):
        problem.denoising(tensor.requires_grad_())


def test_an_unknown_blur_measures_as_the_known_one_that_it_is_given():
    psf = jnp.asarray(psfs.normalized(picture(3, 3)))
    for boundary in ("reflect", "circular", "valid"):
        task = problem.deblurring(picture(8, 7, 3), 3, boundary=boundary)
        image = jnp.asarray(picture(*task.shape))
        np.testing.assert_array_equal(task.operator(image, psf), Blur(psf, boundary)(image))
        assert task.operator(image, psf).shape == task.measurement.shape


@pytest.mark.parametrize("name", ["super_resolution", "deblurring"])
@pytest.mark.parametrize("shape", [(16, 2), (3, 4, 5, 2)])
def test_enlarging_and_deblurring_have_two_axes_of_space(name, shape):
    with pytest.raises(ValueError, match=r"^measurement: found shape .*image \(H, W, C\)\.$"):
        MAKERS[name](picture(*shape))


REFUSED = {
    "truth: found shape": partial(problem.denoising, RGB, truth=RGB[:3]),
    "truth: found shape (6, 7, 3), expected (12, 14, 3)": partial(problem.super_resolution, RGB, 2, truth=RGB),
    "truth: found complex": partial(problem.denoising, RGB, truth=WAVE),
    "known: found shape (7, 6)": partial(problem.inpainting, RGB, KNOWN.T),
    "known: found shape (6, 7, 2)": partial(problem.inpainting, RGB, picture(6, 7, 2)),
    "known: found no known pixel": partial(problem.inpainting, RGB, 0 * KNOWN),
    "known: found values outside [0, 1]": partial(problem.inpainting, RGB, 255 * KNOWN),
    "known: found values of type complex64": partial(problem.inpainting, RGB, picture(6, 7) * np.complex64(1j)),
    "known: found values of type <U": partial(problem.inpainting, RGB, "mask.png"),
    "known: found values of type object": partial(problem.inpainting, RGB, Path("mask.png")),
    "known: found Broken": partial(problem.inpainting, RGB, Broken()),
    "factor: found 0": partial(problem.super_resolution, RGB, 0),
    "factor: found 0.5": partial(problem.super_resolution, RGB, 0.5),
    "factor: found nan": partial(problem.super_resolution, RGB, float("nan")),
    "factor: found True": partial(problem.super_resolution, RGB, True),
    "factor: found '2'": partial(problem.super_resolution, RGB, "2"),
    "factor: found 10000": partial(problem.super_resolution, RGB, 10**30),
    "factor: found array": partial(problem.super_resolution, RGB, np.array([2, 2])),
    "kernel: found 'lanczos2'": partial(problem.super_resolution, RGB, 2, kernel="lanczos2"),
    "boundary: found 'mirror'": partial(problem.deblurring, RGB, PSF, boundary="mirror"),
    "boundary: found ['valid']": partial(problem.deblurring, RGB, PSF, boundary=["valid"]),
    "psf: found values of type complex128": partial(problem.deblurring, RGB, PSF * 1j),
    "psf: found 1 pixels along a side": partial(problem.deblurring, RGB, 1),
    "psf: found 7 pixels along a side, expected from 2 to 6": partial(problem.deblurring, RGB, 7, boundary="valid"),
    "psf: found shape (9, 3)": partial(problem.deblurring, RGB, np.ones((9, 3))),
    "psf: found shape (3, 9)": partial(problem.deblurring, RGB, np.ones((3, 9)), boundary="circular"),
    "psf: found zeros only": partial(problem.deblurring, RGB, 0 * PSF),
    "psf: found negative": partial(problem.deblurring, RGB, PSF * np.nan),
    "psf: found values of type <U": partial(problem.deblurring, RGB, "psf.png"),
    "psf: found Broken": partial(problem.deblurring, RGB, Broken()),
    "flash_image: found complex numbers": partial(problem.flash, RGB, WAVE),
    "flash_image: found real numbers (5, 7, 3)": partial(problem.flash, RGB, RGB[:5]),
    "flash_image: found whole numbers": partial(problem.flash, RGB, KNOWN),
    "image: found complex": partial(problem.feature_inversion, WAVE, jnp.abs),
    "features: found int": partial(problem.feature_inversion, RGB, 3),
    "activation: found str": partial(problem.activation_maximisation, "relu", (8, 8, 3)),
    "shape: found (8, 8.0, 3)": partial(problem.activation_maximisation, jnp.sum, (8, 8.0, 3)),
    "shape: found (True, 8, 3)": partial(problem.activation_maximisation, jnp.sum, (True, 8, 3)),
    "shape: found 8": partial(problem.activation_maximisation, jnp.sum, 8),
    "operator: found a prediction of real numbers (6, 7, 3) for an image of shape (6, 7, 3), expected one like the measurement,"
    " real numbers (3, 7, 3)": partial(problem.general, RGB[:3], jnp.sin, RGB.shape),
    "operator: found a prediction of real": partial(problem.general, {"sum": RGB}, jnp.sin, RGB.shape),
    "operator: found a prediction of complex": partial(problem.general, RGB, fourier, RGB.shape),
    "operator: found a prediction of int32": partial(problem.general, RGB, jnp.int32, RGB.shape),
    "operator: found ZeroDivisionError": partial(problem.general, RGB, lambda image: 1 // 0, RGB.shape),
    "operator: found str": partial(problem.general, RGB, "blur", RGB.shape),
    "operator: found 'word' among": partial(problem.general, RGB, jax.tree_util.Partial(jnp.multiply, "word"), RGB.shape),
    "measurement: found None": partial(problem.general, None, jnp.sin, RGB.shape),
    "measurement['b']: found NaN": partial(problem.general, {"a": RGB, "b": np.nan * RGB}, jnp.sin, RGB.shape),
    "guide: found real numbers (6, 6, 3)": partial(problem.general, RGB, jnp.sin, RGB.shape, guide=RGB[:, :6]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_problem_is_refused_by_name(message):
    with pytest.raises(ValueError) as caught:
        REFUSED[message]()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_problems_of_one_kind_stack_and_run_where_their_arrays_are():
    task = problem.stack([problem.deblurring(picture(6, 6, 1), psfs.box(n)) for n in (3, 3)])
    made = jax.vmap(lambda one: one.operator(one.measurement))(task)
    np.testing.assert_allclose(made[0], task.operator.replace(psf=task.operator.psf[0])(task.measurement[0]), atol=1e-6)
    with pytest.raises(ValueError, match="^problems: found"):
        problem.stack([problem.denoising(RGB), problem.denoising(RGB[:3])])


def test_a_kernel_of_ones_own_is_taken():
    hat = resampling.Kernel(lambda distance: 1 - distance, 1.0, replicate=True)
    assert problem.super_resolution(RGB, 3, kernel=hat).operator(jnp.ones((18, 21, 3))).shape == RGB.shape
