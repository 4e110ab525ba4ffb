from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dipjax.generators import conv as convolution
from dipjax.generators import conv_forms

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Sides, those of the kernel, stride, input and output channels: images, and then signals and volumes.
SHAPES = [
    ((5, 4), (1, 1), 1, (3, 2)),
    ((9, 7), (1, 1), 2, (2, 3)),
    ((8, 11), (2, 2), 1, (2, 2)),
    ((20, 9), (3, 3), 1, (1, 4)),
    ((11, 12), (3, 3), 2, (3, 2)),
    ((13, 10), (4, 4), 3, (1, 2)),
    ((37, 9), (5, 5), 1, (2, 2)),
    ((17, 12), (7, 7), 1, (2, 2)),
    ((10, 9), (3, 5), 1, (2, 3)),
    ((10, 9), (2, 3), 2, (2, 3)),
    ((3, 4), (3, 3), 2, (2, 2)),
    ((1, 1), (1, 1), 2, (2, 2)),
    ((2055,), (3,), 1, (2, 2)),
    ((9,), (4,), 2, (2, 3)),
    ((5,), (1,), 1, (2, 3)),
    ((7, 5, 6), (3, 3, 3), 1, (2, 3)),
    ((6, 7, 5), (2, 3, 2), 2, (2, 1)),
    ((2, 3, 4), (1, 1, 1), 1, (3, 2)),
]
RUNS = {"one": (), "many": ((True, True),), "one image": ((False, True),), "one kernel": ((True, False),)}


def reference(image, kernel, stride):
    return conv_forms.xla(image, kernel, stride)


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


def and_its_tangent(function):
    """Returns a compiled function to what `function` returns, and its derivative along some direction."""
    return jax.jit(lambda *inputs: jax.jvp(function, inputs, tuple(map(jnp.cos, inputs))))


@pytest.mark.parametrize(("size", "kernel_size", "stride", "num_channels"), SHAPES)
@pytest.mark.slow
def test_conv_and_its_derivatives_of_second_order_are_those_of_xla(size, kernel_size, stride, num_channels):
    inputs = case(size, kernel_size, stride, num_channels)
    forms = [partial(form, stride=stride) for form in (convolution.conv, reference)]
    found, expected = (and_its_tangent(value_and_gradients(form))(*inputs) for form in forms)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("made", ["output", "image", "kernel"])
@pytest.mark.parametrize(("size", "kernel_size", "stride", "num_channels"), [SHAPES[i] for i in (3, 9)])
def test_the_forms_for_other_devices_make_the_same_numbers(size, kernel_size, stride, num_channels, made, runs):
    parts = dict(zip(("image", "kernel", "output"), case(size, kernel_size, stride, num_channels), strict=True))
    shape = parts.pop(made).shape
    operands = [jnp.stack([part, -0.5 * part]) if runs and runs[0][i] else part for i, part in enumerate(parts.values())]
    settings = {"made": made, "shape": shape, "runs": runs, "stride": stride, "precision": None}
    found, expected = (
        jax.jit(partial(convolution._compute, forms, **settings))(*operands) for forms in (conv_forms.on_accelerator, conv_forms.on_cpu)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_devices_take_one_product_for_all_runs_and_the_convolution_for_one(platform):
    def kinds(function, *runs):
        text = jax.jit(function).trace(*case((9, 8), (3, 3), 1, (2, 3), runs)).lower(lowering_platforms=(platform,)).as_text()
        return text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")

    function = value_and_gradients(convolution.conv)
    assert kinds(function) == (3, 0)
    assert kinds(jax.vmap(function), 3) == (0, 3)


@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 0)])
def test_the_gradient_of_conv_under_vmap_sums_what_the_runs_share(in_axes):
    image, kernel, cotangent = case((9, 8), (3, 3), 1, (2, 3), runs=(2,))
    arguments = [array if axis == 0 else array[0] for array, axis in zip((image, kernel), in_axes, strict=True)]

    def gradients(form):
        batched = jax.vmap(partial(form, stride=1), in_axes)
        return and_its_tangent(lambda *arguments: jax.vjp(batched, *arguments)[1](cotangent))(*arguments)

    chex.assert_trees_all_close(gradients(convolution.conv), gradients(reference), rtol=1e-4, atol=1e-4)


def test_the_precision_is_that_of_where_conv_is_called_and_holds_for_its_gradients():
    def precise(image, kernel, cotangent):
        with jax.default_matmul_precision("highest"):
            result = convolution.conv(image, kernel)
        return jnp.sum(result * cotangent)

    text = jax.jit(jax.grad(precise, (0, 1))).lower(*case((9, 8), (3, 3), 1, (2, 3))).as_text()
    assert "HIGHEST" in text
    assert "DEFAULT" not in text


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


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
@pytest.mark.parametrize("mode", ["reflect", "edge", "zero"])
@pytest.mark.parametrize("size", [(3,), (1, 1), (1, 5), (3, 2), (7, 9), (2, 1, 4)])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (3, 2), (0, 4)])
@pytest.mark.slow
def test_pad_is_that_of_numpy_even_for_sides_shorter_than_the_border(mode, size, before, after, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    (image,) = arrays((*size, 2))
    expected = np.pad(image, [(before, after)] * len(size) + [(0, 0)], mode="constant" if mode == "zero" else mode)
    found = convolution.pad(image, before, after, mode)
    chex.assert_trees_all_equal(found, jnp.asarray(expected))


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_the_derivatives_of_padding_are_those_of_joining(mode):
    image, weights = np.float32(np.random.default_rng(0).random((5, 4, 2))), np.float32(np.random.default_rng(1).random((9, 8, 2)))
    padded, joined = (lambda x: convolution.pad(x, 2, 2, mode)), (lambda x: convolution._joined(2, 2, mode, x))
    for function in (jax.grad(lambda x, f: jnp.sum(weights * f(x) ** 2)), lambda x, f: jax.jvp(f, (x,), (x,))[1]):
        np.testing.assert_allclose(function(image, padded), function(image, joined), rtol=1e-6)


@pytest.mark.parametrize(("channels", "out"), [(1, 8), (3, 16), (4, 16), (11, 16), (16, 16), (16, 4), (16, 3), (12, 12), (1, 1), (17, 4)])
@pytest.mark.parametrize("has_library", [False, True])
def test_few_channels_are_convolved_as_many_are(channels, out, has_library, monkeypatch):
    monkeypatch.setattr(conv_forms, "_HAS_LIBRARY", has_library)
    random = np.random.default_rng(0)
    image, kernel = np.float32(random.random((9, 8, channels))), np.float32(random.random((3, 3, channels, out)))
    expected = conv_forms.xla(image, kernel, 1)
    np.testing.assert_allclose(conv_forms.on_cpu("output", ())(image, kernel, stride=1, shape=expected.shape), expected, rtol=1e-4)
    gradient = jax.linear_transpose(lambda image: conv_forms.xla(image, kernel, 1), image)(expected)[0]
    np.testing.assert_allclose(conv_forms.on_cpu("image", ())(kernel, expected, stride=1, shape=image.shape), gradient, rtol=1e-4)
