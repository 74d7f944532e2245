"""The run behind the example report, from nothing to the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from demo.stack import REPOSITORY


def test_one_command_makes_the_example_report(tmp_path: Path) -> None:
    """A gateway, three workers behind networks of their own, a run and its report; the network is in the numbers."""
    command = [sys.executable, "-m", "bench.example", "--out", str(tmp_path / "run"), "--duration", "2", "--rate", "20"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lte-1" in ended.stdout
    report = (tmp_path / "run" / "report.html").read_text()
    assert "3 OpenCV workers behind lte" in report
