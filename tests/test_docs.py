"""The documentation is built without a warning: every link leads somewhere, every function that it names is there and documented."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import dipjax

pytest.importorskip("mkdocstrings_handlers.python", reason="the documentation needs the extra docs")
ROOT = Path(__file__).parents[1]
BY_THEIR_PARTS = {"dipjax.operators"}  # are shown: module by module


@pytest.mark.slow
def test_the_documentation_is_built_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--config-file",
        "docs/mkdocs.yml",
        "--site-dir",
        str(tmp_path),
    ]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "minimise loss(A f(z), y)" in (tmp_path / "index.html").read_text()
    pages = "".join(path.read_text() for path in (tmp_path / "api").rglob("*.html"))
    shown = set(re.findall(r'id="([\w.]+)"', pages))
    assert not {f"dipjax.{name}" for name in dipjax.__all__} - shown - BY_THEIR_PARTS
    assert {"dipjax.generators.Skip", "dipjax.operators.linear.Blur", "dipjax.stopping.HeldOut", "dipjax.losses.L1"} <= shown
    page = (tmp_path / "api" / "pictures" / "index.html").read_text()
    assert page.count("seconds from one checkpoint to the next") == 1  # an option is explained once
    assert '<script src="http' not in page and "fonts.googleapis" not in page  # nothing is fetched from elsewhere


def test_the_pictures_of_how_it_works_are_those_of_the_lessons():
    made = runpy.run_path(str(ROOT / "docs" / "figures.py"), run_name="figures")
    assert {name: made["picture"](*place) for name, place in made["FIGURES"].items()} == {
        path.stem: path.read_bytes() for path in made["FOLDER"].glob("*.png")
    }
