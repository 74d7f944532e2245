"""The relay's connections over loopback: bytes, ends, resets and refusals, with carriers that the test holds."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from bench.network.carrier import Action, Carrier, StraightCarrier
from bench.network.relay import Relay
from bench.network.sockets import listening, to_address
from bench.network.tally import Tally
from tests.support.fake_clock import settle

BUFFER_BYTES = 32 << 10


class HeldCarrier:
    """Delivers when it is told to."""

    piece_bytes = 1000

    def __init__(self) -> None:
        self.sent: deque[tuple[int, Action]] = deque()
        self.waiting: deque[Action] = deque()
        self.most = 1_000_000

    def send(self, size_bytes: int, action: Action) -> None:
        self.sent.append((size_bytes, action))

    def is_full(self) -> bool:
        return len(self.sent) >= self.most

    def wait_room(self, resume: Action) -> None:
        self.waiting.append(resume)

    async def deliver(self) -> int:
        """The next one, once it is there; its size."""
        while not self.sent:
            await asyncio.sleep(0)
        size, action = self.sent.popleft()
        action()
        return size


@dataclass
class Far:
    """A server that does what the test says."""

    port: int = 0
    is_over: bool = False
    accepted: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def peer(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while not self.accepted:
            await asyncio.sleep(0)
        return self.accepted[-1]


@contextlib.asynccontextmanager
async def far_end() -> AsyncIterator[Far]:
    far = Far()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far.accepted.append((reader, writer))
        if far.is_over:
            writer.transport.abort()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        far.port = server.sockets[0].getsockname()[1]
        yield far
        far.is_over = True  # a connection may be accepted only now, on a machine that is busy
        for _, writer in far.accepted:
            writer.transport.abort()
        await settle(5)


@contextlib.asynccontextmanager
async def relayed(
    port: int,
    tally: Tally,
    up: Carrier | None = None,
    down: Carrier | None = None,
    prepare: Callable[[Relay], None] = lambda _relay: None,
) -> AsyncIterator[int]:
    relay = Relay(
        to_address("127.0.0.1", port, BUFFER_BYTES), (up or StraightCarrier(), down or StraightCarrier()), tally
    )
    prepare(relay)
    listener = listening("127.0.0.1", 0, BUFFER_BYTES)
    async with relay.serving(listener):
        yield listener.getsockname()[1]


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def test_bytes_arrive_both_ways_and_ends_follow_them() -> None:
    """A megabyte comes out as it went in, and an end of one way leaves the other open."""
    body = random.Random(1).randbytes(1 << 20)
    tally = Tally()
    async with far_end() as far, relayed(far.port, tally) as port:
        reader, writer = await connected(port)
        writer.write(body)
        writer.write_eof()
        far_reader, far_writer = await far.peer()
        assert await far_reader.read(-1) == body
        far_writer.write(body[::-1])
        far_writer.write_eof()
        assert await reader.read(-1) == body[::-1]
        writer.close()
    assert (tally.connections, tally.refused, tally.resets) == (1, 0, 0)


async def test_the_first_bytes_wait_for_a_round_trip() -> None:
    """What a caller sends at once stays at its end until a SYN has gone there and its answer has come back."""
    up, down = HeldCarrier(), HeldCarrier()
    async with far_end() as far, relayed(far.port, Tally(), up, down) as port:
        _, writer = await connected(port)
        writer.write(b"early")
        assert await up.deliver() == 40
        far_reader, _ = await far.peer()
        await settle(50)
        assert not up.sent
        assert await down.deliver() == 40
        assert await up.deliver() == 5
        assert await far_reader.readexactly(5) == b"early"
        writer.close()


async def test_a_caller_that_ends_at_once_is_heard() -> None:
    """Bytes and an end that come before the handshake is over arrive after it, in their order."""
    up, down = HeldCarrier(), HeldCarrier()
    async with far_end() as far, relayed(far.port, Tally(), up, down) as port:
        _, writer = await connected(port)
        writer.write(b"all")
        writer.write_eof()
        await up.deliver()
        await down.deliver()
        assert await up.deliver() == 3
        assert await up.deliver() == 40
        far_reader, _ = await far.peer()
        assert await far_reader.read(-1) == b"all"
        writer.close()


async def test_a_full_way_is_not_read_into() -> None:
    """When the way is full the sender is not read, and goes on when there is room."""
    up = HeldCarrier()
    up.most = 3
    async with far_end() as far, relayed(far.port, Tally(), up) as port:
        _, writer = await connected(port)
        await up.deliver()
        await far.peer()
        writer.write(bytes(50_000))
        while len(up.sent) < 3:
            await asyncio.sleep(0)
        await settle(50)
        assert len(up.sent) == 3
        assert len(up.waiting) == 1
        up.most = 1000
        up.waiting.popleft()()
        while len(up.sent) < 50:
            await asyncio.sleep(0)
        writer.close()


async def test_a_far_end_that_does_not_read_holds_only_its_own_connection() -> None:
    """A sender whose far end does not read is stopped with bounded bytes on the way; another goes on."""
    async with far_end() as far, relayed(far.port, Tally()) as port:
        _, stuck = await connected(port)
        stuck.write(b"x")
        slow_reader, slow_writer = await far.peer()
        slow_writer.transport.pause_reading()  # type: ignore[attr-defined]
        stuck.write(bytes(16 << 20))
        await settle(3000)  # twenty times what all of it would take
        assert stuck.transport.get_write_buffer_size() > 8 << 20
        reader, writer = await connected(port)
        writer.write(b"y")
        while len(far.accepted) < 2:
            await asyncio.sleep(0)
        far_reader, far_writer = far.accepted[1]
        assert await far_reader.readexactly(1) == b"y"
        far_writer.write(b"z")
        assert await reader.readexactly(1) == b"z"
        writer.close()
        stuck.transport.abort()
        assert slow_reader is not None


async def test_a_reset_goes_through() -> None:
    """A far end that resets its connection resets the caller's."""
    async with far_end() as far, relayed(far.port, Tally()) as port:
        reader, writer = await connected(port)
        writer.write(b"x")
        far_reader, far_writer = await far.peer()
        await far_reader.readexactly(1)
        far_socket = far_writer.get_extra_info("socket")
        far_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far_writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)


async def test_a_target_that_refuses_resets_the_caller() -> None:
    """Nobody there: the caller's connection is reset and counted as refused."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        tally = Tally()
        async with relayed(nobody.getsockname()[1], tally) as port:
            reader, _ = await connected(port)
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)
    assert tally.refused == 1


async def test_a_life_ends_with_a_reset_at_both_ends() -> None:
    """A connection whose life is over is reset at both ends, and counted."""
    tally = Tally()
    async with (
        far_end() as far,
        relayed(far.port, tally, prepare=lambda relay: relay.reset_after(1e-9, random.Random(1))) as port,
    ):
        reader, _ = await connected(port)
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
    assert tally.resets == 1


async def test_the_end_of_the_relay_is_the_end_of_its_connections() -> None:
    """Leaving the block resets what is open, at both ends."""
    async with far_end() as far:
        async with relayed(far.port, Tally()) as port:
            reader, writer = await connected(port)
            writer.write(b"x")
            far_reader, _ = await far.peer()
            await far_reader.readexactly(1)
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        with pytest.raises(ConnectionResetError):
            await far_reader.read(-1)
