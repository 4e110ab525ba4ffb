"""Scanners, beams and sensors: each operator against a reference that knows nothing of JAX, and the problems they make."""

import io
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import skimage.transform
from jax import lax
from PIL import Image
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator

from dipjax.core import drive
from dipjax.fitting import losses
from dipjax.operators import (
    JPEG,
    Bayer,
    Complex,
    Fourier,
    FourierMagnitude,
    Hadamard,
    Matrix,
    NonUniformFourier,
    Radon,
    Transmission,
    camera,
    foreign,
    fourier,
    instruments,
    jpeg,
    problem,
    radon,
    sensing,
)
from dipjax.stopping import HeldOut
from tests.conftest import light_keys, mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")
SHAPE = (8, 6)
IMAGE = picture(*SHAPE)
COILS = picture(*SHAPE, 3, seed=1).transpose(2, 0, 1) * np.exp(1j * picture(*SHAPE, 3, seed=2).transpose(2, 0, 1))
SOME = picture(*SHAPE, seed=3)[..., 0] > 0.4


@jax.jit
def apply(operator, image):
    return operator(image)


# Spectra.


def spectrum(plane):
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(plane), norm="ortho"))


def test_what_is_sampled_of_a_spectrum_is_that_of_numpy_for_each_coil():
    expected = np.where(SOME, spectrum(IMAGE[..., 0]), 0)
    np.testing.assert_allclose(apply(Fourier(SOME), IMAGE)[..., 0], expected, atol=1e-5)
    found = apply(Fourier(SOME, jnp.asarray(COILS, jnp.complex64)), IMAGE)
    assert found.shape == (3, *SHAPE, 1)
    for one, coil in zip(found, COILS, strict=True):
        np.testing.assert_allclose(one[..., 0], np.where(SOME, spectrum(coil * IMAGE[..., 0]), 0), atol=1e-5)


def test_two_channels_are_a_complex_image():
    wave = picture(*SHAPE, 4)
    np.testing.assert_array_equal(apply(Complex(), wave), wave[..., :2] + 1j * wave[..., 2:])


def test_a_spectrum_sampled_anywhere_is_that_of_the_grid_where_the_grid_is():
    rows, columns = np.mgrid[-4:4, -3:3]
    places = np.stack([rows.ravel() / 8, columns.ravel() / 6], -1)
    found = apply(NonUniformFourier(jnp.asarray(places, jnp.float32)), IMAGE)
    np.testing.assert_allclose(found.reshape(SHAPE), spectrum(IMAGE[..., 0]), atol=1e-5)


def test_magnitudes_are_those_of_the_object_among_zeros():
    padded = np.pad(np.where(SOME, IMAGE[..., 0], 0), [(4, 4), (3, 3)])
    operator = FourierMagnitude(jnp.asarray(SOME, jnp.float32))
    np.testing.assert_allclose(apply(operator, IMAGE)[..., 0], abs(spectrum(padded)), atol=1e-5)
    assert apply(FourierMagnitude(jnp.ones((5, 7)), 3), picture(5, 7)).shape == (15, 21, 1)


@pytest.mark.parametrize("acceleration", [1, 2, 4.0, 8])
def test_lines_are_taken_as_often_as_they_are_asked_for_and_all_in_the_middle(acceleration):
    mask = fourier.cartesian((16, 64), acceleration, centre=0.1, seed=3)
    assert mask.dtype == bool and (mask == mask[0]).all()
    assert mask[0].sum() == round(64 / acceleration) and mask[0, 29:35].all()
    np.testing.assert_array_equal(mask, fourier.cartesian((16, 64), acceleration, centre=0.1, seed=3))


def test_more_lines_are_taken_near_the_middle():
    counts = sum(fourier.cartesian((1, 64), 4, centre=0, seed=seed)[0].astype(int) for seed in range(50))
    assert counts[24:40].mean() > 2 * counts[[*range(16), *range(48, 64)]].mean()


