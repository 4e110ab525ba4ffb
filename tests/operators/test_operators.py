from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from PIL import Image

from dipjax import operators
from dipjax.operators import problem, psfs, resampling

SIDES = [1, 2, 3, 4, 5, 7, 8, 12, 15, 24, 33, 48, 60]
KERNELS = {
    "Lanczos 2": resampling.LANCZOS2,
    "Lanczos 3": resampling.LANCZOS3,
    "bicubic": resampling.BICUBIC,
    "box": resampling.BOX,
}
each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())


def picture(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


# Resampling.


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(12, 20, 2), (3, 9, 3), (24, 16, 4), (25, 35, 5), (7, 21, 7), (64, 8, 8), (4, 4, 4)]
)
def test_bicubic_downsampling_is_that_of_pillow(height, width, factor):
    image = picture(height, width)
    expected = Image.fromarray(image).resize((width // factor, height // factor), Image.Resampling.BICUBIC)
    found = operators.Downsample(factor, resampling.BICUBIC)(image[..., None])[..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_lanczos_by_four_has_the_official_weights():
    half = [-0.00107, -0.00975, -0.02038, -0.01488, 0.02459, 0.09866, 0.18312, 0.23971]
    row = resampling.matrix(40, 4, resampling.LANCZOS2)[5]
    np.testing.assert_allclose(row[14:30], [*half, *half[::-1]], atol=6e-6)
    assert np.count_nonzero(row) == 16


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_lanczos_replicates_the_edge_as_the_official_operator_does(factor):
    line = picture(8 * factor)
    border = (4 * factor - factor) // 2
    weights = resampling.matrix(9 * factor, factor, resampling.LANCZOS2)[4]
    taps = weights[weights != 0]
    expected = np.correlate(np.pad(line, border, mode="edge"), taps, mode="valid")[::factor]
    np.testing.assert_allclose(resampling.matrix(8 * factor, factor, resampling.LANCZOS2) @ line, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_the_box_kernel_is_the_mean_of_blocks(factor):
    image = picture(6 * factor, 4 * factor, 2)
    expected = image.reshape(6, factor, 4, factor, 2).mean((1, 3))
    np.testing.assert_allclose(operators.Downsample(factor, resampling.BOX)(image), expected, atol=1e-6)


@each_kernel
@pytest.mark.parametrize("side", SIDES)
def test_a_factor_of_one_is_the_identity(kernel, side):
    np.testing.assert_allclose(resampling.matrix(side, 1, kernel), np.eye(side), atol=1e-6)


@each_kernel
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8])
def test_downsampling_keeps_constants_and_mirror_symmetry(kernel, factor):
    for side in [factor, 2 * factor, 7 * factor]:
        weights = resampling.matrix(side, factor, kernel)
        chex.assert_shape(weights, (side // factor, side))
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-6)


@each_kernel
@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_downsampling_a_ramp_takes_its_value_at_the_centre_of_the_pixel(kernel, factor):
    side = 12 * factor
    inner = (resampling.matrix(side, factor, kernel) @ np.arange(side))[4:-4]
    np.testing.assert_allclose(inner, (np.arange(4, 8) + 0.5) * factor - 0.5, atol=1e-3)


# Blur.


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


def test_a_valid_problem_is_larger_by_the_margin_and_blurs_back_to_the_measurement():
    task = problem.deblurring(picture(6, 5, 1), np.ones((3, 4)), boundary="valid")
    assert task.shape == (8, 8, 1)
    chex.assert_shape(task.operator(jnp.zeros(task.shape)), (6, 5, 1))


@pytest.mark.parametrize("boundary", ["reflect", "circular"])
@pytest.mark.parametrize("shape", [(9, 3), (3, 9)])
def test_a_psf_larger_than_the_picture_is_refused(boundary, shape):
    with pytest.raises(ValueError, match="^psf: found shape"):
        problem.deblurring(picture(8, 8, 1), np.ones(shape), boundary=boundary)


@pytest.mark.parametrize("boundary", ["reflect", "circular"])
def test_a_psf_as_large_as_the_picture_works(boundary):
    task = problem.deblurring(picture(4, 5, 1), np.ones((4, 5)), boundary=boundary)
    expected = scipy.ndimage.convolve(picture(4, 5), np.full((4, 5), 0.05), mode={"reflect": "mirror"}.get(boundary, "wrap"))
    np.testing.assert_allclose(task.operator(task.measurement)[..., 0], expected, atol=1e-5)


# The others.


def test_a_mask_of_one_channel_serves_all_and_one_per_channel_works():
    image, known = picture(4, 5, 3), picture(4, 5, 3) > 0.5
    np.testing.assert_array_equal(operators.Mask(jnp.float32(known))(image), image * known)
    np.testing.assert_array_equal(operators.Mask(jnp.float32(known[..., :1]))(image), image * known[..., :1])


def test_a_composition_applies_the_first_operator_first():
    image, psf = jnp.asarray(picture(12, 12, 2)), jnp.asarray(psfs.box(3))
    both = operators.Compose((operators.Blur(psf), operators.Downsample(3)))
    chex.assert_trees_all_close(both(image), operators.Downsample(3)(operators.Blur(psf)(image)), atol=1e-6)
    chex.assert_trees_all_equal(operators.Compose(())(image), image)


def test_the_known_mask_of_a_problem_keeps_its_polarity():
    task = problem.inpainting(np.ones((2, 2, 1)), np.array([[True, False], [False, True]]))
    np.testing.assert_array_equal(task.operator(jnp.ones((2, 2, 1)))[..., 0], np.eye(2))


# Point spread functions.

PSFS = {
    "gaussian": partial(psfs.gaussian, 1.3),
    "narrow gaussian": partial(psfs.gaussian, 0.2),
    "box": partial(psfs.box, 4),
    "motion": partial(psfs.motion, 6.5, 30),
    "short motion": partial(psfs.motion, 0.5, 200),
}


@pytest.mark.parametrize("name", PSFS)
def test_a_psf_is_float32_not_negative_and_sums_to_one(name):
    psf = PSFS[name]()
    assert psf.dtype == np.float32
    assert (psf >= 0).all()
    np.testing.assert_allclose(psf.sum(), 1, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.7])
def test_a_gaussian_is_its_definition(sigma):
    psf = psfs.gaussian(sigma)
    y, x = np.mgrid[: psf.shape[0], : psf.shape[1]] - psf.shape[0] // 2
    expected = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    np.testing.assert_allclose(psf, expected / expected.sum(), atol=1e-6)
    assert psf.shape[0] // 2 == int(4 * sigma + 0.5)


def moments(psf):
    y, x = np.mgrid[: psf.shape[0], : psf.shape[1]] - psf.shape[0] // 2
    return (psf * x).sum(), (psf * y).sum(), (psf * x * x).sum(), (psf * y * y).sum(), (psf * x * y).sum()


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 130, 300])
@pytest.mark.parametrize("length", [1, 4, 7.3])
def test_a_motion_is_centred_point_symmetric_and_repeats_after_half_a_turn(length, angle):
    psf = psfs.motion(length, angle)
    np.testing.assert_allclose(psf, psf[::-1, ::-1], atol=1e-6)
    np.testing.assert_allclose(psf, psfs.motion(length, angle + 180), atol=1e-5)
    np.testing.assert_allclose(moments(psf)[:2], 0, atol=1e-5)


