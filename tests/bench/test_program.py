"""The program against small servers: its statuses and messages, and that no run ends without its data."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import keeping
from bench import test as program
from bench.errors import BenchError
from bench.load.target import REPOSITORY
from bench.report import files
from bench.report.__main__ import main as again
from bench.report.files import SUMMARY, read_result
from tests.support.certificates import made
from tests.support.scripted_server import Reply, answer, scripted_server

OK = answer(b'{"worker": "w"}', "200 OK", "Server-Timing: total;dur=0.1")
QUICK = ("--rate", "1000", "--count", "40", "--warm-up", "10")


async def status_of(url: str, *arguments: str) -> int:
    """Runs the program in a thread of this process, while the loop serves it."""
    return await asyncio.to_thread(program.main, ["--url", url, *QUICK, *arguments])


@pytest.fixture(autouse=True)
def main_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals belong to the main thread, which serves here; tests/system interrupts a real run."""
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    monkeypatch.setattr("bench.session._interrupts", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(program, "run_loop", asyncio.run)


async def test_a_run_is_shown_and_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Status 0, a table, and a result whose numbers are those of what was served."""
    served = 0

    async def reply(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await OK(head, body, writer)

    async with scripted_server(reply) as url:
        assert await status_of(f"{url}/x", "--out", str(tmp_path / "out"), "--name", "first") == 0
    result = read_result(tmp_path / "out")
    assert served == 51  # one to see that all is well, ten of warm-up, forty
    assert len(result.samples) == 50
    assert result.summary["rates"]["succeeded"] == 40
    assert result.summary["run"]["name"] == "first"
    assert f"--url {url}/x --rate 1000" in result.summary["environment"]["command"]
    assert "latency, ms" in capfd.readouterr().out


async def status_and_error(reply: Reply, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    async with scripted_server(reply) as url:
        status = await status_of(f"{url}/x", *arguments)
    return status, " ".join(capfd.readouterr().err.split())


async def closes(_head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


def problem(code: str, detail: str, status: str) -> Reply:
    return answer(json.dumps({"code": code, "detail": detail}).encode(), status)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (closes, "closes the connection without an answer"),
        (answer(b"<html>"), "its answer is not JSON: '<html>'"),
        (problem("unauthenticated", "no token", "401 Unauthorized"), "wants a token (no token). Give"),
        (problem("unknown_model", "no such", "404 Not Found"), "answers 404 unknown_model: no such"),
        (problem("x", "\x1b[2J[/b]", "500 No"), "answers 500 x: \N{REPLACEMENT CHARACTER}[2J[/b]"),
    ],
)
async def test_what_the_first_request_shows(reply: Reply, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is measured, the status is 2, and the message says what to do; a server's text commands no terminal."""
    status, error = await status_and_error(reply, capfd)
    assert status == program.BAD_INPUT
    assert message in error
    assert "\x1b" not in error


async def test_nobody_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An address where nothing listens, a name that does not exist, a CA of somebody else."""
    async with scripted_server(OK) as url:
        pass
    assert await status_of(url) == program.BAD_INPUT
    assert "nothing listens there" in capfd.readouterr().err
    assert await status_of("http://host.invalid/") == program.BAD_INPUT
    assert "no host has that name" in capfd.readouterr().err
    certificates, other = made(tmp_path / "one"), made(tmp_path / "two")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    async with scripted_server(OK, context) as url:
        assert await status_of(url, "--ca-file", str(other / "ca.pem")) == program.BAD_INPUT
    assert "is not one of this CA" in " ".join(capfd.readouterr().err.split())


async def test_a_server_that_closes_later_is_data(tmp_path: Path) -> None:
    """After its first answer every request is cut off: all are recorded, the status is 1, and the result is written."""
    served = 0

    async def reply(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await (OK if served == 1 else closes)(head, body, writer)

    async with scripted_server(reply) as url:
        assert await status_of(f"{url}/x", "--out", str(tmp_path)) == program.NOT_GOOD
    summary = read_result(tmp_path).summary
    assert summary["failures"] == [{"reason": "closed", "status": 0, "count": 40}]
    assert "no request succeeded" in summary["verdicts"]


async def test_strict_fails_a_run_that_the_generator_limited() -> None:
    """Forty requests at once over one connection wait for it: 0 without --strict, 1 with it."""
    async with scripted_server(OK) as url:
        crowd = ("--arrivals", "burst", "--burst-size", "1000", "--connections", "1")
        assert await status_of(f"{url}/x", *crowd) == 0
        assert await status_of(f"{url}/x", *crowd, "--strict") == program.NOT_GOOD


async def test_a_result_is_not_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A second run into the same directory is refused before it begins."""
    (tmp_path / SUMMARY).write_text("{}")
    assert await status_of("http://127.0.0.1:1/", "--out", str(tmp_path)) == program.BAD_INPUT
    assert "has a result already" in " ".join(capfd.readouterr().err.split())


async def test_a_directory_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Is seen before the run."""
    (tmp_path / "file").write_text("")
    assert await status_of("http://127.0.0.1:1/", "--out", str(tmp_path / "file" / "out")) == program.BAD_INPUT
    assert "cannot write to" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("part", ["write_samples", "write_summary", "write_page"])
async def test_a_disk_that_fills_meanwhile(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever does not fit, the whole result goes to a temporary directory, which is named; the status is 3 and the
    table is shown all the same."""
    written = getattr(program, part)

    def full(directory: Path, *rest: Any) -> None:
        if directory == tmp_path / "out":
            raise BenchError("cannot write: No space left on device")
        written(directory, *rest)

    monkeypatch.setattr(program, part, full)
    monkeypatch.setattr(keeping.tempfile, "mkdtemp", lambda **_: str(tmp_path / "elsewhere"))
    async with scripted_server(OK) as url:
        assert await status_of(f"{url}/x", "--out", str(tmp_path / "out")) == program.NOT_WRITTEN
    captured = capfd.readouterr()
    assert captured.err.count("No space left") == 1
    assert "the result is in" in captured.err
    assert "latency, ms" in captured.out
    assert read_result(tmp_path / "elsewhere").summary["rates"]["succeeded"] == 40
    assert (tmp_path / "elsewhere" / "report.html").exists()


async def test_no_room_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where no temporary directory can be made either, it is said and the table is shown."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "_replace", full)
    monkeypatch.setattr(keeping.tempfile, "mkdtemp", full)
    async with scripted_server(OK) as url:
        assert await status_of(f"{url}/x", "--out", str(tmp_path / "out")) == program.NOT_WRITTEN
    captured = capfd.readouterr()
    assert "there is no other place" in captured.err
    assert "latency, ms" in captured.out


async def test_a_report_that_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line says so, the status is 3, the table is shown, the data is there, and the report can be made from it."""

    def broken(*_: object) -> str:
        raise ValueError("no such font")

    with monkeypatch.context() as patched:
        patched.setattr(program, "document", broken)
        async with scripted_server(OK) as url:
            assert await status_of(f"{url}/x", "--out", str(tmp_path / "out")) == program.NOT_WRITTEN
    captured = capfd.readouterr()
    assert captured.err.splitlines() == [
        "bench: no report: ValueError: no such font. Try again with: python -m bench.report DIR"
    ]
    assert "latency, ms" in captured.out
    assert not (tmp_path / "out" / "report.html").exists()
    assert again([str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").exists()


async def test_nobody_reads_the_table(tmp_path: Path) -> None:
    """`bench/test.py --out DIR | true` in a shell: the output goes nowhere, without a traceback, and the result is
    written."""
    async with scripted_server(OK) as url:
        command = [sys.executable, "bench/test.py", "--url", f"{url}/x", *QUICK, "--out", str(tmp_path / "out")]
        shell = await asyncio.create_subprocess_shell(
            f"{shlex.join(command)} | true",
            stderr=asyncio.subprocess.PIPE,
            cwd=REPOSITORY,
        )
        _, errors = await shell.communicate()
    assert errors == b""
    assert (tmp_path / "out" / "report.html").exists()


async def test_random_weights_are_said(tmp_path: Path) -> None:
    """Answers that say so put it in the environment block and among what to read before quoting; others put nothing
    there."""
    for body, said in ((b'{"weights": "random"}', "random"), (b"{}", None)):
        async with scripted_server(answer(body, "200 OK", 'Server-Timing: total;dur=0.1, batch;desc="4"')) as url:
            assert await status_of(f"{url}/x", "--out", str(tmp_path / str(said))) == 0
        result = read_result(tmp_path / str(said))
        assert result.summary["environment"].get("weights") == said
        assert any("weights are random" in one for one in result.summary["verdicts"]) == (said is not None)
        assert ('<th class="text" scope="row">weights<' in (tmp_path / str(said) / "report.html").read_text()) == (
            said is not None
        )
        assert result.samples.stage_names == ("total",)  # a batch's size is no duration


async def test_the_token_is_nowhere_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the command, not in the samples, not in the summary."""
    monkeypatch.setenv("BENCH_TOKEN", "very-secret-token")
    async with scripted_server(OK) as url:
        assert await status_of(f"{url}/x?key=very-secret-token", "--out", str(tmp_path / "out")) == 0
    for file in (tmp_path / "out").iterdir():
        assert b"very-secret-token" not in file.read_bytes(), file.name


def test_help_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    """--help ends well and speaks of all four groups."""
    with pytest.raises(SystemExit) as ended:
        program.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(group in text for group in ("what is measured", "when requests are sent", "how", "afterwards"))
