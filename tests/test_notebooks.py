"""Every notebook is a lesson with pictures, and runs from top to bottom, with few steps."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
_MOST_BYTES, _MOST_CELLS = 300_000, 12
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each
def test_the_notebook_is_short_and_shows_its_pictures(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert path.stat().st_size <= _MOST_BYTES and len(notebook.cells) <= _MOST_CELLS
    assert notebook.cells[0].source.startswith("# ") and "%pip install" in code[0].source
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)


@each
@pytest.mark.slow
def test_the_notebook_runs(path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    if "import torch" in "".join(cell.source for cell in notebook.cells):
        pytest.importorskip("torch", reason="the notebook compares with PyTorch")
    monkeypatch.setenv("DIPJAX_NUM_STEPS", "3")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": path.parent}}).execute()
