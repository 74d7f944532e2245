"""Any HTTP request to a server behind a worker: under /tunnel/{service}/, or under a host name of the service's own.

Passed on as it comes, both ways, WebSockets included. Who may ask, who is asked, and for how long nothing may happen is
decided here as for every request; what the server says is not looked at.
"""

from __future__ import annotations

import math

from aiohttp import hdrs, web

from gateway.config import Config
from gateway.dispatch.model import Job, Metadata
from gateway.errors import ClientGone, GatewayError, QueueFull, UnknownModel
from gateway.http import head
from gateway.http.body import ClientStream
from gateway.http.call import CALL, HttpCall
from gateway.http.client_address import came_by_proxy
from gateway.http.envelope import Handler
from gateway.http.forwarded_head import Sender, request_metadata, target_of
from gateway.http.forwarded_response import ForwardedResponse
from gateway.http.intake import Intake, leave_expectation
from gateway.http.pace import PaceLimits
from gateway.http.patience import Patience
from gateway.http.streamed_body import StreamedBody, UpgradedBody
from gateway.http.timing import exchange_stages
from gateway.metrics import Metrics
from wire.forwarding import IDEMPOTENT

PREFIX = "/tunnel/"

PATH = PREFIX + "{service}{path:(/.*)?}"

DEFAULT_PORT = 443
"""Clients leave it out of the Host header."""

NO_RATE = 1e-9
"""Bytes per second: a stream may be as slow as it likes, and is only not silent."""


def add_forwarding(app: web.Application, intake: Intake, metrics: Metrics, config: Config) -> None:
    """The route of all services, and a route of every path for each host that is one service's."""
    forwarding = Forwarding(intake, metrics, config)
    app.router.add_route("*", PATH, forwarding.by_path, expect_handler=leave_expectation)
    for host, service in config.tunnel.hosts.items():
        for name in {host, host if ":" in host else f"{host}:{config.listen.port or DEFAULT_PORT}"}:
            whole = web.Application()
            whole.router.add_route("*", "/{path:.*}", forwarding.by_host(service), expect_handler=leave_expectation)
            app.add_domain(name, whole)


