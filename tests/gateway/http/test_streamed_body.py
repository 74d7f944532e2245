"""A body on its way: passed on as it comes, kept while it is small."""

from __future__ import annotations

import pytest

from gateway.errors import QueueFull, SlowBody
from gateway.http.body import ByteBudget
from gateway.http.pace import Pace, PaceLimits
from gateway.http.streamed_body import KEPT_BYTES, StreamedBody


class Pieces:
    """A stream of these pieces, then the end, or an error."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pace = Pace(PaceLimits(1, 1, 1))
        self._pieces = list(pieces)

    @property
    def is_at_end(self) -> bool:
        return not self._pieces

    async def next(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece


def made(*pieces: bytes | Exception, size: int | None = None, limit: int = 1 << 30) -> tuple[StreamedBody, ByteBudget]:
    budget = ByteBudget(limit)
    return StreamedBody(Pieces(*pieces), size, budget, lambda: None), budget


async def read(body: StreamedBody) -> list[bytes]:
    return [piece async for piece in body.chunks()]


async def test_a_small_body_can_be_read_again() -> None:
    """By a second worker, when the first refused; the budget has it back at the end."""
    body, budget = made(b"one", b"two", size=6)
    assert (body.is_complete, body.size) == (False, 6)
    assert await read(body) == [b"one", b"two"]
    assert (body.is_complete, body.is_replayable, body.received_bytes, budget.held_bytes) == (True, True, 6, 6)
    assert await read(body) == [b"one", b"two"]
    body.release()
    assert budget.held_bytes == 0


async def test_a_second_reader_goes_on_where_the_first_stopped() -> None:
    """The pieces that are here, then those that come."""
    body, _ = made(b"one", b"two")
    async for piece in body.chunks():
        assert piece == b"one"
        break
    assert await read(body) == [b"one", b"two"]


async def test_a_large_body_is_not_kept() -> None:
    """Once it is over what is kept, nothing of it is, and nobody may be given it again."""
    body, budget = made(bytes(KEPT_BYTES), b"x", b"rest", size=KEPT_BYTES + 5)
    assert sum(map(len, await read(body))) == KEPT_BYTES + 5
    assert (body.is_replayable, budget.held_bytes) == (False, 0)
    body.release()


async def test_what_is_here_is_taken_at_once() -> None:
    """A body that came with its head costs no task."""
    body, _ = made(b"all", size=3)
    await body.receive_here()
    assert body.is_complete
    empty, _ = made(size=0)
    await empty.receive_here()
    assert (empty.is_complete, await read(empty)) == (True, [])


async def test_errors_of_the_client_reach_the_reader() -> None:
    """A slow one, and one that there is no room for."""
    body, _ = made(b"one", SlowBody("slow"))
    with pytest.raises(SlowBody):
        await read(body)
    body, budget = made(b"too much", limit=4)
    with pytest.raises(QueueFull):
        await read(body)
    body.release()
    assert budget.held_bytes == 0


@pytest.mark.parametrize("size", [KEPT_BYTES + 1, None])
async def test_a_body_that_is_not_kept_is_left_where_it_is(size: int | None) -> None:
    """All of it may be here: what was taken before a worker is chosen could not be given to one."""
    body, _ = made(bytes(KEPT_BYTES + 1), size=size)
    await body.receive_here()
    assert sum(map(len, await read(body))) == KEPT_BYTES + 1
