"""One worker serving one model: what the policies compare.

Plain state with the questions a policy asks of it. `fleet.py` is the only writer; nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.dispatch.model import Link, ModelOffer


class State(Enum):
    """Whether jobs may go there. A draining worker's replicas keep their state and take nothing all the same."""

    PROBING = "probing"
    """Announced; no real inference has succeeded yet."""
    READY = "ready"
    EJECTED = "ejected"
    """Failed too often in a row; probed when its time is over."""
    BROKEN = "broken"
    """The worker itself says that it cannot serve this model."""
    GONE = "gone"
    """The worker left or withdrew the model; jobs still running there end without trace here."""


MOVES: dict[State, frozenset[State]] = {
    State.PROBING: frozenset({State.READY, State.BROKEN, State.GONE}),
    State.READY: frozenset({State.EJECTED, State.BROKEN, State.GONE}),
    State.EJECTED: frozenset({State.READY, State.EJECTED, State.BROKEN, State.GONE}),
    State.BROKEN: frozenset({State.PROBING, State.GONE}),
    State.GONE: frozenset(),
}
"""Which state may follow which; anything else is a bug in the fleet."""


CAUTION = 2
"""Spreads by which a busy worker is expected to start later than its average says. One is what a job that is due may
still take; the other is for the estimate: among many, the lowest is the luckiest. With none or one, 300 equal workers
whose times vary are taken for fast and slow ones; with four, jobs are sent to slow workers that fast ones would have
answered sooner (docs/explanation/dispatch-simulation.md)."""


@dataclass(slots=True, eq=False)
class Replica:
    """Times are monotonic seconds. `service_s`, `credits` and `width` mean nothing before the first READY."""

    worker: str
    link: Link
    offer: ModelOffer
    index: int
    """Order of arrival in the fleet; breaks ties, and makes every choice repeatable."""
    is_service: bool = False
    """As the offer says (`ModelOffer.is_service`)."""
    state: State = State.PROBING
    reason: str = "not yet probed"
    """Why it is in this state, for operators."""
    draining: bool = False

    service_s: float = 0.0
    spread_s: float = 0.0
    """Moving average of how far a measurement is from `service_s`."""
    rtt_s: float = 0.0
    base_s: float = 0.0
    """service_s + rtt_s: what a job costs when nothing is ahead of it."""
    outstanding: int = 0
    """Jobs assigned and not yet given back."""
    allowance: int = 1
    """Slow start: most credits it is trusted with; one more with each success."""
    most_credits: int = 0
    """slots + ceil(round trip / service): what `allowance` may grow to."""
    credits: int = 0
    """Most jobs it may hold at once: min(allowance, most_credits)."""
    width: int = 0
    """Most jobs it is expected to run at once: min(slots, credits)."""
    moved_at: float = 0.0
    """When its work last moved on: a job into a free slot, or a job out."""
    turn: int = 0
    """Number of its last assignment within the model; 0 before the first."""

    heard_at: float = 0.0
    """Last success, of a job or a probe; until the first one, when it joined."""
    failures: int = 0
    """In a row."""
    ejections: int = 0
    ejected_until: float = 0.0
    ready_at: float = 0.0
    is_probed_now: bool = False
    probe_at: float = 0.0
    """When the next probe is due while PROBING."""
    answered: int = 0
    failed: int = 0

    @property
    def takes_jobs(self) -> bool:
        """Ready and not draining; it may still be full."""
        return self.state is State.READY and not self.draining

    def starts_at(self, now: float) -> float:
        """When a job given to it now would begin to run there: `now` while a slot is free, else after the jobs ahead.

        One slot frees every service/width on average, counted from the last time that work moved, and some spreads late
        (CAUTION): a free slot is certain. Work that is overdue is expected to take as long again as it is late (the
        longer it lasted, the longer it will), so that a stalled worker becomes dearer with every millisecond instead of
        looking as good as free.
        """
        behind = self.outstanding - self.width + 1
        if behind <= 0:
            return now
        due = self.moved_at + behind * self.service_s / self.width
        return max(due, 2 * now - due) + CAUTION * self.spread_s

    def cost_s(self, now: float) -> float:
        """Expected seconds until a job given to it now is answered:
        what is left of the running work + the waiting work + this job's own service + the tunnel's round trip."""
        return self.starts_at(now) - now + self.base_s
