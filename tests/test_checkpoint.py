"""A run that is broken off and goes on from its checkpoint ends as if nothing had happened; what is damaged or foreign is refused."""

import json
import struct
from dataclasses import replace
from unittest.mock import NonCallableMock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dipjax
from benchmarks.reliability import damaged
from dipjax import checkpoint, stopping
from dipjax.checkpoint import Checkpoint
from dipjax.core import drive, layouts, problem
from dipjax.files import OutputError
from dipjax.fitting import inputs
from dipjax.large import tiling
from dipjax.operators import problem as problems
from tests.conftest import ADAM, mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)
PICTURE = RNG.random((20, 24, 3), np.float32)
STOPPING = {
    "no rule": None,
    "held out": stopping.HeldOut(patience=0.0, least=3),
    "wmv": stopping.WindowedVariance(window=4, patience=3),
    "sure": stopping.Sure(patience=0.0, least=3),
}


def task(seed=0, **more):
    picture = np.random.default_rng(seed).random((20, 24, 3), np.float32)
    return problems.denoising(picture, **more)


def alike(one, other):
    """Says whether two trees are equal bit for bit."""
    plain = lambda leaf: np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)  # noqa: E731
    assert jax.tree.structure(one) == jax.tree.structure(other)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(plain(a).tobytes() == plain(b).tobytes() and a.dtype == b.dtype for a, b in pairs)


def same(one, other):
    """Says whether two results are equal but for their times."""
    names = ("images", "alive", "num_steps", "stopped", "steps", "best_steps", "left_out")
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    return alike(one.metrics, other.metrics) and alike(one.state, other.state)


def whole(recipe, keys, data, folder=None, grid=None, *, until=None, num_steps=30, **more):
    """Runs to the end, or until it is broken off after so many results."""
    results = tiling.iterate(recipe, keys, data, grid, num_steps=num_steps, folder=folder, **more)
    for number, result in enumerate(results):
        last = result
        if until is not None and number >= until:
            break
    return last


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """One step a chunk: there is a result, and a checkpoint, after every one."""
    iterate = drive.iterate
    monkeypatch.setattr(drive, "iterate", lambda *arguments, **more: iterate(*arguments, **more | {"chunk_seconds": 1e-9}))


@pytest.fixture
def folder(tmp_path):
    return lambda recipe, **more: checkpoint.Folder(tmp_path / "kept", recipe, **{"every": 1e-9} | more)


@pytest.mark.parametrize("rule", STOPPING)
@pytest.mark.parametrize("shape", [1, 3])
def test_a_run_that_goes_on_ends_bit_for_bit_as_one_that_was_never_broken_off(rule, shape, folder, monkeypatch):
    recipe, data, keys = mixer_recipe(3, stopping=STOPPING[rule]), task(truth=PICTURE), drive.seeds(3, shape)
    expected = whole(recipe, keys, data)
    for until in (1, 2, 3, 100):
        broken = whole(recipe, keys, data, folder(recipe), until=until)
        assert broken.num_steps
    nothing_begins = NonCallableMock(spec=["eval_shape"], eval_shape=drive.loop.begun.eval_shape)
    monkeypatch.setattr(drive.loop, "begun", nothing_begins)
    assert same(whole(recipe, keys, data, folder(recipe)), expected)


@pytest.mark.slow
def test_seeds_that_had_stopped_stay_stopped(folder):
    recipe, data, keys = mixer_recipe(3, stopping=stopping.HeldOut(patience=0.2, least=3, tolerance=0)), task(), drive.seeds(0, 4)
    expected = whole(recipe, keys, data, num_steps=200)
    assert len(set(expected.steps.tolist())) > 1, "the seeds of this test stop at different steps"
    results = tiling.iterate(recipe, keys, data, None, num_steps=200, folder=folder(recipe))
    broken = next(result for result in results if 0 < result.stopped.sum() < 4)
    results.close()
    assert broken.stopped.any()
    assert same(whole(recipe, keys, data, folder(recipe), num_steps=200), expected)


@pytest.mark.parametrize("rule", ["no rule", "held out"])
@pytest.mark.slow
def test_tiles_go_on_where_they_were(rule, folder):
    recipe, data, keys = mixer_recipe(3, stopping=STOPPING[rule]), task(truth=PICTURE), drive.seeds(0, 2)
    grid, _ = tiling.plan(recipe, data, 2, tile=16, overlap=8)
    expected = whole(recipe, keys, data, grid=grid)
    for until in (2, 9, 17, 0):
        whole(recipe, keys, data, folder(recipe), grid, until=until)
    found = whole(recipe, keys, data, folder(recipe), grid)
    assert same(found, expected)
    if rule != "no rule":
        one, other = (result.make_uncertainty() for result in (found, expected))
        np.testing.assert_array_equal(one.std, other.std)


