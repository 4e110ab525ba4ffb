"""The command line, end to end, on small files and with a tiny network; whole processes where signals or imports are meant."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from functools import cache, partial
from pathlib import Path

import imagecodecs
import jax
import numpy as np
import pytest
import tifffile
from flax import linen as nn
from PIL import Image

import dipjax
from dipjax.app import cli, doctor, progress
from dipjax.core.loop import Recipe
from dipjax.files import images
from dipjax.fitting import inputs, optimizers
from dipjax.recipes import fast as recipes

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 20, 3), dtype=np.uint8)
GRAY = RGB[..., 0]
RGB16 = RNG.integers(0, 65536, (24, 20, 3), dtype=np.uint16)
ALPHA = RNG.integers(0, 256, (24, 20, 1), dtype=np.uint8)
HOLE = np.zeros((24, 20), np.uint8)
HOLE[4:9, 5:12] = 255
REPOSITORY = Path(__file__).parents[1]
DENOISE = ("denoise", "photo.png")
SHORT = ("--seeds", "2", "--steps", "2")


class Pixelwise(nn.Module):
    """The smallest generator there is: it compiles in a second where a real network takes ten."""

    channels: int

    @nn.compact
    def __call__(self, z):
        return nn.sigmoid(nn.Dense(self.channels)(z))


@cache
def tiny(channels=3, *, num_steps=3, schedule=optimizers.constant, rate=0.01):
    optimizer = optimizers.adam(rate, num_steps, schedule)
    return Recipe(Pixelwise(channels), inputs.noise(2), num_steps, optimizer)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the usual files, a tiny recipe for every task, and nobody else's settings."""
    monkeypatch.chdir(tmp_path)
    for table in (recipes.FAST, recipes.PAPER):
        for task in table:
            monkeypatch.setitem(table, task, tiny)
    Image.fromarray(RGB).save("photo.png")
    Image.fromarray(RGB[::-1]).save("clean.png")
    Image.fromarray(HOLE).save("mask.png")
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs a command line; returns its exit code and what it printed, and sees to it that an error is one sentence."""

    def run(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        if code:
            sentences = [line for line in err.splitlines() if line.startswith("dipjax: error: ")]
            assert len(sentences) == 1, err
        assert "Traceback" not in err, err
        return code, out, err

    return run


def process(*arguments, **options):
    command = [sys.executable, "-m", "dipjax", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes | options)


def names():
    return sorted(path.name for path in Path().iterdir())


def pixels(path):
    return np.asarray(Image.open(path))


def palette_png(path):
    Image.fromarray(RGB).quantize(16).save(path)


def rotated_jpeg(path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(RGB).save(path, exif=tags)


def pillow(array, path):
    Image.fromarray(array).save(path)


def png16(array, path):
    Path(path).write_bytes(imagecodecs.png_encode(np.ascontiguousarray(array)))


def tiff(array, path):
    tifffile.imwrite(path, array, photometric="rgb" if array.ndim == 3 else "minisblack")


FILES = {  # suffix, how the file is made, shape and type of the result
    "png gray": (".png", partial(pillow, GRAY), (24, 20, 1), "uint8"),
    "png rgb": (".png", partial(pillow, RGB), (24, 20, 3), "uint8"),
    "png rgba": (".png", partial(pillow, np.concatenate([RGB, ALPHA], -1)), (24, 20, 3), "uint8"),
    "png palette": (".png", palette_png, (24, 20, 3), "uint8"),
    "png gray 16": (".png", partial(png16, RGB16[..., 0]), (24, 20, 1), "uint16"),
    "png rgb 16": (".png", partial(png16, RGB16), (24, 20, 3), "uint16"),
    "jpeg rotated": (".jpg", rotated_jpeg, (20, 24, 3), "uint8"),
    "webp": (".webp", partial(pillow, RGB), (24, 20, 3), "uint8"),
    "bmp": (".bmp", partial(pillow, RGB), (24, 20, 3), "uint8"),
    "tiff 8": (".tiff", partial(tiff, RGB), (24, 20, 3), "uint8"),
    "tiff 16": (".tif", partial(tiff, RGB16), (24, 20, 3), "uint16"),
    "tiff gray 16": (".tif", partial(tiff, RGB16[..., 0]), (24, 20, 1), "uint16"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_comes_back_with_its_size_depth_colours_and_alpha(run, name):
    suffix, make, shape, dtype = FILES[name]
    make(f"in{suffix}")
    code, out, _ = run("denoise", f"in{suffix}", *SHORT)
    assert code == 0
    assert f"wrote in.denoised{suffix}" in out
    before, after = images.load(f"in{suffix}"), images.load(f"in.denoised{suffix}")
    assert (after.pixels.shape, after.dtype, after.file_format) == (shape, np.dtype(dtype), before.file_format)
    np.testing.assert_array_equal(before.alpha, after.alpha)
    assert not np.array_equal(before.pixels, after.pixels)


def test_what_is_changed_in_reading_is_said(run):
    rotated_jpeg("in.jpg")
    assert "dipjax: note: in.jpg: rotated" in run("denoise", "in.jpg", *SHORT)[2]


def test_the_pictures_that_come_out_of_the_command_and_of_the_function_are_equal(run):
    assert run(*DENOISE, *SHORT, "--rng", 3)[0] == 0
    restored = dipjax.denoise(RGB, seeds=2, num_iter=2, rng=3)
    np.testing.assert_array_equal(pixels("photo.denoised.png"), np.rint(restored * 255).astype(np.uint8))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--recipe", "paper"),
        ("--batching", "vmap"),
        ("--batching", "map"),
        ("--schedule", "cosine", "--steps", "3"),
        ("--schedule", "constant"),
        ("--seeds", "1"),
        ("--budget", "1e9"),
    ],
)
def test_every_option_is_understood(run, arguments):
    assert run(*DENOISE, "--steps", "2", "--seeds", "2", *arguments)[0] == 0
    assert pixels("photo.denoised.png").shape == RGB.shape


def test_a_generator_with_options_restores_and_is_recorded(run):
    chosen = ("--generator", "deep-decoder", "--option", "width=4", "--option", "num_doublings=2", "--option", "upsample=nearest")
    assert run(*DENOISE, *SHORT, *chosen, "--json", "record.json")[0] == 0
    assert pixels("photo.denoised.png").shape == RGB.shape
    recipe = json.loads(Path("record.json").read_text())["recipe"]
    assert recipe["name"] == "for_generator(deep-decoder)"
    assert (recipe["generator"]["type"], recipe["generator"]["width"]) == ("DeepDecoder", 4)
    assert recipe["generator"]["upsample"] == "dipjax.generators.blocks.nearest"


def test_a_flash_picture_guides_and_must_have_the_same_size(run):
    assert run("flash", "photo.png", "--flash", "clean.png", *SHORT)[0] == 0
    assert pixels("photo.merged.png").shape == RGB.shape
    Image.fromarray(RGB[:20]).save("smaller.png")
    code, _, err = run("flash", "photo.png", "--flash", "smaller.png", *SHORT, "-o", "other.png")
    assert code == 3
    assert "20 x 20" in err and "20 x 24" in err
    assert not Path("other.png").exists()
    assert run("flash", "photo.png", "--flash", "clean.png", *SHORT, "-o", "clean.png", "--force")[0] == 4
    np.testing.assert_array_equal(pixels("clean.png"), RGB[::-1])


def test_compression_artefacts_have_a_command(run):
    assert run("dejpeg", "photo.png", *SHORT)[0] == 0
    assert pixels("photo.cleaned.png").shape == RGB.shape


def test_options_that_contradict_each_other_are_an_error_of_the_input(run):
    assert run(*DENOISE, "--generator", "skip", "--option", "down=4,4")[0] == 3


def test_the_generators_are_listed_with_their_options(run):
    code, out, _ = run("generators")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(cli.GENERATORS)
    assert "num_layers=9" in out


def test_the_options_reach_the_computation(run):
    for name, options in {"plain": (), "rng": ("--rng", 1), "seeds": ("--seeds", 1), "steps": ("--steps", 1)}.items():
        assert run(*DENOISE, *SHORT, *options, "-o", f"{name}.png")[0] == 0
    results = [pixels(f"{name}.png").tobytes() for name in ("plain", "rng", "seeds", "steps")]
    assert len(set(results)) == 4


@pytest.mark.parametrize("arguments", [(), ("--mask-known",)])
def test_inpainting_leaves_the_known_pixels_as_they_were(run, arguments):
    code, out, err = run("inpaint", "photo.png", "--mask", "mask.png", *SHORT, *arguments)
    kept = (HOLE == 0) ^ bool(arguments)
    restored = pixels("photo.inpainted.png")
    assert code == 0
    assert "wrote photo.inpainted.png" in out
    np.testing.assert_array_equal(restored[kept], RGB[kept])
    assert not np.array_equal(restored[~kept], RGB[~kept])
    assert ("will be filled in" in err) == bool(arguments)


@pytest.mark.parametrize("kernel", ["lanczos2", "lanczos3", "bicubic", "box"])
def test_superres_enlarges_picture_and_transparency_with_every_kernel(run, kernel):
    pillow(np.concatenate([RGB, ALPHA], -1)[:8, :7], "small.png")
    assert run("superres", "small.png", "--factor", "2", "--kernel", kernel, *SHORT)[0] == 0
    assert pixels("small.x2.png").shape == (16, 14, 4)


def test_superres_enlarges_four_times_unless_told_otherwise(run):
    pillow(GRAY[:6, :5], "small.png")
    assert run("superres", "small.png", *SHORT)[0] == 0
    assert pixels("small.x4.png").shape == (24, 20)


@pytest.mark.parametrize(
    "blur",
    [
        ("--gaussian", "0.7"),
        ("--motion", "3", "-45"),
        ("--psf", "psf.txt"),
        ("--psf", "psf.txt", "--boundary", "circular"),
        ("--psf", "psf.txt", "--boundary", "valid"),
    ],
)
def test_deblurring_keeps_the_size_for_every_blur_and_boundary(run, blur):
    np.savetxt("psf.txt", [[1, 2, 1, 0], [0, 1, 1, 1]])
    assert run("deblur", "photo.png", *blur, *SHORT, "--reference", "clean.png", "--json", "record.json")[0] == 0
    assert pixels("photo.deblurred.png").shape == RGB.shape
    assert json.loads(Path("record.json").read_text())["metrics"]["ensemble"]["psnr"] > 0


def test_the_part_written_after_a_valid_blur_lies_where_the_picture_was():
    """For a kernel that moves nothing, though it is 5 x 4 pixels large, the blurred estimate is the estimate cut."""
    from dipjax.app import command

    psf = np.zeros((5, 4))
    psf[2, 2] = 1  # the centre
    np.save("psf.npy", psf)
    options = cli.parse(["deblur", "photo.png", "--psf", "psf.npy", "--boundary", "valid"])
    task = command._TASKS["deblur"](np.float32(RGB / 255), None, options)
    estimate = np.float32(RNG.random(task.problem.shape))
    np.testing.assert_allclose(task.finish(estimate), task.problem.operator(estimate), atol=1e-6)


RECORD = ("--reference", "clean.png", "--json", "record.json", "--plot", "figure.png", "--curve", "curve.csv")


def test_the_record_says_what_was_done_and_how_good_it_is(run):
    code, out, _ = run(*DENOISE, *SHORT, *RECORD, "--rng", 7)
    record = json.loads(Path("record.json").read_text(), parse_constant=pytest.fail)
    assert code == 0
    assert record["task"] == "denoise"
    assert record["command"].startswith("dipjax denoise photo.png --seeds 2")
    assert record["input"] == {"file": "photo.png", "width": 20, "height": 24}
    assert record["output"] == {"file": "photo.denoised.png", "width": 20, "height": 24, "channels": 3}
    assert (record["seeds"], record["dead_seeds"], record["rng"], record["steps"]) == (2, [], 7, 2)
    assert record["seconds"] > 0
    assert record["compile_seconds"] > 0
    assert record["versions"].keys() == {"python", "jax", "jaxlib", "flax", "optax", "dipjax", "numpy"}
    assert record["device"]["platform"] == jax.default_backend()
    assert record["recipe"]["generator"] == {"type": "Pixelwise", "channels": 3}
    assert record["recipe"]["num_steps"] == 2
    assert record["recipe"]["input"] == {"function": "dipjax.inputs.noise", "depth": 2, "scale": 0.1, "stride": 1, "grain": 1}
    scores = record["metrics"]
    assert len(scores["seeds"]) == 2
    written = pixels("photo.denoised.png") / 255
    assert scores["ensemble"]["psnr"] == pytest.approx(-10 * np.log10(np.mean((written - RGB[::-1] / 255) ** 2)), abs=0.01)
    assert scores["input"]["psnr"] == pytest.approx(-10 * np.log10(np.mean((RGB / 255 - RGB[::-1] / 255) ** 2)))
    assert f"{scores['ensemble']['psnr']:.2f} dB" in out
    assert f"{scores['ensemble']['ssim']:.3f}" in out


def test_superres_is_compared_with_the_enlargement_by_pillow(run):
    small = Image.fromarray(GRAY[:6, :5])
    small.save("small.png")
    pillow(GRAY, "truth.png")
    assert run("superres", "small.png", *SHORT, "--reference", "truth.png", "--json", "record.json")[0] == 0
    enlarged = np.asarray(small.resize((20, 24), Image.Resampling.BICUBIC)) / 255
    expected = -10 * np.log10(np.mean((enlarged - GRAY / 255) ** 2))
    assert json.loads(Path("record.json").read_text())["metrics"]["input"]["psnr"] == pytest.approx(expected, abs=0.01)


def test_a_number_that_is_not_finite_is_null_in_the_record(run):
    code, _, _ = run(*DENOISE, *SHORT, "--reference", "photo.png", "--json", "record.json")
    record = json.loads(Path("record.json").read_text(), parse_constant=pytest.fail)
    assert code == 0
    assert record["metrics"]["input"] == {"psnr": None, "ssim": pytest.approx(1)}


def test_the_curve_has_a_line_for_every_step_and_a_column_for_every_seed(run):
    assert run(*DENOISE, *SHORT, *RECORD)[0] == 0
    lines = list(csv.reader(io.StringIO(Path("curve.csv").read_text())))
    assert lines[0] == ["step", *(f"{name}_{seed}" for name in ("loss", "psnr", "psnr_average") for seed in (0, 1))]
    assert [line[0] for line in lines[1:]] == ["1", "2"]
    assert np.isfinite(np.array(lines[1:], float)).all()
    assert run(*DENOISE, *SHORT, "--curve", "curve.csv", "--force")[0] == 0
    assert Path("curve.csv").read_text().splitlines()[0] == "step,loss_0,loss_1"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_figure_is_drawn_in_the_format_that_its_suffix_names(run, suffix):
    pillow(GRAY, "gray.png")
    assert run("denoise", "gray.png", *SHORT, "--plot", f"figure.{suffix}")[0] == 0
    head = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert Path(f"figure.{suffix}").read_bytes().startswith(head)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("enlarge", "photo.png"),
        ("denoise",),
        (*DENOISE, "--seeds", "0"),
        (*DENOISE, "--seeds", "two"),
        (*DENOISE, "--steps", "0"),
        (*DENOISE, "--steps", "1.5"),
        (*DENOISE, "--budget", "0"),
        (*DENOISE, "--budget", "nan"),
        (*DENOISE, "--rng", "-1"),
        (*DENOISE, "--generator", "gan"),
        (*DENOISE, "--generator", "skip", "--recipe", "fast"),
        (*DENOISE, "--generator", "skip", "--option", "width=3"),
        (*DENOISE, "--generator", "plain", "--option", "width=x"),
        (*DENOISE, "--option", "width=3"),
        ("flash", "photo.png"),
        ("flash", "photo.png", "--flash", "clean.png", "--generator", "unet"),
        (*DENOISE, "--recipe", "slow"),
        (*DENOISE, "--batching", "scan"),
        (*DENOISE, "--schedule", "linear"),
        ("inpaint", "photo.png"),
        ("superres", "photo.png", "--factor", "1"),
        ("superres", "photo.png", "--factor", "2.5"),
        ("superres", "photo.png", "--kernel", "nearest"),
        ("deblur", "photo.png"),
        ("deblur", "photo.png", "--gaussian", "0"),
        ("deblur", "photo.png", "--gaussian", "1", "--motion", "3", "0"),
        ("deblur", "photo.png", "--motion", "0", "0"),
        ("deblur", "photo.png", "--motion", "3"),
        ("deblur", "photo.png", "--gaussian", "1", "--boundary", "zero"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run, arguments):
    before = names()
    assert run(*arguments)[0] == 2
    assert names() == before


def write_bad_inputs():
    Path("text.png").write_text("not a picture")
    Path("empty.png").touch()
    Path("short.png").write_bytes(Path("photo.png").read_bytes()[:600])
    Path("folder.png").mkdir()
    pillow(RGB[:9], "small.png")
    pillow(HOLE * 0, "black.png")
    pillow(HOLE * 0 + 255, "white.png")
    pillow(GRAY, "gray.png")
    np.savetxt("zero.txt", np.zeros((3, 3)))
    np.savetxt("large.txt", np.ones((3, 33)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("denoise", "missing.png"),
        ("denoise", "text.png"),
        ("denoise", "empty.png"),
        ("denoise", "short.png"),
        ("denoise", "folder.png"),
        (*DENOISE, "--reference", "missing.png"),
        (*DENOISE, "--reference", "small.png"),
        (*DENOISE, "--reference", "gray.png"),
        ("superres", "photo.png", "--reference", "clean.png"),
        ("superres", "photo.png", "--factor", "100000"),
        ("inpaint", "photo.png", "--mask", "small.png"),
        ("inpaint", "photo.png", "--mask", "text.png"),
        ("inpaint", "photo.png", "--mask", "white.png"),
        ("inpaint", "photo.png", "--mask", "black.png"),
        ("inpaint", "photo.png", "--mask", "black.png", "--mask-known"),
        ("deblur", "photo.png", "--psf", "missing.npy"),
        ("deblur", "photo.png", "--psf", "zero.txt"),
        ("deblur", "photo.png", "--psf", "large.txt"),
        ("deblur", "photo.png", "--gaussian", "1e9"),
        ("deblur", "photo.png", "--motion", "1e9", "0"),
    ],
)
def test_an_input_that_cannot_be_used_is_exit_code_3(run, arguments):
    write_bad_inputs()
    before = names()
    assert run(*arguments, *SHORT)[0] == 3
    assert names() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "photo.png"),
        ("-o", "folder"),
        ("-o", "folder.png"),
        ("-o", "missing/out.png"),
        ("-o", "out.gif"),
        ("--json", "clean.png"),
        ("--json", "missing/record.json"),
        ("--plot", "clean.png"),
        ("--plot", "figure.txt"),
        ("--curve", "clean.png"),
        ("--curve", "folder.png"),
        ("--json", "same", "--curve", "same"),
        ("--json", "same.png", "-o", "same.png"),
        ("--json", "photo.png", "--force"),
        ("--reference", "clean.png", "-o", "clean.png", "--force"),
    ],
)
def test_an_output_that_cannot_be_written_is_exit_code_4_before_anything_is_computed(run, arguments, monkeypatch):
    monkeypatch.setattr("dipjax.progress.follow", pytest.fail)
    Path("folder.png").mkdir()
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert run(*DENOISE, *SHORT, *arguments)[0] == 4
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_a_format_that_cannot_hold_the_depth_of_the_input_is_refused(run):
    png16(RGB16, "deep.png")
    code, _, err = run("denoise", "deep.png", "-o", "deep.jpg", *SHORT)
    assert code == 4
    assert ".png or .tif" in err


def test_force_replaces_every_output(run):
    outputs = ("photo.denoised.png", "record.json", "figure.png", "curve.csv")
    for name in outputs:
        Path(name).write_text("old")
    assert run(*DENOISE, *SHORT, *RECORD)[0] == 4
    assert run(*DENOISE, *SHORT, *RECORD, "--force")[0] == 0
    assert "old" not in [Path(name).read_text(errors="replace") for name in outputs]
    assert names() == sorted([*outputs, "photo.png", "clean.png", "mask.png"])


def test_a_result_that_cannot_be_written_in_the_end_is_put_elsewhere(run, tmp_path, monkeypatch):
    monkeypatch.setattr("dipjax.command._check_outputs", lambda *arguments: None)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str((tmp_path / prefix).mkdir() or tmp_path / prefix))
    code, _, err = run(*DENOISE, *SHORT, "-o", "missing/out.png")
    assert code == 4
    assert "instead" in err
    assert pixels("dipjax-/out.png").shape == RGB.shape


def test_all_seeds_diverged_is_exit_code_5_and_writes_nothing(run, monkeypatch):
    def diverging(channels, *, num_steps):
        return tiny(channels, num_steps=num_steps, rate=float("nan"))

    monkeypatch.setitem(recipes.FAST, "denoise", diverging)
    before = names()
    code, _, err = run(*DENOISE, *SHORT, "--recipe", "fast")
    assert code == 5
    assert "2 seeds diverged" in err
    assert names() == before


def test_a_seed_that_diverged_is_left_out_and_reported(run, monkeypatch):
    from dipjax.core import loop as train

    real = train.iterate

    def iterate(*arguments, **options):
        for result in real(*arguments, **options):
            alive = np.array([False, True])
            average = np.where(alive[:, None, None, None], result.state.average, np.nan)
            yield result._replace(state=result.state._replace(alive=alive, average=average))

    monkeypatch.setattr(train, "iterate", iterate)
    code, out, _ = run(*DENOISE, *SHORT, "--json", "record.json", "--plot", "figure.png")
    assert code == 0
    assert "1 of 2 seeds alive" in out
    assert json.loads(Path("record.json").read_text())["dead_seeds"] == [0]


def test_the_budget_ends_the_work_early_with_exit_code_0(run):
    start = time.perf_counter()
    code, out, _ = run(*DENOISE, "--seeds", "1", "--steps", "1000000", "--budget", "0.5", "--json", "record.json")
    assert code == 0
    assert time.perf_counter() - start < 30
    assert "--budget" in out
    assert 1 <= json.loads(Path("record.json").read_text())["steps"] < 1000000


def test_an_unexpected_error_is_one_sentence_and_its_traceback_only_for_debug(run, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise RuntimeError("the machine\nis on fire")

    monkeypatch.setattr("dipjax.train.iterate", fail)
    code, _, err = run(*DENOISE, *SHORT)
    assert (code, err.splitlines()[-1]) == (1, "dipjax: error: RuntimeError: the machine is on fire (--debug shows where)")
    assert cli.main([*DENOISE, *SHORT, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_too_little_memory_is_said_with_advice(run, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")
        yield

    monkeypatch.setattr("dipjax.train.iterate", fail)
    code, _, err = run(*DENOISE, *SHORT)
    assert code == 1
    assert "not enough memory" in err


def test_lines_on_stderr_tell_of_compilation_and_steps(run):
    _, out, err = run(*DENOISE, *SHORT, "--reference", "clean.png")
    lines = err.splitlines()
    assert lines[0].startswith("compiling")
    assert any(line.startswith("compiled in") for line in lines)
    assert lines[-1].startswith("step 2/2, loss 0.")
    assert all(word in lines[-1] for word in ("PSNR", "steps/s", "left"))
    assert "step 2/2" not in out


def test_a_slow_step_is_told_once(capsys):
    metrics = (np.full((1, 9), 0.5),) * 3
    step = progress.Snapshot(np.zeros((1, 2, 2, 1)), np.array([True]), metrics, 3, seconds=1.0, compile_seconds=1.0)
    with progress._lines(9, None, progress._describer(None)) as show:
        show(None, 0.0)
        show(step._replace(num_steps=0), 4.0)
        for seconds in (10.0, 20.0, 30.0):
            show(step, seconds)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["compiling", "compiled in 1.0 s", "step 3/9"]


def test_a_bar_in_a_terminal_shows_step_loss_psnr_speed_and_time_left(run, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    code, _, err = run(*DENOISE, "--steps", "500", "--seeds", "1", "--reference", "clean.png")
    assert code == 0
    assert all(word in err for word in ("compiling", "step ", "loss", "PSNR", "steps/s", "left"))


def test_help_and_version_do_not_wait_for_jax():
    for option in ("--help", "--version"):
        script = f"import sys; from dipjax import cli\ntry: cli.main(['{option}'])\nfinally: print('jax' in sys.modules)"
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False"
        assert time.perf_counter() - start < 2  # 0.1 s on a quiet machine


def test_the_version_is_that_of_the_package(run):
    assert run("--version")[:2] == (0, f"dipjax {dipjax.__version__}\n")


@pytest.mark.parametrize("task", ["denoise", "inpaint", "superres", "deblur", "demo", "doctor"])
def test_every_command_has_help(run, task):
    code, out, _ = run(task, "--help")
    assert code == 0
    assert out.startswith(f"usage: dipjax {task}")


SLOW_START = """
import sys, time
from dipjax.app import cli
from dipjax.recipes import fast as recipes
from dipjax.core import loop as train
sys.path.insert(0, {tests!r})
import test_cli
for task in recipes.FAST:
    recipes.FAST[task] = test_cli.tiny
{patch}
sys.exit(cli.main(sys.argv[1:]))
"""
COMPILE_FOR_EVER = """
def iterate(*arguments, **options):
    time.sleep(1000)
    yield
