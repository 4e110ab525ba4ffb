"""What is kept for the next start: found again by what it follows from, and by nothing less; whatever becomes of the files."""

import functools
import os
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import generators, kriging, operators, recipes, shelf
from dipjax.compiling import Program, compiled, forget
from dipjax.core import drive, layouts
from dipjax.operators import problem
from tests.conftest import light_keys, mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")

CALLS = []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A shelf, in a process that has nothing of what is on it; afterwards there is none. What the tests define counts as dipjax's own."""
    monkeypatch.setattr(shelf, "_KNOWN", shelf._KNOWN | {"tests"})
    cache = jax.config.jax_compilation_cache_dir
    shelf.use(tmp_path / "kept")
    CALLS.clear()
    start_again()
    yield tmp_path / "kept"
    shelf.use(None)
    jax.config.update("jax_compilation_cache_dir", cache)


@shelf.remembered
def size(array, factor, of=None):
    CALLS.append(factor)
    if factor < 0:
        raise ValueError("a factor below zero")
    return None if factor == 0 else factor * array.size


@compiled(static_argnames="exponent")
def power(x, exponent, more=1):
    CALLS.append(exponent)
    return {"power": x**exponent + more}


def start_again():
    """Forgets what this process has, as another one would begin."""
    forget()
    jax.clear_caches()


def test_nothing_is_kept_where_nobody_asked_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    assert [size(np.ones(3), 2), size(np.ones(3), 2)] == [6, 6] and CALLS == [2, 2]
    assert not shelf.is_used() and shelf.place(size, "key", shelf.FOUND) is None and not any(tmp_path.iterdir())
    shelf.write(None, 1)
    assert shelf.read(None) is None


def test_what_was_found_is_found_again_for_other_numbers_of_the_same_kind(folder):
    assert [size(np.ones(3), 2), size(np.zeros(3), 2), size(jax.ShapeDtypeStruct((3,), np.float64), 2)] == [6, 6, 6]
    assert CALLS == [2] and len(shelf.files(folder, shelf.FOUND)) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda: size(np.ones(4), 2),
        lambda: size(np.ones((3, 1)), 2),
        lambda: size(np.ones(3, np.float32), 2),
        lambda: size(np.ones(3), 3),
        lambda: size(np.ones(3), 2.0),
        lambda: size(np.ones(3), np.int64(3)),
        lambda: size(np.ones(3), np.int64(2)),
        lambda: size(np.ones(3), np.float16(2)),
        lambda: size(np.ones(3), 2, of=()),
        lambda: size(np.ones(3), 2, of=operators.Identity()),
    ],
)
def test_other_settings_shapes_types_and_structures_are_others(folder, other):
    size(np.ones(3), 2)
    other()
    assert len(CALLS) == 2


def test_operators_with_the_same_fields_are_told_apart(folder):
    @dataclass(frozen=True)
    class Mine:
        """Which only this process knows."""

    size(np.ones(3), 2, of=operators.Identity())
    size(np.ones(3), 2, of=operators.Complex())
    assert len(CALLS) == 2 and len(shelf.files(folder)) == 2
    assert shelf.place(size, Mine(), shelf.FOUND) is None and shelf.place(size, lambda: 0, shelf.PROGRAM) is None
    assert size(np.ones(3), 2, of=Mine()) == size(np.ones(3), 2, of=Mine()) == 6 and len(CALLS) == 4 and len(shelf.files(folder)) == 2


def test_what_others_have_made_is_not_kept_since_only_its_name_would_be_known(folder, monkeypatch):
    monkeypatch.setattr(shelf, "_KNOWN", shelf._KNOWN - {"tests"})
    image = problem.denoising(picture())
    for _ in range(2):
        assert drive.restore(mixer_recipe(), light_keys(1)[0], image, num_steps=2).num_steps == 2
        assert power(2.0, 3)["power"] == 9 and size(np.ones(3), 2) == 6
        start_again()
    assert len(shelf.files(folder, shelf.PROGRAM)) <= 1 and not shelf.files(folder, shelf.FOUND)  # that of the keys, at most
    for part in (mixer_recipe(), picture, power, functools.cache(picture), jax.jit(picture), partial(picture, 3)):
        assert shelf.place(drive.restore, part, shelf.FOUND) is None
    assert shelf.place(drive.restore, (drive.iterate, drive._advance, partial(jnp.sum, axis=0)), shelf.FOUND) is not None


def test_functions_without_names_of_their_own_are_not_kept(folder):
    twice, thrice = compiled()(lambda x: 2 * x), compiled()(lambda x: 3 * x)
    assert [twice(1.0), thrice(1.0)] == [2, 3]
    assert [shelf.remembered(lambda x, n=n: n)(1) for n in (2, 3)] == [2, 3]
    assert not shelf.files(folder)