def test_spokes_cross_the_origin_inside_the_spectrum():
    places = fourier.radial(4, 6).reshape(4, 6, 2)
    np.testing.assert_allclose(places.sum(1), 0, atol=1e-6)
    assert abs(places).max() < 1 / 2


# Rays.

SIDE = 48
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] - SIDE // 2
BLOB = np.exp(-(((COLUMNS - 7) / 6) ** 2) - ((ROWS + 4) / 8) ** 2).astype(np.float32) * (np.hypot(ROWS, COLUMNS) < SIDE // 2 - 1)
RADIUS = 15.3
DISC = np.clip(RADIUS + 0.5 - np.hypot(ROWS, COLUMNS), 0, 1).astype(np.float32)


def rays(image, views, *geometry):
    return np.asarray(apply(Radon(jnp.asarray(views), *geometry), image[..., None]))[..., 0]


def test_parallel_beams_are_the_radon_transform_of_scikit_image():
    views = radon.views(7) + 3
    expected = skimage.transform.radon(BLOB, views, circle=True)
    np.testing.assert_allclose(rays(BLOB, views, SIDE), expected, atol=2e-3 * expected.max())


@pytest.mark.parametrize("distance", [np.inf, 100.0])
def test_a_disc_has_its_known_chords(distance):
    detectors = (np.arange(60) - 30) * 0.8
    offsets = detectors / np.hypot(1, detectors / distance)
    chords = 2 * np.sqrt(np.maximum(RADIUS**2 - offsets**2, 0))
    found = rays(DISC, radon.views(6, full=True), 60, distance, 0.8)
    error = abs(found - chords[:, None])
    assert error.mean() < 0.2 and error.max() < 2  # at the rim a chord grows from nothing within a pixel


def test_a_source_far_away_has_parallel_beams_and_a_view_from_behind_is_mirrored():
    views, odd = np.float32([0, 30, 75, 90]), SIDE + 1
    np.testing.assert_allclose(rays(BLOB, views, odd, 1e5), rays(BLOB, views, odd), atol=0.02)
    np.testing.assert_allclose(rays(BLOB, views + 180, odd), rays(BLOB, views, odd)[::-1], atol=1e-3)


def test_a_fan_sees_a_shifted_disc_where_its_geometry_says():
    row, column, distance = 9, -12, 90.0
    image = (np.hypot(ROWS - row, COLUMNS - column) < 2).astype(np.float32)
    for view in (0, 40, 130, 250):
        angle = np.deg2rad(view)
        across, along = column * np.cos(angle) - row * np.sin(angle), column * np.sin(angle) + row * np.cos(angle)
        seen = rays(image, np.float32([view]), 81, distance)[:, 0]
        brightest = seen @ np.arange(81) / seen.sum()
        assert brightest - 40 == pytest.approx(distance * across / (distance + along), abs=0.3)


def test_photons_and_sums_are_turned_into_one_another():
    sums = np.linspace(0, 3, 7, dtype=np.float32)
    np.testing.assert_allclose(radon.line_integrals(1e4 * apply(Transmission(), sums), 1e4), sums, atol=1e-5)
    assert radon.line_integrals([0, 1000], 1000)[0] == pytest.approx(np.log(2000))


# Cameras.


@pytest.mark.parametrize("pattern", camera.PATTERNS)
def test_a_mosaic_holds_the_colour_of_each_filter(pattern):
    flat = np.broadcast_to(np.float32([0.1, 0.5, 0.9]), (5, 6, 3))
    raw = np.asarray(apply(Bayer(pattern), flat))
    expected = [{"R": 0.1, "G": 0.5, "B": 0.9}[letter] for letter in pattern]
    np.testing.assert_allclose(raw[2:4, 2:4, 0].ravel(), expected, atol=1e-6)
    np.testing.assert_allclose(camera.bilinear(raw, pattern), flat, atol=1e-6)


def test_bilinear_keeps_what_was_measured():
    raw = picture(7, 6)
    np.testing.assert_allclose(apply(Bayer(), camera.bilinear(raw, "RGGB")), raw, atol=1e-6)


@pytest.mark.parametrize(("mode", "subsampling", "size"), [("L", 0, (24, 19)), ("RGB", 0, (24, 24)), ("RGB", 2, (37, 42))])
def test_compression_is_that_of_pillow(mode, subsampling, size):
    smooth = skimage.transform.resize(picture(6, 5, 3), size, order=3).clip(0.2, 0.8) + 0.03 * picture(*size, 3)
    pixels = np.uint8(255 * smooth) if mode == "RGB" else np.uint8(255 * smooth[..., 0])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60, subsampling=subsampling)
    opened = Image.open(file)
    operator = JPEG(*jpeg.tables(opened.quantization), halved=subsampling == 2)
    expected = np.asarray(opened, np.float32).reshape(*size, -1)
    found = 255 * np.asarray(apply(operator, jnp.asarray(pixels.reshape(*size, -1), jnp.float32) / 255))
    error = abs(found - expected)
    # libjpeg computes with whole numbers: where it shrinks the chroma, a coefficient in some blocks falls on the other side.
    assert np.median(error) < 1 and error.mean() < (1.6 if subsampling else 0.6)
    assert abs(expected - pixels.reshape(expected.shape)).mean() > 2


