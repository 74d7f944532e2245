"""Sends one request and fills in its sample. The generator's door of aiohttp.

Whatever goes wrong ends as a reason in the sample, never as an exception: a failure is data. Nothing is tried again and
no redirect is followed, since what a client meets is what is counted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace, TracebackType
from typing import Protocol

import aiohttp

from bench.load.clock import Clock
from bench.load.sample import INTERRUPTED, NOT_SENT, Sample
from bench.load.target import ConnectingContext, Target
from gateway.client.connection import code_of, detail_of
from gateway.client.results import stages_of_header

NS = 1_000_000_000
MAX_ANSWER_BYTES = 16 << 20
"""An answer is read whole; a larger one is a failure."""
MAX_WEIGHTS_CHARACTERS = 80
"""Of what an answer says of its model's weights: a word or a source."""


class Transport(Protocol):
    """Where a generator sends to. A fake one with known latencies serves the tests."""

    async def send(self, sample: Sample, deadline_ns: int) -> None:
        """Makes the request and fills in everything but `index`, `t_int_ns` and `is_warmup`; never raises. Cancelled:
        sets t_done and the reason `interrupted`, and passes the cancellation on."""


class HttpTransport:
    """POSTs the target's pictures in turn. Use as an async context manager."""

    def __init__(
        self,
        target: Target,
        clock: Clock,
        *,
        connections: int = 0,
        keep_alive: bool = True,
        turn: Callable[[int], int] = lambda index: index,
    ) -> None:
        """`connections`: at most, 0 for as many as there are requests. `turn`: the place of a request among those that
        take the pictures in turn."""
        self._turn = turn
        self._target = target
        self._clock = clock
        self._connections = connections
        self._keep_alive = keep_alive
        self._headers = [{"Content-Type": picture.content_type} for picture in target.pictures]
        self._session: aiohttp.ClientSession
        self.last_detail = ""
        """The text of the last failure, for a person."""

    async def __aenter__(self) -> HttpTransport:
        if isinstance(self._target.tls, ConnectingContext):
            self._target.tls.on_handshake = self._on_handshake
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            force_close=not self._keep_alive,
            ssl=self._target.tls or True,
            # a pause between bursts shall not close what keep-alive promised to keep
            **({"keepalive_timeout": 3600.0} if self._keep_alive else {}),  # type: ignore[arg-type]
        )
        headers = {"User-Agent": "edge-bench", "Accept": "application/json, */*", **self._target.headers}
        if self._target.token:
            headers["Authorization"] = f"Bearer {self._target.token}"
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            trace_configs=[self._hooks()],
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=65536,
            max_field_size=65536,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, sample: Sample, deadline_ns: int) -> None:
        """As the protocol says."""
        left_s = (deadline_ns - self._clock.now_ns()) / NS
        if left_s <= 0:
            sample.reason, sample.t_done_ns = NOT_SENT, self._clock.now_ns()
            return
        place = self._turn(sample.index) % len(self._target.pictures)
        _current.set(sample)
        try:
            async with self._session.post(
                self._target.url,
                data=self._target.pictures[place].body,
                headers=self._headers[place],
                timeout=aiohttp.ClientTimeout(total=left_s, ceil_threshold=float("inf")),
                allow_redirects=False,
                server_hostname=self._target.server_name,
                trace_request_ctx=sample,
            ) as response:
                sample.t_first_byte_ns = self._clock.now_ns()
                body = await _read(response)
                sample.t_done_ns = self._clock.now_ns()
            sample.bytes_out = len(self._target.pictures[place].body)
            self._read_answer(sample, response, body)
        except asyncio.CancelledError:
            sample.reason = INTERRUPTED
            raise
        except Exception as error:  # at the top of a request: any other would end a run without its data
            sample.reason = code_of(error)
            self.last_detail = detail_of(error)
            if sample.t_send_ns == 0 and sample.reason == "timeout":
                sample.reason = NOT_SENT  # its time ran out while all connections were taken
        finally:
            if not sample.t_done_ns or (sample.reason and sample.status == 0):
                sample.t_done_ns = self._clock.now_ns()

    def _read_answer(self, sample: Sample, response: aiohttp.ClientResponse, body: bytes) -> None:
        sample.status = response.status
        sample.bytes_in = len(body)
        headers = response.headers
        sample.request_id = headers.get("X-Request-ID", "")[:64]
        if timing := headers.get("Server-Timing"):
            sample.stages = list(stages_of_header(timing).items())
        answer = _json_or_none(body)
        members = answer if isinstance(answer, dict) else {}
        if isinstance(worker := members.get("worker"), str):
            sample.worker = worker
        if isinstance(weights := members.get("weights"), str):
            sample.weights = weights[:MAX_WEIGHTS_CHARACTERS]
        if not 200 <= response.status < 300:
            code = members.get("code")
            sample.reason = code if isinstance(code, str) and code else f"http_{response.status}"
            self.last_detail = str(members.get("detail", "")) or body[:200].decode("utf-8", "replace")
        elif answer is None and self._target.wants_json:
            sample.reason = "not_json"
            self.last_detail = body[:200].decode("utf-8", "replace")

    def _hooks(self) -> aiohttp.TraceConfig:
        """When a connection was made or found, and when bytes left."""
        now_ns = self._clock.now_ns

        async def queued(_session: aiohttp.ClientSession, context: SimpleNamespace, _event: object) -> None:
            _sample(context).wait_ns = -now_ns()

        async def dequeued(_session: aiohttp.ClientSession, context: SimpleNamespace, _event: object) -> None:
            _sample(context).wait_ns += now_ns()

        async def connecting(_session: aiohttp.ClientSession, context: SimpleNamespace, _event: object) -> None:
            sample = _sample(context)
            sample.t_send_ns = now_ns()
            sample.is_reused = False

        async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _event: object) -> None:
            sample, now = _sample(context), now_ns()
            handshake = sample.tls_ns  # when it began; 0 without TLS
            sample.tls_ns = now - handshake if handshake else 0
            sample.connect_ns = (handshake or now) - sample.t_send_ns

        async def sending(_session: aiohttp.ClientSession, context: SimpleNamespace, _event: object) -> None:
            sample = _sample(context)
            sample.t_send_ns = sample.t_send_ns or now_ns()

        hooks = aiohttp.TraceConfig()
        hooks.on_connection_queued_start.append(queued)
        hooks.on_connection_queued_end.append(dequeued)
        hooks.on_connection_create_start.append(connecting)
        hooks.on_connection_create_end.append(connected)
        hooks.on_request_chunk_sent.append(sending)
        return hooks

    def _on_handshake(self) -> None:
        sample = _current.get()
        if sample is not None:
            sample.tls_ns = self._clock.now_ns()


_current: ContextVar[Sample | None] = ContextVar("sample of this task", default=None)


def _sample(context: SimpleNamespace) -> Sample:
    sample = context.trace_request_ctx
    assert isinstance(sample, Sample)
    return sample


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > MAX_ANSWER_BYTES:
        raise aiohttp.ClientPayloadError(f"an answer of {response.content_length} bytes")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"an answer of over {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _json_or_none(body: bytes) -> dict[str, object] | list[object] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None
