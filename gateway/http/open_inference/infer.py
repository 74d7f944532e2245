"""POST /v2/models/{model}[/versions/{version}]/infer: images or tensors in, probabilities or classes out.

A body that is one bare image (Inference-Header-Content-Length: 0) goes to a worker as it arrives. Any other must be
here before it can be taken apart: it is held within `limits.max_multipart_bytes`, its JSON within
`limits.max_json_bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web

from gateway.dispatch.model import Priority
from gateway.errors import BadRequest, DeadlineExceeded
from gateway.http import head
from gateway.http.exchange import Answer, Json
from gateway.http.inflate import compressed, inflated
from gateway.http.intake import Intake, Order, proceed
from gateway.http.items import ItemsRequest
from gateway.http.labels import labels_of
from gateway.http.model_facts import ModelFacts, Models, Tensors, check_version
from gateway.http.open_inference.request import Bounds, InferRequest, Wanted, parse_infer
from gateway.http.open_inference.response import HEADER_LENGTH, Output, classes, infer_response, probabilities

RAW = "output=raw"


class Infer:
    """The handler."""

    def __init__(self, intake: Intake, models: Models) -> None:
        self._intake = intake
        self._models = models
        limits = intake.limits
        self._bounds = Bounds(min(limits.max_json_bytes, limits.max_multipart_bytes), limits.max_parts)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request. Raises GatewayError."""
        name, version = named(request)
        header_bytes = header_length(request.headers.get(HEADER_LENGTH))
        with self._intake.accepted(request, name) as order:
            facts = self._models.for_jobs(name, version)
            tensors = facts.takes_tensors()
            if header_bytes == 0:
                return await self._bare(request, order, facts, tensors)
            return await self._whole(request, order, facts, tensors, header_bytes)

    async def _bare(self, request: web.Request, order: Order, facts: ModelFacts, tensors: Tensors) -> web.Response:
        """One encoded image and nothing else."""
        intake = self._intake
        encoding = request.headers.get(hdrs.CONTENT_ENCODING, "")
        intake.refuse_large(request, intake.limits.max_body_bytes, "max_body_bytes")
        stream = inflated(intake.stream(request, order.deadline), encoding)
        await proceed(request)
        size = None if encoding else request.content_length
        answer = await intake.answer_stream(order.asking(RAW), stream, size, (), intake.exchanger.probabilities)
        output = probabilities(tensors.output_name, [answer.result], tensors.classes, is_binary=True)
        return self._response(request, facts, {answer.worker: None}, "", output)

    async def _whole(
        self, request: web.Request, order: Order, facts: ModelFacts, tensors: Tensors, header_bytes: int | None
    ) -> web.Response:
        intake, limits = self._intake, self._intake.limits
        limit, setting = limits.max_multipart_bytes, "max_multipart_bytes"
        if header_bytes is None:
            limit, setting = self._bounds.max_json_bytes, "max_json_bytes"
        async with intake.held(request, order, limit, setting) as pieces:
            asked = parse_infer(pieces, header_bytes, tensors, self._bounds)
            items = ItemsRequest(_hastened(order, asked), limits.max_parts, limits.max_parallel_parts)
            output = await self._answer(items, asked, self._deadline(order, asked), tensors)
        return self._response(request, facts, items.workers, asked.id, output)

    async def _answer(self, items: ItemsRequest, asked: InferRequest, deadline: float, tensors: Tensors) -> Output:
        wanted, exchanger, order = asked.wanted, self._intake.exchanger, items.order
        if not wanted.classification:
            items.order = order.asking(RAW)
            rows = await items.answers(asked.items, exchanger.probabilities, deadline)
            return probabilities(wanted.name, [row.result for row in rows], tensors.classes, is_binary=wanted.is_binary)
        items.order = order.asking(f"top={wanted.classification}")
        return _classes(wanted, await items.answers(asked.items, exchanger.labels, deadline))

    def _deadline(self, order: Order, asked: InferRequest) -> float:
        """The request's own, or its `timeout` from now on if that is sooner. Raises DeadlineExceeded."""
        now = self._intake.clock()
        deadline = min(order.deadline, now + asked.timeout_us / 1e6) if asked.timeout_us else order.deadline
        if deadline <= now:
            raise DeadlineExceeded("the deadline passed while the body arrived")
        return deadline

    def _response(
        self, request: web.Request, facts: ModelFacts, workers: dict[str, None], request_id: str, output: Output
    ) -> web.Response:
        version = self._models.version_at(facts.name, workers)
        weights = "random" if facts.has_random_weights else ""
        body, json_bytes = infer_response(facts.name, version, request_id, weights, output)
        headers: dict[str, str] = {
            hdrs.CONTENT_TYPE: "application/json" if json_bytes is None else "application/octet-stream"
        }
        if json_bytes is not None:
            headers[HEADER_LENGTH] = str(json_bytes)
        body, encoding = compressed(body, request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        if encoding:
            headers[hdrs.CONTENT_ENCODING] = encoding
        return web.Response(body=body, headers=headers)


def named(request: web.Request) -> tuple[str, str]:
    """The model and the version in a path; the version is empty if the path has none. Raises BadRequest."""
    match = request.match_info
    return head.model_name_of(match["model"]), check_version(match.get("version", ""))


def header_length(given: str | None) -> int | None:
    """How many bytes of the body are JSON; None without the header. Raises BadRequest."""
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise BadRequest(f"{HEADER_LENGTH} must be a number of bytes, not {head.shown(given)}")
    return int(given)


def _hastened(order: Order, asked: InferRequest) -> Order:
    """Priority 1 is the highest of the protocol and `high` here; every other one is as if it had not been given."""
    return order._replace(asked=order.asked._replace(priority=Priority.HIGH)) if asked.is_urgent else order


def _classes(wanted: Wanted, answers: Sequence[Answer[Json]]) -> Output:
    images = [labels_of(answer.result, answer.worker) for answer in answers]
    return classes(wanted.name, images, is_binary=wanted.is_binary)
