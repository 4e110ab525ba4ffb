"""Many pictures with one command: what is restored, what is left out, where it goes, and what is said of it."""

import importlib
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax import app
from dipjax.app import many, signals
from dipjax.operators import frame
from tests.app.conftest import HOLE, flow

STEPS = ("--steps", 2, "--seeds", 1)


def write(name, height, width, mode="RGB"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(name)


def record(name):
    return json.loads(Path(name).read_text())


def times(*names):
    return [Path(name).stat().st_mtime_ns for name in names]


def test_files_folders_and_patterns_end_in_one_folder_each_with_its_record(folder, run):
    for name in ("scans/a.tif", "scans/b.tif", "scans/deep/c.png", "scans/.hidden.png", "scans/notes.txt"):
        write(name, 20, 24) if not name.endswith("txt") else Path(name).write_text("x")
    code, out, err = run("denoise", "photo.png", "scans", "-o", "out", *STEPS)
    assert code == 0, err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a.tif", "a.tif.json", "b.tif", "b.tif.json", "photo.png", "photo.png.json",
    ]  # fmt: skip
    assert "3 pictures: 3 restored" in out
    assert record("out/a.tif.json")["input"] == {"file": "a.tif", "width": 24, "height": 20}
    code, out, _ = run("denoise", "scans/*.tif", "-o", "pattern", *STEPS)
    assert code == 0 and "2 pictures: 2 restored" in out
    code, out, _ = run("denoise", "scans", "--recursive", "-o", "all", *STEPS)
    assert code == 0 and "3 pictures: 3 restored" in out and Path("all/deep/c.png").exists()


def test_without_a_folder_results_lie_beside_their_inputs(folder, run):
    assert run("denoise", "photo.png", "clean.png", *STEPS)[0] == 0
    assert Path("photo.denoised.png").exists() and Path("clean.denoised.png.json").exists()


def test_what_is_done_with_the_same_settings_is_left_out_and_the_rest_is_done(folder, run):
    shutil.copytree(".", "in", ignore=lambda path, names: {"mask.png", "in"})
    assert run("denoise", "in", "-o", "out", *STEPS)[0] == 0
    before = times("out/photo.png", "out/clean.png")
    Path("out/clean.png.json").write_text('{"begun": true}')  # as a process leaves it that was killed before it was done
    code, out, err = run("denoise", "in", "-o", "out", *STEPS)
    assert code == 0 and "2 pictures: 1 restored, 1 done before" in out
    assert times("out/photo.png")[0] == before[0]
    code, out, _ = run("denoise", "in", "-o", "out", "--steps", 3, "--seeds", 1)
    assert code == 0 and "2 pictures: 2 restored" in out
    write("in/photo.png", 24, 20)
    code, out, _ = run("denoise", "in", "-o", "out", "--steps", 3, "--seeds", 1)
    assert code == 0 and "1 restored, 1 done before" in out


def test_what_is_not_of_such_a_command_is_not_replaced(folder, run):
    Path("out").mkdir()
    shutil.copy("mask.png", "out/photo.png")
    before = Path("out/photo.png").read_bytes()
    for record in (None, "[]", '{"mine": 1}'):
        if record:
            Path("out/photo.png.json").write_text(record)
        code, out, err = run("denoise", "photo.png", "clean.png", "-o", "out", *STEPS)
        assert code == 1 and "already exists" in err and "1 failed" in out
        assert Path("out/photo.png").read_bytes() == before
        assert record is None or Path("out/photo.png.json").read_text() == record
    assert run("denoise", "photo.png", "clean.png", "-o", "out", "--force", *STEPS)[0] == 0
    assert Path("out/photo.png").read_bytes() != before


def test_a_bad_picture_gets_a_record_with_its_error_and_the_others_are_done(folder, run, capsys):
    Path("in").mkdir()
    shutil.copy("photo.png", "in/a.png")
    Path("in/b.png").write_bytes(b"not a picture")
    shutil.copy("clean.png", "in/c.png")
    code, out, err = run("denoise", "in", "-o", "out", *STEPS)
    assert code == 1 and "3 pictures: 2 restored, 1 failed" in out
    assert "in/b.png" in record("out/b.png.json")["error"] and not Path("out/b.png").exists()
    shutil.copy("photo.png", "in/b.png")
    code, out, _ = run("denoise", "in", "-o", "out", *STEPS)
    assert code == 0 and "1 restored, 2 done before" in out