train.iterate = iterate
"""


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("compiling", [False, True])
def test_an_interruption_ends_at_once_and_writes_the_best_so_far(number, expected, compiling):
    script = SLOW_START.format(tests=str(Path(__file__).parent), patch=COMPILE_FOR_EVER if compiling else "")
    command = [sys.executable, "-c", script, *DENOISE, "--recipe", "fast", "--steps", "1000000", "--seeds", "1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as child:
        for line in child.stderr:
            if line.startswith("compiling" if compiling else "compiled"):
                break
        time.sleep(0.5 if compiling else 1.5)  # time for a few steps
        start = time.perf_counter()
        child.send_signal(number)
        out, err = child.communicate(timeout=20)
        seconds = time.perf_counter() - start
    assert child.returncode == expected, err
    assert seconds < 2
    assert "Traceback" not in err
    if compiling:
        assert "nothing is written" in err
        assert not Path("photo.denoised.png").exists()
    else:
        assert "wrote photo.denoised.png" in out
        assert "interrupted" in out
        assert pixels("photo.denoised.png").shape == RGB.shape
    assert not list(Path().glob(".dipjax*"))


def test_python_m_dipjax_is_the_same_command():
    done = process("--version")
    assert done.communicate()[0] == f"dipjax {dipjax.__version__}\n"
    assert done.returncode == 0


def test_doctor_finds_nothing_wrong_here(run):
    code, out, _ = run("doctor")
    assert code == 0
    assert all(word in out for word in ("python", "jaxlib", "optax", "pillow", "device", "free", "defaults", "a gradient is right"))


def test_doctor_says_when_jax_cannot_compute(run, monkeypatch, capsys):
    monkeypatch.setattr("jax.devices", lambda: 1 / 0)
    assert cli.main(["doctor"]) == 1
    assert "the test computation failed: ZeroDivisionError" in capsys.readouterr().out


def test_doctor_warns_of_a_plugin_that_does_not_match_and_of_an_old_pillow(monkeypatch, run):
    versions = {"jax-cuda12-plugin": "0.1.0", "pillow": "11.0.0", "jax-cuda13-plugin": None}
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, real(name)))
    monkeypatch.setenv("JAX_DIPJAX_TEST", "on")
    _, out, _ = run("doctor")
    assert "WARNING   jax-cuda12-plugin 0.1.0 does not match jaxlib" in out
    assert "WARNING   Pillow 11.0.0" in out
    assert "jax-cuda13" not in out
    assert "JAX_DIPJAX_TEST=on" in out


def test_an_option_is_never_guessed_from_its_beginning(capsys):
    with pytest.raises(SystemExit) as leaving:
        cli.parse(["denoise", "photo.png", "--seed", "42"])
    assert leaving.value.code == 2
    assert "--rng" in capsys.readouterr().err
