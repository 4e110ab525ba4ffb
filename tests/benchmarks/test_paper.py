"""The tables of benchmarks/paper.py: they measure by the published protocols, keep what is finished, and go on where they stopped."""

import dataclasses
import json
from operator import itemgetter

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks import paper
from dipjax.core import check as checks
from dipjax.core import drive, loop, problem
from dipjax.fitting import inputs
from dipjax.recipes import Setting, fast
from dipjax.recipes import paper as published
from tests.conftest import mixer_recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")
NOISY = ("f16", "house", "peppers")


def tiny(channels):
    return Setting(mixer_recipe(channels), 4)


@pytest.fixture(autouse=True)
def tiny_recipes(monkeypatch):
    for key in paper.SETTINGS:
        monkeypatch.setitem(paper.SETTINGS, key, tiny)


@pytest.fixture
def data(tmp_path):
    """Writes pictures of 8 bit where the tables look for them, and returns the folder."""
    random = np.random.default_rng(0)
    wanted = [("denoising", name, (16, 20, 3)) for name in NOISY]
    # Odd sizes: the picture is cut to the factor first and then around its centre.
    wanted += [("superres", "bird", (75, 49, 3)), ("superres", "bridge", (64, 64))]
    wanted += [("inpainting", "house", (16, 18)), ("text", "kate", (16, 18, 3)), ("bsd68", "test002", (15, 17))]
    for table, name, shape in wanted:
        path = tmp_path / paper.FILES[table][name]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(path)
    mask = np.where(random.random((16, 18)) < 0.8, 255, 0).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "dip/inpainting/kate_mask.png")
    return tmp_path


def arguments(data, table, *options, name="report"):
    files = ["--data", str(data), "--json", str(data / f"{name}.json"), "--markdown", str(data / f"{name}.md")]
    return [table, *files, *map(str, options)]


def rows(data, name="report"):
    return json.loads((data / f"{name}.json").read_text())["rows"]


def restore(task, channels, num_steps=4, seeds=2, rng=0):
    return drive.restore(tiny(channels).recipe, drive.seeds(rng, seeds), task, num_steps=num_steps)


def psnr(image, truth):
    return 10 * np.log10(1 / np.mean((np.float64(image) - np.float64(truth)) ** 2))


def check(row, metric, score, result, channels):
    """Compares all that a row says of one metric with the PSNRs of the pictures of a run made here."""
    assert row["averaged"][metric] == pytest.approx([score(image) for image in np.asarray(result.images)], abs=1e-3)
    assert row["mean"][metric] == pytest.approx(score(np.asarray(result.image)), abs=1e-3)
    singles = []
    for k in range(2):
        state = jax.tree.map(itemgetter(k), result.state)
        noise = loop.noise(state._replace(step=4))
        singles.append(score(np.asarray(tiny(channels).recipe.generator.apply(state.params, state.z + 0.03 * noise))))
    assert row["single"][metric] == pytest.approx(singles, abs=1e-3)


@pytest.mark.parametrize(("table", "sigma", "mode", "name"), [("denoising", 50, "RGB", "house"), ("bsd68", 25, "L", "test002")])
def test_denoising_is_measured_on_all_pixels_under_clipped_noise(data, table, sigma, mode, name):
    paper.main(arguments(data, table, "--images", name, "--sigma", sigma, "--steps", 4))
    index = list(paper.FILES[table]).index(name)
    truth = np.float32(Image.open(data / paper.FILES[table][name]).convert(mode)) / 255
    truth = truth.reshape(*truth.shape[:2], -1)
    noisy = np.float32(np.clip(truth + np.random.default_rng([0, index]).normal(0, sigma / 255, truth.shape), 0, 1))
    task = paper.problem.denoising(noisy, truth=truth)
    result = restore(task, truth.shape[2])
    row, metric = rows(data)[name], "RGB" if mode == "RGB" else "gray"
    assert row["input"][metric] == pytest.approx(psnr(noisy, truth))
    check(row, metric, lambda image: psnr(image, truth), result, truth.shape[2])
    assert row["best_single"] == pytest.approx(result.metrics.psnr.max(-1), abs=1e-3)
    assert row["best_averaged"] == pytest.approx(result.metrics.psnr_average.max(-1), abs=1e-3)


