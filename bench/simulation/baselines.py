"""A policy that exists for comparison alone, driven by the same core. It is not offered by name in the gateway."""

from __future__ import annotations

from gateway.dispatch.model import Job
from gateway.dispatch.policies import Assign, Decision
from gateway.dispatch.policies.base import NO_CREDIT
from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica


class ShortestExpectedDelay:
    """For workers with one slot that take whatever they are sent: (outstanding + 1) x service time, bound at once."""

    name = "shortest_expected_delay"
    pins = False

    def rank(self, replica: Replica, now: float) -> float:
        return (replica.outstanding + 1) * replica.service_s + replica.rtt_s

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        found = pool.idle.first(now)
        return NO_CREDIT if found is None else Assign(found[1], "the shortest expected delay")
