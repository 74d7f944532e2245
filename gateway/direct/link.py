"""A worker that listens as a Link: a job becomes one HTTP request, and its answer the reply.

A connection that breaks loses its exchange. A worker that takes no connection, or is silent for too long, ends the
link: `on_lost` is told at once, and what is in flight is lost. A new link takes its place when the worker is there
again; `watch.py` sees to that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import quote

from gateway.direct.connection import Connection, Head, NotThere
from gateway.dispatch.model import ExchangeFailed, ExchangeRefused, Job, LinkLost, Reply, Timing
from gateway.errors import GatewayError

RTT_WEIGHT = 0.125
"""Of the newest round trip in the smoothed one (RFC 6298 2.3)."""


class DirectLink:
    """One life of one worker: from the moment it answered until it no longer did."""

    def __init__(
        self,
        worker: str,
        about: Mapping[str, object],
        connection: Connection,
        on_lost: Callable[[DirectLink, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the one that dispatch has."""
        self.worker = worker
        self.about = about
        self.rtt_s = 0.0
        self._connection = connection
        self._on_lost = on_lost
        self._clock = clock
        self._open: set[asyncio.Timeout] = set()
        self._ended = ""

    @property
    def is_ended(self) -> bool:
        """Whether it was lost or closed."""
        return bool(self._ended)

    def measured(self, rtt_s: float) -> None:
        """A round trip."""
        self.rtt_s += (rtt_s - self.rtt_s) * (RTT_WEIGHT if self.rtt_s else 1.0)

    def close(self, reason: str) -> None:
        """Ends it; what is in flight raises LinkLost."""
        if self._ended:
            return
        self._ended = reason or "closed"
        for scope in self._open:
            scope.reschedule(asyncio.get_running_loop().time())

    def lose(self, reason: str) -> None:
        """Ends it because the worker is gone."""
        if not self._ended:
            self._on_lost(self, reason)  # first, as with a tunnel's end: no job is given to it any more
            self.close(reason)

    @asynccontextmanager
    async def exchange(self, job: Job) -> AsyncIterator[Reply]:
        """Carries one job there and its reply back. See `gateway.dispatch.model.Link`."""
        if job.is_stream:
            # Its path is the client's, and here the path alone says which model: a scope for one would open them all.
            raise ExchangeRefused(f"{self.worker} is reached directly, which is for models and not for services")
        timing, began = Timing(), self._clock()
        body_here_at = began
        was_here = job.body.is_complete
        timeout_s = job.deadline - began
        path = "/v1/exchange" + job.path
        asking = self._connection.post(path, job.body, job.metadata, timeout_s, job.id)
        async with self._alive(), asking as head:
            if not was_here:
                body_here_at = began + min(head.stages_s.get("upload", 0.0), self._clock() - began)
            timing.upload_s = body_here_at - began
            self._account(timing, head, body_here_at)
            yield Reply(head.status, head.metadata, self._body(timing, head, body_here_at), timing)

    async def probe(self, model: str, timeout_s: float) -> float:
        """One real inference of the worker's own sample; seconds of service. See `gateway.dispatch.model.Link`."""
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._alive(),
                self._connection.post(f"/v1/probe/{quote(model, safe='')}", None, (), timeout_s, "probe") as head,
            ):
                return sum(_steps(head).values()) - _steps(head).get("worker_queue", 0.0)
        except GatewayError as error:
            raise ExchangeFailed(f"the probe was answered: {error}") from error

    @asynccontextmanager
    async def _alive(self) -> AsyncIterator[None]:
        """While this link lives. A worker that cannot be connected to is gone for everybody; a connection that breaks
        is one exchange's."""
        if self._ended:
            raise LinkLost(self._ended)
        scope = asyncio.timeout(None)
        try:
            async with scope:
                with self._noted(scope):
                    yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise LinkLost(f"{self.worker}: {self._ended}") from error
        except NotThere as error:
            self.lose(str(error))
            raise

    @contextmanager
    def _noted(self, scope: asyncio.Timeout) -> Iterator[None]:
        self._open.add(scope)
        try:
            yield
        finally:
            self._open.discard(scope)

    async def _body(self, timing: Timing, head: Head, body_here_at: float) -> AsyncIterator[bytes]:
        async for chunk in head.body:
            yield chunk
        self._account(timing, head, body_here_at)

    def _account(self, timing: Timing, head: Head, body_here_at: float) -> None:
        """What the worker says it took is its own; the rest is the way, half there and half back. Called with the head,
        and again when the body is whole."""
        timing.worker_s = _steps(head)
        at_worker_s = head.stages_s.get("total", 0.0) - head.stages_s.get("upload", 0.0)
        way_s = max(0.0, self._clock() - body_here_at - max(0.0, at_worker_s))
        timing.tunnel_out_s = timing.tunnel_back_s = way_s / 2


def _steps(head: Head) -> dict[str, float]:
    return {name: seconds for name, seconds in head.stages_s.items() if name not in ("upload", "total")}
