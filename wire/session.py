"""The rules of the tunnel: one end of one connection, without any I/O or clock.

Bytes and `now` go in through `receive` and `tick`; events come out of `take_events`, messages out of `next_message`,
and `next_tick` says when it next wants to be called. Both roles live here, so that what one may send and what the other
accepts stand side by side: what an owner may do in this file, what a peer may do in `receiving.py`, and on both of them
`sending.py`. A peer's error never raises: it ends the session with a GOAWAY that names it.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import VERSION
from .codec import encode
from .errors import CloseCode, ExchangeCode, LocalProtocolError
from .events import Event
from .exchange import Exchange, Half
from .frames import (
    Buffer,
    Cancel,
    ControlFrame,
    Credit,
    Drain,
    Failed,
    Hello,
    Load,
    Metadata,
    Model,
    Models,
    Ping,
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
from .receiving import Receiving
from .sending import LOW_WATER_BYTES, QueuedHead, Role, State

__all__ = ["LOW_WATER_BYTES", "Role", "Session", "State"]

_MAX_EXCHANGE = (1 << 32) - 1


class Session(Receiving):
    """One end of one tunnel, as its owner sees it."""

    # --- what both roles may do ---------------------------------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self.events = self.events, []
        return events

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
        self._heads.append(QueuedHead(Response.TYPE, exchange, encode_head(head), is_informational))
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
        self._heads.append(QueuedHead(Request.TYPE, exchange.number, encoded))
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

    # --- what is asked of it ------------------------------------------------------------------------------------------

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


def _lifetime_ms(expires_in_s: float) -> int:
    """0 says that a token never expires; one that is about to must not read so."""
    return 0 if expires_in_s == 0 else max(1, int(expires_in_s * 1000))
