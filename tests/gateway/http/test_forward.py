"""Requests for services on a real port, with a dispatcher that does as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.dispatch.model import Job, Metadata, Reply, Timing
from gateway.errors import NoWorker, WorkerLost
from tests.support.http_gateway import TOKEN, FakeDispatcher, serving


@dataclass(eq=False)
class Service(FakeDispatcher):
    """Answers with `fields` and the pieces that a test puts; None ends the answer, an exception breaks it off."""

    fields: Metadata = ()
    pieces_out: asyncio.Queue[bytes | Exception | None] = field(default_factory=asyncio.Queue)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    informed: list[tuple[int, Metadata]] = field(default_factory=list)

    @asynccontextmanager
    async def exchange(self, job: Job) -> AsyncIterator[Reply]:
        self.jobs.append(job)
        self.started.release()
        if self.error is not None:
            raise self.error
        for status, metadata in self.informed:
            assert job.on_informational is not None
            job.on_informational(status, metadata)
        try:
            await self.may_answer.wait()
            yield Reply(self.status, self.fields, self._pieces(), Timing(worker="w1"), self.trailers)
        except asyncio.CancelledError:
            self.cancelled.release()
            raise

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self.pieces_out.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def request(line: str, *lines: str, body: bytes = b"") -> bytes:
    head = [f"{line}", "Host: gateway", f"Authorization: Bearer {TOKEN}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def answering(*pieces: bytes | Exception | None, **fields: object) -> Service:
    service = Service(**fields)  # type: ignore[arg-type]
    for piece in pieces:
        service.pieces_out.put_nowait(piece)
    return service


async def test_an_answer_is_passed_on() -> None:
    """Status, fields and body as they came; the gateway adds its own, and its Server-Timing beside the server's."""
    fields: tuple[tuple[str, str], ...] = (("content-length", "4"), ("server", "old/1"))
    fields += (("set-cookie", "a"), ("set-cookie", "b"))
    service = answering(
        b"body", None, status=201, fields=(*fields, ("server-timing", "db;dur=1"), ("x-request-id", "?"))
    )
    async with serving(service) as served, served.session.get("/tunnel/old/x?y=1") as answer:
        assert (answer.status, await answer.read()) == (201, b"body")
        assert answer.headers["Server"] == "old/1"
        assert answer.headers.getall("Set-Cookie") == ["a", "b"]
        assert answer.headers["X-Request-ID"] != "?"
        assert [one.split(";")[0] for one in answer.headers.getall("Server-Timing")] == ["db", "auth"]
        assert "Content-Type" not in answer.headers
        assert served.metrics.requests.count("/tunnel/{service}{path}", "GET", "201") == 1
    (job,) = service.jobs
    assert (job.model, job.method, job.path, job.is_stream, job.may_repeat) == ("old", "GET", "/x?y=1", True, True)
    assert job.deadline == float("inf")
    assert job.body.size == 0


async def test_a_post_is_not_repeated_and_its_deadline_is_passed_on() -> None:
    """POST is not idempotent; X-Request-Timeout is the job's deadline."""
    service = answering(None)
    headers = {"X-Request-Timeout": "5"}
    async with serving(service) as served, served.session.post("/tunnel/old/", data=b"12345", headers=headers):
        pass
    (job,) = service.jobs
    assert (job.may_repeat, job.body.size) == (False, 5)
    assert job.deadline < float("inf")


@pytest.mark.parametrize(
    ("version", "framing", "body"),
    [
        ("1.1", b"transfer-encoding: chunked", b"2\r\nhi\r\n0\r\nx: y\r\n\r\n"),
        ("1.0", b"connection: close", b"hi"),
    ],
)
async def test_an_answer_without_a_length(version: str, framing: bytes, body: bytes) -> None:
    """Chunks and trailers for HTTP/1.1; for HTTP/1.0 the end of the connection."""
    async with serving(answering(b"hi", None, trailers=[("x", "y")])) as served:
        answer = await served.talk(request(f"GET /tunnel/old/ HTTP/{version}", "Connection: close"))
        head, _, got = answer.partition(b"\r\n\r\n")
        assert framing in head
        assert got == body


async def test_informational_answers() -> None:
    """For clients that can read them; a broken one is left out."""
    informed = [(103, (("link", "a"),)), (103, (("link", "a\r\nb"),))]
    async with serving(answering(None, informed=informed, fields=(("content-length", "0"),))) as served:
        new = await served.talk(request("GET /tunnel/old/ HTTP/1.1", "Connection: close"))
        assert new.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n")
    async with serving(answering(None, informed=informed, fields=(("content-length", "0"),))) as served:
        assert (await served.talk(request("GET /tunnel/old/ HTTP/1.0"))).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("fields", [(), (("content-length", "100"),)])