class Forwarding:
    """The handler of both routes."""

    def __init__(self, intake: Intake, metrics: Metrics, config: Config) -> None:
        """Shares with the inference APIs who may ask, and the budget of bytes that all requests together hold."""
        self._dispatcher = intake.dispatcher
        self._gate = intake.gate
        self._metrics = metrics
        self._settings = config.tunnel
        self._limits = config.limits
        self._may_pin = config.dispatch.policy == "pin"
        self._trusted = config.proxy.trusted
        self._budget = intake.budget
        self._clock = intake.clock
        self._open_requests = 0

    async def by_path(self, request: web.Request) -> web.StreamResponse:
        """/tunnel/{service}/PATH: the server is asked for /PATH. Raises GatewayError."""
        service = head.model_name_of(request.match_info["service"])
        _, _, rest = target_of(request.raw_path).split("/", 2)  # the route has looked: `tunnel`, however it is encoded
        cut = min((rest.index(mark) for mark in "/?" if mark in rest), default=len(rest))
        prefix, target = PREFIX + rest[:cut], rest[cut:]
        return await self._forward(request, service, target if target.startswith("/") else "/" + target, prefix)

    def by_host(self, service: str) -> Handler:
        """A handler for every path of a host."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._forward(request, service, target_of(request.raw_path), "")

        return handle

    async def _forward(self, request: web.Request, service: str, target: str, prefix: str) -> web.StreamResponse:
        self._gate.admit(request).require_infer(service)
        offer = self._dispatcher.offer(service)
        if offer is not None and not offer.is_service:  # a model's limits are those of its own API
            raise UnknownModel(f"{head.shown(service)} is a model, not a service: POST /inference/MODEL asks it")
        if self._open_requests >= self._limits.max_requests:
            detail = f"{self._open_requests} requests to services are open already (limits.max_requests)"
            raise QueueFull(detail, retry_after_s=1.0)
        with self._dispatcher.open_request():
            self._open_requests += 1
            try:
                return await self._exchange(request, service, target, prefix)
            finally:
                self._open_requests -= 1

    async def _exchange(self, request: web.Request, service: str, target: str, prefix: str) -> web.StreamResponse:
        call = request[CALL]
        call.model = service
        patience = Patience(self._settings.first_byte_s, self._clock)
        metadata = self._metadata(request, call, prefix)
        upgrades = any(name == "upgrade" for name, _ in metadata)
        body = UpgradedBody(request, patience.moved) if upgrades else self._body(request, patience)
        response = ForwardedResponse(request, call, asks_upgrade=upgrades)
        job = self._job(request, call, service, target, metadata, body, response)
        try:
            if request.content.is_eof() and isinstance(body, StreamedBody):
                await body.receive_here()
            async with patience.bounded():
                await self._pass_on(job, response, patience, call)
        except GatewayError as error:
            if not response.prepared:
                raise
            call.failure = error.code
            self._metrics.failures.add(error.code)
            response.cut()
        finally:
            call.received_bytes = body.received_bytes
            body.release()
        return response

    async def _pass_on(self, job: Job, response: ForwardedResponse, patience: Patience, call: HttpCall) -> None:
        async with self._dispatcher.exchange(job) as reply:
            patience.allow(self._settings.idle_s)
            stages = exchange_stages(reply.timing)
            self._metrics.exchange_timed(*stages, None)
            call.answered_at = self._clock()
            call.answered(reply.timing.worker, stages, None)
            response.begin(reply)
            try:
                async for piece in reply.body:
                    await response.send(piece)
                    patience.moved()
            except ConnectionError as error:
                raise ClientGone("the client closed its connection") from error
            response.end(reply.trailers)

    def _metadata(self, request: web.Request, call: HttpCall, prefix: str) -> Metadata:
        sender = Sender(call.client, self._scheme(request), request.host, prefix, call.request_id)
        return request_metadata(
            request.raw_headers,
            sender,
            keeps_host=not prefix,
            passes_authorization=self._settings.pass_authorization,
        )

    def _scheme(self, request: web.Request) -> str:
        """How the client asked: as a trusted proxy says, else as we were asked."""
        said = request.headers.get("X-Forwarded-Proto", "").lower()
        return said if said in ("http", "https") and came_by_proxy(request, self._trusted) else request.scheme

    def _body(self, request: web.Request, patience: Patience) -> StreamedBody:
        limits = self._limits
        is_chunked = hdrs.TRANSFER_ENCODING in request.headers
        if is_chunked:  # perhaps a stream of events, that sends when there is something to say
            pace = PaceLimits(self._settings.idle_s, NO_RATE, math.inf)
        else:
            pace = PaceLimits(limits.body_stall_s, limits.body_min_rate_bytes_s, math.inf)
        stream = ClientStream(request.content, pace, math.inf, self._clock)
        size = None if is_chunked else request.content_length or 0
        return StreamedBody(stream, size, self._budget, patience.moved)

    def _job(
        self,
        request: web.Request,
        call: HttpCall,
        service: str,
        target: str,
        metadata: Metadata,
        body: StreamedBody | UpgradedBody,
        response: ForwardedResponse,
    ) -> Job:
        limits = self._limits
        asked = head.asked_of(
            request.headers,
            default_timeout_s=limits.default_timeout_s,
            max_timeout_s=limits.max_timeout_s,
            may_pin=self._may_pin,
        )
        has_deadline = head.REQUEST_TIMEOUT in request.headers
        return Job(
            id=call.request_id,
            model=service,
            method=request.method,
            path=target,
            metadata=metadata,
            body=body,
            deadline=self._clock() + asked.timeout_s if has_deadline else math.inf,
            priority=asked.priority,
            pin=asked.pin,
            traceparent=call.traceparent,
            is_stream=True,
            may_repeat=request.method in IDEMPOTENT,
            on_informational=response.inform,
        )
