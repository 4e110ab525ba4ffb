"""Many pictures on the workers of a Ray cluster, of which one is killed."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app.processes import TINY, dipjax

pytest.importorskip("ray", reason="Ray is not installed; pip install '.[ray]'")
psutil = pytest.importorskip("psutil")

COMMAND = ("denoise", "in", "-o", "out", *TINY, "--steps", "3000", "--stop", "none", "--ray")


def workers(child):
    """Returns the processes that work on a picture."""
    found = []
    for process in psutil.Process(child.pid).children(recursive=True):
        try:
            found += [process] if process.name().startswith("ray::_restore") else []
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_worker_that_is_killed_costs_no_picture_and_nothing_is_done_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"in/{number}.png")
    Path("in/bad.png").write_bytes(b"no picture")
    with dipjax(*COMMAND) as child:
        while not (busy := workers(child)) and child.poll() is None:
            time.sleep(0.2)
        time.sleep(1.0)
        assert busy, child.communicate()
        busy[0].kill()
        out, err = child.communicate(timeout=300)
    assert child.returncode == 1, err
    assert "5 pictures: 4 restored, 1 failed" in out and "bad.png" in err
    endings = {path.name: json.loads(path.read_text()).get("ending") for path in Path("out").glob("*.json")}
    assert endings == {f"{number}.png.json": "done" for number in range(4)} | {"bad.png.json": None}
    alone = ("denoise", "in/0.png", "-o", "alone", *COMMAND[4:-1])
    Path("alone").mkdir()
    with dipjax(*alone) as child:
        out, err = child.communicate()
    assert Path("alone/0.png").read_bytes() == Path("out/0.png").read_bytes(), err
    with dipjax(*COMMAND) as child:
        out, err = child.communicate(timeout=300)
    assert "4 done before, 1 failed" in out
