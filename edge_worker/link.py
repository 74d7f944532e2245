"""One gateway: dials it, serves its exchanges, and dials again when the tunnel ends, until told to leave.

Owns the session of the moment. What an exchange computes is `exchange_runner.py`'s; how long to wait is `backoff.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_worker.backends.base import ServedModel
from edge_worker.backoff import Backoff
from edge_worker.dialer import DialFailed, dial
from edge_worker.exchange_runner import Answered, ExchangeRunner, WholeRequest
from wire import VERSION, events
from wire.channel import Channel
from wire.errors import CloseCode, ExchangeCode
from wire.frames import Buffer, Hello, Load, Model, RequestHead
from wire.limits import Limits
from wire.pump import Pump
from wire.session import Role, Session, State

_REFUSALS = frozenset(
    {CloseCode.SUPERSEDED, CloseCode.IDENTITY_IN_USE, CloseCode.UNAUTHORIZED, CloseCode.VERSION_UNSUPPORTED}
)
"""Ends that dialling again does not mend by itself."""

EXPIRY_WARNING_S = 300.0
"""A token that is valid for less than this when it is taken was probably forgotten."""

log = logging.getLogger("edge_worker.link")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is to every gateway."""

    worker: str
    generation: int
    """Milliseconds of the wall clock when the process started: a restarted worker takes over from its old self."""
    software: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Arriving:
    """A request whose body is still coming."""

    head: RequestHead
    chunks: list[Buffer] = field(default_factory=list)
    size: int = 0