def test_rounding_has_the_gradient_of_the_identity_or_one_that_follows_the_steps():
    values = jnp.asarray([0.2, 1.4, -0.6])
    for rounding, slopes in ((jpeg.straight_through, [1, 1, 1]), (jpeg.cubic, 3 * np.square([0.2, 0.4, 0.4]))):
        made, pull = jax.vjp(rounding, values)
        np.testing.assert_allclose(pull(jnp.ones(3))[0], slopes, rtol=1e-4)
        np.testing.assert_allclose(made, [0, 1, -1], atol=0.07)


# Random sums.


def test_sums_with_random_signs_are_those_of_the_matrix_of_hadamard():
    operator = Hadamard(jnp.ones((8, 8)), jnp.asarray(np.sign(picture(8, 8)[..., 0] - 0.5)))
    rows = scipy.linalg.hadamard(8) / np.sqrt(8)
    padded = np.pad(IMAGE[..., 0], [(0, 0), (0, 2)])
    np.testing.assert_allclose(apply(operator, IMAGE)[..., 0], rows @ (operator.signs * padded) @ rows, atol=1e-5)


def test_as_many_sums_are_taken_as_are_asked_for_and_they_keep_lengths():
    operator = sensing.hadamard(0.25, (16, 16))
    assert operator.mask.sum() == 64 and set(np.unique(operator.signs)) == {-1, 1}
    assert sensing.hadamard(1.0, (5, 9)).mask.shape == (8, 16)
    image = picture(16, 16)
    for made, share in ((operator, 0.25), (sensing.gaussian(128, (16, 16)), 1)):
        assert np.sum(np.square(apply(made, image))) == pytest.approx(share * np.sum(image**2), rel=0.4)


# Other libraries.

TALL = csr_array(np.where(picture(20, 48, seed=5)[..., 0] > 0.7, picture(20, 48, seed=6)[..., 0], 0))


@pytest.mark.parametrize("factor", [1, 1 + 2j])
def test_a_linear_operator_of_scipy_is_the_matrix_that_it_is_under_jit_vmap_and_for_gradients(factor):
    operator, images = foreign.of_scipy(aslinearoperator(TALL * factor), (*SHAPE, 1)), picture(2, *SHAPE, seed=7)[..., None]
    dense = jnp.asarray((TALL * factor).toarray(), jnp.complex64 if factor != 1 else jnp.float32)

    def loss(measure, image):
        return jnp.mean(jnp.abs(measure(image) - 1) ** 2)

    both = (operator, lambda image: dense @ image.ravel().astype(dense.dtype))
    ours, theirs = (jax.jit(jax.vmap(jax.value_and_grad(partial(loss, measure)))) for measure in both)
    chex.assert_trees_all_close(ours(images), theirs(images), rtol=1e-4)


