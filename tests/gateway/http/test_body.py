"""A client's body while it arrives."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from gateway.errors import BadRequest, ClientGone, DeadlineExceeded, GatewayError, PayloadTooLarge, QueueFull, SlowBody
from gateway.http.body import JOINED_PIECE_BYTES, MAX_SEPARATE_PIECES, ArrivingBody, ByteBudget, ClientStream, WholeBody
from gateway.http.pace import HEAD_START_BYTES, PaceLimits

PATIENT = PaceLimits(stall_s=60.0, min_rate_bytes_s=1.0, total_s=60.0)
MAX_BYTES = 1 << 20


class Client:
    """The far end of a body: feeds pieces to aiohttp's own reader."""

    def __init__(self, limits: PaceLimits = PATIENT, declared: int | None = None, budget_bytes: int = 1 << 30) -> None:
        protocol = Mock(spec=BaseProtocol)
        self.reader = StreamReader(protocol, 1 << 20, loop=asyncio.get_running_loop())
        self.budget = ByteBudget(budget_bytes)
        self.stream = ClientStream(self.reader, limits, deadline=1e9, clock=lambda: 0.0)
        self.body = ArrivingBody(self.stream, declared, MAX_BYTES, self.budget)

    async def send(self, data: bytes) -> None:
        """One piece, and a turn for whoever waits for it."""
        self.reader.feed_data(data)
        for _ in range(3):
            await asyncio.sleep(0)

    async def read_all(self) -> bytes:
        return b"".join([piece async for piece in self.body.chunks()])


async def test_a_whole_body_is_received_at_once() -> None:
    """A body that came with the head is complete without waiting, and can be read twice."""
    client = Client(declared=6)
    client.reader.feed_data(b"abc")
    client.reader.feed_data(b"def")
    client.reader.feed_eof()
    await client.body.receive_head()
    assert client.body.is_complete
    assert client.body.size == 6
    assert [await client.read_all(), await client.read_all()] == [b"abcdef", b"abcdef"]


async def test_readers_get_each_piece_as_it_arrives() -> None:
    """A reader from the start and a later one both see every piece, while the body still arrives."""
    client = Client(declared=9)
    receiving = asyncio.create_task(client.body.receive_rest())
    early = client.body.chunks()
    await client.send(b"abc")
    assert await anext(early) == b"abc"
    late = asyncio.create_task(client.read_all())
    await client.send(b"def")
    assert await anext(early) == b"def"
    assert not late.done()
    client.reader.feed_data(b"ghi")
    client.reader.feed_eof()
    await receiving
    assert await late == b"abcdefghi"
    assert [piece async for piece in early] == [b"ghi"]


async def test_the_head_is_enough_when_the_rest_is_due() -> None:
    """A worker may be taken before a large body is complete, once its client has shown to be fast."""
    client = Client(declared=3 * HEAD_START_BYTES)
    receiving = asyncio.create_task(client.body.receive_head())
    await client.send(bytes(HEAD_START_BYTES))
    assert not receiving.done()
    await client.send(bytes(HEAD_START_BYTES))
    await receiving
    assert not client.body.is_complete
    assert client.body.size == 3 * HEAD_START_BYTES


async def test_a_failure_reaches_every_reader() -> None:
    """What goes wrong with the client is raised to the receiver and to whoever reads the body."""
    client = Client(declared=10)
    receiving = asyncio.create_task(client.body.receive_rest())
    reading = asyncio.create_task(client.read_all())
    await client.send(b"abc")
    client.reader.set_exception(ConnectionResetError("cut"))
    for task in (receiving, reading):
        with pytest.raises(ClientGone):
            await task


async def test_readers_do_not_wait_for_a_receiver_that_was_stopped() -> None:
    """When the request ends before its body is here, a reader is told instead of waiting for ever."""
    client = Client(declared=10)
    receiving = asyncio.create_task(client.body.receive_rest())
    reading = asyncio.create_task(client.read_all())
    await client.send(b"abc")
    receiving.cancel()
    with pytest.raises(ClientGone):
        await reading


async def test_refuses_a_declared_length_over_the_limit() -> None:
    """A Content-Length over the limit is refused before anything is read."""
    with pytest.raises(PayloadTooLarge):
        Client(declared=MAX_BYTES + 1)


async def test_refuses_a_body_that_grows_over_the_limit() -> None:
    """A body without a length is cut off at the limit; one of exactly the limit is taken."""
    client = Client()
    client.reader.feed_data(bytes(MAX_BYTES))
    client.reader.feed_eof()
    await client.body.receive_head()
    client = Client()
    client.reader.feed_data(bytes(MAX_BYTES + 1))
    with pytest.raises(PayloadTooLarge):
        await client.body.receive_head()


async def test_all_bodies_together_are_bounded() -> None:
    """A piece that finds no room among all requests' bodies is refused; released bodies make room."""
    client = Client(budget_bytes=10)
    client.reader.feed_data(b"12345678")
    client.reader.feed_eof()
    await client.body.receive_head()
    with pytest.raises(QueueFull):
        client.budget.take(3)
    client.body.release()
    client.budget.take(10)
    assert client.budget.held_bytes == 10


async def test_tiny_pieces_are_joined() -> None:
    """A client that sends single bytes cannot make the gateway keep an object for each of them."""
    client = Client()
    count = MAX_SEPARATE_PIECES + 2 * JOINED_PIECE_BYTES + 5
    receiving = asyncio.create_task(client.body.receive_rest())
    for _ in range(count):
        client.reader.feed_data(b"x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    client.reader.feed_eof()
    await receiving
    sizes = [len(piece) async for piece in client.body.chunks()]
    assert sum(sizes) == count
    assert len(sizes) == MAX_SEPARATE_PIECES + 3


@pytest.mark.parametrize(
    ("limits", "deadline", "expected"),
    [
        (PaceLimits(stall_s=0.001, min_rate_bytes_s=1.0, total_s=60.0), 1e9, SlowBody),
        (PaceLimits(stall_s=60.0, min_rate_bytes_s=1.0, total_s=0.001), 1e9, SlowBody),
        (PATIENT, 0.001, DeadlineExceeded),
    ],
)
async def test_silence_ends_the_wait(limits: PaceLimits, deadline: float, expected: type[GatewayError]) -> None:
    """A client that stops sending is too slow, unless its own deadline comes first."""
    reader = StreamReader(Mock(spec=BaseProtocol), 1 << 20, loop=asyncio.get_running_loop())
    reader.feed_data(b"abc")
    stream = ClientStream(reader, limits, deadline, clock=lambda: 0.0)
    assert await stream.next() == b"abc"
    with pytest.raises(expected, match="3 bytes"):
        await stream.next()


async def test_a_broken_encoding_is_the_clients_fault() -> None:
    """A body that does not decode as its headers say is a bad request."""
    client = Client()
    client.reader.set_exception(web.RequestPayloadError("bad gzip"))
    with pytest.raises(BadRequest, match="bad gzip"):
        await client.body.receive_head()


async def test_a_whole_body_has_its_pieces() -> None:
    """One file of many is read piece by piece, as often as needed."""
    body = WholeBody([b"ab", b"c"])
    assert (body.size, body.is_complete, body.is_replayable) == (3, True, True)
    assert [piece async for piece in body.chunks()] == [b"ab", b"c"]
