import chex
import numpy as np
import pytest
from PIL import Image

from dipjax import operators
from dipjax.operators import problem, resampling

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


@pytest.mark.parametrize("factor", [1.5, 2.5, 1.25, 7 / 3])
@pytest.mark.parametrize("kernel", [resampling.LANCZOS2, resampling.BICUBIC, resampling.BOX])
def test_any_factor_keeps_constants_and_mirror_symmetry(factor, kernel):
    task = problem.super_resolution(picture(12, 16, 3), factor, kernel=kernel)
    assert task.shape == (round(12 * factor), round(16 * factor), 3)
    np.testing.assert_allclose(task.operator(np.ones(task.shape, np.float32)), 1, atol=1e-6)
    image = picture(*task.shape)
    np.testing.assert_allclose(task.operator(image[::-1])[::-1], task.operator(image), atol=1e-5)


@pytest.mark.parametrize("factor", [1.5, 2.5, 3])
def test_a_box_sees_every_pixel_alike(factor):
    rows = resampling.matrix(15, factor, resampling.BOX)
    np.testing.assert_allclose(rows.sum(0), 1 / factor)
    np.testing.assert_allclose(rows.sum(1), 1)


@pytest.mark.parametrize("operator", [operators.Resize((9, 4)), operators.Downsample(9), operators.Downsample(0)])
def test_shrinking_does_not_enlarge(operator):
    with pytest.raises(ValueError, match="^factor: found"):
        operator(picture(8, 8, 1))


def test_shrinking_by_any_factor_is_that_of_pillow():
    image = picture(30, 45)
    expected = np.asarray(Image.fromarray(image).resize((18, 20), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(operators.Resize((20, 18), resampling.BICUBIC)(image[..., None])[..., 0], expected, atol=1e-5)


def test_whole_factors_however_they_are_written_are_the_same_operator():
    assert problem.super_resolution(picture(6, 6, 1), 2.0).operator == operators.Downsample(2)