class GatewayLink:
    """This worker's tunnel to one gateway."""

    def __init__(
        self,
        url: str,
        identity: Identity,
        models: Sequence[ServedModel],
        runner: ExchangeRunner,
        *,
        read_token: Callable[[], str],
        tls: ssl.SSLContext,
        limits: Limits,
        max_body_bytes: int,
        backoff: Backoff,
    ) -> None:
        """`read_token` is called for each dial and may raise OSError."""
        self.url = url
        self._identity = identity
        self._models = tuple(Model(m.name, m.version, m.slots, m.failure, dict(m.metadata)) for m in models)
        self._runner = runner
        self._read_token = read_token
        self._tls = tls
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._backoff = backoff
        self._dials = 0
        self._session: Session | None = None
        self._pump: Pump | None = None
        self._arriving: dict[int, _Arriving] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._is_leaving = False
        self._was_heard = False
        self._retry_now = asyncio.Event()
        self._idle = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Whether the tunnel is open at the moment."""
        return self._session is not None and self._session.state is State.OPEN

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Holds a tunnel until `drain` has let it go."""
        while not self._is_leaving:
            try:
                delay_s = await self._one_tunnel()
            except DialFailed as error:
                delay_s = self._backoff.next_delay_s(error.retry_after_s, is_refusal=error.is_refusal)
                log.warning("not connected", extra={"gateway": self.url, "reason": str(error), "retry_s": delay_s})
            if not self._is_leaving:
                await self._pause(delay_s)

    async def _one_tunnel(self) -> float:
        """Dials and serves until the tunnel ends; returns seconds to wait before the next."""
        try:
            token = self._read_token()
        except OSError as error:
            raise DialFailed(f"the token cannot be read: {error}", is_refusal=True) from error
        channel = await dial(self.url, token, self._tls)
        if self._is_leaving:  # told while dialling
            await channel.close(CloseCode.SHUTTING_DOWN.websocket, "the worker is shutting down")
            return 0.0
        began = time.monotonic()
        ended = await self._serve(channel)
        self._backoff.connection_lived(time.monotonic() - began)
        delay_s = self._backoff.next_delay_s(is_refusal=ended.by_peer and ended.code in _REFUSALS)
        if not self._is_leaving:
            log.warning(
                "disconnected",
                extra={
                    "gateway": self.url,
                    "code": ended.code.name.lower(),
                    "reason": ended.text,
                    "retry_s": round(delay_s, 3),
                },
            )
        return delay_s

    async def _serve(self, channel: Channel) -> events.SessionEnded:
        self._dials += 1
        session = Session(Role.WORKER, self._limits, time.monotonic())
        pump = Pump(session, channel, self._on_event)
        self._session, self._pump = session, pump
        session.hello(self._hello())
        try:
            return await pump.run()
        finally:
            self._session = self._pump = None
            self._drop_all()

    def _hello(self) -> Hello:
        return Hello(
            versions=(VERSION,),
            worker=self._identity.worker,
            generation=self._identity.generation,
            dial=self._dials,
            software=self._identity.software,
            models=self._models,
            max_exchanges=self._limits.max_exchanges,
            window=self._limits.window_bytes,
            labels=dict(self._identity.labels),
        )

    async def _pause(self, delay_s: float) -> None:
        self._retry_now.clear()
        try:
            async with asyncio.timeout(delay_s):
                await self._retry_now.wait()
        except TimeoutError:
            return

    # --- told by the app ----------------------------------------------------------------------------------------------

    def token_changed(self, token: str) -> None:
        """A newer token: renews it in-band, or dials at once with it."""
        if self._session is not None and self._pump is not None and self.is_up:
            self._session.offer_token(token)
            self._pump.wake()
        self._retry_now.set()

    def report_load(self, load: Load) -> None:
        """Tells the gateway how busy this worker is."""
        if self._session is not None and self._pump is not None and self.is_up:
            self._session.report_load(load)
            self._pump.wake()

    async def drain(self, grace_s: float, reason: str) -> None:
        """Asks for no more work, finishes what is here within `grace_s`, and leaves. Returns when it has left."""
        self._is_leaving = True
        self._retry_now.set()
        session, pump = self._session, self._pump
        if session is None or pump is None:
            return
        if session.state is State.OPEN:
            session.drain(grace_s, reason)
            pump.wake()
            try:
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
            except TimeoutError:
                log.warning("left with work undone", extra={"gateway": self.url, "exchanges": session.open_exchanges})
        session.close(CloseCode.SHUTTING_DOWN, reason)
        pump.wake()

    # --- exchanges ----------------------------------------------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.RequestReceived():
                self._begin(event.exchange, event.head)
            case events.BodyReceived():
                self._take(event.exchange, event.data)
            case events.BodyEnded():
                self._start(event.exchange)
            case events.ExchangeCancelled():
                self._drop(event.exchange)
            case events.WelcomeReceived():
                log.info("connected", extra={"gateway": self.url, "session": event.welcome.session})
                self._watch_expiry(event.welcome.token_expires_in_ms / 1000)
            case events.TokenRenewed():
                log.info("token renewed", extra={"gateway": self.url, "expires_in_s": event.expires_in_s})
                self._watch_expiry(event.expires_in_s)
            case events.DrainHeard():
                self._was_heard = True
                self._look_idle()
            case events.ResponseSent():
                self._look_idle()
            case events.PeerDraining():
                log.info("gateway draining", extra={"gateway": self.url, "reason": event.text})

    def _begin(self, exchange: int, head: RequestHead) -> None:
        if head.body_bytes is not None and head.body_bytes > self._max_body_bytes:
            self._fail(exchange, ExchangeCode.PAYLOAD_TOO_LARGE, self._too_large())
        else:
            self._arriving[exchange] = _Arriving(head)

    def _take(self, exchange: int, data: Buffer) -> None:
        arriving = self._arriving.get(exchange)
        if arriving is None or self._session is None:
            return
        arriving.chunks.append(data)
        arriving.size += len(data)
        if arriving.size > self._max_body_bytes:
            del self._arriving[exchange]
            self._fail(exchange, ExchangeCode.PAYLOAD_TOO_LARGE, self._too_large())
        else:
            self._session.consume(exchange, len(data), time.monotonic())

    def _start(self, exchange: int) -> None:
        arriving = self._arriving.pop(exchange, None)
        if arriving is None:
            return
        body = arriving.chunks[0] if len(arriving.chunks) == 1 else b"".join(arriving.chunks)
        request = WholeRequest(arriving.head, body, time.monotonic())
        task = asyncio.create_task(self._run(exchange, request))
        self._running[exchange] = task
        task.add_done_callback(lambda _: self._finished(exchange))

    async def _run(self, exchange: int, request: WholeRequest) -> None:
        result = await self._runner.run(request)
        session, pump = self._session, self._pump
        if session is None or pump is None or not session.is_open(exchange):
            return
        if isinstance(result, Answered):
            session.respond(exchange, result.head)
            session.send_body(exchange, result.body, end=True)
            pump.wake()
        else:
            self._fail(exchange, result.code, result.text)

    def _finished(self, exchange: int) -> None:
        self._running.pop(exchange, None)
        self._look_idle()

    def _look_idle(self) -> None:
        """Once the gateway has heard our DRAIN and every exchange is over to its last byte, we may go."""
        if self._was_heard and self._session is not None and self._session.open_exchanges == 0:
            self._idle.set()

    def _fail(self, exchange: int, code: ExchangeCode, text: str) -> None:
        if self._session is not None and self._pump is not None:
            self._session.fail(exchange, code, text)
            self._pump.wake()

    def _drop(self, exchange: int) -> None:
        self._arriving.pop(exchange, None)
        task = self._running.get(exchange)
        if task is not None:
            task.cancel()
        self._look_idle()

    def _drop_all(self) -> None:
        self._arriving.clear()
        for task in self._running.values():
            task.cancel()
        self._idle.set()

    def _too_large(self) -> str:
        return f"the body is over this worker's limit of {self._max_body_bytes} bytes"

    def _watch_expiry(self, expires_in_s: float) -> None:
        if 0 < expires_in_s < EXPIRY_WARNING_S:
            log.warning("the token expires soon", extra={"gateway": self.url, "expires_in_s": expires_in_s})
