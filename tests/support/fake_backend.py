"""A backend whose calls a test answers, fails or leaves waiting by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edge_worker.backends.base import Answer, BackendLost, Call, Changed, ServedModel


class FakeBackend:
    """Fits `edge_worker.backends.base.Backend`. `outcome` is what each call gives; None leaves it waiting in `waiting`
    for the test."""

    name = "fake"

    def __init__(self, outcome: Answer | Exception | None = None, models: Sequence[ServedModel] = ()) -> None:
        self.outcome = outcome
        self.models = models or (ServedModel("m", "1", 1),)
        self.calls: list[Call] = []
        self.probes: list[str] = []
        self.waiting: list[asyncio.Future[Answer]] = []
        self.cancelled = 0
        self.is_closed = False
        self.changed: Changed | None = None
        self._is_lost = asyncio.Event()
        self._lost = BackendLost()
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def start(self) -> Sequence[ServedModel]:
        await self.may_start.wait()
        return self.models

    async def answer(self, call: Call) -> Answer:
        self.calls.append(call)
        return await self._outcome()

    async def probe(self, model: str) -> Answer:
        self.probes.append(model)
        return await self._outcome()

    async def watch(self, changed: Changed) -> None:
        self.changed = changed
        await self._is_lost.wait()
        raise self._lost

    def lose(self, error: BackendLost) -> None:
        """From now on only a new process could help."""
        self._lost = error
        self._is_lost.set()

    async def close(self) -> None:
        self.is_closed = True

    async def _outcome(self) -> Answer:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is not None:
            return self.outcome
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