@pytest.mark.parametrize(("factor", "name"), [(4, "bridge"), (8, "bird")])
def test_super_resolution_is_measured_on_luma_without_a_frame_and_on_rgb(data, factor, name):
    paper.main(arguments(data, "superres", "--images", name, "--factor", factor, "--steps", 4))
    picture = np.asarray(Image.open(data / paper.FILES["superres"][name]).convert("RGB"))
    # 75 x 49 is 72 x 48 in multiples of either factor, and 64 x 32 around the centre of that.
    truth = picture[4:68, 8:40] if name == "bird" else picture
    height, width = truth.shape[:2]
    small = Image.fromarray(truth).resize((width // factor, height // factor), Image.Resampling.LANCZOS)
    bicubic = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)) / 255

    def eight_bit(image):
        return np.round(np.float64(image) * 255) / 255

    def luma(image):
        red, green, blue = np.moveaxis(eight_bit(image) * 255, -1, 0)
        return ((65.481 * red + 128.553 * green + 24.966 * blue) / 255 + 16)[4 : height - 5, 4 : width - 5] / 255

    assert "input=Noise(depth=" in (data / "report.md").read_text()
    row = rows(data)[name]
    assert row["input"]["Y"] == pytest.approx(psnr(luma(bicubic), luma(truth / 255)))
    assert row["input"]["RGB"] == pytest.approx(psnr(bicubic, truth / 255))
    result = restore(paper.problem.super_resolution(np.asarray(small) / 255, factor), 3)
    check(row, "Y", lambda image: psnr(luma(image), luma(truth / 255)), result, 3)
    check(row, "RGB", lambda image: psnr(eight_bit(image), truth / 255), result, 3)


@pytest.mark.parametrize(("table", "name"), [("inpainting", "house"), ("text", "kate")])
def test_inpainting_is_measured_raw_and_with_the_known_pixels_pasted(data, table, name):
    paper.main(arguments(data, table, "--images", name, "--steps", 4))
    truth = np.float32(Image.open(data / paper.FILES[table][name])) / 255
    truth = truth.reshape(*truth.shape[:2], -1)
    if table == "text":
        known = np.asarray(Image.open(data / "dip/inpainting/kate_mask.png")) == 255
    else:
        known = np.random.default_rng([0, list(paper.FILES[table]).index(name)]).random((16, 18)) > 0.5
    result = restore(paper.problem.inpainting(truth, known, truth=truth), truth.shape[2])
    row = rows(data)[name]
    check(row, "raw", lambda image: psnr(image, truth), result, truth.shape[2])
    check(row, "pasted", lambda image: psnr(np.where(known[..., None], truth, image), truth), result, truth.shape[2])
    assert row["best_averaged"] == pytest.approx(result.metrics.psnr_average.max(-1), abs=1e-3)


def test_an_interrupted_table_keeps_its_rows_and_completes_the_rest(data, monkeypatch, capsys):
    command = arguments(data, "denoising", "--images", *NOISY, "--steps", 2)
    measure, measured = paper.measure, []

    def interrupted(name, *others):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(name)
        return measure(name, *others)

    monkeypatch.setattr(paper, "measure", interrupted)
    with pytest.raises(SystemExit) as ending:
        paper.main(command)
    assert ending.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    first = rows(data)
    assert list(first) == ["f16", "house"]

    monkeypatch.setattr(paper, "measure", lambda name, *others: (measured.append(name), measure(name, *others))[1])
    paper.main(command)
    assert measured == list(NOISY)
    assert rows(data).items() > first.items()
    text = (data / "report.md").read_text()
    assert all(f"| {name} |" in text for name in NOISY)
    assert "average of 3 of 9" in text
    assert "29.22 | 30.43 | 31.00" in text
    assert str(data) not in text


