"""Large pictures: what a tile knows, how tiles are blended, and what is refused; and how much memory a restoration needs."""

import dataclasses
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import dipjax
from dipjax import app, files, operators, stopping
from dipjax.core import drive, layouts, loop, rule
from dipjax.core.recipe import Recipe
from dipjax.fitting import inputs
from dipjax.generators import Pixels, Skip, blocks
from dipjax.large import memory, tiling
from dipjax.operators import Bayer, problem, psfs, resampling
from dipjax.recipes import Setting
from dipjax.recipes import by_name as settings
from tests.conftest import mixer_recipe, num_compiled, picture, skip_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEYS = drive.seeds(0, 2)
MASK = np.random.default_rng(1).random((50, 43, 1)) > 0.4
BLUR = psfs.gaussian(0.7)
GUIDED = dataclasses.replace(mixer_recipe(3), input=inputs.Guide())
RECIPE = mixer_recipe(3)
PICTURE = picture(50, 43, 3)
PROBLEMS = {
    "denoise": (RECIPE, problem.denoising(PICTURE, truth=picture(50, 43, 3, seed=1))),
    "inpaint": (RECIPE, problem.inpainting(PICTURE, MASK)),
    "inpaint, every channel its own": (RECIPE, problem.inpainting(PICTURE, picture(50, 43, 3, seed=2) > 0.4)),
    "superres": (RECIPE, problem.super_resolution(picture(25, 21, 3), 2)),
    "superres, odd factor": (RECIPE, problem.super_resolution(picture(16, 17, 3), 3, kernel=resampling.BOX)),
    "deblur reflect": (RECIPE, problem.deblurring(PICTURE, BLUR)),
    "deblur circular": (RECIPE, problem.deblurring(PICTURE, BLUR, boundary="circular")),
    "deblur valid": (RECIPE, problem.deblurring(PICTURE, BLUR, boundary="valid")),
    "flash": (GUIDED, problem.flash(PICTURE, picture(50, 43, 3, seed=3))),
}
FIRST_SEED_SECOND_TILE = int(jax.random.bits(jax.random.split(jax.random.fold_in(KEYS[0], 1), 3)[0]))  # what its input is drawn from
each_problem = pytest.mark.parametrize("name", PROBLEMS)


def grid(task, tile=30, overlap=None, recipe=RECIPE):
    return tiling.plan(recipe, task, 2, tile=tile, overlap=overlap).grid


def restore(recipe, keys, task, *, tile, overlap=None, num_steps=7, enough=lambda result: False):
    found = tiling.plan(recipe, task, keys.size, tile=tile, overlap=overlap).grid
    for result in tiling.iterate(recipe, keys, task, found, num_steps=num_steps):
        if enough(result):
            break
    return result


# Where the tiles lie and how they are blended.


@pytest.mark.parametrize(("shape", "tile", "overlap", "stride", "reach"), [
    ((50, 43), 30, 9, 1, 0), ((50, 43), 30, 24, 1, 6), ((51, 63), 33, 12, 3, 3), ((512, 512), 128, 16, 1, 0), ((40, 20), 32, 8, 1, 2),
])  # fmt: skip
def test_tiles_cover_the_image_and_their_weights_sum_to_one(shape, tile, overlap, stride, reach):
    lengths = [min(tile, size) for size in shape]
    starts = [tiling._starts(size, length, overlap, stride) for size, length in zip(shape, lengths, strict=True)]
    found = tiling.Grid(shape, tuple(lengths), *starts, overlap, reach)
    total = np.zeros((*shape, 1))
    for (rows, columns), window in zip(found.parts, found.windows(), strict=True):
        assert rows.start % stride == columns.start % stride == 0
        assert window.shape == (*lengths, 1) and window.min() >= 0
        total[rows, columns] += window
        inner = window[:reach] if rows.start else window[:0]
        assert not inner.any()
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_weight_is_smooth():
    found = grid(problem.denoising(picture(100, 100)), 60, 30, mixer_recipe())
    for window in found.windows():
        assert np.abs(np.diff(window[..., 0], axis=0)).max() < 0.06  # a step would be 1, a straight line 1 / 30


