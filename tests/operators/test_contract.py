"""What every operator of the registry promises. A new operator is one more row there, or these tests fail."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import operators
from dipjax.operators import registry
from tests.flags import sixty_four_bits

pytestmark = pytest.mark.usefixtures("quick_compilation")

EVEN = (8, 10)
EVERY = registry.LINEAR | registry.NONLINEAR
each = pytest.mark.parametrize("name", registry.LINEAR)
every = pytest.mark.parametrize("name", EVERY)


def make(name, size):
    return (registry.LINEAR | registry.NONLINEAR)[name](*size)


def sized(name, size):
    return (*size, registry.CHANNELS.get(name, 2))


def kind(name, dtype):
    """Returns the type of the measurement of an image of a type."""
    wide = jnp.finfo(dtype).bits == 64
    return jnp.dtype(("complex64", "complex128")[wide] if name in registry.COMPLEX else dtype)


def image(shape, dtype=np.float32, seed=1):
    random = np.random.default_rng(seed)
    values = random.random(shape) - 0.5
    return jnp.asarray((values + 1j * random.random(shape) if np.issubdtype(dtype, np.complexfloating) else values).astype(dtype))


@jax.jit
def apply(operator, image):
    return operator(image)


def test_every_operator_that_is_exported_has_a_row():
    found = {type(make(name, EVEN)) for name in EVERY}
    found |= {operators.UnknownBlur}  # which takes a psf beside the image: tests/operators/test_problem.py
    assert found == {thing for name in operators.__all__ if isinstance(thing := getattr(operators, name), type)}


def test_no_operator_is_taken_for_one_of_another_class():
    """JAX 0.10 compares dataclasses by their fields alone, see `dipjax.struct`."""
    structures = {type(made := make(name, EVEN)): jax.tree.structure(made) for name in EVERY}
    assert all((one is other) == (structures[one] == structures[other]) for one in structures for other in structures)


@every
def test_two_calls_give_equal_operators_whose_leaves_are_arrays(name):
    one, other = (make(name, EVEN) for _ in range(2))
    leaves, structure = jax.tree.flatten(one)
    assert structure == jax.tree.structure(other)
    assert hash(structure) == hash(jax.tree.structure(other))
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    x = image(sized(name, EVEN))
    chex.assert_trees_all_equal(apply(one, x), apply(jax.tree.unflatten(structure, leaves), x))


@each
@pytest.mark.parametrize(("size", "dtype"), [((5, 6), np.float32), ((13, 8), np.float32), ((6, 5), np.complex64)])
def test_the_transpose_is_the_adjoint_and_both_derivatives_are_those_of_a_linear_map(name, size, dtype):
    operator, (x, tangent) = make(name, size), (image(sized(name, size), dtype, seed) for seed in (1, 2))
    y = image(jax.eval_shape(operator, x).shape, kind(name, dtype), 3)

    @jax.jit
    def everything(x, tangent, y):
        forward, along = jax.jvp(operator, (x,), (tangent,))
        return forward, along, operator(tangent), jax.vjp(operator, x)[1](y)[0], jax.linear_transpose(operator, x)(y)[0]

    forward, along, of_tangent, pulled, transposed = (np.asarray(array) for array in everything(x, tangent, y))
    assert (forward.dtype, transposed.dtype) == (kind(name, dtype), dtype)
    np.testing.assert_allclose(along, of_tangent, atol=1e-5)
    np.testing.assert_allclose(pulled, transposed, atol=1e-5)
    forward, y, x, transposed = (array.ravel().astype(np.complex128) for array in (forward, np.asarray(y), np.asarray(x), transposed))
    error = forward @ y - x @ transposed
    error = error if np.issubdtype(dtype, np.complexfloating) else error.real  # what a real image does not have is not asked for
    assert abs(error) <= 1e-5 * np.linalg.norm(forward) * np.linalg.norm(y)


@each
def test_a_complex_image_is_a_real_one_and_an_imaginary_one(name):
    operator, z = make(name, EVEN), image(sized(name, EVEN), np.complex64)
    np.testing.assert_allclose(apply(operator, z), apply(operator, z.real) + 1j * apply(operator, z.imag), atol=1e-5)


@every
@pytest.mark.slow
def test_the_result_is_the_same_without_jit_for_an_array_of_numpy(name):
    operator, x = make(name, EVEN), image(sized(name, EVEN))
    chex.assert_trees_all_close(operator(np.asarray(x)), apply(operator, x), atol=1e-5)


@every
def test_operators_with_different_arrays_are_one_batch(name):
    operator, images = make(name, EVEN), image((2, *sized(name, EVEN)))
    other = jax.tree.map(lambda leaf: leaf[::-1] if leaf.ndim else 2 * leaf, operator)
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), operator, other)
    expected = jnp.stack([apply(operator, images[0]), apply(other, images[1])])
    chex.assert_trees_all_close(jax.jit(jax.vmap(apply))(batch, images), expected, atol=1e-5)


@every
def test_whole_numbers_are_refused_or_measured_as_floats(name):
    image = np.full(sized(name, (9, 10)), 200, np.uint8)
    operator = make(name, (9, 10))
    try:
        found = operator(jnp.asarray(image))
    except (ValueError, TypeError) as error:
        assert "uint8" in str(error)
    else:
        np.testing.assert_allclose(np.abs(found), np.abs(operator(jnp.asarray(image, jnp.float32))), rtol=1e-4, atol=1e-2)


@every
@pytest.mark.parametrize("x64", [False, True])
def test_the_dtype_is_that_of_the_image_without_any_promotion(name, x64):
    with sixty_four_bits(x64), jax.numpy_dtype_promotion("strict"):
        operator = make(name, EVEN)
        dtypes = [jnp.bfloat16, np.float16, np.float32, *([np.float64] if x64 else [])]
        if name in registry.LINEAR:
            dtypes += [np.complex64, *([np.complex128] if x64 else [])]
        for dtype in dtypes:
            chex.assert_type(jax.eval_shape(operator, jax.ShapeDtypeStruct(sized(name, EVEN), dtype)), kind(name, dtype))


@each
def test_double_precision_is_computed_in_double_precision(name):
    with sixty_four_bits():
        operator, x = make(name, EVEN), image(sized(name, EVEN), np.float64)
        shifted = apply(operator, x + 1000) - apply(operator, jnp.full_like(x, 1000))
        np.testing.assert_allclose(shifted, apply(operator, x), atol=1e-11)


@each
def test_half_precision_is_that_of_single_precision_rounded(name):
    operator, x = make(name, EVEN), image(sized(name, EVEN), np.float16)
    np.testing.assert_allclose(apply(operator, x), apply(operator, x.astype(jnp.float32)), atol=3e-3)


@every
def test_nothing_is_nan_on_the_way_there_and_back(name):
    with jax.debug_nans(True):
        grad = jax.jit(jax.grad(lambda x, operator: jnp.sum(jnp.abs(operator(x)) ** 2)))
        for x in (image(sized(name, EVEN)), jnp.zeros(sized(name, EVEN))):
            chex.assert_tree_all_finite(grad(x, make(name, EVEN)))


@each
def test_the_measurement_of_a_part_is_that_of_the_whole_where_it_sees_nothing_else(name):
    size = (48, 40)
    operator, x = make(name, size), np.asarray(image(sized(name, size)))
    if not hasattr(operator, "cut"):
        pytest.skip("it cannot be cut into tiles")
    whole = jax.tree.map(np.asarray, operator)
    y, used = np.asarray(apply(operator, x)), 0
    for rows in (slice(0, 24), slice(12, 36), slice(24, 48)):
        columns = slice(12, 36)
        measured, part = whole.cut(y, rows, columns, x.shape)
        np.testing.assert_allclose(apply(part, x[rows, columns]), measured, atol=1e-5)
        used += np.count_nonzero(measured)
    assert used > 0
    assert isinstance(operator.reach, int) and isinstance(operator.stride, int)


@pytest.mark.parametrize("shape", [(9, 2), (4, 5, 2), (3, 4, 5, 2), (2, 3, 2, 3, 1)])
def test_the_identity_and_the_mask_work_with_any_number_of_axes_of_space(shape):
    x, known = image(shape), jnp.asarray(np.random.default_rng(0).random((*shape[:-1], 1)) > 0.5, jnp.float32)
    np.testing.assert_array_equal(operators.Identity()(x), x)
    np.testing.assert_array_equal(operators.Compose((operators.Identity(), operators.Mask(known)))(x), x * known)


@pytest.mark.parametrize("name", ["Mask", "Blur"])
def test_a_mask_of_booleans_and_a_psf_of_numpy_are_fine(name):
    operator = {"Mask": partial(operators.Mask, np.eye(4)[..., None] > 0), "Blur": partial(operators.Blur, np.ones((2, 2)) / 4)}[name]()
    with jax.numpy_dtype_promotion("strict"):
        chex.assert_type(operator(image((4, 4, 1))), np.float32)
