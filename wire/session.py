"""The rules of the tunnel: one end of one connection, without any I/O or clock.

Bytes and `now` go in through `receive` and `tick`; events come out of `take_events`, messages out of `next_message`,
and `next_tick` says when it next wants to be called. Both roles live here, so that what one may send and what the other
accepts stand side by side. A peer's error never raises: it ends the session with a GOAWAY that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from . import VERSION
from .codec import ACK_NOW, END, HEADER, decode, encode
from .errors import CloseCode, ExchangeCode, LocalProtocolError, RemoteProtocolError
from .events import (
    BodyEnded,
    BodyReceived,
    BodySent,
    DrainHeard,
    Event,
    ExchangeCancelled,
    ExchangeFailed,
    HelloReceived,
    LoadReported,
    ModelsChanged,
    PeerDraining,
    RequestReceived,
    ResponseReceived,
    ResponseSent,
    RoundTripMeasured,
    SessionEnded,
    TokenReceived,
    TokenRenewed,
    WelcomeReceived,
)
from .exchange import BrokenBody, Exchange, Half, Incoming, Outgoing
from .frames import (
    Ack,
    Buffer,
    Cancel,
    ControlFrame,
    Credit,
    Data,
    Drain,
    Failed,
    Frame,
    GoAway,
    Hello,
    Load,
    Metadata,
    Model,
    Models,
    Ping,
    Pong,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    Token,
    TokenAccepted,
    Trailers,
    Welcome,
)
from .heads import encode_head
from .limits import KIB, MIN_CHUNK_BYTES, Limits
from .window import Path, ReceiveBudget, ReceiveWindow, SendWindow

LOW_WATER_BYTES = 64 * KIB
"""When an exchange's unsent body falls to this, BodySent asks for more: the next chunk is there before it is missed."""

MAX_UNACKNOWLEDGED_BYTES = 1024 * KIB
"""Body bytes after which an ACK is sent unasked, so that the peer's count never goes stale."""

CLOCK_SAMPLES = 8
"""Heartbeats among which the one with the least round trip gives the clock offset (NTP, RFC 5905 10, keeps 8)."""

MAX_WAITING_CONTROL = 4096
"""Control frames that may wait for the channel. Four for each exchange and more: only a peer that asks and asks and
does not read makes them so many."""

_MAX_EXCHANGE = (1 << 32) - 1


_EMPTY = memoryview(b"")


class Role(Enum):
    """Which end this is: the gateway opens exchanges and pings, the worker introduces itself and answers."""

    GATEWAY = auto()
    WORKER = auto()


class State(Enum):
    """How far the session is."""

    OPENING = auto()
    OPEN = auto()
    ENDED = auto()


