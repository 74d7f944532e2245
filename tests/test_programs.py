"""`gateway` and `edge-worker` as a shell sees them when they are cut short: a status that says why, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import edge_worker.__main__
import gateway.__main__
from tests.support.credentials import Issuer

MAINS = {"gateway": gateway.__main__.main, "edge_worker": edge_worker.__main__.main}


class Interrupted(ModuleType):
    """A module that is being loaded when Ctrl-C comes."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


@pytest.mark.parametrize("program", MAINS)
def test_ctrl_c_while_it_loads_is_status_130(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part of a second belongs to imports."""
    monkeypatch.setitem(sys.modules, f"{program}.cli", Interrupted(f"{program}.cli"))
    assert MAINS[program]() == 130


@pytest.mark.parametrize("program", MAINS)
def test_ctrl_c_in_a_command_is_status_130(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a command does not await it."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{program}.cli.main", interrupted)
    assert MAINS[program]() == 130


def test_a_reader_that_has_left_is_no_traceback(tmp_path: Path) -> None:
    """As in `edge-worker models list | head -1`: status 1, since not all was told, and nothing on standard error."""
    keys = Issuer(tmp_path / "keys").directory.jwks_file.parent
    for arguments in (["gateway", "keys", "list", "--keys", str(keys)], ["edge_worker", "models", "list"]):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as closed:
            done = subprocess.run(
                [sys.executable, "-m", *arguments], stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False
            )
        assert (done.returncode, done.stderr) == (1, b"")
