"""POST /inference/{model} and POST /: images in, labels out, by the same runner and slots as behind a tunnel.

One image is the body; many are multipart/form-data, answered as a list in the order sent, one bad file failing alone.
What a request says is checked before its body is read.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import hdrs, web

from edge_worker.backends.base import ServedModel
from edge_worker.exchange_runner import ExchangeRunner, NotAnswered, WholeRequest
from edge_worker.http import head
from edge_worker.http.body import ByteBudget, Holding, Part, Patience, parts, receive
from edge_worker.http.call import CALL, HttpCall
from edge_worker.http.errors import RequestFailed, failure_of, problem_of
from wire.frames import RequestHead

MAX_REQUESTS = 1024
"""Inference requests at the same time; a slot's line behind them is far shorter."""
HELD_BODIES = 8
"""Bodies of the largest size that all requests together may make the server hold: what one tunnel may, too."""
MAX_PARALLEL_FILES = 16
"""Files of one form that are held and worked on at the same time; the gateway's default."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the client wants: read and checked before any of the body is."""

    call: HttpCall
    model: str
    question: str
    """The query of the backend's path."""
    timeout_s: float

    def request(self, body: bytes, content_type: str, began_at: float, received_at: float) -> WholeRequest:
        """One image, as the runner takes it; its deadline counts from `began_at`."""
        path = f"/inference/{quote(self.model, safe='')}?{self.question}"
        metadata = (("content-type", content_type),) if content_type else ()
        deadline_ms = max(1, round(self.timeout_s * 1000))
        return WholeRequest(RequestHead("POST", path, self.model, metadata, deadline_ms), body, began_at, received_at)


