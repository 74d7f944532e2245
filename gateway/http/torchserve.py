"""TorchServe's inference API, for its users, whose server is no longer maintained: /predictions and /ping.

The body is one image, or a form whose field `data` is one. The answer is what TorchServe's image classifiers give: an
object of labels and probabilities, the likeliest first. A bare image goes to a worker as it arrives.
"""

from __future__ import annotations

import math

from aiohttp import hdrs, web

from gateway.dispatch.model import Body, Job
from gateway.errors import BadRequest, GatewayError
from gateway.http import head
from gateway.http import openapi_parts as parts
from gateway.http.exchange import Json
from gateway.http.files import FilesRequest
from gateway.http.inflate import inflated
from gateway.http.intake import Intake, Order, leave_expectation, proceed
from gateway.http.labels import labels_of
from gateway.http.media import MULTIPART, media_type_of
from gateway.http.model_facts import Models, check_version
from gateway.http.multipart import MultipartParser, boundary_of

PATHS = ("/predictions/{model}", "/predictions/{model}/{version}")
PING = "/ping"
FIELD = "data"


class TorchServe:
    """The handlers."""

    def __init__(self, intake: Intake, models: Models) -> None:
        self._intake = intake
        self._models = models

    async def ping(self, _request: web.Request) -> web.Response:
        """Healthy while new work is taken. Needs no token."""
        if self._intake.dispatcher.is_draining:
            return web.json_response({"status": "Unhealthy", "error": "this gateway is going away"}, status=503)
        return web.json_response({"status": "Healthy"})

    async def predictions(self, request: web.Request) -> web.StreamResponse:
        """Answers one request. Raises GatewayError."""
        name = head.model_name_of(request.match_info["model"])
        version = check_version(request.match_info.get("version", ""))
        with self._intake.accepted(request, name) as accepted:
            self._models.for_jobs(name, version)
            order = accepted.asking(f"top={head.top_of(request.query)}")
            content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
            is_form = media_type_of(content_type) == MULTIPART
            result = await (self._form(request, order, content_type) if is_form else self._image(request, order))
        best: dict[str, float] = {}
        for label in labels_of(result, order.call.worker):
            best.setdefault(label.name, label.probability)  # two classes of one name: the likelier counts
        return web.json_response(best)

    async def _image(self, request: web.Request, order: Order) -> Json:
        intake, encoding = self._intake, request.headers.get(hdrs.CONTENT_ENCODING, "")
        intake.refuse_large(request, intake.limits.max_body_bytes, "max_body_bytes")
        stream = inflated(intake.stream(request, order.deadline), encoding)
        await proceed(request)
        size = None if encoding else request.content_length
        return (await intake.answer_stream(order, stream, size, (), intake.exchanger.labels)).result

    async def _form(self, request: web.Request, order: Order, content_type: str) -> Json:
        intake, call = self._intake, order.call
        parser = MultipartParser(boundary_of(content_type), intake.limits.max_parts)
        intake.refuse_large(request, intake.limits.max_multipart_bytes, "max_multipart_bytes")
        await proceed(request)
        files = FilesRequest(intake.limits, intake.budget, intake.exchanger, call.request_id)

        def make_job(body: Body, number: int, _media_type: str) -> Job:
            if number:
                raise BadRequest("only one file is looked at")
            return order.job(body, call.request_id, (), intake.clock() + order.asked.timeout_s)

        try:
            (part, outcome), *more = await files.outcomes(intake.stream(request, math.inf), parser, make_job)
        finally:
            call.received_bytes = files.received_bytes
            call.worker = ",".join(files.workers)
        if more or part.field != FIELD:
            raise BadRequest(f"the form has {1 + len(more)} fields: one is taken, named {FIELD}")
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome


def paths() -> parts.Json:
    """Its paths in OpenAPI's words."""
    image: parts.Json = {"type": "string", "format": "binary"}
    form = parts.described(FIELD, data=image)
    bodies = {"application/octet-stream": {"schema": image}, MULTIPART: {"schema": form}}
    top = parts.parameter("query", "top", parts.whole(head.MAX_TOP, head.DEFAULT_TOP), "How many labels")

    def predictions(*named: parts.Json) -> parts.Json:
        summary = "Labels and probabilities for one image (TorchServe)"
        body = {"requestBody": {"required": True, "content": bodies}}
        return {"post": parts.operation(summary, "Probabilities", [*named, top]) | body}

    ping = {"200": parts.answer("Health"), "503": parts.answer("Health", "No")}
    return {
        PATHS[0]: predictions(parts.model_name()),
        PATHS[1]: predictions(parts.model_name(), parts.version()),
        PING: {"get": {"summary": "Whether new work is taken (TorchServe)", "responses": ping}},
    }


def add_torchserve(router: web.UrlDispatcher, intake: Intake, models: Models) -> None:
    """Adds its routes."""
    handlers = TorchServe(intake, models)
    router.add_get(PING, handlers.ping)
    for path in PATHS:
        router.add_post(path, handlers.predictions, expect_handler=leave_expectation)
