"""An accepted aiohttp WebSocket as the Channel that the wire protocol runs over."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from aiohttp import ClientConnectionError, WSMsgType, web

from wire.channel import ChannelClosed, bound_unsent, close_reason
from wire.errors import RemoteProtocolError
from wire.limits import KIB, MAX_MESSAGE_BYTES

CLOSE_TIMEOUT_S = 2.0
"""Seconds that a close may take when the worker does not answer it."""

WRITE_BUFFER_BYTES = 128 * KIB
"""Bytes in this process's own buffer above which sending waits: a control frame waits behind them."""


class Upgraded(web.WebSocketResponse):
    """A WebSocket that outlives the request that asked for it: its handler returns, and aiohttp lets go of the head and
    the tasks of a request, kilobytes that an idle tunnel would hold. Whoever has the transport closes it."""

    async def write_eof(self) -> None:  # type: ignore[override] # as in aiohttp's own, which closes here
        """Called by aiohttp when the handler has returned."""
        self._eof_sent = True
        self._req = None


def new_websocket(subprotocol: str) -> web.WebSocketResponse:
    """A response to upgrade with: no compression (a JPEG does not shrink), no heartbeat (PING is the protocol's)."""
    return Upgraded(
        protocols=(subprotocol,),
        compress=False,
        max_msg_size=MAX_MESSAGE_BYTES + 1,  # aiohttp refuses at its limit, not above it
        timeout=CLOSE_TIMEOUT_S,
        writer_limit=WRITE_BUFFER_BYTES,
        decode_text=False,
    )


class AcceptedChannel:
    """Channel over a prepared WebSocketResponse."""

    __slots__ = ("_transport", "_websocket")

    def __init__(self, websocket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self._websocket = websocket
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bound_unsent(connection)

    async def send(self, message: bytes) -> None:
        """Sends one message. Raises ChannelClosed."""
        try:
            await self._websocket.send_bytes(message)
        except (ConnectionError, ClientConnectionError, RuntimeError) as error:
            raise ChannelClosed(f"the connection is gone: {error}") from error

    async def receive(self) -> bytes:
        """The next message. Raises ChannelClosed, and RemoteProtocolError for a text message."""
        message = await self._websocket.receive()
        if message.type is WSMsgType.BINARY:
            data: bytes = message.data
            return data
        if message.type is WSMsgType.TEXT:
            raise RemoteProtocolError("a text message, where each frame is a binary one")
        if message.type is WSMsgType.ERROR:
            raise ChannelClosed(f"the WebSocket broke: {self._websocket.exception()}")
        code = self._websocket.close_code
        raise ChannelClosed("the connection was cut" if code in (None, 1006) else f"closed with code {code}")

    async def close(self, code: int, reason: str) -> None:
        """Closes, waiting CLOSE_TIMEOUT_S or so for the other side; one that reads nothing is cut off."""
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):  # aiohttp waits without end for room to write
                with contextlib.suppress(ConnectionError, ClientConnectionError, RuntimeError):
                    await self._websocket.close(code=code, message=close_reason(reason).encode())
        except TimeoutError:
            self._transport.abort()
        finally:
            self._transport.close()
