"""Old photographs: what is found of damage that was drawn, and what becomes of tones, colours and masks."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter

import dipjax
from dipjax import app, files
from dipjax.recipes import Setting, by_name
from dipjax.tasks.damage import Finder
from tests.conftest import mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")
RANDOM = np.random.default_rng(0)
SIDE = 96
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
EVEN = np.float32(0.3 + 0.4 * gaussian_filter(RANDOM.random((SIDE, SIDE)), 6)[..., None] + RANDOM.normal(0, 0.02, (SIDE, SIDE, 1)))
QUICK = ("--seeds", "1", "--steps", "2")


@pytest.fixture(autouse=True)
def quick_recipes(monkeypatch):
    for table in (by_name.FAST, by_name.PAPER):
        monkeypatch.setitem(table, "denoise", lambda channels: Setting(mixer_recipe(channels), 3))


def scratched(width, tone, clean=EVEN):
    """Returns a picture with a bent scratch from side to side, and where that is."""
    where = np.abs(ROWS - 40 - 0.3 * COLUMNS - 4 * np.sin(COLUMNS / 30)) <= width / 2
    return np.where(where[..., None], np.float32(tone), clean), where


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("tone", [0.0, 0.95])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_scratch_is_found_and_little_else(width, tone, channels):
    image, where = scratched(width, tone)
    found = Finder()(np.repeat(image, channels, -1))
    assert found[where].mean() > 0.8
    assert binary_dilation(where, iterations=3)[found].mean() > 0.9


@pytest.mark.parametrize("tone", [0.0, 0.95])
def test_dust_is_found(tone):
    where = np.hypot(ROWS - 30, COLUMNS - 60) < 3
    found = Finder()(np.where(where[..., None], np.float32(tone), EVEN))
    assert found[where].mean() > 0.8 and binary_dilation(where, iterations=3)[found].all()


def test_nothing_is_found_on_an_even_ground_nor_at_an_edge():
    assert Finder()(EVEN).mean() < 0.002
    assert Finder()(np.where((COLUMNS > 40)[..., None], EVEN + 0.3, EVEN)).mean() < 0.002
    assert not Finder()(np.full((20, 30, 3), 0.5, np.float32)).any()
    assert not Finder()(np.zeros((1, 1, 1), np.float32)).any()


def test_a_large_scan_is_searched_in_parts_that_leave_no_seam(monkeypatch):
    image, where = scratched(3, 0.95)
    whole = Finder(length=30)(image)
    monkeypatch.setattr("dipjax.tasks.damage._TILE", 48)
    parts = Finder(length=30)(image)
    assert (parts == whole).mean() > 0.99 and parts[where].mean() > 0.8


def test_a_greater_sensitivity_finds_more():
    image, _ = scratched(1, float(EVEN.mean()) + 0.08)
    assert Finder(sensitivity=0.5)(image).sum() <= Finder()(image).sum() < Finder(sensitivity=3)(image).sum()


@pytest.mark.parametrize("setting", [{"width": 0}, {"length": 1.5}, {"sensitivity": 0}, {"sensitivity": np.nan}, {"sensitivity": "a"}])
def test_a_setting_of_the_finder_is_refused_by_name(setting):
    with pytest.raises(ValueError, match=f"^{next(iter(setting))}: found"):
        Finder(**setting)


def test_what_is_known_does_not_stay_as_it_is_and_what_was_found_is_told():
    image, where = scratched(3, 0.95)
    restored, outcome = dipjax.restore_photo(image, seeds=1, return_result=True)
    assert (restored != image).all(axis=-1).mean() > 0.9
    assert outcome.filled[where].mean() > 0.95 and outcome.filled.mean() < 0.2
    np.testing.assert_allclose(outcome.before, image, atol=1e-6)  # with the scratch


def test_what_lies_under_the_damage_does_not_matter():
    image, where = scratched(3, 0.95)
    one, other = (dipjax.restore_photo(np.where(where[..., None], tone, image), where, seeds=1) for tone in (0.2, np.nan))
    np.testing.assert_array_equal(one, other)


def test_a_mask_is_taken_as_it_is_and_grows():
    image, where = scratched(3, 0.95)
    _, outcome = dipjax.restore_photo(image, where, 0, seeds=1, return_result=True)
    np.testing.assert_array_equal(outcome.filled, where)
    _, outcome = dipjax.restore_photo(image, np.zeros_like(where), seeds=1, return_result=True)
    assert not outcome.filled.any()


def test_fading_is_undone_for_all_colours_alike():
    bright = picture(24, 24, 3)
    bright[:8], bright[16:] = 0, 1
    faded = (0.3 + 0.2 * bright).astype(np.float32)
    kept = np.zeros((24, 24), bool)
    _, outcome = dipjax.restore_photo(faded, kept, fading="undo", seeds=1, return_result=True)
    np.testing.assert_allclose(outcome.before, bright, atol=0.05)
    _, outcome = dipjax.restore_photo(faded, kept, seeds=1, return_result=True)
    np.testing.assert_allclose(outcome.before, faded, atol=1e-6)


def test_sepia_becomes_gray():
    sepia = picture(24, 24) * np.float32([0.9, 0.7, 0.5])
    kept = np.zeros((24, 24), bool)
    assert dipjax.restore_photo(sepia, kept, colour="neutral", seeds=1).shape == (24, 24, 1)
    assert dipjax.restore_photo(sepia[..., 0], kept, colour="neutral", seeds=1).shape == (24, 24)
    assert dipjax.restore_photo(sepia, kept, seeds=1).shape == (24, 24, 3)


@pytest.mark.parametrize(("wrong", "words"), [
    ({"colour": "sepia"}, "^colour: found 'sepia'"), ({"fading": True}, "^fading: found True"),
    ({"sensitivity": 0}, "^sensitivity: found 0"),
    ({"grow": -1}, "^grow: found -1"), ({"mask": np.ones((3, 3))}, "^mask: found shape"),
    ({"mask": np.ones((SIDE, SIDE))}, "^mask: found every pixel"),
])  # fmt: skip
def test_what_is_not_asked_for_rightly_is_refused_by_name(wrong, words):
    with pytest.raises(ValueError, match=words):
        dipjax.restore_photo(EVEN, seeds=1, **wrong)


def test_the_command_line_writes_what_was_found_and_takes_it_again(folder):
    image, where = scratched(3, 0.95)
    Image.fromarray(np.uint8(255 * np.repeat(image, 3, -1))).save("old.png")
    how = ("--colour", "neutral", "--fading", "undo", "--found", "found.png", "--json", "r.json")
    assert app.main(["restore-photo", "old.png", *how, *QUICK]) == 0
    mask, _ = files.load_mask("found.png", where.shape)
    assert mask[where].mean() > 0.95 and json.loads((folder / "r.json").read_text())["filled"] == pytest.approx(mask.mean())
    with Image.open("old.restored.png") as made:
        assert made.mode == "L" and made.size == (SIDE, SIDE)
    assert app.main(["restore-photo", "old.png", "--mask", "found.png", "--grow", "0", "--found", "again.png", "-o", "b.png", *QUICK]) == 0
    np.testing.assert_array_equal(files.load_mask("again.png", where.shape)[0], mask)
    assert app.main(["restore-photo", "old.png", "old.restored.png", "--found", "f.png", "-o", "out", *QUICK]) != 0  # one file for two


def test_a_finder_takes_numbers_of_numpy_and_refuses_what_is_no_picture():
    assert not Finder(sensitivity=np.float32(1))(np.full((30, 30, 1), 0.5)).any()
    for pixels in (np.ones((20, 20)), np.full((20, 20, 1), np.nan)):
        with pytest.raises(ValueError, match="^pixels: found"):
            Finder()(pixels)
