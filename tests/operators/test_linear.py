import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from dipjax import operators
from dipjax.operators import psfs

pytestmark = pytest.mark.usefixtures("quick_compilation")


def picture(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def kernels():
    rng = np.random.default_rng(1)
    return {f"{shape[0]}x{shape[1]}": psfs.normalized(rng.random(shape)) for shape in [(1, 1), (3, 3), (4, 4), (2, 5), (7, 1), (6, 3)]}


each_psf = pytest.mark.parametrize("psf", kernels().values(), ids=kernels().keys())


def blur(psf, image, boundary):
    return jax.jit(operators.Blur.__call__)(operators.Blur(jnp.asarray(psf), boundary), image)


@each_psf
@pytest.mark.parametrize(("boundary", "mode"), [("reflect", "mirror"), ("circular", "wrap")])
def test_blur_is_the_convolution_of_scipy(psf, boundary, mode):
    image = picture(8, 9, 2)
    expected = [scipy.ndimage.convolve(image[..., c], psf, mode=mode) for c in (0, 1)]
    np.testing.assert_allclose(blur(psf, image, boundary), np.stack(expected, -1), atol=1e-5)


@each_psf
def test_valid_blur_is_the_valid_convolution_of_scipy(psf):
    image = picture(13, 10, 2)
    expected = [scipy.signal.convolve2d(image[..., c], psf, mode="valid") for c in (0, 1)]
    np.testing.assert_allclose(blur(psf, image, "valid"), np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize("boundary", ["reflect", "circular", "valid"])
def test_blur_with_a_single_one_shifts_the_image_and_flips_nothing(boundary):
    psf = np.zeros((3, 3), np.float32)
    psf[0, 1] = 1  # a point moves up by one pixel
    image = np.zeros((5, 5, 1), np.float32)
    image[2, 2] = 1
    inner = blur(psf, image, boundary)
    expected = np.zeros((5, 5, 1), np.float32)
    expected[1, 2] = 1
    np.testing.assert_allclose(inner, expected[1:-1, 1:-1] if boundary == "valid" else expected, atol=1e-6)


@pytest.mark.parametrize("boundary", ["reflect", "circular", "valid"])
def test_blur_keeps_a_constant(boundary):
    np.testing.assert_allclose(blur(psfs.gaussian(1.0), np.full((12, 11, 2), 0.3, np.float32), boundary), 0.3, atol=1e-6)


def test_a_mask_of_one_channel_serves_all_and_one_per_channel_works():
    image, known = picture(4, 5, 3), picture(4, 5, 3) > 0.5
    np.testing.assert_array_equal(operators.Mask(jnp.float32(known))(image), image * known)
    np.testing.assert_array_equal(operators.Mask(jnp.float32(known[..., :1]))(image), image * known[..., :1])


def test_a_composition_applies_the_first_operator_first():
    image, psf = jnp.asarray(picture(12, 12, 2)), jnp.asarray(psfs.box(3))
    both = operators.Compose((operators.Blur(psf), operators.Downsample(3)))
    chex.assert_trees_all_close(both(image), operators.Downsample(3)(operators.Blur(psf)(image)), atol=1e-6)
    chex.assert_trees_all_equal(operators.Compose(())(image), image)


def test_whitening_twice_undoes_the_blur_but_for_the_level():
    misfit, psf, level = picture(9, 12, 2), psfs.normalized(np.random.default_rng(1).random((4, 3))), 0.05
    one = operators.Blur(jnp.asarray(psf), "circular", level)
    (there,) = jax.vjp(one, jnp.asarray(misfit))[1](misfit)
    there = one(there)  # A A^T
    chex.assert_trees_all_close(one.whiten(one.whiten(there + level * misfit)), misfit, atol=1e-4)


@pytest.mark.parametrize("boundary", ["reflect", "circular", "valid"])
@pytest.mark.parametrize("shape", [(2, 3), (5, 7), (16, 11)])
def test_whitening_keeps_shape_and_mean_and_the_level_bounds_it(boundary, shape):
    one = operators.Blur(jnp.asarray(psfs.box(2)), boundary, 0.01)
    with jax.numpy_dtype_promotion("strict"):
        white = one.whiten(jnp.asarray(picture(*shape, 2)))
    assert white.shape == (*shape, 2) and jnp.linalg.norm(white) <= 10 * np.sqrt(9) * np.linalg.norm(picture(*shape, 2))
    np.testing.assert_allclose(one.whiten(np.full((*shape, 1), 0.3, np.float32)), 0.3 / np.sqrt(1.01), rtol=1e-4)


@pytest.mark.parametrize("boundary", ["reflect", "circular", "valid"])
def test_an_unknown_blur_whitens_fine_detail_up_unless_noise_hides_it(boundary):
    flat = np.ones((12, 18, 1), np.float32)
    fine = flat * (1 - 2 * (np.indices((12, 18)).sum(0) % 2))[..., None].astype(np.float32)

    def gains(level):
        one = operators.UnknownBlur(boundary, level)
        with jax.numpy_dtype_promotion("strict"):
            white = [np.asarray(one.whiten(jnp.asarray(picture))) for picture in (flat, fine)]
        np.testing.assert_allclose(white[0], white[0].mean(), rtol=1e-4)
        return [float(np.linalg.norm(picture) / np.linalg.norm(flat)) for picture in white]

    (low, high), (least, most) = gains(1e-6), gains(1e4)
    # Of frequencies (0, 0) and (1/2, 1/2), without noise: sqrt(0.1^2) to sqrt(0.5 + 0.1^2). A mirror breaks the pattern.
    np.testing.assert_allclose(high / low, np.sqrt(51), rtol=1e-3 if boundary == "circular" else 0.2)
    np.testing.assert_allclose(most / least, 1, rtol=1e-2)


@pytest.mark.parametrize("one", [operators.UnknownBlur(), operators.Blur(np.float32(psfs.box(3)))])
def test_a_blur_whitens_complex_numbers_and_halves_without_any_promotion(one):
    misfit = picture(9, 7, 2)
    with jax.numpy_dtype_promotion("strict"):
        white = one.whiten(jnp.asarray(misfit))
        turned = one.whiten(jnp.asarray(misfit * np.complex64(1j)))
        half = one.whiten(jnp.asarray(misfit, jnp.bfloat16))
    np.testing.assert_allclose(turned, 1j * np.asarray(white), atol=1e-4)
    assert half.dtype == jnp.bfloat16
    assert np.linalg.norm(np.float32(half) - white) < 0.02 * np.linalg.norm(white)


def test_what_only_leaves_out_whitens_as_the_blur_does_and_others_do_not():
    one, known = operators.Blur(jnp.asarray(psfs.box(3))), operators.Mask(jnp.float32(picture(8, 8, 1) > 0.5))
    misfit = picture(8, 8, 1)
    chex.assert_trees_all_equal(operators.Compose((one, known)).whiten(misfit), one.whiten(misfit))
    assert not hasattr(operators.Compose((one, operators.Downsample(2))), "whiten")
    assert not hasattr(operators.Compose((known, one, operators.Downsample(2))), "whiten")
    assert not hasattr(operators.Compose(()), "whiten") and not hasattr(operators.Compose((known,)), "whiten")


def test_a_misspelt_boundary_is_refused():
    with pytest.raises(ValueError, match="refelct"):
        operators.Blur(jnp.ones((3, 3)) / 9, "refelct")(jnp.zeros((5, 5, 1)))
