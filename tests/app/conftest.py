"""What the tests of the command line share: a folder with the usual files, tiny recipes, and a way to run a command line."""

import importlib
import importlib.util
import shutil
from functools import cache

import numpy as np
import pytest
from PIL import Image

from dipjax import app
from dipjax.recipes import Setting
from tests.conftest import mixer_recipe

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 20, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (24, 20, 3), dtype=np.uint16)
ALPHA = RNG.integers(0, 256, (24, 20, 1), dtype=np.uint8)
HOLE = np.zeros((24, 20), np.uint8)
HOLE[4:9, 5:12] = 255
PATIENCE = 300_000  # milliseconds, of a browser on a machine that has other things to do


flow = importlib.import_module("dipjax.tasks.restore")
GAINED = flow.Outcome.gained


@cache
def tiny(channels=3):
    return Setting(mixer_recipe(channels), 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the usual files, a tiny recipe for every task, and nobody else's settings."""
    monkeypatch.chdir(tmp_path)
    choices = importlib.import_module("dipjax.recipes.by_name")
    for table in (choices.FAST, choices.PAPER):
        for task in table:
            monkeypatch.setitem(table, task, tiny)
    monkeypatch.setattr(flow, "_GENEROUS", 1)
    monkeypatch.setattr(flow.Outcome, "gained", None)  # three steps gain nothing, and the input would come back
    Image.fromarray(RGB).save("photo.png")
    Image.fromarray(RGB[::-1]).save("clean.png")
    Image.fromarray(HOLE).save("mask.png")
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs a command line; returns its exit code and what it printed, and sees to it that an error is one sentence."""

    def run(*arguments):
        try:
            code = app.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        if code:
            sentences = [line for line in err.splitlines() if line.startswith("dipjax: error: ")]
            assert len(sentences) == 1, err
        assert "Traceback" not in err, err
        return code, out, err

    return run


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not (chromium and importlib.util.find_spec("playwright")):
        pytest.skip("needs Chromium and the package playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=PATIENCE)
        yield opened
        opened.close()