def test_a_motion_runs_along_its_angle_counter_clockwise():
    np.testing.assert_allclose(psfs.motion(9, 90), psfs.motion(9, 0).T, atol=1e-5)
    for angle in (20, 45, 70, 110):
        _, _, xx, yy, xy = moments(psfs.motion(21, angle))
        found = np.rad2deg(0.5 * np.arctan2(-2 * xy, xx - yy)) % 180  # rows count downwards
        assert abs(found - angle) < 1.5


@pytest.mark.parametrize("length", [3, 9, 15])
def test_a_motion_spreads_evenly_over_its_length(length):
    _, _, xx, yy, _ = moments(psfs.motion(length, 0))
    assert yy < 1e-6
    # The variance of a line between the centres of the outer pixels, and of sharing a point among two pixels.
    np.testing.assert_allclose(xx, (length - 1) ** 2 / 12 + 1 / 6, rtol=0.05)
    assert (psfs.motion(length, 0).sum(0) > 1e-3).sum() == length


def test_a_motion_of_one_pixel_leaves_the_image():
    psf = psfs.motion(1, 30)
    assert psf[psf.shape[0] // 2, psf.shape[1] // 2] == 1


@pytest.mark.parametrize(
    "call",
    [
        partial(psfs.gaussian, 0),
        partial(psfs.gaussian, np.nan),
        partial(psfs.gaussian, -1),
        partial(psfs.box, 0),
        partial(psfs.motion, 0),
        partial(psfs.motion, np.nan),
        partial(psfs.normalized, [1, 2]),
        partial(psfs.normalized, [[np.inf]]),
        partial(psfs.normalized, [[-1, 3]]),
    ],
)
def test_a_psf_that_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError, match=": found "):
        call()


def test_the_operators_run_where_their_arrays_are():
    task = problem.stack([problem.deblurring(picture(6, 6, 1), psfs.box(n)) for n in (3, 3)])
    made = jax.vmap(lambda one: one.operator(one.measurement))(task)
    np.testing.assert_allclose(made[0], task.operator.replace(psf=task.operator.psf[0])(task.measurement[0]), atol=1e-6)


def test_a_misspelt_boundary_is_refused():
    with pytest.raises(ValueError, match="refelct"):
        operators.Blur(jnp.ones((3, 3)) / 9, "refelct")(jnp.zeros((5, 5, 1)))
