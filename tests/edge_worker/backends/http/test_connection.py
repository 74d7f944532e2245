"""One connection: how bytes flow, who waits for whom, and what can be kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from edge_worker.backends.base import BackendFailed
from edge_worker.backends.http.connection import Connection, Stale
from edge_worker.backends.http.head import encode_request
from tests.support.fake_exchange import FakeExchange

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[Connection]:
    """A connection to a server that does this once."""
    over = asyncio.Event()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            over.set()

    server = await asyncio.start_server(run, "127.0.0.1", 0, limit=1 << 16)
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(30):
            yield connection
            connection.close()
            await over.wait()
    finally:
        server.close()


async def carry(connection: Connection, exchange: FakeExchange, *, is_upgrade: bool = False) -> None:
    await connection.carry(exchange, encode_request(exchange, "h"), is_upgrade=is_upgrade)


def saying(*answers: bytes) -> Serve:
    """Answers one request after the other, each once its head is here, then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


async def test_a_connection_carries_one_exchange_after_the_other() -> None:
    """Each gets its own answer, whole."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: y\r\n\r\n"
    async with connected(saying(OK, chunked, OK)) as connection:
        for expected in [(b"ok", 2, []), (b"hi", None, [("x", "y")]), (b"ok", 2, [])]:
            exchange = FakeExchange()
            await carry(connection, exchange)
            assert (exchange.answer, exchange.length, exchange.trailers) == expected
            assert connection.is_open


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"more",
    ],
)
async def test_what_cannot_be_kept_is_closed(answer: bytes) -> None:
    """A server that wants to close, speaks HTTP/1.0 or says more than it was asked for gets no second request."""
    async with connected(saying(answer)) as connection:
        exchange = FakeExchange()
        await carry(connection, exchange)
        assert exchange.answer == b"ok"
        assert not connection.is_open


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """As HTTP/1.0 had it."""
    async with connected(saying(b"HTTP/1.0 200 OK\r\n\r\neverything")) as connection:
        exchange = FakeExchange()
        await carry(connection, exchange)
        assert (exchange.answer, exchange.trailers) == (b"everything", [])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (64 << 10) + b"\r\n\r\n",
    ],
)
async def test_half_an_answer_is_a_failure(answer: bytes) -> None:
    """It is never ended as if it were whole."""
    async with connected(saying(answer)) as connection:
        exchange = FakeExchange()
        with pytest.raises(BackendFailed):
            await carry(connection, exchange)
        assert exchange.trailers is None
        assert not connection.is_open


async def test_a_kept_connection_may_be_stale() -> None:
    """Closed before a byte of the answer: the caller may try again; once a byte has come, it is a failure."""
    async with connected(saying(OK, b"")) as connection:
        await carry(connection, FakeExchange())
        with pytest.raises(Stale):
            await carry(connection, FakeExchange())
    async with connected(saying(OK, b"HTTP")) as connection:
        await carry(connection, FakeExchange())
        with pytest.raises(BackendFailed):
            await carry(connection, FakeExchange())


async def test_a_chunked_upload() -> None:
    """Each piece is a chunk, sent as it comes; trailers follow."""
    got = asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for end in (b"one\r\n", b"three\r\n", b"\r\n\r\n"):
            got.put_nowait(await reader.readuntil(end))
        writer.write(OK)

    async with connected(serve) as connection:
        exchange = FakeExchange("POST", body=None, body_bytes=None)
        carrying = asyncio.create_task(carry(connection, exchange))
        await asyncio.sleep(0)
        exchange.feed(b"one")
        assert await got.get() == b"3\r\none\r\n"
        exchange.feed(b"three")
        assert await got.get() == b"5\r\nthree\r\n"
        exchange.finish([("checksum", "1")])
        assert await got.get() == b"0\r\nchecksum: 1\r\n\r\n"
        await carrying
        assert exchange.consumed_bytes == 8


async def test_credit_comes_for_what_the_server_takes() -> None:
    """While the server does not read, what was given to the socket is not used up."""
    may_read = asyncio.Event()
    piece = bytes(1 << 20)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await may_read.wait()
        await reader.readexactly(32 * len(piece))
        writer.write(OK)

    async with connected(serve) as connection:
        exchange = FakeExchange("POST", body=None, body_bytes=32 * len(piece))
        carrying = asyncio.create_task(carry(connection, exchange))
        await asyncio.sleep(0)
        for _ in range(32):  # more than any kernel takes
            exchange.feed(piece)
        exchange.finish()
        assert exchange.consumed_bytes < 32 * len(piece)
        may_read.set()
        await carrying
        assert exchange.consumed_bytes == 32 * len(piece)


async def test_the_server_waits_for_the_gateway() -> None:
    """Nothing more is read while the exchange is full, and everything once there is room."""
    size = 32 << 20
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(32):
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent += 1

    async with connected(serve) as connection:
        exchange = FakeExchange(full_at=1)
        carrying = asyncio.create_task(carry(connection, exchange))
        while not exchange.answer:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(exchange.answer) < 1 << 20
        assert sent < 32
        exchange.drain()
        await carrying
        assert len(exchange.answer) == size


async def test_an_early_answer_ends_the_request() -> None:
    """A server that does not want the rest of a body is not sent it; the connection cannot be kept."""
    async with connected(saying(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")) as connection:
        exchange = FakeExchange("POST", body=None, body_bytes=1 << 30)
        await carry(connection, exchange)
        assert exchange.status == 413
        assert not connection.is_open
        exchange.feed(b"late")


async def test_cancelling_closes_the_connection() -> None:
    """The server sees it at once."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        gone.set()

    async with connected(serve) as connection:
        carrying = asyncio.create_task(carry(connection, FakeExchange()))
        await asyncio.sleep(0)
        carrying.cancel()
        await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await carrying


async def test_an_upgrade_is_a_stream_of_bytes() -> None:
    """What the client sends early waits for 101, what the server sends behind it is not lost; the end is the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello")
        writer.write(b"got " + await reader.readexactly(9))

    async with connected(serve) as connection:
        exchange = FakeExchange(headers=[("upgrade", "websocket")], body=None, body_bytes=None)
        carrying = asyncio.create_task(carry(connection, exchange, is_upgrade=True))
        await asyncio.sleep(0)
        exchange.feed(b"early")
        while not exchange.informed:
            await asyncio.sleep(0)
        exchange.feed(b"late")
        await carrying
        assert exchange.informed == [(101, [("upgrade", "websocket")])]
        assert (exchange.status, exchange.answer, exchange.trailers) == (200, b"hellogot earlylate", [])
        assert exchange.consumed_bytes == 9
