"""What can be asked about models over TensorFlow Serving's API and KServe's v1."""

from __future__ import annotations

from aiohttp import web

from gateway.http.intake import Intake
from gateway.http.model_facts import ModelFacts, Models
from gateway.http.model_states import repository_index
from gateway.http.tf_serving import documents
from gateway.http.tf_serving.target import target_of


class TfServingViews:
    """The handlers."""

    def __init__(self, intake: Intake, models: Models) -> None:
        self._intake = intake
        self._models = models

    async def models(self, request: web.Request) -> web.Response:
        """KServe's list of models: those that a worker announces now. Raises Unauthenticated."""
        self._intake.gate.admit(request)
        return web.json_response({"models": sorted({entry["name"] for entry in self._entries()})})

    async def status(self, request: web.Request) -> web.Response:
        """Versions and their states. Raises GatewayError."""
        facts, version = self._facts(request)
        entries = (
            entry
            for entry in self._entries()
            if entry["name"] == facts.name and (not version or entry["version"] == version)
        )
        return web.json_response(documents.status(facts.name, entries))

    async def metadata(self, request: web.Request) -> web.Response:
        """The model's signature. Raises GatewayError."""
        return web.json_response(documents.metadata(self._facts(request)[0]))

    def _facts(self, request: web.Request) -> tuple[ModelFacts, str]:
        name, version = target_of(request)
        self._intake.gate.admit(request).require_infer(name)
        return self._models.facts(name, version), version

    def _entries(self) -> list[dict[str, str]]:
        return repository_index(self._intake.dispatcher.workers_view(), only_ready=False)
