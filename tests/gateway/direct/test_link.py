"""A direct worker as dispatch sees it, against the worker's own server in the same process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from edge_worker.backends.base import Answer, BackendFailed, BadInput
from gateway.direct.connection import MAX_DETAIL_CHARS, WHOLE_BYTES, Address, Connection
from gateway.direct.link import DirectLink
from gateway.dispatch.model import ExchangeFailed, ExchangeRefused, LinkLost
from gateway.errors import BadInput as BadPicture
from gateway.errors import SlowBody
from tests.support.fake_backend import FakeBackend
from tests.support.fake_link import FakeBody, make_job
from tests.support.scripted_server import answer, scripted_server
from tests.support.worker_http import ANSWER, serving, until


@dataclass
class Arriving:
    """A body that comes piece by piece, and may end with an error."""

    pieces: asyncio.Queue[bytes | Exception | None] = field(default_factory=asyncio.Queue)
    size: int | None = None
    is_complete: bool = False
    is_replayable: bool = True

    async def chunks(self) -> AsyncIterator[bytes]:
        while (piece := await self.pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece
        self.is_complete = True


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[tuple[DirectLink, list[str]]]:
    """A link to this address, and the reasons for which it was lost."""
    lost: list[str] = []
    connection = Connection(Address(url), "direct.workers.w")
    link = DirectLink("w", {}, connection, lambda _link, reason: lost.append(reason))
    try:
        yield link, lost
    finally:
        await connection.close()


@asynccontextmanager
async def worker(backend: FakeBackend, slots: int = 1) -> AsyncIterator[tuple[DirectLink, list[str]]]:
    async with serving(backend, slots=slots) as served, linked(f"http://127.0.0.1:{served.server.port}") as made:
        yield made


async def test_a_job_goes_there_and_its_answer_back() -> None:
    """With its path, metadata and deadline; the reply says its length, so that it can be held."""
    tensor = Answer(b"numbers", "application/vnd.tensor", metadata=(("tensor-shape", "1,7"),))
    backend = FakeBackend(tensor)
    job = make_job()
    job.path += "?output=raw"
    job.metadata = (("content-type", "image/png"), ("tensor-datatype", "FP32"))
    async with worker(backend) as (link, _), link.exchange(job) as reply:
        assert (reply.status, await reply.read()) == (200, b"numbers")
        assert ("tensor-shape", "1,7") in reply.metadata
        assert ("content-length", "7") in reply.metadata
        assert ("content-type", "application/vnd.tensor") in reply.metadata
    (call,) = backend.calls
    assert (call.path, bytes(call.body)) == ("/inference/m?output=raw", b"image")
    assert list(call.metadata) == list(job.metadata)


async def test_a_clients_own_path_is_not_asked_for() -> None:
    """It would name a model that the client's token may not use: here the path alone says which."""
    backend = FakeBackend(ANSWER)
    job = make_job("service")
    job.path, job.is_stream = "/inference/m", True
    async with worker(backend) as (link, lost):
        with pytest.raises(ExchangeRefused, match="not for services"):
            async with link.exchange(job):
                pass
    assert not backend.calls
    assert not lost


async def test_the_time_is_split_into_the_workers_and_the_way() -> None:
    """The worker's own steps by name; what is left went half there and half back."""
    async with worker(FakeBackend(ANSWER)) as (link, _), link.exchange(make_job()) as reply:
        await reply.read()
    steps = reply.timing.worker_s
    assert list(steps) == ["worker_queue", "decode", "inference"]
    assert steps["inference"] == pytest.approx(0.02)
    assert reply.timing.tunnel_out_s == reply.timing.tunnel_back_s >= 0


async def test_a_body_is_sent_as_it_arrives() -> None:
    """The first piece is at the worker before the last is here; a large one goes whole."""
    body = Arriving(size=6)
    async with worker(FakeBackend(ANSWER)) as (link, _):
        job = make_job()
        job.body = body
        asking = asyncio.create_task(link.exchange(job).__aenter__())
        body.pieces.put_nowait(b"one")
        await until(lambda: body.pieces.empty())
        body.pieces.put_nowait(b"two")
        body.pieces.put_nowait(None)
        assert (await asking).status == 200
    backend = FakeBackend(BadInput("bad_input", "not an image"))
    async with worker(backend) as (link, _):
        with pytest.raises(Exception, match="larger than 1000 bytes"):
            async with link.exchange(make_job(body=FakeBody(bytes(WHOLE_BYTES + 1)))):
                pass