def test_rows_of_other_settings_are_refused(data, capsys):
    paper.main(arguments(data, "denoising", "--images", "house", "--steps", 2))
    before = (data / "report.json").read_text()
    with pytest.raises(SystemExit, match="steps 2 instead of 3; name another file"):
        paper.main(arguments(data, "denoising", "--images", "house", "--steps", 3))
    assert (data / "report.json").read_text() == before


def test_rows_of_another_input_are_refused(data, monkeypatch):
    paper.main(arguments(data, "denoising", "--images", "house", "--steps", 2))
    other = tiny(3).changed(input=inputs.Noise(4, scale=1.0, grain=2))
    monkeypatch.setitem(paper.SETTINGS, ("denoising 25", "fast"), lambda channels: other)
    with pytest.raises(SystemExit, match="method .*grain=1.* instead of .*grain=2"):
        paper.main(arguments(data, "denoising", "--images", "house", "--steps", 2))


def test_of_a_part_of_the_pictures_nothing_is_published(data):
    whole, mask = (np.asarray(Image.open(data / "dip/inpainting" / name)) for name in ("kate.png", "kate_mask.png"))
    task = paper.make_task("kate", paper.parse(arguments(data, "text", "--crop", 10))).problem
    assert np.array_equal(task.truth, whole[3:13, 4:14] / np.float32(255))
    assert np.array_equal(task.operator.known[..., 0], mask[3:13, 4:14] > 127)
    assert paper.make_task("bird", paper.parse(arguments(data, "superres", "--crop", 40))).problem.shape == (32, 32, 3)
    assert paper.make_task("house", paper.parse(arguments(data, "inpainting", "--crop", 17))).problem.shape == (16, 17, 1)

    paper.main(arguments(data, "inpainting", "--images", "house", "--steps", 2, "--crop", 8))
    text = (data / "report.md").read_text()
    assert "inpainting, middle 8 x 8, PSNR in dB, raw" in text
    assert "No published numbers." in text
    assert "39.16" not in text
    assert "--crop 8" in text
    with pytest.raises(SystemExit, match="crop 8 instead of None"):
        paper.main(arguments(data, "inpainting", "--images", "house", "--steps", 2))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rows": {}}', '{"settings": [], "rows": {}}', '{"settings": {}, "rows": []}'])
def test_a_report_that_is_none_is_refused_and_stays(data, content):
    (data / "report.json").write_text(content)
    with pytest.raises(SystemExit, match="is no report"):
        paper.main(arguments(data, "denoising", "--images", "house", "--steps", 2))
    assert (data / "report.json").read_text() == content


def test_errors_are_one_sentence(data):
    with pytest.raises(SystemExit, match="there is no picture 'castle' in this table; there are f16, house, .*, kodim03"):
        paper.main(arguments(data, "denoising", "--images", "castle"))
    with pytest.raises(SystemExit, match="cset9/image_House256rgb.png is missing; --data names the folder"):
        paper.main(arguments(data / "elsewhere", "denoising", "--images", "house"))
    with pytest.raises(SystemExit, match="there is no picture 'zebra' in this table; there are baby, bird"):
        paper.main(arguments(data, "superres", "--set", "set5", "--images", "zebra"))
    (data / paper.FILES["denoising"]["house"]).write_text("no picture")
    with pytest.raises(SystemExit, match="cannot identify image"):
        paper.main(arguments(data, "denoising", "--images", "house", "--steps", 2))


def test_a_run_that_its_budget_ends_says_how_far_it_came(data, monkeypatch):
    iterate = drive.iterate
    monkeypatch.setattr(drive, "iterate", lambda *some, **options: iterate(*some, **options, chunk_seconds=1e-9))
    paper.main(arguments(data, "denoising", "--images", "house", "--steps", 1000, "--budget", 1e-6))
    row = rows(data)["house"]
    assert row["steps"] == 1
    assert "| 1 of 1000 |" in (data / "report.md").read_text()


