"""One worker's tunnel as a Link: a job becomes an exchange, and the exchange's frames become the job's reply.

Owns the session and its pump. What may be sent when is the session's business; who is let in, and what a worker's
coming and going means, is `server.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from gateway.dispatch.model import (
    ExchangeFailed,
    ExchangeRefused,
    Job,
    LinkLost,
    LoadReport,
    ModelOffer,
)
from gateway.errors import (
    BadInput,
    BadRequest,
    DeadlineExceeded,
    GatewayError,
    PayloadTooLarge,
    UnsupportedMedia,
)
from gateway.tunnel.call import Call
from gateway.tunnel.exchange import TunnelExchange
from wire import events
from wire.channel import Channel
from wire.errors import CloseCode, ExchangeCode
from wire.frames import PROBE_METHOD, Hello, Model, RequestHead
from wire.limits import Limits
from wire.pump import Pump
from wire.session import LOW_WATER_BYTES, Role, Session

_CLIENT_ERRORS: dict[ExchangeCode, type[GatewayError]] = {
    ExchangeCode.DEADLINE: DeadlineExceeded,
    ExchangeCode.BAD_REQUEST: BadRequest,
    ExchangeCode.BAD_INPUT: BadInput,
    ExchangeCode.UNSUPPORTED_MEDIA_TYPE: UnsupportedMedia,
    ExchangeCode.PAYLOAD_TOO_LARGE: PayloadTooLarge,
}


class LinkOwner(Protocol):
    """Who decides about a link; called from its events, in order, never after `ended`."""

    def introduced(self, link: WorkerLink, hello: Hello) -> None:
        """A HELLO came: answer with `welcome` or `refuse`."""

    def changed(self, link: WorkerLink, offers: Sequence[ModelOffer]) -> None:
        """The worker's models from now on."""

    def reported(self, link: WorkerLink, report: LoadReport) -> None:
        """The worker's own view of its load."""

    def draining(self, link: WorkerLink, text: str) -> None:
        """The worker finishes what it has and wants no more."""

    def offered_token(self, link: WorkerLink, token: str) -> None:
        """A newer token: answer with `accept_token`, or not at all."""

    def ended(self, link: WorkerLink, event: events.SessionEnded) -> None:
        """The tunnel is over."""


