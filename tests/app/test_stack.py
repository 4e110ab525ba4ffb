"""Files of several pages: which are restored, that each is restored as if it were alone, and what is written back."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax import files
from tests.app.conftest import RGB, RGB16

STEPS = ("--steps", 2, "--seeds", 1)
PAGES = [RGB, RGB[::-1], RGB[:, ::-1]]


@pytest.fixture
def three(folder):
    """A stack of three pages, and each of them as a file."""
    with tifffile.TiffWriter("stack.tif") as writer:
        for number, page in enumerate(PAGES, 1):
            writer.write(page, photometric="rgb", metadata=None, resolution=(100 * number, 100 * number), resolutionunit=2)
            tifffile.imwrite(f"page{number}.tif", page, photometric="rgb", metadata=None)
    return folder


def record(name):
    return json.loads(Path(name).read_text())


def test_every_page_is_restored_as_if_it_were_alone_and_written_back(three, run):
    code, out, err = run("denoise", "stack.tif", "-o", "out.tif", "--json", "out.json", *STEPS)
    assert code == 0, err
    assert "3 pages, each is restored for itself" in err
    with tifffile.TiffFile("out.tif") as tiff:
        pages = [page.asarray() for page in tiff.pages]
        assert [page.tags.valueof(282) for page in tiff.pages] == [(100, 1), (200, 1), (300, 1)]
    for number, page in enumerate(pages, 1):
        assert run("denoise", f"page{number}.tif", "-o", f"one{number}.tif", *STEPS)[0] == 0
        np.testing.assert_array_equal(page, tifffile.imread(f"one{number}.tif"))
    found = record("out.json")
    assert found["ending"] == "done" and [page["ending"] for page in found["pages"]] == ["done"] * 3
    assert found["input"] == {"file": "stack.tif"} and found["output"] == {"file": "out.tif"}


@pytest.mark.parametrize(("words", "expected"), [("2", [2]), ("2-3", [2, 3]), ("1-3", [1, 2, 3]), ("all", [1, 2, 3])])
def test_pages_can_be_chosen(three, run, words, expected):
    code, _, err = run("denoise", "stack.tif", "-o", "out.tif", "--pages", words, *STEPS)
    assert code == 0, err
    found = tifffile.TiffFile("out.tif")
    for page, number in zip(found.pages, expected, strict=True):
        run("denoise", f"page{number}.tif", "-o", f"one{number}.tif", *STEPS)
        np.testing.assert_array_equal(page.asarray(), tifffile.imread(f"one{number}.tif"))
    found.close()


@pytest.mark.parametrize(("words", "code", "sentence"), [
    (("--pages", "4"), 3, "it has 3 pages"), (("--pages", "2-9"), 3, "it has 3 pages"), (("--pages", "0"), 2, "expected all, a page"),
    (("--pages", "3-2"), 2, "expected all, a page"), (("--pages", "x"), 2, "expected all, a page"), (("--pages", "1-2-3"), 2, "all"),
    (("-o", "out.png"), 4, "only TIFF holds 3 pages"), (("--plot", "one.png"), 4, "one file for several pages"),
])  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_done(three, run, words, code, sentence):
    before = sorted(three.iterdir())
    found, _, err = run("denoise", "stack.tif", *words, *STEPS)
    assert found == code and sentence in err
    assert sorted(three.iterdir()) == before


def test_a_stack_among_many_pictures_is_one_of_them(three, run):
    code, out, err = run("denoise", "stack.tif", "photo.png", "-o", "out", *STEPS)
    assert code == 0, err
    assert "2 pictures: 2 restored" in out and files.num_pages("out/stack.tif") == 3
    code, out, _ = run("denoise", "stack.tif", "photo.png", "-o", "out", *STEPS)
    assert code == 0 and "2 done before" in out


def test_a_broken_stack_goes_on_with_the_pages_that_are_left(three, run):
    words = ("denoise", "stack.tif", "-o", "out.tif", "--checkpoint", "kept", *STEPS)
    assert run(*words)[0] == 0
    expected = Path("out.tif").read_bytes()
    Path("out.tif").unlink()
    Path("kept/pages/000002.json").write_text('{"begun": true}')
    code, out, err = run(*words)
    assert code == 0, err
    assert "2 of 3: " in out and "1 of 3: " not in out
    assert Path("out.tif").read_bytes() == expected


def test_the_frames_of_a_gif_become_the_pages_of_a_tiff(folder, run):
    frames = [Image.fromarray(page) for page in PAGES]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    assert files.num_pages("moving.gif") == 3
    code, _, err = run("denoise", "moving.gif", *STEPS)
    assert code == 0, err
    assert files.num_pages("moving.denoised.tif") == 3


@pytest.mark.slow
def test_pages_of_other_types_and_sizes_go_together(folder, run):
    with tifffile.TiffWriter("odd.tif") as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB16[:20], photometric="rgb", metadata=None)
        writer.write(RGB[..., 0], metadata=None)
    assert run("denoise", "odd.tif", "-o", "out.tif", *STEPS)[0] == 0
    with tifffile.TiffFile("out.tif") as tiff:
        assert [(page.dtype, page.shape) for page in tiff.pages] == [("uint8", (24, 20, 3)), ("uint16", (20, 20, 3)), ("uint8", (24, 20))]


def test_enlarged_pages(three, run):
    assert run("superres", "stack.tif", "-o", "out.tif", "--factor", 2, "--pages", "1-2", *STEPS)[0] == 0
    with tifffile.TiffFile("out.tif") as tiff:
        assert [page.shape for page in tiff.pages] == [(48, 40, 3)] * 2
        assert tiff.pages[0].tags.valueof(282) == (200, 1)


def test_a_page_that_cannot_be_restored_is_named_and_nothing_is_written(folder, run):
    with tifffile.TiffWriter("bad.tif") as writer:
        writer.write(RGB[..., 0], metadata=None)
        writer.write(np.full((24, 20), np.nan, np.float32), metadata=None)
    code, _, err = run("denoise", "bad.tif", "-o", "out.tif", *STEPS)
    assert code == 3 and "1 of 2 pages of 'bad.tif' could not be restored" in err and "NaN" in err
    assert not Path("out.tif").exists()


def test_a_stack_goes_on_by_its_folder_and_replaces_what_it_wrote(three, run):
    words = ("denoise", "stack.tif", "-o", "out.tif", "--checkpoint", "kept", *STEPS)
    assert run(*words)[0] == 0
    assert "nothing is left to do" in run("resume", "kept")[1]
    content = record("kept/command.json")
    Path("kept/command.json").write_text(json.dumps(content | {"ending": "interrupted"}))
    Path("kept/pages/000003.json").write_text('{"begun": true}')
    code, out, err = run("resume", "kept")
    assert code == 0 and "3 of 3: " in out and "2 of 3: " not in out, err


@pytest.mark.slow
def test_every_page_is_compared_with_its_own_page_of_the_truth(three, run):
    assert run("denoise", "stack.tif", "-o", "out.tif", "--reference", "stack.tif", "--json", "out.json", *STEPS)[0] == 0
    found = [page["metrics"]["input"]["psnr"] for page in record("out.json")["pages"]]
    assert found == [None] * 3  # infinite: each is its own truth
