"""What a worker that lies cannot do to the connection of a client: the next answer on it is the gateway's to write."""

from __future__ import annotations

import asyncio

import pytest

from gateway.dispatch.model import Metadata
from gateway.errors import NoWorker
from tests.gateway.http.test_forward import Service, answering, request
from tests.support.http_gateway import serving
from wire.forwarding import MAX_INFORMATIONAL

SMUGGLED = b"HTTP/1.1 200 OK\r\nx: smuggled\r\n\r\n"
UPGRADE = ("Connection: upgrade", "Upgrade: websocket")


async def until_cut(service: Service, asked: bytes) -> bytes:
    """Everything that comes until the gateway ends the connection."""
    async with serving(service) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(asked)
        got = b""
        try:
            async with asyncio.timeout(30):
                while piece := await reader.read(1 << 16):
                    got += piece
        except ConnectionError:
            pass
        writer.close()
        return got


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_body_is_no_longer_than_its_head_says(method: str) -> None:
    """What goes beyond is not sent, a HEAD's body included, and the connection is cut."""
    service = answering(SMUGGLED, None, fields=(("content-length", "3"),))
    got = await until_cut(service, request(f"{method} /tunnel/old/ HTTP/1.1"))
    assert b"smuggled" not in got


async def test_a_body_that_ends_early_is_cut() -> None:
    """Its client would wait for the rest, and take the next answer for it."""
    got = await until_cut(
        answering(b"a", None, fields=(("content-length", "3"),)), request("GET /tunnel/old/ HTTP/1.1")
    )
    assert got.endswith(b"a")


@pytest.mark.parametrize(
    "fields",
    [
        (("content-length", "3"), ("content-length", "4")),
        (("content-length", "+3"),),
        (("content-length", "3"), ("Content-Length", "4")),
    ],
)
async def test_a_length_that_readers_would_not_agree_on_is_refused(fields: Metadata) -> None:
    """502, and nothing of the answer."""
    service = answering(b"abc", None, fields=fields)
    async with serving(service) as served, served.session.get("/tunnel/old/") as answer:
        assert answer.status == 502


async def test_framing_is_the_gateways_in_any_case() -> None:
    """A Transfer-Encoding of the worker's is dropped, however it is spelled."""
    service = answering(b"abc", None, fields=(("Transfer-Encoding", "chunked"), ("content-length", "3")))
    async with serving(service) as served, served.session.get("/tunnel/old/") as answer:
        assert await answer.read() == b"abc"
        assert "Transfer-Encoding" not in answer.headers


async def test_nobody_is_switched_who_did_not_ask() -> None:
    """101 to a plain request is left out."""
    service = answering(b"abc", None, informed=[(101, (("upgrade", "websocket"),))], fields=(("content-length", "3"),))
    async with serving(service) as served, served.session.get("/tunnel/old/") as answer:
        assert (answer.status, await answer.read()) == (200, b"abc")


async def test_informational_answers_are_bounded() -> None:
    """A flood of them would wait in memory for a client that does not read."""
    service = answering(None, informed=[(103, (("link", "a"),))] * 1000, fields=(("content-length", "0"),))
    async with serving(service) as served:
        got = await served.talk(request("GET /tunnel/old/ HTTP/1.1", "Connection: close"))
    assert got.count(b"103 Early Hints") == MAX_INFORMATIONAL


async def test_a_refused_upgrade_ends_the_connection() -> None:
    """What came behind the request was never read as HTTP: no further request could be found in it."""
    service = answering(b"no", None, status=403, fields=(("content-length", "2"),))
    got = await until_cut(service, request("GET /tunnel/old/ HTTP/1.1", *UPGRADE))
    assert b"connection: close" in got
    assert got.endswith(b"no")
    got = await until_cut(Service(error=NoWorker("nobody")), request("GET /tunnel/old/ HTTP/1.1", *UPGRADE))
    assert b"503" in got
