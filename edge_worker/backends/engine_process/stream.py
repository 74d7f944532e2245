"""The worker's end of the messages to and from an engine process, on a socket. The other end: desk.py.

Nothing slows a sender down: what may be on the way is bounded by who asks, as many calls as there are slots.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from edge_worker.backends.engine_process.messages import Decoder, MalformedMessage, Message, encode


class MessageStream(asyncio.Protocol):
    """One end."""

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[str], None]) -> None:
        """`on_end` is called once: with '' when the other end has closed, or with what made no sense."""
        self._on_message = on_message
        self._on_end = on_end
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None

    def send(self, message: Message) -> None:
        """Harmless when the stream has ended."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.writelines(encode(message))  # one system call, and one wake-up at the other end

    def close(self) -> None:
        """Sends what was said and ends it. Harmless when it has ended."""
        if self._transport is not None:
            self._transport.close()

    # --- what the event loop calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._on_message(message)
        except MalformedMessage as error:
            self._end(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("")  # where something was left unread the system calls it an error, which means no more

    def _end(self, reason: str) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
            self._on_end(reason)


async def open_stream(
    end: socket.socket, on_message: Callable[[Message], None], on_end: Callable[[str], None]
) -> MessageStream:
    """On one end of a socket pair, which belongs to the stream from now on."""
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_unix_connection(lambda: MessageStream(on_message, on_end), sock=end)
    return stream
