"""Packed bodies, a bounded step at a time."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from gateway.http.inflate import STEP_BYTES, InflatedStream
from gateway.http.pace import Pace, PaceLimits


class Pieces:
    """A body in pieces that are all here."""

    def __init__(self, *pieces: bytes) -> None:
        self.pace = Pace(PaceLimits(1.0, 1.0, 1.0))
        self._pieces = list(pieces)

    @property
    def is_at_end(self) -> bool:
        return not self._pieces

    async def next(self) -> bytes:
        return self._pieces.pop(0)


async def unpacked(stream: InflatedStream) -> list[bytes]:
    found = []
    while not stream.is_at_end:
        found.append(await stream.next())
    return found


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_unpacks_at_any_split(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A body that comes byte by byte is the same as one that comes at once."""
    content = bytes(range(256)) * 8
    packed = pack(content)
    assert b"".join(await unpacked(InflatedStream(Pieces(packed), encoding))) == content
    single = [packed[at : at + 1] for at in range(len(packed))]
    assert b"".join(await unpacked(InflatedStream(Pieces(*single), encoding))) == content


async def test_unpacks_no_further_than_a_step_ahead() -> None:
    """Of a bomb, each piece is at most one step, so that its reader can stop in time."""
    content = bytes(3 * STEP_BYTES + 1)
    pieces = await unpacked(InflatedStream(Pieces(gzip.compress(content)), "gzip"))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) == STEP_BYTES
