"""A study of one gateway's size, small: real processes, TLS and tokens; no times are judged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from demo.stack import REPOSITORY

PATIENCE_S = 240.0
SMALL = ("--tunnels", "50", "--base", "10", "--processes", "2", "--settle", "0.5", "--window", "2.5", "--down", "0.5")


def study(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.fleet", *SMALL, *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_fifty_tunnels(tmp_path: Path) -> None:
    """All join, stay over a heartbeat, lose their gateway and are back; every number is there."""
    done = study("--decisions", "10", "100", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "fleet.json").read_text())
    assert [one["tunnels"] for one in found["joined"]] == [10, 50]
    assert all(one["memory"]["resident"] > 0 for one in found["joined"])
    assert found["idle"]["gateway_s"] > 0
    assert found["returned"]["dials"] >= 50
    assert [one["workers"] for one in found["decisions"]] == [10, 100]
    assert len(found["bars"]) == 4
    assert "memory of an idle tunnel" in done.stdout


def test_more_tunnels_than_files() -> None:
    """What the system does not let one process hold is said before anything starts."""
    done = study("--tunnels", "100000000")
    assert done.returncode == 2
    assert "ulimit" in done.stderr


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    """Whoever ends it ends all that it started."""
    command = [sys.executable, "-m", "bench.fleet", *SMALL, "--settle", "60"]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert "10 tunnels" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 130
    assert not any(str(tmp_path).encode() in line for line in commands())


def commands() -> list[bytes]:
    """Command lines of all processes; those whose files lie in a directory name it."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes())
        except OSError:
            continue  # it ended meanwhile
    return found
