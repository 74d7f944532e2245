"""Programs that others wrote: found, started, and gone with all that they started."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.peers import program
from bench.peers.program import path_of, running, said

PATIENCE_S = 60.0


def test_what_a_command_says() -> None:
    """The first line, or the first about something; nothing of a command that is not there or says nothing."""
    assert said("sh", "-c", "echo one; echo two 2 >&2") == "one"
    assert said("sh", "-c", "echo one; echo two 2 >&2", about="two") == "two 2"
    assert said("sh", "-c", "true") == said("/no/such/program") == ""


def test_a_program_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is named; one that go install put into its own folder is found without PATH."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(program, "ALSO", (tmp_path,))
    with pytest.raises(BenchError, match="there is no frps on PATH"):
        path_of("frps")
    (tmp_path / "frps").write_text("")
    (tmp_path / "frps").chmod(0o755)
    assert path_of("frps") == str(tmp_path / "frps")


def test_all_that_it_started_ends_with_it(tmp_path: Path) -> None:
    """Also a child that its parent left alone; what it printed is in the log."""
    ready = tmp_path / "ready"
    command = ["sh", "-c", f"sleep 1000 & echo $! > {ready}.part; mv {ready}.part {ready}; echo up; wait"]
    with running(command, tmp_path / "log", ready.exists) as pid:
        child = int(ready.read_text())
        assert os.getpgid(child) == pid
        end = os.pidfd_open(child)
    with open(end, "rb"):
        assert select.select([end], [], [], PATIENCE_S)[0]
    assert (tmp_path / "log").read_text() == "up\n"


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    """With the end of its log."""
    with (
        pytest.raises(BenchError, match="sh did not start: no such port"),
        running(["sh", "-c", "echo no such port; exit 1"], tmp_path / "log", lambda: False),
    ):
        raise AssertionError("it started")
