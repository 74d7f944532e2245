"""What is around every request, whatever it asks for: identity, errors as problems, timing, one log line, counters.

The one place where an exception becomes an answer. A traceback is logged here, once, and only for what nobody foresaw.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from aiohttp import web

from gateway.errors import ClientGone, GatewayError
from gateway.http import head
from gateway.http.call import CALL, HttpCall
from gateway.http.client_address import Networks, client_address
from gateway.http.errors import Problem, internal_problem, problem_of, problem_of_http_exception
from gateway.http.timing import Stopwatch, server_timing
from gateway.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NO_ROUTE = "none"
"""The route label of requests to paths that there are not: the paths themselves would be an unbounded label."""


class Envelope:
    """Around the whole application (`serve`), not a middleware within: aiohttp wraps every request for those twice."""

    def __init__(
        self,
        metrics: Metrics,
        trusted_proxies: Networks,
        *,
        offer: str,
        logs_requests: bool,
        is_leaving: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`offer` is told to who asks for a path that there is not. `is_leaving`: every answer is its connection's
        last, so that no request is sent to a gateway that is gone."""
        self._metrics = metrics
        self._trusted = trusted_proxies
        self._offer = offer
        self._logs_requests = logs_requests
        self._is_leaving = is_leaving
        self._clock = clock
        # Bound once: what `get_logger` returns looks its configuration up for every line, a quarter of the line's cost.
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger().bind()

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL] = HttpCall(
            request_id=head.request_id_of(request.headers),
            traceparent=head.traceparent_of(request.headers),
            client=client_address(request, self._trusted),
            stopwatch=Stopwatch(self._clock()),
        )
        call.mark = partial(self._mark, call=call)
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            # The connection is gone, or the server is closing it at the end of its grace time.
            if not call.is_tunnel:
                self._metrics.failures.add(ClientGone.code)
                call.failure = ClientGone.code
                self._ended(request, call, problem_of(ClientGone("")).status)
            raise
        except Exception as error:
            response = self._refused(self._problem(error, request, call), request, call)
        else:
            for code in call.part_errors:
                self._metrics.failures.add(code)
        if not response.prepared:
            self._mark(response, call)
        if not response.prepared or not call.is_tunnel:
            self._ended(request, call, response.status)
        return response

    def _problem(self, error: Exception, request: web.Request, call: HttpCall) -> Problem:
        if isinstance(error, GatewayError):
            return problem_of(error)
        if isinstance(error, web.HTTPException):
            return problem_of_http_exception(error, head.shown(request.path), self._offer)
        self._log.exception("request_failed", request_id=call.request_id, path=head.shown(request.path))
        return internal_problem()

    def _refused(self, problem: Problem, request: web.Request, call: HttpCall) -> web.Response:
        self._metrics.failures.add(problem.code)
        call.failure = problem.code
        return problem.response(call.request_id, request.path)

    def _mark(self, response: web.StreamResponse, call: HttpCall) -> None:
        headers = response.headers
        headers[head.REQUEST_ID] = call.request_id
        headers[head.TRACEPARENT] = call.traceparent
        watch = call.stopwatch
        headers["Server-Timing"] = server_timing(watch.stages(self._clock()), watch.batch_size)
        if self._is_leaving():
            response.force_close()

    def _ended(self, request: web.Request, call: HttpCall, status: int) -> None:
        resource = request.match_info.route.resource
        route = NO_ROUTE if resource is None else resource.canonical
        duration_s = self._clock() - call.stopwatch.started
        answer_s = duration_s if call.answered_at is None else call.answered_at - call.stopwatch.started
        self._metrics.request_ended(route, request.method, status, answer_s, call.received_bytes)
        if not self._logs_requests:
            return
        self._log.info(
            "request",
            method=request.method,
            route=route,
            status=status,
            failure=call.failure,
            model=call.model,
            worker=call.worker,
            received_bytes=call.received_bytes,
            duration_ms=round(duration_s * 1000, 3),
            request_id=call.request_id,
            subject=call.subject,
            client=call.client,
        )


ENVELOPE: web.AppKey[Envelope] = web.AppKey("envelope", Envelope)
"""Where the server finds an application's."""
