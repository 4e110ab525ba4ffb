"""What the tests of the tasks share."""

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, in which the test works."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
