"""A backend that computes nothing: it answers with what it was sent, after a service time of one's choice.

For tests, demonstrations and benchmarks of everything around a real engine. Imports no third party.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, ServedModel
from edge_worker.backends.settings import BackendSettings

Sleep = Callable[[float], Awaitable[None]]


class EchoBackend:
    """Serves every name it is given. Slots bound the calls that are in their service time at once; others wait."""

    name = "echo"

    def __init__(self, settings: BackendSettings, sleep: Sleep = asyncio.sleep) -> None:
        self._settings = settings
        self._sleep = _compute_for if settings.echo_busy else sleep
        self._rng = random.Random(settings.seed)
        self._slots = {name: asyncio.Semaphore(settings.slots) for name in settings.echo_models}

    async def start(self) -> Sequence[ServedModel]:
        metadata: dict[str, object] = {
            "engine": self.name,
            "service_time": str(self._settings.echo_service_time),
            "busy": self._settings.echo_busy,
        }
        return [ServedModel(name, "1", self._settings.slots, metadata=metadata) for name in self._slots]

    async def answer(self, call: Call) -> Answer:
        """The body's size and SHA-256, after one service time. Raises BadInput for a model it was not given."""
        if call.model not in self._slots:
            raise BadInput("unknown_model", f"this worker does not serve the model {call.model!r}")
        service_s = self._settings.echo_service_time.draw_s(self._rng)
        async with self._slots[call.model]:
            if service_s > 0.0:
                await self._sleep(service_s)
        answer = {
            "model": call.model,
            "model_version": "1",
            "bytes": len(call.body),
            "sha256": hashlib.sha256(call.body).hexdigest(),
        }
        return Answer(json.dumps(answer, separators=(",", ":")).encode(), durations_s={"inference": service_s})

    async def probe(self, model: str) -> Answer:
        if model not in self._slots:
            raise BackendFailed(f"the model {model!r} is not served")
        return await self.answer(Call(model, "POST", f"/inference/{model}", (), b"probe"))

    async def close(self) -> None:
        """Nothing to release."""


async def _compute_for(service_s: float) -> None:
    """Keeps a processor busy, and this thread with it, as an engine that does not leave the event loop would."""
    end = time.perf_counter() + service_s
    value = 1
    while time.perf_counter() < end:
        value = value * 6364136223846793005 + 1442695040888963407 & 0xFFFFFFFFFFFFFFFF
