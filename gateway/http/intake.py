"""What every inference API does with a request before and around its body: token, limits, room, deadline, then reading.

Nothing of a body is read for a request that is refused, and a client that waits for `100 Continue` is told to go ahead
only when it would be served. The APIs differ in what they read and write; who may ask, how much and for how long does
not, so all of them share one Intake.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote

from aiohttp import HttpVersion11, hdrs, web

from gateway.config import Limits
from gateway.dispatch.model import Body, Job, Metadata
from gateway.errors import BadInput, PayloadTooLarge, QueueFull, UnknownModel
from gateway.http import head
from gateway.http.body import ArrivingBody, ByteBudget, ByteStream, ClientStream
from gateway.http.call import CALL, HttpCall
from gateway.http.exchange import Answer, Exchanger, T
from gateway.http.gate import Gate
from gateway.http.groups import first_error
from gateway.http.inflate import inflated
from gateway.http.json_body import parse_object
from gateway.http.pace import PaceLimits
from gateway.http.ports import Dispatcher
from gateway.http.statistics import Statistics
from gateway.metrics import Metrics

MAX_SMALL_BYTES = 64 * 1024
"""The body of a request that holds neither image nor tensor: a name, an address, a few words."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Exchange = Callable[[Job, float], Awaitable[Answer[T]]]
"""(job, seconds spent on receiving its body before) -> what the worker answered. Raises GatewayError."""


class Order(NamedTuple):
    """What the client wants done: read and checked before any of the body is."""

    call: HttpCall
    model: str
    query: str
    """What the worker is asked for, such as `top=5` or `output=raw`."""
    asked: head.Asked
    started: float
    """When the request was accepted; its deadline counts from here."""
    is_announced: bool
    """Whether a worker that is here announces the model."""

    @property
    def deadline(self) -> float:
        """On the clock of job deadlines."""
        return self.started + self.asked.timeout_s

    def job(self, body: Body, job_id: str, metadata: Metadata, deadline: float) -> Job:
        """The job for one image, or one tensor, of this request."""
        return Job(
            id=job_id,
            model=self.model,
            method="POST",
            path=_path(self.model, self.query),
            metadata=metadata,
            body=body,
            deadline=deadline,
            priority=self.asked.priority,
            pin=self.asked.pin,
            traceparent=self.call.traceparent,
            queued_bytes=body.size or 0,
        )

    def asking(self, query: str) -> Order:
        """The same request, answered in another way."""
        return Order(self.call, self.model, query, self.asked, self.started, self.is_announced)


