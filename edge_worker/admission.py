"""Who computes now and who waits: as many calls of a model as it has slots, and a bounded line behind them.

The line is short by design: jobs wait at the gateway, where they can still go to another worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

MAX_WAITING = 64
"""Calls that may wait for one model here. A gateway sends a few ahead of the slots to hide the round trip; several
gateways send theirs side by side."""


class Overloaded(Exception):
    """No slot, and no room to wait for one. Nothing was begun."""


class Admission:
    """One model's slots: `async with admission` holds one."""

    def __init__(self, slots: int, max_waiting: int = MAX_WAITING) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._max_waiting = max_waiting
        self.running = 0
        self.waiting = 0

    async def __aenter__(self) -> None:
        """Waits for a slot, which is held until the block ends. Raises Overloaded when too many wait already."""
        if self._slots.locked():
            await self._wait()
        else:
            await self._slots.acquire()
        self.running += 1

    async def __aexit__(self, *_: object) -> None:
        self.running -= 1
        self._slots.release()

    async def _wait(self) -> None:
        if self.waiting >= self._max_waiting:
            raise Overloaded(f"{self.running} calls are running and {self.waiting} are waiting")
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1


Admissions = Mapping[str, Admission]
"""By model name."""
