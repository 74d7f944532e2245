"""Scenarios that start a gateway, workers and nginx themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo.stack import REPOSITORY

PATIENCE_S = 120.0
HAS_NGINX = shutil.which("nginx") or Path("/usr/sbin/nginx").exists()


def findings_of(out: Path, name: str, *arguments: str) -> dict[str, object]:
    """Runs it as a person does; what it found."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.scenarios", name, *arguments, "--out", str(out)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads((out / "scenario.json").read_text())["findings"]
    return found


def test_scaling(tmp_path: Path) -> None:
    """One and two workers of 5 ms: each number has its throughput, and two do more than one."""
    found = findings_of(
        tmp_path / "out", "scaling", "--workers", "2", "--service-time", "5ms", "--duration", "1", "--warm-up", "0"
    )
    one, two = found["rows"]  # type: ignore[misc]
    assert (one["workers"], two["workers"]) == (1, 2)
    assert two["per_second"] > one["per_second"] > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [
        "01-full",
        "01-part",
        "02-full",
        "02-part",
    ]


@pytest.mark.skipif(not HAS_NGINX, reason="nginx is not installed")
def test_central_queue(tmp_path: Path) -> None:
    """Two workers and two servers behind nginx, for two seconds: every arm answers, and both ratios are there."""
    found = findings_of(
        tmp_path / "out", "central-queue", "--workers", "2", "--rounds", "1", "--duration", "2", "--warm-up", "0"
    )
    arms = found["arms"]
    assert [arm["arm"] for arm in arms] == ["gateway-0.7", "gateway-0.8", "nginx-0.8"]  # type: ignore[attr-defined]
    assert found["to_ideal"]
    assert found["to_nginx"]
