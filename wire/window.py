"""How much may be sent: credit of one exchange, and what the path itself can carry.

Two different things are kept apart. *Credit* protects the receiver's memory: it is given back when the application has
consumed. *Flight* protects everyone else on the connection: what is sent and not yet received stays near what the path
holds without a queue, so that a control frame or a small request never waits behind megabytes in somebody's buffer.
Pure arithmetic: bytes and seconds in, bytes out.
"""

from __future__ import annotations

from collections import deque

from .errors import RemoteProtocolError
from .limits import (
    CHUNK_TIME_S,
    INITIAL_FLIGHT_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FLIGHT_BYTES,
    MIN_CHUNK_BYTES,
    MIN_FLIGHT_BYTES,
    MIN_RTT_WINDOW_S,
    QUEUE_TIME_S,
    Limits,
)

MAX_CREDIT_BYTES = (1 << 31) - 1
"""Credit outstanding at most, so that it fits any implementation's integer (RFC 9113 6.9.1 has the same bound)."""


class SendWindow:
    """Credit that the peer has given for one exchange's body."""

    __slots__ = ("available",)

    def __init__(self, initial_bytes: int) -> None:
        self.available = initial_bytes

    def spend(self, size: int) -> None:
        """Takes `size` bytes of credit; there must be enough."""
        assert size <= self.available
        self.available -= size

    def grant(self, size: int) -> None:
        """Adds credit. Raises RemoteProtocolError over MAX_CREDIT_BYTES."""
        if size > MAX_CREDIT_BYTES - self.available:
            raise RemoteProtocolError(f"credit of {size} bytes brings the window over {MAX_CREDIT_BYTES}")
        self.available += size


class ReceiveBudget:
    """What all receive windows of one connection may add up to."""

    __slots__ = ("free",)

    def __init__(self, limits: Limits) -> None:
        self.free = limits.max_buffered_bytes

    def take(self, size: int) -> bool:
        """Reserves `size` bytes, or nothing at all."""
        if size > self.free:
            return False
        self.free -= size
        return True

    def give_back(self, size: int) -> None:
        """Returns what was reserved."""
        self.free += size


class ReceiveWindow:
    """Credit that we have given for one exchange's body, and how it grows.

    The window doubles when half of it is consumed within two round trips: then it is the window, not the path, that
    holds the sender back (throughput is at most window / round trip).
    """

    __slots__ = ("_budget", "_consumed", "_granted_at", "_max", "available", "size")

    def __init__(self, limits: Limits, budget: ReceiveBudget, now: float) -> None:
        self.size = limits.window_bytes
        self.available = limits.window_bytes
        """Bytes that the peer may still send."""
        self._consumed = 0
        self._max = limits.max_window_bytes
        self._budget = budget
        self._granted_at = now
        taken = budget.take(self.size)
        assert taken, "max_exchanges x window_bytes fits the budget, and Session refuses more exchanges"

    def receive(self, size: int) -> None:
        """The peer sent `size` bytes. Raises RemoteProtocolError when it had no credit for them."""
        if size > self.available:
            raise RemoteProtocolError(f"{size} bytes of body where credit for {self.available} was left")
        self.available -= size

    def consume(self, size: int, now: float, rtt_s: float) -> int:
        """The application took `size` bytes. Returns the credit to grant now, 0 for none yet."""
        self._consumed += size
        if self._consumed * 2 < self.size:
            return 0
        grant, self._consumed = self._consumed, 0
        if now - self._granted_at < 2 * rtt_s:
            grant += self._grow()
        self._granted_at = now
        self.available += grant
        return grant

    def _grow(self) -> int:
        more = min(self.size, self._max - self.size)
        if more == 0 or not self._budget.take(more):
            return 0
        self.size += more
        return more

    def close(self) -> None:
        """Gives the reservation back."""
        self._budget.give_back(self.size)
        self.size = 0


