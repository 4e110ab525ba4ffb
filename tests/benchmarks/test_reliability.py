"""The counts of reliability, small: nothing is lost, taken for good, or half written."""

import json

import pytest

from benchmarks import reliability

SHARES = {"damaged checkpoints": 0.02, "mutated pictures": 0.01, "SIGKILL while it writes": 0.01}


@pytest.mark.parametrize("name", SHARES)
def test_nothing_goes_wrong(name):
    row = reliability.check(name, SHARES[name])
    assert row["tried"] >= 3
    assert row["wrong"] == 0


def test_the_table_has_a_row_for_each_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reliability, "check", lambda name, share: {"tried": 7, "wrong": 0, "words": "as it should be", "seconds": 1.0})
    reliability.main(["--only", "a full disk", "broken streams", "--json", str(tmp_path / "rows.json")])
    out = capsys.readouterr().out
    assert "| a full disk | 7 | 0 | as it should be |" in out and "| broken streams | 7 |" in out
    assert set(json.loads((tmp_path / "rows.json").read_text())["rows"]) == {"a full disk", "broken streams"}
