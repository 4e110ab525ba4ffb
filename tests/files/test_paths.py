"""Outputs appear complete or not at all, under the name that was meant, with the permissions of what they replace."""

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from dipjax import files
from dipjax.files import OutputError
from tests.files.samples import EIGHT, RGB8, assert_picture, pillow, write


def full_disk(*_, **options):
    del options
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_behind_and_the_old_file_whole(call, tmp_path, monkeypatch):
    write(tmp_path / "a.png", b"precious")
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OutputError, match="cannot write '.*a.png': No space left on device"):
        files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"precious"


def test_a_full_disk_leaves_no_new_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        files.save(tmp_path / "a.jpg", EIGHT.pixels, EIGHT)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_during_the_writing_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: write(tmp_path / "a.png", b"precious"))
    with pytest.raises(OutputError, match="already exists; use --force"):
        files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"precious"


def test_a_disk_without_hard_links_is_written_all_the_same(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert_picture(files.load(tmp_path / "a.png"), RGB8)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OutputError, match="already exists"):
        files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)


def test_force_replaces_a_file_in_one_step(tmp_path):
    write(tmp_path / "a.png", b"old")
    files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT, force=True)
    assert_picture(files.load(tmp_path / "a.png"), RGB8)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_saved_file_has_the_permissions_of_any_new_file(tmp_path):
    files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT)
    assert (tmp_path / "a.png").stat().st_mode == write(tmp_path / "b", b"").stat().st_mode


def test_the_output_is_named_after_the_input():
    assert files.default_output("photo.png", "denoised") == Path("photo.denoised.png")
    assert files.default_output("a/b.c/photo.v2.JPG", "x4") == Path("a/b.c/photo.v2.x4.JPG")
    assert files.default_output("photo", "denoised") == Path("photo.denoised.png")


def test_a_misleading_suffix_gives_way_to_the_real_format(tmp_path):
    jpeg = pillow(RGB8, "JPEG")
    for name, expected in [("a.jpeg", "a.denoised.jpeg"), ("a.png", "a.denoised.jpg"), ("a.tmp", "a.denoised.jpg")]:
        assert files.default_output(write(tmp_path / name, jpeg), "denoised") == tmp_path / expected
