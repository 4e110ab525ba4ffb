"""Results show themselves in a notebook, and progress is drawn there; elsewhere it is a line."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import dipjax
from dipjax.core.state import Metrics, Result
from tests.app.test_html import Page, decoded, made


def result(shape=(), image=(6, 5, 3), *, over_seeds=False, steps=3, dtype=np.float32):
    images, loss = np.full((*shape, *image), 0.5, dtype), np.full((*shape, steps), 0.25, np.float32)
    return Result(images, np.ones(shape, bool), Metrics(loss, None, None), steps, 1.0, 2.0, over_seeds, lambda: None)


def shown(one):
    """Returns the page that a notebook would make of it: well-formed, and nothing comes from elsewhere."""
    found = Page(f"<body>{one._repr_html_()}</body>".encode())
    assert all(attributes["src"].startswith("data:image/") for tag, attributes, _ in found.elements if tag == "img")
    return found


def test_an_outcome_shows_input_and_result_and_facts():
    outcome = made((8, 6, 3), 2)
    assert "recipe tiny" in repr(outcome) and len(repr(outcome)) < 500
    found = shown(outcome)
    before, after = (decoded(one[1]["src"]) for one in found.all("img"))
    np.testing.assert_array_equal(before, np.rint(outcome.before.clip(0, 1) * 255))
    np.testing.assert_array_equal(after, np.rint(outcome.image.clip(0, 1) * 255))
    assert "estimated error" in found.text and f"{outcome.scores['ensemble']['psnr']:.2f} dB after" in found.text


@pytest.mark.parametrize(("one", "number"), [
    (result(), 1), (result((4,), over_seeds=True), 1), (result((2, 3), over_seeds=True), 2), (result((9,)), 4),
    (result((2,), over_seeds=True, dtype=np.complex64), 1), (result((2,), (4, 4, 4, 1), over_seeds=True), 0), (result(steps=0), 0),
])  # fmt: skip
def test_any_result_shows_its_pictures_or_none(one, number):
    found = shown(one)
    assert len(found.all("img")) == number and "for compilation" in found.text
    for image in found.all("img"):
        assert np.asarray(decoded(image[1]["src"])).mean() == pytest.approx(128, abs=1)


def test_without_a_notebook_progress_is_a_line(monkeypatch, capsys):
    for module in (None, SimpleNamespace(get_ipython=lambda: None), SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None))):
        if module is None:
            monkeypatch.delitem(sys.modules, "IPython", raising=False)
        else:
            monkeypatch.setitem(sys.modules, "IPython", module)
        callback = dipjax.show(every=100)
        assert not any([callback(result(steps=0)), callback(result(steps=3)), callback(result(steps=4))])
        assert capsys.readouterr().err == "step 3, loss 0.25000, 3 steps/s\n"


def test_in_a_notebook_one_output_is_drawn_anew(monkeypatch):
    drawn = []
    handle = SimpleNamespace(update=lambda one: drawn.append(("again", one.num_steps)))
    display = SimpleNamespace(display=lambda one, display_id: drawn.append((display_id, one.num_steps)) or handle)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=True)))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    callback = dipjax.show(every=1e-9)
    for steps in (0, 1, 2):
        callback(result(steps=steps))
    assert drawn == [(True, 1), ("again", 2)]


@pytest.mark.parametrize("every", [0, -1, "1", None])
def test_how_often_is_a_number(every):
    with pytest.raises(ValueError, match="every: found"):
        dipjax.show(every=every)


_CELLS = (
    """
import numpy as np, dipjax
from dipjax import Metrics, Result

def result(steps):
    images, loss = np.full((6, 5, 3), 0.5, np.float32), np.full(steps, 0.25, np.float32)
    return Result(images, np.ones((), bool), Metrics(loss, None, None), steps, 1.0, 2.0, False, lambda: None)
""",
    """
callback = dipjax.show(every=1e-9)
for steps in (0, 1, 22):
    callback(result(steps))
""",
    "result(333)",
)


@pytest.mark.slow
def test_a_real_notebook_has_one_output_that_is_drawn_anew():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in _CELLS])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    (drawn,), (last,) = notebook.cells[1].outputs, notebook.cells[2].outputs
    assert (drawn.output_type, last.output_type) == ("display_data", "execute_result")
    assert ">22<" in drawn.data["text/html"] and ">333<" in last.data["text/html"]
    assert "data:image/png;base64," in last.data["text/html"]
