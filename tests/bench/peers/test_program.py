"""Programs that others wrote: found, started, and gone with all that they started."""

from __future__ import annotations

import os
import select
from pathlib import Path
from types import ModuleType

import pytest

from bench.errors import BenchError
from bench.fleet import __main__ as fleet
from bench.peers import __main__ as peers
from bench.peers import program
from bench.peers.program import path_of, running, said

PATIENCE_S = 60.0


def test_what_a_command_says() -> None:
    """The first line, or the first about something; nothing of a command that is not there or says nothing."""
    assert said("sh", "-c", "echo one; echo two 2 >&2") == "one"
    assert said("sh", "-c", "echo one; echo two 2 >&2", about="two") == "two 2"
    assert said("sh", "-c", "true") == said("/no/such/program") == ""


@pytest.mark.parametrize("program_of", [peers, fleet])
def test_where_nothing_can_be_written_is_said_before_anything_starts(
    program_of: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, also of bench.fleet, rather than minutes that are lost."""
    (tmp_path / "file").write_text("")
    assert program_of.main(["--out", str(tmp_path / "file" / "out")]) == 2
    assert capsys.readouterr().err.endswith(f"cannot write to {tmp_path / 'file' / 'out'}: Not a directory\n")


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
    command = ["sh", "-c", f"sleep 1000 & echo $! > {ready}.part; echo up; mv {ready}.part {ready}; wait"]
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