@each_problem
def test_a_tile_measures_what_the_whole_image_does_there(name):
    """The operator of a tile, applied to its part of any image, gives its part of the measurement of that image."""
    _, task = PROBLEMS[name]
    image = picture(*task.shape, seed=5)
    whole = task.replace(measurement=np.asarray(task.operator(image)), truth=None)
    found = grid(task)
    assert len(found.parts) >= 4
    for rows, columns in found.parts:
        tile = tiling.cut(whole, rows, columns)
        np.testing.assert_allclose(tile.operator(image[rows, columns]), tile.measurement, atol=1e-5)
        assert tile.shape == (*found.tile, 3)
        unseen = np.asarray(jnp.broadcast_to(tile.measurement == 0, tile.measurement.shape)).mean()
        assert unseen < 0.7  # most is still there


@each_problem
@pytest.mark.slow
def test_every_task_is_restored_in_tiles(name):
    recipe, task = PROBLEMS[name]
    result = restore(recipe, KEYS, task, tile=30)
    num_steps = 7 * len(grid(task, recipe=recipe).parts)
    assert result.images.shape == (2, *task.shape) and result.image.shape == result.std.shape == task.shape
    assert result.num_steps == num_steps and result.metrics.loss.shape == (2, num_steps)
    chex.assert_tree_all_finite((result.images, result.metrics.loss))
    assert result.alive.all() and result.std.max() > 0


@pytest.mark.parametrize("shape", [(31, 30), (33, 90), (70, 5)])
def test_every_size_is_restored_in_tiles(shape):
    task = problem.denoising(picture(*shape))
    assert restore(mixer_recipe(), KEYS, task, tile=30, overlap=7).image.shape == (*shape, 1)


def test_without_a_network_the_tiles_are_the_whole():
    recipe = Recipe(Pixels(1), inputs.Noise(1), optax.adam(0.03), smoothing=0.0)
    task = problem.denoising(picture(50, 43))
    whole, tiled = (restore(recipe, KEYS, task, tile=tile, num_steps=300).images for tile in (0, 30))
    np.testing.assert_allclose(whole, np.asarray(task.measurement)[None].repeat(2, 0), atol=2e-3)
    np.testing.assert_allclose(tiled, whole, atol=2e-3)


@pytest.mark.parametrize("tile", [None, 0, 50, 1000])
def test_one_tile_that_covers_the_image_is_the_untiled_run_bit_for_bit(tile):
    task = PROBLEMS["denoise"][1]
    expected, found = drive.restore(RECIPE, KEYS, task, num_steps=7), restore(RECIPE, KEYS, task, tile=tile)
    chex.assert_trees_all_equal((found.state, found.metrics), (expected.state, expected.metrics))


def test_every_tile_is_a_run_of_its_own_with_a_key_of_its_own():
    _, task = PROBLEMS["denoise"]
    found, result = grid(task), restore(RECIPE, KEYS, task, tile=30)
    expected = np.zeros(result.images.shape)
    for index, (part, window) in enumerate(zip(found.parts, found.windows(), strict=True)):
        keys = jax.vmap(jax.random.fold_in, (0, None))(KEYS, index)
        alone = drive.restore(RECIPE, keys, tiling.cut(task, *part), num_steps=7)
        expected[:, *part] += window * np.asarray(alone.images)
        np.testing.assert_allclose(result.metrics.loss[:, 7 * index : 7 * index + 7], alone.metrics.loss, rtol=1e-5)
    np.testing.assert_allclose(result.images, expected, atol=1e-5)


def test_one_program_serves_all_tiles_however_many(caplog):
    recipe = mixer_recipe()

    def number(height, width):
        task = problem.denoising(picture(height, width))
        return num_compiled(caplog, lambda: restore(recipe, KEYS, task, tile=32, num_steps=2))

    assert number(50, 50) > 0  # four tiles
    assert number(90, 90) <= 1  # many more tiles; the check of the picture itself is all there may be


def test_tiles_that_have_not_begun_show_the_measurement_and_an_early_end_is_a_result():
    _, task = PROBLEMS["denoise"]
    seen = []
    result = restore(RECIPE, KEYS, task, tile=30, enough=lambda now: bool(seen.append(now)) or now.num_steps >= 1)
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[0].images, np.asarray(task.measurement)[None].repeat(2, 0))
    np.testing.assert_array_equal(result.images[:, 30:], seen[0].images[:, 30:])
    assert np.abs(result.images - seen[0].images)[:, :20, :20].min() > 0


@each_problem
def test_the_picture_before_has_the_size_and_place_of_the_image(name):
    _, task = PROBLEMS[name]
    shown = tiling._enlarged(np.asarray(task.operator(picture(*task.shape) * 0 + picture(1, 1, 3))), task.shape)
    assert shown.shape == task.shape


