"""The run behind the example report: Ctrl-C reaches it once, and what it measured is written first."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bench import example
from bench.errors import BenchError

MEASURES = """
import pathlib, signal, sys, threading
def end(*_):
    pathlib.Path(sys.argv[2]).write_text("written")
    sys.exit(7)
signal.signal(signal.SIGINT, end)
pathlib.Path(sys.argv[1]).write_text("ready")
signal.pause()
"""


async def test_ctrl_c_is_passed_on_and_the_end_awaited(tmp_path: Path) -> None:
    """A run that is cancelled sends SIGINT to what measures, which is over before the run is."""
    ready, written = tmp_path / "ready", tmp_path / "written"
    os.mkfifo(ready)
    run = asyncio.create_task(example._measure([sys.executable, "-c", MEASURES, str(ready), str(written)]))
    assert await asyncio.to_thread(ready.read_text) == "ready"
    run.cancel()
    await asyncio.wait({run})
    assert run.cancelled()
    assert written.read_text() == "written"


async def test_the_status_is_that_of_the_measurement() -> None:
    """As it is."""
    assert await example._measure([sys.executable, "-c", "raise SystemExit(7)"]) == 7


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(KeyboardInterrupt(), 130, "interrupted"), (BenchError("no gateway"), 2, "no gateway")],
)
def test_it_ends_in_one_line(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C, and what does not start."""

    def raising(*_: object) -> int:
        raise error

    monkeypatch.setattr(example, "_run", lambda _flags: None)
    monkeypatch.setattr(example, "run_loop", raising)
    assert example.main(["--out", "out"]) == status
    assert capsys.readouterr().err.startswith(f"example: {said}")
