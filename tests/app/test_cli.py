"""The command line, end to end, on small files and with a tiny network."""

import csv
import dataclasses
import importlib
import io
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import imagecodecs
import jax
import numpy as np
import optax
import pytest
import tifffile
from PIL import Image

import dipjax
from dipjax import files, uncertainty
from dipjax.app import cli, doctor, main
from dipjax.core import rule
from dipjax.generators import registry
from dipjax.large import tiling
from dipjax.stopping import HeldOut
from dipjax.tasks.door import TASKS
from tests.app.conftest import ALPHA, GAINED, HOLE, RGB, RGB16, flow, tiny
from tests.app.processes import DENOISE as WHOLE
from tests.app.processes import dipjax as process
from tests.app.processes import environment
from tests.conftest import mixer_recipe

pytestmark = pytest.mark.usefixtures("folder", "quick_compilation")
GRAY = RGB[..., 0]
REPOSITORY = Path(__file__).parents[2]
DENOISE = ("denoise", "photo.png")
SHORT = ("--seeds", "2", "--steps", "2")
SIREN = ("--generator", "siren", "--option", "width=8", "--option", "num_layers=2")


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
    before, after = files.load(f"in{suffix}"), files.load(f"in.denoised{suffix}")
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
    record = json.loads(Path("record.json").read_text())
    assert record["recipe_name"] == "for_generator(deep-decoder)"
    generator = record["recipe"]["generator"]
    assert (generator["type"].rpartition(":")[2], generator["width"]) == ("DeepDecoder", 4)
    assert generator["upsample"] == {"function": "dipjax.generators.blocks:nearest"}


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


def test_options_that_contradict_each_other_are_refused(run):
    assert run(*DENOISE, "--generator", "skip", "--option", "down=4,4")[0] == 3


def test_the_generators_are_listed_with_their_options(run):
    code, out, _ = run("generators")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(registry.GENERATORS)
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
    assert ("wrong way round" in err) == bool(arguments)


@pytest.mark.parametrize("kernel", ["lanczos2", "lanczos3", "bicubic", "box"])
@pytest.mark.slow
def test_superres_enlarges_picture_and_transparency_with_every_kernel(run, kernel):
    pillow(np.concatenate([RGB, ALPHA], -1)[:8, :7], "small.png")
    assert run("superres", "small.png", "--factor", "2", "--kernel", kernel, *SHORT)[0] == 0
    assert pixels("small.x2.png").shape == (16, 14, 4)


def test_superres_enlarges_four_times_unless_told_otherwise(run):
    pillow(GRAY[:6, :5], "small.png")
    assert run("superres", "small.png", *SHORT)[0] == 0
    assert pixels("small.x4.png").shape == (24, 20)


def test_what_is_nan_in_a_picture_is_filled_in_without_a_mask(folder, run):
    pixels = np.random.default_rng(0).random((24, 20), np.float32)
    holes = pixels < 0.2
    np.save("holes.npy", np.where(holes, np.nan, pixels))
    code, _, err = run("inpaint", "holes.npy", "-o", "filled.npy", *SHORT)
    assert code == 0, err
    filled = np.load("filled.npy")
    assert np.isfinite(filled).all() and (filled[~holes] == pixels[~holes]).all()


@pytest.mark.parametrize(("factor", "size", "name"), [("1.5", (30, 36), "x1.5"), ("5/2", (50, 60), "x2.5"), ("1", (20, 24), "x1")])
@pytest.mark.slow
def test_any_factor_from_one_enlarges(factor, size, name, folder, run):
    code, _, err = run("superres", "photo.png", "--factor", factor, *SHORT)
    assert code == 0, err
    with Image.open(f"photo.{name}.png") as picture:
        assert picture.size == size


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
@pytest.mark.slow
def test_deblurring_keeps_the_size_for_every_blur_and_boundary(run, blur):
    np.savetxt("psf.txt", [[1, 2, 1, 0], [0, 1, 1, 1]])
    assert run("deblur", "photo.png", *blur, *SHORT, "--reference", "clean.png", "--json", "record.json")[0] == 0
    assert pixels("photo.deblurred.png").shape == RGB.shape
    assert json.loads(Path("record.json").read_text())["metrics"]["ensemble"]["psnr"] > 0


