"""A dialled WebSocket as the Channel that the wire protocol runs over.

`websockets` has a queue, a task and a coroutine on its way to a message; what is read and written here goes past them.
All that is no message of ours stays the library's: the upgrade, other frames, the end.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame, Opcode, apply_mask  # type: ignore[attr-defined] # the compiled one
from websockets.protocol import Event, State

from wire.channel import CLOSE_TIMEOUT_S, ChannelClosed, Receiver, bound_unsent, close_reason
from wire.errors import RemoteProtocolError
from wire.frames import Buffer
from wire.websocket import JOINED_BYTES, MASK_BYTES, MASKED, FrameSplitter, header

MAX_PARTS = 1024
"""Frames that one message may come in: empty ones take no room of its largest size."""

_END_OF_HEAD = b"\r\n\r\n"


class FrameConnection(ClientConnection):
    """A connection whose messages go on at once, with no task and no wake-up in between. What `websockets` calls."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """As ClientConnection, with whatever `connect` gives it."""
        super().__init__(*args, **options)
        self._receiver: Receiver | None = None
        self._early: list[Buffer] = []  # bounded: what is read before the task that dialled goes on
        self._parts: list[bytes] = []  # bounded: `max_size`, MAX_PARTS
        self._splitter: FrameSplitter | None = None

    def attach(self, receiver: Receiver) -> None:
        """Tells `receiver` of what came and comes."""
        self._receiver = receiver
        for message in self._early:
            receiver.message_received(message)
        self._early.clear()
        if self.protocol.state is State.CLOSED:
            receiver.channel_closed(self.how_it_ended())

    def how_it_ended(self) -> ChannelClosed:
        """What the gateway said when it closed."""
        closed = self.protocol.close_rcvd
        if closed is None:
            return ChannelClosed("the connection was cut")
        return ChannelClosed(f"the gateway closed with {closed.code} {closed.reason}".rstrip())

    def data_received(self, data: bytes) -> None:
        """What was read. The library's way to a message is a dozen calls and three copies: from the upgrade's answer on
        it is given what is no message of ours; but all, when something came in one piece with that answer."""
        if self._splitter is not None:
            self._splitter.feed(data)
            return
        was_answered = self.response is not None
        super().data_received(data)
        ends_with_head = data.endswith(_END_OF_HEAD) and data.count(_END_OF_HEAD) == 1
        if self.response is not None and not was_answered and ends_with_head:
            self._splitter = FrameSplitter(self._message_received, super().data_received)

    def process_event(self, event: Event) -> None:
        """Each frame that was read, checked for its place among the others; or the answer to the upgrade."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif event.opcode is Opcode.BINARY and event.fin:
            self._message_received(bytes(event.data))
        else:
            self._part_received(event)

    def _message_received(self, message: Buffer) -> None:
        if self._receiver is None:
            self._early.append(message)
        else:
            self._receiver.message_received(message)

    def _part_received(self, frame: Frame) -> None:
        """A message in several frames: no gateway makes one, and a proxy may (RFC 6455 5.4)."""
        self._parts.append(bytes(frame.data))
        if frame.opcode is Opcode.TEXT:
            self._broken("a text message, where each frame is a binary one")
        elif len(self._parts) > MAX_PARTS:
            self._broken(f"a message in over {MAX_PARTS} parts")
        elif frame.fin:
            message = b"".join(self._parts)
            self._parts.clear()
            self._message_received(message)

    def _broken(self, text: str) -> None:
        if self._receiver is None:
            self.transport.abort()
        else:
            self._receiver.channel_closed(RemoteProtocolError(text))

    def resume_writing(self) -> None:
        """There is room again."""
        super().resume_writing()
        if self._receiver is not None:
            self._receiver.room_made()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, however it came."""
        super().connection_lost(exc)
        if self._receiver is not None:
            self._receiver.channel_closed(self.how_it_ended())


class DialledChannel:
    """Channel over a dialled connection."""

    def __init__(self, connection: FrameConnection) -> None:
        self._connection = connection
        plain: socket.socket | None = connection.transport.get_extra_info("socket")
        if plain is not None:
            bound_unsent(plain)

    def attach(self, receiver: Receiver) -> None:
        """See Channel."""
        self._connection.attach(receiver)

    def send(self, message: bytes) -> bool:
        """See Channel."""
        connection = self._connection
        if connection.protocol.state is not State.OPEN:
            raise connection.how_it_ended()
        size, mask = len(message), os.urandom(MASK_BYTES)  # RFC 6455 5.3: from a strong source
        before, masked = header(size, MASKED) + mask, apply_mask(message, mask)
        if size <= JOINED_BYTES:
            connection.transport.write(before + masked)
        else:
            connection.transport.writelines((before, masked))
        return not connection.paused

    async def close(self, code: int, reason: str) -> None:
        """Closes, waiting CLOSE_TIMEOUT_S or so for the other side; one that reads nothing is cut off."""
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await self._connection.close(code, close_reason(reason))
        except TimeoutError:
            self._connection.transport.abort()
