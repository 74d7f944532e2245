"""How much may be sent: credit of one exchange, and what the path itself can carry.

Two different things are kept apart. *Credit* protects the receiver's memory: it is given back when the application has
consumed. *Flight* protects everyone else on the connection: what is sent and not yet received stays near what the path
holds without a queue, so that a control frame or a small request never waits behind megabytes in somebody's buffer.
Pure arithmetic: bytes and seconds in, bytes out.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf

from .errors import LocalProtocolError, RemoteProtocolError
from .limits import (
    CHUNK_TIME_S,
    INITIAL_FLIGHT_BYTES,
    MAX_CHUNK_BYTES,
    MAX_CREDIT_BYTES,
    MAX_FLIGHT_BYTES,
    MIN_CHUNK_BYTES,
    MIN_FLIGHT_BYTES,
    MIN_RTT_WINDOW_S,
    QUEUE_TIME_S,
    Limits,
)

JITTER_SAMPLES = 64
"""Acknowledgements that the jitter of round trips is smoothed over: a third of a second of a busy link."""


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
    """What the receive windows of one connection may grow by, all together: what is left of max_buffered_bytes when
    max_exchanges have their first window. So a window that has grown never takes the place of a new exchange."""

    __slots__ = ("free_bytes",)

    def __init__(self, limits: Limits) -> None:
        self.free_bytes = limits.max_buffered_bytes - limits.max_exchanges * limits.window_bytes

    def take(self, size: int) -> int:
        """Reserves `size` bytes or what there is, and returns how many."""
        taken = min(size, self.free_bytes)
        self.free_bytes -= taken
        return taken

    def give_back(self, size: int) -> None:
        """Returns what was reserved."""
        self.free_bytes += size


class ReceiveWindow:
    """Credit that we have given for one exchange's body, and how it grows.

    The window doubles when half of it is consumed within two round trips: then it is the window, not the path, that
    holds the sender back (throughput is at most window / round trip).
    """

    __slots__ = ("_budget", "_consumed", "_granted_at", "_limits", "available", "size")

    def __init__(self, limits: Limits, budget: ReceiveBudget, now: float) -> None:
        self._limits = limits
        self.size = self.available = limits.window_bytes
        """Bytes that the peer may send in all, and still."""
        self._consumed = 0
        self._budget = budget
        self._granted_at = now

    def receive(self, size: int) -> None:
        """The peer sent `size` bytes. Raises RemoteProtocolError when it had no credit for them."""
        if size > self.available:
            raise RemoteProtocolError(f"{size} bytes of body where credit for {self.available} was left")
        self.available -= size

    def consume(self, size: int, now: float, rtt_s: float) -> int:
        """The application took `size` bytes. Returns the credit to grant now, 0 for none yet. Raises LocalProtocolError
        for more than came."""
        if self.available + self._consumed + size > self.size:
            raise LocalProtocolError(f"{size} bytes consumed where fewer had come")
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
        more = self._budget.take(min(self.size, self._limits.max_window_bytes - self.size))
        self.size += more
        return more

    def close(self) -> None:
        """Gives the reservation back, where there is one."""
        if self.size != self._limits.window_bytes:
            self._budget.give_back(self.size - self._limits.window_bytes)
            self.size = self._limits.window_bytes


class Phase(Enum):
    """What the flight is doing."""

    STARTING = auto()
    """Doubling in each round trip, until a queue shows."""
    STEADY = auto()
    """Following the measured rate, once per round."""
    DRAINING = auto()
    """Half full for one round, so that what is measured next is the path's and not our own queue's (BBRv2 does so)."""
    REFILLING = auto()
    """The round after that, whose rate means nothing."""


class Path:
    """How much may be in flight on this connection, learned from acknowledgements.

    As BBR does, it takes the highest delivery rate of each round trip and the least round trip, and aims at
    rate x (least round trip + spare + QUEUE_TIME_S) bytes in flight. The spare time is a quarter of the least round
    trip while no queue shows, which finds a rate that is higher; and what jitter needs, or a tenth, where one does:
    everybody on the connection waits for it. Unlike BBR it moves towards that aim once per round, at most doubling and
    at most losing 30 %, so that one slow moment does not decide alone; but when even the quickest acknowledgement of a
    round took more than twice the most that is aimed at, a queue stands that everybody waits behind (a token bucket ran
    dry, the link became slower), and it goes there at once. Any other round in which the application or credit, not the
    path, was the limit shows the least that the path can, as with BBR, and only raises it.
    """

    __slots__ = (
        "_acked",
        "_base",
        "_base_at",
        "_best_rate",
        "_is_min_rtt_stale",
        "_jitter_s",
        "_last_rtt_s",
        "_min_rtt_at",
        "_round_end",
        "_round_limited",
        "_round_rtt_s",
        "_samples",
        "_sent",
        "flight_bytes",
        "min_rtt_s",
        "phase",
    )

    def __init__(self, now: float) -> None:
        self.phase = Phase.STARTING
        self.flight_bytes = INITIAL_FLIGHT_BYTES
        """Bytes that may be sent and not yet acknowledged."""
        self.min_rtt_s = 0.0
        """The least round trip of the last MIN_RTT_WINDOW_S; 0.0 while unknown."""
        self._min_rtt_at = now
        self._is_min_rtt_stale = False
        self._sent = self._acked = 0
        self._base, self._base_at = 0, now  # delivery is counted from here: the last ACK, or the end of idleness
        self._samples: list[tuple[int, float, int, float]] = []  # bounded: one per ACK_NOW frame in flight
        self._round_end = 0
        self._round_limited = False
        self._round_rtt_s = inf  # the least of this round
        self._last_rtt_s = self._jitter_s = 0.0  # of acknowledgements; the jitter as in RFC 3550 6.4.1
        self._best_rate = 0.0

    @property
    def in_flight(self) -> int:
        """Body bytes sent and not acknowledged."""
        return self._sent - self._acked

    def has_room(self, size: int) -> bool:
        """Whether a chunk of `size` bytes may be sent now. Always when no acknowledgement is on its way: then nothing
        would ever make room."""
        limit = self.flight_bytes // 2 if self.phase is Phase.DRAINING else self.flight_bytes
        return self._sent - self._acked + size <= limit or not self._samples

    @property
    def chunk_bytes(self) -> int:
        """The size of a DATA frame that occupies the link for about CHUNK_TIME_S."""
        rate = self.flight_bytes / self._most_s
        return max(MIN_CHUNK_BYTES, min(MAX_CHUNK_BYTES, int(rate * CHUNK_TIME_S)))

    def wants_ack(self, size: int, is_bulk: bool) -> bool:
        """Whether a frame of `size` body bytes should ask for an acknowledgement at once. Small bodies are not worth
        one each; they ask when they have filled half of the flight."""
        return is_bulk or (self._sent - self._acked + size) * 2 > self.flight_bytes

    def sent(self, size: int, asks_ack: bool, now: float) -> None:
        """`size` body bytes were handed to the channel."""
        if asks_ack:
            if not self._samples:
                self._base, self._base_at = self._sent, now
            self._samples.append((self._sent + size, now, self._base, self._base_at))
        self._sent += size

    def held_back(self) -> None:
        """There was more to send than `has_room` let through: this round measures the path."""
        self._round_limited = True

    def acknowledged(self, total: int, now: float) -> None:
        """The peer has received `total` body bytes. Raises RemoteProtocolError for more than was sent, or fewer than
        before."""
        if not self._acked <= total <= self._sent:
            raise RemoteProtocolError(f"ACK of {total} bytes where {self._acked} to {self._sent} were possible")
        newly, self._acked = total - self._acked, total
        while self._samples and self._samples[0][0] <= total:
            _, sent_at, base, base_at = self._samples.pop(0)
            if now > base_at:
                self._best_rate = max(self._best_rate, (total - base) / (now - base_at))
            self._measured_by_ack(now - sent_at, now)
        if total >= self._base:
            self._base, self._base_at = total, now
        if self.phase is Phase.STARTING and self._round_limited:
            self.flight_bytes = min(MAX_FLIGHT_BYTES, self.flight_bytes + newly)
        if total >= self._round_end:
            self._end_round(now)

    def _measured_by_ack(self, rtt_s: float, now: float) -> None:
        self.measured_rtt(rtt_s, now)
        self._round_rtt_s = min(self._round_rtt_s, rtt_s)
        if self._last_rtt_s:
            self._jitter_s += (abs(rtt_s - self._last_rtt_s) - self._jitter_s) / JITTER_SAMPLES
        self._last_rtt_s = rtt_s
        has_queue = rtt_s > self.min_rtt_s * 1.125 + QUEUE_TIME_S / 2
        if self.phase is Phase.STARTING and self._round_limited and has_queue:
            self.phase = Phase.STEADY
            self.flight_bytes = self._bounded(min(self._aim, self.flight_bytes))

    def measured_rtt(self, rtt_s: float, now: float) -> None:
        """One round trip, from a heartbeat or from an acknowledgement."""
        if self.min_rtt_s == 0.0 or rtt_s <= self.min_rtt_s or self._is_min_rtt_stale:
            self.min_rtt_s, self._min_rtt_at, self._is_min_rtt_stale = rtt_s, now, False

    @property
    def _aim(self) -> float:
        if self._round_rtt_s <= self.min_rtt_s + QUEUE_TIME_S / 2:
            return self._best_rate * self._most_s
        beyond_chunks_s = max(0.0, self._jitter_s - CHUNK_TIME_S / 2)  # chunks themselves are so far apart
        less_s = self.min_rtt_s * 1.1 + 8 * beyond_chunks_s + QUEUE_TIME_S
        return self._best_rate * min(self._most_s, less_s)

    @property
    def _most_s(self) -> float:
        """Seconds of the link that are aimed at while no queue shows; never more."""
        return self.min_rtt_s * 1.25 + QUEUE_TIME_S

    @property
    def _has_standing_queue(self) -> bool:
        return inf > self._round_rtt_s > 2 * self._most_s

    def _end_round(self, now: float) -> None:
        """A round trip's worth of bytes was acknowledged since the last call."""
        match self.phase:
            case Phase.STEADY if self._best_rate > 0 and (self._round_limited or self._has_standing_queue):
                most, least = self.flight_bytes * 2, 0.0 if self._has_standing_queue else self.flight_bytes * 0.7
                self.flight_bytes = self._bounded(max(least, min(most, self._aim)))
                if now - self._min_rtt_at > MIN_RTT_WINDOW_S:
                    self.phase = Phase.DRAINING
            case Phase.STARTING | Phase.STEADY if not self._round_limited:
                self.flight_bytes = self._bounded(max(self.flight_bytes, min(self._aim, self.flight_bytes * 2)))
            case Phase.DRAINING:
                self.phase, self._is_min_rtt_stale = Phase.REFILLING, True
            case Phase.REFILLING:
                self.phase = Phase.STEADY
        self._best_rate, self._round_rtt_s = 0.0, inf
        self._round_limited, self._round_end = False, self._sent

    def _bounded(self, flight: float) -> int:
        return int(max(MIN_FLIGHT_BYTES, min(MAX_FLIGHT_BYTES, flight)))