@pytest.mark.parametrize("lacking", ["sources", "version"])
def test_where_it_is_not_known_which_dipjax_this_is_nothing_is_kept(tmp_path, monkeypatch, lacking):
    if lacking == "sources":
        monkeypatch.setattr(shelf.Path, "rglob", lambda self, pattern: [])
    else:
        monkeypatch.setattr(shelf, "_PACKAGES", ("no_such_package",))
    with pytest.raises(OSError, match="version|sources"):
        shelf.use(tmp_path / "kept")
    assert not shelf.is_used()


def test_a_folder_that_is_only_written_to_gives_nothing(folder):
    size(np.ones(3), 2)
    shelf.use(folder, reads=False)
    assert size(np.ones(3), 2) == 6 and CALLS == [2, 2]


def test_a_folder_that_can_only_be_read_gives_what_it_has(folder, monkeypatch):
    size(np.ones(3), 2)

    def refuse(*_):
        raise OSError("read-only")

    monkeypatch.setattr(shelf.os, "utime", refuse)
    monkeypatch.setattr(shelf.Path, "write_bytes", refuse)
    assert size(np.ones(3), 2) == 6 and CALLS == [2]
    assert size(np.ones(4), 2) == 8 and size(np.ones(4), 2) == 8 and CALLS == [2, 2, 2]


def test_errors_and_nothing_are_not_kept(folder):
    for _ in range(2):
        with pytest.raises(ValueError, match="below zero"):
            size(np.ones(3), -1)
        assert size(np.ones(3), 0) is None
    assert len(CALLS) == 4 and not shelf.files(folder)


@pytest.mark.parametrize("part", ["source", "variable", "file", "version", "setting"])
def test_another_environment_finds_nothing(folder, part, monkeypatch, tmp_path):
    (tmp_path / "flags.txt").write_text("--xla_a=1")
    if part == "file":
        monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags.txt"))
    before = shelf._environment()
    assert before == shelf._environment()
    if part == "source":
        all_of = shelf.Path.rglob
        monkeypatch.setattr(shelf.Path, "rglob", lambda self, pattern: list(all_of(self, pattern))[1:])
    elif part == "file":
        (tmp_path / "flags.txt").write_text("--xla_a=2")
    elif part == "variable":
        monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " ")
    elif part == "version":
        monkeypatch.setattr(shelf.metadata, "version", lambda name: "0.0")
    else:
        jax.config.update("jax_default_matmul_precision", "bfloat16")
    try:
        assert shelf._environment() != before
    finally:
        if part == "setting":
            jax.config.update("jax_default_matmul_precision", None)


def test_equal_keys_are_one_whatever_objects_they_share(folder):
    name, other = "a name", "".join(["a ", "name"])
    assert name is not other
    assert shelf.place(size, (name, name), shelf.FOUND) == shelf.place(size, (name, other), shelf.FOUND) is not None


def test_a_program_is_read_and_not_traced_again(folder):
    x, read = np.arange(4, dtype=np.float32), Program.num_read
    first = power(x, 3)["power"]
    assert CALLS == [3] and len(shelf.files(folder, shelf.PROGRAM)) == 1
    start_again()
    np.testing.assert_array_equal(power(jnp.asarray(x), exponent=3)["power"], first)
    assert CALLS == [3] and Program.num_read == read + 1
    np.testing.assert_array_equal(power(x, 3)["power"], first)  # of this process by now
    assert CALLS == [3] and Program.num_read == read + 1


def test_a_program_for_other_arguments_is_another(folder):
    x = np.arange(4, dtype=np.float32)
    for arguments in ((x, 3), (x, 2), (x[:2], 3), (x.astype(np.int32), 3), (2.0, 3), (2, 3), (x, 3, 2.0)):
        np.testing.assert_allclose(power(*arguments)["power"], np.power(arguments[0], arguments[1]) + (arguments[2:] or (1,))[0])
    assert len(CALLS) == 7 == len(shelf.files(folder))
    assert power(3.0, 3)["power"] == 28 and power(3, 3)["power"] == 28 and len(CALLS) == 7  # numbers are arrays of none


def test_a_program_inside_another_and_one_that_cannot_be_kept_are_as_ever(folder, monkeypatch):
    np.testing.assert_allclose(jax.jit(lambda x: power(x, 3)["power"])(2.0), 9)
    np.testing.assert_allclose(jax.grad(lambda x: power(x, 3)["power"])(2.0), 12)
    assert not shelf.files(folder)
    monkeypatch.setattr("dipjax.compiling.serialize_executable.serialize", lambda program: 1 / 0)
    assert power(2.0, 3)["power"] == 9 and not shelf.files(folder)


