"""POST /v1/models/{model}:predict and :classify, with or without a version or label: JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.http import head
from gateway.http.intake import Intake, Order
from gateway.http.items import ItemsRequest
from gateway.http.json_body import compact, finite_text
from gateway.http.labels import labels_of
from gateway.http.model_facts import Models, Tensors
from gateway.http.tf_serving.request import parse_classify, parse_predict
from gateway.http.tf_serving.target import target_of

Answered = Callable[[bytes, Tensors, Order], Awaitable[str]]
"""(the request's body, the model's tensors, the order) -> the member of the answer, as JSON text."""


class Predict:
    """The handlers."""

    def __init__(self, intake: Intake, models: Models) -> None:
        self._intake = intake
        self._models = models

    async def predict(self, request: web.Request) -> web.StreamResponse:
        """Every class's probability for each instance. Raises GatewayError."""
        return await self._handle(request, self._predictions)

    async def classify(self, request: web.Request) -> web.StreamResponse:
        """Labels and scores for each example, the likeliest first. Raises GatewayError."""
        return await self._handle(request, self._classifications)

    async def _handle(self, request: web.Request, answered: Answered) -> web.Response:
        name, version = target_of(request)
        with self._intake.accepted(request, name) as order:
            facts = self._models.for_jobs(name, version)
            tensors, limit = facts.takes_tensors(), self._intake.limits.max_json_bytes
            async with self._intake.held(request, order, limit, "max_json_bytes") as pieces:
                member = await answered(b"".join(pieces), tensors, order)
            weights = ',"weights":"random"' if facts.has_random_weights else ""
            return web.Response(body=f"{{{member}{weights}}}".encode(), content_type="application/json")

    async def _predictions(self, body: bytes, tensors: Tensors, order: Order) -> str:
        asked = parse_predict(body, tensors)
        items = self._items(order.asking("output=raw"))
        answers = await items.answers(asked.items, self._intake.exchanger.probabilities, order.deadline)
        rows = ",".join(f"[{finite_text(answer.result)}]" for answer in answers)
        return f'"predictions":[{rows}]' if asked.is_row_form else f'"outputs":[{rows}]'

    async def _classifications(self, body: bytes, tensors: Tensors, order: Order) -> str:
        examples = parse_classify(body, tensors)
        items = self._items(order.asking(f"top={min(tensors.classes, head.MAX_TOP)}"))
        answers = await items.answers(examples, self._intake.exchanger.labels, order.deadline)
        results = [
            [[label.name, label.probability] for label in labels_of(answer.result, answer.worker)] for answer in answers
        ]
        return f'"results":{compact(results)}'

    def _items(self, order: Order) -> ItemsRequest:
        limits = self._intake.limits
        return ItemsRequest(order, limits.max_parts, limits.max_parallel_parts)
