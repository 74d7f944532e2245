"""An accepted aiohttp WebSocket as the Channel that the wire protocol runs over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from aiohttp import ClientConnectionError, WSMessage, WSMsgType, web
from aiohttp._websocket.models import WSMessageTextBytes  # the parser's own types: aiohttp does not export them
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import WebSocketReader, WebSocketWriter

from wire.channel import CLOSE_TIMEOUT_S, WRITE_BUFFER_BYTES, ChannelClosed, Receiver, bound_unsent, close_reason
from wire.errors import RemoteProtocolError
from wire.limits import MAX_MESSAGE_BYTES
from wire.websocket import JOINED_BYTES, header


class Inbox(WebSocketDataQueue):
    """Where aiohttp's parser puts what came. A binary message goes on at once, with no task and no wake-up in between;
    all else waits here for the WebSocket's own `receive`."""

    __slots__ = ("early", "has_other", "on_message", "on_other")

    def __init__(self, protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(protocol, WRITE_BUFFER_BYTES, loop=loop)
        self.early: list[bytes] = []  # bounded: what came with the upgrade's head, before anybody was attached
        self.on_message: Callable[[bytes], None] = self.early.append
        self.has_other = False
        self.on_other: Callable[[], None] = lambda: None

    def feed_data(self, data: WSMessage | WSMessageTextBytes, size: int) -> None:
        """Called by the parser with each message, and by the WebSocket when it is closed."""
        if data.type is WSMsgType.BINARY:
            self.on_message(data.data)
        else:
            super().feed_data(data, size)
            self._tell()

    def feed_eof(self) -> None:
        """The connection has ended."""
        super().feed_eof()
        self._tell()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """What came was no WebSocket, or the connection broke."""
        super().set_exception(exc, *cause)
        self._tell()

    def _tell(self) -> None:
        self.has_other = True
        self.on_other()


class Upgraded(web.WebSocketResponse):
    """A WebSocket that outlives the request that asked for it: its handler returns, and aiohttp lets go of the head and
    the tasks of a request, kilobytes that an idle tunnel would hold. Whoever has the transport closes it."""

    inbox: Inbox

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter) -> None:
        """As aiohttp's own, which has no place for a queue of ours."""
        self._ws_protocol, self._writer = protocol, writer
        self._reader = self.inbox = Inbox(request.protocol, asyncio.get_running_loop())
        limit = MAX_MESSAGE_BYTES + 1  # aiohttp refuses at its limit, not above it
        self._parser = WebSocketReader(self.inbox, limit, compress=False, decode_text=False)
        request.protocol.set_parser(self._parser)
        request.protocol.keep_alive(False)

    async def write_eof(self) -> None:  # type: ignore[override] # as in aiohttp's own, which closes here
        """Called by aiohttp when the handler has returned."""
        self._eof_sent = True
        self._req = None


def new_websocket(subprotocol: str) -> Upgraded:
    """A response to upgrade with: no compression (a JPEG does not shrink), no heartbeat (PING is the protocol's)."""
    return Upgraded(protocols=(subprotocol,), compress=False, timeout=CLOSE_TIMEOUT_S)


class AcceptedChannel:
    """Channel over a prepared WebSocket. Its messages are written past aiohttp, whose way is a coroutine for each."""

    __slots__ = ("_attending", "_loop", "_receiver", "_room", "_transport", "_websocket", "_writer")

    def __init__(self, websocket: Upgraded, writer: AbstractStreamWriter, transport: asyncio.Transport) -> None:
        """`writer` is what `websocket.prepare` returned."""
        self._websocket = websocket
        self._writer = writer
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._receiver: Receiver
        self._attending: asyncio.Task[None] | None = None  # from the first thing on that is no message of the tunnel
        self._room: asyncio.Task[None] | None = None  # while the transport is full
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bound_unsent(connection)

    def attach(self, receiver: Receiver) -> None:
        """See Channel."""
        inbox = self._websocket.inbox
        self._receiver, inbox.on_message, inbox.on_other = receiver, receiver.message_received, self._attend
        for message in inbox.early:
            receiver.message_received(message)
        inbox.early.clear()
        if inbox.has_other:
            self._attend()

    def send(self, message: bytes) -> bool:
        """See Channel."""
        transport = self._transport
        if transport.is_closing():
            raise ChannelClosed("the connection is gone")
        size = len(message)
        if size <= JOINED_BYTES:
            transport.write(header(size) + message)
        else:
            transport.writelines((header(size), message))
        if transport.get_write_buffer_size() < WRITE_BUFFER_BYTES:
            return True
        if self._room is None:
            self._room = self._loop.create_task(self._wait_room())
        return False

    async def _wait_room(self) -> None:
        with contextlib.suppress(ConnectionError, ClientConnectionError):  # `_attend` will tell
            await self._writer.drain()
        self._room = None
        self._receiver.room_made()

    def _attend(self) -> None:
        if self._attending is None:
            self._attending = self._loop.create_task(self._wait_end())

    async def _wait_end(self) -> None:
        """Answers the WebSocket's own PING, and waits for how it ends; `close` ends the wait."""
        message = await self._websocket.receive()
        if message.type is WSMsgType.TEXT:
            self._receiver.channel_closed(RemoteProtocolError("a text message, where each frame is a binary one"))
            return
        if message.type is WSMsgType.ERROR:
            text = f"the WebSocket broke: {self._websocket.exception()}"
        else:
            code = self._websocket.close_code
            text = "the connection was cut" if code in (None, 1006) else f"closed with code {code}"
        self._receiver.channel_closed(ChannelClosed(text))

    async def close(self, code: int, reason: str) -> None:
        """Closes, waiting CLOSE_TIMEOUT_S or so for the other side; one that reads nothing is cut off."""
        self._websocket.inbox.on_other = lambda: None
        waiting = [task for task in (self._attending, self._room) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):  # aiohttp waits without end for room to write
                with contextlib.suppress(ConnectionError, ClientConnectionError, RuntimeError):
                    await self._websocket.close(code=code, message=close_reason(reason).encode())
        except TimeoutError:
            self._transport.abort()
        finally:
            self._transport.close()
