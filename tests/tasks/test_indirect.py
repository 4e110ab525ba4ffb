"""Tasks whose result is of another kind than what is given: a raw picture becomes one in colour, a sinogram a slice."""

import numpy as np
import pytest
from PIL import Image

import dipjax
from dipjax import app, files
from dipjax.operators import fourier, instruments, radon
from dipjax.recipes import Setting, by_name
from dipjax.tasks import ranges, tasks  # noqa: F401, which registers them
from dipjax.tasks.door import TASKS
from dipjax.tasks.ranges import Range
from tests.conftest import mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIDE = 24
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] - SIDE // 2
DISC = (np.hypot(ROWS - 2, COLUMNS + 3) < 6).astype(np.float32)
VIEWS = radon.views(10)
SUMS = np.asarray(radon.Radon(VIEWS, SIDE)(DISC[..., None]))[..., 0]
QUICK = ("--seeds", "1", "--steps", "2")


@pytest.fixture(autouse=True)
def quick_recipes(monkeypatch):
    for table in (by_name.FAST, by_name.PAPER):
        for name in ("inpaint", "ct", "mri"):
            monkeypatch.setitem(table, name, lambda channels: Setting(mixer_recipe(channels), 3))


@pytest.mark.parametrize("name", ["tomography", "mri"])
def test_a_linear_problem_is_brought_to_the_range_of_its_image(name):
    image, span = picture(8, 8), Range(-3.0, 5.0)
    wide = span.outside(image).astype(np.float32)
    if name == "tomography":
        task = instruments.tomography(np.asarray(radon.Radon(VIEWS, 9)(wide)), VIEWS, size=(8, 8))
    else:
        task = instruments.mri(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(wide[..., 0]), norm="ortho")), np.eye(8) < 1)
    found = ranges.brought(task, span)
    np.testing.assert_allclose(found.measurement, task.operator(image), atol=1e-4)


def test_conjugate_gradients_find_what_few_views_know():
    task = instruments.tomography(SUMS, VIEWS)
    found = instruments.least_squares(task)
    assert np.mean((found[..., 0] - DISC) ** 2) < 0.2 * DISC.var()
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(DISC), norm="ortho"))
    np.testing.assert_allclose(instruments.least_squares(instruments.mri(spectrum, np.ones((SIDE, SIDE))))[..., 0], DISC, atol=1e-5)


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e3])
def test_a_slice_has_the_units_of_the_sinogram_per_pixel(unit):
    one, outcome = dipjax.ct(SUMS * unit, VIEWS, seeds=1, return_result=True, truth=DISC * unit)
    assert one.shape == DISC.shape and outcome.task.span.high == pytest.approx(unit, rel=0.3)
    expected = dipjax.ct(SUMS * 1000, VIEWS, seeds=1, range=(1000 * outcome.task.span.low / unit, 1000 * outcome.task.span.high / unit))
    np.testing.assert_allclose(one / unit, expected / 1000, atol=0.01)
    assert outcome.scores["input"]["psnr"] > 12


def test_angles_are_an_array_or_a_first_and_a_last():
    one, other = (dipjax.ct(SUMS, angles, seeds=1) for angles in (VIEWS, (0, 180)))
    np.testing.assert_allclose(one, other, atol=1e-5)
    with pytest.raises(ValueError, match=r"^angles: found shape \(4,\), expected \(10,\)"):
        dipjax.ct(SUMS, VIEWS[:4])
    with pytest.raises(ValueError, match="^distance: found 3, expected a number above"):
        dipjax.ct(SUMS, VIEWS, 3)


def test_a_raw_picture_becomes_one_in_colour():
    assert dipjax.demosaic(picture(9, 8)[..., 0], "GBRG", seeds=1).shape == (9, 8, 3)
    assert dipjax.demosaic(picture(9, 8), seeds=1, truth=picture(9, 8, 3)).shape == (9, 8, 3)
    with pytest.raises(ValueError, match="^pattern: found 'RGB', expected one of RGGB"):
        dipjax.demosaic(picture(9, 8), "RGB")
    with pytest.raises(ValueError, match="^raw: found real numbers"):
        dipjax.demosaic(picture(9, 8, 3))


def test_the_command_line_demosaics(folder, capsys):
    Image.fromarray(np.uint8(255 * picture(20, 18)[..., 0])).save("raw.png")
    Image.fromarray(np.uint8(255 * picture(20, 18, 3))).save("clean.png")
    assert app.main(["demosaic", "raw.png", "--pattern", "BGGR", "--reference", "clean.png", *QUICK]) == 0
    with Image.open("raw.demosaiced.png") as made:
        assert made.mode == "RGB" and made.size == (18, 20)
    assert "PSNR" in capsys.readouterr().out
    Image.open("raw.png").save("other.png")
    assert app.main(["demosaic", "raw.png", "other.png", "-o", "out", *QUICK]) == 0
    assert files.load("out/other.png").pixels.shape == (20, 18, 3)


def test_the_command_line_reconstructs_a_slice(folder, capsys):
    np.save("sums.npy", SUMS)
    assert app.main(["ct", "sums.npy", "--angles", "0,180", *QUICK, "-o", "slice.tif", "--json", "r.json", "--plot", "f.png"]) == 0
    made = files.load("slice.tif")
    assert made.pixels.shape == (SIDE, SIDE, 1) and made.dtype == np.float32
    assert app.main(["ct", "sums.npy", "--distance", "90", *QUICK, "-o", "slice.png"]) == 4
    assert "PNG cannot hold float32 samples; use the suffix .tif" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        app.main(["ct", "sums.npy", "--angles", "180"])
    assert "expected two different numbers of degrees" in capsys.readouterr().err


