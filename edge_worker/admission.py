"""Who computes now and who waits: as many calls of a model as it has slots, and a bounded line behind them.

The line is short by design: jobs wait at the gateway, where they can still go to another worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from edge_worker.backends.base import ServedModel

MAX_WAITING = 64
"""Calls that may wait for one model here. A gateway sends a few ahead of the slots to hide the round trip; several
gateways send theirs side by side."""


class Overloaded(Exception):
    """No slot, and no room to wait for one. Nothing was begun."""


class Admission:
    """One model's slots: `async with admission` holds one."""

    def __init__(self, slots: int, ahead: int = 0, max_waiting: int = MAX_WAITING) -> None:
        """`ahead` calls more are let through, which wait for their slot where it is given back."""
        self._slots = slots
        self._most = slots + ahead
        self._places = asyncio.Semaphore(self._most)
        self._max_waiting = max_waiting
        self._held = 0
        self._queued = 0

    @property
    def running(self) -> int:
        """Calls that have a slot."""
        return min(self._held, self._slots)

    @property
    def waiting(self) -> int:
        """Calls that have none yet."""
        return self._queued + self._held - self.running

    async def __aenter__(self) -> None:
        """Waits for a slot, which is held until the block ends. Raises Overloaded when too many wait already."""
        if self._held < self._most and not self._queued:
            await self._places.acquire()  # at once
        else:
            await self._wait()
        self._held += 1

    async def __aexit__(self, *_: object) -> None:
        self._held -= 1
        self._places.release()

    async def _wait(self) -> None:
        if self._queued >= self._max_waiting:
            raise Overloaded(f"{self.running} calls are running and {self.waiting} are waiting")
        self._queued += 1
        try:
            await self._places.acquire()
        finally:
            self._queued -= 1


Admissions = Mapping[str, Admission]
"""By model name."""


def admit(admissions: dict[str, Admission], models: Iterable[ServedModel]) -> None:
    """Slots for each model that can be served and has none yet: one may be mended while its worker runs."""
    for model in models:
        if not model.failure and model.name not in admissions:
            admissions[model.name] = Admission(model.slots, model.ahead)
