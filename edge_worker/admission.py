"""Who computes now and who waits: as many calls of a model as it has slots, and a bounded line behind them.

The line is short by design: jobs wait at the gateway, where they can still go to another worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

MAX_WAITING = 64
"""Calls that may wait for one model here. A gateway sends a few ahead of the slots to hide the round trip; several
gateways send theirs side by side."""


class Overloaded(Exception):
    """No slot, and no room to wait for one. Nothing was begun."""


class Admission:
    """One model's slots."""

    def __init__(self, slots: int, max_waiting: int = MAX_WAITING) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._max_waiting = max_waiting
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a slot and holds it. Raises Overloaded when too many wait already."""
        if self._slots.locked() and self.waiting >= self._max_waiting:
            raise Overloaded(f"{self.running} calls are running and {self.waiting} are waiting")
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._slots.release()


Admissions = Mapping[str, Admission]
"""By model name."""