class Path:
    """How much may be in flight on this connection, learned from acknowledgements.

    As BBR does, it takes the highest delivery rate of each round trip and the least round trip, and aims at
    rate x (least round trip x 1.25 + QUEUE_TIME_S) bytes in flight. Unlike BBR it moves towards that aim once per
    round, at most doubling and at most losing 30 %, so that neither a token bucket's first burst nor one stalled
    event loop decides alone. Rounds in which the application, not the path, was the limit change nothing.
    """

    __slots__ = (
        "_acked",
        "_acked_at",
        "_best_rate",
        "_min_rtt_at",
        "_probing",
        "_round_end",
        "_round_limited",
        "_samples",
        "_sent",
        "flight_bytes",
        "min_rtt_s",
    )

    def __init__(self, now: float) -> None:
        self.flight_bytes = INITIAL_FLIGHT_BYTES
        """Bytes that may be sent and not yet acknowledged."""
        self.min_rtt_s = 0.0
        """The least round trip of the last MIN_RTT_WINDOW_S; 0.0 while unknown."""
        self._min_rtt_at = now
        self._sent = self._acked = 0
        self._acked_at = now
        self._samples: deque[tuple[int, float, int, float]] = deque()  # bounded: one per ACK_NOW frame in flight
        self._round_end = 0
        self._round_limited = False
        self._best_rate = 0.0
        self._probing = False

    @property
    def in_flight(self) -> int:
        """Body bytes sent and not acknowledged."""
        return self._sent - self._acked

    def has_room(self, size: int) -> bool:
        """Whether a chunk of `size` bytes may be sent now. Always when no acknowledgement is on its way: then nothing
        would ever make room."""
        limit = MIN_FLIGHT_BYTES if self._probing else self.flight_bytes
        return self.in_flight + size <= limit or not self._samples

    @property
    def chunk_bytes(self) -> int:
        """The size of a DATA frame that occupies the link for about CHUNK_TIME_S."""
        rate = self.flight_bytes / (self.min_rtt_s * 1.25 + QUEUE_TIME_S)
        return max(MIN_CHUNK_BYTES, min(MAX_CHUNK_BYTES, int(rate * CHUNK_TIME_S)))

    def wants_ack(self, size: int, is_bulk: bool) -> bool:
        """Whether a frame of `size` body bytes should ask for an acknowledgement at once. Small bodies are not worth
        one each; they ask when they have filled half of the flight."""
        return is_bulk or (self.in_flight + size) * 2 > self.flight_bytes

    def sent(self, size: int, asks_ack: bool, now: float) -> None:
        """`size` body bytes were handed to the channel."""
        if self.in_flight == 0:
            self._acked_at = now
        if asks_ack:
            self._samples.append((self._sent + size, now, self._acked, self._acked_at))
        self._sent += size

    def held_back(self) -> None:
        """There was more to send than `has_room` let through: this round measures the path."""
        self._round_limited = True

    def acknowledged(self, total: int, now: float) -> None:
        """The peer has received `total` body bytes. Raises RemoteProtocolError for more than was sent, or fewer than
        before."""
        if not self._acked <= total <= self._sent:
            raise RemoteProtocolError(f"ACK of {total} bytes where {self._acked} to {self._sent} were possible")
        self._acked, self._acked_at = total, now
        while self._samples and self._samples[0][0] <= total:
            _, sent_at, acked_then, acked_at_then = self._samples.popleft()
            self.measured_rtt(now - sent_at, now)
            if now > acked_at_then:
                self._best_rate = max(self._best_rate, (total - acked_then) / (now - acked_at_then))
        if total >= self._round_end:
            self._end_round(now)

    def measured_rtt(self, rtt_s: float, now: float) -> None:
        """One round trip, from a heartbeat or from an acknowledgement."""
        if self.min_rtt_s == 0.0 or rtt_s <= self.min_rtt_s:
            self.min_rtt_s, self._min_rtt_at = rtt_s, now

    def _end_round(self, now: float) -> None:
        if self._probing:  # the queue is drained: what was measured just now is the path's own
            self._probing = False
        elif self._round_limited and self._best_rate > 0:
            aim = self._best_rate * (self.min_rtt_s * 1.25 + QUEUE_TIME_S)
            moved = min(aim, self.flight_bytes * 2) if aim > self.flight_bytes else max(aim, self.flight_bytes * 0.7)
            self.flight_bytes = int(max(MIN_FLIGHT_BYTES, min(MAX_FLIGHT_BYTES, moved)))
            if now - self._min_rtt_at > MIN_RTT_WINDOW_S:
                # Our own queue may hide a shorter path, or the path became longer: one nearly empty round tells.
                self._probing, self.min_rtt_s = True, 0.0
        self._best_rate, self._round_limited, self._round_end = 0.0, False, self._sent
