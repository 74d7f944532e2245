"""One tunnel, from HELLO to its end: the session, and the exchanges that come over it.

All that belongs to one connection lives and dies here, so that nothing of it can reach the next one. What an exchange
computes is `exchange_runner.py`'s; when to dial, and what to do when this has ended, is `link.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from edge_worker.exchange_runner import Answered, NotAnswered, WholeRequest
from wire import events
from wire.channel import Channel
from wire.errors import CloseCode, ExchangeCode
from wire.frames import Buffer, Hello, Load, RequestHead
from wire.limits import Limits
from wire.pump import Pump
from wire.session import Role, Session, State

EXPIRY_WARNING_S = 300.0
"""A token that is valid for less than this when it is taken was probably forgotten."""

HELD_BODIES = 8
"""Bodies of the largest size that one tunnel may make this worker hold, arriving, waiting and running together. 128
photographs are far less; 128 of the largest would end the process."""

log = logging.getLogger("edge_worker.tunnel")


class Runner(Protocol):
    """What computes: ExchangeRunner, or something in front of it."""

    async def run(self, request: WholeRequest) -> Answered | NotAnswered:
        """Never raises but CancelledError."""


@dataclass(slots=True)
class _Arriving:
    """A request whose body is still coming."""

    head: RequestHead
    began_at: float
    chunks: list[Buffer] = field(default_factory=list)
    size: int = 0


class Tunnel:
    """One connection's session and its work."""

    def __init__(
        self,
        channel: Channel,
        gateway: str,
        hello: Hello,
        runner: Runner,
        limits: Limits,
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gateway` is its address, for the log."""
        self._gateway = gateway
        self._runner = runner
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._session = Session(Role.WORKER, limits, clock())
        self._pump = Pump(self._session, channel, self._on_event, clock)
        self._session.hello(hello)
        self._tasks = asyncio.TaskGroup()
        self._arriving: dict[int, _Arriving] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._held: dict[int, int] = {}  # body bytes by exchange, until it is over here
        self._told: Load | None = None
        self._was_heard = False
        self._opened = asyncio.Event()
        self._idle = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether the gateway has let us in and is still there."""
        return self._session.state is State.OPEN

    async def run(self) -> events.SessionEnded:
        """Serves until the tunnel ends, and drops what is unfinished then."""
        try:
            async with self._tasks:
                ended = await self._pump.run()
                for task in self._running.values():
                    task.cancel()
        finally:
            self._opened.set()
            self._idle.set()
        return ended

    # --- told by the link ---------------------------------------------------------------------------------------------

    def offer_token(self, token: str) -> None:
        """Renews the token of an open tunnel."""
        self._session.offer_token(token)
        self._pump.wake()

    def report_load(self, load: Load) -> None:
        """Tells the gateway of an open tunnel how busy this worker is, if that is news."""
        if load != self._told:
            self._told = load
            self._session.report_load(load)
            self._pump.wake()

    async def drain(self, grace_s: float, reason: str) -> None:
        """Asks for no more work, finishes what is here within `grace_s`, and says goodbye."""
        try:
            async with asyncio.timeout(grace_s):
                await self._opened.wait()  # the gateway may have let us in, and have sent work behind its WELCOME
                if self.is_open:
                    self._session.drain(grace_s, reason)
                    self._pump.wake()
                    await self._idle.wait()
        except TimeoutError:
            open_exchanges = self._session.open_exchanges
            log.warning("left with work undone", extra={"gateway": self._gateway, "exchanges": open_exchanges})
        self._session.close(CloseCode.SHUTTING_DOWN, reason)
        self._pump.wake()

    # --- events -------------------------------------------------------------------------------------------------------

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
            case events.ResponseSent():
                self._look_idle()
            case events.DrainHeard():
                self._was_heard = True
                self._look_idle()
            case _:
                self._on_session_event(event)

    def _on_session_event(self, event: events.Event) -> None:
        match event:
            case events.WelcomeReceived():
                log.info("connected", extra={"gateway": self._gateway, "session": event.welcome.session})
                self._opened.set()
                self._watch_expiry(event.welcome.token_expires_in_ms / 1000)
            case events.TokenRenewed():
                log.info("token renewed", extra={"gateway": self._gateway, "expires_in_s": event.expires_in_s})
                self._watch_expiry(event.expires_in_s)
            case events.PeerDraining():
                log.info("gateway draining", extra={"gateway": self._gateway, "reason": event.text})

    def _watch_expiry(self, expires_in_s: float) -> None:
        if 0 < expires_in_s < EXPIRY_WARNING_S:
            log.warning("the token expires soon", extra={"gateway": self._gateway, "expires_in_s": expires_in_s})

    def _look_idle(self) -> None:
        """Once the gateway has heard our DRAIN and every exchange is over to its last byte, we may go."""
        if self._was_heard and self._session.open_exchanges == 0:
            self._idle.set()

    # --- exchanges ----------------------------------------------------------------------------------------------------

    def _begin(self, exchange: int, head: RequestHead) -> None:
        if head.body_bytes is not None and head.body_bytes > self._max_body_bytes:
            self._refuse_size(exchange)
        else:
            self._arriving[exchange] = _Arriving(head, self._clock())

    def _take(self, exchange: int, data: Buffer) -> None:
        arriving = self._arriving.get(exchange)
        if arriving is None:
            return
        arriving.chunks.append(data)
        arriving.size += len(data)
        self._held[exchange] = arriving.size
        if arriving.size > self._max_body_bytes:
            self._refuse_size(exchange)
        elif sum(self._held.values()) > HELD_BODIES * self._max_body_bytes:
            self._refuse(exchange, ExchangeCode.OVERLOADED, "this worker holds too many bytes of bodies already")
        else:
            self._session.consume(exchange, len(data), self._clock())

    def _start(self, exchange: int) -> None:
        arriving = self._arriving.pop(exchange, None)
        if arriving is None:
            return
        body = arriving.chunks[0] if len(arriving.chunks) == 1 else b"".join(arriving.chunks)
        request = WholeRequest(arriving.head, body, arriving.began_at, self._clock())
        task = self._tasks.create_task(self._run(exchange, request))
        self._running[exchange] = task
        task.add_done_callback(lambda _: self._finished(exchange))  # also when it is cancelled before it began

    def _finished(self, exchange: int) -> None:
        del self._running[exchange]
        self._held.pop(exchange, None)  # a request may have no body

    async def _run(self, exchange: int, request: WholeRequest) -> None:
        result = await self._runner.run(request)
        if not self._session.is_open(exchange):
            return  # cancelled in the moment in which it was done
        if isinstance(result, Answered):
            self._answer(exchange, result)
        else:
            self._fail(exchange, result)

    def _answer(self, exchange: int, answer: Answered) -> None:
        try:
            self._session.respond(exchange, answer.head)
        except ValueError as error:
            log.error("answer cannot be sent", extra={"gateway": self._gateway, "reason": str(error)})
            self._fail(exchange, NotAnswered(ExchangeCode.INTERNAL, f"the answer's head cannot be sent: {error}"))
            return
        self._session.send_body(exchange, answer.body, end=True)
        self._pump.wake()

    def _fail(self, exchange: int, failure: NotAnswered) -> None:
        self._session.fail(exchange, failure.code, failure.text)
        self._pump.wake()
        self._look_idle()

    def _refuse_size(self, exchange: int) -> None:
        text = f"the body is over this worker's limit of {self._max_body_bytes} bytes"
        self._refuse(exchange, ExchangeCode.PAYLOAD_TOO_LARGE, text)

    def _refuse(self, exchange: int, code: ExchangeCode, text: str) -> None:
        """Ends an exchange whose body is still to come, or coming."""
        self._forget(exchange)
        self._fail(exchange, NotAnswered(code, text))

    def _drop(self, exchange: int) -> None:
        task = self._running.get(exchange)
        if task is not None:
            task.cancel()
        else:
            self._forget(exchange)
        self._look_idle()

    def _forget(self, exchange: int) -> None:
        self._arriving.pop(exchange, None)
        self._held.pop(exchange, None)
