"""Any worker with a free credit, each with the same chance. The baseline that every other policy must beat."""

from __future__ import annotations

from random import Random

from gateway.dispatch.model import Job
from gateway.dispatch.policies.base import NO_CREDIT, Assign, Decision
from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica


class RandomChoice:
    """Draws from the generator it was given, so that a study can be repeated."""

    name = "random"
    pins = False

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def rank(self, replica: Replica, now: float) -> float:
        return 0.0

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        count = pool.open_count
        if not count:
            return NO_CREDIT
        return Assign(pool.open_at(self._rng.randrange(count)), "random: one of {}", (count,))
