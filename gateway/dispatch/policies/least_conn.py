"""Fewest outstanding jobs per slot: what nginx calls `least_conn`. Blind to how fast a worker is."""

from __future__ import annotations

from gateway.dispatch.model import Job
from gateway.dispatch.policies.base import NO_CREDIT, Assign, Decision
from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica


class LeastConn:
    """The slots are the weights."""

    name = "least_conn"
    pins = False

    def rank(self, replica: Replica, now: float) -> float:
        return replica.outstanding / replica.width

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        found = pool.idle.first(now) or pool.ahead.first(now)  # an idle one has under 1 a slot, the others 1 and more
        if found is None:
            return NO_CREDIT
        replica = found[1]
        return Assign(replica, "least_conn: {} outstanding on {} slots", (replica.outstanding, replica.width))
