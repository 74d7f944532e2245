"""One job to a worker and its answer back: labels in an object, or probabilities.

A worker's answer is untrusted: it must be one JSON object, or one tensor of the size that it says, within a bound
before anything of it is passed on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from gateway.dispatch.model import Job, Reply
from gateway.errors import GatewayError, UnknownModel, WorkerFailed
from gateway.http.ports import Dispatcher
from gateway.http.statistics import Statistics
from gateway.http.timing import Stages, batch_size_of, exchange_stages, timing_ms
from gateway.metrics import Metrics

MAX_ANSWER_BYTES = 4 << 20
"""A thousand labels are some 100 kB; more than this is not an answer of this API."""


TENSOR = "application/vnd.tensor"
"""The content type of values without a picture around them: little-endian, row-major, unpadded."""
TENSOR_DATATYPE = "tensor-datatype"
TENSOR_SHAPE = "tensor-shape"

Json = dict[str, object]
T = TypeVar("T")


class Answer(NamedTuple, Generic[T]):
    """One image's answer."""

    result: T
    worker: str
    stages: Stages
    batch_size: int | None
    """How many images the worker computed together; None where it does not say."""


class Exchanger:
    """Asks the dispatcher, checks and completes what comes back, and counts where the time went."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        metrics: Metrics,
        statistics: Statistics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._statistics = statistics
        self._clock = clock

    def labels(self, job: Job, received_s: float = 0.0) -> Awaitable[Answer[Json]]:
        """The worker's own object (`?top=N`), which each API writes in its words. `received_s` was spent on receiving
        the body before. Raises GatewayError."""
        return self._exchange(job, received_s, _result, batch_size_of)

    def probabilities(self, job: Job, received_s: float = 0.0) -> Awaitable[Answer[bytes]]:
        """One FP32 value a class (`?output=raw`), as little-endian bytes. Raises GatewayError."""
        return self._exchange(job, received_s, _row, lambda _: None)

    async def _exchange(
        self,
        job: Job,
        received_s: float,
        checked: Callable[[bytes, Reply], T],
        batch_size: Callable[[T], int | None],
    ) -> Answer[T]:
        started = self._clock()
        try:
            async with self._dispatcher.exchange(job) as reply:
                result = checked(await self._read(reply), reply)
        except GatewayError as error:
            if not isinstance(error, UnknownModel):  # names that a client made up would fill the memory
                self._statistics.failed(job.model, self._clock() - started)
            raise
        timing = reply.timing
        timing.upload_s += received_s
        stages = exchange_stages(timing)
        size = batch_size(result)
        self._metrics.exchange_timed(*stages, size)
        self._statistics.answered(job.model, stages, self._clock() - started, size)
        return Answer(result, timing.worker, stages, size)

    async def _read(self, reply: Reply) -> bytes:
        try:
            return await reply.read(MAX_ANSWER_BYTES)
        except ValueError as error:
            raise WorkerFailed(f"worker {reply.timing.worker}: {error}") from error


def completed(answer: Answer[Json], request_id: str) -> Json:
    """What a client of the native API gets: the worker's object, which worker it was, and where the time went."""
    result = answer.result
    result["worker"] = answer.worker
    result["request_id"] = request_id
    result["timing_ms"] = timing_ms(answer.stages)
    return result


def _result(body: bytes, reply: Reply) -> Json:
    """Raises WorkerFailed for anything but a JSON object with status 200."""
    worker = reply.timing.worker
    if reply.status != 200:
        raise WorkerFailed(f"worker {worker} answered with status {reply.status}")
    try:
        # RecursionError: nesting as deep as the bound of bytes allows.
        result = json.loads(body.decode())  # UTF-8 and nothing else (RFC 8259 8.1), so that nobody has to guess
    except (ValueError, RecursionError) as error:
        raise WorkerFailed(f"worker {worker} answered with something that is not JSON") from error
    if not isinstance(result, dict):
        raise WorkerFailed(f"worker {worker} answered with something that is not a JSON object")
    return result


def _row(body: bytes, reply: Reply) -> bytes:
    """Raises WorkerFailed for anything but one row of FP32 values, as long as its shape says."""
    worker = reply.timing.worker
    said: Mapping[str, str] = dict(reply.metadata)
    if reply.status != 200:
        raise WorkerFailed(f"worker {worker} answered with status {reply.status}")
    if said.get("content-type") != TENSOR or said.get(TENSOR_DATATYPE) != "FP32":
        raise WorkerFailed(f"worker {worker} answered with something that is not an FP32 tensor: it may be too old")
    if not body or said.get(TENSOR_SHAPE) != f"1,{len(body) // 4}" or len(body) % 4:
        raise WorkerFailed(f"worker {worker} answered with a tensor of another size than it says")
    return body