class Session:
    """One end of one tunnel."""

    def __init__(self, role: Role, limits: Limits, now: float) -> None:
        self.role = role
        self.limits = limits
        self.state = State.OPENING
        self._handlers = _HANDLERS[role, State.OPENING]
        self.path = Path(now)
        self.peer_is_draining = False
        self.rtt_s = 0.0
        """Smoothed round trip (RFC 6298 weights); 0.0 while unknown."""
        self._opened_at = self._heard_at = now
        self._ping_at = now
        self._clock: list[tuple[float, float]] = []
        self._budget = ReceiveBudget(limits)
        self._exchanges: dict[int, Exchange] = {}
        self._last_exchange = 0
        self._peer_max_exchanges = 0
        self._peer_window = 0
        self._silence_s = limits.silence_s
        # Lists, for they are short: an empty deque takes 0.6 KiB, and thousands of tunnels idle.
        self._control: list[bytes | Ping | Pong] = []  # PING and PONG get their times when they leave
        self._heads: list[_QueuedHead] = []  # of open exchanges, at most one final head each
        self._ring: list[int] = []  # open exchanges with body to send, each at most once
        self._heads_ahead_bytes = 0  # of heads that went before a body since a body last had its turn
        self._pings_unanswered = 0
        self._received_bytes = self._acknowledged_bytes = 0
        self._ack_is_due = False
        self._events: list[Event] = []

    # --- what both roles may do ---------------------------------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    @property
    def has_events(self) -> bool:
        """Whether `take_events` is worth a call."""
        return bool(self._events)

    @property
    def has_output(self) -> bool:
        """Whether `next_message` is worth a call."""
        return bool(self._control or self._heads or self._ring or self._ack_is_due)

    @property
    def open_exchanges(self) -> int:
        """Exchanges open now."""
        return len(self._exchanges)

    def is_open(self, exchange: int) -> bool:
        """Whether this exchange still lives here."""
        return exchange in self._exchanges

    def unsent_bytes(self, exchange: int) -> int:
        """Body bytes given to `send_body` and not yet taken by `next_message`."""
        return self._exchange(exchange).outgoing.unsent_bytes

    def send_body(self, exchange: int, data: Buffer, *, end: bool = False, trailers: Metadata = ()) -> None:
        """Queues body bytes; `trailers` need `end`. The buffer is not copied and must not change. When `unsent_bytes`
        is over LOW_WATER_BYTES, wait for BodySent before giving more. Raises ValueError for trailers that are too
        large."""
        assert end or not trailers
        open_exchange = self._exchange(exchange)
        encoded = encode(Trailers(exchange, trailers)) if trailers else b""
        open_exchange.outgoing.push(data, end=end, trailers=encoded)
        if open_exchange.outgoing.is_waiting:
            self._enqueue(open_exchange)

    def consume(self, exchange: int, size: int, now: float) -> None:
        """`size` bytes of a BodyReceived are used up: the peer may send as many again. Harmless once it is over."""
        open_exchange = self._exchanges.get(exchange)
        if open_exchange is None or open_exchange.incoming.half is Half.DONE:
            return
        grant = open_exchange.incoming.window.consume(size, now, self.rtt_s)
        if grant:
            self._control.append(encode(Credit(exchange, grant)))

    def drain(self, grace_s: float, text: str) -> None:
        """Asks the peer to open no more exchanges. DrainHeard follows once it has heard, and every REQUEST that it sent
        before is here."""
        self._say(Drain(int(grace_s * 1000), text))
        self._control.append(Ping(0))  # its PONG comes after all that the peer sent before it read DRAIN

    def close(self, code: CloseCode, text: str) -> None:
        """Ends the session from this side; GOAWAY is the last message. Harmless once it has ended."""
        self._end(code, text, by_peer=False)

    def channel_closed(self, text: str) -> None:
        """The connection under us went away."""
        self._end(CloseCode.PEER_LOST, text, by_peer=True)

    # --- the worker's part --------------------------------------------------------------------------------------------

    def hello(self, hello: Hello) -> None:
        """Introduces the worker: its first call. What it allows must be what this session's limits allow."""
        self._require(Role.WORKER, State.OPENING)
        if hello.window != self.limits.window_bytes or hello.max_exchanges > self.limits.max_exchanges:
            raise LocalProtocolError("HELLO allows what the session's limits do not")
        self._control.append(encode(hello))

    def update_models(self, models: Sequence[Model]) -> None:
        """Announces all models anew."""
        self._require(Role.WORKER)
        self._say(Models(tuple(models)))

    def report_load(self, load: Load) -> None:
        """Tells the gateway of this worker's load."""
        self._require(Role.WORKER)
        self._say(load)

    def offer_token(self, token: str) -> None:
        """Renews the bearer token in-band; TokenRenewed follows, or the end of the session."""
        self._require(Role.WORKER)
        self._say(Token(token))

    def respond(self, exchange: int, head: ResponseHead, *, end: bool = False) -> None:
        """Answers an exchange; its body follows by `send_body` unless `end`. Raises ValueError for a head that is out
        of range."""
        self._require(Role.WORKER)
        outgoing = self._exchange(exchange).outgoing
        if outgoing.has_head:
            raise LocalProtocolError(f"exchange {exchange} was answered twice")
        is_informational = head.status < 200
        self._heads.append(_QueuedHead(Response.TYPE, exchange, encode_head(head), is_informational))
        outgoing.has_head = not is_informational
        if end:
            outgoing.push(b"", end=True)

    def fail(self, exchange: int, code: ExchangeCode, text: str) -> None:
        """Ends an exchange without an answer, or with half of one. Harmless once it is over."""
        self._require(Role.WORKER)
        if self._forget(exchange):
            self._control.append(encode(Failed(exchange, code, text)))

    # --- the gateway's part -------------------------------------------------------------------------------------------

    def welcome(self, session: str, gateway: str, token_expires_in_s: float) -> None:
        """Accepts the worker: the tunnel is open. 0 s: the token never expires."""
        self._require(Role.GATEWAY, State.OPENING)
        if not self._was_introduced:
            raise LocalProtocolError("WELCOME before a HELLO")
        message = encode(
            Welcome(
                version=VERSION,
                session=session,
                gateway=gateway,
                heartbeat_ms=int(self.limits.heartbeat_interval_s * 1000),
                misses=self.limits.heartbeat_misses,
                window=self.limits.window_bytes,
                token_expires_in_ms=_lifetime_ms(token_expires_in_s),
            )
        )
        self._open()
        self._control.append(message)

    def accept_token(self, expires_in_s: float) -> None:
        """The offered token is in force. 0 s: it never expires."""
        self._require(Role.GATEWAY)
        self._say(TokenAccepted(_lifetime_ms(expires_in_s)))

    @property
    def _was_introduced(self) -> bool:
        return self._peer_max_exchanges > 0  # HELLO has at least 1

    @property
    def can_open(self) -> bool:
        """Whether the worker takes one more exchange."""
        return (
            self.state is State.OPEN
            and not self.peer_is_draining
            and len(self._exchanges) < self._peer_max_exchanges
            and len(self._exchanges) < self.limits.max_exchanges
        )

    def open_exchange(self, head: RequestHead, now: float, *, end: bool = False) -> int:
        """Begins an exchange and returns its number; its body follows by `send_body` unless `end`. Raises ValueError
        for a head that is out of range: too many headers, say."""
        self._require(Role.GATEWAY, State.OPEN)
        if not self.can_open or self._last_exchange == _MAX_EXCHANGE:
            raise LocalProtocolError("the worker takes no more exchanges")
        encoded = encode_head(head)
        self._last_exchange += 1
        exchange = self._add_exchange(self._last_exchange, now)
        self._heads.append(_QueuedHead(Request.TYPE, exchange.number, encoded))
        exchange.outgoing.has_head = True
        if end:
            exchange.outgoing.push(b"", end=True)
        return exchange.number

    def cancel(self, exchange: int, code: ExchangeCode, text: str) -> None:
        """Nobody waits for this exchange any more. Harmless once it is over."""
        self._require(Role.GATEWAY)
        open_exchange = self._forget(exchange)
        if open_exchange and open_exchange.outgoing.half is not Half.HEAD:  # else its REQUEST never leaves
            self._control.append(encode(Cancel(exchange, code, text)))

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_tick(self) -> float | None:
        """When `tick` is to be called at the latest; None once the session has ended."""
        if self.state is State.ENDED:
            return None
        if self.state is State.OPENING:
            return self._opened_at + self.limits.opening_timeout_s
        lost_at = self._heard_at + self._silence_s
        return min(lost_at, self._ping_at) if self.role is Role.GATEWAY else lost_at

    def tick(self, now: float) -> None:
        """Does what is due: a PING, or the end of a peer that said nothing for too long."""
        if self.state is State.OPENING and now >= self._opened_at + self.limits.opening_timeout_s:
            expected = "HELLO" if self.role is Role.GATEWAY else "WELCOME"
            self.close(CloseCode.PEER_LOST, f"no {expected} within {self.limits.opening_timeout_s:g} s")
        elif self.state is State.OPEN and now >= self._heard_at + self._silence_s:
            self.close(CloseCode.PEER_LOST, f"nothing heard for {now - self._heard_at:.1f} s")
        elif self.state is State.OPEN and self.role is Role.GATEWAY and now >= self._ping_at:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self._ping_at = now + self.limits.heartbeat_interval_s
        self._control.append(Ping(0, int(self.rtt_s * 1e6)))  # its time is set when it leaves

    # --- sending ------------------------------------------------------------------------------------------------------

    def next_message(self, now: float) -> bytes | None:
        """The next message to write, or None while there is nothing that may be sent. Control first, then heads with
        the first of their body, then bodies in turn; when heads would fill the link, bodies get half of it."""
        if self._control:
            return self._next_control(now)
        if self._ack_is_due:
            self._ack_is_due, self._acknowledged_bytes = False, self._received_bytes
            return encode(Ack(self._received_bytes))
        is_long_ago = MIN_CHUNK_BYTES <= self._heads_ahead_bytes >= self.path.chunk_bytes  # that a body had its turn
        if is_long_ago and (message := self._next_body(now)):
            return message
        if self._heads:
            message = self._next_head(self._heads.pop(0), now)
            self._heads_ahead_bytes += len(message)
            return message
        return self._next_body(now)

    def _next_control(self, now: float) -> bytes:
        message = self._control.pop(0)
        match message:
            case Ping():
                self._pings_unanswered += 1
                return encode(Ping(_micros(now), message.rtt_us))
            case Pong():
                return encode(replace(message, sent_us=_micros(now)))
        return message

    def _next_head(self, head: _QueuedHead, now: float) -> bytes:
        if head.is_informational:
            return b"".join((HEADER.pack(head.type, 0, head.exchange), *head.encoded))
        exchange = self._exchanges[head.exchange]
        exchange.outgoing.half = Half.BODY
        size = self._sendable(exchange.outgoing)
        if not self.path.has_room(size):
            self.path.held_back()
            size = 0
        data, flags = self._take(exchange, size, now)
        if not flags & END:
            self._requeue(exchange, is_first=size == 0)
        return b"".join((HEADER.pack(head.type, flags, head.exchange), *head.encoded, data))

    def _next_body(self, now: float) -> bytes | None:
        """One DATA or TRAILERS of the exchange whose turn it is, which then goes to the end of the ring. One that wants
        credit leaves the ring (CREDIT brings it back); one that finds the path full keeps its place."""
        self._heads_ahead_bytes = 0
        while self._ring:
            exchange = self._exchanges[self._ring[0]]
            outgoing = exchange.outgoing
            size = self._sendable(outgoing)
            is_short_of_credit = size == 0 and outgoing.unsent_bytes > 0
            if not is_short_of_credit and not self.path.has_room(size):
                self.path.held_back()
                return None
            self._ring.pop(0)
            outgoing.is_queued = False
            if is_short_of_credit:
                continue
            if outgoing.unsent_bytes == 0 and outgoing.trailers:
                self._sent_all(exchange)
                return outgoing.trailers
            data, flags = self._take(exchange, size, now)
            if not flags & END:
                self._requeue(exchange)
            return b"".join((HEADER.pack(Data.TYPE, flags, exchange.number), data))
        return None

    def _sendable(self, outgoing: Outgoing) -> int:
        size = min(outgoing.next_bytes, outgoing.window.available)
        return size if size <= MIN_CHUNK_BYTES else min(size, self.path.chunk_bytes)

    def _take(self, exchange: Exchange, size: int, now: float) -> tuple[memoryview, int]:
        """The next `size` bytes of a body and the flags of the frame that carries them; with END all is sent."""
        outgoing = exchange.outgoing
        flags = 0
        if size:
            before = outgoing.unsent_bytes
            data = outgoing.take(size)
            if outgoing.unsent_bytes <= LOW_WATER_BYTES < before:
                self._events.append(BodySent(exchange.number))
            asks_ack = self.path.wants_ack(size, is_bulk=outgoing.unsent_bytes > 0)
            self.path.sent(size, asks_ack, now)
            flags = ACK_NOW if asks_ack else 0
        else:
            data = _EMPTY
        if outgoing.ending and outgoing.unsent_bytes == 0 and not outgoing.trailers:
            self._sent_all(exchange)
            flags |= END
        return data, flags

    def _requeue(self, exchange: Exchange, *, is_first: bool = False) -> None:
        if exchange.outgoing.is_waiting:
            self._enqueue(exchange, is_first=is_first)

    def _enqueue(self, exchange: Exchange, *, is_first: bool = False) -> None:
        if not exchange.outgoing.is_queued:
            exchange.outgoing.is_queued = True
            self._ring.insert(0 if is_first else len(self._ring), exchange.number)

    def _sent_all(self, exchange: Exchange) -> None:
        exchange.outgoing.half = Half.DONE
        if self.role is Role.WORKER:  # an exchange is over when its response is
            self._forget(exchange.number)
            self._events.append(ResponseSent(exchange.number))

    # --- receiving ----------------------------------------------------------------------------------------------------

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
            self.close(error.code, str(error))

    def _on_hello(self, hello: Hello, now: float) -> None:
        if self._was_introduced:
            raise RemoteProtocolError("HELLO: a second one")
        if VERSION not in hello.versions:
            spoken = ", ".join(str(version) for version in hello.versions[:8])
            raise RemoteProtocolError(
                f"this gateway speaks version {VERSION}, the worker {spoken or 'none'}", CloseCode.VERSION_UNSUPPORTED
            )
        self._peer_max_exchanges, self._peer_window = hello.max_exchanges, hello.window
        self._events.append(HelloReceived(hello))

    def _on_welcome(self, welcome: Welcome, now: float) -> None:
        if welcome.version != VERSION:
            raise RemoteProtocolError(f"the gateway chose version {welcome.version}", CloseCode.VERSION_UNSUPPORTED)
        self._open()
        self._peer_window = welcome.window
        self._silence_s = welcome.heartbeat_ms / 1000 * welcome.misses
        self._events.append(WelcomeReceived(welcome))

    def _on_models(self, frame: Models, now: float) -> None:
        self._events.append(ModelsChanged(frame.models))

    def _on_load(self, frame: Load, now: float) -> None:
        self._events.append(LoadReported(frame))

    def _on_ping(self, ping: Ping, now: float) -> None:
        if ping.rtt_us:
            self.rtt_s = ping.rtt_us / 1e6
            self.path.measured_rtt(self.rtt_s, now)
        self._control.append(Pong(ping.sent_us, _micros(now), 0))

    def _on_pong(self, pong: Pong, now: float) -> None:
        """theta = ((t2-t1)+(t3-t4))/2, delta = (t4-t1)-(t3-t2): RFC 5905 8."""
        self._answered()
        t1, t2, t3, t4 = pong.ping_us, pong.received_us, pong.sent_us, _micros(now)
        rtt_us = (t4 - t1) - (t3 - t2)
        if rtt_us < 0 or t3 < t2 or t1 > t4:
            raise RemoteProtocolError("PONG: times that cannot be")
        rtt_s = max(rtt_us, 1) / 1e6
        self._clock = [*self._clock[1 - CLOCK_SAMPLES :], (rtt_s, ((t2 - t1) + (t3 - t4)) / 2e6)]
        is_first = self.rtt_s == 0.0
        self.rtt_s = rtt_s if is_first else self.rtt_s + (rtt_s - self.rtt_s) / 8
        self.path.measured_rtt(rtt_s, now)
        self._events.append(RoundTripMeasured(self.rtt_s, min(self._clock)[1]))
        if is_first:
            self._ping(now)  # it carries the round trip, from which the worker's windows grow

    def _on_drain_pong(self, pong: Pong, now: float) -> None:
        self._answered()
        self._events.append(DrainHeard())

    def _answered(self) -> None:
        if self._pings_unanswered == 0:
            raise RemoteProtocolError("PONG: nothing was asked")
        self._pings_unanswered -= 1

    def _on_ack(self, ack: Ack, now: float) -> None:
        self.path.acknowledged(ack.received, now)

    def _on_token(self, frame: Token, now: float) -> None:
        self._events.append(TokenReceived(frame.token))

    def _on_token_accepted(self, frame: TokenAccepted, now: float) -> None:
        self._events.append(TokenRenewed(frame.expires_in_ms / 1000))

    def _on_drain(self, frame: Drain, now: float) -> None:
        """What has not left yet never does: it is free to go to another worker."""
        self.peer_is_draining = True
        self._events.append(PeerDraining(frame.grace_ms / 1000, frame.text))
        if self.role is Role.GATEWAY:
            for number in [head.exchange for head in self._heads]:
                self._forget(number)
                self._events.append(ExchangeFailed(number, ExchangeCode.DRAINING, frame.text))

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
        self._events.append(RequestReceived(number, frame.head))
        self._take_in(exchange, frame, frame.data, frame.end)

    def _on_response(self, frame: Response, now: float) -> None:
        self._received(len(frame.data), frame.ack_now)
        exchange = self._known(frame.exchange)
        if exchange is None:  # over here while the peer was still sending
            return
        if exchange.incoming.half is Half.HEAD:
            if frame.head.status >= 200:
                exchange.incoming.expected_bytes = frame.head.body_bytes
            self._events.append(ResponseReceived(frame.exchange, frame.head))
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
            self._events.append(BodyReceived(exchange.number, data))
        if incoming.half is Half.DONE:
            self._events.append(BodyEnded(exchange.number, trailers))
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
            self._events.append(ExchangeFailed(exchange.number, ExchangeCode.INTERNAL, text))
        else:
            self._control.append(encode(Failed(exchange.number, ExchangeCode.BAD_REQUEST, text)))
            self._events.append(ExchangeCancelled(exchange.number, ExchangeCode.BAD_REQUEST, text))

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
            self._events.append(ExchangeCancelled(frame.exchange, ExchangeCode.read(frame.code), frame.text))

    def _on_failed(self, frame: Failed, now: float) -> None:
        if self._known(frame.exchange) is not None:
            self._forget(frame.exchange)
            self._events.append(ExchangeFailed(frame.exchange, ExchangeCode.read(frame.code), frame.text))

    # --- state --------------------------------------------------------------------------------------------------------

    def _require(self, role: Role, *states: State) -> None:
        if self.role is not role or (states and self.state not in states):
            raise LocalProtocolError(f"not for a {self.state.name} {self.role.name}")

    def _say(self, frame: ControlFrame) -> None:
        if self.state is not State.OPEN:
            raise LocalProtocolError(f"{type(frame).__name__.upper()} on a session that is {self.state.name}")
        self._control.append(encode(frame))

    def _exchange(self, number: int) -> Exchange:
        exchange = self._exchanges.get(number)
        if exchange is None:
            raise LocalProtocolError(f"exchange {number} is not open")
        return exchange

    def _known(self, number: int) -> Exchange | None:
        """The exchange a frame is about; None when it is over here. Raises RemoteProtocolError if it never was."""
        if number > self._last_exchange:
            raise RemoteProtocolError(f"exchange {number} was never opened")
        return self._exchanges.get(number)

    def _add_exchange(self, number: int, now: float) -> Exchange:
        incoming = Incoming(ReceiveWindow(self.limits, self._budget, now))
        exchange = Exchange(number, incoming, Outgoing(SendWindow(self._peer_window)))
        self._exchanges[number] = exchange
        return exchange

    def _forget(self, number: int) -> Exchange | None:
        """Ends an exchange here, with all that it holds."""
        exchange = self._exchanges.pop(number, None)
        if exchange is None:
            return None
        exchange.incoming.window.close()
        if exchange.outgoing.is_queued:
            self._ring.remove(number)
        if exchange.outgoing.half is Half.HEAD and self._heads:
            self._heads = [head for head in self._heads if head.exchange != number]
        return exchange

    def _open(self) -> None:
        self.state = State.OPEN
        self._handlers = _HANDLERS[self.role, State.OPEN]

    def _end(self, code: CloseCode, text: str, *, by_peer: bool) -> None:
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self._heads.clear()
        self._ack_is_due = False
        for number in list(self._exchanges):
            self._forget(number)
        if by_peer:
            self._control.clear()
        else:  # after what waits: a FAILED that is lost would be a lost job
            self._control.append(encode(GoAway(code, text)))
        self._events.append(SessionEnded(code, text, by_peer))


