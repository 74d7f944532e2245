"""`python -m bench.engines` with the embedded digits: real processes, a moment each, and no number that is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from demo.stack import REPOSITORY


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.engines", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def test_systems_take_turns(tmp_path: Path) -> None:
    """Loops, tunnel and Flask answer in each round, each part's CPU time is known, and the table can be had again."""
    out = tmp_path / "engines.json"
    done = run("--only", "one-core", "all-cores", "--rounds", "2", "--seconds", "0.2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    one_core, all_cores = json.loads(out.read_text())["parts"]
    if not one_core["left_out"]:
        assert set(one_core["systems"]) == {"tunnel", "local loop", "loop in huge pages"}
        assert set(one_core["systems"]["tunnel"]["cpu_ms"]) == {"gateway", "worker", "load"}
    systems = all_cores["systems"]
    assert {"tunnel", "local loop", "loop of slots", "tunnel, one slot", "Flask"} <= set(systems)
    assert all(len(one["rounds"]) == 2 and min(one["rounds"]) > 0 for one in systems.values())
    assert all(min(one["cpu_ms"].values()) > 0 for one in systems.values())
    assert {line["verdict"] for line in all_cores["lines"]} == {""}
    assert run("--show", str(out)).stdout == done.stdout


def test_the_lag_is_told_beside_an_idle_one(tmp_path: Path) -> None:
    """Batching off and on, each with the lag of an event loop that had nothing to do meanwhile."""
    out = tmp_path / "engines.json"
    done = run("--only", "lag", "--lag-seconds", "0.5", "--out", str(out))
    assert done.returncode == 0, done.stderr
    (part,) = json.loads(out.read_text())["parts"]
    texts = [line["text"].rpartition("ms, ")[2] for line in part["lines"]]
    assert texts[:2] == ["OpenCV, no batching", "OpenCV, batching"]
    assert len(texts) == (2 if part["left_out"] else 4)
    assert list(part["notes"]) == [f"of an idle one beside {text}" for text in texts]


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    """A model that is not there, a folder without pictures, a file that is no result: one line, and no table."""
    (tmp_path / "other.json").write_text("{}")
    for arguments, why in (
        (["--model", "nobody"], "engines: there is no model nobody; there are digits"),
        (["--images", str(tmp_path)], f"engines: {tmp_path} has no picture"),
        (["--show", str(tmp_path / "other.json")], "is not of schema"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