def test_a_blur_that_is_not_known_is_found_and_can_be_given_again(run):
    how = ("deblur", "photo.png", "--unknown", 3, "--found", "psf.png", "--report", "page.html")
    assert run(*how, *SHORT)[0] == 0
    assert pixels("photo.deblurred.png").shape == RGB.shape
    assert "The blur that was found" in Path("page.html").read_text()
    np.testing.assert_allclose(files.load_psf("psf.png").sum(), 1, rtol=1e-5)
    assert files.load_psf("psf.png").shape == (3, 3)
    assert run("deblur", "photo.png", "--psf", "psf.png", "-o", "again.png", *SHORT)[0] == 0


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
    assert record["recipe"]["generator"] == {"type": "tests.conftest:Mixer", "channels": 3}
    assert record["recipe"] == json.loads(mixer_recipe(3, stopping=HeldOut(gain=0.04, fit=0)).to_json())
    assert record["steps_wanted"] == 2
    assert record["options"]["rng"] == 7
    assert record["range"]["found"] is False
    scores = record["metrics"]
    assert len(scores["seeds"]) == 2
    written = pixels("photo.denoised.png") / 255
    assert scores["ensemble"]["psnr"] == pytest.approx(-10 * np.log10(np.mean((written - RGB[::-1] / 255) ** 2)), abs=0.01)
    assert scores["input"]["psnr"] == pytest.approx(-10 * np.log10(np.mean((RGB / 255 - RGB[::-1] / 255) ** 2)))
    assert f"{scores['ensemble']['psnr']:.2f} dB" in out
    assert f"{scores['ensemble']['ssim']:.3f}" in out


def test_a_stopping_rule_is_in_the_record_the_curves_and_on_the_screen(run):
    code, out, _ = run(*DENOISE, "--seeds", 2, "--stop", "discrepancy", "--sigma", 1, *RECORD)
    record = json.loads(Path("record.json").read_text(), parse_constant=pytest.fail)
    assert code == 0
    assert record["ending"] == "stopped"
    score = record["stopping"].pop("best_score")
    assert record["stopping"] == {"rule": "Discrepancy", "stopped": [True, True], "steps": [1, 1], "best_steps": [1, 1]}
    assert record["recipe"]["stopping"]["sigma"] == 1
    table = Path("curve.csv").read_text().splitlines()
    assert table[0].endswith("score_0,score_1")
    assert [float(value) for value in table[1].split(",")[-2:]] == pytest.approx(score)
    assert "2 of 2 stopped by the rule, best after 1 steps" in out


@pytest.mark.parametrize("name", ["error.tif", "error.png"])
@pytest.mark.parametrize("picture", [RGB, GRAY], ids=["colour", "gray"])
@pytest.mark.slow
def test_how_sure_it_is_becomes_a_picture_and_a_scale(run, name, picture, monkeypatch):
    monkeypatch.setattr(flow.Outcome, "gained", GAINED)
    pillow(picture, "seen.png")
    code, out, _ = run("denoise", "seen.png", "--seeds", 2, "--uncertainty", name, "--json", "record.json", "--plot", "figure.png")
    told = json.loads(Path("record.json").read_text())["uncertainty"]
    assert code == 0
    assert f"wrote {name}" in out and f"estimated error {told['error']:.3g}, noise of the input {told['noise']:.3g}" in out
    assert told["file"] == name and isinstance(told["gained"], bool)
    if name.endswith("tif"):
        values = tifffile.imread(name)
        assert values.dtype == np.float32
    else:
        samples = imagecodecs.imread(name)
        assert samples.dtype == np.uint16 and samples.max() == 65535
        values = samples / 65535 * told["largest"]
    assert values.shape == picture.shape
    assert np.sqrt(np.mean(values.astype(float) ** 2)) == pytest.approx(told["error"], rel=1e-3)
    assert values.max() == pytest.approx(told["largest"], rel=1e-3)


NO_MAP = {
    "no rule": (*DENOISE, "--stop", "none"),
    "a rule that holds nothing out": (*DENOISE, "--stop", "wmv"),
    "a recipe with its own rule, none": (*DENOISE, "--recipe", "paper"),
    "a task without a rule": ("inpaint", "photo.png", "--mask", "mask.png"),
    "one seed": (*DENOISE, "--seeds", "1"),
    "a file with a recipe": (*DENOISE, "--recipe", "recipe.json"),
    "pages": ("denoise", "pages.tif"),
}


