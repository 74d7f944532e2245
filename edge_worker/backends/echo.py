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
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, Changed, ServedModel
from edge_worker.backends.settings import BackendSettings

Sleep = Callable[[float], Awaitable[None]]

VERSION = "1"
_to_json = json.JSONEncoder(separators=(",", ":")).encode
_BUSY_BLOCK = bytes(1 << 20)
"""Hashed over and over to keep a core busy: for so many bytes hashlib lets the other threads run, as engines do."""


def refuse_questions(path: str) -> None:
    """Raises BadInput for a query that only a network could answer (docs/reference/inference-exchange.md)."""
    _, _, query = path.partition("?")
    if query.startswith("top=") and "&" not in query:  # nearly always
        return
    refused = parse_qs(query, keep_blank_values=True).keys() & {"output", "query"}
    if refused:
        raise BadInput("bad_request", f"{min(refused)}: echo has no network; it answers with the body's size")


class EchoBackend:
    """Serves every name it is given. Slots bound the calls that are in their service time at once; others wait."""

    name = "echo"

    def __init__(
        self,
        settings: BackendSettings,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = self._compute if settings.echo_busy else sleep
        self._rng = random.Random(settings.seed)
        self._slots = {name: asyncio.Semaphore(settings.slots) for name in settings.echo_models}
        self._threads = ThreadPoolExecutor(settings.slots * len(self._slots), "echo")  # starts none until one is used

    async def start(self) -> Sequence[ServedModel]:
        metadata: dict[str, object] = {
            "engine": self.name,
            "service_time": str(self._settings.echo_service_time),
            "busy": self._settings.echo_busy,
        }
        return [ServedModel(name, VERSION, self._settings.slots, metadata=metadata) for name in self._slots]

    async def answer(self, call: Call) -> Answer:
        """The body's size, whatever it is of, after one service time. Raises BadInput for a model it was not given, and
        for an answer that only a network could give."""
        slots = self._slots.get(call.model)
        if slots is None:
            raise BadInput("unknown_model", f"this worker does not serve the model {call.model!r}")
        refuse_questions(call.path)
        service_s = self._settings.echo_service_time.draw_s(self._rng)
        taken_s = 0.0
        if service_s > 0.0:  # what takes no time needs no slot for it
            async with slots:
                started = self._clock()
                await self._sleep(service_s)
                taken_s = self._clock() - started
        answer: dict[str, object] = {"model": call.model, "model_version": VERSION, "bytes": len(call.body)}
        if self._settings.echo_sha256:
            answer["sha256"] = hashlib.sha256(call.body).hexdigest()
        return Answer(_to_json(answer).encode(), durations_s={"inference": taken_s})

    async def probe(self, model: str) -> Answer:
        if model not in self._slots:
            raise BackendFailed(f"the model {model!r} is not served")
        return await self.answer(Call(model, "POST", f"/inference/{model}", (), b"probe"))

    async def watch(self, changed: Changed) -> None:
        """There is nothing that could break."""

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def _compute(self, service_s: float) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._compute_until, self._clock() + service_s)

    def _compute_until(self, end: float) -> None:
        while self._clock() < end:
            hashlib.sha256(_BUSY_BLOCK).digest()