PHASE = DISC * np.exp(1j * (ROWS / 9 + (COLUMNS / 12) ** 2))


def spectrum(image):
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


SAMPLES = spectrum(PHASE) * fourier.cartesian(DISC.shape, 2)
COILS = np.stack([np.exp(-(((ROWS - 9) / 20) ** 2)), 1j * np.exp(-(((ROWS + 9) / 20) ** 2))])


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e3])
def test_a_slice_has_the_units_of_its_spectrum(unit):
    piece, outcome = dipjax.mri((SAMPLES * unit).astype(np.complex64), seeds=2, return_result=True, truth=DISC * unit)
    assert piece.shape == DISC.shape and piece.dtype == np.float32 and (piece >= 0).all()
    zero_filled = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(SAMPLES), norm="ortho")))
    np.testing.assert_allclose(outcome.before[..., 0] / unit, zero_filled, atol=1e-3)
    assert outcome.task.span.high == pytest.approx(unit, rel=0.5) and outcome.task.span.low == 0
    np.testing.assert_allclose(piece / unit, dipjax.mri(SAMPLES.astype(np.complex64), seeds=2), atol=1e-3)
    mse = np.mean((outcome.before[..., 0] / outcome.task.span.high - DISC * unit / outcome.task.span.high) ** 2)
    assert outcome.scores["input"]["psnr"] == pytest.approx(-10 * np.log10(mse), abs=0.01)


def test_seeds_are_averaged_as_complex_images():
    _, outcome = dipjax.mri(SAMPLES, seeds=3, kriging="none", return_result=True)
    parts = (2 * outcome.result.images.mean(0) - 1) * outcome.task.span.high
    np.testing.assert_allclose(outcome.image[..., 0], np.hypot(parts[..., 0], parts[..., 1]), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_longer_run_finds_more_than_zeros(monkeypatch):
    monkeypatch.undo()  # the real recipe
    _, outcome = dipjax.mri(SAMPLES, seeds=1, num_iter=150, return_result=True, truth=DISC)
    assert outcome.scores["ensemble"]["psnr"] > outcome.scores["input"]["psnr"] + 2


def test_the_error_of_a_magnitude_has_the_shape_and_the_units_of_the_slice():
    for unit in (1.0, 50.0):
        _, outcome = dipjax.mri(SAMPLES * unit, seeds=2, num_iter=30, stop="held-out", return_result=True)
        std = outcome.uncertainty / unit
        assert std.shape == (SIDE, SIDE, 1) and 0.01 < np.sqrt(np.mean(std**2)) < 1


def test_several_coils_need_their_maps():
    samples = spectrum(PHASE * COILS) * fourier.cartesian(DISC.shape, 2)
    piece, outcome = dipjax.mri(samples, COILS, seeds=1, return_result=True)
    assert piece.shape == DISC.shape
    assert np.mean((outcome.before[..., 0] - DISC) ** 2) < 0.2 * DISC.var()
    assert outcome.residual.values.shape == (SIDE, SIDE, 4)
    for call, sentence in (
        (lambda: dipjax.mri(samples), r"^kspace: found shape \(2, 24, 24\), expected \(H, W\), or \(K, H, W\) together"),
        (lambda: dipjax.mri(samples, COILS[:1]), r"^coils: found shape \(1, 24, 24\), expected \(2, 24, 24\)"),
        (lambda: dipjax.mri(samples, DISC), "^coils: found float32 numbers of shape .* expected complex ones"),
        (lambda: dipjax.mri(DISC), "^kspace: found 1 channels of real numbers, expected complex ones"),
        (lambda: dipjax.mri(0 * samples, COILS), "^mask: found no sample"),
        (lambda: dipjax.mri(samples, COILS, range="full"), "^range: found 'full', expected auto"),
        (lambda: dipjax.denoise(samples[0]), "^image has dtype complex128, expected real numbers"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_the_command_line_reads_a_spectrum(folder, capsys):
    np.save("k.npy", SAMPLES.astype(np.complex64))
    np.save("two.npy", spectrum(PHASE * COILS))
    np.save("coils.npy", COILS)
    Image.fromarray(np.uint8(255 * DISC)).save("clean.png")
    words = ("--json", "r.json", "--plot", "f.png", "--report", "r.html", "--reference", "clean.png")
    assert app.main(["mri", "k.npy", *QUICK, "-o", "slice.tif", *words]) == 0
    made = files.load("slice.tif")
    assert made.pixels.shape == (SIDE, SIDE, 1) and made.dtype == np.float32
    assert "PSNR" in capsys.readouterr().out
    assert app.main(["mri", "two.npy", "--coils", "coils.npy", *QUICK, "-o", "slice.npy"]) == 0
    assert np.load("slice.npy").shape == (SIDE, SIDE)
    assert app.main(["mri", "two.npy", *QUICK, "-o", "none.npy"]) == 3
    assert "together with `coils`" in capsys.readouterr().err
    assert app.main(["mri", "k.npy", "k.npy", "-o", "many", *QUICK]) == 0 and (folder / "many/k.npy").exists()
    np.save("odd.npy", np.zeros((3, 4, 5, 6), np.complex64))
    assert app.main(["mri", "odd.npy"]) == 3
    assert "expected (H, W) or (K, H, W), as of K coils" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("angles", "expected"),
    [((0.0, 180.0), [0, 90]), ([0.0, 90.0], [0, 90]), (np.array([0.0, 180.0]), [0, 180]), ((10.0, 20.0, 40.0), [10, 20, 40])],
)
def test_two_views_are_first_and_last_as_a_tuple_and_themselves_as_an_array(angles, expected):
    task = TASKS["ct"].build(np.ones((8, len(expected), 1), np.float32), angles)
    np.testing.assert_allclose(task.problem.operator.angles, expected)
