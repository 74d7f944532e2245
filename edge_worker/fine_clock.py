"""Timers finer than a millisecond, which is what event loops round theirs to: the kernel's on a thread of its own.

A batch that may wait 200 microseconds would wait for none or a thousand otherwise. One thread serves any number of
timers; a callback runs on the event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable


class FineTimer:
    """One callback to come, until it is cancelled."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def fire(self) -> None:
        """On the event loop, where it is cancelled too: so a cancelled one never runs."""
        if not self.is_cancelled:
            self._callback()


class FineClock:
    """Fits `edge_worker.batcher.Clock`. `close` ends its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, FineTimer]] = []
        self._order = itertools.count()
        self._is_closed = False
        self._thread = threading.Thread(target=self._wait, name="fine-clock", daemon=True)
        self._thread.start()

    def now(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> FineTimer:
        """Runs the callback once `now` is `when` or later."""
        timer = FineTimer(callback)
        with self._changed:
            heapq.heappush(self._timers, (when, next(self._order), timer))
            if self._timers[0][2] is timer:
                self._changed.notify()
        return timer

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _wait(self) -> None:
        with self._changed:
            while not self._is_closed:
                while self._timers and self._timers[0][2].is_cancelled:
                    heapq.heappop(self._timers)
                if not self._timers:
                    self._changed.wait()
                    continue
                left_s = self._timers[0][0] - time.monotonic()
                if left_s > 0:
                    self._changed.wait(left_s)
                    continue
                self._loop.call_soon_threadsafe(heapq.heappop(self._timers)[2].fire)
