"""What a session sends, and in which order: control frames, then heads, then bodies in turn.

The lower half of `session.py`, which has what its owner may do; `receiving.py` has what its peer may do. Here is the
state that both change, and how an exchange ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from .codec import ACK_NOW, END, HEADER, encode
from .errors import CloseCode
from .events import BodySent, Event, ResponseSent, SessionEnded
from .exchange import Exchange, Half, Incoming, Outgoing
from .frames import Ack, Data, GoAway, Ping, Pong
from .limits import KIB, MIN_CHUNK_BYTES, Limits
from .window import Path, ReceiveBudget, ReceiveWindow, SendWindow

LOW_WATER_BYTES = 64 * KIB
"""When an exchange's unsent body falls to this, BodySent asks for more: the next chunk is there before it is missed."""


class Role(Enum):
    """Which end this is: the gateway opens exchanges and pings, the worker introduces itself and answers."""

    GATEWAY = auto()
    WORKER = auto()


class State(Enum):
    """How far the session is."""

    OPENING = auto()
    OPEN = auto()
    ENDED = auto()


@dataclass(slots=True)
class QueuedHead:
    """A head that waits for its turn, encoded already so that one too large fails where it was made."""

    type: int
    exchange: int
    encoded: tuple[bytes, bytes]
    is_informational: bool = False


class Sending:
    """One end's queues, and the exchanges that fill them."""

    def __init__(self, role: Role, limits: Limits, now: float) -> None:
        self.role = role
        self.limits = limits
        self.state = State.OPENING
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
        self._heads: list[QueuedHead] = []  # of open exchanges, at most one final head each
        self._ring: list[int] = []  # open exchanges with body to send, each at most once
        self._heads_ahead_bytes = 0  # of heads that went before a body since a body last had its turn
        self._pings_unanswered = 0
        self._received_bytes = self._acknowledged_bytes = 0
        self._ack_is_due = False
        self.events: list[Event] = []
        """What happened, in order, until `take_events` is called."""

    @property
    def has_output(self) -> bool:
        """Whether `next_message` is worth a call."""
        return bool(self._control or self._heads or self._ring or self._ack_is_due)

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
                return encode(Ping(micros(now), message.rtt_us))
            case Pong():
                return encode(replace(message, sent_us=micros(now)))
        return message

    def _next_head(self, head: QueuedHead, now: float) -> bytes:
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
        return b"".join((HEADER.pack(head.type, flags, head.exchange), *head.encoded, *data))

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
            return b"".join((HEADER.pack(Data.TYPE, flags, exchange.number), *data))
        return None

    def _sendable(self, outgoing: Outgoing) -> int:
        size = min(outgoing.next_bytes, outgoing.window.available)
        return size if size <= MIN_CHUNK_BYTES else min(size, self.path.chunk_bytes)

    def _take(self, exchange: Exchange, size: int, now: float) -> tuple[Sequence[memoryview], int]:
        """The next `size` bytes of a body and the flags of the frame that carries them; with END all is sent."""
        outgoing = exchange.outgoing
        flags = 0
        if size:
            before = outgoing.unsent_bytes
            data = outgoing.take(size)
            if outgoing.unsent_bytes <= LOW_WATER_BYTES < before:
                self.events.append(BodySent(exchange.number))
            asks_ack = self.path.wants_ack(size, is_bulk=outgoing.unsent_bytes > 0)
            self.path.sent(size, asks_ack, now)
            flags = ACK_NOW if asks_ack else 0
        else:
            data = []
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
            self.events.append(ResponseSent(exchange.number))

    # --- exchanges and the end ----------------------------------------------------------------------------------------

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

    def _ping(self, now: float) -> None:
        self._ping_at = now + self.limits.heartbeat_interval_s
        self._control.append(Ping(0, int(self.rtt_s * 1e6)))  # its time is set when it leaves

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
        self.events.append(SessionEnded(code, text, by_peer))


def micros(now: float) -> int:
    """Seconds of a clock in the microseconds of PING and PONG."""
    return int(now * 1e6)
