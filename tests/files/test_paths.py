"""Outputs appear complete or not at all, under the name that was meant, with the permissions of what they replace."""

import errno
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from dipjax import files
from dipjax.files import ImageError, OutputError, printable
from tests.files.samples import EIGHT, EXACT, RGB8, assert_picture, pillow, write


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


# ------------------------------------------------------------------------------------------------------------ permissions and links


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o755])
def test_a_file_that_is_replaced_hands_its_permissions_on(mode, tmp_path):
    write(tmp_path / "a.png", b"old").chmod(mode)
    files.save(tmp_path / "a.png", EIGHT.pixels, EIGHT, force=True)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode
    write(tmp_path / "a.json", b"old").chmod(mode)
    files.write(tmp_path / "a.json", b"{}", force=True)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == mode


def test_what_replaces_a_private_file_is_private_from_the_first_byte(tmp_path, monkeypatch):
    write(tmp_path / "a.png", b"old").chmod(0o640)
    modes = []

    def look(handle, *_):
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return real(handle, *_)

    real = os.write
    monkeypatch.setattr(os, "write", look)
    files.write(tmp_path / "a.png", b"new", force=True)
    assert modes == [0o600]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_of_the_umask(umask, tmp_path):
    before = os.umask(umask)
    try:
        files.write(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_a_link_is_replaced_and_what_it_points_to_is_not_touched(tmp_path):
    write(tmp_path / "precious", b"precious").chmod(0o600)
    for target, mode in (("precious", 0o600), ("gone", None), ("link", None)):
        (tmp_path / "link").symlink_to(target)
        with pytest.raises(OutputError, match="already exists; use --force"):
            files.write(tmp_path / "link", b"new")
        files.write(tmp_path / "link", b"new", force=True)
        assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_bytes() == b"new"
        assert mode is None or stat.S_IMODE((tmp_path / "link").stat().st_mode) == mode
        (tmp_path / "link").unlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a directory"])
def test_what_is_no_file_is_never_replaced(kind, tmp_path):
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null" if kind == "device" else "/")
    for call in (files.check_free, lambda *args, **options: files.write(*args, b"", **options)):
        with pytest.raises(OutputError, match="it is not a regular file|it is a directory"):
            call(path, force=True)
    with pytest.raises(OutputError):
        files.check_writable(path, EIGHT, force=True)


# ------------------------------------------------------------------------------------------------------------------------- names


NO_NAMES = [
    ("", "the name '' is empty; is it a variable that is not set?"),
    ("  ", "the name '  ' is empty"),
    ("\t\n", "is empty"),
    ("a\0.png", "has a NUL character; no file can have that"),
    ("a.png/", "ends in a slash, it is that of a directory; give the name of a file"),
    (b"", "the name '' is empty"),
    (None, "None is not the name of a file"),
    (3, "3 is not the name of a file"),
]


@pytest.mark.parametrize(("name", "words"), NO_NAMES)
def test_what_names_no_file_is_refused_wherever_it_is_given(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = [files.load, files.load_psf, lambda name: files.load_mask(name, (1, 1)), lambda name: files.default_output(name, "x")]
    outputs = [files.check_free, lambda name: files.write(name, b""), lambda name: files.save(name, EIGHT.pixels, EIGHT)]
    outputs += [lambda name: files.check_writable(name, EIGHT), lambda name: files.write(name, b"", force=True)]
    for calls, error in ((inputs, ImageError), (outputs, OutputError)):
        for call in calls:
            with pytest.raises(error, match=re.escape(words)):
                call(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".", "..", "a/.."])
def test_a_directory_is_no_output(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="it is a directory"):
        files.write(name, b"", force=True)


@pytest.mark.parametrize("force", [False, True])
def test_names_that_the_system_refuses_give_its_reason(force, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    write(tmp_path / "file", b"")
    for name, words in [
        ("a" * 300 + ".png", "File name too long"),
        ("b" * 300 + "/a.png", "File name too long"),
        ("c/" * 3000 + "a.png", "File name too long"),
        ("loop/a.png", "Too many levels of symbolic links"),
        ("file/a.png", "there is no directory"),
        ("\ud800.png", "surrogates not allowed"),
    ]:
        for call in (files.check_free, lambda name, **options: files.write(name, b"", **options)):
            with pytest.raises(OutputError, match=words):
                call(tmp_path / name, force=force)
        with pytest.raises(OutputError, match=words):
            files.check_writable(tmp_path / name, EIGHT, force=force)
        with pytest.raises(ImageError):
            files.load(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_a_name_of_the_longest_length_is_written(tmp_path):
    files.save(tmp_path / ("a" * 251 + ".png"), EIGHT.pixels, EIGHT)
    assert_picture(files.load(tmp_path / ("a" * 251 + ".png")), RGB8)


def test_names_of_other_bytes_and_letters_are_written(tmp_path):
    for name in ("naïve ✓.png", os.fsdecode(b"\xff\xfe.png"), " .png", "-o.png", "new\nline.png"):
        files.save(tmp_path / name, EIGHT.pixels, EIGHT)
        assert_picture(files.load(tmp_path / name), RGB8)
        with pytest.raises(OutputError) as caught:
            files.save(tmp_path / name, EIGHT.pixels, EIGHT)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo.png", "photo.png"),
        ("naïve ✓ 写真.png", "naïve ✓ 写真.png"),
        ("a\x1b[31mb\a\x7f\x9b", "a\\x1b[31mb\\x07\\x7f\\x9b"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("gnp\u202e.exe\u2066\u200f", "gnp\\u202e.exe\\u2066\\u200f"),
        ("\u2028\u2029\x85\ufeff", "\\u2028\\u2029\\x85\\ufeff"),
        ("\udcff\ud800", "\\udcff\\ud800"),
        (Path("a\0b"), "a\\x00b"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable(text).isprintable() and printable(text).encode()


def test_notes_and_errors_never_carry_what_a_terminal_would_obey(tmp_path):
    path = write(tmp_path / "a\x1b[2J\u202e.jpg", EXACT["png rgb 8"][0])
    assert files.load(path).notes == ("named .jpg but its content is PNG",)
    files.load(write(tmp_path / "b.tif", EXACT["png rgb 8"][0]))
    with pytest.raises(ImageError) as caught:
        files.load(write(tmp_path / "c\x1b[2J\n.png", b"\x89PNG\r\n\x1a\n"))
    assert str(caught.value).isprintable()


# ---------------------------------------------------------------------------------------------------------------- temporary files


def leave_a_temporary_file(folder):
    """Runs a process that is killed while it writes; returns the name of what it has left."""
    code = f"""
import os, signal
from dipjax import files
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
files.write({str(folder / "out.png")!r}, b"half")
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = [path for path in folder.iterdir() if path.suffix == ".tmp"]
    return left


def test_what_a_killed_process_has_left_is_swept_by_the_next_output(tmp_path):
    left = leave_a_temporary_file(tmp_path)
    assert re.fullmatch(r"\.dipjax-[0-9a-f]{8}-[0-9]+-[0-9a-f]{16}\.tmp", left.name)
    files.write(tmp_path / "a.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_only_what_nobody_can_be_writing_is_swept(tmp_path):
    left = leave_a_temporary_file(tmp_path)
    machine, process = left.name.split("-")[1:3]
    token, old = "0123456789abcdef", time.time() - 25 * 3600
    alive = [f".dipjax-{machine}-{os.getpid()}-{token}.tmp", f".dipjax-{machine}-{os.getppid()}-{token}.tmp"]
    elsewhere = [f".dipjax-00000000-{process}-{token}.tmp", f".dipjax-{token}.tmp"]
    others = [".dipjax-notes.tmp", f"x.dipjax-{machine}-{process}-{token}.tmp", f".dipjax-{machine}-{process}-{token}.tmp.png", "a.tmp"]
    for name in (*alive, *elsewhere, *others):
        write(tmp_path / name, b"")
    dead = f".dipjax-{machine}-{process}-"
    (tmp_path / f"{dead}{token}.tmp").symlink_to(tmp_path / "a.tmp")
    (tmp_path / f"{dead}{token[::-1]}.tmp").mkdir()
    files.sweep(tmp_path)
    kept = {*alive, *elsewhere, *others, f"{dead}{token}.tmp", f"{dead}{token[::-1]}.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    for name in (*elsewhere, *others):
        os.utime(tmp_path / name, (old, old))
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept - set(elsewhere)


def test_sweeping_what_is_not_there_does_nothing(tmp_path):
    files.sweep(tmp_path / "missing")
    files.sweep(write(tmp_path / "file", b""))


def test_a_temporary_file_is_new_and_never_a_link_to_another(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0" * 16)
    left = leave_a_temporary_file(tmp_path)
    mine = "-".join((*left.name.split("-")[:2], str(os.getpid()), "0" * 16)) + ".tmp"
    (tmp_path / mine).symlink_to(write(tmp_path / "precious", b"precious"))
    with pytest.raises(OutputError, match="cannot write"):
        files.write(tmp_path / "c", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_limit_on_the_length_of_files_gives_the_real_reason(tmp_path):
    code = f"""
import resource
from dipjax import files
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    files.write({str(tmp_path / "a.json")!r}, b"much")
except files.OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write '{tmp_path}/a.json': File too large\n"
    assert list(tmp_path.iterdir()) == []
