"""The program: names, statuses, files, and that nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from bench.report.files import read_result
from bench.scenarios import __main__ as program
from bench.scenarios.registry import SCENARIOS
from tests.support.scripted_server import answer, scripted_server

OK = answer(b'{"worker": "w"}')
FAILING = answer(b'{"code": "queue_full"}', "503 Service Unavailable")
OFFLINE = ("offline", "--count", "40", "--connections", "4")


async def status_of(*arguments: str) -> int:
    return await asyncio.to_thread(program.main, arguments)


@pytest.fixture(autouse=True)
def main_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals belong to the main thread, which serves here."""
    monkeypatch.setattr("bench.session._interrupts", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(program, "run_loop", asyncio.run)


async def test_runs_and_findings_are_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Status 0; each run is a result of its own, and the findings name them and the command."""
    async with scripted_server(OK) as url:
        assert await status_of(*OFFLINE, "--url", f"{url}/x", "--out", str(tmp_path / "out")) == 0
    assert len(read_result(tmp_path / "out" / "offline").samples) == 40
    written = json.loads((tmp_path / "out" / "scenario.json").read_text())
    assert (written["scenario"], written["runs"], written["schema"]) == ("offline", ["offline"], 1)
    assert written["findings"]["pictures"] == 40
    assert "python -m bench.scenarios offline --count 40" in written["environment"]["command"]
    assert "pictures per second" in capfd.readouterr().out


async def test_a_result_is_not_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A folder with findings is refused before anything is measured."""
    (tmp_path / "scenario.json").write_text("{}")
    assert await status_of(*OFFLINE, "--url", "http://127.0.0.1:1/x", "--out", str(tmp_path)) == 2
    assert "has a result already" in capfd.readouterr().err


async def test_a_wrong_address_is_said_first(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing listens: status 2 and what to do, and no table."""
    assert await status_of(*OFFLINE, "--url", "http://127.0.0.1:1/x") == 2
    said = capfd.readouterr()
    assert "nothing listens there" in said.err
    assert said.out == ""


async def test_no_answer_to_the_question_is_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    """After the first request all fail: status 1, with the failures counted."""
    served = 0

    async def reply(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await (OK if served == 1 else FAILING)(head, body, writer)

    async with scripted_server(reply) as url:
        assert await status_of(*OFFLINE, "--url", f"{url}/x") == 1
    assert "40 of 40 requests failed" in capfd.readouterr().out


async def test_a_run_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 3, the file is named, and the table is shown all the same."""

    def full(*_: object) -> None:
        raise program.BenchError("cannot write samples.csv: No space left on device")

    monkeypatch.setattr(program, "write_result", full)
    async with scripted_server(OK) as url:
        assert await status_of(*OFFLINE, "--url", f"{url}/x", "--out", str(tmp_path / "out")) == 3
    said = capfd.readouterr()
    assert "No space left" in said.err
    assert "pictures per second" in said.out


def test_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists every scenario with its question, and a wrong name is refused with the list."""
    with pytest.raises(SystemExit):
        program.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"{name:14} {one.question}" in said for name, one in SCENARIOS.items())
    with pytest.raises(SystemExit):
        program.main(["nonsense"])
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err
