"""A gateway's and a worker's Session joined by a simulated link, in virtual time: no task, no socket, no waiting.

The link has a rate and a latency and one queue for each way, as a bottleneck router has: what is written waits behind
what was written before. An hour passes in milliseconds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from wire.events import Event, HelloReceived
from wire.frames import Hello, Model
from wire.limits import Limits
from wire.session import Role, Session

HELLO = Hello(
    versions=(1,),
    worker="lab-1",
    generation=1,
    dial=1,
    software="test",
    models=(Model("digits", "1", 2),),
    max_exchanges=64,
    window=256 << 10,
)


class Way:
    """One direction of the link. What `burst_bytes` holds passes at once, as through a token bucket; `jitter_s` is
    asked for each message how much longer it takes (order is kept). All may be changed on the way."""

    def __init__(self, latency_s: float, rate_bytes_s: float) -> None:
        self.latency_s = latency_s
        self.rate_bytes_s = rate_bytes_s
        self.burst_bytes = 0.0
        self.jitter_s: Callable[[], float] = lambda: 0.0
        self.is_cut = False
        self.free_at = 0.0
        self.bytes = 0
        self._last_arrival = 0.0

    def arrival(self, size: int, now: float) -> float:
        """When a message of `size` bytes that is written now is whole at the other end."""
        self.bytes += size
        at_once = min(self.burst_bytes, size)
        self.burst_bytes -= at_once
        self.free_at = max(self.free_at, now) + (size - at_once) / self.rate_bytes_s
        self._last_arrival = max(self._last_arrival, self.free_at + self.latency_s + self.jitter_s())
        return self._last_arrival


class SessionPair:
    """Two sessions, the link, and the clock. `on_event(role, event)` sees everything as it happens."""

    def __init__(
        self,
        *,
        latency_s: float = 0.001,
        rate_bytes_s: float = 1e9,
        limits: Limits | None = None,
        hello: Hello | None = HELLO,
    ) -> None:
        self.now = 1000.0
        self.limits = limits or Limits()
        self.gateway = Session(Role.GATEWAY, self.limits, self.now)
        self.worker = Session(Role.WORKER, self.limits, self.now)
        self.events: list[tuple[Role, Event]] = []
        self.on_event: Callable[[Role, Event], None] = lambda role, event: None
        self.ways = {Role.GATEWAY: Way(latency_s, rate_bytes_s), Role.WORKER: Way(latency_s, rate_bytes_s)}
        self._arriving: list[tuple[float, int, Role, bytes]] = []
        self._order = itertools.count()
        if hello is not None:
            self.worker.hello(hello)
            self.run_until(lambda: any(isinstance(event, HelloReceived) for _, event in self.events))
            self.gateway.welcome("session-1", "gateway-1", 0)
            self.settle()

    def session(self, role: Role) -> Session:
        """The session of a role."""
        return self.gateway if role is Role.GATEWAY else self.worker

    def seen(self, kind: type[Event]) -> list[Event]:
        """Every event of a class, at either end, so far."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass."""
        end = self.now + seconds
        while self._step(end):
            pass
        self.now = end

    def settle(self, at_most_s: float = 1.0) -> None:
        """Lets what is on its way arrive, and its consequences, up to `at_most_s`."""
        end = self.now + at_most_s
        self._flush()
        while self._arriving and self._step(end):
            self._flush()

    def run_until(self, condition: Callable[[], bool], at_most_s: float = 60.0) -> None:
        """Lets time pass until `condition` holds. Raises AssertionError when it does not within `at_most_s`."""
        end = self.now + at_most_s
        while not condition():
            assert self._step(end), f"not within {at_most_s} s"

    def _step(self, end: float) -> bool:
        """One arrival or one timer, whichever is next; False when nothing is left before `end`."""
        self._flush()
        ticks = [(due, role) for role in Role if (due := self.session(role).next_tick()) is not None]
        tick, role = min(ticks, key=lambda entry: entry[0], default=(float("inf"), Role.GATEWAY))
        arrival = self._arriving[0][0] if self._arriving else float("inf")
        if min(tick, arrival) > end:
            return False
        self.now = max(self.now, min(tick, arrival))
        if arrival <= tick:
            _, _, role, message = heapq.heappop(self._arriving)
            self.session(role).receive(message, self.now)
        else:
            self.session(role).tick(self.now)
        self._collect()
        return True

    def _flush(self) -> None:
        """Writes all that may be written, as a pump does while its transport is not full."""
        for role in Role:
            way, other = self.ways[role], Role.WORKER if role is Role.GATEWAY else Role.GATEWAY
            while (message := self.session(role).next_message(self.now)) is not None:
                arrival = way.arrival(len(message), self.now)
                if not way.is_cut:
                    heapq.heappush(self._arriving, (arrival, next(self._order), other, message))
        self._collect()

    def _collect(self) -> None:
        for role in Role:
            for event in self.session(role).take_events():
                self.events.append((role, event))
                self.on_event(role, event)
