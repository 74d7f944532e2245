"""What can be asked about the gateway itself: is it up, does it take work, who works for it, what does it serve."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from gateway.http.gate import Gate
from gateway.http.gauges import models_of
from gateway.http.ports import Dispatcher
from gateway.metrics import CONTENT_TYPE, Metrics


async def healthz(_request: web.Request) -> web.Response:
    """The process is up and its event loop turns."""
    return web.json_response({"status": "ok"})


class Views:
    """The views on the public listener."""

    def __init__(self, dispatcher: Dispatcher, gate: Gate, openapi: Mapping[str, object]) -> None:
        self._dispatcher = dispatcher
        self._gate = gate
        self._openapi = openapi

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 unless the gateway drains.

        No worker is no reason for a 503: workers come through the same port, and a balancer that took the gateway out
        until a worker is there would keep every worker out for ever.
        """
        is_draining = self._dispatcher.is_draining
        document = {
            "status": "draining" if is_draining else "ready",
            "workers": len(self._dispatcher.workers_view()),
            "models": dict(self._dispatcher.models),
        }
        return web.json_response(document, status=503 if is_draining else 200)

    async def workers(self, request: web.Request) -> web.Response:
        """Names, models, readiness and round trips: what whoever has a token may know. Everything, for a token with the
        scope admin. Raises Unauthenticated."""
        is_admin = self._gate.admit(request).is_admin
        view = self._dispatcher.workers_view()
        return web.json_response({"workers": list(view) if is_admin else [_public(worker) for worker in view]})

    async def openapi(self, _request: web.Request) -> web.Response:
        """This API in OpenAPI's words."""
        return web.json_response(self._openapi)


class AdminViews:
    """The views on the operator's listener, which asks for no token and listens on loopback."""

    def __init__(self, dispatcher: Dispatcher, metrics: Metrics) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics

    async def metrics(self, _request: web.Request) -> web.Response:
        """Everything that is counted, in Prometheus' text format."""
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def workers(self, _request: web.Request) -> web.Response:
        """Everything that dispatch knows of every worker."""
        return web.json_response({"workers": list(self._dispatcher.workers_view())})


def _public(worker: Mapping[str, object]) -> dict[str, object]:
    """A worker without addresses, load and what it says about itself."""
    return {
        "worker": worker["worker"],
        "rtt_ms": worker["rtt_ms"],
        "draining": worker["draining"],
        "models": [
            {"model": model["model"], "version": model["version"], "state": model["state"]}
            for model in models_of(worker)
        ],
    }
