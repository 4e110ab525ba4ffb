"""Pages of `--report`: what they hold, that nothing of a file's name is obeyed, and what a browser makes of them."""

import base64
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
from argparse import Namespace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipjax.app import cli
from dipjax.app.html import curves, maps
from dipjax.app.html.markup import command, document
from dipjax.app.html.page import page
from dipjax.app.report import Report, command_line
from dipjax.core.state import Metrics, Result
from dipjax.files import markup, web
from dipjax.operators import problem
from dipjax.residuals import Residual
from dipjax.stopping import HeldOut
from dipjax.tasks.door import Task
from dipjax.tasks.options import Options
from dipjax.tasks.restore import Outcome
from dipjax.uncertainty import Uncertainty
from tests.app.conftest import HOLE, PATIENCE, RGB, tiny

STEPS = ("--steps", 2, "--seeds", 1)
HOSTILE = '"><img src=x onerror=alert(1)>.png'
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """A page: its elements `(name, attributes, text)`, all of which are closed."""

    def __init__(self, data):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(data.decode("utf-8"))
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for element in self._open:
            element[2] += data

    def all(self, tag, **attributes):
        return [one for one in self.elements if one[0] == tag and attributes.items() <= one[1].items()]

    @property
    def text(self):
        return self.all("body")[0][2]

    def check(self):
        """Sees to it that nothing comes from outside, and that the policy lets through what is to be seen."""
        (policy,) = self.all("meta", **{"http-equiv": "Content-Security-Policy"})
        for tag in ("style", "script"):
            ((_, _, text),) = self.all(tag)
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy[1]["content"]
            assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
        assert policy[1]["content"].startswith("default-src 'none'; img-src data:; ")
        for tag, attributes, _ in self.elements:
            assert tag not in {"iframe", "object", "embed", "base", "form"}
            assert not any(name == "style" or name.startswith("on") for name in attributes)
            for name in {"src", "href", "srcset", "action", "data"} & set(attributes):
                assert attributes[name].startswith("data:") or (tag, name, attributes[name][:2]) == ("a", "href", "./")
        for uri in (attributes["src"] for tag, attributes, _ in self.elements if tag == "img"):
            decoded(uri).load()
        return self


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2], validate=True)))


def read(name):
    return Page(Path(name).read_bytes()).check()


