"""One exchange in flight, as the task that awaits it sees it: a head to come, a body after it, or a failure.

The link's event callback fills it in; exactly one task waits on it, and one sends its request body.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.dispatch.model import Metadata, Timing
from wire.frames import Buffer, ResponseHead


class Call:
    """The receiving half of an exchange and its milestones, in seconds of the gateway's clock."""

    __slots__ = (
        "_chunks",
        "_consumed",
        "_error",
        "_given_bytes",
        "_room",
        "_waiter",
        "body_here_at",
        "head",
        "is_ended",
        "on_informational",
        "started_at",
        "timing",
        "trailers",
    )

    def __init__(self, consumed: Callable[[int], None], started_at: float) -> None:
        self.head: ResponseHead | None = None
        self.timing = Timing()
        self.on_informational: Callable[[int, Metadata], None] | None = None
        self.trailers: list[tuple[str, str]] = []
        """What followed the answer's body."""
        self.started_at = started_at
        self.body_here_at = started_at
        """When the last byte of the request body was here, or the newest so far."""
        self._consumed = consumed
        self._chunks: deque[Buffer] = deque()  # bounded by the exchange's receive window
        self._given_bytes = 0
        self.is_ended = False
        """Whether the answer is whole here."""
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    # --- told by the link ---------------------------------------------------------------------------------------------

    def got_head(self, head: ResponseHead) -> None:
        """The worker answers, or says something before it does."""
        if head.status >= 200:
            self.head = head
            self._wake()
        elif self.on_informational is not None:
            self.on_informational(head.status, head.metadata)

    def got_body(self, data: Buffer) -> None:
        """More of the answer."""
        self._chunks.append(data)
        self._wake()

    def got_end(self, trailers: Metadata = ()) -> None:
        """The answer is whole."""
        self.trailers += trailers
        self.is_ended = True
        self.got_room()
        self._wake()

    def got_room(self) -> None:
        """More of the request body may be given to the session."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def fail(self, error: BaseException) -> None:
        """There will be no answer, or no more of one. The first reason stands."""
        if self._error is None and not self.is_ended:
            self._error = error
            self.got_room()
            self._wake()

    # --- awaited by the exchange --------------------------------------------------------------------------------------

    async def wait_head(self) -> ResponseHead:
        """The answer's head. Raises what `fail` was given. Its caller's deadline bounds the wait."""
        while self.head is None:
            if self._error is not None:
                raise self._error
            await self._wait()
        return self.head

    async def wait_room(self) -> None:
        """Returns when the session has sent most of what it was given, or when nobody wants it any more."""
        if self._error is None and not self.is_ended:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def __aiter__(self) -> Call:
        """The answer's body, chunk by chunk. Raises what `fail` was given."""
        return self

    async def __anext__(self) -> Buffer:
        if self._given_bytes:  # asking for more says that it is used up
            self._consumed(self._given_bytes)
            self._given_bytes = 0
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.is_ended:
                raise StopAsyncIteration
            await self._wait()
        chunk = self._chunks.popleft()
        if not self.is_ended:  # else nobody counts it any more
            self._given_bytes = len(chunk)
        return chunk

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
