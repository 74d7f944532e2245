"""One worker's tunnel as a Link: a job becomes an exchange, and the exchange's frames become the job's reply.

Owns the session and its pump. What may be sent when is the session's business; who is let in, and what a worker's
coming and going means, is `server.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from types import MappingProxyType
from typing import Protocol

from gateway.dispatch.model import (
    Body,
    ExchangeFailed,
    ExchangeRefused,
    Job,
    LinkLost,
    LoadReport,
    Metadata,
    ModelOffer,
    Reply,
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
from wire import events
from wire.channel import Channel
from wire.errors import CloseCode, ExchangeCode
from wire.frames import Buffer, Hello, Model, RequestHead, ResponseHead
from wire.limits import Limits
from wire.pump import Pump
from wire.session import LOW_WATER_BYTES, Role, Session

PROBE_METHOD = "PROBE"
"""Asks a worker to run one inference of its own sample (docs/reference/wire.md, Probes)."""

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

    @asynccontextmanager
    async def exchange(self, job: Job) -> AsyncIterator[Reply]:
        """Carries one job there and its reply back. See `gateway.dispatch.model.Link`."""
        number, call = self._open(self._head_of(job))
        call.on_informational = job.on_informational
        sender: asyncio.Task[None] | None = None
        try:
            if job.body.is_complete and (job.body.size or 0) <= LOW_WATER_BYTES:
                await self._send_body(number, job.body, call)  # all at once: it neither waits nor costs a task
            else:  # the answer may come before everything is sent
                sender = asyncio.create_task(self._send_body(number, job.body, call))
                self._pump.wake()  # the head leaves now, with what is here of the body by the time it is written
            head = await call.wait_head()
            self._account(call, head)
            yield Reply(head.status, _metadata(head), self._body(call, head), call.timing, call.trailers)
        finally:
            self._calls.pop(number, None)
            self._session.cancel(number, ExchangeCode.CANCELLED, "nobody waits for the answer")
            self._pump.wake()
            if sender is not None:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)

    async def probe(self, model: str, timeout_s: float) -> float:
        """One real inference of the worker's own sample; seconds of service. See `gateway.dispatch.model.Link`."""
        head = RequestHead(PROBE_METHOD, "/", model=model, deadline_ms=max(1, int(timeout_s * 1000)))
        number, call = self._open(head)
        try:
            async with asyncio.timeout(timeout_s):
                self._session.send_body(number, b"", end=True)
                self._pump.wake()
                answer = await call.wait_head()
                async for _ in call.body():
                    pass
        except GatewayError as error:
            raise ExchangeFailed(f"the probe was answered: {error}") from error
        finally:
            self._calls.pop(number, None)
            self._session.cancel(number, ExchangeCode.CANCELLED, "the probe is over")
            self._pump.wake()
        if answer.status != 200:
            raise ExchangeFailed(f"the probe was answered with status {answer.status}")
        return sum(micros for name, micros in answer.durations_us if name != "worker_queue") / 1e6

    def _open(self, head: RequestHead) -> tuple[int, Call]:
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

    def _head_of(self, job: Job) -> RequestHead:
        return RequestHead(
            method=job.method,
            path=job.path,
            model=job.model,
            metadata=tuple(job.metadata),
            deadline_ms=self._deadline_ms(job),
            traceparent=job.traceparent,
            body_bytes=job.body.size,
        )

    def _deadline_ms(self, job: Job) -> int:
        """0 says that there is none; a deadline that is about to pass must not read so."""
        return 0 if job.deadline == inf else max(1, int((job.deadline - self._clock()) * 1000))

    async def _send_body(self, number: int, body: Body, call: Call) -> None:
        """Forwards the body as it arrives. What the client does wrong ends the call with that error."""
        sent, was_here = 0, body.is_complete
        try:
            async for chunk in body.chunks():
                if not was_here:
                    call.body_here_at, was_here = self._clock(), body.is_complete
                sent += len(chunk)
                is_last = sent == body.size
                if not self._push(number, chunk, is_last=is_last) or is_last:
                    return
                if self._session.unsent_bytes(number) > LOW_WATER_BYTES:
                    await call.wait_room()
            if not was_here:
                call.body_here_at = self._clock()
            self._push(number, b"", is_last=True)
        except Exception as error:  # of a task's whole work: whoever waits for the answer raises it
            call.fail(error)

    def _push(self, number: int, chunk: bytes, *, is_last: bool) -> bool:
        """Gives the session more of a body; False when nobody wants it any more."""
        if not self._session.is_open(number):
            return False
        self._session.send_body(number, chunk, end=is_last)
        self._pump.wake()
        return self._session.is_open(number)

    async def _body(self, call: Call, head: ResponseHead) -> AsyncIterator[Buffer]:
        async for chunk in call.body():
            yield chunk
        self._account(call, head)

    def _account(self, call: Call, head: ResponseHead) -> None:
        """Splits the tunnel's time until now into its two ways with the clock offset (theta, RFC 5905 8). Called with
        the head, and again when the body is whole."""
        timing = call.timing
        timing.worker_s = {name: micros / 1e6 for name, micros in head.durations_us}
        timing.upload_s = call.body_here_at - call.started_at
        at_worker_s = max(0.0, (head.sent_us - head.received_us) / 1e6)
        tunnel_s = max(0.0, self._clock() - call.body_here_at - at_worker_s)
        is_offset_known = self.rtt_s > 0.0
        out_s = head.received_us / 1e6 - self._offset_s - call.body_here_at if is_offset_known else tunnel_s / 2
        timing.tunnel_out_s = min(max(0.0, out_s), tunnel_s)
        timing.tunnel_back_s = tunnel_s - timing.tunnel_out_s

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


def _metadata(head: ResponseHead) -> Metadata:
    """With the body's length, where the head says it, as HTTP has it."""
    if head.body_bytes is None:
        return head.metadata
    return (*head.metadata, ("content-length", str(head.body_bytes)))


def _failure(worker: str, event: events.ExchangeFailed) -> Exception:
    client_error = _CLIENT_ERRORS.get(event.code)
    if client_error is not None:
        return client_error(event.text)
    if event.code.was_not_begun:
        return ExchangeRefused(f"{worker}: {event.text}")
    return ExchangeFailed(f"{worker}: {event.text}")
