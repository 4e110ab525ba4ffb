"""Convolutions of doubled images are the convolutions of the images doubled."""

from functools import partial

import chex
import pytest
from jax import lax

from dipjax.generators import blocks
from dipjax.generators import conv as convolution
from dipjax.generators import doubling as folded
from tests.generators.test_conv import and_its_tangent, arrays, reference, value_and_gradients

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.parametrize("padding", ["reflect", "edge", "zero"])
@pytest.mark.parametrize("size", [(2, 1), (4, 3)])
@pytest.mark.parametrize("doubling", ["nearest", "bilinear"])
@pytest.mark.slow
def test_conv_of_a_doubling_is_the_convolution_of_the_doubled_image(doubling, padding, size):
    fold, double = getattr(folded, f"conv_of_{doubling}"), getattr(blocks, doubling)
    image, kernel, cotangent = arrays((*size, 2), (3, 3, 2, 4), (2 * size[0], 2 * size[1], 4))

    def doubled(image, kernel):
        return reference(convolution.pad(double(image), 1, 1, padding), kernel, 1)

    form = and_its_tangent if size == (4, 3) else lambda function: function
    found, expected = (
        form(value_and_gradients(function))(image, kernel, cotangent) for function in (partial(fold, padding=padding), doubled)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("size", [(1, 1), (4, 3)])
def test_conv_transpose_and_its_gradients_are_the_convolution_of_the_image_with_zeros_between_its_pixels(size):
    image, kernel, cotangent = arrays((*size, 2), (4, 4, 2, 3), (2 * size[0], 2 * size[1], 3))

    def expected(image, kernel):
        # Each pixel adds the kernel to the output: a correlation with the flipped kernel.
        options = {"lhs_dilation": (2, 2), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        return lax.conv_general_dilated(image[None], kernel[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), **options)[0]

    both = [value_and_gradients(function)(image, kernel, cotangent) for function in (folded.conv_transpose, expected)]
    chex.assert_trees_all_close(*both, rtol=1e-4, atol=1e-4)
