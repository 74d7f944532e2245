"""Listening: a port, TLS, limits on connections, and problem+json for what never becomes a request.

aiohttp answers unreadable requests with plain text and a traceback in the log; the protocol class here answers them
like every other error and counts them. A client that is gone cancels its handler, which is how its work is cancelled.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from gateway.config import Limits
from gateway.http import head
from gateway.http.envelope import ENVELOPE, NO_ROUTE, Envelope
from gateway.http.errors import Problem, internal_problem, problem_of_status
from gateway.http.timing import Stopwatch, server_timing
from gateway.metrics import Metrics

READ_BUFFER_BYTES = 1 << 20
"""aiohttp pauses a connection that has twice this much unread; with its own 256 KiB a large photograph stops and goes
several times, each at the price of a wake-up."""
BACKLOG = 1024
"""Connections that the kernel holds until they are accepted; bursts of reconnecting workers are that large."""
LINGER_S = 2.0
"""After a refusal, how long the rest of the client's body is read and thrown away, so that it can read why."""


class HttpProtocol(web.RequestHandler):
    """One connection."""

    __slots__ = ("_handed_over", "_header_timer", "_limits", "_log", "_metrics")

    def __init__(self, server: web.Server, limits: Limits, metrics: Metrics) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            # A photograph does not shrink, and what a body would unpack to is not in its Content-Length.
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # aiohttp's own way to say none; the envelope writes the line
            keepalive_timeout=limits.keepalive_timeout_s,
            lingering_time=LINGER_S,
            max_field_size=limits.max_header_bytes,
            max_headers=limits.max_headers,
            max_line_size=limits.max_header_bytes,
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._limits = limits
        self._metrics = metrics
        self._header_timer: asyncio.TimerHandle | None = None
        self._handed_over: asyncio.Transport | None = None
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives the client so long for the head of its first request; later ones have the keep-alive's time."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._header_timer = loop.call_later(self._limits.header_timeout_s, self._expect_request)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forgets the timer, which would keep the connection's memory until it fires."""
        if self._header_timer is not None:
            self._header_timer.cancel()
        self._handed_over = None
        super().connection_lost(exc)

    def hand_over(self) -> None:
        """The answer was an upgrade, and whoever has the connection now will close it: aiohttp, which would when the
        handler has returned, finds nothing to close."""
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        self._handed_over, self.transport = self.transport, None
        self._parser = None  # of HTTP: it holds the last head, 4 KiB with its token

    async def start(self) -> None:
        """Serves requests, until one of them takes the connection over; what pauses and resumes it finds it again."""
        await super().start()
        if self._handed_over is not None:
            self.transport = self._handed_over

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what could not be read as HTTP, and what failed outside of the application."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun already: nothing else can be said on this connection")
        problem = self._problem(status, exc, message)
        request_id = head.request_id_of({})
        self._metrics.failures.add(problem.code)
        self._metrics.requests.add(NO_ROUTE, "", str(problem.status))
        if problem.status == 500:
            self._log.error("connection_failed", request_id=request_id, exc_info=exc)
        else:
            self._log.info("request_unreadable", client=request.remote, detail=problem.detail, request_id=request_id)
        response = _marked(problem, request_id, request.path)
        response.force_close()
        return response

    def _problem(self, status: int, exc: BaseException | None, message: str | None) -> Problem:
        if not isinstance(exc, HttpProcessingError):
            return internal_problem()
        text = (message or "").strip()
        if isinstance(exc, LineTooLong) or text == "Too many headers received":
            limits = self._limits
            detail = (
                f"the request line or a header is over {limits.max_header_bytes} bytes (limits.max_header_bytes), or "
                f"there are more than {limits.max_headers} headers (limits.max_headers)"
            )
            return problem_of_status(431, detail)
        reason = head.shown(text.partition("\n")[0])
        return problem_of_status(status, f"the request is not well-formed HTTP: {reason}")

    def _expect_request(self) -> None:
        self._header_timer = None
        if not self._request_count:
            self._metrics.connections_closed.add("slow_head")
            self.force_close()


def _marked(problem: Problem, request_id: str, path: str) -> web.Response:
    """The headers that every answer has, for one that the envelope does not see."""
    response = problem.response(request_id, path)
    now = time.monotonic()
    response.headers[head.REQUEST_ID] = request_id
    response.headers["Server-Timing"] = server_timing(Stopwatch(now).stages(now))
    return response


class _Server(web.Server):
    """Makes HttpProtocols for a running application."""

    def __init__(self, made: web.Server, envelope: Envelope, limits: Limits, metrics: Metrics) -> None:
        handler = partial(envelope, handler=made.request_handler)
        super().__init__(handler, request_factory=made.request_factory, handler_cancellation=True)
        self._limits = limits
        self._metrics = metrics

    def __call__(self) -> web.RequestHandler:
        return HttpProtocol(self, self._limits, self._metrics)


class _Runner(web.AppRunner):
    """Starts and stops the application, with our server in the place of aiohttp's."""

    def __init__(self, app: web.Application, limits: Limits, metrics: Metrics, grace_s: float) -> None:
        super().__init__(app, shutdown_timeout=grace_s)
        self._limits = limits
        self._metrics = metrics

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self.app[ENVELOPE], self._limits, self._metrics)


class HttpServer:
    """An application that listens."""

    def __init__(self, runner: web.AppRunner, listener: asyncio.Server) -> None:
        self._runner = runner
        self._listener = listener

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    def stop_listening(self) -> None:
        """Takes no new connection; those that are here go on."""
        self._listener.close()

    async def close(self) -> None:
        """Stops listening, closes idle connections, lets open requests end within `grace_s`, then cancels them."""
        self._listener.close()
        await self._runner.cleanup()


async def serve(
    app: web.Application,
    host: str,
    port: int,
    *,
    limits: Limits,
    metrics: Metrics,
    ssl_context: ssl.SSLContext | None = None,
    grace_s: float = 30.0,
) -> HttpServer:
    """Starts the application on a port; 0 for any. Raises OSError when it cannot be had."""
    runner = _Runner(app, limits, metrics, grace_s)
    await runner.setup()
    try:
        listener = await _listen(runner, host, port, ssl_context, limits.header_timeout_s)
    except OSError:
        await runner.cleanup()
        raise
    return HttpServer(runner, listener)


async def _listen(
    runner: web.AppRunner, host: str, port: int, ssl_context: ssl.SSLContext | None, handshake_s: float
) -> asyncio.Server:
    assert runner.server is not None
    options: dict[str, Any] = {} if ssl_context is None else {"ssl": ssl_context, "ssl_handshake_timeout": handshake_s}
    return await asyncio.get_running_loop().create_server(runner.server, host, port, backlog=BACKLOG, **options)
