"""The page of `--live`: who is answered, what is told, what the buttons do, and what a browser makes of it."""

import contextlib
import dataclasses
import http.client
import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dipjax.app import live, progress, signals
from dipjax.files import OutputError
from dipjax.operators import problem
from dipjax.tasks.door import Task
from tests.app.conftest import PATIENCE
from tests.app.test_html import HOSTILE, Page, decoded

NOISY = np.random.default_rng(0).random((12, 16, 3), np.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Looks often, waits for nobody, and no signal came before."""
    monkeypatch.setattr(progress, "_GLANCE", 0.01)
    monkeypatch.setattr(live, "_PAUSE", 0.01)
    monkeypatch.setattr(signals._State, "requested", None)
    yield
    monkeypatch.setattr(signals._State, "protected", False)


REPORT = '<link rel="icon" href="data:,"><p>the report'  # without an icon a browser asks the server for one, after its end


class Stage:
    """A view with one scene, whose results the test makes."""

    def __init__(self, keep=None, name="photo.png"):
        self.view = live.View()
        self.scene = self.view.begin(name, keep)
        task = Task(problem.denoising(NOISY), NOISY)
        self._open = self.scene.display(task, 9, lambda result, *_: f"step {result.num_steps}/9", None)
        self.show = self._open.__enter__()

    def step(self, number, level=0.5):
        self.show(SimpleNamespace(num_steps=number, image=np.full(NOISY.shape, level, np.float32)), 1.0)

    def finish(self, level=1.0):
        self._open.__exit__(None, None, None)
        self.scene.ended(np.full(NOISY.shape, level, np.float32), "wrote out.png", REPORT.encode)

    def ask(self, method, name, token=None, **headers):
        """Returns the code, the headers and the text of an answer; a header of None is left out, `_` stands for -."""
        path = name if name.startswith("/") else f"/{token or self.view.token}/{name}"
        given = {"Host": self.view.authority, "Origin": f"http://{self.view.authority}"}
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        connection = http.client.HTTPConnection(self.view.authority, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for key, value in given.items():
            if value is not None:
                connection.putheader(key, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode() if name != "events" or answer.status != 200 else answer

    def messages(self):
        """Yields what a page is told."""
        code, _, stream = self.ask("GET", "events", Origin=None)
        assert code == 200
        while line := stream.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


@pytest.fixture
def stage():
    made = []

    def make(*arguments, **options):
        made.append(Stage(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.view.close()


def until(messages, is_right):
    return next(message for message in messages if is_right(message))


@pytest.mark.parametrize(("method", "name", "headers", "code", "words"), [
    ("GET", "/", {}, 404, "the whole address"),
    ("GET", "/other/", {}, 404, "the whole address"),
    ("GET", "/%e9/", {}, 404, "the whole address"),
    ("GET", "secret", {}, 404, "no page of that name"),
    ("GET", "stop/", {}, 404, "no page of that name"),
    ("GET", "../../etc/passwd", {}, 404, "no page of that name"),
    ("GET", "", {"Host": "evil.example"}, 403, "evil.example, expected 127.0.0.1:"),
    ("GET", "", {"Host": "127.0.0.1"}, 403, "expected 127.0.0.1:"),
    ("GET", "", {"Host": None}, 403, "of no name"),
    ("POST", "stop", {"Host": "localhost:80"}, 403, "localhost:80"),
    ("GET", "stop", {}, 405, "found GET, expected POST"),
    ("POST", "", {}, 405, "found POST, expected GET"),
    ("PUT", "stop", {}, 501, "PUT"),
    ("OPTIONS", "stop", {}, 501, "OPTIONS"),
    ("POST", "stop", {"Origin": "http://evil.example"}, 403, "http://evil.example"),
    ("POST", "stop", {"Origin": "null"}, 403, "null"),
    ("POST", "keep", {"Origin": None}, 403, "from no page"),
    ("POST", "keep", {"Sec_Fetch_Site": "cross-site"}, 403, "cross-site"),
    ("GET", "events", {"Origin": "http://evil.example"}, 403, "http://evil.example"),
    ("GET", "events", {"Origin": None, "Sec_Fetch_Site": "same-site"}, 403, "same-site"),
    ("POST", "stop", {"Content_Length": "3"}, 400, "has a body"),
    ("POST", "stop", {}, 409, "not one step"),
    ("POST", "keep", {}, 409, "not one step"),
    ("GET", "report", {}, 409, "no report yet"),
])  # fmt: skip
def test_what_is_refused_is_refused_in_one_sentence_and_changes_nothing(stage, method, name, headers, code, words):
    one = stage()
    found, said, text = one.ask(method, name, **headers)
    assert (found, said["Content-Type"]) == (code, "text/plain; charset=utf-8")
    assert words in text and text.count("\n") == 1
    assert not any(key.startswith("Access-Control") for key in said)
    assert said["X-Content-Type-Options"] == "nosniff" and "frame-ancestors 'none'" in said["Content-Security-Policy"]
    assert signals.requested() is None


def test_only_this_machine_is_answered_and_every_token_is_another(stage):
    first, second = stage(), stage()
    assert first.view._server.server_address[0] == "127.0.0.1"
    assert first.view.token != second.view.token and len(first.view.token) >= 32
    assert first.ask("GET", "", token=second.view.token)[0] == 404


def test_the_page_lets_nothing_in_and_a_name_is_only_shown(stage):
    code, headers, text = stage(name=HOSTILE).ask("GET", "", Origin=None)
    assert code == 200 and headers["Cache-Control"] == "no-store"
    found = Page(text.encode()).check()
    assert found.all("h1")[0][2] == HOSTILE
    assert found.all("meta", **{"http-equiv": "Content-Security-Policy"})[0][1]["content"].endswith("connect-src 'self'")
    assert not found.all("button", id="keep") and found.all("button", id="stop", disabled=None)
    np.testing.assert_array_equal(decoded(found.all("img", id="before")[0][1]["src"]), np.rint(NOISY * 255))


def test_a_page_is_told_each_picture_once_and_the_end(stage):
    one = stage()
    messages = one.messages()
    first = next(messages)
    assert (first["picture"], first["stop"], first["keep"], first["over"]) == (None, False, False, False)
    for number, level in ((1, 0.25), (2, 0.75)):
        one.step(number, level)
        told = until(messages, lambda message: message["picture"])
        assert (told["status"], told["steps"], told["total"], told["stop"]) == (f"step {number}/9", number, 9, True)
        assert np.asarray(decoded(told["picture"])).mean() == pytest.approx(255 * level, abs=1)
    one.finish(level=1.0)
    told = until(messages, lambda message: message["picture"])
    assert np.asarray(decoded(told["picture"])).min() == 255 and (told["label"], told["stop"]) == ("result", False)
    end = threading.Thread(target=one.view.close)
    end.start()
    last = until(messages, lambda message: message["over"])
    assert (last["status"], last["report"]) == ("wrote out.png", True)
    assert end.is_alive()  # the page has yet to fetch it
    assert one.ask("GET", "report", Origin=None)[2] == REPORT
    end.join(5)
    assert not end.is_alive()


def test_nobody_is_waited_for_where_no_page_is_open_or_one_has_gone(stage):
    one = stage()
    start = time.perf_counter()
    one.finish()
    one.view.close()
    assert time.perf_counter() - start < 1 and one.scene.report is None
    one = stage()
    code, _, stream = one.ask("GET", "events", Origin=None)
    stream.close()
    one.step(1)
    with contextlib.suppress(ConnectionError):
        while one.view.is_watched:  # until a message finds nobody
            one.step(2)
            time.sleep(0.02)
    assert code == 200


def test_keep_writes_the_picture_so_far_and_goes_on(stage, tmp_path):
    kept = []

    def keep(task, image, steps):
        if steps == 2:
            raise OutputError("cannot write here")
        kept.append((task, float(image.mean()), steps))
        return tmp_path / "out.step-1.png"

    one = stage(keep)
    one.step(1, 0.25)
    assert one.ask("POST", "keep")[::2] == (200, f"wrote {tmp_path}/out.step-1.png\n")
    assert kept == [(one.scene.task, 0.25, 1)] and signals.requested() is None
    one.step(2)
    assert one.ask("POST", "keep")[::2] == (409, "cannot write here\n")
    one.finish()
    assert one.ask("POST", "keep")[::2] == (409, "the picture is finished already\n")
    homeless = stage()
    homeless.step(1)
    assert "no place for it" in homeless.ask("POST", "keep")[2]


def test_what_is_kept_has_what_the_networks_leave(stage):
    kept = []
    one = stage(lambda task, image, steps: kept.append(image) or "out.png")
    one.scene.task = dataclasses.replace(one.scene.task, noise=lambda: 0.0)
    one.step(1, 0.25)
    assert one.ask("POST", "keep")[0] == 200
    assert np.abs(kept[0] - NOISY).mean() < 0.1 * np.abs(0.25 - NOISY).mean()
    np.testing.assert_array_equal(one.scene.image(one.scene.latest), np.float32(0.25))


def test_stop_ends_the_work_as_a_signal_does(stage, capsys):
    view = live.View()
    scene = view.begin("photo.png", None)
    task = Task(problem.denoising(NOISY), NOISY)

    def results():
        for number in range(1000):
            time.sleep(0.02)
            if number == 3:
                one = SimpleNamespace(view=view)
                assert Stage.ask(one, "POST", "stop")[0] == 200
            image = np.full(NOISY.shape, 0.5, np.float32)
            metrics = SimpleNamespace(loss=np.full((1, number), 0.5))
            fields = {"image": image, "images": image[None], "alive": np.array([True]), "compile_seconds": 1.0, "stopped": None}
            yield SimpleNamespace(num_steps=number, seconds=1.0, metrics=metrics, **fields)

    followed = progress.follow(results(), 1000, task=task, scene=scene)
    view.close()
    assert (followed.ending, followed.exit_code) == ("interrupted", signals.INTERRUPTED) and followed.result.num_steps < 100
    assert view.address in capsys.readouterr().err


def test_no_more_pages_than_there_are_threads_for(stage, monkeypatch):
    monkeypatch.setattr(live, "_PAGES", 1)
    one = stage()
    messages = one.messages()
    next(messages)
    code, _, text = one.ask("GET", "events", Origin=None)
    assert code == 503 and "1 pages of the live view are open" in text


# The command.


@pytest.fixture
def watched(monkeypatch):
    """Opens a page as soon as there is one; gives all that it is told."""
    told, opened = [], live.View.open

    def look(view):
        for message in Stage.messages(SimpleNamespace(view=view, ask=lambda *words, **how: Stage.ask(stub, *words, **how))):
            told.append(message)
            if message["report"]:
                told.append(Stage.ask(stub, "GET", "report", Origin=None)[2])

    def open_and_look(view):
        nonlocal stub
        first = not view._is_open
        opened(view)
        if first:
            stub = SimpleNamespace(view=view)
            threading.Thread(target=look, args=(view,), daemon=True).start()
            while not view.is_watched:
                time.sleep(0.01)

    stub = None
    monkeypatch.setattr(live.View, "open", open_and_look)
    return told


@pytest.mark.slow
def test_a_command_shows_the_result_and_then_its_whole_page(folder, run, watched):
    code, out, err = run("denoise", "photo.png", "-o", "out.png", "--seeds", 1, "--steps", 3, "--live")
    assert code == 0 and "wrote out.png" in out and "live view: http://127.0.0.1:" in err
    pictures = [message["picture"] for message in watched if isinstance(message, dict) and message["picture"]]
    np.testing.assert_array_equal(np.asarray(decoded(pictures[-1])), np.asarray(Image.open("out.png")))
    assert Page(watched[-1].encode()).check().all("h1")[0][2] == "photo.png, denoise"


@pytest.mark.slow
def test_many_pictures_are_shown_one_after_the_other(folder, run, watched):
    code, _, err = run("denoise", "photo.png", "clean.png", "-o", "out", "--seeds", 1, "--steps", 3, "--live")
    assert code == 0, err
    assert {message["number"] for message in watched} == {1, 2} and not watched[-1]["report"]
    assert err.count("live view") == 1


def test_other_machines_are_not_looked_at(folder, run):
    code, _, err = run("denoise", "photo.png", "clean.png", "-o", "out", "--live", "--ray")
    assert code == 2 and "--live: found --ray too" in err


def test_the_result_is_called_so_by_a_page_that_is_told_while_it_is_made(stage, monkeypatch):
    one = stage()
    one.step(4)
    messages = one.messages()
    assert next(messages)["label"] == "so far"
    shown = live.shown
    monkeypatch.setattr(live, "_LAST_LOOK", 0.0)
    monkeypatch.setattr(live, "shown", lambda *given, **options: time.sleep(0.1) or shown(*given, **options))
    one.finish()
    assert until(messages, lambda message: message["picture"])["label"] == "result"


# In a browser.


def test_in_a_browser_the_picture_forms_and_the_buttons_work(stage, browser, tmp_path):
    one, said = stage(lambda *_: tmp_path / "kept.png", HOSTILE), []
    context = browser.new_context(viewport={"width": 320, "height": 700})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    for event in ("console", "pageerror", "dialog"):
        page.on(event, lambda what, event=event: said.append((event, str(what))))
    page.on("request", lambda request: None if request.url.startswith((one.view.address, "data:")) else said.append(request.url))
    page.goto(one.view.address)
    before = page.get_attribute("#after", "src")
    assert page.is_disabled("#stop") and page.is_disabled("#keep")
    one.step(4)
    page.wait_for_selector("#status:has-text('step 4/9')")
    assert page.get_attribute("#after", "src") != before and page.evaluate("after.naturalWidth") == 16
    assert page.evaluate("steps.value / steps.max") == pytest.approx(4 / 9)
    page.click("#keep")
    page.wait_for_selector("#told:has-text('kept.png')")
    page.focus("#stop")
    page.keyboard.press("Enter")
    page.wait_for_selector("#told:has-text('it stops here')")
    assert signals.requested() == 2 and page.evaluate("document.documentElement.scrollWidth") == 320
    one.finish()
    page.wait_for_selector("#right:has-text('result')")
    end = threading.Thread(target=one.view.close)
    end.start()
    page.wait_for_url("**/report")
    end.join(10)
    context.close()
    assert not said and not end.is_alive()
