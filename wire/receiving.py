"""What a session makes of its peer's frames: one handler for each, and the table of who may say what when.

A peer's error never raises beyond `receive`: it ends the session with a GOAWAY that names it, or the one exchange that
it concerns (docs/reference/wire.md, the life of an exchange).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import VERSION
from .codec import decode, encode
from .errors import CloseCode, ExchangeCode, RemoteProtocolError
from .events import (
    BodyEnded,
    BodyReceived,
    DrainHeard,
    ExchangeCancelled,
    ExchangeFailed,
    HelloReceived,
    LoadReported,
    ModelsChanged,
    PeerDraining,
    RequestReceived,
    ResponseReceived,
    RoundTripMeasured,
    TokenReceived,
    TokenRenewed,
    WelcomeReceived,
)
from .exchange import BrokenBody, Exchange, Half
from .frames import (
    Ack,
    Buffer,
    Cancel,
    Credit,
    Data,
    Drain,
    Failed,
    Frame,
    GoAway,
    Hello,
    Load,
    Metadata,
    Models,
    Ping,
    Pong,
    Request,
    Response,
    Token,
    TokenAccepted,
    Trailers,
    Welcome,
)
from .limits import KIB, Limits
from .sending import Role, Sending, State, micros

MAX_UNACKNOWLEDGED_BYTES = 1024 * KIB
"""Body bytes after which an ACK is sent unasked, so that the peer's count never goes stale."""

CLOCK_SAMPLES = 8
"""Heartbeats among which the one with the least round trip gives the clock offset (NTP, RFC 5905 10, keeps 8)."""

MAX_WAITING_CONTROL = 4096
"""Control frames that may wait for the channel. Four for each exchange and more: only a peer that asks and asks and
does not read makes them so many."""