def test_a_restoration_with_a_linear_operator_of_scipy_is_that_with_its_matrix():
    measurement = TALL @ IMAGE.ravel()
    recipe, operator = mixer_recipe(), foreign.of_scipy(aslinearoperator(TALL), (*SHAPE, 1))
    ours = drive.restore(recipe, light_keys(2), problem.general(measurement, operator, (*SHAPE, 1)), num_steps=3)
    matrix = Matrix(jnp.asarray(TALL.toarray(), jnp.float32))
    theirs = drive.restore(recipe, light_keys(2), problem.general(measurement[:, None], matrix, (*SHAPE, 1)), num_steps=3)
    assert ours.alive.all()
    np.testing.assert_allclose(ours.images, theirs.images, atol=1e-5)


# Problems.

VIEWS = radon.views(5)
PROBLEMS = {
    "mri": lambda: instruments.mri(apply(Fourier(SOME), IMAGE)[..., 0], truth=IMAGE),
    "mri, coils, complex": lambda: instruments.mri(COILS, SOME, coils=COILS, is_complex=True, truth=picture(*SHAPE, 2)),
    "mri, lines": lambda: instruments.mri(spectrum(IMAGE[..., 0]), SOME[0]),
    "mri, anywhere": lambda: instruments.non_uniform_mri(np.ones(12) + 0j, fourier.radial(3, 4), SHAPE, is_complex=True),
    "phase retrieval": lambda: instruments.phase_retrieval(picture(16, 12)[..., 0], SOME),
    "tomography": lambda: instruments.tomography(picture(9, 5)[..., 0], VIEWS, size=SHAPE, truth=IMAGE),
    "tomography, fan, colours": lambda: instruments.tomography(picture(9, 5, 2), VIEWS, distance=20, spacing=2),
    "tomography, photons": lambda: instruments.tomography(np.arange(45).reshape(9, 5), VIEWS, photons=50),
    "demosaicing": lambda: instruments.demosaicing(IMAGE[..., 0], "GBRG", truth=picture(*SHAPE, 3)),
    "random sums": lambda: problem.general(np.ones((20, 1)), sensing.gaussian(20, SHAPE), (*SHAPE, 1)),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.slow
def test_three_steps_of_every_instrument_go_downhill_and_stack(name):
    task = PROBLEMS[name]()
    recipe = mixer_recipe(task.shape[-1], input_noise=0.0, loss=losses.Poisson(50) if "photons" in name else losses.MSE())
    result = drive.restore(recipe, light_keys(2), task, num_steps=3)
    assert result.alive.all() and (np.diff(result.metrics.loss) < 0).all() and result.image.shape == task.shape
    assert problem.stack([task, PROBLEMS[name]()]).measurement.shape == (2, *task.measurement.shape)


def test_samples_of_a_spectrum_can_be_held_out():
    task = PROBLEMS["mri, coils, complex"]()
    result = drive.restore(mixer_recipe(2, stopping=HeldOut(0.2)), light_keys(1), task, num_steps=3)
    assert result.alive.all() and np.isfinite(result.metrics.score).all()


def test_what_was_not_sampled_is_not_looked_at():
    kspace = spectrum(IMAGE[..., 0])
    for other in (np.nan, 7):
        task = instruments.mri(np.where(SOME, kspace, other), SOME)
        np.testing.assert_allclose(task.measurement[..., 0], np.where(SOME, kspace, 0), atol=1e-6)


REFUSED = {
    "kspace: found shape (3, 8, 6), expected (H, W), or": partial(instruments.mri, COILS),
    "kspace: found shape (8, 6), expected (K": partial(instruments.mri, COILS[0], coils=COILS),
    "kspace: found whole numbers": partial(instruments.mri, np.ones(SHAPE, int)),
    "kspace: found NaN": partial(instruments.mri, np.full(SHAPE, np.nan)),
    "coils: found shape (2, 8, 6)": partial(instruments.mri, COILS, coils=COILS[:2]),
    "coils: found NaN": partial(instruments.mri, COILS, coils=COILS * np.nan),
    "mask: found bool numbers of shape (8, 5)": partial(instruments.mri, COILS[0], SOME[:, :5]),
    "mask: found values outside": partial(instruments.mri, COILS[0], -1 * SOME),
    "mask: found no sample": partial(instruments.mri, COILS[0], 0 * SOME),
    "truth: found shape (8, 6, 1), expected (8, 6, 2)": partial(instruments.mri, COILS[0], is_complex=True, truth=IMAGE),
    "frequencies: found shape (4, 2)": partial(instruments.non_uniform_mri, np.ones(3), fourier.radial(2, 2), SHAPE),
    "frequencies: found 0.75": partial(instruments.non_uniform_mri, np.ones(4), 2 * fourier.radial(2, 2) + 0.25, SHAPE),
    "shape: found (8, 0)": partial(instruments.non_uniform_mri, np.ones(4), fourier.radial(2, 2), (8, 0)),
    "magnitudes: found complex or negative": partial(instruments.phase_retrieval, -np.ones((16, 12)), SOME),
    "support: found shape (8, 6)": partial(instruments.phase_retrieval, np.ones((16, 13)), SOME),
    "support: found values outside": partial(instruments.phase_retrieval, np.ones((16, 12)), 3.0 * SOME),
    "oversampling: found 1.5": partial(instruments.phase_retrieval, np.ones((12, 9)), SOME, oversampling=1.5),
    "sinogram: found real numbers (9,)": partial(instruments.tomography, np.ones(9), VIEWS),
    "sinogram: found negative": partial(instruments.tomography, -np.ones((9, 5)), VIEWS, photons=10),
    "angles: found shape (4,), expected (5,)": partial(instruments.tomography, np.ones((9, 5)), VIEWS[:4]),
    "distance: found 5, expected a number above 6.364": partial(instruments.tomography, np.ones((9, 5)), VIEWS, distance=5),
    "spacing: found 0": partial(instruments.tomography, np.ones((9, 5)), VIEWS, spacing=0),
    "photons: found -1": partial(instruments.tomography, np.ones((9, 5)), VIEWS, photons=-1),
    "size: found 9": partial(instruments.tomography, np.ones((9, 5)), VIEWS, size=9),
    "raw: found real numbers (8, 6, 3)": partial(instruments.demosaicing, picture(*SHAPE, 3)),
    "pattern: found 'RGBG'": partial(instruments.demosaicing, IMAGE, "RGBG"),
    "acceleration: found 0.5": partial(fourier.cartesian, SHAPE, 0.5),
    "centre: found 0.5": partial(fourier.cartesian, SHAPE, 4, centre=0.5),
    "shape: found (8, 6, 1)": partial(fourier.cartesian, (*SHAPE, 1)),
    "num_spokes: found 0": partial(fourier.radial, 0, 4),
    "num_views: found 1.5": partial(radon.views, 1.5),
    "counts: found negative": partial(radon.line_integrals, [-1], 10),
    "photons: found 0": partial(radon.line_integrals, [1], 0),
    "quantization: found {}": partial(jpeg.tables, {}),
    "quantization: found {0: [0, ": partial(jpeg.tables, {0: [0] * 64}),
    "num_measurements: found 0": partial(sensing.gaussian, 0, SHAPE),
    "share: found 2": partial(sensing.hadamard, 2, SHAPE),
    "share: found True": partial(sensing.hadamard, True, SHAPE),
    "seed: found -1": partial(sensing.hadamard, 0.5, SHAPE, seed=-1),
    "seed: found 1.5": partial(sensing.gaussian, 5, SHAPE, seed=1.5),
    "seed: found 'a'": partial(fourier.cartesian, SHAPE, seed="a"),
    "acceleration: found True": partial(fourier.cartesian, SHAPE, True),
    "shape: found (40000, 40000), expected at most": partial(sensing.gaussian, 4, (40000, 40000)),
    "coils: found zeros only": partial(instruments.mri, COILS, coils=0 * COILS),
    "support: found no pixel": partial(instruments.phase_retrieval, np.ones((16, 12)), 0 * SOME),
    "support: found list, which NumPy cannot read": partial(instruments.phase_retrieval, np.ones((16, 12)), [[1], [1, 2]]),
    "frequencies: found shape (0, 2)": partial(instruments.non_uniform_mri, np.ones(0), np.ones((0, 2)), SHAPE),
    "sinogram: found a masked array": partial(instruments.tomography, np.ma.array(np.ones((9, 5)), mask=True), VIEWS, photons=9),
    "sinogram: found numbers of type complex128": partial(instruments.tomography, 1j * np.ones((9, 5)), VIEWS, photons=9),
    "angles: found numbers of type <U1": partial(instruments.tomography, np.ones((9, 5)), ["x"] * 5),
    "counts: found a masked array": partial(radon.line_integrals, np.ma.array([1, 2], mask=[0, 1]), 10),
    "counts: found numbers of type bool": partial(radon.line_integrals, [True], 10),
    "quantization: found None": partial(jpeg.tables, None),
    "quantization: found {0: [inf": partial(jpeg.tables, {0: [np.inf] * 64}),
    "num_steps: found -1": lambda: instruments.least_squares(instruments.mri(COILS[0]), -1),
    "num_steps: found 2.5": lambda: instruments.least_squares(instruments.mri(COILS[0]), 2.5),
    "problem: found an operator that is not linear": lambda: instruments.least_squares(
        instruments.phase_retrieval(np.ones((16, 12)), SOME)
    ),
    "operator: found shape (20, 48), expected 96 columns": partial(foreign.of_scipy, aslinearoperator(TALL), (*SHAPE, 2)),
    "operator: found str": partial(foreign.of_scipy, "radon", (*SHAPE, 1)),
}


def test_least_squares_solve_what_another_library_measured():
    matrix = np.random.default_rng(0).normal(size=(40, 12))
    task = problem.general(np.float32(matrix @ np.arange(12)), foreign.of_scipy(matrix, (3, 4, 1)), (3, 4, 1))
    np.testing.assert_allclose(instruments.least_squares(task, 40).ravel(), np.arange(12), atol=0.01)


def test_whitened_sums_are_nearer_to_the_image_when_they_are_smeared_back():
    rows, columns = np.mgrid[:32, :32] - 16
    image = np.float32(np.hypot(rows - 3, columns + 2) < 6)[..., None]
    for operator in (radon.Radon(radon.views(24), 32), radon.Radon(radon.views(48, full=True), 48, distance=64.0)):
        sums, back = jax.vjp(operator, jnp.asarray(image))
        likeness = [np.corrcoef(np.ravel(image), np.ravel(back(sums)[0]))[0, 1] for sums in (sums, operator.whiten(operator.whiten(sums)))]
        assert likeness[1] > 0.9 > likeness[0]
        with jax.numpy_dtype_promotion("strict"):
            turned = operator.whiten(lax.complex(jnp.zeros_like(sums), sums))
            np.testing.assert_allclose(turned, 1j * np.asarray(operator.whiten(sums)), atol=1e-5)


def test_a_complex_result_of_another_library_is_not_cut():
    operator = foreign.Foreign(lambda image: np.fft.fft2(image[..., 0]), lambda made: made, SHAPE)
    with pytest.raises(Exception, match="operator: found complex numbers"):
        jax.block_until_ready(operator(np.ones((*SHAPE, 1), np.float32)))


def test_lines_are_found_however_rare_their_chance_is():
    assert fourier.cartesian((2, 5000), 1.0, power=100.0).all()


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_measurement_is_refused_by_name(message):
    with pytest.raises(ValueError) as caught:
        REFUSED[message]()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
