"""Everyone in turn: of the workers with a free credit, the one whose last turn is longest ago. For comparison."""

from __future__ import annotations

from gateway.dispatch.model import Job
from gateway.dispatch.policies.base import NO_CREDIT, Assign, Decision
from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica


class RoundRobin:
    """Blind to speed and to load, but for the credits, which bind every policy."""

    name = "round_robin"
    pins = False

    def rank(self, replica: Replica, now: float) -> float:
        return replica.turn

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        heads = [head for head in (pool.idle.first(now), pool.ahead.first(now)) if head is not None]
        if not heads:
            return NO_CREDIT
        turn, replica = min(heads, key=lambda head: (head[0], head[1].index))
        return Assign(replica, "round_robin: its last turn was {} turns ago", (pool.turns - int(turn),))
