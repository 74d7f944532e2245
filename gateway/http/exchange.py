"""One job to a worker and its answer back, as the object that a client of the native API gets.

A worker's answer is untrusted: it must be one JSON object within a bound before anything of it is passed on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from gateway.dispatch.model import Job, Reply
from gateway.errors import WorkerFailed
from gateway.http.ports import Dispatcher
from gateway.http.timing import batch_size_of, exchange_stages, timing_ms
from gateway.metrics import Metrics

MAX_ANSWER_BYTES = 4 << 20
"""A thousand labels are some 100 kB; more than this is not an answer of this API."""


class Answer(NamedTuple):
    """One image's answer."""

    result: dict[str, object]
    """What the client gets."""
    worker: str
    stages: Sequence[tuple[str, float]]
    """(name, seconds) of the exchange."""


class Exchanger:
    """Asks the dispatcher, checks and completes what comes back, and counts where the time went."""

    def __init__(self, dispatcher: Dispatcher, metrics: Metrics) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics

    async def answer(self, job: Job, request_id: str, received_s: float = 0.0) -> Answer:
        """`received_s` was spent on receiving the body before. Raises GatewayError."""
        async with self._dispatcher.exchange(job) as reply:
            result = _result(await self._read(reply), reply)
        reply.timing.upload_s += received_s
        stages = list(exchange_stages(reply.timing))
        self._metrics.exchange_timed(stages, batch_size_of(result))
        result["worker"] = reply.timing.worker
        result["request_id"] = request_id
        result["timing_ms"] = timing_ms(stages)
        return Answer(result, reply.timing.worker, stages)

    async def _read(self, reply: Reply) -> bytes:
        try:
            return await reply.read(MAX_ANSWER_BYTES)
        except ValueError as error:
            raise WorkerFailed(f"worker {reply.timing.worker}: {error}") from error


def _result(body: bytes, reply: Reply) -> dict[str, object]:
    """Raises WorkerFailed for anything but a JSON object with status 200."""
    worker = reply.timing.worker
    if reply.status != 200:
        raise WorkerFailed(f"worker {worker} answered with status {reply.status}")
    try:
        # RecursionError: nesting as deep as the bound of bytes allows.
        result = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WorkerFailed(f"worker {worker} answered with something that is not JSON") from error
    if not isinstance(result, dict):
        raise WorkerFailed(f"worker {worker} answered with something that is not a JSON object")
    return result
