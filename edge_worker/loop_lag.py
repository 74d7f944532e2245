"""How late the event loop is: what decoding and computing must not make it, or heartbeats and deadlines would suffer.

A task sleeps for a fixed time and notes by how much too long it slept. Knows a clock and numbers, and reports; it does
nothing about it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable

PERIOD_S = 0.2
"""Between looks. Each takes the core from an engine, and finds its caches cold: 50 a second took 1 % of a core's images
(docs/explanation/performance.md)."""
KEPT = 300
"""Looks, so a minute: a p99 of less would be the work of a handful."""


class LoopLag:
    """The lateness of the last minute."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._late_s: deque[float] = deque(maxlen=KEPT)

    async def run(self) -> None:
        """Looks for ever. Ends by cancellation."""
        while True:
            began = self._clock()
            await self._sleep(PERIOD_S)
            self._late_s.append(max(0.0, self._clock() - began - PERIOD_S))

    def percentile_ms(self, percent: float) -> float:
        """The nearest-rank percentile in milliseconds, to a tenth: timers are no finer. 0 before the first look."""
        late_s = sorted(self._late_s)
        if not late_s:
            return 0.0
        rank = max(1, math.ceil(len(late_s) * percent / 100))
        return round(late_s[rank - 1] * 1000, 1)