def test_masks_and_references_may_lie_in_a_folder_under_the_names_of_the_pictures(folder, run):
    Path("masks").mkdir(), Path("true").mkdir()
    for name in ("photo", "clean"):
        Image.fromarray(HOLE).save(f"masks/{name}.tif")
        shutil.copy("clean.png", f"true/{name}.png")
    words = ("--mask", "masks", "--reference", "true", "--curve", "curves-{}.csv")
    code, _, err = run("inpaint", "photo.png", "clean.png", "-o", "out", *words, *STEPS)
    assert code == 0, err
    assert record("out/clean.png.json")["metrics"]["ensemble"]["psnr"] > record("out/photo.png.json")["metrics"]["ensemble"]["psnr"]
    assert Path("curves-photo.csv").exists() and Path("curves-clean.csv").exists()


@pytest.mark.parametrize(("words", "code", "sentence"), [
    (("photo.png", "clean.png", "--plot", "one.png"), 4, "one file for several pictures"),
    (("photo.png", "clean.png", "--json", "one.json"), 4, "one file for several pictures"),
    (("photo.png", "clean.png", "-o", "mask.png"), 4, "it is a file"),
    (("nothing/*.png", "-o", "out"), 3, "there is no picture"),
    (("photo.png", "copy/photo.png", "-o", "out"), 4, "would both become"),
])  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_done(folder, run, words, code, sentence):
    write("copy/photo.png", 20, 20)
    found, _, err = run("denoise", *words, *STEPS)
    assert found == code and sentence in err
    assert not Path("out/photo.png").exists()


def test_the_fingerprint_is_of_what_decides_the_picture(folder):
    from dipjax.app import cli

    def of(*words):
        given = cli.parse(["denoise", *words])
        (given.input,) = given.input
        return many.fingerprint(given)

    same = of("photo.png")
    assert of("photo.png", "-o", "x.png", "--force", "--checkpoint", "c", "--json", "f.json") == same
    others = [
        of("clean.png"),
        of("photo.png", "--seeds", "2"),
        of("photo.png", "--loss", "l1"),
        of("photo.png", "--reference", "clean.png"),
    ]
    assert len({same, *others}) == 5


def test_what_was_interrupted_is_not_done(folder, run):
    words = ("denoise", "photo.png", "clean.png", "-o", "out", *STEPS)
    assert run(*words)[0] == 0
    content = record("out/photo.png.json")
    Path("out/photo.png.json").write_text(json.dumps(content | {"ending": "interrupted"}))
    code, out, _ = run(*words)
    assert code == 0 and "1 restored, 1 done before" in out


def test_a_folder_of_checkpoints_holds_all_pictures_and_goes_on(folder, run):
    words = ("denoise", "photo.png", "clean.png", "-o", "out", "--checkpoint", "kept", *STEPS)
    assert run(*words)[0] == 0
    assert sorted(path.name.partition("-")[0] for path in Path("kept").iterdir()) == ["clean.png", "command.json", "photo.png"]
    assert "nothing is left to do" in run("resume", "kept")[1]
    content = record("kept/command.json")
    Path("kept/command.json").write_text(json.dumps(content | {"ending": None}))
    Path("out/clean.png.json").write_text('{"begun": true}')
    code, out, _ = run("resume", "kept")
    assert code == 0 and "1 restored, 1 done before" in out


def test_results_beside_their_inputs_are_not_restored_again(folder, run):
    for name in ("mask.png", "clean.png"):
        Path(name).unlink()
    assert "1 picture: 1 restored" in run("denoise", ".", *STEPS)[1]
    assert "1 done before" in run("denoise", ".", *STEPS)[1]
    assert "1 done before" in run("denoise", "*.png", *STEPS)[1]
    assert sorted(path.name for path in folder.iterdir()) == ["photo.denoised.png", "photo.denoised.png.json", "photo.png"]


def test_what_is_written_beside_the_results_is_not_replaced_either(folder, run):
    Path("curve-photo.csv").write_text("precious")
    code, out, err = run("denoise", "photo.png", "clean.png", "-o", "out", "--curve", "curve-{}.csv", *STEPS)
    assert code == 1 and "1 restored, 1 failed" in out and Path("curve-photo.csv").read_text() == "precious"
    write("photo.tif", 20, 20)
    code, _, err = run("denoise", "photo.png", "photo.tif", "-o", "out", "--curve", "both-{}.csv", *STEPS)
    assert code == 4 and "would both become" in err