@pytest.mark.parametrize("name", NO_MAP)
def test_a_map_of_the_error_of_which_nothing_would_be_known_is_refused_before_the_work(run, monkeypatch, name):
    monkeypatch.setattr(tiling, "iterate", pytest.fail)
    setting = dipjax.recipes.for_generator(registry.make("siren", 3, ("width=8", "num_layers=2")))
    Path("recipe.json").write_text(setting.recipe.to_json())
    tifffile.imwrite("pages.tif", np.stack([GRAY, GRAY]), photometric="minisblack")
    before = names()
    more = ("--stop", "none") if name == "pages" else ()
    code, _, err = run(*NO_MAP[name], *more, "--uncertainty", "{}.error.tif", "--json", "record.json", "--checkpoint", "kept")
    assert code == 2
    assert ("--uncertainty: found 1 seed, expected at least 2" if name == "one seed" else "--uncertainty: found no rule that") in err
    assert names() == sorted(before)


def test_a_map_of_the_error_is_refused_of_many_pictures_with_the_first(run, monkeypatch):
    monkeypatch.setattr(tiling, "iterate", pytest.fail)
    how = ("denoise", "photo.png", "clean.png", "-o", "out", "--stop", "none", "--checkpoint", "kept")
    code, _, err = run(*how, "--uncertainty", "out/{}.std.tif")
    assert code == 2 and "--uncertainty: found no rule that" in err
    assert not list(Path("out").iterdir()) and not Path("kept").exists()  # the corrected command finds nothing in its way


def test_a_recipe_with_the_rule_in_its_file_has_a_map_of_the_error(run):
    setting = dipjax.recipes.for_generator(registry.make("siren", 3, ("width=8", "num_layers=2"))).changed(stopping=HeldOut())
    Path("recipe.json").write_text(setting.recipe.to_json())
    assert run(*DENOISE, *SHORT, "--recipe", "recipe.json", "--uncertainty", "error.tif")[0] == 0
    assert tifffile.imread("error.tif").shape == RGB.shape


def test_where_nothing_is_known_of_the_error_in_the_end_the_picture_is_written(run, monkeypatch):
    monkeypatch.setattr(uncertainty, "calibrated", lambda *arguments: None)  # as where all seeds but one diverged
    code, _, err = run(*DENOISE, *SHORT, "-o", "out.png", "--uncertainty", "error.tif", "--json", "record.json")
    assert code == 4
    assert "nothing is known of the error" in err
    assert Path("out.png").exists() and not Path("error.tif").exists()
    assert json.loads(Path("record.json").read_text())["uncertainty"] is None


def test_what_is_left_out_and_what_gained_nothing_is_said(run, monkeypatch):
    monkeypatch.setattr(flow.Outcome, "gained", GAINED)
    odd = np.array([False, False, True])
    found = uncertainty.Uncertainty(np.full(RGB.shape, 0.2, np.float32), 0.1)
    monkeypatch.setattr(rule, "disagreeing", lambda *arguments: odd)
    monkeypatch.setattr(uncertainty, "calibrated", lambda *arguments: found)
    code, out, _ = run(*DENOISE, "-o", "out.png", "--seeds", 3, "--json", "record.json", "--plot", "figure.png")
    record = json.loads(Path("record.json").read_text())
    assert code == 0
    assert record["left_out_seeds"] == [2] and record["uncertainty"]["gained"] is False
    assert "lies far from them: seed 2" in out
    assert "nothing was gained" in out
    np.testing.assert_array_equal(np.asarray(Image.open("out.png")), RGB)
    Image.fromarray(RGB).save("lossy.jpg")
    assert run("denoise", "lossy.jpg", "-o", "out.jpg", *SHORT)[0] == 0
    assert Path("out.jpg").read_bytes() == Path("lossy.jpg").read_bytes()  # to encode it anew would lose something
    assert run("denoise", "lossy.jpg", "-o", "bare.jpg", "--strip-metadata", *SHORT)[0] == 0
    assert Path("bare.jpg").read_bytes() != Path("lossy.jpg").read_bytes()


