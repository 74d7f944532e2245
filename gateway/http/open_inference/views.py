"""Everything of the Open Inference Protocol that is no inference: health, metadata, configuration, statistics, index.

Models belong to the workers: they are loaded there and announced. So the index lists what was announced, a load says
whether the model can be used, and an unload is not offered.
"""

from __future__ import annotations

import math

from aiohttp import web

from gateway.errors import NoWorker, UnknownModel, Unsupported
from gateway.http import head
from gateway.http.intake import Intake
from gateway.http.json_body import flag_of, object_of
from gateway.http.model_facts import RETRY_AFTER_S, ModelFacts, Models
from gateway.http.model_states import repository_index
from gateway.http.open_inference import documents
from gateway.http.open_inference.infer import named


class OpenInferenceViews:
    """The handlers."""

    def __init__(self, intake: Intake, models: Models) -> None:
        self._intake = intake
        self._dispatcher = intake.dispatcher
        self._models = models

    async def live(self, _request: web.Request) -> web.Response:
        """The process is up. Needs no token."""
        return web.json_response({"live": True})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 unless the gateway drains, like /readyz and for its reason; each model's state beside it. Needs no
        token."""
        is_ready = not self._dispatcher.is_draining
        models = {name: "ready" if workers else "unavailable" for name, workers in self._dispatcher.models.items()}
        document: dict[str, object] = {"live": True, "ready": is_ready, "models": models}
        if not is_ready:
            document["error"] = "this gateway is going away; try again"
        return web.json_response(document, status=200 if is_ready else 503)

    async def server(self, request: web.Request) -> web.Response:
        """Name, version, extensions. Raises Unauthenticated."""
        self._intake.gate.admit(request)
        return web.json_response(documents.server_metadata())

    async def metadata(self, request: web.Request) -> web.Response:
        """A model's input and output. Raises GatewayError."""
        facts = self._facts(request)
        return web.json_response(documents.model_metadata(facts, self._dispatcher.versions(facts.name)))

    async def model_ready(self, request: web.Request) -> web.Response:
        """200 when a worker is ready for the model, else 503. Raises GatewayError."""
        facts = self._facts(request)
        is_ready = bool(self._dispatcher.models.get(facts.name))
        document: dict[str, object] = {"name": facts.name, "ready": is_ready}
        if not is_ready:
            document["error"] = f"no worker is ready for {head.shown(facts.name)} at the moment"
        return web.json_response(document, status=200 if is_ready else 503)

    async def config(self, request: web.Request) -> web.Response:
        """A model's configuration, as far as it means something here. Raises GatewayError."""
        return web.json_response(documents.model_config(self._facts(request), self._intake.limits.max_parts))

    async def model_statistics(self, request: web.Request) -> web.Response:
        """One model's counts. Raises GatewayError."""
        facts = self._facts(request)
        return web.json_response({"model_stats": [self._statistics(facts.name, facts.version)]})

    async def statistics(self, request: web.Request) -> web.Response:
        """Every model's counts. Raises Unauthenticated."""
        self._intake.gate.admit(request)
        offers = [self._dispatcher.offer(name) for name in self._dispatcher.models]
        entries = [self._statistics(offer.name, offer.version) for offer in offers if offer is not None]
        return web.json_response({"model_stats": entries})

    # ---- repository

    async def index(self, request: web.Request) -> web.Response:
        """Every version of every model that a worker announces. Raises GatewayError."""
        self._intake.gate.admit(request)
        asked = await self._intake.small_json(request, math.inf)
        view = self._dispatcher.workers_view()
        return web.json_response(repository_index(view, only_ready=flag_of(asked, "ready", False)))

    async def load(self, request: web.Request) -> web.Response:
        """200 when the model is loaded: a worker is ready for it. Raises GatewayError."""
        name = self._admitted(request)
        if object_of(await self._intake.small_json(request, math.inf), "parameters"):
            raise Unsupported("a model is configured where it is loaded, at its workers: send no parameters")
        ready = self._dispatcher.models.get(name)
        if ready is None:
            raise UnknownModel(f"no worker ever announced a model named {head.shown(name)}: start one that does")
        if not ready:
            raise NoWorker(f"no worker is ready for {head.shown(name)} at the moment", retry_after_s=RETRY_AFTER_S)
        return web.json_response({})

    async def unload(self, request: web.Request) -> web.Response:
        """Raises Unsupported."""
        self._admitted(request)
        raise Unsupported("models belong to the workers that announce them: stop the worker to unload its models")

    # ---- inside

    def _admitted(self, request: web.Request) -> str:
        return self._admitted_version(request)[0]

    def _admitted_version(self, request: web.Request) -> tuple[str, str]:
        name, version = named(request)
        self._intake.gate.admit(request).require_infer(name)
        return name, version

    def _facts(self, request: web.Request) -> ModelFacts:
        """Of the model and version in the path, for who may use it. Raises GatewayError."""
        return self._models.facts(*self._admitted_version(request))

    def _statistics(self, name: str, version: str) -> documents.Json:
        return documents.model_statistics(name, version, self._intake.statistics.of(name))