def test_pictures_of_one_name_in_two_folders_have_checkpoints_of_their_own(folder, run):
    write("in/x/1.png", 20, 24), write("in/y/1.png", 24, 20)
    for _ in range(2):
        code, out, err = run("denoise", "in", "--recursive", "-o", "out", "--checkpoint", "kept", *STEPS)
        assert code == 0, err
    assert "2 done before" in out


def test_the_folder_of_another_command_is_refused_and_stays_as_it_was(folder, run):
    assert run("denoise", "photo.png", "clean.png", "-o", "out", "--checkpoint", "kept", *STEPS)[0] == 0
    before = Path("kept/command.json").read_bytes()
    code, _, err = run("denoise", "photo.png", "clean.png", "-o", "other", "--checkpoint", "kept", *STEPS)
    assert code == 3 and "are of another command, dipjax denoise photo.png clean.png -o out" in err
    assert Path("kept/command.json").read_bytes() == before


def test_a_picture_of_which_an_output_failed_is_not_done(folder, run, monkeypatch):
    from dipjax.app import report

    curve = report.curve
    monkeypatch.setattr(report, "curve", lambda told: 1 / 0)
    words = ("denoise", "photo.png", "-o", "out/", "--curve", "curve-{}.csv", *STEPS)
    Path("out").mkdir()
    code, out, _ = run(*words)
    assert code == 1 and record("out/photo.png.json")["ending"] == "failed"
    monkeypatch.setattr(report, "curve", curve)
    code, out, _ = run(*words)
    assert code == 0 and "1 restored" in out and Path("curve-photo.csv").exists()


