"""Listening: routes, one envelope around every request, and problem+json for what never becomes a request.

A client that is gone cancels its handler, which is how its work is cancelled. Nobody is asked for a token here.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.typedefs import Middleware

from edge_worker.http import head
from edge_worker.http.call import CALL, HttpCall
from edge_worker.http.errors import (
    Problem,
    RequestFailed,
    internal_problem,
    problem_of,
    problem_of_http_exception,
    problem_of_status,
)
from edge_worker.http.exchanges import HEARTBEAT_PATH, Exchanges
from edge_worker.http.inference import Inference
from edge_worker.http.readiness import Readiness

MAX_HEADER_BYTES = 8190
MAX_HEADERS = 64
HEADER_TIMEOUT_S = 10.0
"""For the TLS handshake, and again for the first request's head."""
KEEPALIVE_S = 75.0
LINGER_S = 2.0
"""After a refusal, how long the rest of a body is read and thrown away, so that the client can read why."""
READ_BUFFER_BYTES = 1 << 20
"""All as the gateway has them, so that a direct and a tunnelled run differ by the tunnel alone."""
CLOSE_GRACE_S = 1.0
"""For answers that are being written when the last request is over."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("edge_worker.http")


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

    async def close(self) -> None:
        """Stops listening, and cancels what does not end within CLOSE_GRACE_S."""
        self._listener.close()
        await self._runner.cleanup()


async def listen(app: web.Application, host: str, port: int, tls: ssl.SSLContext | None) -> HttpServer:
    """Serves the application. Raises OSError when the address cannot be listened on."""
    runner = _Runner(app, shutdown_timeout=CLOSE_GRACE_S)
    await runner.setup()
    try:
        assert runner.server is not None
        handshake_s = None if tls is None else HEADER_TIMEOUT_S
        listener = await asyncio.get_running_loop().create_server(
            runner.server, host, port, ssl=tls, ssl_handshake_timeout=handshake_s
        )
    except BaseException:
        await runner.cleanup()
        raise
    return HttpServer(runner, listener)


def build_app(inference: Inference, readiness: Readiness, exchanges: Exchanges) -> web.Application:
    """The routes."""

    async def readyz(_request: web.Request) -> web.Response:
        states = await readiness.states()
        is_ready = not inference.is_draining and "ready" in states.values()
        status = "draining" if inference.is_draining else "ready" if is_ready else "not ready"
        return web.json_response({"status": status, "models": dict(states)}, status=200 if is_ready else 503)

    app = web.Application(middlewares=[_envelope(lambda: inference.is_draining)])
    app.router.add_post("/", inference.first)
    app.router.add_post("/inference/{model}", inference.named)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", readyz)
    exchanges.add_routes(app.router)
    return app


async def _healthz(_request: web.Request) -> web.Response:
    """The process is up and its event loop turns."""
    return web.json_response({"status": "ok"})


# --- around every request ---------------------------------------------------------------------------------------------


def _envelope(is_leaving: Callable[[], bool]) -> Middleware:
    """A middleware: the request's id, errors as problems, Server-Timing, one log line."""

    @web.middleware
    async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL] = HttpCall(head.request_id_of(request.headers), time.monotonic())
        failure = ""
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            _log(request, call, 499, "client_gone")
            raise
        except (RequestFailed, web.HTTPException) as error:
            problem = _problem(error, request)
            failure, response = problem.code, problem.response(call.request_id)
        except Exception:
            log.exception("request failed", extra={"request_id": call.request_id, "path": head.shown(request.path)})
            failure, response = "internal", internal_problem().response(call.request_id)
        _mark(response, call)
        if is_leaving():
            response.force_close()
        _log(request, call, response.status, failure)
        return response

    return envelope


def _problem(error: RequestFailed | web.HTTPException, request: web.Request) -> Problem:
    if isinstance(error, RequestFailed):
        return problem_of(error)
    return problem_of_http_exception(error, head.shown(request.path))


def _mark(response: web.StreamResponse, call: HttpCall) -> None:
    stages_s = (*call.stages_s, ("total", time.monotonic() - call.started))
    response.headers[head.REQUEST_ID] = call.request_id
    response.headers["Server-Timing"] = head.server_timing(stages_s)


def _log(request: web.Request, call: HttpCall, status: int, failure: str) -> None:
    level = logging.DEBUG if request.path == HEARTBEAT_PATH and status == 200 else logging.INFO
    if not log.isEnabledFor(level):
        return
    resource = request.match_info.route.resource
    fields = {
        "method": request.method,
        "route": "none" if resource is None else resource.canonical,
        "status": status,
        "failure": failure,
        "model": call.model,
        "received_bytes": call.received_bytes,
        "duration_ms": round((time.monotonic() - call.started) * 1000, 3),
        "request_id": call.request_id,
        "client": request.remote,
    }
    log.log(level, "request", extra=fields)


# --- below every request ----------------------------------------------------------------------------------------------


class _Protocol(web.RequestHandler):
    """One connection. aiohttp answers what it cannot read with plain text; this answers it like every other error."""

    __slots__ = ("_header_timer",)

    def __init__(self, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            auto_decompress=False,  # what a body would unpack to is not in its Content-Length
            access_log=None,  # type: ignore[arg-type] # aiohttp's own way to say none; the envelope writes the line
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            max_line_size=MAX_HEADER_BYTES,
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives the client so long for the head of its first request; later ones have the keep-alive's time."""
        super().connection_made(transport)
        self._header_timer = asyncio.get_running_loop().call_later(HEADER_TIMEOUT_S, self._expect_request)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forgets the timer, which would keep the connection's memory until it fires."""
        if self._header_timer is not None:
            self._header_timer.cancel()
        super().connection_lost(exc)

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
        if isinstance(exc, HttpProcessingError):
            problem = _unreadable(status, exc, message or "")
        else:
            log.error("connection failed", exc_info=exc)
            problem = internal_problem()
        response = _alone(problem, {})
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """An exception of aiohttp that no middleware saw (an unknown Expect) becomes a problem here."""
        if isinstance(resp, web.HTTPException):
            problem = problem_of_http_exception(resp, head.shown(request.path))
            resp = _alone(problem, request.headers)
        return await super().finish_response(request, resp, start_time)

    def _expect_request(self) -> None:
        self._header_timer = None
        if not self._request_count:
            self.force_close()


def _alone(problem: Problem, headers: Mapping[str, str]) -> web.Response:
    """The headers that every answer has, for one that the envelope does not see."""
    request_id = head.request_id_of(headers)
    response = problem.response(request_id)
    _mark(response, HttpCall(request_id, time.monotonic()))
    return response


def _unreadable(status: int, error: HttpProcessingError, message: str) -> Problem:
    text = message.strip()
    if isinstance(error, LineTooLong) or text == "Too many headers received":
        detail = (
            f"the request line or a header is over {MAX_HEADER_BYTES} bytes, or there are over {MAX_HEADERS} headers"
        )
        return problem_of_status(431, detail)
    return problem_of_status(status, f"the request is not well-formed HTTP: {head.shown(text.partition(chr(10))[0])}")


class _Server(web.Server):
    """Makes _Protocols for a running application."""

    def __init__(self, made: web.Server) -> None:
        super().__init__(made.request_handler, request_factory=made.request_factory, handler_cancellation=True)

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self)


class _Runner(web.AppRunner):
    """Starts and stops the application, with our server in the place of aiohttp's."""

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server())