def test_superres_is_compared_with_the_enlargement_by_pillow(run):
    small = Image.fromarray(GRAY[:6, :5])
    small.save("small.png")
    pillow(GRAY, "truth.png")
    found = run("superres", "small.png", *SHORT, "--reference", "truth.png", "--json", "record.json", "--range", "full")
    assert found[0] == 0, found
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
    assert lines[0] == ["step", *(f"{name}_{seed}" for name in ("loss", "psnr", "psnr_average", "score") for seed in (0, 1))]
    assert [line[0] for line in lines[1:]] == ["1", "2"]
    assert np.isfinite(np.array(lines[1:], float)).all()
    assert run(*DENOISE, *SHORT, "--stop", "none", "--curve", "curve.csv", "--force")[0] == 0
    assert Path("curve.csv").read_text().splitlines()[0] == "step,loss_0,loss_1"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
@pytest.mark.slow
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
        (*DENOISE, "--rng", str(2**32)),
        (*DENOISE, "--seeds", "++3"),
        (*DENOISE, "--seeds", "1" * 40),
        (*DENOISE, "--steps", str(2**31)),
        (*DENOISE, "--range", "half"),
        (*DENOISE, "--range", "1,0"),
        (*DENOISE, "--range", "0,nan"),
        (*DENOISE, "--range", "0,1,2"),
        (*DENOISE, "--tile", "-1"),
        (*DENOISE, "--max-pixels", "0"),
        (*DENOISE, "-o", ""),
        (*DENOISE, "--json", ""),
        (*DENOISE, "--curve", " "),
        (*DENOISE, "--plot", "x.PNG/"),
        (*DENOISE, "--reference", ""),
        (*DENOISE, "--generator", ""),
        (*DENOISE, "--recipe", ""),
        ("denoise", ""),
        ("demo", "-o", ""),
        ("inpaint", "photo.png", "--mask", ""),
        ("inpaint", "photo.png", "--mask", "mask.png", "--grow", "-1"),
        ("deblur", "photo.png", "--psf", ""),
        (*DENOISE, "--generator", "skip", "--recipe", "fast"),
        (*DENOISE, "--option", "width=3"),
        ("flash", "photo.png"),
        (*DENOISE, "--batching", "scan"),
        ("superres", "photo.png", "--factor", "0.9"),
        ("superres", "photo.png", "--factor", "nan"),
        ("superres", "photo.png", "--kernel", "nearest"),
        ("deblur", "photo.png"),
        ("deblur", "photo.png", "--gaussian", "0"),
        ("deblur", "photo.png", "--unknown", "1"),
        ("deblur", "photo.png", "--unknown", "3.5"),
        ("deblur", "photo.png", "--unknown", "3", "--gaussian", "1"),
        ("deblur", "photo.png", "--gaussian", "1", "--found", "psf.png"),
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


@pytest.mark.parametrize("word", ["++3", "3.0", "three", ""])
def test_a_number_that_is_none_is_told_as_it_was_written(run, word):
    assert f"found {word!r}, expected a whole number from 1 to" in run(*DENOISE, "--seeds", word)[2]


def test_an_empty_name_is_told_with_its_likely_reason(run):
    assert "shell variable" in run(*DENOISE, "--json", "")[2]