def test_a_moving_gif_among_many_becomes_a_stack(folder, run):
    frames = [Image.fromarray(np.full((20, 24), value, np.uint8)) for value in (9, 99, 199)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    code, _, err = run("denoise", "moving.gif", "photo.png", "-o", "out", *STEPS)
    assert code == 0, err
    assert Path("out/moving.gif.tif").exists()


# Frames.


def test_a_hundred_sizes_become_a_handful():
    sizes = [frame.size(number) for number in range(1, 2000)]
    assert all(number <= size for number, size in enumerate(sizes, 1))
    assert all(size <= max(1.25 * number, number + 8) for number, size in enumerate(sizes, 1))
    assert len({frame.size(number) for number in range(100, 201)}) == 5
    assert [frame.size(number) for number in (128, 129, 256, 300, 512, 1024)] == [128, 160, 256, 320, 512, 1024]


@pytest.mark.slow
def test_pictures_of_many_sizes_share_a_few_programs(folder, run):
    from dipjax import compiling
    from dipjax.core import drive

    for side in range(33, 41):
        write(f"in/{side}.png", side, 40)
    compiling.forget()
    assert run("denoise", "in", "-o", "out", *STEPS)[0] == 0
    assert drive._advance.num_ready == 1
    with Image.open("out/33.png") as picture:
        assert picture.size == (40, 33)


@pytest.mark.parametrize("task", ["denoise", "inpaint", "superres", "deblur", "dejpeg", "flash"])
@pytest.mark.slow
def test_every_task_takes_many_pictures(folder, run, task):
    Image.fromarray(HOLE).save("hole.png")
    own = {
        "inpaint": ("--mask", "hole.png"),
        "superres": ("--factor", "2"),
        "deblur": ("--gaussian", "1"),
        "flash": ("--flash", "clean.png"),
    }
    code, _, err = run(task, "photo.png", "clean.png", "-o", "out", *own.get(task, ()), *STEPS)
    assert code == 0, err
    with Image.open("out/photo.png") as picture:
        assert picture.size == ((40, 48) if task == "superres" else (20, 24))


@pytest.mark.parametrize("words", [("--tile", 24), ("--stop", "discrepancy"), ("--stop", "held-out")])
@pytest.mark.slow
def test_frames_go_with_tiles_and_with_every_rule(folder, run, words):
    write("in/a.png", 37, 41), write("in/b.png", 33, 45)
    code, _, err = run("denoise", "in", "-o", "out", *words, "--steps", 2, "--seeds", 2)
    assert code == 0, err


@pytest.mark.parametrize("factor", ["4/3", "1.3", "2.5"])
@pytest.mark.slow
def test_a_framed_picture_is_enlarged_to_the_size_that_it_has_alone(folder, run, factor):
    write("in/a.png", 37, 41), write("in/b.png", 34, 45)
    assert run("superres", "in", "-o", "out", "--factor", factor, *STEPS)[0] == 0
    for name in "ab":
        assert run("superres", f"in/{name}.png", "-o", f"{name}.png", "--factor", factor, *STEPS)[0] == 0
        with Image.open(f"out/{name}.png") as framed, Image.open(f"{name}.png") as alone:
            assert framed.size == alone.size


@pytest.mark.slow
def test_nothing_is_fitted_nor_held_out_in_a_frame():
    import jax
    import jax.numpy as jnp

    from dipjax.operators import problem
    from dipjax.stopping import HeldOut

    pixels = np.random.default_rng(0).random((20, 24, 1), np.float32)
    inside = np.zeros((32, 32, 1), bool)
    inside[:20, :24] = True
    task = problem.denoising(frame.framed(pixels, (32, 32)))
    task = task.replace(operator=frame.Framed(task.operator, inside, task.measurement))
    gradient = jax.grad(lambda image: jnp.sum((task.operator(image) - task.measurement) ** 2))(jnp.zeros(task.shape))
    assert ((gradient != 0) == inside).all()
    memory = HeldOut(0.3).init(jax.random.key(0), task, (jnp.zeros(task.shape),))
    assert (memory.scored & ~inside).sum() == 0 < memory.scored.sum()


def side_by_side(monkeypatch):
    """Notes how many pictures are computed at once."""
    command, sizes = importlib.import_module("dipjax.app.command"), []
    own = command.restored

    def restored(plans, follow):
        outcomes = own(plans, follow)
        sizes.append(len(plans))
        return outcomes

    monkeypatch.setattr(command, "restored", restored)
    return sizes


@pytest.mark.slow
def test_pictures_of_one_size_are_computed_side_by_side_and_come_out_as_alone(folder, run, monkeypatch):
    sizes = side_by_side(monkeypatch)
    for name, sides in {"a": (20, 24), "b": (40, 44), "c": (20, 24), "d": (20, 24), "e": (40, 44)}.items():
        write(f"in/{name}.png", *sides)
    words = ("--steps", 4, "--seeds", 2, "--stop", "held-out")
    maps = lambda folder: ("--uncertainty", f"{folder}/{{}}.std.tif", "--curve", f"{folder}/{{}}.csv")  # noqa: E731
    code, out, err = run("denoise", "in", "-o", "one", *words, *maps("one"))
    assert code == 0, err
    code, out, err = run("denoise", "in", "-o", "two", "--together", 2, *words, *maps("two"))
    assert code == 0 and "5 pictures: 5 restored" in out, err
    assert sizes == [2, 2]  # a and c, b and e; d comes last and alone
    for path in Path("one").iterdir():
        if path.suffix != ".json":
            assert path.read_bytes() == (Path("two") / path.name).read_bytes(), path.name
    one, two = (record(f"{name}/c.png.json") for name in ("one", "two"))
    assert one["steps"] == two["steps"] and one["seeds"] == two["seeds"] and one["fingerprint"] == two["fingerprint"]
    assert run("denoise", "in", "-o", "two", *words, *maps("two"))[1].count("5 done before") == 1


@pytest.mark.slow
def test_pages_are_computed_side_by_side(folder, run, monkeypatch):
    sizes = side_by_side(monkeypatch)
    pages = np.random.default_rng(0).integers(0, 256, (3, 20, 24), np.uint8)
    tifffile.imwrite("stack.tif", pages, photometric="minisblack")
    assert run("denoise", "stack.tif", "-o", "one.tif", *STEPS)[0] == 0
    assert run("denoise", "stack.tif", "-o", "all.tif", "--together", 3, *STEPS)[0] == 0
    assert sizes == [3]
    np.testing.assert_array_equal(tifffile.imread("all.tif"), tifffile.imread("one.tif"))


@pytest.mark.parametrize("words", [("--checkpoint", "kept"), ("--budget", 60), ("--tile", 24)])
def test_what_belongs_to_one_picture_is_computed_alone(folder, run, monkeypatch, words):
    sizes = side_by_side(monkeypatch)
    for name in "ab":
        write(f"in/{name}.png", 48, 40)
    code, _, err = run("denoise", "in", "-o", "out", "--together", 2, *STEPS, *words)
    assert code == 0, err
    assert sizes == []


def test_what_fails_side_by_side_is_tried_alone_and_costs_no_other(folder, run, monkeypatch):
    sizes, tried, own = side_by_side(monkeypatch), [], flow.drive.iterate
    for name in "abc":
        write(f"in/{name}.png", 20, 24)

    def iterate(recipe, start, problem, **how):
        if how.get("problem_axis") == 0:
            raise RuntimeError("out of memory")  # as the compiler does
        tried.append(1)
        if len(tried) == 2:
            raise RuntimeError("this one")
        return own(recipe, start, problem, **how)

    monkeypatch.setattr(flow.drive, "iterate", iterate)
    code, out, err = run("denoise", "in", "-o", "out", "--together", 3, *STEPS)
    assert code == 1 and "3 pictures: 2 restored, 1 failed" in out and "this one" in err
    assert sizes == [] and sorted(path.name for path in Path("out").glob("*.png")) == ["a.png", "c.png"]


def test_a_picture_whose_seeds_all_diverge_costs_no_other(folder, run, monkeypatch):
    for name in "ab":
        write(f"in/{name}.png", 20, 24)
    own = flow._parts

    def parts(result, number):
        first, second = own(result, number)
        return [replace(first, alive=first.alive & False), second]

    monkeypatch.setattr(flow, "_parts", parts)
    code, out, err = run("denoise", "in", "-o", "out", "--together", 2, *STEPS)
    assert code == 1, (out, err)
    assert "2 pictures: 1 restored, 1 failed" in out and "all 1 seeds diverged" in err
    assert "diverged" in record("out/a.png.json")["error"] and Path("out/b.png").exists() and not Path("out/a.png").exists()


def test_of_a_group_that_was_interrupted_what_had_stopped_by_itself_is_done(folder, capsys, monkeypatch):
    for name in "ab":
        write(f"in/{name}.png", 20, 24)
    command = importlib.import_module("dipjax.app.command")

    def interrupted(results, num_steps, **more):
        for latest in results:  # noqa: B007
            pass
        latest = replace(latest, stopped=np.array([True, True, True, False]))
        monkeypatch.setattr(signals._State, "requested", signal.SIGINT)
        return flow.Followed(latest, "interrupted", 130)

    monkeypatch.setattr(command.progress, "follow", interrupted)
    words = ("denoise", "in", "-o", "out", "--together", "2", "--seeds", "2", "--steps", "3", "--stop", "held-out")
    assert app.main(list(words)) == 130
    assert "2 pictures: 1 restored, 1 left" in capsys.readouterr().out
    assert [record(f"out/{name}.png.json")["ending"] for name in "ab"] == ["stopped", "interrupted"]
    assert Path("out/b.png").exists()


def test_a_group_has_the_truth_of_each_picture_and_leaves_stacks_to_themselves(folder, run, monkeypatch):
    sizes = side_by_side(monkeypatch)
    for name in "ac":
        write(f"in/{name}.png", 20, 24)
        write(f"true/{name}.png", 24, 20)
        with Image.open(f"true/{name}.png") as picture:
            picture.rotate(90, expand=True).save(f"true/{name}.png")
    tifffile.imwrite("in/b.tif", np.random.default_rng(0).integers(0, 256, (2, 20, 24), np.uint8), photometric="minisblack")
    for words in ((), ("--together", 2)):
        code, _, err = run("denoise", "in", "-o", f"out{len(words)}", *STEPS, *words, "--reference", "true", "--pages", "1")
        assert code == 0 or "b.tif" in err
    assert sizes == [2]
    for name in "ac":
        assert record(f"out0/{name}.png.json")["metrics"] == record(f"out2/{name}.png.json")["metrics"]
    sizes.clear()
    assert run("denoise", "in", "-o", "all", "--together", 2, *STEPS)[0] == 0
    assert sizes == [2, 2] and tifffile.imread("all/b.tif").shape == (2, 20, 24)
