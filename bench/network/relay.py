"""Relays TCP connections through two carriers.

A connection is opened as TCP opens one: the caller's first bytes wait until a SYN has gone there and its answer has
come back. Ends and resets travel in order, behind the bytes. Nothing is kept beyond the link's own queue: an end that
does not read stops the other end from being read. TCP's own behaviour on a long or lossy path (slow start, loss,
repetition) is not imitated: each end talks to this process, next door. packets.py has that.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

from bench.network.bottleneck import LEAST_BYTES
from bench.network.carrier import Carrier
from bench.network.sockets import Connect
from bench.network.tally import Tally

MAX_CONNECTIONS = 4096
"""At once. One more is reset, as a full table of a router does."""
CONNECT_TIMEOUT_S = 10.0
WRITE_BYTES = 64 << 10
"""Written and not yet taken by the kernel, beyond which the other end is no longer read."""
LINGER_NONE = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends a reset."""


class Hold(enum.Flag):
    """Why an end is not read."""

    NONE = 0
    OPENING = enum.auto()
    """The handshake is on its way."""
    FULL = enum.auto()
    """The way from here is full."""
    SLOW = enum.auto()
    """The other end does not take what it was sent."""


class End(asyncio.BufferedProtocol):
    """One end of a relayed connection: reads pieces, sends them through its carrier to the other end."""

    def __init__(self, carrier: Carrier, holds: Hold = Hold.NONE) -> None:
        self.other: End
        self._carrier = carrier
        self._holds = holds
        self._buffer = bytearray(carrier.piece_bytes)
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        """What came before the handshake was over; b"" is the end."""
        self._has_ended = False
        """Whether this end sends no more."""
        self._was_ended = False
        """Whether it was told that the other sends no more."""
        self.on_open: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A TCP connection is there."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods
        transport.set_write_buffer_limits(high=WRITE_BYTES)
        self.on_open()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next piece is read to."""
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """A piece is here."""
        data = bytes(memoryview(self._buffer)[:nbytes])
        if self._holds & Hold.OPENING:
            self._early.append(data)  # the only one: it is not read on before the handshake is over
            self.hold(Hold.OPENING)
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        self._carrier.send(len(data), partial(self.other.write, data))
        if self._carrier.is_full() and not self._holds & Hold.FULL:
            self.hold(Hold.FULL)
            self._carrier.wait_room(partial(self.let_go, Hold.FULL))

    def eof_received(self) -> bool:
        """This end sends no more, and may still read."""
        if self._holds & Hold.OPENING:
            self._early.append(b"")
        elif not self._has_ended:  # asyncio says so again when reading is resumed
            self._has_ended = True
            self._carrier.send(LEAST_BYTES, self.other.write_end)
            self._close_if_done()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by us, or reset by whom it leads to."""
        if exc is not None:
            self._carrier.send(LEAST_BYTES, self.other.reset)
        self.other.let_go(Hold.SLOW)
        self._transport = None
        self.on_lost()

    def pause_writing(self) -> None:
        """It does not read what it gets."""
        self.other.hold(Hold.SLOW)

    def resume_writing(self) -> None:
        """It does again."""
        self.other.let_go(Hold.SLOW)

    def opened(self) -> None:
        """The handshake is over: what came early goes first."""
        self._holds &= ~Hold.OPENING
        early, self._early = self._early, []
        for data in early:
            if data:
                self._send(data)
            else:
                self.eof_received()
        self.let_go(Hold.NONE)

    def hold(self, why: Hold) -> None:
        """Reads no more until each reason is gone."""
        self._holds |= why
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def let_go(self, why: Hold) -> None:
        """One reason is gone."""
        self._holds &= ~why
        if not self._holds and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """A piece arrives; none does at an end that is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_end(self) -> None:
        """The other end sends no more."""
        if self._transport is not None and not self._transport.is_closing():
            self._was_ended = True
            self._transport.write_eof()
            self._close_if_done()

    def reset(self) -> None:
        """Ends it with a reset; harmless when it is gone."""
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            self._transport.abort()

    def _close_if_done(self) -> None:
        if self._has_ended and self._was_ended and self._transport is not None:
            self._transport.close()


class Relay:
    """Every connection of one listener."""

    def __init__(self, connect: Connect, carriers: tuple[Carrier, Carrier], tally: Tally) -> None:
        """`carriers`: up, down."""
        self._connect = connect
        self._up, self._down = carriers
        self._tally = tally
        self._near: set[End] = set()
        self._far: set[End] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._lives: Callable[[], float] | None = None

    def reset_after(self, mean_s: float, random_source: random.Random) -> None:
        """Resets each connection from now on after an exponential life."""
        self._lives = partial(random_source.expovariate, 1 / mean_s)

    @contextlib.asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Takes connections within the block; resets those that are left at its end."""
        server = await asyncio.get_running_loop().create_server(self._near_end, sock=listener)
        try:
            yield
        finally:
            server.close()
            await self._end()

    def _near_end(self) -> End:
        near, far = End(self._up, Hold.OPENING), End(self._down)
        near.other, far.other = far, near
        near.on_open = partial(self._accepted, near, far)
        near.on_lost = partial(self._near.discard, near)
        far.on_open = partial(self._reached, near, far)
        far.on_lost = partial(self._far.discard, far)
        return near

    def _accepted(self, near: End, far: End) -> None:
        if len(self._near) >= MAX_CONNECTIONS:
            self._tally.refused += 1
            near.reset()
            return
        self._near.add(near)
        self._tally.connections += 1
        self._up.send(LEAST_BYTES, partial(self._open, near, far))
        if self._lives is not None:
            asyncio.get_running_loop().call_later(self._lives(), self._reset_both, near, far)

    def _open(self, near: End, far: End) -> None:
        if near in self._near:  # a caller may have left while its SYN was on the way
            task = asyncio.get_running_loop().create_task(self._reach(near, far))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _reached(self, near: End, far: End) -> None:
        self._far.add(far)
        self._down.send(LEAST_BYTES, near.opened)

    async def _reach(self, near: End, far: End) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._connect(lambda: far)
        except (OSError, TimeoutError):
            self._tally.refused += 1
            self._down.send(LEAST_BYTES, near.reset)
            return
        if near not in self._near:
            far.reset()

    async def _end(self) -> None:
        """Resets everything, and is over when the loop knows."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for end in [*self._near, *self._far]:
            end.reset()
        while self._near or self._far:  # noqa: ASYNC110  each is reset: a turn or two
            await asyncio.sleep(0)

    def _reset_both(self, near: End, far: End) -> None:
        if near in self._near:
            self._tally.resets += 1
            near.reset()
            far.reset()
