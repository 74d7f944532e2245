"""The words that dispatch is written in: a job, a reply, the link that carries one to the other.

Read this file first; `policies/` choose with these words, `dispatcher.py` acts on the choice. Everything is a plain
value or a protocol: no clock, no task, no HTTP, no frame. Times are seconds of the gateway's monotonic clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

Metadata = Sequence[tuple[str, str]]
"""Header-like pairs, lower-case names, in order; a name may repeat."""


class Priority(IntEnum):
    """A high job leaves the queue before every normal one; within a priority, first come first served."""

    HIGH = 0
    NORMAL = 1


class Body(Protocol):
    """A request body that may still be arriving. It can be read more than once while `is_replayable`."""

    @property
    def size(self) -> int | None:
        """Bytes in all, if declared or already complete; None while unknown."""

    @property
    def is_complete(self) -> bool:
        """True when every byte is here: `chunks` then never waits."""

    @property
    def is_replayable(self) -> bool:
        """True while every byte since the first is still held, so that a second worker can be given the job."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body from its first byte, chunk by chunk as it arrives. Raises what the reader of the client raised
        (SlowBody, PayloadTooLarge, ClientGone)."""


@dataclass(slots=True, eq=False)
class Job:
    """One unit of work for one worker: a request head and a body, with what dispatch needs to place it."""

    id: str
    """The request's X-Request-ID, with `.N` appended for the N-th part of a multipart request."""
    model: str
    method: str
    path: str
    metadata: Metadata
    body: Body
    deadline: float
    """Monotonic seconds; the job is answered with DeadlineExceeded when this passes. Infinite: never."""
    priority: Priority = Priority.NORMAL
    pin: str | None = None
    """The one worker that may run this job (policy `pin`); None for any."""
    traceparent: str = ""
    queued_bytes: int = 0
    """What this job counts against the queue's bound of bytes: its declared size, or what has arrived."""
    is_stream: bool = False
    """Its answer is passed on as it comes, however long it lasts: `deadline` is the answer's head's."""
    may_repeat: bool = True
    """Whether a worker that was lost may have done it, and another do it again. One that refused has not."""
    on_informational: Callable[[int, Metadata], None] | None = None
    """Takes each informational answer (status below 200) that comes before the real one; None: nobody wants them."""


@dataclass(slots=True)
class Timing:
    """Where one exchange's milliseconds went. Filled in by the link; the queue's part by the dispatcher."""

    upload_s: float = 0.0
    """Waiting for the client's body: before a worker was asked for, and after one was chosen."""
    queue_s: float = 0.0
    """Submitted until a worker was chosen, over all attempts."""
    tunnel_out_s: float = 0.0
    """The last of (chosen, last byte here) until the worker had everything."""
    worker_s: dict[str, float] = field(default_factory=dict)
    """The worker's own durations by name, in order: worker_queue, decode, preprocess, inference, postprocess."""
    tunnel_back_s: float = 0.0
    """The worker sent its answer until it was whole here."""
    worker: str = ""
    attempts: int = 1


class Held:
    """A body that is here in full: an iterator of its one piece."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    @property
    def size(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._data or b"")

    def take(self) -> bytes:
        """The whole of it; empty when it was taken before."""
        data, self._data = self._data, None
        return data or b""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._data is None:
            raise StopAsyncIteration
        return self.take()


@dataclass(slots=True)
class Reply:
    """A worker's answer. `body` is consumed once; leaving the exchange's context ends it early."""

    status: int
    metadata: Metadata
    body: AsyncIterator[bytes | memoryview]
    timing: Timing
    trailers: list[tuple[str, str]] = field(default_factory=list)
    """What followed the body; there once it is consumed."""

    async def read(self, limit_bytes: int = 64 << 20) -> bytes:
        """The whole body. Raises ValueError if it is longer than `limit_bytes`."""
        body = self.body
        if isinstance(body, Held) and body.size <= limit_bytes:
            return body.take()
        chunks: list[bytes | memoryview] = []
        size = 0
        async for chunk in body:
            size += len(chunk)
            if size > limit_bytes:
                raise ValueError(f"the worker's answer is over {limit_bytes} bytes")
            chunks.append(chunk)
        return bytes(chunks[0]) if len(chunks) == 1 else b"".join(chunks)


class ExchangeError(Exception):
    """An exchange ended without an answer. The dispatcher decides whether another worker gets the job."""


class LinkLost(ExchangeError):
    """The worker's tunnel went away (closed, silent, superseded)."""


class ExchangeRefused(ExchangeError):
    """The worker did not start the job (no slot, draining, model not loaded): another may have it at no risk."""


class ExchangeFailed(ExchangeError):
    """The worker started the job and its engine failed: counted against the worker's health."""


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """One model as a worker announces it."""

    name: str
    version: str
    slots: int
    """Jobs of this model that the worker runs at the same moment."""
    failure: str = ""
    """Why the worker cannot serve it; empty when it can. A failed model is shown and never dispatched to."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """What clients may ask about it: input and output shapes, labels, weights, engine."""

    @property
    def is_service(self) -> bool:
        """Whether its jobs are a server's that the worker forwards to: they may last for hours, and prove nothing of
        each other, so none waits for another to succeed, and none is sent ahead of a free slot."""
        return self.metadata.get("service") is True


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a worker says of itself now and then. Counts are jobs."""

    running: int
    waiting: int
    details: Mapping[str, object] = field(default_factory=dict)


class Link(Protocol):
    """A worker that jobs can be given to: dialled in (gateway/tunnel) or reached directly."""

    @property
    def worker(self) -> str:
        """The worker's identity: unique in the fleet."""

    @property
    def about(self) -> Mapping[str, object]:
        """For the operator's view: software version, address, session, labels."""

    @property
    def rtt_s(self) -> float:
        """Smoothed round trip; 0.0 while unknown."""

    def exchange(self, job: Job) -> AbstractAsyncContextManager[Reply]:
        """Carries one job there and its reply back. Entering waits for the reply's head; leaving early cancels the
        work at the worker. Raises LinkLost, ExchangeRefused, ExchangeFailed, or a GatewayError for the client
        (BadInput and so on)."""

    async def probe(self, model: str, timeout_s: float) -> float:
        """Runs one real inference of the worker's own sample; returns seconds of service. Raises ExchangeError, or
        TimeoutError."""

    def close(self, reason: str) -> None:
        """Ends the tunnel; open exchanges raise LinkLost."""
