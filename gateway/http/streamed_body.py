"""A client's body on its way to a server behind a worker: passed on as it comes, and kept only while it is small.

What is kept can be given to a second worker when the first refuses. Beyond that the body is gone once it was sent: a
body of any length takes no more memory than what the two connections hold.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from gateway.http.body import ByteBudget, ByteStream

KEPT_BYTES = 256 << 10
"""As much as a worker takes before it must have begun: its first window (docs/reference/wire.md)."""

UNREAD_BYTES = 256 << 10
"""What may wait of an upgraded connection's bytes before its client is read no more."""


class StreamedBody:
    """Fits `Body`. One reader at a time; a second one only while everything is kept."""

    is_replayable = True

    def __init__(
        self, stream: ByteStream, declared_bytes: int | None, budget: ByteBudget, moved: Callable[[], None]
    ) -> None:
        """`declared_bytes`: the Content-Length, None for a chunked body. `moved` is called for each piece."""
        self._stream = stream
        self._budget = budget
        self._moved = moved
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self.size = declared_bytes
        self.received_bytes = 0
        self.is_complete = False

    async def receive_here(self) -> None:
        """Takes what is here already, when that is everything; of a body that will not be kept, nothing."""
        if self.size is None or self.size > KEPT_BYTES:
            return
        while not self.is_complete:
            await self._receive()

    def release(self) -> None:
        """Gives the budget back; nobody reads this body again."""
        self._budget.give_back(self._kept_bytes)
        self._kept.clear()
        self._kept_bytes = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `Body`."""
        assert self.is_replayable
        for piece in list(self._kept):
            yield piece
        while not self.is_complete:
            data = await self._receive()
            if data:
                yield data

    async def _receive(self) -> bytes:
        data = await self._stream.next()
        self._moved()
        self.received_bytes += len(data)
        self.is_complete = self._stream.is_at_end
        if self.is_replayable:
            self._keep(data)
        return data

    def _keep(self, data: bytes) -> None:
        if self.received_bytes > KEPT_BYTES:
            self.is_replayable = False
            self.release()
        elif data:
            self._budget.take(len(data))
            self._kept_bytes += len(data)
            self._kept.append(data)


class UpgradedBody:
    """Fits `Body`: what a client sends after its request for another protocol, until its connection ends.

    Also what aiohttp feeds with those bytes, in the place of its own WebSocket parser.
    """

    size = None
    is_complete = False
    is_replayable = True

    def __init__(self, request: web.Request, moved: Callable[[], None]) -> None:
        self._protocol = request.protocol
        self._moved = moved
        self._pieces: deque[bytes] = deque()
        self._unread_bytes = 0
        self._is_paused = False
        self._is_at_end = False
        self._something_new = asyncio.Event()
        self.received_bytes = 0
        # Any: aiohttp names its own parser's class, and needs these two methods of it
        parser: Any = self
        self._protocol.set_parser(parser)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """More bytes of the client."""
        self._moved()
        self._pieces.append(data)
        self.received_bytes += len(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_reading()
        self._something_new.set()
        return False, b""

    def feed_eof(self) -> None:
        """The client is gone."""
        self._is_at_end = True
        self._something_new.set()

    def release(self) -> None:
        """Nothing is kept, and the connection ends with its answer: what follows was never read as HTTP."""
        self._pieces.clear()
        self._protocol.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `Body`."""
        while True:
            while self._pieces:
                self.is_replayable = False
                data = self._pieces.popleft()
                self._unread_bytes -= len(data)
                yield data
            if self._is_paused:
                self._is_paused = False
                self._protocol.resume_reading()
            if self._is_at_end:
                return
            self._something_new.clear()
            await self._something_new.wait()  # ends with the connection, which ends the exchange