def write_bad_inputs():
    Path("text.png").write_text("not a picture")
    Path("empty.png").touch()
    Path("text.json").write_text("{")
    Path("empty.json").touch()
    Path("list.json").write_text("[1, 2]")
    Path("evil.json").write_text(json.dumps({"recipe": {"type": "os:system"}, "options": 3}))
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
        (*DENOISE, "--generator", "gan"),
        (*DENOISE, "--generator", "skip", "--option", "width=3"),
        (*DENOISE, "--generator", "plain", "--option", "width=x"),
        ("flash", "photo.png", "--flash", "clean.png", "--generator", "unet"),
        (*DENOISE, "--recipe", "slow"),
        (*DENOISE, "--schedule", "linear"),
        (*DENOISE, "--loss", "l2"),
        (*DENOISE, "--loss", "huber:"),
        (*DENOISE, "--loss", "huber:x"),
        (*DENOISE, "--loss", "huber:-1"),
        (*DENOISE, "--loss", "poisson:0"),
        (*DENOISE, "--loss", "mse:1"),
    ],
)
def test_a_word_that_an_option_does_not_take_is_exit_code_2(run, arguments):
    before = names()
    assert run(*arguments, *SHORT)[0] == 2
    assert names() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("denoise", "missing.png"),
        ("denoise", "text.png"),
        ("denoise", "empty.png"),
        ("denoise", "short.png"),
        ("denoise", "folder.png"),
        (*DENOISE, "--recipe", "missing.json"),
        (*DENOISE, "--recipe", "text.json"),
        (*DENOISE, "--recipe", "empty.json"),
        (*DENOISE, "--recipe", "list.json"),
        (*DENOISE, "--recipe", "evil.json"),
        (*DENOISE, "--reference", "missing.png"),
        (*DENOISE, "--reference", "small.png"),
        (*DENOISE, "--reference", "gray.png"),
        ("superres", "photo.png", "--reference", "clean.png"),
        ("superres", "photo.png", "--factor", "100000"),
        ("inpaint", "photo.png"),
        ("inpaint", "photo.png", "--mask", "small.png"),
        ("inpaint", "photo.png", "--mask", "text.png"),
        ("inpaint", "photo.png", "--mask", "white.png"),
        ("inpaint", "photo.png", "--mask", "black.png"),
        ("inpaint", "photo.png", "--mask", "black.png", "--mask-known"),
        ("deblur", "photo.png", "--psf", "missing.npy"),
        ("deblur", "photo.png", "--psf", "zero.txt"),
        ("deblur", "photo.png", "--psf", "large.txt"),
        ("deblur", "photo.png", "--gaussian", "1e9"),
        ("deblur", "photo.png", "--unknown", "1000"),
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
        ("-o", "missing/out.png"),
        ("-o", "out.gif"),
        ("--json", "clean.png"),
        ("--json", "missing/record.json"),
        ("--plot", "clean.png"),
        ("--plot", "figure.txt"),
        ("--uncertainty", "error.jpg"),
        ("--curve", "clean.png"),
        ("--curve", "folder.png"),
        ("--json", "same", "--curve", "same"),
        ("--json", "same.png", "-o", "same.png"),
        ("--json", "photo.png", "--force"),
        ("--reference", "clean.png", "-o", "clean.png", "--force"),
    ],
)
def test_an_output_that_cannot_be_written_is_exit_code_4_before_anything_is_computed(run, arguments, monkeypatch):
    monkeypatch.setattr("dipjax.app.progress.follow", pytest.fail)
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
    monkeypatch.setattr("dipjax.app.command.check_outputs", lambda *arguments: None)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str((tmp_path / prefix).mkdir() or tmp_path / prefix))
    code, _, err = run(*DENOISE, *SHORT, "-o", "missing/out.png")
    assert code == 4
    assert "instead" in err
    assert pixels("dipjax-/out.png").shape == RGB.shape


def test_all_seeds_diverged_is_exit_code_5_and_writes_nothing(run, monkeypatch):
    diverging = dataclasses.replace(tiny(), recipe=mixer_recipe(3, optimizer=optax.sgd(np.inf)))
    monkeypatch.setitem(importlib.import_module("dipjax.recipes.by_name").FAST, "denoise", lambda channels: diverging)
    before = names()
    code, _, err = run(*DENOISE, *SHORT, "--recipe", "fast")
    assert code == 5
    assert "2 seeds diverged" in err
    assert names() == before


def test_a_seed_that_diverged_is_left_out_and_reported(run, monkeypatch):
    real = tiling.iterate

    def iterate(*arguments, **options):
        for result in real(*arguments, **options):
            yield dataclasses.replace(result, alive=np.array([False, True]))

    monkeypatch.setattr(tiling, "iterate", iterate)
    code, out, _ = run(*DENOISE, *SHORT, "--json", "record.json", "--plot", "figure.png")
    assert code == 0
    assert "1 of 2 seeds alive" in out
    assert json.loads(Path("record.json").read_text())["dead_seeds"] == [0]


def test_the_budget_ends_the_work_early_with_exit_code_0(run):
    start = time.perf_counter()
    code, out, _ = run(*DENOISE, "--seeds", "1", "--steps", "1000000000", "--stop", "none", "--budget", "0.5", "--json", "record.json")
    assert code == 0
    assert time.perf_counter() - start < 30
    assert "--budget" in out
    assert 1 <= json.loads(Path("record.json").read_text())["steps"] < 1000000000


