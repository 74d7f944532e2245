"""Whether the models still answer: by the newest success of each, and by a real inference where that is long ago.

A server whose engine hangs must not say that it is ready, so being asked costs an inference when nothing else
proved it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence

from edge_worker.backends.base import ServedModel
from edge_worker.exchange_runner import Answered, ExchangeRunner, WholeRequest
from wire.frames import PROBE_METHOD, RequestHead

FRESH_S = 10.0
"""An inference that succeeded this lately proves the next."""
PROBE_TIMEOUT_MS = 5000
"""What a probe may take, its wait for a slot included."""


class Readiness:
    """Of the models that one runner serves."""

    def __init__(
        self, runner: ExchangeRunner, models: Sequence[ServedModel], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`models` have just been loaded, which took an inference of each that can be served."""
        self._runner = runner
        self._clock = clock
        self._loaded_at = {model.name: clock() for model in models if not model.failure}
        self._broken = {model.name: "broken" for model in models if model.failure}
        self._probing = asyncio.Lock()  # one probe at a time, however many ask

    def update(self, models: Sequence[ServedModel]) -> None:
        """What can be served has changed: one that is ready again has just been loaded."""
        was_broken, self._broken = self._broken, {model.name: "broken" for model in models if model.failure}
        for name in was_broken.keys() - self._broken.keys():
            self._loaded_at[name] = self._clock()

    async def states(self) -> Mapping[str, str]:
        """For each model `ready`, `broken` (it cannot be served), or why its probe failed."""
        async with self._probing:
            sound = [name for name in self._loaded_at if name not in self._broken]
            return {name: await self._state(name) for name in sound} | self._broken

    async def _state(self, model: str) -> str:
        now = self._clock()
        proven_at = max(self._loaded_at[model], self._runner.answered_at.get(model, -math.inf))
        if now - proven_at < FRESH_S:
            return "ready"
        head = RequestHead(PROBE_METHOD, f"/inference/{model}", model, (), PROBE_TIMEOUT_MS)
        result = await self._runner.run(WholeRequest(head, b"", now, now))
        return "ready" if isinstance(result, Answered) else f"not ready: {result.text}"