def made(shape, num_seeds, *, steps=300):
    """Returns a restoration that nobody computed; the pictures are noise, which no format makes smaller."""
    rng = np.random.default_rng(0)
    clean, noisy, *images = rng.random((num_seeds + 2, *shape), np.float32)
    falling = np.tile(1 / np.arange(1, steps + 1, dtype=np.float32), (num_seeds, 1))
    metrics = Metrics(falling, 20 - falling, 21 - falling, (), falling)
    ends = {"stopped": np.ones(num_seeds, bool), "best_steps": np.full(num_seeds, steps // 2), "steps": np.full(num_seeds, steps)}
    found = Uncertainty(rng.random(shape, np.float32), 0.1)
    alive = np.ones(num_seeds, bool)
    result = Result(np.stack(images), alive, metrics, steps, 1.0, 1.0, True, lambda: None, make_uncertainty=lambda: found, **ends)
    task = Task(problem.denoising(noisy), noisy, truth=clean)
    return Outcome(task, Options(seeds=num_seeds), tiny().changed(stopping=HeldOut()), "tiny", steps, None, None, result, "stopped", 0)


def page_of(outcome, name="photo.png"):
    given = Namespace(task="denoise", input=name, arguments=["denoise", name], uncertainty=None)
    return page(Report(outcome, given, Path("out.png"), outcome.before.shape[:2]), [])


def test_a_page_shows_everything_and_a_name_is_only_shown(folder, run):
    shutil.copy("photo.png", HOSTILE)
    words = ("--seeds", "2", "--steps", "2", "--reference", "clean.png", "--report", "r.html", "--json", "r.json")
    arguments = ["denoise", HOSTILE, "-o", "out.png", *words]
    code, out, err = run(*arguments)
    assert code == 0 and "wrote r.html" in out, err
    found, record = read("r.html"), json.loads(Path("r.json").read_text())
    assert found.all("h1")[0][2] == f"{HOSTILE}, denoise"
    ((_, _, command),) = found.all("pre", **{"class": "command"})
    assert shlex.split(command) == ["dipjax", *arguments] and command == record["command"]
    assert cli.parse(shlex.split(command)[1:]).report == "r.html"
    exact = decoded(found.all("img", id="after")[0][1]["src"])
    np.testing.assert_array_equal(np.asarray(exact), np.asarray(Image.open("out.png")))
    np.testing.assert_array_equal(np.asarray(decoded(found.all("img", id="before")[0][1]["src"])), RGB)
    assert [one[1]["data-name"] for one in found.all("button", **{"class": "pick"})] == ["mean of 2 seeds", "seed 0", "seed 1", "reference"]
    assert found.all("input", type="range") and len(found.all("svg")) == 3
    for text in ("the correlation of neighbours is", f"{record['metrics']['ensemble']['psnr']:.2f} dB", "estimated error", "Uncertainty"):
        assert text in found.text
    assert f"jax {record['versions']['jax']}" in found.text and record["device"]["kind"] in found.text
    assert json.loads(found.all("details")[1][2].removeprefix("The whole recipe")) == record["recipe"]


# Denoising above; dejpeg and flash look alike: measurement and result are of one size.
@pytest.mark.parametrize(("task", "words"), [
    ("inpaint", ("--mask", "hole.png")), ("superres", ("--factor", "2")), ("deblur", ("--gaussian", "1", "--boundary", "valid")),
    ("denoise", ("--tile", "20")),
])  # fmt: skip
@pytest.mark.slow
def test_every_task_has_a_page(folder, run, task, words):
    Image.fromarray(HOLE).save("hole.png")
    code, _, err = run(task, "photo.png", "-o", "out.png", *words, *STEPS, "--report", "r.htm")
    assert code == 0, err
    assert "mean of 1 seed" in read("r.htm").text


@pytest.mark.slow
def test_several_pictures_have_an_index_and_what_failed_is_in_it(folder, run):
    Path("in/deep").mkdir(parents=True)
    for name in (HOSTILE, "deep/1.png", "1.png"):
        shutil.copy("photo.png", f"in/{name}")
    Path("in/broken.png").write_bytes(b"nothing")
    words = ("denoise", "in", "--recursive", "-o", "out", *STEPS, "--report", "out/all #1.html")
    code, _, err = run(*words)
    assert code == 1, err
    found = read("out/all #1.html")
    rows = {row[2]: row for row in found.all("tr")[1:]}
    heads = [text for _, _, text in found.all("th")]
    assert heads == ["", "picture", "status", "seconds", "steps"]  # of PSNR and error nothing is known, and no column is empty
    assert len(rows) == 4 and sum("failed: cannot read" in text and "broken.png" in text for text in rows) == 1
    assert any(f"in/{HOSTILE}done" in text for text in rows) and "3 done" in found.text
    links = [one[1]["href"] for one in found.all("a")]
    assert len(set(links)) == 3 and all(link.startswith("./all%20%231_files/") for link in links)
    for path in Path("out/all #1_files").iterdir():
        read(path)
    assert len(found.all("img")) == 3
    shutil.copy("photo.png", "in/broken.png")  # the index of such a command is replaced, and tells of what was done before
    code, out, err = run(*words)
    assert code == 0 and "1 restored, 3 done before" in out, err
    assert "4 done" in read("out/all #1.html").text


def test_the_pages_of_a_stack_have_an_index(folder, run):
    with tifffile.TiffWriter("stack.tif") as writer:
        for page in (RGB, RGB[::-1]):
            writer.write(page, photometric="rgb", metadata=None)
    code, _, err = run("denoise", "stack.tif", "photo.png", "-o", "out", *STEPS, "--report", "all.html")
    assert code == 0, err
    assert "2 done" in read("all.html").text
    (stack,) = Path("all_files").glob("stack*.html")
    found = read(stack)
    links = found.all("a")  # a thumbnail and a name for each
    assert [one[2] for one in links] == ["", "page 1", "", "page 2"] and len(found.all("img")) == 2
    assert [one[1]["href"] for one in links[::2]] == [one[1]["href"] for one in links[1::2]]
    assert "page" not in read("all_files/" + found.all("a")[0][1]["href"][2:]).all("h1")[0][2]


@pytest.mark.parametrize("many", [(), ("clean.png", "-o", "out")], ids=["one", "many"])
@pytest.mark.parametrize("name", ["mine.html", "report.pdf", "-", "missing/r.html"])
def test_a_page_without_a_place_is_refused_before_anything_is_done(folder, run, monkeypatch, many, name):
    monkeypatch.setattr("dipjax.app.progress.follow", pytest.fail)
    Path("mine.html").write_text("precious")
    assert run("denoise", "photo.png", *many, *STEPS, "--report", name)[0] == 4
    assert Path("mine.html").read_text() == "precious" and not Path("out/photo.png").exists()


def test_512_x_512_pixels_with_eight_seeds_take_at_most_five_megabytes():
    data = page_of(made((512, 512, 3), 8))
    found = Page(data).check()
    assert len(data) <= 5_000_000
    assert {decoded(found.all("img", id=name)[0][1]["src"]).format for name in ("before", "after")} == {"PNG"}
    assert "seed 7" in found.text and "JPEG, not exact, reduced to 256 x 256" in found.text


@pytest.mark.parametrize("shape", [(5, 7, 1), (1, 1, 3), (6, 4, 2)])
def test_any_picture_and_any_number_of_seeds_has_a_page(shape):
    assert "6 more seeds are not shown" in Page(page_of(made(shape, 30, steps=1))).check().text


def test_a_name_that_is_no_text_is_shown_by_its_numbers():
    assert Page(page_of(made((8, 8, 3), 1), "a\udcff\u202eb\x00.png")).check().all("h1")[0][2] == "a\\udcff\\u202eb\\x00.png, denoise"


def test_the_command_is_what_a_shell_needs():
    words = ["de noise", HOSTILE, "it's\n", "a\udcff\u202e1\\", "", "$x"]
    if not (shell := shutil.which("bash")):
        pytest.skip("needs bash")
    said = subprocess.run(
        [shell, "-c", f"dipjax() {{ printf '%s\\0' \"$@\"; }}; {command_line(words)}"], capture_output=True, check=True
    ).stdout
    assert said.decode("utf-8", "surrogateescape").split("\0")[:-1] == words


# The parts.


def test_a_small_picture_is_exact_and_a_large_one_says_what_it_is():
    noise = np.random.default_rng(0).random((64, 48, 3), np.float32)
    exact = web.shown(noise, most_bytes=20_000)
    assert (exact.kind, exact.is_reduced) == ("PNG", False)
    np.testing.assert_array_equal(np.asarray(decoded(exact.uri)), np.rint(noise * 255))
    small = web.shown(noise, most_bytes=2_000)
    assert (small.kind, small.is_reduced) == ("JPEG", True) and len(small.data) <= 2_000
    assert decoded(small.uri).size == (small.width, small.height) == (24, 32)


def test_a_map_has_its_ends_and_gray_where_nothing_is_known():
    colours = np.linspace(0, 1, 9)[:, None].repeat(3, 1) * [1, 0.5, 0]
    found = decoded(web.mapped(np.array([[-9, 2], [3, np.nan]]), 2, 3, colours, most_bytes=9_999).uri).convert("RGB")
    np.testing.assert_array_equal(np.asarray(found), [[[0, 0, 0], [0, 0, 0]], [[255, 128, 0], [128, 128, 128]]])


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("line", [[1.0], [np.inf, 3.0, 2.0, np.inf], [np.inf], [0.0, 0.0], [1e-30, 1e30]])
def test_a_chart_draws_what_is_finite(line, is_log):
    drawn = curves.chart("loss", "step", [np.array(line)], marks=[1], is_log=is_log).text
    assert "nan" not in drawn and "inf" not in drawn
    assert len(re.findall("[ML]", "".join(re.findall('d="([^"]*)"', drawn)))) <= max(2, len(line))


@pytest.mark.parametrize(("correlation", "words"), [
    (0.01, "looks like independent noise"), (0.2, "some structure is left"), (0.6, "much structure"), (-0.2, "opposite signs"),
    (np.nan, "no neighbours"),
])  # fmt: skip
def test_the_residual_is_judged_in_words(correlation, words):
    assert words in maps.verdict(Residual(np.zeros((2, 2, 1)), correlation, 0.01))


# In a browser.


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a page of so many pixels' width; in the end nothing was asked of a network, complained of, or popped up."""
    said, contexts = [], []

    def visit(data, width=1000):
        path = tmp_path / "page.html"
        path.write_bytes(data)
        contexts.append(browser.new_context(viewport={"width": width, "height": 700}))
        contexts[-1].set_default_timeout(PATIENCE)
        view = contexts[-1].new_page()
        for event in ("console", "pageerror", "dialog"):
            view.on(event, lambda what, event=event: said.append((event, str(what))))
        view.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else said.append(request.url))
        view.goto(path.as_uri())
        return view

    yield visit
    for context in contexts:
        context.close()
    assert not said


def test_the_divide_and_the_zoom_work_by_keyboard_and_by_pointer(visit):
    view = visit(page_of(made((32, 48, 3), 2), HOSTILE))
    divide = lambda: float(view.evaluate("getComputedStyle(stage).getPropertyValue('--divide')")[:-1])  # noqa: E731
    assert divide() == 50
    view.focus("#divide")
    view.keyboard.press("ArrowLeft")
    assert divide() == 49.5
    place = view.locator("#stage").bounding_box()
    low = place["y"] + place["height"] - 20  # the slider is below, and what is above may be out of sight
    view.mouse.move(place["x"] + place["width"] / 2, low)
    view.mouse.down()
    view.mouse.move(place["x"] + place["width"] / 4, low)
    view.mouse.up()
    assert divide() == pytest.approx(25, abs=1)
    view.focus("#viewer")
    view.keyboard.press("+")
    assert view.locator("#stage").bounding_box()["width"] == pytest.approx(1.5 * place["width"], abs=1)
    view.click("#exact")
    assert view.locator("#stage").bounding_box()["width"] == 48
    view.click("text=seed 1 >> xpath=ancestor::figure >> css=button")
    assert view.inner_text("#right") == "seed 1"


@pytest.mark.parametrize("width", [320, 1000])
def test_the_buttons_stay_where_they_are_at_any_zoom(visit, width):
    view = visit(page_of(made((32, 48, 3), 2), "photo.png"), width)
    place = lambda: view.evaluate("[larger.offsetTop, larger.offsetLeft, viewer.scrollHeight <= viewer.offsetHeight]")  # noqa: E731
    top, left, _ = before = place()
    assert before[2]
    view.click("#larger")
    assert place() == [top, left, False]
    view.click("#exact")
    assert place() == before


def test_seeds_of_the_same_colour_are_told_apart_by_their_dashes():
    keys = re.findall(r'class="(key [^"]*)"', curves.legend(["seed"] * 12).text)
    assert len(set(keys)) == len(keys) == 12


@pytest.mark.parametrize("width", [320, 1000])
def test_nothing_is_wider_than_a_phone(visit, width):
    view = visit(page_of(made((32, 48, 3), 2), f"{HOSTILE}{'long' * 40}.png"), width)
    assert view.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [320, 1000])