def test_diverged_seeds_are_named_and_not_counted(data, monkeypatch):
    follow = paper.follow

    def lose(num, *some):
        return dataclasses.replace(follow(*some), alive=np.arange(2) >= num)

    for num, name in ((1, "house"), (2, "f16")):
        monkeypatch.setattr(paper, "follow", lambda *some: lose(num, *some))  # noqa: B023
        paper.main(arguments(data, "denoising", "--images", name, "--steps", 2))
    assert [rows(data)[name]["alive"] for name in ("house", "f16")] == [1, 0]
    assert len(rows(data)["house"]["single"]["RGB"]) == 1
    text = (data / "report.md").read_text()
    assert "house, 1 of 2 seeds diverged" in text
    assert "f16, 2 of 2 seeds diverged" in text


def test_the_mean_of_runs_is_measured_over_every_choice(data, monkeypatch):
    monkeypatch.setitem(paper.MEMBERS, "other", lambda setting: setting)
    figure = data / "figure.png"
    paper.main(
        arguments(data, "ensemble", "--images", "house", "--seeds", 3, "--steps", 2, "--members", "as-is", "other", "--figure", figure)
    )
    row = rows(data)["house"]
    task = paper.make_task("house", paper.parse(arguments(data, "ensemble")))
    images = np.asarray(restore(task.problem, 3, num_steps=2, seeds=3).images, np.float64)
    truth = np.asarray(task.problem.truth)
    pairs = [psnr((images[i] + images[j]) / 2, truth) for i, j in ((0, 1), (0, 2), (1, 2))]
    found = row["equal"]["sizes"]
    assert list(found) == ["1", "2", "3"]
    assert [found["2"][name] for name in ("mean", "min", "max")] == pytest.approx([np.mean(pairs), min(pairs), max(pairs)], abs=1e-3)
    assert found["3"]["mean"] == pytest.approx(psnr(images.mean(0), truth), abs=1e-3)
    assert [len(member["psnr"]) for member in row["mixed"]["members"].values()] == [2, 1]
    assert figure.stat().st_size > 0
    assert "| 3 |" in (data / "report.md").read_text()


def test_the_members_of_the_mixed_ensemble_are_all_different_and_fit():
    for setting in (fast.denoising(3), published.denoising(3)):
        members = [change(setting).recipe for change in paper.MEMBERS.values()]
        assert len(set(members)) == len(members)
        data = paper.problem.denoising(np.zeros((32, 32, 3), np.float32))
        checks.fits(members[1], data, problem.spread(data, None))


def test_the_published_numbers_are_those_of_the_paper():
    known = [
        ("denoising 25", "RGB", "f16", 33.69),
        ("denoising 25", "RGB", "baboon", 24.51),
        ("denoising 50", "RGB", "kodim12", 29.01),
        ("superres 4", "Y", "butterfly", 26.23),
        ("superres 4", "RGB", "zebra", 24.18),
        ("superres 8", "Y", "pepper", 29.18),
        ("superres 8", "RGB", "woman", 23.10),
        ("inpainting", "raw", "cameraman", 29.80),
        ("inpainting", "pasted", "montage", 34.60),
    ]
    for variant, metric, name, value in known:
        assert paper.PUBLISHED[variant, metric][name] == value
    assert paper.PUBLISHED_CURVES["text", "kate"][6000] == 39.0
    assert not any(variant.startswith("bsd68") for variant, _ in paper.PUBLISHED)


@pytest.mark.parametrize(("variant", "metric", "folder"), paper.PUBLISHED_AVERAGES)
def test_the_published_averages_are_those_of_the_published_pictures(variant, metric, folder):
    files = paper.FILES[variant.split()[0]]
    values = [value for name, value in paper.PUBLISHED[variant, metric].items() if files[name].startswith(f"{folder}/")]
    # 27.00 in the text of the paper is 27.01 in its detailed tables.
    assert np.mean(values) == pytest.approx(paper.PUBLISHED_AVERAGES[variant, metric, folder]["published"], abs=0.011)