async def test_what_the_client_does_wrong_is_its_error() -> None:
    """The reader's own exception, not what the HTTP library makes of it; the link lives on."""
    body = Arriving()
    body.pieces.put_nowait(b"one")
    body.pieces.put_nowait(SlowBody("too slow"))
    job = make_job()
    job.body = body
    async with worker(FakeBackend(ANSWER)) as (link, lost):
        with pytest.raises(SlowBody):
            async with link.exchange(job):
                pass
        async with link.exchange(make_job()) as reply:
            assert reply.status == 200
    assert not lost


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(BadInput("bad_input", "not an image"), BadPicture), (BackendFailed("out of memory"), ExchangeFailed)],
)
async def test_failures_are_told_apart(outcome: Exception, error: type[Exception]) -> None:
    """The client's and the engine's; neither says that the worker is gone."""
    async with worker(FakeBackend(outcome)) as (link, lost):
        with pytest.raises(error, match=str(outcome)):
            async with link.exchange(make_job()):
                pass
    assert not lost


async def test_what_was_not_begun_is_refused() -> None:
    """Another model, and a worker that drains: the job may go elsewhere."""
    async with serving(FakeBackend(ANSWER)) as served, linked(f"http://127.0.0.1:{served.server.port}") as (link, lost):
        with pytest.raises(ExchangeRefused):
            async with link.exchange(make_job("other")):
                pass
        await served.inference.drain(0)
        with pytest.raises(ExchangeRefused, match="leaving"):
            async with link.exchange(make_job()):
                pass
        assert not lost


async def test_a_worker_that_takes_no_connection_is_lost() -> None:
    """The job was not begun, and every later one is told at once."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with linked(f"http://127.0.0.1:{nobody.getsockname()[1]}") as (link, lost):
            with pytest.raises(ExchangeRefused):
                async with link.exchange(make_job()):
                    pass
            assert len(lost) == 1
            assert link.is_ended
            with pytest.raises(LinkLost):
                async with link.exchange(make_job()):
                    pass
    assert len(lost) == 1


async def test_a_connection_that_breaks_loses_its_exchange_alone() -> None:
    """Before the answer or within it; others go on."""

    async def abort(_head: bytes, _body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" if _body == b"half" else b"")
        await writer.drain()
        writer.close()

    async with scripted_server(abort) as url, linked(url) as (link, lost):
        with pytest.raises(LinkLost):
            async with link.exchange(make_job()):
                pass
        with pytest.raises(LinkLost):
            async with link.exchange(make_job(body=FakeBody(b"half"))) as reply:
                await reply.read()
        assert not link.is_ended
    assert not lost


async def test_leaving_early_cancels_the_work() -> None:
    """The worker sees the connection close, and drops the call."""
    backend = FakeBackend()
    async with worker(backend) as (link, _):
        asking = asyncio.create_task(link.exchange(make_job()).__aenter__())
        await until(lambda: backend.calls)
        asking.cancel()
        await until(lambda: backend.cancelled)


async def test_closing_loses_what_is_in_flight() -> None:
    """LinkLost with the reason, though the worker never says a word."""
    backend = FakeBackend()
    async with worker(backend) as (link, lost):
        asking = asyncio.create_task(link.exchange(make_job()).__aenter__())
        await until(lambda: backend.calls)
        link.close("superseded")
        with pytest.raises(LinkLost, match="superseded"):
            await asking
    assert not lost


async def test_a_probe_is_the_workers_own_sample() -> None:
    """Its seconds are the steps without the wait for a slot; a failure is the engine's."""
    backend = FakeBackend(ANSWER)
    async with worker(backend) as (link, _):
        assert await link.probe("m", 10.0) == pytest.approx(0.021, abs=1e-3)
        assert (backend.probes, backend.calls) == (["m"], [])
        backend.outcome = BackendFailed("out of memory")
        with pytest.raises(ExchangeFailed, match="out of memory"):
            await link.probe("m", 10.0)
        backend.outcome = BadInput("bad_input", "own sample")
        with pytest.raises(ExchangeFailed, match="own sample"):
            await link.probe("m", 10.0)


async def test_a_workers_words_are_bounded() -> None:
    """They reach the client and the log."""
    body = json.dumps({"code": "bad_input", "detail": "x" * 100_000}).encode()
    async with scripted_server(answer(body, "422 No")) as url, linked(url) as (link, _):
        with pytest.raises(BadPicture) as raised:
            async with link.exchange(make_job()):
                pass
    assert len(str(raised.value)) <= MAX_DETAIL_CHARS


async def test_something_else_in_front_is_no_answer() -> None:
    """A proxy that wants a token refuses unbegun; one that fails is a failure."""
    for status, error in (
        ("401 Unauthorized", ExchangeRefused),
        ("500 Oh", ExchangeFailed),
        ("302 Go", ExchangeFailed),
    ):
        async with scripted_server(answer(b"<html>", status)) as url, linked(url) as (link, _):
            with pytest.raises(error, match=status[:3]):
                async with link.exchange(make_job()):
                    pass
