"""Two drawn at random, the less loaded of them: what many uncoordinated balancers do (Mitzenmacher 2001).

One dispatcher that sees every count gains nothing from sampling; it is here for comparison.
"""

from __future__ import annotations

from random import Random

from gateway.dispatch.model import Job
from gateway.dispatch.policies.base import NO_CREDIT, Assign, Decision
from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica


class PowerOfTwo:
    """Compares outstanding jobs per slot; the first drawn wins a tie."""

    name = "power_of_two"
    pins = False

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def rank(self, replica: Replica, now: float) -> float:
        return 0.0

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        count = pool.open_count
        if not count:
            return NO_CREDIT
        drawn = [pool.open_at(position) for position in self._rng.sample(range(count), min(2, count))]
        best = min(drawn, key=lambda replica: replica.outstanding / replica.width)
        return Assign(best, "power_of_two: {} outstanding, the fewest of {} drawn", (best.outstanding, len(drawn)))
