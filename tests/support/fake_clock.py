"""A clock that moves only when a test says so; timers run in order, at their own time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class FakeTimer:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """Fits `gateway.dispatch.clock.Clock`."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Callable[[], object], FakeTimer]] = []

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer()
        heapq.heappush(self._timers, (when, next(self._order), callback, timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Moves time, runs what falls due on the way, and lets every task run until it waits again."""
        end = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            when, _, callback, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if not timer.is_cancelled:
                callback()
                await settle()
        self._now = end
        await settle()


async def settle(turns: int = 20) -> None:
    """Gives every other task this many turns of the event loop; no time passes."""
    for _ in range(turns):
        await asyncio.sleep(0)