def test_a_time_limit_is_shared_among_the_tiles():
    _, task = PROBLEMS["denoise"]
    found = grid(task)
    results = tiling.iterate(RECIPE, KEYS, task, found, num_steps=20_000, budget=2.0)
    for result in results:
        changed = np.abs(np.asarray(result.images) - task.measurement).max((0, 3)) > 0
        if changed[-1, -1]:
            break
    assert 0 < result.num_steps < 20_000 * len(found.parts)
    assert changed.all()
    results.close()


def test_where_a_seed_diverges_in_a_tile_the_others_stand_in():
    _, task = PROBLEMS["denoise"]
    result = restore(dataclasses.replace(RECIPE, input=_poisoned), KEYS, task, tile=30)
    chex.assert_tree_all_finite(result.images)
    assert result.alive.all()
    corner = result.images[:, :10, -10:]  # where no other tile reaches
    np.testing.assert_allclose(corner[0], corner[1], atol=1e-6)
    all_dead = dataclasses.replace(RECIPE, optimizer=optax.sgd(np.inf))
    assert not restore(all_dead, KEYS, task, tile=30).alive.any()


@pytest.mark.slow
def test_a_seed_that_is_left_out_of_a_tile_is_named_and_the_others_stand_in(monkeypatch):
    _, task = PROBLEMS["denoise"]
    calls = []

    def odd(images, alive, scores):
        """Takes seed 1 for the odd one, after the first tile."""
        calls.append(scores)
        return np.array([False, len(calls) > first])

    monkeypatch.setattr(rule, "disagreeing", odd)
    recipe, first = dataclasses.replace(RECIPE, stopping=stopping.HeldOut()), np.inf
    for result in tiling.iterate(recipe, KEYS, task, grid(task), num_steps=3):
        if result.num_steps == 3:
            first = len(calls)
    assert result.left_out_of == tuple((tile, 1) for tile in range(1, len(grid(task).parts)))
    corner = result.images[:, -10:, -10:]
    np.testing.assert_allclose(corner[0], corner[1], atol=1e-6)
    assert np.abs(result.images[0, :10, :10] - result.images[1, :10, :10]).max() > 1e-3
    assert result.counted.all()


def _poisoned(key, problem):
    return jnp.where(jax.random.bits(key) == FIRST_SEED_SECOND_TILE, jnp.nan, inputs.Noise(4, scale=1.0)(key, problem))


@dataclasses.dataclass(frozen=True)
class Smooth:
    """An image of a coarse grid of parameters, with linear interpolation between: as quick as can be, and it knows its neighbours."""

    stride = 8

    def init(self, key, z):
        return {"coarse": z}

    def apply(self, params, z):
        return jax.nn.sigmoid(blocks.bilinear(blocks.bilinear(blocks.bilinear(params["coarse"]))))


def waves(size=512):
    y, x = np.mgrid[:size, :size][..., None] / size
    return np.float32((np.sin(8 * x) * np.cos(11 * y) + ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1)) / 4 + 0.4)


@pytest.mark.slow
def test_there_are_no_seams():
    """At 512 x 512, tiles that started at random differ from the whole no more where they meet than inside, and there is no step."""
    noisy = waves() + np.random.default_rng(0).normal(0, 0.1, (512, 512, 1)).astype(np.float32)
    recipe = Recipe(Smooth(), inputs.Noise(1, scale=4.0, stride=8), optax.adam(0.1))
    task = problem.denoising(noisy)
    found = grid(task, 224, 32, recipe)
    whole, tiled = (np.asarray(restore(recipe, KEYS[:1], task, tile=tile, overlap=32, num_steps=25).image)[..., 0] for tile in (0, 224))
    difference, near = np.abs(tiled - whole), np.zeros((512, 512), bool)
    edges = [edge for start in found.tops[1:] for edge in (start, start + 32)]
    assert found.tops == found.lefts and len(found.tops) == 3
    for edge in edges:
        near[edge - 4 : edge + 4] = near[:, edge - 4 : edge + 4] = True
    assert 0 < difference[near].mean() <= 1.05 * difference[~near].mean()
    for axis in (0, 1):
        steps = np.abs(np.diff(tiled, axis=axis)).mean(1 - axis) / np.abs(np.diff(whole, axis=axis)).mean(1 - axis)
        assert max(steps[edge - 1] for edge in edges) <= np.quantile(steps, 0.95)