def test_a_state_goes_on_with_another_layout(folder):
    recipe, data, keys = mixer_recipe(3), task(), drive.seeds(0, 4)
    expected = whole(recipe, keys, data, batching=layouts.ONE_BY_ONE)
    whole(recipe, keys, data, folder(recipe), until=3, batching=layouts.Layout(2, 1))
    found = whole(recipe, keys, data, folder(recipe), batching=layouts.ONE_BY_ONE)
    np.testing.assert_allclose(found.images, expected.images, atol=1e-4)


def test_more_steps_go_on_from_the_end(folder):
    recipe, data, keys = mixer_recipe(3), task(), drive.seeds(0, 2)
    whole(recipe, keys, data, folder(recipe), num_steps=10)
    assert same(whole(recipe, keys, data, folder(recipe), num_steps=30), whole(recipe, keys, data, num_steps=30))


# Files.


@pytest.fixture
def kept(tmp_path):
    """A file, what is in it, and its problem."""
    recipe, data = mixer_recipe(3, stopping=STOPPING["held out"]), task(truth=PICTURE)
    result = drive.restore(recipe, drive.seeds(0, 2), data, num_steps=4)
    point = Checkpoint(recipe, result.state, result.metrics, 1.5, 2.5)
    checkpoint.save(tmp_path / "run.dipjax", point, data)
    return tmp_path / "run.dipjax", point, data


def test_what_is_saved_is_loaded(kept):
    path, point, data = kept
    found = checkpoint.load(path, data, recipe=point.recipe)
    assert alike(found.state, point.state) and alike(found.metrics, point.metrics)
    assert found[3:] == (1.5, 2.5)
    assert b"pickle" not in path.read_bytes()


@pytest.mark.parametrize("make", [lambda: jax.random.key(0), lambda: drive.seeds(0, 2), lambda: jax.random.key(0, impl="rbg")])
def test_runs_of_every_shape_and_keys_of_every_kind_are_kept(make, tmp_path):
    recipe, data = mixer_recipe(3), task()
    result = drive.restore(recipe, make(), data, num_steps=2)
    checkpoint.save(tmp_path / "a", Checkpoint(recipe, result.state, result.metrics), data)
    found = checkpoint.load(tmp_path / "a", data, recipe=recipe)
    assert alike(found.state, result.state)
    goes_on = drive.restore(recipe, found.state, data, num_steps=4)
    np.testing.assert_array_equal(goes_on.images, drive.restore(recipe, make(), data, num_steps=4).images)


def test_a_batch_of_problems_is_kept(tmp_path):
    recipe, data = mixer_recipe(3), problem.stack([task(0), task(1)])
    keys = jnp.stack([drive.seeds(n, 2) for n in range(2)])
    result = drive.restore(recipe, keys, data, num_steps=2, problem_axis=0)
    checkpoint.save(tmp_path / "a", Checkpoint(recipe, result.state, result.metrics), data)
    assert alike(checkpoint.load(tmp_path / "a", data, recipe=recipe, problem_axis=0).state, result.state)


def test_the_recipe_is_in_the_file(tmp_path):
    from dipjax.generators import Plain

    recipe, data = replace(mixer_recipe(3), generator=Plain(3, width=4, num_layers=1), input=inputs.Noise(4), optimizer=ADAM), task()
    result = drive.restore(recipe, jax.random.key(0), data, num_steps=1)
    checkpoint.save(tmp_path / "a", Checkpoint(recipe, result.state, result.metrics), data)
    assert checkpoint.load(tmp_path / "a", data).recipe == recipe


def test_a_part_of_the_users_own_must_be_given(kept):
    path, _, data = kept
    with pytest.raises(ValueError, match="a part made by the user"):
        checkpoint.load(path, data)


def test_the_checkpoint_of_another_recipe_is_refused_and_the_difference_named(kept):
    path, point, data = kept
    with pytest.raises(ValueError, match=r"recipe\.input\.depth is 4 there and 6 here"):
        checkpoint.load(path, data, recipe=replace(point.recipe, input=inputs.Noise(6, scale=1.0)))


@pytest.mark.parametrize(("other", "word"), [
    (lambda: task(1, truth=PICTURE), "measurement"),
    (task, "truth"),
    (lambda: problems.inpainting(task().measurement, known=np.ones((20, 24), bool), truth=PICTURE), "operator"),
])  # fmt: skip
def test_the_checkpoint_of_another_problem_is_refused_and_the_difference_named(kept, other, word):
    path, point, _ = kept
    with pytest.raises(ValueError, match=f"of another problem, its (shape|{word})"):
        checkpoint.load(path, other(), recipe=point.recipe)


