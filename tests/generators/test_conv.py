from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dipjax.generators import blocks
from dipjax.generators import conv as convolution

pytestmark = pytest.mark.usefixtures("quick_compilation")

# (height, width), (k, l), stride, input and output channels
SHAPES = [
    ((5, 4), (1, 1), 1, (3, 2)),
    ((9, 7), (1, 1), 2, (2, 3)),
    ((8, 11), (2, 2), 1, (2, 2)),
    ((7, 8), (2, 2), 2, (2, 2)),
    ((20, 9), (3, 3), 1, (1, 4)),
    ((11, 12), (3, 3), 2, (3, 2)),
    ((12, 11), (3, 3), 3, (2, 2)),
    ((9, 9), (4, 4), 1, (2, 1)),
    ((13, 10), (4, 4), 3, (1, 2)),
    ((37, 9), (5, 5), 1, (2, 2)),
    ((14, 13), (5, 5), 2, (2, 2)),
    ((10, 9), (6, 6), 1, (2, 2)),
    ((17, 12), (7, 7), 1, (2, 2)),
    ((15, 16), (7, 7), 3, (2, 2)),
    ((10, 9), (3, 5), 1, (2, 3)),
    ((10, 9), (2, 3), 2, (2, 3)),
    ((3, 3), (3, 3), 1, (2, 2)),
    ((3, 4), (3, 3), 2, (2, 2)),
    ((1, 1), (1, 1), 2, (2, 2)),
]


def reference(image, kernel, stride):
    return lax.conv_general_dilated(
        image[None], kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )[0]


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def value_and_gradients(function):
    """Returns a compiled function from image, kernel and cotangent to the result and both gradients."""

    def both(image, kernel, cotangent):
        result, pull_back = jax.vjp(function, image, kernel)
        return result, pull_back(cotangent)

    return jax.jit(both)


def case(size, kernel_size, stride, num_channels, runs=()):
    channels, num_out = num_channels
    out = [(n - k) // stride + 1 for n, k in zip(size, kernel_size, strict=True)]
    return arrays((*runs, *size, channels), (*runs, *kernel_size, channels, num_out), (*runs, *out, num_out))


@pytest.mark.parametrize(("size", "kernel_size", "stride", "num_channels"), SHAPES)
def test_every_form_of_conv_and_its_gradients_are_those_of_xla(size, kernel_size, stride, num_channels):
    # `_patches` serves other machines, but its numbers can be checked on this one.
    forms = [partial(form, stride=stride) for form in (convolution.conv, convolution._patches, reference)]
    both = [value_and_gradients(form) for form in forms]
    here, patches, expected = jax.jit(lambda *inputs: [each(*inputs) for each in both])(*case(size, kernel_size, stride, num_channels))
    chex.assert_trees_all_close(here, expected, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(patches, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel_size", "stride"), [((3, 3), 1), ((3, 3), 2), ((4, 4), 1), ((1, 1), 1)])
def test_conv_under_vmap_with_a_kernel_per_run_equals_one_run_after_the_other(kernel_size, stride):
    inputs = case((9, 8), kernel_size, stride, (2, 3), runs=(3,))
    found = jax.jit(jax.vmap(value_and_gradients(partial(convolution.conv, stride=stride))))(*inputs)
    one = value_and_gradients(partial(reference, stride=stride))
    expected = [one(*(array[n] for array in inputs)) for n in range(3)]
    chex.assert_trees_all_close(found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_axes", [(0, None), (None, 0)])
def test_conv_under_vmap_over_one_argument_alone(in_axes):
    image, kernel, _ = case((9, 8), (3, 3), 1, (2, 3), runs=(2,))
    arguments = [array if axis == 0 else array[0] for array, axis in zip((image, kernel), in_axes, strict=True)]
    found = jax.vmap(convolution.conv, in_axes)(*arguments)
    expected = jax.vmap(partial(reference, stride=1), in_axes)(*arguments)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


def test_conv_inside_a_scan_equals_conv_outside():
    image, kernels, cotangent = case((9, 8), (3, 3), 1, (2, 3), runs=(4,))
    function = value_and_gradients(convolution.conv)
    _, found = jax.jit(lambda: lax.scan(lambda carry, each: (carry, function(*each)), 0, (image, kernels, cotangent)))()
    expected = [value_and_gradients(partial(reference, stride=1))(*each) for each in zip(image, kernels, cotangent)]  # noqa: B905
    chex.assert_trees_all_close(found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["reflect", "edge", "zero"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (7, 9)])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (3, 2), (0, 4)])
def test_pad_is_that_of_numpy_even_for_sides_shorter_than_the_border(mode, size, before, after):
    (image,) = arrays((*size, 2))
    expected = np.pad(image, [(before, after)] * 2 + [(0, 0)], mode="constant" if mode == "zero" else mode)
    found = convolution.pad(image, before, after, mode)
    chex.assert_trees_all_equal(found, jnp.asarray(expected))


@pytest.mark.parametrize("padding", ["reflect", "edge", "zero"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (4, 3)])
@pytest.mark.parametrize("doubling", ["nearest", "bilinear"])
def test_conv_of_a_doubling_is_the_convolution_of_the_doubled_image(doubling, padding, size):
    folded, double = getattr(convolution, f"conv_of_{doubling}"), getattr(blocks, doubling)
    image, kernel, cotangent = arrays((*size, 2), (3, 3, 2, 4), (2 * size[0], 2 * size[1], 4))

    def doubled(image, kernel):
        return reference(convolution.pad(double(image), 1, 1, padding), kernel, 1)

    found = value_and_gradients(partial(folded, padding=padding))(image, kernel, cotangent)
    chex.assert_trees_all_close(found, value_and_gradients(doubled)(image, kernel, cotangent), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (4, 3)])
def test_conv_transpose_and_its_gradients_are_the_convolution_of_the_image_with_zeros_between_its_pixels(size):
    image, kernel, cotangent = arrays((*size, 2), (4, 4, 2, 3), (2 * size[0], 2 * size[1], 3))

    def expected(image, kernel):
        # Each pixel adds the kernel to the output: a correlation with the flipped kernel.
        options = {"lhs_dilation": (2, 2), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        return lax.conv_general_dilated(image[None], kernel[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), **options)[0]

    both = [value_and_gradients(function)(image, kernel, cotangent) for function in (convolution.conv_transpose, expected)]
    chex.assert_trees_all_close(*both, rtol=1e-4, atol=1e-4)
