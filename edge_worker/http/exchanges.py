"""What a gateway asks of a worker that it reaches itself: its models, an inference of its own sample, and exchanges.

An exchange here is the one that a tunnel carries (docs/reference/inference-exchange.md), with HTTP for frames: the path
behind /v1/exchange and the metadata go to the backend as they are, and its answer comes back as it is. Clients use
/inference.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from aiohttp import hdrs, web

from edge_worker.backends.base import ServedModel
from edge_worker.exchange_runner import Answered, ExchangeRunner, NotAnswered, WholeRequest
from edge_worker.http import head
from edge_worker.http.body import Patience, receive
from edge_worker.http.call import CALL, HttpCall
from edge_worker.http.errors import RequestFailed, failure_of
from edge_worker.http.inference import Inference
from edge_worker.version import software
from wire.frames import PROBE_METHOD, RequestHead

HEARTBEAT_PATH = "/v1/models"
"""Asked for every two seconds or so: the log has it at debug."""
PREFIX = "/v1/exchange"
METADATA_PREFIX = "X-Exchange-"
"""Before the name of a metadatum, but for the content type: whatever it is called, it is no header of HTTP's own."""


class Exchanges:
    """The handlers."""

    def __init__(
        self,
        inference: Inference,
        runner: ExchangeRunner,
        models: Sequence[ServedModel],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the runner's."""
        self._inference = inference
        self._runner = runner
        self._clock = clock
        self._session = uuid.uuid4().hex
        self._models = models

    def update(self, models: Sequence[ServedModel]) -> None:
        """What can be served has changed."""
        self._models = models

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Adds them to the server's."""
        router.add_get(HEARTBEAT_PATH, self.models)
        router.add_post("/v1/probe/{model}", self.probe)
        router.add_post(PREFIX + "/inference/{model}", self.exchange)

    async def models(self, _request: web.Request) -> web.Response:
        """What HELLO says, and whether the worker is leaving."""
        offered = [
            {
                "name": model.name,
                "version": model.version,
                "slots": model.slots,
                "failure": model.failure,
                "metadata": dict(model.metadata),
            }
            for model in self._models
        ]
        document = {
            "session": self._session,
            "software": software(),
            "draining": self._inference.is_draining,
            "models": offered,
        }
        return web.json_response(document)

    async def probe(self, request: web.Request) -> web.Response:
        """One inference of the backend's own sample. Raises RequestFailed."""
        began, model = self._clock(), request.match_info["model"]
        with self._inference.opened():
            await self._run(self._head(request, PROBE_METHOD, "/", model), b"", request[CALL], began, began)
        return web.Response()

    async def exchange(self, request: web.Request) -> web.Response:
        """One exchange. Raises RequestFailed for what a tunnel would answer with a code."""
        began, model, call = self._clock(), request.match_info["model"], request[CALL]
        path = request.raw_path.removeprefix(PREFIX)
        with self._inference.opened():
            asked = self._head(request, "POST", path, model)
            holding = self._inference.new_holding()
            try:
                patience = Patience(began + asked.deadline_ms / 1000, self._clock)
                body = await receive(request, holding, patience)
                answer = await self._run(asked, body, call, began, self._clock())
            finally:
                call.received_bytes = holding.size_bytes
                holding.let_go()
        headers = [_header(name, value) for name, value in answer.head.metadata]
        return web.Response(status=answer.head.status, body=answer.body, headers=headers)

    def _head(self, request: web.Request, method: str, path: str, model: str) -> RequestHead:
        request[CALL].model = model
        try:
            timeout_s = head.timeout_s_of(request.headers)
        except ValueError as error:
            raise RequestFailed("bad_request", str(error)) from error
        return RequestHead(method, path, model, _metadata(request), max(1, round(timeout_s * 1000)))

    async def _run(self, asked: RequestHead, body: bytes, call: HttpCall, began: float, received: float) -> Answered:
        result = await self._runner.run(WholeRequest(asked, body, began, received))
        if isinstance(result, NotAnswered):
            raise failure_of(result)
        steps = [(name, micros / 1e6) for name, micros in result.head.durations_us]
        call.stages_s = [("upload", received - began), *steps]
        return result


def _metadata(request: web.Request) -> tuple[tuple[str, str], ...]:
    """The content type and what begins with METADATA_PREFIX, as a tunnel's head has them."""
    given = [
        (name[len(METADATA_PREFIX) :].lower(), value)
        for name, value in request.headers.items()
        if name.lower().startswith(METADATA_PREFIX.lower())
    ]
    content_type = request.headers.get(hdrs.CONTENT_TYPE)
    return (*([] if content_type is None else [("content-type", content_type)]), *given)


def _header(name: str, value: str) -> tuple[str, str]:
    return (hdrs.CONTENT_TYPE, value) if name == "content-type" else (METADATA_PREFIX + name, value)
