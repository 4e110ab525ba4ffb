"""What estimates leave of a measurement is put back as the equations say, and no noise with it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import dipjax
import dipjax.tasks.tasks  # noqa: F401, fills TASKS
from dipjax import kriging, problem
from dipjax.files.picture import parts
from dipjax.large import tiling
from dipjax.operators import Bayer, Downsample, instruments
from dipjax.operators.frame import Framed
from dipjax.tasks import restore
from dipjax.tasks.door import TASKS

HEIGHT, WIDTH = 7, 9


def random(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def known(share=0.6):
    return np.random.default_rng(1).random((HEIGHT, WIDTH)) < share


def spectrum(is_complex):
    mask = known()
    kspace = (random(HEIGHT, WIDTH) + 1j * random(WIDTH, HEIGHT).T) * mask
    return instruments.mri(kspace.astype(np.complex64), mask, is_complex=is_complex)


PROBLEMS = {
    "holes": lambda: problem.inpainting(random(HEIGHT, WIDTH, 2) * known()[..., None], known()),
    "small": lambda: problem.super_resolution(random(4, 5, 1), 2),
    "blur": lambda: problem.deblurring(random(HEIGHT, WIDTH, 1), dipjax.psfs.gaussian(0.7)),
    "mosaic": lambda: instruments.demosaicing(random(HEIGHT, WIDTH), "RGGB"),
    "spectrum": lambda: spectrum(False),
    "complex": lambda: spectrum(True),
    "volume": lambda: problem.general(random(4, 5, 3, 1), lambda image: 2 * image + 1, (4, 5, 3, 1)),
}


def dense(data, image, noise):
    """The equations of the module, with matrices."""
    size, shape = image.size, image.shape
    zero = data.operator(jnp.zeros(shape))

    def real(entries):
        flat = np.ravel(entries)
        return np.concatenate([flat.real, flat.imag]) if np.iscomplexobj(flat) else flat

    unit = np.eye(size, dtype=np.float32).reshape(size, *shape)
    matrix = np.stack([real(data.operator(one) - zero) for one in unit], -1).astype(float)
    grids = [side + 32 for side in shape[:-1]]
    power = (sum(np.meshgrid(*(np.fft.fftfreq(side) ** 2 for side in grids), indexing="ij")) + 0.01) ** -1.5
    covariance = np.fft.ifftn(power / power.mean()).real
    places = [np.ravel(part) for part in np.indices(shape)]
    apart = tuple(np.subtract.outer(part, part) % side for part, side in zip(places[:-1], grids, strict=True))
    details = np.concatenate([np.diff(image.astype(float), axis=axis).reshape(-1, shape[-1]) for axis in range(len(shape) - 1)])
    alike = details.T @ details
    alike = 0.95 * alike / max(np.trace(alike) / shape[-1], 1e-30) + 0.05 * np.eye(shape[-1])
    alike *= shape[-1] / np.trace(alike)
    covariance = covariance[apart] * alike[np.ix_(places[-1], places[-1])]
    left, ones = (real(part).astype(float) for part in (data.measurement - data.operator(image), data.operator(jnp.ones(shape)) - zero))
    brighter = left @ ones / (ones @ ones)
    left -= brighter * ones
    draw = np.asarray(kriging._smoothed(jax.random.normal(jax.random.key(0), shape), 0.5)) @ np.linalg.cholesky(alike).T
    usual = np.asarray(data.operator(draw.astype(np.float32)) - zero)
    number = (usual != 0).sum()
    error = max(np.sum(left**2) / number - 1.15 * noise**2, 1e-30)
    level = np.sum(np.abs(usual) ** 2) / number * max(noise**2 / error, 0.01 * alike.diagonal().min())
    return brighter + (covariance @ matrix.T @ np.linalg.solve(matrix @ covariance @ matrix.T + level * np.eye(len(matrix)), left)).reshape(
        shape
    )


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_equations_are_solved(name, noise):
    data = PROBLEMS[name]()
    image = 0.3 + 0.1 * random(*data.shape)
    made = kriging.put_back(data, image[None], noise)[0]
    assert made.dtype == np.float32
    np.testing.assert_allclose(made - image, dense(data, image, noise), atol=2e-3)


def test_what_was_measured_comes_out_and_far_from_it_only_brightness_changes():
    picture, where = np.zeros((48, 48, 1), np.float32), np.zeros((48, 48), bool)
    picture[:, :8], where[:, :8] = random(48, 8, 1) - 0.5, True
    picture[:, :8] -= picture[:, :8].mean()
    data = problem.inpainting(picture, where)
    for brightness in (0, 0.3):
        (made,) = kriging.put_back(data, np.full((1, 48, 48, 1), brightness, np.float32))
        assert np.abs(made - picture)[:, :8].mean() < 0.1 * np.abs(picture)[:, :8].mean()
        assert np.abs(made)[:, 40:].max() < 0.02


def test_a_colour_that_was_measured_corrects_the_others():
    gray = np.repeat(random(24, 32, 1), 3, axis=-1)
    truth = gray * np.float32([0.5, 0.8, 1.0])
    data = instruments.demosaicing(np.asarray(Bayer("RGGB")(truth)), "RGGB")
    estimate = np.float32(ndimage.gaussian_filter(truth, (0.7, 0.7, 0)))
    error = np.abs(kriging.put_back(data, estimate[None])[0] - truth).mean((0, 1))
    assert (error < 0.6 * np.abs(estimate - truth).mean((0, 1))).all()


@pytest.mark.parametrize("contrast", [1.0, 0.25, 0.05])
def test_a_channel_with_little_detail_comes_out_where_it_was_measured_too(contrast):
    picture = 0.5 + (random(32, 32, 3) - 0.5) * np.float32([1, 1, contrast])
    where = np.random.default_rng(1).random((32, 32)) < 0.5
    estimate = np.stack([ndimage.gaussian_filter(picture, (1, 1, 0))])
    data = problem.inpainting(picture * where[..., None], where)
    before, after = (np.abs(image - picture)[where].mean(0) for image in (estimate[0], kriging.put_back(data, estimate)[0]))
    assert (after < 0.1 * before).all()


def test_what_is_no_more_than_the_noise_stays_out():
    data = problem.inpainting(random(16, 16, 1) * 0.1, np.ones((16, 16)))
    estimates = np.full((1, 16, 16, 1), data.measurement.mean(), np.float32)
    np.testing.assert_allclose(kriging.put_back(data, estimates, noise=1.0), estimates, atol=1e-6)


def test_an_estimate_that_fits_stays_and_one_that_is_not_finite_too():
    data = problem.inpainting(random(8, 8, 1), np.ones((8, 8)))
    estimates = np.stack([data.measurement, np.full((8, 8, 1), np.nan, np.float32)])
    made = kriging.put_back(data, estimates)
    np.testing.assert_array_equal(made[0], data.measurement)
    assert np.isnan(made[1]).all() and np.isfinite(estimates[0]).all()
    assert np.isnan(kriging.put_back(data, estimates[1:])).all()


def test_a_frame_adds_nothing():
    picture, where = random(16, 16, 1), known(1.0)
    inside = np.zeros((16, 16, 1), bool)
    inside[:HEIGHT, :WIDTH] = True
    whole = problem.inpainting(picture, np.ones((16, 16)))
    framed = whole.replace(operator=Framed(whole.operator, inside, whole.measurement))
    small = problem.inpainting(picture[:HEIGHT, :WIDTH], where)
    estimates = np.full((1, 16, 16, 1), 0.5, np.float32)
    made = kriging.put_back(framed, estimates)[:, :HEIGHT, :WIDTH]
    np.testing.assert_allclose(made, kriging.put_back(small, estimates[:, :HEIGHT, :WIDTH]), atol=5e-3)


def of(task, picture, num_iter=3, **how):
    net = dipjax.generators.Plain(picture.shape[-1] if picture.ndim == 3 else 1, 4)
    return task(picture, generator=net, seeds=2, num_iter=num_iter, return_result=True, **how)


def test_tasks_put_back_unless_asked_not_to():
    picture = np.add.outer(np.linspace(0.2, 0.4, 32), np.linspace(0, 0.4, 48)).astype(np.float32)
    holes = np.random.default_rng(0).random(picture.shape) > 0.5
    errors = {}
    for word in ("auto", "none"):
        image, outcome = of(lambda *a, **k: dipjax.inpaint(*a, holes, range="full", **k), picture, 20, kriging=word)  # noqa: B023
        np.testing.assert_array_equal(image[~holes], picture[~holes])
        assert np.abs(outcome.images.mean(axis=0)[..., 0] - image).mean() < 1e-3  # each seed is clipped
        errors[word] = np.abs(image - picture)[holes].mean()
    assert errors["auto"] < 0.8 * errors["none"]
    with pytest.raises(ValueError, match="kriging: found 'no', expected one of auto, none"):
        of(dipjax.super_resolve, picture, kriging="no")


def test_a_residual_is_what_the_networks_leave():
    small = random(8, 8)
    left = [np.abs(of(dipjax.super_resolve, small, factor=2, kriging=word)[1].residual.values) for word in ("auto", "none")]
    np.testing.assert_array_equal(*left)


def test_in_tiles_it_is_put_back_too():
    picture = np.add.outer(np.linspace(0, 0.5, 16), np.linspace(0, 0.5, 80)).astype(np.float32)
    holes, errors = np.random.default_rng(0).random(picture.shape) > 0.7, {}
    for word in ("auto", "none"):
        how = {"tile": 48, "tile_overlap": 24, "range": "full", "kriging": word}
        image, outcome = of(lambda *a, **k: dipjax.inpaint(*a, holes, **k), picture, **how)
        assert outcome.num_tiles == 3
        errors[word] = np.abs(image - picture)[holes].mean()
    assert errors["auto"] < 0.6 * errors["none"]


@pytest.mark.parametrize("factor", [1, 2])
def test_an_image_larger_than_a_tile_is_put_back_in_tiles(factor, monkeypatch):
    rows, columns = np.linspace(0.2, 0.8, 32)[:, None], np.linspace(0, 9, 112)
    picture = (rows + 0.1 * np.sin(columns))[..., None].astype(np.float32)
    known = np.random.default_rng(0).random((32, 112)) > 0.5
    small = np.asarray(Downsample(factor)(picture))
    data = problem.super_resolution(small, factor) if factor > 1 else problem.inpainting(picture, known)
    estimates = (picture - 0.05 * rows[..., None])[None].astype(np.float32)
    monkeypatch.setattr(tiling, "_SIDES", (48,))
    whole, parts = kriging.put_back(data, estimates), tiling.put_back(data, estimates)
    assert np.abs(parts - whole).max() > 0
    np.testing.assert_allclose(parts, whole, atol=4e-3)


def test_a_hole_larger_than_a_tile_and_an_odd_mosaic_are_put_back_too(monkeypatch):
    monkeypatch.setattr(tiling, "_SIDES", (48,))
    picture = random(8, 151, 1)
    data = problem.inpainting(picture, np.broadcast_to(np.arange(151) < 20, (8, 151)))
    estimates = np.zeros((1, 8, 151, 1), np.float32)
    made = tiling.put_back(data, estimates)
    np.testing.assert_allclose(made[0, :, :16], picture[:, :16], atol=0.05)
    np.testing.assert_array_equal(made[..., 50:, :], 0)
    raw = np.full((9, 151), 0.5, np.float32)
    made = tiling.put_back(instruments.demosaicing(raw, "RGGB"), np.zeros((1, 9, 151, 3), np.float32))
    np.testing.assert_allclose(made, 0.5, atol=0.01)


def test_tiles_that_were_not_finished_spoil_no_others():
    picture = np.add.outer(np.linspace(0, 0.5, 16), np.linspace(0, 0.5, 80)).astype(np.float32)
    holes = np.random.default_rng(0).random(picture.shape) > 0.7
    _, outcome = of(lambda *a, **k: dipjax.inpaint(*a, holes, tile=48, tile_overlap=24, range="full", **k), picture)
    images = np.array(outcome.result.images)
    images[..., 64:, :] = np.nan
    part = dataclasses.replace(outcome, result=dataclasses.replace(outcome.result, images=images))
    made, of_all = (restore.put_back(one.task, one.result.images, one.grid) for one in (part, outcome))
    np.testing.assert_array_equal(np.isfinite(made), np.isfinite(images))
    np.testing.assert_allclose(made[..., :20, :], of_all[..., :20, :], atol=1e-6)  # of the first tile alone


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_noise_beside_the_holes_is_seen(share):
    spread = np.random.default_rng(1).random((64, 64)) > share
    holes = spread if share else np.add.outer(np.arange(64) // 40, np.arange(64) // 40) == 0  # or one large one
    flat = np.full((64, 64, 1), 0.5, np.float32)
    noisy = flat + np.random.default_rng(2).normal(0, 0.1, flat.shape).astype(np.float32)
    found = [TASKS["inpaint"].build(np.where(holes[..., None], np.nan, picture)).noise() for picture in (flat, noisy)]
    assert found[0] == 0 and 0.05 < found[1] < 0.15


@pytest.mark.parametrize("farthest", [2.0, 0.6])
def test_noise_of_a_spectrum_is_that_of_its_farthest_samples(farthest):
    random = np.random.default_rng(0)
    noise = (random.normal(0, 1, (64, 64)) + 1j * random.normal(0, 1, (64, 64))) / np.sqrt(2)
    noise *= np.hypot(*np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))) < farthest
    noise[32, 32] += 300
    task = TASKS["mri"].build(parts(noise.astype(np.complex64)))
    scale = np.abs(task.problem.measurement[32, 36, 0] / noise[32, 36])  # of the units, which are those of the result
    assert task.noise() == pytest.approx(scale, rel=0.1)