class Receiving(Sending):
    """One end's reading of the other."""

    def __init__(self, role: Role, limits: Limits, now: float) -> None:
        super().__init__(role, limits, now)
        self._handlers = _HANDLERS[role, State.OPENING]

    def receive(self, message: Buffer, now: float) -> None:
        """One message from the peer. Never raises for what the peer did."""
        if self.state is State.ENDED:
            return
        self._heard_at = now
        try:
            if len(self._control) > MAX_WAITING_CONTROL:
                raise RemoteProtocolError(f"{len(self._control)} control frames wait, and the peer does not read them")
            frame = decode(message)
            handler = self._handlers.get(type(frame))
            if handler is None:
                raise RemoteProtocolError(f"{type(frame).__name__.upper()} is not for a {self.state.name} session here")
            handler(self, frame, now)
        except RemoteProtocolError as error:
            self._end(error.code, str(error), by_peer=False)

    def _on_hello(self, hello: Hello, now: float) -> None:
        if self._was_introduced:
            raise RemoteProtocolError("HELLO: a second one")
        if VERSION not in hello.versions:
            spoken = ", ".join(str(version) for version in hello.versions[:8])
            raise RemoteProtocolError(
                f"this gateway speaks version {VERSION}, the worker {spoken or 'none'}", CloseCode.VERSION_UNSUPPORTED
            )
        self._peer_max_exchanges, self._peer_window = hello.max_exchanges, hello.window
        self.events.append(HelloReceived(hello))

    @property
    def _was_introduced(self) -> bool:
        return self._peer_max_exchanges > 0  # HELLO has at least 1

    def _on_welcome(self, welcome: Welcome, now: float) -> None:
        if welcome.version != VERSION:
            raise RemoteProtocolError(f"the gateway chose version {welcome.version}", CloseCode.VERSION_UNSUPPORTED)
        self._open()
        self._peer_window = welcome.window
        self._silence_s = welcome.heartbeat_ms / 1000 * welcome.misses
        self.events.append(WelcomeReceived(welcome))

    def _open(self) -> None:
        self.state = State.OPEN
        self._handlers = _HANDLERS[self.role, State.OPEN]

    def _on_models(self, frame: Models, now: float) -> None:
        self.events.append(ModelsChanged(frame.models))

    def _on_load(self, frame: Load, now: float) -> None:
        self.events.append(LoadReported(frame))

    def _on_ping(self, ping: Ping, now: float) -> None:
        if ping.rtt_us:
            self.rtt_s = ping.rtt_us / 1e6
            self.path.measured_rtt(self.rtt_s, now)
        self._control.append(Pong(ping.sent_us, micros(now), 0))

    def _on_pong(self, pong: Pong, now: float) -> None:
        """theta = ((t2-t1)+(t3-t4))/2, delta = (t4-t1)-(t3-t2): RFC 5905 8."""
        self._answered()
        t1, t2, t3, t4 = pong.ping_us, pong.received_us, pong.sent_us, micros(now)
        rtt_us = (t4 - t1) - (t3 - t2)
        if rtt_us < 0 or t3 < t2 or t1 > t4:
            raise RemoteProtocolError("PONG: times that cannot be")
        rtt_s = max(rtt_us, 1) / 1e6
        self._clock = [*self._clock[1 - CLOCK_SAMPLES :], (rtt_s, ((t2 - t1) + (t3 - t4)) / 2e6)]
        is_first = self.rtt_s == 0.0
        self.rtt_s = rtt_s if is_first else self.rtt_s + (rtt_s - self.rtt_s) / 8
        self.path.measured_rtt(rtt_s, now)
        self.events.append(RoundTripMeasured(self.rtt_s, min(self._clock)[1]))
        if is_first:
            self._ping(now)  # it carries the round trip, from which the worker's windows grow

    def _on_drain_pong(self, pong: Pong, now: float) -> None:
        self._answered()
        self.events.append(DrainHeard())

    def _answered(self) -> None:
        if self._pings_unanswered == 0:
            raise RemoteProtocolError("PONG: nothing was asked")
        self._pings_unanswered -= 1

    def _on_ack(self, ack: Ack, now: float) -> None:
        self.path.acknowledged(ack.received, now)

    def _on_token(self, frame: Token, now: float) -> None:
        self.events.append(TokenReceived(frame.token))

    def _on_token_accepted(self, frame: TokenAccepted, now: float) -> None:
        self.events.append(TokenRenewed(frame.expires_in_ms / 1000))

    def _on_drain(self, frame: Drain, now: float) -> None:
        """What has not left yet never does: it is free to go to another worker."""
        self.peer_is_draining = True
        self.events.append(PeerDraining(frame.grace_ms / 1000, frame.text))
        if self.role is Role.GATEWAY:
            for number in [head.exchange for head in self._heads]:
                self._forget(number)
                self.events.append(ExchangeFailed(number, ExchangeCode.DRAINING, frame.text))

    def _on_goaway(self, frame: GoAway, now: float) -> None:
        self._end(CloseCode.read(frame.code), frame.text, by_peer=True)

    def _on_request(self, frame: Request, now: float) -> None:
        number = frame.exchange
        if number <= self._last_exchange:
            raise RemoteProtocolError(f"REQUEST: exchange {number} after {self._last_exchange}")
        self._last_exchange = number
        self._received(len(frame.data), frame.ack_now)
        if len(self._exchanges) >= self.limits.max_exchanges:
            text = f"{self.limits.max_exchanges} exchanges are open already"
            self._control.append(encode(Failed(number, ExchangeCode.OVERLOADED, text)))
            return
        exchange = self._add_exchange(number, now)
        exchange.incoming.expected_bytes = frame.head.body_bytes
        self.events.append(RequestReceived(number, frame.head))
        self._take_in(exchange, frame, frame.data, frame.end)

    def _on_response(self, frame: Response, now: float) -> None:
        self._received(len(frame.data), frame.ack_now)
        exchange = self._known(frame.exchange)
        if exchange is None:  # over here while the peer was still sending
            return
        if exchange.incoming.half is Half.HEAD:
            if frame.head.status >= 200:
                exchange.incoming.expected_bytes = frame.head.body_bytes
            self.events.append(ResponseReceived(frame.exchange, frame.head))
        self._take_in(exchange, frame, frame.data, frame.end)

    def _on_data(self, frame: Data, now: float) -> None:
        self._received(len(frame.data), frame.ack_now)
        exchange = self._known(frame.exchange)
        if exchange is not None:
            self._take_in(exchange, frame, frame.data, frame.end)

    def _on_trailers(self, frame: Trailers, now: float) -> None:
        exchange = self._known(frame.exchange)
        if exchange is not None:
            self._take_in(exchange, frame, b"", is_last=True, trailers=frame.metadata)

    def _take_in(
        self,
        exchange: Exchange,
        frame: Request | Response | Data | Trailers,
        data: Buffer,
        is_last: bool,
        trailers: Metadata = (),
    ) -> None:
        """The body's part of any frame that has one."""
        incoming = exchange.incoming
        incoming.window.receive(len(data))
        try:
            incoming.advance(frame, is_last)
            incoming.count(len(data))
        except BrokenBody as error:
            self._break(exchange, str(error))
            return
        if data:
            self.events.append(BodyReceived(exchange.number, data))
        if incoming.half is Half.DONE:
            self.events.append(BodyEnded(exchange.number, trailers))
            if self.role is Role.GATEWAY:
                self._forget(exchange.number)

    def _received(self, size: int, ack_now: bool) -> None:
        self._received_bytes += size
        if ack_now or self._received_bytes - self._acknowledged_bytes >= MAX_UNACKNOWLEDGED_BYTES:
            self._ack_is_due = True

    def _break(self, exchange: Exchange, text: str) -> None:
        """The peer broke one exchange: it ends here and there, and every other goes on."""
        self._forget(exchange.number)
        if self.role is Role.GATEWAY:
            self._control.append(encode(Cancel(exchange.number, ExchangeCode.INTERNAL, text)))
            self.events.append(ExchangeFailed(exchange.number, ExchangeCode.INTERNAL, text))
        else:
            self._control.append(encode(Failed(exchange.number, ExchangeCode.BAD_REQUEST, text)))
            self.events.append(ExchangeCancelled(exchange.number, ExchangeCode.BAD_REQUEST, text))

    def _on_credit(self, frame: Credit, now: float) -> None:
        exchange = self._known(frame.exchange)
        if exchange is None:
            return
        exchange.outgoing.window.grant(frame.bytes)
        if exchange.outgoing.is_waiting:
            self._enqueue(exchange)

    def _on_cancel(self, frame: Cancel, now: float) -> None:
        if self._known(frame.exchange) is not None:
            self._forget(frame.exchange)
            self.events.append(ExchangeCancelled(frame.exchange, ExchangeCode.read(frame.code), frame.text))

    def _on_failed(self, frame: Failed, now: float) -> None:
        if self._known(frame.exchange) is not None:
            self._forget(frame.exchange)
            self.events.append(ExchangeFailed(frame.exchange, ExchangeCode.read(frame.code), frame.text))

    def _known(self, number: int) -> Exchange | None:
        """The exchange a frame is about; None when it is over here. Raises RemoteProtocolError if it never was."""
        if number > self._last_exchange:
            raise RemoteProtocolError(f"exchange {number} was never opened")
        return self._exchanges.get(number)


