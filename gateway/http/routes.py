"""The two applications: what is served to everyone, and what is served to the operator."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from gateway.config import Config
from gateway.http.call import CALL
from gateway.http.envelope import ENVELOPE, Envelope, Handler
from gateway.http.errors import FAILURE_CODES
from gateway.http.forward import add_forwarding
from gateway.http.gate import Gate
from gateway.http.gauges import fleet_gauges
from gateway.http.image_url import ImageFetcher
from gateway.http.inference import Inference
from gateway.http.intake import Intake, leave_expectation
from gateway.http.model_facts import Models
from gateway.http.open_inference.routes import add_open_inference
from gateway.http.openapi import TUNNEL_PATH, openapi_document
from gateway.http.ports import Authenticator, Dispatcher
from gateway.http.server import HttpProtocol
from gateway.http.tf_serving.routes import add_tf_serving
from gateway.http.torchserve import add_torchserve
from gateway.http.views import AdminViews, Views, healthz
from gateway.metrics import Metrics

Tunnel = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
"""Makes a worker's WebSocket of the request, given the worker's address too, and has its connection from then on."""


def build_app(
    dispatcher: Dispatcher,
    authenticator: Authenticator,
    metrics: Metrics,
    config: Config,
    *,
    tunnel: Tunnel | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The public application. `clock` is the one of job deadlines."""
    gate = Gate(authenticator, metrics, clock)
    may_pin = config.dispatch.policy == "pin"
    intake = Intake(dispatcher, gate, metrics, config.limits, may_pin=may_pin, clock=clock)
    for code in FAILURE_CODES:
        metrics.failures.start(code)
    views = Views(
        dispatcher, gate, openapi_document(has_tunnel=tunnel is not None, takes_addresses=config.image_url.enabled)
    )
    app = web.Application()
    offer = "/openapi.json lists what there is"
    app[ENVELOPE] = _envelope(dispatcher, metrics, config, offer=offer, logs_requests=config.log.requests)
    app.router.add_post(
        "/inference/{model}", Inference(intake, _images(config)).handle, expect_handler=leave_expectation
    )
    models = Models(dispatcher)
    add_open_inference(app.router, intake, models)
    add_tf_serving(app.router, intake, models)
    add_torchserve(app.router, intake, models)
    add_forwarding(app, intake, metrics, config)
    app.router.add_get("/v1/workers", views.workers)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", views.readyz)
    app.router.add_get("/openapi.json", views.openapi)
    if tunnel is not None:
        app.router.add_get(TUNNEL_PATH, _tunnel_handler(tunnel), allow_head=False)
    return app


def _images(config: Config) -> ImageFetcher | None:
    """What fetches images by address, if that is on."""
    return ImageFetcher(config.image_url, config.limits.max_body_bytes) if config.image_url.enabled else None


def build_admin_app(dispatcher: Dispatcher, metrics: Metrics, config: Config) -> web.Application:
    """The operator's application. Also registers the fleet's gauges, which are read at each scrape."""
    metrics.watch(partial(fleet_gauges, dispatcher))
    views = AdminViews(dispatcher, metrics)
    app = web.Application()
    offer = "there are /metrics, /workers and /healthz"
    app[ENVELOPE] = _envelope(dispatcher, metrics, config, offer=offer, logs_requests=False)
    app.router.add_get("/metrics", views.metrics)
    app.router.add_get("/workers", views.workers)
    app.router.add_get("/healthz", healthz)
    return app


def _envelope(dispatcher: Dispatcher, metrics: Metrics, config: Config, *, offer: str, logs_requests: bool) -> Envelope:
    def is_leaving() -> bool:
        return dispatcher.is_draining

    return Envelope(metrics, config.proxy.trusted, offer=offer, logs_requests=logs_requests, is_leaving=is_leaving)


def _tunnel_handler(tunnel: Tunnel) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = request[CALL]
        call.is_tunnel = True
        response = await tunnel(request, call.client)
        assert isinstance(request.protocol, HttpProtocol)
        request.protocol.hand_over()
        return response

    return handle
