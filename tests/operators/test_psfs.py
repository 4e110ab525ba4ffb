from functools import partial

import numpy as np
import pytest

from dipjax.operators import psfs

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


BAD_NUMBERS = [True, "3", None, np.nan, np.inf, -np.inf, -1, 0, 1e12, 10**400, 1j, np.array([1.0, 2.0])]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize(("name", "make"), [("sigma", psfs.gaussian), ("size", psfs.box), ("length", psfs.motion)])
def test_what_is_no_size_is_refused_by_name_with_the_bound(name, make, value):
    with pytest.raises(ValueError, match=rf"^{name}: found .*40\d\d|^{name}: found"):
        make(value)


@pytest.mark.parametrize("angle", [True, "3", None, np.nan, np.inf, 1e30, 1j])
def test_what_is_no_angle_is_refused(angle):
    with pytest.raises(ValueError, match="^angle: found"):
        psfs.motion(5, angle)


@pytest.mark.parametrize("truncate", [0, -1, np.nan, np.inf, "4", 2000])
def test_what_is_no_truncation_is_refused(truncate):
    with pytest.raises(ValueError, match="^truncate: found|^sigma: found 5, cut off at 2000 deviations"):
        psfs.gaussian(5, truncate=truncate)


def test_numbers_of_numpy_are_numbers():
    np.testing.assert_array_equal(psfs.gaussian(np.float32(2)), psfs.gaussian(2))
    np.testing.assert_array_equal(psfs.box(np.int8(2)), psfs.box(2))
    np.testing.assert_array_equal(psfs.motion(np.int64(5), np.float64(30)), psfs.motion(5.0, 30))


def test_a_gaussian_far_narrower_than_a_pixel_is_one_point():
    for sigma in (1e-3, 1e-200, 5e-324):
        np.testing.assert_array_equal(psfs.gaussian(sigma), np.float32([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32, np.longdouble])
def test_a_psf_of_any_real_numbers_is_normalised_in_double_precision(dtype):
    psf = np.array([[1, 0, 1], [1, 1, 1]]).astype(dtype)
    np.testing.assert_array_equal(psfs.normalized(psf, dtype=np.float64), psf.astype(float) / 5)