async def test_what_breaks_off_is_cut(fields: Metadata) -> None:
    """The part is there, its end is not, and the failure is counted under its own name."""
    async with serving(answering(b"part", fields=fields)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request("GET /tunnel/old/ HTTP/1.1"))
        assert b"200 OK" in await reader.readuntil(b"part")
        served.dispatcher.pieces_out.put_nowait(WorkerLost("cut"))  # type: ignore[attr-defined]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        assert served.metrics.failures.count("worker_lost") == 1


async def test_an_error_before_the_answer_is_a_problem() -> None:
    """As everywhere: status, document, Retry-After."""
    service = Service(error=NoWorker("nobody", retry_after_s=3))
    async with serving(service) as served, served.session.get("/tunnel/old/") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
        assert json.loads(await answer.read())["code"] == "no_worker"


async def test_a_broken_head_of_a_worker_is_a_problem() -> None:
    """It is never written to the client."""
    service = answering(None, fields=(("x", "a\r\nset-cookie: b"),))
    async with serving(service) as served, served.session.get("/tunnel/old/") as answer:
        assert answer.status == 502
        assert "Set-Cookie" not in answer.headers


async def test_silence_ends_a_request() -> None:
    """504 when no answer begins within tunnel.first_byte_s; once it has begun, tunnel.idle_s cuts it off."""
    service = Service()
    service.may_answer.clear()
    async with serving(service, {"tunnel": {"first_byte_s": 0.05}}) as served:
        async with served.session.get("/tunnel/old/") as answer:
            assert answer.status == 504
        assert service.cancelled.locked() is False
    service.may_answer.set()
    async with serving(service, {"tunnel": {"first_byte_s": 3600, "idle_s": 0.05}}) as served:
        got = await asyncio.wait_for(_read_all(served.port), 30)
        assert b"200 OK" in got
        assert not got.endswith(b"0\r\n\r\n")


async def _read_all(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("GET /tunnel/old/ HTTP/1.1"))
    got = b""
    try:
        while data := await reader.read(1 << 16):
            got += data
    except ConnectionError:
        pass
    writer.close()
    return got


async def test_a_client_that_leaves_cancels_its_job() -> None:
    """Also in the middle of the answer."""
    service = answering(b"part")
    async with serving(service) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request("GET /tunnel/old/ HTTP/1.1"))
        await reader.readuntil(b"part")
        writer.close()
        async with asyncio.timeout(30):
            await service.cancelled.acquire()


async def test_who_may_ask() -> None:
    """A token, and one that is for this service; nothing is dispatched otherwise."""
    service = Service()
    async with serving(service) as served:
        async with served.session.get("/tunnel/old/", headers={"Authorization": "x"}) as answer:
            assert answer.status == 401
        async with served.session.get("/tunnel/secret/") as answer:
            assert answer.status == 403
    assert not service.jobs


async def test_a_model_is_no_service() -> None:
    """Its own API has its limits; who asks it here is told so."""
    service = Service()
    async with serving(service) as served, served.session.get("/tunnel/digits/x") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "unknown_model")
    assert not service.jobs


async def test_as_many_requests_as_are_allowed() -> None:
    """The next one is told to wait."""
    service = Service(fields=(("content-length", "0"),))
    service.may_answer.clear()
    async with serving(service, {"limits": {"max_requests": 1}}) as served:
        first = asyncio.create_task(served.talk(request("GET /tunnel/old/ HTTP/1.1", "Connection: close")))
        await service.started.acquire()
        async with served.session.get("/tunnel/old/") as answer:
            assert answer.status == 429
        service.pieces_out.put_nowait(None)
        service.may_answer.set()
        assert b"200 OK" in await first


@pytest.mark.parametrize("host", ["old.example.org", "old.example.org:8443", "OLD.example.org"])
async def test_a_host_of_its_own(host: str) -> None:
    """Every path of it is the service's, with the port that the gateway listens on or without."""
    service = answering(None, None, fields=(("content-length", "0"),))
    async with serving(service, {"tunnel": {"hosts": {"old.example.org": "old"}}, "listen": {"port": 8443}}) as served:
        for path in ("/healthz", "/a/../b?c"):
            lines = (f"GET {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {TOKEN}", "Connection: close")
            assert b"200 OK" in await served.talk("\r\n".join([*lines, "", ""]).encode())
        async with served.session.get("/healthz") as answer:
            assert await answer.json() == {"status": "ok"}
    assert [job.path for job in service.jobs] == ["/healthz", "/a/../b?c"]
    assert {job.model for job in service.jobs} == {"old"}
    assert ("host", host) in service.jobs[0].metadata


@pytest.mark.parametrize("path", ["/tunnel/old/a", "/%74unnel/old/a", "http://gateway/tunnel/old/a"])
async def test_the_servers_path_begins_behind_the_service(path: str) -> None:
    """However the client writes what stands before it."""
    service = answering(None, fields=(("content-length", "0"),))
    async with serving(service) as served:
        await served.talk(request(f"GET {path} HTTP/1.1", "Connection: close"))
    (job,) = service.jobs
    assert (job.model, job.path) == ("old", "/a")
    assert ("x-forwarded-prefix", "/tunnel/old") in job.metadata