class Intake:
    """One for all inference APIs: they share its budget of bytes and its count of open requests."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        gate: Gate,
        metrics: Metrics,
        limits: Limits,
        *,
        may_pin: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`may_pin`: X-Worker is taken. `clock` is the one that job deadlines are in."""
        self.dispatcher = dispatcher
        self.gate = gate
        self.limits = limits
        self.clock = clock
        self.statistics = Statistics()
        self.exchanger = Exchanger(dispatcher, metrics, self.statistics, clock)
        self.budget = ByteBudget(limits.max_held_bytes)
        self._pace = PaceLimits(limits.body_stall_s, limits.body_min_rate_bytes_s, limits.body_total_s)
        self._may_pin = may_pin
        self.open_requests = 0

    def accepted(self, request: web.Request, model: str) -> AbstractContextManager[Order]:
        """Around everything that a request for this model does. Raises GatewayError, and so does entering it."""
        self.gate.admit(request).require_infer(model)
        offer = self.dispatcher.offer(model)
        if offer is not None and offer.is_service:  # the server behind it has no path of ours
            raise UnknownModel(f"{head.shown(model)} is a service, not a model: ask its server at /tunnel/SERVICE/PATH")
        order = self._order(request, model, offer is not None)
        if self.open_requests >= self.limits.max_requests:
            detail = f"{self.open_requests} inference requests are open already (limits.max_requests)"
            raise QueueFull(detail, retry_after_s=1.0)
        return _Accepted(self, order)

    def _order(self, request: web.Request, model: str, is_announced: bool) -> Order:
        asked = head.asked_of(
            request.headers,
            default_timeout_s=self.limits.default_timeout_s,
            max_timeout_s=self.limits.max_timeout_s,
            may_pin=self._may_pin,
        )
        call = request[CALL]
        call.model = model
        return Order(call, model, "", asked, self.clock(), is_announced)

    # ---- bodies

    def refuse_large(self, request: web.Request, limit_bytes: int, setting: str) -> None:
        """Refuses a body by its declared length. Raises PayloadTooLarge."""
        size = request.content_length
        if size is not None and size > limit_bytes:
            raise PayloadTooLarge(f"the body has {size} bytes, and {limit_bytes} are allowed (limits.{setting})")

    def stream(self, request: web.Request, deadline: float) -> ClientStream:
        """The body as the client sends it, read until `deadline` at the latest."""
        return ClientStream(request.content, self._pace, deadline, self.clock)

    @asynccontextmanager
    async def held(
        self, request: web.Request, order: Order, limit: int, setting: str
    ) -> AsyncIterator[Sequence[bytes]]:
        """A whole body of up to `limit` bytes, unpacked, in pieces, while the block lasts. Raises GatewayError."""
        self.refuse_large(request, limit, setting)
        stream = inflated(self.stream(request, order.deadline), request.headers.get(hdrs.CONTENT_ENCODING, ""))
        await proceed(request)
        body = ArrivingBody(stream, None, limit, self.budget, limit_name=f"limits.{setting}")
        try:
            await body.receive_rest()
            yield body.pieces
        finally:
            order.call.received_bytes = body.received_bytes
            body.release()

    async def small_json(self, request: web.Request, deadline: float) -> dict[str, object]:
        """A JSON object of a few words; empty for an empty body. Raises GatewayError."""
        stream, limit = self.stream(request, deadline), MAX_SMALL_BYTES
        body = ArrivingBody(stream, request.content_length, limit, self.budget, limit_name="of such a request")
        try:
            await body.receive_rest()
            text = b"".join(body.pieces)
            return parse_object(text) if text.strip() else {}
        finally:
            body.release()

    async def answer_stream(
        self, order: Order, stream: ByteStream, size: int | None, metadata: Metadata, exchange: Exchange[T]
    ) -> Answer[T]:
        """The answer for a body that is one image of `size` bytes (None: unknown), given to a worker as it arrives.
        Raises GatewayError."""
        call = order.call
        body = ArrivingBody(stream, size, self.limits.max_body_bytes, self.budget)
        try:
            await body.receive_head()
            received_s = self.clock() - order.started
            if body.is_complete and not body.received_bytes:
                raise BadInput("the body is empty: send an image")
            job = order.job(body, call.request_id, metadata, order.deadline)
            if body.is_complete:
                answer = await exchange(job, received_s)
            else:
                answer = await _exchange_meanwhile(exchange, job, body, received_s)
        finally:
            call.received_bytes = body.received_bytes
            body.release()
        call.answered(answer.worker, answer.stages, answer.batch_size)
        return answer


class _Accepted:
    """While it is entered, the request counts as open and a drain waits for it. No generator: it costs three times as
    much."""

    __slots__ = ("_drain", "_intake", "_order")

    def __init__(self, intake: Intake, order: Order) -> None:
        self._intake = intake
        self._order = order
        self._drain = intake.dispatcher.open_request()

    def __enter__(self) -> Order:
        self._drain.__enter__()
        self._intake.open_requests += 1
        return self._order

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._intake.open_requests -= 1
        self._drain.__exit__(kind, error, trace)


@lru_cache(maxsize=1024)
def _path(model: str, query: str) -> str:
    return f"/inference/{quote(model, safe='')}?{query}"


async def _exchange_meanwhile(exchange: Exchange[T], job: Job, body: ArrivingBody, received_s: float) -> Answer[T]:
    """Exchanges the job while the rest of its body arrives."""
    with first_error():
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(body.receive_rest())
            answer = await exchange(job, received_s)
            # A worker may answer before it has everything: what is wrong with an image often stands at its start.
            receiving.cancel()
    return answer


async def leave_expectation(_request: web.Request) -> None:
    """aiohttp would send `100 Continue` before any handler runs; `proceed` does when the request is accepted."""


async def proceed(request: web.Request) -> None:
    """Answers an Expect header (RFC 9110 10.1.1). Raises HTTPExpectationFailed for one that nobody knows."""
    expectation = request.headers.get(hdrs.EXPECT)
    if not expectation or request.version != HttpVersion11:
        return
    if expectation.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Expect: {head.shown(expectation)} is not known here")
    if not request.content.is_eof():
        await request.writer.write(CONTINUE)
        # Nothing of the answer itself was sent yet: aiohttp decides by this whether an error can still be reported.
        request.writer.output_size = 0
