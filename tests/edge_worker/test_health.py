"""What asks a worker whether it is ready, and the socket on which the worker says so."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_worker import cli, health_socket
from edge_worker.config import CannotListen
from edge_worker.health import Health, ask, encode
from edge_worker.health_socket import health_of

LISTEN = health_socket.health_socket


def says(health: Health) -> health_socket.Look:
    async def look() -> Health:
        return health

    return look


async def asked(path: Path, timeout_s: float = 30.0) -> Health:
    return await asyncio.to_thread(ask, str(path), timeout_s)


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Something that is no worker: it says this to the first who connects."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.mark.parametrize("health", [Health(True, "ready: digits"), Health(False, "loading models")])
async def test_what_the_worker_says_is_what_is_asked(tmp_path: Path, health: Health) -> None:
    """However often it is asked, while it is open."""
    path = tmp_path / "health.sock"
    async with LISTEN(path, says(health)):
        assert [await asked(path), await asked(path)] == [health, health]


async def test_the_socket_is_the_workers_alone(tmp_path: Path) -> None:
    """No other user can ask, and nothing is left when the worker has gone."""
    path = tmp_path / "health.sock"
    async with LISTEN(path, says(Health(True, ""))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_socket_that_was_left_there_is_replaced(tmp_path: Path) -> None:
    """A worker that was killed leaves its socket; the next one listens all the same."""
    path = tmp_path / "health.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with LISTEN(path, says(Health(True, "new"))):
        assert await asked(path) == Health(True, "new")


async def test_a_place_that_cannot_be_had(tmp_path: Path) -> None:
    """A file that is no socket stays as it is, a folder that is not there is not made."""
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (file, tmp_path / "none" / "health.sock", tmp_path / ("x" * 120)):
        with pytest.raises(CannotListen, match=f"health-socket = {path}: cannot listen there: "):
            async with LISTEN(path, says(Health(True, ""))):
                pass
    assert file.read_text() == "mine"


async def test_without_a_place_nothing_listens() -> None:
    """The socket is off unless it is asked for."""
    async with LISTEN(None, says(Health(True, ""))):
        pass


async def test_a_worker_that_hangs_is_not_ready(tmp_path: Path) -> None:
    """The connection is made by the kernel, and no answer comes in time."""
    path = tmp_path / "health.sock"
    never = asyncio.Event()

    async def look() -> Health:
        await never.wait()
        return Health(True, "")

    async with LISTEN(path, look):
        assert await asked(path, 0.05) == Health(False, "the worker does not answer within 0.05 s")
        never.set()


async def test_who_does_not_wait_for_the_answer_disturbs_nobody(tmp_path: Path) -> None:
    """One that connects and leaves costs the worker nothing; the next one is answered."""
    path = tmp_path / "health.sock"
    async with LISTEN(path, says(Health(True, "x" * 60_000))):
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(path))
        assert (await asked(path)).is_ready


def test_nobody_there_is_not_ready(tmp_path: Path) -> None:
    """The line names the socket."""
    health = ask(str(tmp_path / "none.sock"))
    assert not health.is_ready
    assert str(tmp_path / "none.sock") in health.text
    assert not ask("").is_ready


@pytest.mark.parametrize("answer", [b"", b"hello", b"[1]", b'{"ready": true}', b'{"text": "x"}', b"\xff\n"])
def test_what_is_no_worker_is_not_ready(tmp_path: Path, answer: bytes) -> None:
    """Anything but the worker's line."""
    path = tmp_path / "health.sock"
    with answering(path, answer):
        assert ask(str(path)) == Health(False, "what answers there is not a worker")


def test_only_true_is_ready(tmp_path: Path) -> None:
    """A truthy value is not what a worker says, and the text is one line."""
    path = tmp_path / "health.sock"
    with answering(path, b'{"ready": 1, "text": "a\\nb"}'):
        assert ask(str(path)) == Health(False, "a b")


@pytest.mark.parametrize(
    ("states", "is_ready", "text"),
    [
        ({"a": "ready"}, True, "ready: a; 1 tunnel"),
        ({"a": "ready", "b": "broken"}, True, "ready: a; b is broken; 1 tunnel"),
        ({"a": "ready", "b": "not ready: hangs"}, False, "ready: a; b is not ready: hangs; 1 tunnel"),
        ({"b": "broken"}, False, "no model is ready; b is broken; 1 tunnel"),
        ({}, False, "no model is ready; 1 tunnel"),
    ],
)
def test_ready_is_a_model_that_answers(states: dict[str, str], is_ready: bool, text: str) -> None:
    """One that could not be loaded is said and does not count; one that was and no longer answers does."""
    assert health_of(states, "1 tunnel") == Health(is_ready, text)


@pytest.mark.parametrize(("is_ready", "status"), [(True, 0), (False, 1)])
def test_the_command_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str], is_ready: bool, status: int) -> None:
    """Status 0 when the worker is ready, 1 when not, and its one line."""
    path = tmp_path / "health.sock"
    with answering(path, encode(Health(is_ready, "so it is"))):
        assert cli.main(["health", "--health-socket", str(path)]) == status
    assert capsys.readouterr().out == "so it is\n"


def test_the_module_takes_the_variable(tmp_path: Path) -> None:
    """What the images run is the same in less: status and line by HEALTH_SOCKET."""
    path = tmp_path / "health.sock"
    run: Callable[[], subprocess.CompletedProcess[str]] = lambda: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "edge_worker.health"],
        env={"HEALTH_SOCKET": str(path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run().returncode == 1
    with answering(path, encode(Health(True, "so it is"))):
        done = run()
    assert (done.returncode, done.stdout) == (0, "so it is\n")


def test_the_command_needs_to_be_told_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a socket there is nobody to ask: a mistake, not a worker that is not ready."""
    monkeypatch.delenv("HEALTH_SOCKET", raising=False)
    assert cli.main(["health"]) == 2
    assert "health-socket: is missing" in capsys.readouterr().err


def test_asking_loads_next_to_nothing() -> None:
    """Neither asyncio nor any library: it is run every few seconds beside what is being measured."""
    code = "import sys, edge_worker.health; print(*sorted({one.partition('.')[0] for one in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=os.getcwd()
    )
    assert not set(done.stdout.split()) & {"asyncio", "argparse", "ssl", "logging", "websockets", "uvloop", "numpy"}