def test_other_seeds_are_refused(folder):
    recipe, data = mixer_recipe(3), task()
    whole(recipe, drive.seeds(0, 2), data, folder(recipe))
    for keys in (drive.seeds(1, 2), drive.seeds(0, 3)):
        with pytest.raises(ValueError, match="of other seeds or another rng"):
            whole(recipe, keys, data, folder(recipe))


def test_another_schema_is_refused_in_words(kept):
    path, point, data = kept
    path.write_bytes(path.read_bytes().replace(b"dipjax checkpoint 1\n", b"dipjax checkpoint 7\n", 1))
    with pytest.raises(ValueError, match="has schema 7, expected 1"):
        checkpoint.load(path, data, recipe=point.recipe)


def test_no_damage_is_taken_for_good(kept):
    path, point, data = kept
    good, random = path.read_bytes(), np.random.default_rng(0)
    number = 0
    for _ in range(200):
        if (bad := damaged(good, random)) == good:
            continue
        path.write_bytes(bad)
        number += 1
        with pytest.raises(ValueError, match="checkpoint: "):
            checkpoint.load(path, data, recipe=point.recipe)
    assert number > 150


def test_headers_that_lie_are_refused_before_anything_is_allocated(kept):
    import hashlib

    path, point, data = kept
    good = path.read_bytes()
    length = struct.unpack("<Q", good[20:28])[0]
    header, arrays = json.loads(good[28 : 28 + length]), good[28 + length : -32]

    def write(changed):
        text = json.dumps(changed).encode()
        body = good[:20] + struct.pack("<Q", len(text)) + text + arrays
        path.write_bytes(body + hashlib.sha256(body).digest())

    first = header["arrays"][0]
    lies = [
        header | {"arrays": [first | {"shape": [2**40, 2**40]}, *header["arrays"][1:]]},
        header | {"arrays": [first | {"shape": [-1]}, *header["arrays"][1:]]},
        header | {"arrays": [first | {"dtype": "object"}, *header["arrays"][1:]]},
        header | {"arrays": [first | {"name": ".other"}, *header["arrays"][1:]]},
        header | {"arrays": header["arrays"][::-1][:-1]},
        header | {"arrays": 5},
        {name: value for name, value in header.items() if name != "problem"},
        [],
    ]
    write(header)
    checkpoint.load(path, data, recipe=point.recipe)
    for lie in lies:
        write(lie)
        with pytest.raises(ValueError, match="checkpoint: "):
            checkpoint.load(path, data, recipe=point.recipe)


def test_where_the_newest_is_damaged_the_one_before_counts_with_a_warning(kept):
    path, point, data = kept
    later = drive.restore(point.recipe, point.state, data, num_steps=6)
    checkpoint.save(path, point._replace(state=later.state, metrics=later.metrics), data)
    content = bytearray(path.read_bytes())
    content[-99] ^= 1
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"damaged, its digest differs; the one before it is taken, of step 4"):
        found = checkpoint.load(path, data, recipe=point.recipe)
    assert alike(found.state, point.state)
    assert alike(checkpoint.load(path, data, recipe=point.recipe).state, point.state)


def test_a_process_that_ended_between_two_generations_loses_one_of_them(kept):
    path, point, data = kept
    path.rename(path.with_name("run.dipjax.1"))
    assert alike(checkpoint.load(path, data, recipe=point.recipe).state, point.state)


def test_a_checkpoint_that_cannot_be_written_warns_once_and_the_work_goes_on(tmp_path, monkeypatch):
    recipe, data, keys, said = mixer_recipe(3), task(), drive.seeds(0, 2), []

    def full(*arguments, **more):
        raise OutputError("cannot write 'a': no space is left")

    kept = checkpoint.Folder(tmp_path / "kept", recipe, every=1e-9, warn=said.append)
    monkeypatch.setattr(checkpoint, "save", full)
    assert same(whole(recipe, keys, data, kept), whole(recipe, keys, data))
    assert said == ["cannot write 'a': no space is left; the work goes on without a checkpoint"]


def test_a_folder_that_is_none_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        dipjax.denoise(PICTURE, recipe=mixer_recipe(3), checkpoint=tmp_path / "file", num_iter=2)


def test_the_functions_for_people_go_on(tmp_path):
    how = {"recipe": mixer_recipe(3), "num_iter": 12, "seeds": 2, "stop": "none"}
    expected = dipjax.denoise(PICTURE, **how)
    dipjax.denoise(PICTURE, **how, checkpoint=tmp_path / "kept", checkpoint_every=1e-9, callback=lambda result: result.num_steps > 2)
    seen = []
    found = dipjax.denoise(PICTURE, **how, checkpoint=tmp_path / "kept", callback=lambda result: seen.append(result.num_steps))
    np.testing.assert_array_equal(found, expected)
    assert seen[0] > 2
