"""An accepted WebSocket as a Channel: what is passed on, what ends it, and that closing it never hangs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError, WSMessage, WSMsgType
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol

from gateway.tunnel.channel import AcceptedChannel, Inbox, Upgraded
from tests.support.memory_channel import run_jumping
from tests.support.receiver import Told
from wire.channel import WRITE_BUFFER_BYTES, ChannelClosed
from wire.errors import RemoteProtocolError


class Transport(asyncio.Transport):
    """What was written, and how much of it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.was_aborted = False
        self.was_closed = False
        self.high: int | None = None
        self.written = b""
        self.waiting_bytes = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def is_closing(self) -> bool:
        return self.was_closed

    def abort(self) -> None:
        self.was_aborted = True

    def close(self) -> None:
        self.was_closed = True


class WebSocket:
    """What is received, what closing raises, and whether it ever ends. Its inbox is a real one."""

    def __init__(self, message: WSMessage | None = None, *, error: Exception | None = None, code: int | None = None):
        self.message = message
        self.error = error
        self.close_code = code
        self.is_stuck = False
        self.closed_with: tuple[int, bytes] | None = None
        self.room: asyncio.Future[None] | None = None

    def opened(self) -> WebSocket:
        loop = asyncio.get_running_loop()
        self.inbox, self.room = Inbox(BaseProtocol(loop), loop), loop.create_future()
        return self

    async def receive(self) -> WSMessage:
        assert self.message is not None
        return self.message

    async def drain(self) -> None:
        assert self.room is not None
        await self.room

    def exception(self) -> Exception | None:
        return self.error

    async def close(self, *, code: int, message: bytes) -> None:
        self.closed_with = (code, message)
        if self.error is not None:
            raise self.error
        if self.is_stuck:
            await asyncio.get_running_loop().create_future()


def channel(websocket: WebSocket, transport: Transport | None = None) -> AcceptedChannel:
    fits: Upgraded = websocket.opened()  # type: ignore[assignment]
    writer: AbstractStreamWriter = websocket  # type: ignore[assignment]
    return AcceptedChannel(fits, writer, transport or Transport())


def message(kind: WSMsgType, data: Any = None) -> WSMessage:
    return WSMessage(kind, data, None)


async def test_messages_are_passed_on_as_they_are_read() -> None:
    """A binary message is the receiver's at once; what came with the upgrade is first."""
    websocket, told = WebSocket(), Told()
    accepted = channel(websocket)
    websocket.inbox.feed_data(message(WSMsgType.BINARY, b"early"), 5)
    accepted.attach(told)
    websocket.inbox.feed_data(message(WSMsgType.BINARY, b"frame"), 5)
    assert told.messages == [b"early", b"frame"]
    assert told.ends == []


@pytest.mark.parametrize(
    ("size", "header"),
    [(0, "82 00"), (125, "82 7d"), (126, "82 7e 007e"), (65535, "82 7e ffff"), (65536, "82 7f 0000000000010000")],
)
async def test_a_message_is_one_unmasked_binary_frame(size: int, header: str) -> None:
    """Header and message as RFC 6455 5.2 has them, for every width of its length."""
    transport = Transport()
    assert channel(WebSocket(), transport).send(bytes(size))
    assert transport.written == bytes.fromhex(header) + bytes(size)


async def test_a_full_transport_says_when_it_takes_more() -> None:
    """Little may wait in front of a control frame: `send` says that it is full, and `room_made` follows once."""
    websocket, transport, told = WebSocket(), Transport(), Told()
    accepted = channel(websocket, transport)
    accepted.attach(told)
    assert transport.high == WRITE_BUFFER_BYTES
    transport.waiting_bytes = WRITE_BUFFER_BYTES
    assert not accepted.send(b"frame")
    assert not accepted.send(b"goodbye")
    await asyncio.sleep(0)
    assert told.rooms == 0
    for rooms in (1, 2):
        assert websocket.room is not None
        websocket.room.set_result(None)
        await told.told()
        assert told.rooms == rooms
        websocket.room = asyncio.get_running_loop().create_future()
        assert not accepted.send(b"more")
    await accepted.close(4001, "bye")


