"""A worker in memory: fits `gateway.dispatch.model.Link`. A test answers, fails or loses its exchanges by hand.

link = FakeLink("w1")
dispatcher.join(link, [offer("m")])
...
link.open[0].answer(b"cat", inference=0.008)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.dispatch.model import Job, LinkLost, Metadata, ModelOffer, Priority, Reply, Timing


def offer(name: str = "m", slots: int = 1, version: str = "1", failure: str = "") -> ModelOffer:
    return ModelOffer(name=name, version=version, slots=slots, failure=failure)


@dataclass
class FakeBody:
    """A body that is here already."""

    data: bytes = b"image"
    is_replayable: bool = True

    @property
    def size(self) -> int | None:
        return len(self.data)

    @property
    def is_complete(self) -> bool:
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.data


def make_job(
    model: str = "m",
    *,
    deadline: float = 1e9,
    priority: Priority = Priority.NORMAL,
    pin: str | None = None,
    queued_bytes: int = 0,
    body: FakeBody | None = None,
    id: str = "job",
) -> Job:
    path = f"/inference/{model}"
    return Job(id, model, "POST", path, (), body or FakeBody(), deadline, priority, pin, "", queued_bytes)


@dataclass(eq=False)
class FakeExchange:
    """One job at the worker."""

    job: Job
    head: asyncio.Future[Reply] = field(default_factory=asyncio.Future)
    was_cancelled: bool = False
    """The context was left before an answer: a real link sends CANCEL here."""

    def answer(
        self, body: bytes = b"{}", *, status: int = 200, metadata: Metadata | None = None, **worker_s: float
    ) -> None:
        """The worker's whole answer; keywords are its own durations in seconds."""
        if metadata is None:
            metadata = (("content-length", str(len(body))),)
        self.head.set_result(Reply(status, metadata, _chunks(body), Timing(worker_s=worker_s)))

    def stream(self, chunks: AsyncIterator[bytes], **worker_s: float) -> None:
        """An answer of unknown length, as it comes."""
        self.head.set_result(Reply(200, (), chunks, Timing(worker_s=worker_s)))

    def fail(self, error: Exception) -> None:
        """An ExchangeError, or a GatewayError meant for the client."""
        self.head.set_exception(error)


class FakeLink:
    """`probe_result` is what probes give: seconds, or an exception to raise."""

    def __init__(self, worker: str = "w1", rtt_s: float = 0.0, probe_result: float | Exception = 0.01) -> None:
        self._worker = worker
        self.rtt_s = rtt_s
        self.probe_result = probe_result
        self.probes: list[str] = []
        self.open: list[FakeExchange] = []
        self.seen: list[FakeExchange] = []
        self.closed: str | None = None

    @property
    def worker(self) -> str:
        return self._worker

    @property
    def about(self) -> Mapping[str, object]:
        return {"software": "fake"}

    @asynccontextmanager
    async def exchange(self, job: Job) -> AsyncIterator[Reply]:
        if self.closed is not None:
            raise LinkLost(self.closed)
        exchange = FakeExchange(job)
        self.open.append(exchange)
        self.seen.append(exchange)
        try:
            yield await exchange.head
        except (asyncio.CancelledError, GeneratorExit):
            exchange.was_cancelled = True
            raise
        finally:
            self.open.remove(exchange)

    async def probe(self, model: str, timeout_s: float) -> float:
        self.probes.append(model)
        if isinstance(self.probe_result, Exception):
            raise self.probe_result
        return self.probe_result

    def close(self, reason: str) -> None:
        """As a real link: whatever is open is lost."""
        self.closed = reason
        for exchange in self.open:
            if not exchange.head.done():
                exchange.fail(LinkLost(reason))


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body