def test_an_unexpected_error_is_one_sentence_and_its_traceback_only_for_debug(run, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise RuntimeError("the machine\nis on fire")

    monkeypatch.setattr(tiling, "iterate", fail)
    code, _, err = run(*DENOISE, *SHORT)
    assert (code, err.splitlines()[-1]) == (1, "dipjax: error: RuntimeError: the machine is on fire (--debug shows where)")
    assert main([*DENOISE, *SHORT, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_too_little_memory_is_said_with_advice(run, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")
        yield

    monkeypatch.setattr(tiling, "iterate", fail)
    code, _, err = run(*DENOISE, *SHORT)
    assert code == 1
    assert "not enough memory" in err


def test_lines_on_stderr_tell_of_compilation_and_steps(run):
    jax.clear_caches()  # what was compiled before may be there before the first look
    _, out, err = run(*DENOISE, *SHORT, "--reference", "clean.png")
    lines = err.splitlines()
    assert lines[0].startswith("compiling")
    assert any(line.startswith("compiled in") for line in lines)
    assert lines[-1].startswith("step 2/2, loss 0.")
    assert all(word in lines[-1] for word in ("PSNR", "steps/s", "left"))
    assert "step 2/2" not in out


def test_help_and_version_do_not_wait_for_jax():
    for option in ("--help", "--version"):
        script = f"import sys; from dipjax.app import main\ntry: main(['{option}'])\nfinally: print('jax' in sys.modules)"
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False"
        assert time.perf_counter() - start < 2  # 0.1 s on a quiet machine


def test_the_version_is_that_of_the_package(run):
    assert run("--version")[:2] == (0, f"dipjax {dipjax.__version__}\n")


@pytest.mark.parametrize("task", [*TASKS, "demo", "doctor", "generators"])
def test_every_command_has_help(run, task):
    code, out, _ = run(task, "--help")
    assert code == 0
    assert out.startswith(f"usage: dipjax {task}")


def test_python_m_dipjax_is_the_same_command():
    done = process("--version")
    assert done.communicate()[0] == f"dipjax {dipjax.__version__}\n"
    assert done.returncode == 0


def test_doctor_finds_nothing_wrong_here(run):
    code, out, _ = run("doctor")
    assert code == 0
    assert all(word in out for word in ("python", "jaxlib", "optax", "pillow", "device", "free", "defaults", "a gradient is right"))


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


@pytest.mark.parametrize(("words", "hint"), [
    (("denoize", "photo.png"), "did you mean denoise?"), (("photo.png",), "as in dipjax denoise photo.png"),
    (("denoise", "photo.png", "--stesp=3"), "did you mean --steps?"),
    (("nothing-like-it",), "no command 'nothing-like-it' (see dipjax --help)"),
])  # fmt: skip
def test_a_slip_of_the_pen_is_told_what_was_meant(run, words, hint):
    code, _, err = run(*words)
    assert code == 2 and hint in err


def tiff_floats(path, values):
    tifffile.imwrite(path, np.asarray(values, np.float32), photometric="minisblack")


def test_12_bits_in_16_are_told_recorded_and_come_back_as_12_bits(run):
    deep = np.uint16(4095 * (np.indices((24, 20)).sum(0) / 42))
    tiff(deep, "deep.tif")
    code, _, err = run("denoise", "deep.tif", *SHORT, "--json", "record.json")
    assert code == 0
    assert "dipjax: note: black and white are" in err
    assert tifffile.imread("deep.denoised.tif").max() < 1.2 * 4095
    span = json.loads(Path("record.json").read_text())["range"]
    assert span["found"] is True
    assert (span["low"], span["high"]) == (pytest.approx(0, abs=0.01), pytest.approx(4095 / 65535, abs=0.01))


@pytest.mark.parametrize(("word", "expected"), [("full", (0, 1)), ("0.25,0.5", (0.25, 0.5)), ("-1,1e3", (-1, 1000))])
def test_the_range_of_the_user_is_taken_and_recorded(run, word, expected):
    tiff(np.uint16(RGB16[..., 0] // 16), "deep.tif")
    code, _, err = run("denoise", "deep.tif", *SHORT, f"--range={word}", "--json", "record.json")
    assert (code, "black and white" in err) == (0, False)
    span = json.loads(Path("record.json").read_text())["range"]
    assert (span["low"], span["high"], span["found"]) == (*expected, False)


@pytest.mark.parametrize(("low", "high"), [(0, 1e-6), (1000, 1100), (-2, 1e4)])
def test_floats_of_any_unit_come_back_in_it(run, low, high):
    tiff_floats("map.tif", low + (high - low) * np.indices((24, 20)).sum(0) / 42)
    assert run("denoise", "map.tif", *SHORT)[0] == 0
    restored, width = tifffile.imread("map.denoised.tif"), high - low
    assert restored.dtype == np.float32
    assert low - 0.2 * width < restored.min() < restored.max() < high + 0.2 * width


def test_damage_that_was_erased_to_transparent_is_opaque_after_the_repair(run):
    alpha = np.where(HOLE, 0, 128 + ALPHA[..., 0] // 2)
    pillow(np.dstack([RGB, alpha.astype(np.uint8)]), "erased.png")
    assert run("inpaint", "erased.png", "--mask", "mask.png", *SHORT)[0] == 0
    restored = pixels("erased.inpainted.png")[..., 3]
    assert (restored[HOLE > 0] == 255).all()
    np.testing.assert_array_equal(restored[HOLE == 0], alpha[HOLE == 0])


def ones_mask(path):
    pillow(HOLE // 255, path)


def red_mask(path):
    pillow(np.dstack([HOLE, HOLE * 0, HOLE * 0]), path)


def palette_mask(path):
    picture = Image.fromarray(HOLE // 255, "P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(path)


def layer_mask(path):
    pillow(np.dstack([np.full((24, 20, 3), 255, np.uint8), HOLE]), path)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("make", [ones_mask, red_mask, palette_mask, layer_mask])
def test_a_mask_is_read_however_a_program_stored_it(run, make):
    make("other.png")
    assert run("inpaint", "photo.png", "--mask", "mask.png", *SHORT, "-o", "plain.png")[0] == 0
    assert run("inpaint", "photo.png", "--mask", "other.png", *SHORT, "-o", "same.png")[0] == 0
    np.testing.assert_array_equal(pixels("same.png"), pixels("plain.png"))


def test_a_mask_grows(run):
    assert run("inpaint", "photo.png", "--mask", "mask.png", "--grow", 2, *SHORT)[0] == 0
    changed = (pixels("photo.inpainted.png") != RGB).any(-1)
    assert changed[2:11, 7:10].all()
    assert not changed[:2].any() and not changed[11:].any()


def test_what_is_not_a_number_is_filled_in_and_only_there(run):
    values = np.indices((24, 20)).sum(0) / 42.0
    values[HOLE > 0] = np.nan
    values[20, 3] = np.inf
    tiff_floats("holes.tif", values)
    assert run("denoise", "holes.tif", *SHORT)[0] == 3
    assert run("inpaint", "holes.tif", "--mask", "mask.png", *SHORT)[0] == 0
    restored = tifffile.imread("holes.inpainted.tif")
    assert np.isfinite(restored).all()
    np.testing.assert_array_equal(restored[np.isfinite(values)], np.float32(values[np.isfinite(values)]))


@pytest.mark.parametrize("part", ["record", "curve", "_figure"])
def test_one_output_that_fails_stops_no_other(run, monkeypatch, part):
    def fail(told, **more):
        raise RuntimeError("no such luck")

    monkeypatch.setattr("dipjax.app.command._figure" if part == "_figure" else f"dipjax.app.report.{part}", fail)
    code, out, err = run(*DENOISE, *SHORT, *RECORD)
    lost = {"record": "record.json", "curve": "curve.csv", "_figure": "figure.png"}[part]
    wanted = {"photo.denoised.png", "record.json", "curve.csv", "figure.png"} - {lost}
    assert code == 4
    assert f"cannot write '{lost}': RuntimeError: no such luck" in err
    assert set(names()) == wanted | {"photo.png", "clean.png", "mask.png"}
    assert out.splitlines()[0] == "wrote photo.denoised.png"
    assert all(f"wrote {name}" in out for name in wanted)


def test_a_file_that_is_replaced_hands_its_permissions_on(run):
    for name in ("photo.denoised.png", "record.json"):
        Path(name).touch(mode=0o600)
    assert run(*DENOISE, *SHORT, "--json", "record.json", "--force")[0] == 0
    assert {Path(name).stat().st_mode & 0o777 for name in ("photo.denoised.png", "record.json")} == {0o600}


def test_the_most_pixels_are_named_and_can_be_lifted(run):
    for arguments in (DENOISE, ("inpaint", "photo.png", "--mask", "mask.png")):
        code, _, err = run(*arguments, *SHORT, "--max-pixels", 479)
        assert code == 3
        assert "479" in err and "--max-pixels" in err
    assert run(*DENOISE, *SHORT, "--max-pixels", 480)[0] == 0
    code, _, err = run("superres", "photo.png", "--factor", 2, *SHORT, "--max-pixels", 480)
    assert code == 3
    assert "480" in err and "--max-pixels" in err


def test_what_a_terminal_would_obey_is_escaped_in_names(run):
    name = "a\x1b[31m\x07\u202egnp\n.jpg"
    rotated_jpeg(name)
    code, out, err = run("denoise", name, *SHORT, "--json", "\x1b.json")
    assert code == 0
    assert "wrote a\\x1b[31m\\x07\\u202egnp\\n.denoised.jpg" in out
    assert not set(out + err) & set("\x1b\x07\u202e")
    _, out, err = run("denoise", name, *SHORT)
    assert not set(out + err) & set("\x1b\x07\u202e")


@pytest.mark.parametrize("more", [(), ("--loss", "huber:0.05", "--schedule", "cosine", "--range", "0.1,0.8")])
def test_a_record_that_is_run_again_gives_the_same_picture(run, more):
    assert run(*DENOISE, "--seeds", 3, "--steps", 4, "--rng", 5, *SIREN, *more, "--json", "record.json")[0] == 0
    assert run(*DENOISE, "--recipe", "record.json", "-o", "again.png", "--json", "again.json")[0] == 0
    np.testing.assert_array_equal(pixels("again.png"), pixels("photo.denoised.png"))
    first, again = (json.loads(Path(name).read_text()) for name in ("record.json", "again.json"))
    assert first["recipe"] == again["recipe"]
    assert run(*DENOISE, "--recipe", "record.json", "--rng", 6, "-o", "other.png")[0] == 0
    assert (pixels("other.png") != pixels("again.png")).any()


def test_a_file_with_a_recipe_alone_is_one_and_is_never_replaced(run):
    setting = dipjax.recipes.for_generator(registry.make("siren", 3, ("width=8", "num_layers=2")))
    Path("recipe.json").write_text("\ufeff" + setting.recipe.to_json(), encoding="utf-8")
    assert run(*DENOISE, "--recipe", "recipe.json", *SHORT)[0] == 0
    assert run(*DENOISE, *SIREN, *SHORT, "--stop", "none", "-o", "same.png")[0] == 0
    np.testing.assert_array_equal(pixels("same.png"), pixels("photo.denoised.png"))
    assert run(*DENOISE, "--recipe", "recipe.json", *SHORT, "-o", "b.png", "--json", "recipe.json", "--force")[0] == 4


def test_a_record_with_parts_of_the_user_names_them_and_is_refused(run):
    assert run(*DENOISE, *SHORT, "--json", "record.json")[0] == 0
    code, _, err = run(*DENOISE, "--recipe", "record.json", "-o", "again.png")
    assert code == 3
    assert "tests.conftest:Mixer" in err
    assert not Path("again.png").exists()


SPOILT = (3, [1], {"seeds": "many"}, {"rng": -1}, {"range": [1, 0]}, {"range": "half"}, {"loss": "l2"}, {"loss": 3})


@pytest.mark.parametrize("options", SPOILT)
def test_a_record_whose_options_are_spoilt_is_told_in_one_sentence(run, options):
    recipe = dipjax.recipes.for_generator(registry.make("siren", 3, ("width=8", "num_layers=2"))).recipe
    Path("record.json").write_text(json.dumps({"recipe": json.loads(recipe.to_json()), "options": options}))
    code = run(*DENOISE, "--recipe", "record.json", "--steps", "2")[0]
    assert code in ((2, 3) if isinstance(options, dict) else (0, 3))


@pytest.mark.slow
def test_a_name_that_stdout_cannot_encode_costs_no_output():
    Path("photo.png").rename("bl\u00e4h\u2603.png")
    command = ("denoise", "bl\u00e4h\u2603.png", *WHOLE[4:], "--steps", "2", "--json", "\u2603.json", "--curve", "\u2603.csv")
    with process(*command, env=environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0")) as child:
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "wrote bl\\xe4h\\u2603.denoised.png" in out
    assert {"bl\u00e4h\u2603.denoised.png", "\u2603.json", "\u2603.csv"} <= set(names())