@pytest.mark.parametrize(
    ("websocket", "text"),
    [
        (WebSocket(message(WSMsgType.CLOSE), code=4001), "closed with code 4001"),
        (WebSocket(message(WSMsgType.CLOSED), code=1006), "the connection was cut"),
        (WebSocket(message(WSMsgType.CLOSING), code=None), "the connection was cut"),
        (WebSocket(message(WSMsgType.ERROR), error=ValueError("bad opcode")), "the WebSocket broke: bad opcode"),
    ],
)
async def test_an_end_says_how(websocket: WebSocket, text: str) -> None:
    """Whatever ends the connection is ChannelClosed with the reason, once, also before anybody listened."""
    told = Told()
    accepted = channel(websocket)
    websocket.inbox.feed_data(message(WSMsgType.CLOSE), 0)
    accepted.attach(told)
    (end,) = await told.ended()
    assert isinstance(end, ChannelClosed)
    assert str(end) == text
    websocket.inbox.feed_eof()
    await asyncio.sleep(0)
    assert told.ends == [end]


@pytest.mark.parametrize("tell", [Inbox.feed_eof, lambda inbox: inbox.set_exception(ValueError("bad opcode"))])
async def test_a_connection_that_goes_away_is_told(tell: Any) -> None:
    """Neither an end without a close frame nor bytes that are no WebSocket go unnoticed."""
    websocket, told = WebSocket(message(WSMsgType.CLOSED)), Told()
    channel(websocket).attach(told)
    tell(websocket.inbox)
    (end,) = await told.ended()
    assert isinstance(end, ChannelClosed)


async def test_a_text_message_breaks_the_protocol() -> None:
    """Frames are binary messages, and nothing else is one."""
    websocket, told = WebSocket(message(WSMsgType.TEXT, "hello")), Told()
    channel(websocket).attach(told)
    websocket.inbox.feed_data(message(WSMsgType.TEXT, "hello"), 5)
    (end,) = await told.ended()
    assert isinstance(end, RemoteProtocolError)


async def test_sending_on_a_dead_connection() -> None:
    """What is sent when the transport is closing raises ChannelClosed."""
    transport = Transport()
    dead = channel(WebSocket(), transport)
    transport.close()
    with pytest.raises(ChannelClosed):
        dead.send(b"frame")


@pytest.mark.parametrize(
    "error", [ConnectionResetError("reset"), ClientConnectionResetError("closing"), RuntimeError("closed")]
)
async def test_closing_a_dead_connection(error: Exception) -> None:
    """Each of aiohttp's ways to say that it is gone already is no error."""
    await channel(WebSocket(error=error)).close(4001, "bye")


async def test_closing_ends_every_wait() -> None:
    """No task of a channel is left when it is closed: neither the one that waits for room nor the one for the end."""
    websocket, transport, told = WebSocket(), Transport(), Told()
    accepted = channel(websocket, transport)
    accepted.attach(told)
    transport.waiting_bytes = WRITE_BUFFER_BYTES
    accepted.send(b"frame")
    websocket.receive = websocket.drain  # type: ignore[assignment, method-assign]
    websocket.inbox.feed_data(message(WSMsgType.PING), 0)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 3
    await accepted.close(4001, "bye")
    websocket.inbox.feed_data(message(WSMsgType.CLOSE), 0)  # the answer to ours, which aiohttp reads
    assert len(asyncio.all_tasks()) == 1
    assert told.ends == []


async def test_a_reason_is_cut_to_its_frame() -> None:
    """A close frame has room for 123 bytes of reason, whole characters; the connection goes with it."""
    websocket, transport = WebSocket(), Transport()
    await channel(websocket, transport).close(4001, "ä" * 100)
    assert websocket.closed_with == (4001, ("ä" * 61).encode())
    assert transport.was_closed


def test_a_close_that_hangs_is_cut_off() -> None:
    """A worker that reads nothing does not keep its connection: it is aborted after a bounded time."""

    async def main() -> None:
        websocket, transport = WebSocket(), Transport()
        websocket.is_stuck = True
        began = asyncio.get_running_loop().time()
        await channel(websocket, transport).close(4001, "bye")
        assert asyncio.get_running_loop().time() - began == pytest.approx(4.0)
        assert transport.was_aborted

    run_jumping(main)
