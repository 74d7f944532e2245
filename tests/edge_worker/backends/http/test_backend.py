"""The backend as the worker sees it: which connection an exchange gets, and how the servers are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_worker.backends.base import BackendFailed, NotReady, ServedModel
from edge_worker.backends.http import backend as backend_module
from edge_worker.backends.http.address import UpstreamSettings, parse_upstream
from edge_worker.backends.http.backend import HttpBackend
from tests.support.fake_exchange import FakeExchange

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each request with `answer`; empty closes the connection instead."""

    def __init__(self) -> None:
        self.answer = OK
        self.targets: list[str] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.targets.append(head.split(b" ")[1].decode())
                if not self.answer:
                    self.answer = OK
                    break
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running(health: str = "", slots: int = 4) -> AsyncIterator[tuple[HttpBackend, Server]]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    backend = HttpBackend(UpstreamSettings((parse_upstream(f"old=http://127.0.0.1:{port}"),), health, slots))
    try:
        async with asyncio.timeout(30):
            yield backend, server
            await backend.close()
    finally:
        listener.close()
        for writer in server.writers:
            writer.close()


async def test_services_are_announced() -> None:
    """With their slots, and with the word that tells dispatch that they are services."""
    async with running() as (backend, _):
        (service,) = await backend.start()
        assert (service.name, service.slots, service.failure) == ("old", 4, "")
        assert service.metadata["service"] is True


async def test_a_server_that_is_down_is_a_failed_service(tmp_path: Path) -> None:
    """The reason says what to do; an exchange is refused, not begun."""
    backend = HttpBackend(UpstreamSettings((parse_upstream(f"unix:{tmp_path}/none"),)))
    (service,) = await backend.start()
    assert "is the server running?" in service.failure
    with pytest.raises(NotReady):
        await backend.forward(FakeExchange(service="http"))
    with pytest.raises(BackendFailed):
        await backend.probe("http")


async def test_two_servers_need_two_names() -> None:
    """The second would never be asked."""
    with pytest.raises(ValueError, match="name of its own"):
        HttpBackend(UpstreamSettings((parse_upstream("http://a"), parse_upstream("http://b"))))


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (OK, ""),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "the server answers /healthz with status 503"),
        (b"nonsense\r\n\r\n", "the server's answer is broken"),
    ],
)
async def test_the_health_path_is_asked(answer: bytes, failure: str) -> None:
    """With a real request, before the service is announced and for each probe."""
    async with running("/healthz") as (backend, server):
        server.answer = answer
        (service,) = await backend.start()
        assert service.failure.startswith(failure)
        assert bool(service.failure) == bool(failure)
        assert server.targets == ["/healthz"]
        if not failure:
            await backend.probe("old")
            assert server.targets == ["/healthz"] * 2


async def test_connections_are_kept() -> None:
    """One exchange after the other takes the same connection; two at once take two."""
    async with running() as (backend, server):
        for _ in range(3):
            await backend.forward(FakeExchange())
        assert server.connections == 1
        await asyncio.gather(*(backend.forward(FakeExchange()) for _ in range(2)))
        assert server.connections == 2


async def test_no_more_are_kept_than_there_are_slots() -> None:
    """The rest is closed when it is not needed."""
    async with running(slots=1) as (backend, _):
        await asyncio.gather(*(backend.forward(FakeExchange()) for _ in range(5)))
        assert len(backend._services["old"].pool._idle) == 1


async def test_a_stale_connection_is_made_up_for() -> None:
    """A request that may be made twice is, on a new connection; one that may not fails."""
    async with running() as (backend, server):
        await backend.forward(FakeExchange())
        server.answer = b""
        again = FakeExchange()
        await backend.forward(again)
        assert again.answer == b"ok"
        server.answer = b""
        with pytest.raises(BackendFailed):
            await backend.forward(FakeExchange("POST"))


async def test_what_must_not_be_made_twice_takes_a_fresh_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has idled may be about to be closed: a POST does not risk it, a GET does."""
    async with running() as (backend, server):
        for fresh_s, method, connections in [(1e9, "POST", 1), (0.0, "GET", 1), (0.0, "POST", 2)]:
            monkeypatch.setattr("edge_worker.backends.http.pool.FRESH_S", fresh_s)
            await backend.forward(FakeExchange(method))
            assert server.connections == connections


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody used for long."""
    async with running() as (backend, _):
        await backend.forward(FakeExchange())
        pool = backend._services["old"].pool
        pool.close_idle()
        assert len(pool._idle) == 1
        monkeypatch.setattr("edge_worker.backends.http.pool.MAX_IDLE_S", -1.0)
        pool.close_idle()
        assert not pool._idle


async def test_a_change_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that fails its health check, and one that is well again, are told once each."""
    monkeypatch.setattr(backend_module, "CHECK_S", 0.001)
    told: asyncio.Queue[Sequence[ServedModel]] = asyncio.Queue()
    async with running("/healthz") as (backend, server):
        await backend.start()
        watching = asyncio.create_task(backend.watch(told.put_nowait))
        server.answer = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n"
        assert "status 500" in (await told.get())[0].failure
        server.answer = OK
        assert (await told.get())[0].failure == ""
        seen = len(server.targets)
        while len(server.targets) < seen + 3:
            await asyncio.sleep(0)
        assert told.empty()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
