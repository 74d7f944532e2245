"""The default: the worker expected to answer first, which may mean to wait for one that is busy.

Expected completion = what is left of the running work + the waiting work + this job's own service + the round trip
(`Replica.cost_s`). An idle slow worker is passed over while the busy fast ones are expected to be done with the whole
queue sooner (Lin and Kumar 1984: use the slow server only when the queue is longer than a threshold).
"""

from __future__ import annotations

import math

from gateway.dispatch.model import Job
from gateway.dispatch.policies.base import NO_CREDIT, Assign, Decision, Wait
from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica

_RECONSIDER_S = 1e-3
"""Soonest that a wait is looked at again by time alone; changes of the fleet come through at once."""


class LeastLoaded:
    """Ranks the idle by what a job costs there, and the busy by the moment when a job given now would be answered.

    The two scales never meet in one ranking: a pool keeps idle and busy replicas apart.
    """

    name = "least_loaded"
    pins = False

    def rank(self, replica: Replica, now: float) -> float:
        if replica.outstanding < replica.width:
            return replica.base_s
        return replica.starts_at(now) + replica.base_s

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        found = self._soonest_open(pool, now)
        if found is None:
            return NO_CREDIT
        cost_s, replica = found
        busy = pool.full.first(now, below=now + cost_s)
        if busy is not None and (wait := self._wait_for(pool, busy, cost_s, waiting, now)):
            return wait
        return Assign(replica, f"least_loaded: {1e3 * cost_s:.1f} ms, {1e3 * replica.base_s:.1f} of it its own")

    def _soonest_open(self, pool: Pool, now: float) -> tuple[float, Replica] | None:
        idle = pool.idle.first(now)
        ahead = pool.ahead.first(now, below=math.inf if idle is None else now + idle[0])
        return idle if ahead is None else (ahead[0] - now, ahead[1])

    def _wait_for(
        self, pool: Pool, busy: tuple[float, Replica], cost_s: float, waiting: int, now: float
    ) -> Wait | None:
        """Worth it if even the last job of the queue would be answered sooner by the busy ones that are faster."""
        answered_at, replica = busy
        faster = pool.full.count_below(now + cost_s)
        last_s = answered_at - now + (waiting - 1) * replica.service_s / (replica.width * faster)
        if last_s >= cost_s:
            return None
        crossing = replica.moved_at + replica.service_s / replica.width + cost_s - replica.base_s
        return Wait(
            f"least_loaded: {faster} busy but faster, {1e3 * last_s:.1f} ms against {1e3 * cost_s:.1f} on an idle one",
            until=max(crossing, now + _RECONSIDER_S),
        )
