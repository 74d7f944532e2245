"""A client's body while it arrives: kept in pieces, bounded, and readable from the start more than once.

`ClientStream` is the one place that waits for the client, and says so when it is too slow, too large or gone.
`ArrivingBody` keeps what came, so that a second worker can be given the job, and hands it on as it arrives. Pieces are
never joined but when a client sends so many tiny ones that keeping each would cost more than its bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from aiohttp import web
from aiohttp.streams import StreamReader

from gateway.errors import BadRequest, ClientGone, DeadlineExceeded, GatewayError, PayloadTooLarge, QueueFull, SlowBody
from gateway.http.pace import Pace, PaceLimits

MAX_SEPARATE_PIECES = 1024
JOINED_PIECE_BYTES = 16 * 1024
"""After so many pieces, smaller ones are collected to this size: a 32 MiB body has at most some 3,000 pieces, where
one byte to a piece would cost forty times the body's size in objects."""


class ByteBudget:
    """How many bytes of bodies all requests together may hold."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Claims room. Raises QueueFull when there is none."""
        if self.held_bytes + size_bytes > self._limit_bytes:
            detail = f"the gateway holds {self.held_bytes} bytes of request bodies already (limits.max_held_bytes)"
            raise QueueFull(detail, retry_after_s=1.0)
        self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Returns what was taken."""
        self.held_bytes -= size_bytes
        assert self.held_bytes >= 0, self.held_bytes


class ByteStream(Protocol):
    """Pieces of a body, one after the other."""

    pace: Pace

    @property
    def is_at_end(self) -> bool:
        """True when everything was received and taken."""

    async def next(self) -> bytes:
        """The next piece; empty at the end. Raises GatewayError."""


class ClientStream:
    """The pieces of one request's body as the client sends them."""

    def __init__(self, content: StreamReader, limits: PaceLimits, deadline: float, clock: Callable[[], float]) -> None:
        """`deadline` in seconds of `clock`: the whole request's, which ends the wait as well."""
        self.pace = Pace(limits)
        self._content = content
        self._deadline = deadline
        self._clock = clock

    @property
    def is_at_end(self) -> bool:
        """True when everything was received and taken."""
        return self._content.at_eof()

    async def next(self) -> bytes:
        """The next piece; empty at the end. Raises SlowBody, DeadlineExceeded, BadRequest, ClientGone."""
        try:
            data = self._content.read_nowait()
            if data or self._content.at_eof():
                self.pace.arrived(len(data))
                return data
            return await self._wait()
        except web.RequestPayloadError as error:
            raise BadRequest(f"the body is not encoded as its headers say: {error}") from error
        except ConnectionError as error:
            raise ClientGone("the client closed its connection while it sent the body") from error

    async def _wait(self) -> bytes:
        started = self._clock()
        patience_s, left_s = self.pace.patience_s(), self._deadline - started
        try:
            async with asyncio.timeout(min(patience_s, left_s)):
                data = await self._content.readany()
        except TimeoutError:
            received = self.pace.received_bytes
            if left_s < patience_s:
                raise DeadlineExceeded(f"the deadline passed when {received} bytes of the body had arrived") from None
            raise SlowBody(f"the body came too slowly: {received} bytes so far (limits.body_*)") from None
        self.pace.arrived(len(data), self._clock() - started)
        return data


class WholeBody:
    """A body that is here in full: one file of many."""

    is_replayable = True
    is_complete = True

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self.size: int = sum(map(len, pieces))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces in order."""
        for piece in self._pieces:
            yield piece


class ArrivingBody:
    """A body that is kept from its first byte, while it arrives and after. One receiver, any number of readers."""

    is_replayable = True

    def __init__(
        self,
        stream: ByteStream,
        declared_bytes: int | None,
        max_bytes: int,
        budget: ByteBudget,
        *,
        limit_name: str = "limits.max_body_bytes",
    ) -> None:
        """`declared_bytes` is the Content-Length, None without one; `limit_name` is for messages. Raises
        PayloadTooLarge before anything is read."""
        self._limit_name = limit_name
        self._max_bytes = max_bytes
        if declared_bytes is not None and declared_bytes > max_bytes:
            raise self._too_large()
        self._stream = stream
        self._declared_bytes = declared_bytes
        self._budget = budget
        self._pieces: list[bytes] = []
        self._tiny: list[bytes] = []
        self._tiny_bytes = 0
        self._failure: GatewayError | None = None
        self._something_new: asyncio.Event | None = None  # while a reader waits
        self.received_bytes = 0
        self.is_complete = False

    @property
    def size(self) -> int | None:
        """Bytes in all; None while unknown."""
        return self.received_bytes if self.is_complete else self._declared_bytes

    async def receive_head(self) -> None:
        """Receives until a worker may be taken for this body: it is whole, or as good as whole."""
        while not self.is_complete and not self._stream.pace.is_nearly_complete(self._declared_bytes):
            await self._receive_piece()

    @property
    def pieces(self) -> Sequence[bytes]:
        """What is here, in order."""
        return self._pieces

    async def receive_rest(self) -> None:
        """Receives to the end. What goes wrong is raised here and to every reader."""
        try:
            while not self.is_complete:
                await self._receive_piece()
        except GatewayError as error:
            self._failure = error
            raise
        finally:
            if not self.is_complete and self._failure is None:
                self._failure = ClientGone("the request ended before its body was here")
            self._wake_readers()

    def release(self) -> None:
        """Gives the budget back; nobody reads this body again."""
        self._budget.give_back(self.received_bytes)
        self._pieces.clear()
        self.received_bytes = 0

    def chunks(self) -> AsyncIterator[bytes]:
        """The pieces from the first, then each as it arrives. Raises what the receiver met."""
        return _Reader(self)

    async def piece(self, index: int) -> bytes:
        """The piece of this number as soon as it is here; empty after the last. Raises what the receiver met."""
        while index >= len(self._pieces):
            if self._failure is not None:
                raise self._failure
            if self.is_complete:
                return b""
            if self._something_new is None:
                self._something_new = asyncio.Event()
            await self._something_new.wait()
        return self._pieces[index]

    async def _receive_piece(self) -> None:
        data = await self._stream.next()
        if data:
            self._keep(data)
        if self._stream.is_at_end:
            self._collect_tiny()
            self.is_complete = True
        self._wake_readers()

    def _wake_readers(self) -> None:
        """Wakes those who wait now; whoever comes later looks at the pieces first."""
        if self._something_new is not None:
            self._something_new.set()
            self._something_new = None

    def _keep(self, data: bytes) -> None:
        if self.received_bytes + len(data) > self._max_bytes:
            raise self._too_large()
        self._budget.take(len(data))
        self.received_bytes += len(data)
        if len(self._pieces) < MAX_SEPARATE_PIECES:
            self._pieces.append(data)
            return
        self._tiny.append(data)
        self._tiny_bytes += len(data)
        if self._tiny_bytes >= JOINED_PIECE_BYTES:
            self._collect_tiny()

    def _collect_tiny(self) -> None:
        if self._tiny:
            self._pieces.append(b"".join(self._tiny))
            self._tiny.clear()
            self._tiny_bytes = 0

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the body is larger than {self._max_bytes} bytes ({self._limit_name})")


class _Reader:
    """One reading of a body. No asynchronous generator: an event loop is told of each one's beginning and end."""

    __slots__ = ("_body", "_index")

    def __init__(self, body: ArrivingBody) -> None:
        self._body = body
        self._index = -1

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> bytes:
        self._index += 1
        piece = await self._body.piece(self._index)
        if not piece:
            raise StopAsyncIteration
        return piece
