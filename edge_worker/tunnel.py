"""One tunnel, from HELLO to its end: the session, and the exchanges that come over it.

All that belongs to one connection lives and dies here, so that nothing of it can reach the next one. What becomes of an
exchange is `whole.py`'s or `streamed.py`'s; when to dial, and what to do when this has ended, is `link.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_worker.exchange_runner import ExchangeRunner
from edge_worker.forward_runner import ForwardRunner
from edge_worker.streamed import StreamIntake
from edge_worker.whole import WholeIntake
from wire import events
from wire.channel import Channel
from wire.errors import CloseCode
from wire.frames import Buffer, Hello, Load, Metadata, Model, RequestHead
from wire.limits import Limits
from wire.pump import Pump
from wire.session import Role, Session, State

EXPIRY_WARNING_S = 300.0
"""A token that is valid for less than this when it is taken was probably forgotten."""

log = logging.getLogger("edge_worker.tunnel")


class Intake(Protocol):
    """What becomes of the exchanges of one tunnel: WholeIntake, StreamIntake. Each is over when its answer is sent."""

    def request_received(self, exchange: int, head: RequestHead) -> None:
        """An exchange began."""

    def body_received(self, exchange: int, data: Buffer) -> None:
        """More of its request."""

    def body_ended(self, exchange: int, trailers: Metadata) -> None:
        """Its request is whole."""

    def body_sent(self, exchange: int) -> None:
        """There is room for more of its answer."""

    def cancelled(self, exchange: int) -> None:
        """Nobody waits for it any more."""

    def drop_all(self) -> None:
        """The tunnel is over."""


class Tunnel:
    """One connection's session and its work."""

    def __init__(
        self,
        channel: Channel,
        gateway: str,
        hello: Hello,
        runner: ExchangeRunner | ForwardRunner,
        limits: Limits,
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gateway` is its address, for the log."""
        self._gateway = gateway
        self._session = Session(Role.WORKER, limits, clock())
        self._pump = Pump(self._session, channel, self._on_event, clock)
        self._session.hello(hello)
        self._tasks = asyncio.TaskGroup()
        if isinstance(runner, ForwardRunner):
            self._intake: Intake = StreamIntake(self._session, self._pump, runner, self._tasks, clock, self._look_idle)
        else:
            self._intake = WholeIntake(
                self._session, self._pump, runner, max_body_bytes, self._tasks, clock, self._look_idle
            )
        self._told: Load | None = None
        self._newer_models: Sequence[Model] | None = None  # than those of our HELLO
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
                self._intake.drop_all()
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

    def update_models(self, models: Sequence[Model]) -> None:
        """Announces all models anew: now, or when the gateway has let us in."""
        if self.is_open:
            self._session.update_models(models)
            self._pump.wake()
        else:
            self._newer_models = models

    async def drain(self, grace_s: float, reason: str) -> int:
        """Asks for no more work, finishes what is here within `grace_s`, and says goodbye. Returns how many exchanges
        were still open then."""
        undone = 0
        try:
            async with asyncio.timeout(grace_s):
                await self._opened.wait()  # the gateway may have let us in, and have sent work behind its WELCOME
                if self.is_open:
                    self._session.drain(grace_s, reason)
                    self._pump.wake()
                    await self._idle.wait()
        except TimeoutError:
            undone = self._session.open_exchanges
            log.warning("left with work undone", extra={"gateway": self._gateway, "exchanges": undone})
        self._session.close(CloseCode.SHUTTING_DOWN, reason)
        self._pump.wake()
        return undone

    # --- events -------------------------------------------------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.RequestReceived():  # first: the most by far
                self._intake.request_received(event.exchange, event.head)
            case events.BodyReceived():
                self._intake.body_received(event.exchange, event.data)
            case events.BodyEnded():
                self._intake.body_ended(event.exchange, event.trailers)
            case events.ResponseSent():
                self._look_idle()
            case events.BodySent():
                self._intake.body_sent(event.exchange)
            case events.ExchangeCancelled():
                self._intake.cancelled(event.exchange)
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
                if self._newer_models is not None:
                    self.update_models(self._newer_models)
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
