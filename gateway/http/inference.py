"""POST /inference/{model}: photographs in, labels out. Here one image is answered; `files.py` answers many.

The order is: token, head, limits, then the body. Nothing of a body is read for a request that is refused, and a client
that waits for `100 Continue` is told to go ahead only when it would be served.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import HttpVersion11, hdrs, web

from gateway.config import Limits
from gateway.dispatch.model import Body, Job
from gateway.errors import BadInput, PayloadTooLarge, QueueFull, UnknownModel, UnsupportedMedia
from gateway.http import head
from gateway.http.body import ArrivingBody, ByteBudget, ClientStream
from gateway.http.call import CALL, HttpCall
from gateway.http.exchange import Answer, Exchanger
from gateway.http.files import FilesRequest
from gateway.http.gate import Gate
from gateway.http.groups import first_error
from gateway.http.media import MULTIPART, is_image_like, media_type_of
from gateway.http.multipart import MultipartParser, boundary_of
from gateway.http.pace import PaceLimits
from gateway.http.ports import Dispatcher
from gateway.http.timing import batch_size_of
from gateway.metrics import Metrics

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Order:
    """What the client wants done: read and checked before any of the body is."""

    call: HttpCall
    model: str
    path: str
    asked: head.Asked

    def job(self, body: Body, job_id: str, content_type: str, now: float) -> Job:
        """The job for one image of this request, its deadline counted from `now`."""
        return Job(
            id=job_id,
            model=self.model,
            method="POST",
            path=self.path,
            metadata=(("content-type", content_type),) if content_type else (),
            body=body,
            deadline=now + self.asked.timeout_s,
            priority=self.asked.priority,
            pin=self.asked.pin,
            traceparent=self.call.traceparent,
            queued_bytes=body.size or 0,
        )


class Inference:
    """The handler of the native API."""

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
        self._dispatcher = dispatcher
        self._gate = gate
        self._exchanger = Exchanger(dispatcher, metrics)
        self._limits = limits
        self._pace = PaceLimits(limits.body_stall_s, limits.body_min_rate_bytes_s, limits.body_total_s)
        self._budget = ByteBudget(limits.max_held_bytes)
        self._may_pin = may_pin
        self._clock = clock
        self._open_requests = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request. Raises GatewayError."""
        model = head.model_name_of(request.match_info["model"])
        self._gate.admit(request).require_infer(model)
        if self._open_requests >= self._limits.max_requests:
            detail = f"{self._open_requests} inference requests are open already (limits.max_requests)"
            raise QueueFull(detail, retry_after_s=1.0)
        with self._dispatcher.open_request():
            self._open_requests += 1
            try:
                return await self._answer(request, self._order(request, model))
            finally:
                self._open_requests -= 1

    def _order(self, request: web.Request, model: str) -> Order:
        limits = self._limits
        asked = head.asked_of(
            request.headers,
            default_timeout_s=limits.default_timeout_s,
            max_timeout_s=limits.max_timeout_s,
            may_pin=self._may_pin,
        )
        top = head.top_of(request.query)
        call = request[CALL]
        call.model = model
        return Order(call, model, f"/inference/{quote(model, safe='')}?top={top}", asked)

    async def _answer(self, request: web.Request, order: Order) -> web.Response:
        content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
        media_type = media_type_of(content_type)
        is_multipart = media_type == MULTIPART
        if not is_multipart and not is_image_like(content_type):
            detail = f"{head.shown(media_type)} is not taken: send an image as the body, or files as {MULTIPART}"
            raise UnsupportedMedia(detail)
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise UnsupportedMedia("a Content-Encoding is not taken: send the image as it is")
        self._refuse_early(request, order.model, is_multipart)
        await _continue(request)
        if is_multipart:
            return await self._answer_files(request, order, content_type)
        return await self._answer_image(request, order, media_type)

    def _refuse_early(self, request: web.Request, model: str, is_multipart: bool) -> None:
        """What would be refused whatever the body holds is refused before the body is sent. Raises GatewayError."""
        limit = self._limits.max_multipart_bytes if is_multipart else self._limits.max_body_bytes
        size = request.content_length
        if size is not None and size > limit:
            name = "max_multipart_bytes" if is_multipart else "max_body_bytes"
            raise PayloadTooLarge(f"the body has {size} bytes, and {limit} are allowed (limits.{name})")
        if request.content.is_eof():
            return  # here already: the dispatcher says all the rest
        if model not in self._dispatcher.models:
            raise UnknownModel(f"no worker ever announced a model named {head.shown(model)}")

    # ---- one image

    async def _answer_image(self, request: web.Request, order: Order, media_type: str) -> web.Response:
        now = self._clock()
        call = order.call
        stream = ClientStream(request.content, self._pace, now + order.asked.timeout_s, self._clock)
        body = ArrivingBody(stream, request.content_length, self._limits.max_body_bytes, self._budget)
        try:
            await body.receive_head()
            received_s = self._clock() - now
            if body.is_complete and not body.received_bytes:
                raise BadInput("the body is empty: send an image")
            job = order.job(body, call.request_id, media_type, now)
            answer = await self._exchange(job, body, received_s)
        finally:
            call.received_bytes = body.received_bytes
            body.release()
        call.worker = answer.worker
        call.stopwatch.exchange_stages = answer.stages
        call.stopwatch.batch_size = batch_size_of(answer.result)
        return web.json_response(answer.result)

    async def _exchange(self, job: Job, body: ArrivingBody, received_s: float) -> Answer:
        """Exchanges the job, while the rest of its body arrives if there is a rest."""
        if body.is_complete:
            return await self._exchanger.answer(job, job.id, received_s)
        with first_error():
            async with asyncio.TaskGroup() as tasks:
                receiving = tasks.create_task(body.receive_rest())
                answer = await self._exchanger.answer(job, job.id, received_s)
                # A worker may answer before it has everything: what is wrong with an image often stands at its start.
                receiving.cancel()
        return answer

    # ---- many

    async def _answer_files(self, request: web.Request, order: Order, content_type: str) -> web.Response:
        call = order.call
        parser = MultipartParser(boundary_of(content_type), self._limits.max_parts)
        # Each file's deadline begins when the file is here; the upload as a whole has the limits of its pace.
        stream = ClientStream(request.content, self._pace, math.inf, self._clock)
        files = FilesRequest(self._limits, self._budget, self._exchanger, call.request_id)

        def make_job(body: Body, number: int, media_type: str) -> Job:
            return order.job(body, f"{call.request_id}.{number}", media_type, self._clock())

        try:
            return web.json_response(await files.answer(stream, parser, make_job))
        finally:
            call.received_bytes = files.received_bytes
            call.part_errors = files.failures
            call.worker = ",".join(files.workers)


async def leave_expectation(_request: web.Request) -> None:
    """aiohttp would send `100 Continue` before any handler runs; `_continue` does when the request is accepted."""


async def _continue(request: web.Request) -> None:
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
