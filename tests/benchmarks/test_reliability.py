"""The counts of reliability, small: nothing is lost, taken for good, or half written."""

import json

import numpy as np
import pytest

from benchmarks import odd_files, reliability
from dipjax import files

SHARES = {"checkpoints": 0.02, "pictures": 0.01, "writing": 0.01}


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.slow
def test_nothing_goes_wrong(name):
    row = reliability.check(name, SHARES[name])
    assert row["tried"] >= 3
    assert row["wrong"] == 0


def test_the_table_has_a_row_for_each_part_and_finished_ones_are_kept(tmp_path, capsys):
    rows = {name: {"tried": 7, "wrong": 0, "words": "as it should be", "seconds": 1.0} for name in ("disks", "streams")}
    (tmp_path / "rows.json").write_text(json.dumps({"settings": {"share": 1.0}, "rows": rows}))
    reliability.main(["--part", "disks", "streams", "--json", str(tmp_path / "rows.json")])
    out = capsys.readouterr().out
    assert "| a full disk | 7 | 0 | as it should be |" in out and "| broken streams | 7 |" in out


def test_odd_files_are_what_they_are_said_to_be(tmp_path):
    good, bad = odd_files.write(tmp_path, 10**6, np.random.default_rng(0))
    for name, valid in good.items():
        assert files.num_pages(tmp_path / name) == valid.num_pages
        assert files.load(tmp_path / name).pixels.shape[1::-1] == valid.size
    for name in bad:
        with pytest.raises(files.ImageError):
            files.load(tmp_path / name)