# Any: each handler takes its own frame class, which the key of the table guarantees.
_Handler = Callable[[Receiving, Any, float], None]

_BOTH: dict[type[Frame], _Handler] = {
    Ack: Receiving._on_ack,
    Data: Receiving._on_data,
    Trailers: Receiving._on_trailers,
    Credit: Receiving._on_credit,
    Drain: Receiving._on_drain,
    GoAway: Receiving._on_goaway,
}

_HANDLERS: dict[tuple[Role, State], dict[type[Frame], _Handler]] = {
    (Role.GATEWAY, State.OPENING): {Hello: Receiving._on_hello, GoAway: Receiving._on_goaway},
    (Role.GATEWAY, State.OPEN): _BOTH
    | {
        Ping: Receiving._on_ping,
        Models: Receiving._on_models,
        Load: Receiving._on_load,
        Pong: Receiving._on_pong,
        Token: Receiving._on_token,
        Response: Receiving._on_response,
        Failed: Receiving._on_failed,
    },
    (Role.WORKER, State.OPENING): {Welcome: Receiving._on_welcome, GoAway: Receiving._on_goaway},
    (Role.WORKER, State.OPEN): _BOTH
    | {
        Ping: Receiving._on_ping,
        Pong: Receiving._on_drain_pong,
        TokenAccepted: Receiving._on_token_accepted,
        Request: Receiving._on_request,
        Cancel: Receiving._on_cancel,
    },
}