def test_a_command_is_copied_as_it_is_and_its_options_stay_whole(visit, width):
    words = f"dipjax denoise '{HOSTILE}  {'long' * 40}.png' --seeds 2 --report page.html --steps 20 --stop none --rng 1 --json record.json"
    view = visit(document("command", command(words), scripts=(), kind="test"), width)
    view.evaluate("getSelection().selectAllChildren(document.querySelector('pre'))")
    assert view.evaluate("getSelection().toString()") == words
    heights = "[...document.querySelectorAll('.word')].filter(word => word.innerText.startsWith('--')).map(word => word.offsetHeight)"
    assert len(set(view.evaluate(heights))) == 1
    assert view.evaluate("document.documentElement.scrollWidth") == width


def test_a_single_chart_is_no_larger_than_one_of_several(visit):
    charts = [curves.chart("loss", "step", [np.ones(3)])]
    view = visit(document("charts", markup.element("div", charts, class_="charts"), scripts=(), kind="test"), 1280)
    assert view.locator("svg").bounding_box()["width"] <= 32 * 16


def test_an_index_is_sorted_by_its_buttons(folder, run, visit):
    for name, size in (("10.png", 8), ("9.png", 16), ("b.png", 12)):
        Image.fromarray(RGB[:size, :size]).save(name)
    assert run("denoise", "10.png", "9.png", "b.png", "nothing.png", "-o", "out", *STEPS, "--report", "all.html")[0] == 1
    view = visit(Path("all.html").read_bytes(), 320)
    names = lambda: view.locator(".many tbody td:nth-child(2)").all_inner_texts()  # noqa: E731
    view.click("thead button:text-is('picture')")
    assert names() == ["9.png", "10.png", "b.png", "nothing.png"]
    view.click("thead button:text-is('picture')")
    assert names() == ["nothing.png", "b.png", "10.png", "9.png"]
    for _ in range(2):
        view.click("thead button:text-is('seconds')")
        assert names()[-1] == "nothing.png"
    assert view.evaluate("document.documentElement.scrollWidth") == 320