# What is refused.


def holes():
    known = np.ones((64, 64), bool)
    known[:40, :40] = False
    return problem.inpainting(picture(64, 64, 3), known)


REFUSED = {
    "no known pixel in rows 0 to 30": (holes(), {"tile": 30}),
    "overlap of more than 6": (problem.deblurring(PICTURE, psfs.box(7)), {"tile": 30, "overlap": 6}),
    "overlap by 40": (PROBLEMS["denoise"][1], {"tile": 30, "overlap": 40}),
    "overlap by 22": (problem.deblurring(PICTURE, psfs.box(7)), {"tile": 22}),
    "tiles of 0 pixels": (problem.super_resolution(picture(9, 9, 3), 4), {"tile": 3}),
    "operator Compose": (PROBLEMS["denoise"][1].replace(operator=operators.Compose(())), {"tile": 30}),
    "shape .4, 20, 20, 1.": (problem.denoising(np.zeros((4, 20, 20, 1))), {"tile": 10}),
    "shape .50, 1.": (problem.denoising(np.zeros((50, 1))), {"tile": 10}),
    "operator Partial": (problem.feature_inversion(PICTURE, jnp.square), {"tile": 30}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_tiles_that_cannot_be_are_refused_in_one_sentence(sentence):
    task, settings = REFUSED[sentence]
    with pytest.raises(ValueError, match=f"^tile: .*{sentence}"):
        tiling.plan(RECIPE, task, 1, **settings)


def test_a_tile_of_which_all_is_known_is_like_any_other():
    result = restore(RECIPE, KEYS, holes(), tile=48)
    chex.assert_tree_all_finite(result.images)


# Memory.


def test_tiles_are_chosen_where_the_whole_does_not_fit_and_refused_where_none_does(monkeypatch):
    task, recipe = problem.denoising(picture(400, 300)), mixer_recipe()
    whole = memory.needed(recipe, task, 4)
    assert tiling.plan(recipe, task, 4).grid is None
    monkeypatch.setattr(memory, "available", lambda: whole)
    grid, reason = tiling.plan(recipe, task, 4)
    assert grid.tile[0] in tiling._SIDES and "GiB" in reason
    assert tiling.plan(recipe, task, 4, tile=0).grid is None
    monkeypatch.setattr(memory, "available", lambda: 10**5)
    for tile in (None, 150):
        with pytest.raises(ValueError, match=r"^tile: .* 4 seeds would need about 0.0 GiB .* 0.0 GiB"):
            tiling.plan(recipe, task, 4, tile=tile)
    monkeypatch.setattr(memory, "available", lambda: None)
    assert tiling.plan(recipe, task, 4).grid is None
    assert tiling.plan(recipe, task, 4, tile=150).grid.tile == (150, 150)


def test_the_need_grows_with_pixels_and_with_the_runs_at_once():
    recipe = skip_recipe()
    small, large = (problem.denoising(picture(size, size)) for size in (32, 64))
    assert 3 < memory.needed(recipe, large, 1) / memory.needed(recipe, small, 1) < 4.2
    one_by_one, together = (memory.needed(recipe, large, 8, layout) for layout in (layouts.Layout(1, 1), layouts.Layout(None, 1)))
    assert 3 < together / one_by_one < 8
    assert memory.needed(recipe, large, 8, layouts.ONE_BY_ONE) >= one_by_one


@pytest.mark.slow
def test_the_need_is_about_what_the_compiler_says():
    recipe, task = skip_recipe(), problem.denoising(picture(64, 64))
    state = loop.init(recipe, KEYS[0], task)
    found = loop.chunk.lower(recipe, state, task, 0, 7).compile().memory_analysis()
    compiled = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    assert 0.5 < memory.needed(recipe, task, 1, layouts.Layout(1, 1)) / compiled < 2


def test_what_is_available_is_less_than_what_is_there():
    found = memory.available()
    assert found is None or 10**7 < found < 10**14


@pytest.mark.slow
def test_rematerialisation_changes_nothing_but_the_memory_of_the_program_as_written():
    plain = Skip(3, (8, 8), (8, 8), (4, 4), upsample=(blocks.nearest, blocks.bilinear))
    lean = dataclasses.replace(plain, remat=True)
    z = picture(64, 60, 4)
    params, same = (jax.jit(generator.init)(jax.random.key(0), z) for generator in (plain, lean))
    chex.assert_trees_all_equal(params, same)

    def gradient(generator):
        return jax.jit(jax.value_and_grad(lambda params: jnp.mean((generator.apply(params, z) - 0.3) ** 2)))

    chex.assert_trees_all_close(gradient(plain)(params), gradient(lean)(params), rtol=1e-4, atol=1e-6)
    kept = [memory.worst(jax.make_jaxpr(gradient(generator))(params).jaxpr) for generator in (plain, lean)]
    assert kept[1] < 0.8 * kept[0]


# For people.


def quick(channels=3):
    return Setting(mixer_recipe(channels), 2)


def guided(channels=3):
    return quick(channels).changed(input=inputs.Guide())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for table in (settings.FAST, settings.PAPER):
        for task in table:
            monkeypatch.setitem(table, task, guided if task == "flash" else quick)
    pixels = np.uint8(255 * PICTURE)
    Image.fromarray(pixels).save("photo.png")
    Image.fromarray(pixels[::-1]).save("clean.png")
    Image.fromarray(np.uint8(255 * ~MASK[..., 0])).save("mask.png")
    return tmp_path


COMMANDS = {
    "denoise": (),
    "dejpeg": (),
    "inpaint": ("--mask", "mask.png"),
    "superres": ("--factor", "2"),
    "deblur": ("--gaussian", "0.7"),
    "flash": ("--flash", "clean.png"),
}


@pytest.mark.parametrize("task", COMMANDS)
@pytest.mark.slow
def test_every_command_restores_in_tiles(folder, capsys, task):
    arguments = [task, "photo.png", *COMMANDS[task], "--seeds", "2", "--tile", "30", "--tile-overlap", "14", "-o", "out.png"]
    assert app.main(arguments) == 0
    factor = 2 if task == "superres" else 1
    assert files.load("out.png").pixels.shape == (50 * factor, 43 * factor, 3)
    assert "tiles of 30 x 30 pixels, which overlap by at least 14" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["auto", "held-out"])
def test_a_mosaic_of_odd_size_is_restored_in_tiles(stop):
    raw = np.add.outer(np.linspace(0.2, 0.5, 37), np.linspace(0, 0.5, 51)).astype(np.float32)
    net = dipjax.generators.Plain(3, 2)
    how = {"generator": net, "seeds": 2, "num_iter": 3, "return_result": True, "stop": stop}
    image, outcome = dipjax.demosaic(raw, "GRBG", tile=24, tile_overlap=12, **how)
    assert image.shape == (37, 51, 3) and np.isfinite(image).all() and outcome.num_tiles > 3
    for starts, side in zip((outcome.grid.tops, outcome.grid.lefts), outcome.grid.tile, strict=True):
        assert max(np.diff(starts)) <= side - 12 and not np.mod(starts, 2).any()
    seen = np.asarray(Bayer("GRBG")(image))[..., 0]
    assert np.abs(seen - raw)[-1].mean() < 0.1 > np.abs(seen - raw)[:, -1].mean()  # the last row and column too


def test_the_records_of_a_restoration_in_tiles_say_so(folder, capsys):
    written = ("--stop", "none", "--reference", "clean.png", "--json", "r.json", "--plot", "f.png", "--curve", "c.csv")
    assert app.main(["denoise", "photo.png", "--seeds", "2", "--tile", "30", "--tile-overlap", "5", *written]) == 0
    record = json.loads(Path("r.json").read_text())
    assert record["tiles"]["tile"] == [30, 30] and record["tiles"]["overlap"] == 5
    assert record["steps"] == 8
    assert "8 of 8 steps in 4 tiles, 2 seeds" in capsys.readouterr().out
    assert len(Path("c.csv").read_text().splitlines()) == 9
    assert Path("f.png").stat().st_size > 0


@pytest.mark.slow
def test_the_command_and_the_function_agree_on_tiles(folder):
    assert app.main(["denoise", "photo.png", "--seeds", "2", "--tile", "30"]) == 0
    restored = dipjax.denoise(np.asarray(Image.open("photo.png")), seeds=2, tile=30)
    np.testing.assert_array_equal(np.asarray(Image.open("photo.denoised.png")), np.rint(255 * restored).astype(np.uint8))


def test_tiles_that_are_no_number_are_refused(folder):
    with pytest.raises(ValueError, match="^tile: found -3"):
        dipjax.denoise(PICTURE, tile=-3)
    assert app.main(["inpaint", "photo.png", "--mask", "mask.png", "--tile", "12", "--tile-overlap", "12"]) == 3
