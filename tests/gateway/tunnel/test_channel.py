"""An accepted WebSocket as a Channel: what ends it, and that closing it never hangs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError, WSMessage, WSMsgType, web

from gateway.tunnel.channel import WRITE_BUFFER_BYTES, AcceptedChannel
from tests.support.memory_channel import run_jumping
from wire.channel import ChannelClosed


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.was_aborted = False
        self.was_closed = False
        self.high: int | None = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def abort(self) -> None:
        self.was_aborted = True

    def close(self) -> None:
        self.was_closed = True


class WebSocket:
    """What is received, what sending raises, and whether closing ever ends."""

    def __init__(self, message: WSMessage | None = None, *, error: Exception | None = None, code: int | None = None):
        self.message = message
        self.error = error
        self.close_code = code
        self.is_stuck = False
        self.closed_with: tuple[int, bytes] | None = None

    async def send_bytes(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error

    async def receive(self) -> WSMessage:
        assert self.message is not None
        return self.message

    def exception(self) -> Exception | None:
        return self.error

    async def close(self, *, code: int, message: bytes) -> None:
        self.closed_with = (code, message)
        if self.error is not None:
            raise self.error
        if self.is_stuck:
            await asyncio.get_running_loop().create_future()


def channel(websocket: WebSocket, transport: Transport | None = None) -> AcceptedChannel:
    fits: web.WebSocketResponse = websocket  # type: ignore[assignment]
    return AcceptedChannel(fits, transport or Transport())


def message(kind: WSMsgType, data: Any = None) -> WSMessage:
    return WSMessage(kind, data, None)


async def test_a_message_is_received() -> None:
    """A binary message comes as its bytes, and little may wait in front of a control frame."""
    transport = Transport()
    accepted = channel(WebSocket(message(WSMsgType.BINARY, b"frame")), transport)
    assert await accepted.receive() == b"frame"
    assert transport.high == WRITE_BUFFER_BYTES


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
    """Whatever ends the connection is ChannelClosed with the reason."""
    with pytest.raises(ChannelClosed) as caught:
        await channel(websocket).receive()
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "error", [ConnectionResetError("reset"), ClientConnectionResetError("closing"), RuntimeError("closed")]
)
async def test_sending_on_a_dead_connection(error: Exception) -> None:
    """Each of aiohttp's ways to say that it is gone is ChannelClosed; closing it then is no error."""
    dead = channel(WebSocket(error=error))
    with pytest.raises(ChannelClosed, match=str(error)):
        await dead.send(b"frame")
    await dead.close(4001, "bye")


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
