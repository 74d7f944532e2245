"""A large body and small requests beside it over a SessionPair: who waits for whom, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.session_pair import SessionPair
from wire.events import BodyEnded, BodyReceived, BodySent, Event
from wire.frames import RequestHead, ResponseHead
from wire.session import LOW_WATER_BYTES, Role

SMALL_BYTES = 1000
ANSWER_BYTES = 300
PIECE = bytes(64 << 10)
STEP_S = 0.001
SMALL_EVERY_S = 0.037
AT_MOST_S = 600.0


@dataclass
class Shared:
    """What was seen while the large body went over."""

    seconds: float = 0.0
    """From the first byte given to the session to the last one received."""
    small_s: list[tuple[float, float]] = field(default_factory=list)
    """When each small request began, and how long it took until its whole answer was back."""
    most_in_flight: int = 0

    def worst_small_s(self, since_s: float = 0.0) -> float:
        """The slowest small request that began `since_s` after the large body or later."""
        return max(took for began, took in self.small_s if began >= since_s)


class _Run:
    def __init__(self, pair: SessionPair, total_bytes: int) -> None:
        self.pair, self.left, self.seen = pair, total_bytes, Shared()
        self.began = pair.now
        self.small: dict[int, float] = {}
        self.bulk = pair.gateway.open_exchange(RequestHead("POST", "/large", body_bytes=total_bytes), pair.now)
        pair.on_event = self.on_event

    def on_event(self, role: Role, event: Event) -> None:
        worker, now = self.pair.worker, self.pair.now
        if role is Role.WORKER and isinstance(event, BodyReceived):
            worker.consume(event.exchange, len(event.data), now)
        elif role is Role.WORKER and isinstance(event, BodyEnded):
            if event.exchange == self.bulk:
                self.seen.seconds = now - self.began
            else:
                worker.respond(event.exchange, ResponseHead(200))
                worker.send_body(event.exchange, bytes(ANSWER_BYTES), end=True)
        elif role is Role.GATEWAY and isinstance(event, BodySent):
            self.feed()
        elif role is Role.GATEWAY and isinstance(event, BodyEnded) and event.exchange in self.small:
            began = self.small.pop(event.exchange)
            self.seen.small_s.append((began - self.began, now - began))

    def feed(self) -> None:
        gateway = self.pair.gateway
        while self.left and gateway.is_open(self.bulk) and gateway.unsent_bytes(self.bulk) <= LOW_WATER_BYTES:
            piece = PIECE[: min(len(PIECE), self.left)]
            self.left -= len(piece)
            gateway.send_body(self.bulk, piece, end=self.left == 0)

    def ask(self) -> None:
        gateway, now = self.pair.gateway, self.pair.now
        number = gateway.open_exchange(RequestHead("POST", "/small", body_bytes=SMALL_BYTES), now)
        gateway.send_body(number, bytes(SMALL_BYTES), end=True)
        self.small[number] = now


def share(pair: SessionPair, total_bytes: int, watch: Callable[[], object] = lambda: None) -> Shared:
    """Sends `total_bytes` to the worker, and a small request each SMALL_EVERY_S, until the large body is there. `watch`
    is called each millisecond."""
    run = _Run(pair, total_bytes)
    next_small = pair.now + SMALL_EVERY_S
    run.feed()
    while not run.seen.seconds:
        assert pair.now - run.began < AT_MOST_S, f"{run.left} bytes unsent after {AT_MOST_S} s"
        if pair.now >= next_small:
            run.ask()
            next_small += SMALL_EVERY_S
        pair.advance(STEP_S)
        watch()
        run.seen.most_in_flight = max(run.seen.most_in_flight, pair.gateway.path.in_flight)
    return run.seen
