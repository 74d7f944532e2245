"""Bodies while they arrive: bounded in bytes, in all bodies together, and in how slowly they may come.

The only waits for a client are here, and each has its end: the request's deadline, a stall, too low a rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from edge_worker.http.errors import RequestFailed

T = TypeVar("T")

STALL_S = 10.0
MIN_RATE_BYTES_S = 4096.0
TOTAL_S = 300.0
"""No byte for STALL_S, less than the rate after it, or TOTAL_S of waiting in all: 408. The gateway's defaults."""
PART_CHUNK_BYTES = 256 * 1024
MAX_PARTS = 256
MAX_FILES_BYTES = 512 << 20
"""All files of one form together; both as the gateway's defaults."""


class ByteBudget:
    """How many bytes of bodies all requests together may hold."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Claims room. Raises RequestFailed when there is none."""
        if self.held_bytes + size_bytes > self._limit_bytes:
            raise RequestFailed("queue_full", f"the server holds {self.held_bytes} bytes of request bodies already")
        self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Returns what was taken."""
        self.held_bytes -= size_bytes
        assert self.held_bytes >= 0, self.held_bytes


class Patience:
    """How long one client may keep the server waiting. Only time spent waiting counts."""

    def __init__(self, deadline: float | None, clock: Callable[[], float]) -> None:
        """`deadline` in seconds of `clock`; None for a form, whose files have deadlines of their own."""
        self._deadline = deadline
        self._clock = clock
        self._waited_s = 0.0
        self.received_bytes = 0

    async def wait(self, coming: Awaitable[T]) -> T:
        """What comes from the client. Raises RequestFailed when it takes too long or is no HTTP."""
        began = self._clock()
        earned_s = STALL_S + self.received_bytes / MIN_RATE_BYTES_S
        patience_s = min(STALL_S, earned_s - self._waited_s, TOTAL_S - self._waited_s)
        left_s = None if self._deadline is None else self._deadline - began
        try:
            async with asyncio.timeout(patience_s if left_s is None else min(patience_s, left_s)):
                return await coming
        except TimeoutError:
            if left_s is not None and left_s < patience_s:
                text = f"the deadline passed when {self.received_bytes} bytes of the body had arrived"
                raise RequestFailed("deadline_exceeded", text) from None
            text = f"the body came too slowly: {self.received_bytes} bytes so far"
            raise RequestFailed("slow_body", text) from None
        except web.RequestPayloadError as error:
            raise RequestFailed("bad_request", f"the body is not encoded as its headers say: {error}") from error
        except ConnectionError as error:
            raise RequestFailed("client_gone", "the client closed its connection while it sent the body") from error
        finally:
            self._waited_s += self._clock() - began


class Holding:
    """The bytes that one body takes from the budget, until it is let go."""

    def __init__(self, budget: ByteBudget, max_bytes: int) -> None:
        self._budget = budget
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self.size_bytes = 0

    def keep(self, piece: bytes) -> None:
        """Raises RequestFailed over the limit of one body or of all."""
        if self.size_bytes + len(piece) > self._max_bytes:
            raise RequestFailed("payload_too_large", f"the image is larger than {self._max_bytes} bytes")
        self._budget.take(len(piece))
        self.size_bytes += len(piece)
        self._pieces.append(piece)

    def whole(self) -> bytes:
        """Everything; most bodies are one piece, and are not copied then."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def let_go(self) -> None:
        """Gives the budget back, once."""
        self._budget.give_back(self.size_bytes)
        self.size_bytes = 0
        self._pieces.clear()


async def receive(request: web.Request, holding: Holding, patience: Patience) -> bytes:
    """The whole body of one image. Raises RequestFailed."""
    while True:
        piece = await patience.wait(request.content.readany())
        if not piece:
            break
        patience.received_bytes += len(piece)
        holding.keep(piece)
    if not holding.size_bytes:
        raise RequestFailed("bad_input", "the body is empty: send an image")
    return holding.whole()


class Part:
    """One file of a form: `error` or its bytes in `holding`."""

    def __init__(self, reader: BodyPartReader, holding: Holding) -> None:
        self.name = reader.filename or reader.name or ""
        self.content_type = reader.headers.get("Content-Type", "")
        self.holding = holding
        self.error: RequestFailed | None = None


async def parts(
    request: web.Request, patience: Patience, new_holding: Callable[[], Holding]
) -> AsyncGenerator[Part, None]:
    """Each file when it is here, whatever its field is called. Raises RequestFailed for what is wrong with them all."""
    try:
        form = await request.multipart()
        for _ in range(MAX_PARTS + 1):
            reader = await patience.wait(form.next())
            if reader is None:
                return
            if isinstance(reader, MultipartReader):
                raise RequestFailed("bad_request", "a file of the form is a form itself")
            yield await _part(reader, patience, new_holding())
        raise RequestFailed("payload_too_large", f"more than {MAX_PARTS} files in one request")
    except (ValueError, RuntimeError, BadHttpMessage, AssertionError) as error:  # what aiohttp's reader raises
        raise RequestFailed("bad_request", "the multipart body does not parse") from error


async def _part(reader: BodyPartReader, patience: Patience, holding: Holding) -> Part:
    part = Part(reader, holding)
    try:
        while piece := await patience.wait(reader.read_chunk(PART_CHUNK_BYTES)):
            patience.received_bytes += len(piece)
            if patience.received_bytes > MAX_FILES_BYTES:
                text = f"the files are larger than {MAX_FILES_BYTES} bytes together"
                raise RequestFailed("payload_too_large", text)
            part.error = part.error or _kept(holding, piece)
    except BaseException:
        holding.let_go()
        raise
    return part


def _kept(holding: Holding, piece: bytes) -> RequestFailed | None:
    """Too large a file fails alone: the rest of it is read and thrown away."""
    try:
        holding.keep(piece)
    except RequestFailed as error:
        holding.let_go()
        return error
    return None