class Inference:
    """The handlers, and the count of what is in flight."""

    def __init__(
        self,
        runner: ExchangeRunner,
        models: Sequence[ServedModel],
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the runner's. At least one of `models` can be served."""
        self._runner = runner
        self._models = {model.name: model for model in models}
        self._first = next(model.name for model in models if not model.failure)
        self._max_body_bytes = max_body_bytes
        self._budget = ByteBudget(HELD_BODIES * max_body_bytes)
        self._clock = clock
        self._open_requests = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    def update(self, models: Sequence[ServedModel]) -> None:
        """What can be served has changed."""
        self._models = {model.name: model for model in models}

    async def first(self, request: web.Request) -> web.StreamResponse:
        """The only model, or the first. Raises RequestFailed."""
        return await self._answer(request, self._first)

    async def named(self, request: web.Request) -> web.StreamResponse:
        """The model of the path. Raises RequestFailed."""
        return await self._answer(request, request.match_info["model"])

    async def drain(self, grace_s: float) -> int:
        """Takes no more, and waits for what is here. Returns how many requests were still open after `grace_s`."""
        self.is_draining = True
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        return self._open_requests

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A request that a drain waits for. Raises RequestFailed when there is no place for it."""
        if self.is_draining:
            raise RequestFailed("draining", "this server is leaving and takes no new work")
        if self._open_requests >= MAX_REQUESTS:
            raise RequestFailed("queue_full", f"{self._open_requests} inference requests are open already")
        self._open_requests += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open_requests -= 1
            if not self._open_requests:
                self._idle.set()

    async def _answer(self, request: web.Request, model: str) -> web.Response:
        began = self._clock()
        with self.opened():
            order = self._order(request, model)
            content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
            media_type = head.media_type_of(content_type)
            if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
                raise RequestFailed(
                    "unsupported_media_type", "a Content-Encoding is not taken: send the image as it is"
                )
            if media_type == head.MULTIPART:
                return web.json_response(await self._files(request, order))
            if not head.is_image_like(content_type):
                detail = (
                    f"{head.shown(media_type)} is not taken: send an image as the body, or files as {head.MULTIPART}"
                )
                raise RequestFailed("unsupported_media_type", detail)
            return web.json_response(await self._image(request, order, media_type, began))

    def _order(self, request: web.Request, model: str) -> Order:
        call = request[CALL]
        served = self._models.get(model)
        if served is None:
            raise RequestFailed("unknown_model", f"this server has no model named {head.shown(model)}")
        call.model = model
        if served.failure:
            raise RequestFailed("no_worker", f"the model {head.shown(model)} cannot be served; the log says why")
        try:
            return Order(call, model, head.question_of(request.query), head.timeout_s_of(request.headers))
        except ValueError as error:
            raise RequestFailed("bad_request", str(error)) from error

    # ---- one image

    async def _image(self, request: web.Request, order: Order, media_type: str, began: float) -> dict[str, object]:
        size = request.content_length
        if size is not None and size > self._max_body_bytes:
            detail = f"the body has {size} bytes, and {self._max_body_bytes} are allowed"
            raise RequestFailed("payload_too_large", detail)
        holding = self.new_holding()
        try:
            body = await receive(request, holding, Patience(began + order.timeout_s, self._clock))
            received = self._clock()
            result, stages_s = await self._infer(order.request(body, media_type, began, received))
        finally:
            order.call.received_bytes = holding.size_bytes
            holding.let_go()
        stages_s = [("upload", received - began), *stages_s]
        order.call.stages_s = stages_s
        return result | {"request_id": order.call.request_id, "timing_ms": head.timing_ms(stages_s)}

    async def _infer(self, request: WholeRequest) -> tuple[dict[str, object], list[tuple[str, float]]]:
        """The backend's object, and (step, seconds). Raises RequestFailed."""
        answer = await self._runner.run(request)
        if isinstance(answer, NotAnswered):
            raise failure_of(answer)
        result = json.loads(answer.body)
        if answer.head.status != 200 or not isinstance(result, dict):
            raise RequestFailed("worker_failed", f"the backend answered with status {answer.head.status}")
        return result, [(name, us / 1e6) for name, us in answer.head.durations_us]

    # ---- many

    async def _files(self, request: web.Request, order: Order) -> list[dict[str, object]]:
        """An object for each file. What is wrong with the form as a whole ends it, and cancels what it started."""
        places = asyncio.Semaphore(MAX_PARALLEL_FILES)
        patience = Patience(None, self._clock)
        tasks: list[asyncio.Task[dict[str, object]]] = []
        try:
            async with aclosing(parts(request, patience, self.new_holding)) as arriving:
                async for part in arriving:
                    tasks.append(await self._begin(part, order, len(tasks), places))
            results = await asyncio.gather(*tasks)
        finally:
            order.call.received_bytes = patience.received_bytes
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not results:
            raise RequestFailed("bad_request", "the multipart body holds no file")
        return results

    def new_holding(self) -> Holding:
        """Room for one body."""
        return Holding(self._budget, self._max_body_bytes)

    async def _begin(
        self, part: Part, order: Order, number: int, places: asyncio.Semaphore
    ) -> asyncio.Task[dict[str, object]]:
        """Starts a file when there is a place for it. Its bytes are let go with its task, also one that never ran."""
        try:
            await places.acquire()
        except asyncio.CancelledError:
            part.holding.let_go()
            raise

        def done(_: object) -> None:
            places.release()
            part.holding.let_go()

        task = asyncio.create_task(self._file(part, order, number))
        task.add_done_callback(done)
        return task

    async def _file(self, part: Part, order: Order, number: int) -> dict[str, object]:
        request_id = f"{order.call.request_id}.{number}"
        try:
            result, stages_s = await self._infer(self._request_of(part, order))
        except RequestFailed as error:
            return {"file": part.name} | problem_of(error).document(order.call.request_id)
        return {"file": part.name} | result | {"request_id": request_id, "timing_ms": head.timing_ms(stages_s)}

    def _request_of(self, part: Part, order: Order) -> WholeRequest:
        if part.error is not None:
            raise part.error
        if not head.is_image_like(part.content_type):
            raise RequestFailed("unsupported_media_type", f"{head.shown(part.content_type)} is not an image type")
        if not part.holding.size_bytes:
            raise RequestFailed("bad_input", "the file is empty")
        now = self._clock()
        return order.request(part.holding.whole(), head.media_type_of(part.content_type), now, now)
