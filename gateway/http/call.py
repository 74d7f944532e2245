"""One request's own facts, from its head to its log line: shared by the envelope around it and the handler within."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from gateway.http.timing import Stages, Stopwatch


@dataclass(slots=True)
class HttpCall:
    """Made by the envelope when the head has arrived; handlers add what they learn."""

    request_id: str
    traceparent: str
    client: str
    """The client's address, as far as proxies can be believed."""
    stopwatch: Stopwatch
    subject: str = ""
    """Who the token says it is; empty before that is known."""
    model: str = ""
    worker: str = ""
    """The worker that answered; several are joined by commas."""
    received_bytes: int = 0
    failure: str = ""
    """The code of the error that was the answer; empty when there was none."""
    is_tunnel: bool = False
    """A worker's connection: it lasts for days, so neither its duration nor its end says anything of a request."""
    mark: Callable[[web.StreamResponse], None] = lambda _: None
    """Gives a response the headers that every answer has. The envelope does so itself but for streamed answers."""
    answered_at: float | None = None
    """When the head of a streamed answer was here, on the stopwatch's clock: the body may take hours."""
    part_errors: Sequence[str] = ()
    """Codes of the files that failed in a request that itself succeeded."""

    def answered(self, worker: str, stages: Stages, batch_size: int | None) -> None:
        """The one exchange of this request is over; its stages are the request's."""
        self.worker = worker
        self.stopwatch.exchange_stages = stages
        self.stopwatch.batch_size = batch_size


CALL: web.RequestKey[HttpCall] = web.RequestKey("call", HttpCall)
