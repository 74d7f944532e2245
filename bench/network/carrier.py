"""Carries through one way: asks the rule when each piece arrives, waits, and delivers it.

What is delivered is a call without an answer: a write, an end, a new connection. Who finds the queue full is told when
to go on, one after the other, which shares the link as round robin does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from bench.load.clock import Clock
from bench.network.bottleneck import NS, Bottleneck
from bench.network.profile import UNLIMITED, Way
from bench.network.tally import WayTally

MAX_HELD_BYTES = 64 << 20
"""In one way at once, where its rate and delay do not bound it: 10 Gbit/s for 50 ms."""
PIECE_S = 0.001
"""A read is as long as this on the link: small ones keep a large transfer from arriving in lumps."""
LEAST_PAUSE_NS = 100_000
"""Between two looks for room."""
LEAST_PIECE_BYTES, MOST_PIECE_BYTES = 1460, 64 << 10

Action = Callable[[], None]


class Carrier(Protocol):
    """What a relay sends through."""

    piece_bytes: int
    """The most to send at once."""

    def send(self, size_bytes: int, action: Action) -> None:
        """Does it at the other end, when it gets there."""

    def is_full(self) -> bool:
        """Whether to wait before more is sent."""

    def wait_room(self, resume: Action) -> None:
        """Calls it once when there is room, in the order of asking."""


class StraightCarrier:
    """Adds nothing: for the ends of a link whose middle is somewhere else."""

    piece_bytes = MOST_PIECE_BYTES

    def send(self, size_bytes: int, action: Action) -> None:
        """At once."""
        action()

    def is_full(self) -> bool:
        """Never."""
        return False

    def wait_room(self, resume: Action) -> None:
        """At once."""
        resume()


class DelayingCarrier:
    """One way of a network. `run` and `admit_waiting` are its two tasks; whoever makes it runs both."""

    def __init__(self, way: Way, bottleneck: Bottleneck, clock: Clock, tally: WayTally) -> None:
        self._bottleneck = bottleneck
        self._clock = clock
        self._tally = tally
        self._started_ns = clock.now_ns()
        self._pieces: deque[tuple[int, int, Action]] = deque()
        """(due, bytes, what to do), in the order of the first, which the rule keeps."""
        self._held_bytes = 0
        self._arrived = asyncio.Event()
        self._waiting: deque[Action] = deque()
        self._is_wanted = asyncio.Event()
        self.piece_bytes = MOST_PIECE_BYTES
        if way.rate_bits_s != UNLIMITED:
            in_time = int(way.rate_bits_s / 8 * PIECE_S)
            self.piece_bytes = max(LEAST_PIECE_BYTES, min(MOST_PIECE_BYTES, in_time))
        self._piece_ns = max(LEAST_PAUSE_NS, round(self.piece_bytes * 8 * NS / way.rate_bits_s))

    def send(self, size_bytes: int, action: Action) -> None:
        """Takes it whether full or not: who asks `is_full` first is held to the queue's bound and one piece."""
        due_ns = self._started_ns + self._bottleneck.admit(size_bytes, self._elapsed_ns())
        self._pieces.append((due_ns, size_bytes, action))
        self._held_bytes += size_bytes
        self._arrived.set()

    def is_full(self) -> bool:
        """By the queue before the link, or by all that is on its way."""
        return self._held_bytes >= MAX_HELD_BYTES or self._bottleneck.is_full(self._elapsed_ns())

    def wait_room(self, resume: Action) -> None:
        """Calls it once."""
        self._waiting.append(resume)
        self._is_wanted.set()

    def is_lost(self) -> bool:
        """Whether a packet that comes now is lost, by chance or since the queue is full; counted."""
        if self._bottleneck.is_lost():
            self._tally.lost += 1
            return True
        if self.is_full():
            self._tally.overflowed += 1
            return True
        return False

    async def run(self) -> None:
        """Delivers, until cancelled."""
        while True:
            if not self._pieces:
                self._arrived.clear()
                await self._arrived.wait()
            await self._clock.wait_until_ns(self._pieces[0][0])
            self._deliver()

    async def admit_waiting(self, clock: Clock) -> None:
        """Lets go on who waits for room, until cancelled. `clock`: its own, since one has one waiter."""
        while True:
            if not self._waiting:
                self._is_wanted.clear()
                await self._is_wanted.wait()
            room_ns = self._started_ns + self._bottleneck.room_ns(self._elapsed_ns())
            await clock.wait_until_ns(max(room_ns, self._clock.now_ns() + self._piece_ns))
            if self._waiting and not self.is_full():
                self._waiting.popleft()()

    def _deliver(self) -> None:
        now_ns, tally = self._clock.now_ns(), self._tally
        while self._pieces and self._pieces[0][0] <= now_ns:
            due_ns, size_bytes, action = self._pieces.popleft()
            self._held_bytes -= size_bytes
            tally.pieces += 1
            tally.bytes += size_bytes
            tally.lateness.add(now_ns - due_ns)
            action()
        tally.stalls = self._bottleneck.stalls

    def _elapsed_ns(self) -> int:
        return self._clock.now_ns() - self._started_ns