class WorkerLink:
    """A dialled-in worker."""

    def __init__(
        self,
        channel: Channel,
        limits: Limits,
        owner: LinkOwner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._clock = clock
        self._session = Session(Role.GATEWAY, limits, clock())
        self._pump = Pump(self._session, channel, self._on_event, clock)
        self._calls: dict[int, Call] = {}
        self._offset_s = 0.0
        self.worker = ""
        self.rtt_s = 0.0
        self.hello: Hello | None = None
        self.about: Mapping[str, object] = MappingProxyType({})

    async def run(self) -> None:
        """Lives until the tunnel ends."""
        try:
            await self._pump.run()
        finally:  # also when this task is cancelled
            self._session.channel_closed("the gateway stopped")
            self._pump.wake()

    # --- the owner's answers ------------------------------------------------------------------------------------------

    def welcome(self, session: str, gateway: str, token_expires_in_s: float, about: Mapping[str, object]) -> None:
        """Lets the worker in."""
        assert self.hello is not None
        self.worker, self.about = self.hello.worker, MappingProxyType(dict(about))
        self._session.welcome(session, gateway, token_expires_in_s)
        self._pump.wake()

    def refuse(self, code: CloseCode, reason: str) -> None:
        """Ends the tunnel with a code that tells the worker what to do."""
        self._session.close(code, reason)
        self._pump.wake()

    def close(self, reason: str) -> None:
        """Ends the tunnel because a newer session of the worker took over."""
        self.refuse(CloseCode.SUPERSEDED, reason)

    def accept_token(self, expires_in_s: float) -> None:
        """The offered token is in force."""
        self._session.accept_token(expires_in_s)
        self._pump.wake()

    def drain(self, grace_s: float, reason: str) -> None:
        """Tells the worker that this gateway is leaving."""
        if self.worker:
            self._session.drain(grace_s, reason)
            self._pump.wake()

    # --- exchanges ----------------------------------------------------------------------------------------------------

    def exchange(self, job: Job) -> TunnelExchange:
        """Carries one job there and its reply back. See `gateway.dispatch.model.Link`."""
        return TunnelExchange(self, job)

    async def probe(self, model: str, timeout_s: float) -> float:
        """One real inference of the worker's own sample; seconds of service. See `gateway.dispatch.model.Link`."""
        head = RequestHead(PROBE_METHOD, "/", model=model, deadline_ms=max(1, int(timeout_s * 1000)))
        number, call = self.open(head)
        try:
            async with asyncio.timeout(timeout_s):
                self.push(number, b"", is_last=True)
                self.wake()
                answer = await call.wait_head()
                async for _ in call:
                    pass
        except GatewayError as error:
            raise ExchangeFailed(f"the probe was answered: {error}") from error
        finally:
            self.close_exchange(number, "the probe is over")
        if answer.status != 200:
            raise ExchangeFailed(f"the probe was answered with status {answer.status}")
        return sum(micros for name, micros in answer.durations_us if name != "worker_queue") / 1e6

    # --- for TunnelExchange -------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds of the gateway's clock."""
        return self._clock()

    def open(self, head: RequestHead) -> tuple[int, Call]:
        """Begins an exchange. Raises ExchangeRefused, and BadRequest for a head that is too large."""
        if not self._session.can_open:
            raise ExchangeRefused(f"the tunnel of {self.worker} takes no more exchanges")
        now = self._clock()
        try:
            number = self._session.open_exchange(head, now)
        except ValueError as error:
            raise BadRequest(f"the request's head is too large for the tunnel: {error}") from error
        call = Call(lambda size: self._consume(number, size), now)
        self._calls[number] = call
        return number, call

    def push(self, number: int, chunk: bytes, *, is_last: bool) -> bool:
        """Gives the session more of a body, to be sent when it is woken; False when nobody wants it any more."""
        if not self._session.is_open(number):
            return False
        self._session.send_body(number, chunk, end=is_last)
        return True

    def has_room(self, number: int) -> bool:
        """Whether the session wants more of a body now."""
        return self._session.unsent_bytes(number) <= LOW_WATER_BYTES

    def account(self, call: Call) -> None:
        """Splits the tunnel's time until now into its two ways with the clock offset (theta, RFC 5905 8). Called with
        the head, and when the body is whole."""
        head, timing = call.head, call.timing
        assert head is not None
        timing.worker_s = {name: micros / 1e6 for name, micros in head.durations_us}
        timing.upload_s = call.body_here_at - call.started_at
        at_worker_s = max(0.0, (head.sent_us - head.received_us) / 1e6)
        tunnel_s = max(0.0, self._clock() - call.body_here_at - at_worker_s)
        is_offset_known = self.rtt_s > 0.0
        out_s = head.received_us / 1e6 - self._offset_s - call.body_here_at if is_offset_known else tunnel_s / 2
        timing.tunnel_out_s = min(max(0.0, out_s), tunnel_s)
        timing.tunnel_back_s = tunnel_s - timing.tunnel_out_s

    def close_exchange(self, number: int, text: str) -> None:
        """Nobody waits for it any more, or it is over."""
        self._calls.pop(number, None)
        if self._session.is_open(number):
            self._session.cancel(number, ExchangeCode.CANCELLED, text)
            self._pump.wake()

    def wake(self) -> None:
        """Something is to be sent."""
        self._pump.wake()

    def _consume(self, number: int, size: int) -> None:
        self._session.consume(number, size, self._clock())
        self._pump.wake()

    # --- events -------------------------------------------------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.ResponseReceived():
                if call := self._calls.get(event.exchange):
                    call.got_head(event.head)
            case events.BodyReceived():
                if call := self._calls.get(event.exchange):
                    call.got_body(event.data)
            case events.BodyEnded():
                if call := self._calls.get(event.exchange):
                    call.got_end(event.trailers)
                    self.account(call)
            case events.BodySent():
                if call := self._calls.get(event.exchange):
                    call.got_room()
            case events.ExchangeFailed():
                if call := self._calls.get(event.exchange):
                    call.fail(_failure(self.worker, event))
            case events.RoundTripMeasured():
                self.rtt_s, self._offset_s = event.rtt_s, event.offset_s
            case _:
                self._on_session_event(event)

    def _on_session_event(self, event: events.Event) -> None:
        match event:
            case events.HelloReceived():
                self.hello = event.hello
                self._owner.introduced(self, event.hello)
            case events.ModelsChanged():
                self._owner.changed(self, offers_of(event.models))
            case events.LoadReported():
                load = event.load
                self._owner.reported(self, LoadReport(load.running, load.waiting, load.details))
            case events.PeerDraining():
                self._owner.draining(self, event.text)
            case events.TokenReceived():
                self._owner.offered_token(self, event.token)
            case events.SessionEnded():
                self._lose_calls(f"the tunnel of {self.worker or 'a worker'} ended: {event.text}")
                self._owner.ended(self, event)

    def _lose_calls(self, text: str) -> None:
        for call in self._calls.values():
            call.fail(LinkLost(text))


def offers_of(models: Sequence[Model]) -> tuple[ModelOffer, ...]:
    """The wire's models in dispatch's words."""
    return tuple(ModelOffer(m.name, m.version, m.slots, m.failure, m.metadata) for m in models)


def _failure(worker: str, event: events.ExchangeFailed) -> Exception:
    client_error = _CLIENT_ERRORS.get(event.code)
    if client_error is not None:
        return client_error(event.text)
    if event.code.was_not_begun:
        return ExchangeRefused(f"{worker}: {event.text}")
    return ExchangeFailed(f"{worker}: {event.text}")