def _micros(now: float) -> int:
    return int(now * 1e6)


def _lifetime_ms(expires_in_s: float) -> int:
    """0 says that a token never expires; one that is about to must not read so."""
    return 0 if expires_in_s == 0 else max(1, int(expires_in_s * 1000))


@dataclass(slots=True)
class _QueuedHead:
    """A head that waits for its turn, encoded already so that one too large fails where it was made."""

    type: int
    exchange: int
    encoded: tuple[bytes, bytes]
    is_informational: bool = False


# Any: each handler takes its own frame class, which the key of the table guarantees.
_Handler = Callable[[Session, Any, float], None]

_BOTH: dict[type[Frame], _Handler] = {
    Ack: Session._on_ack,
    Data: Session._on_data,
    Trailers: Session._on_trailers,
    Credit: Session._on_credit,
    Drain: Session._on_drain,
    GoAway: Session._on_goaway,
}

_HANDLERS: dict[tuple[Role, State], dict[type[Frame], _Handler]] = {
    (Role.GATEWAY, State.OPENING): {Hello: Session._on_hello, GoAway: Session._on_goaway},
    (Role.GATEWAY, State.OPEN): _BOTH
    | {
        Ping: Session._on_ping,
        Models: Session._on_models,
        Load: Session._on_load,
        Pong: Session._on_pong,
        Token: Session._on_token,
        Response: Session._on_response,
        Failed: Session._on_failed,
    },
    (Role.WORKER, State.OPENING): {Welcome: Session._on_welcome, GoAway: Session._on_goaway},
    (Role.WORKER, State.OPEN): _BOTH
    | {
        Ping: Session._on_ping,
        Pong: Session._on_drain_pong,
        TokenAccepted: Session._on_token_accepted,
        Request: Session._on_request,
        Cancel: Session._on_cancel,
    },
}