@compiled()
def root(x):
    return jnp.linalg.cholesky(x)


def test_a_program_that_calls_a_library_is_not_kept_since_the_next_process_would_crash(folder):
    np.testing.assert_allclose(root(np.eye(2, dtype=np.float32)), np.eye(2))
    assert not shelf.files(folder)


def test_what_is_put_back_is_kept(folder):
    data = problem.inpainting(picture(16, 16), np.arange(256).reshape(16, 16) % 2 == 0)
    start_again()
    found, read = [], Program.num_read
    for _ in range(2):
        found.append(kriging.put_back(data, np.full((1, 16, 16, 1), 0.5, np.float32)))
        start_again()
    assert [Program.num_read - read, len(shelf.files(folder, shelf.PROGRAM))] == [1, 1]
    np.testing.assert_array_equal(*found)


def test_with_a_cache_of_jax_nothing_is_written_since_half_of_it_would_be_missing(folder, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    assert power(2.0, 3)["power"] == 9 and not shelf.files(folder)


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-9], lambda data: data[:99] + b"\0" + data[100:], lambda data: b"x" * 999]
)
def test_damaged_files_are_made_anew(folder, damage):
    x = np.arange(4, dtype=np.float32)
    power(x, 3), size(x, 2)
    before = {path: path.read_bytes() for path in shelf.files(folder)}
    assert len(before) == 2
    for path, data in before.items():
        path.write_bytes(damage(data))
    start_again()
    assert power(x, 3)["power"][2] == 9 and size(x, 2) == 8
    assert CALLS == [3, 2, 3, 2] and {path.stat().st_size for path in before} == {len(data) for data in before.values()}


def test_a_program_that_cannot_be_loaded_is_compiled(folder, monkeypatch):
    power(2.0, 3)
    start_again()
    before = {path: path.stat().st_mtime_ns for path in shelf.files(folder)}
    with monkeypatch.context() as other:
        other.setattr("dipjax.compiling.serialize_executable.deserialize_and_load", lambda *parts, **how: 1 / 0)
        assert power(2.0, 3)["power"] == 9 and CALLS == [3, 3]
    assert all(path.stat().st_mtime_ns > time for path, time in before.items())  # written anew
    start_again()
    assert power(2.0, 3)["power"] == 9 and CALLS == [3, 3]


def test_what_a_killed_process_left_counts_and_goes(folder, monkeypatch):
    left = folder / f"12345.{'0' * 64}.program"
    left.write_bytes(b"x" * 1000)
    os.utime(left, (1e9, 1e9))
    monkeypatch.setattr(shelf, "_MOST_BYTES", 500)
    size(np.ones(3), 2)
    assert not left.exists() and len(shelf.files(folder)) == 1


def test_a_folder_that_is_gone_is_no_failure(folder):
    folder.rmdir()
    assert power(2.0, 3)["power"] == 9 and size(np.ones(3), 2) == 6


def test_what_was_not_used_for_longest_makes_room(folder, monkeypatch):
    one, two, three = (shelf.place(size, name, shelf.FOUND) for name in ("one", "two", "three"))
    for age, path in ((9, one), (8, two)):
        shelf.write(path, "x" * 1000)
        os.utime(path, (1e9 - age, 1e9 - age))
    assert shelf.read(one) == "x" * 1000  # which is used now
    monkeypatch.setattr(shelf, "_MOST_BYTES", 2500)
    shelf.write(three, "x" * 1000)
    assert {path.name for path in folder.iterdir()} == {one.name, three.name}


def test_nobody_else_can_write_to_it(folder):
    assert folder.stat().st_mode & 0o777 == 0o700


LAYOUTS = [layouts.ONE_BY_ONE, layouts.Layout(2), layouts.Layout(1, 1)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["one by one", "in twos", "one device"])
def test_a_restoration_is_the_same_with_what_was_kept(folder, layout):
    shelf.use(None)
    data, recipe = problem.denoising(picture(), truth=picture(seed=1)), recipes.for_generator(generators.Plain(1, 2)).recipe
    restore = partial(drive.restore, recipe, drive.seeds(0, 4), data, batching=layout)
    results, read = [restore(num_steps=5)], Program.num_read
    for steps in (5, 6):
        shelf.use(folder)
        start_again()
        results.append(restore(num_steps=steps))
    assert Program.num_read == read + 2 and len(shelf.files(folder)) == 3
    np.testing.assert_array_equal(results[1].images, results[0].images)
    np.testing.assert_array_equal(results[2].metrics.loss[:, :5], results[0].metrics.loss)
    assert results[2].num_steps == 6
