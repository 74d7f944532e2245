"""POST /inference/{model}: photographs in, labels out. Here one image is answered; `files.py` answers many.

The order is: token, head, limits, then the body (`intake.py`).
"""

from __future__ import annotations

import math

from aiohttp import hdrs, web

from gateway.dispatch.model import Body, Job, Metadata
from gateway.errors import BadInput, BadRequest, UnknownModel, UnsupportedMedia
from gateway.http import head
from gateway.http.body import WholeBody
from gateway.http.exchange import completed
from gateway.http.files import FilesRequest
from gateway.http.image_url import ImageFetcher
from gateway.http.intake import Intake, Order, proceed
from gateway.http.media import MULTIPART, is_image_like, media_type_of
from gateway.http.multipart import MultipartParser, boundary_of

JSON_TYPE = "application/json"


class Inference:
    """The handler of the native API."""

    def __init__(self, intake: Intake, images: ImageFetcher | None) -> None:
        """`images` fetches those that are named by address; None takes no addresses."""
        self._intake = intake
        self._images = images

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request. Raises GatewayError."""
        intake, model = self._intake, head.model_name_of(request.match_info["model"])
        with intake.accepted(request, model) as accepted:
            order = accepted.asking(head.question_of(request.query))
            content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
            media_type = media_type_of(content_type)
            if media_type == JSON_TYPE and self._images is not None:
                return await self._answer_address(request, order, self._images)
            self._refuse_early(request, order, media_type)
            await proceed(request)
            if media_type == MULTIPART:
                return await self._answer_files(request, order, content_type)
            stream, metadata = intake.stream(request, order.deadline), _content_type(media_type)
            answer = await intake.answer_stream(
                order, stream, request.content_length, metadata, intake.exchanger.labels
            )
            return web.json_response(completed(answer, order.call.request_id))

    def _refuse_early(self, request: web.Request, order: Order, media_type: str) -> None:
        """What would be refused whatever the body holds is refused before the body is sent. Raises GatewayError."""
        is_multipart = media_type == MULTIPART
        if not is_multipart and not is_image_like(media_type):
            detail = f"{head.shown(media_type)} is not taken: send an image as the body, or files as {MULTIPART}"
            raise UnsupportedMedia(detail)
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise UnsupportedMedia("a Content-Encoding is not taken: send the image as it is")
        limits = self._intake.limits
        if is_multipart:
            self._intake.refuse_large(request, limits.max_multipart_bytes, "max_multipart_bytes")
        else:
            self._intake.refuse_large(request, limits.max_body_bytes, "max_body_bytes")
        if order.is_announced or request.content.is_eof():
            return  # it is here already: the dispatcher says all the rest
        if order.model not in self._intake.dispatcher.models:
            raise UnknownModel(f"no worker ever announced a model named {head.shown(order.model)}: see GET /v1/workers")

    async def _answer_address(self, request: web.Request, order: Order, images: ImageFetcher) -> web.Response:
        intake, call = self._intake, order.call
        await proceed(request)
        asked = await intake.small_json(request, order.deadline)
        url = asked.get("image_url")
        if not isinstance(url, str) or len(asked) != 1:
            raise BadRequest('the JSON must be {"image_url": "https://..."}')
        fetched = await images.fetch(url, order.deadline - intake.clock(), intake.budget)
        try:
            if not fetched.size_bytes:
                raise BadInput("the image at that address is empty")
            job = order.job(WholeBody(fetched.pieces), call.request_id, (), order.deadline)
            answer = await intake.exchanger.labels(job, intake.clock() - order.started)
        finally:
            fetched.release()
        call.answered(answer.worker, answer.stages, answer.batch_size)
        return web.json_response(completed(answer, call.request_id))

    async def _answer_files(self, request: web.Request, order: Order, content_type: str) -> web.Response:
        intake, call = self._intake, order.call
        parser = MultipartParser(boundary_of(content_type), intake.limits.max_parts)
        # Each file's deadline begins when the file is here; the upload as a whole has the limits of its pace.
        stream = intake.stream(request, math.inf)
        files = FilesRequest(intake.limits, intake.budget, intake.exchanger, call.request_id)

        def make_job(body: Body, number: int, media_type: str) -> Job:
            deadline = intake.clock() + order.asked.timeout_s
            return order.job(body, f"{call.request_id}.{number}", _content_type(media_type), deadline)

        try:
            return web.json_response(await files.answer(stream, parser, make_job))
        finally:
            call.received_bytes = files.received_bytes
            call.part_errors = files.failures
            call.worker = ",".join(files.workers)


def _content_type(media_type: str) -> Metadata:
    return (("content-type", media_type),) if media_type else ()
