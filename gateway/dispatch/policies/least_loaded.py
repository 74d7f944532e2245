"""The default: the worker expected to answer first, which may mean to wait for one that is busy.

Expected completion = what is left of the running work + the waiting work + this job's own service + the round trip
(`Replica.cost_s`). An idle slow worker is passed over while the busy fast ones are expected to be done with the whole
queue sooner (Lin and Kumar 1984: use the slow server only when the queue is longer than a threshold).
"""

from __future__ import annotations

import math

from gateway.dispatch.model import Job
from gateway.dispatch.policies.base import NO_CREDIT, Assign, Decision, Wait
from gateway.dispatch.pool import Pool, Ranking
from gateway.dispatch.replica import Replica

_MOST_UTILISATION = 0.9
"""Share of the faster workers' capacity that may be in demand while jobs wait for them past an idle one."""

_SAMPLE = 16
"""Replicas read to know the rate of many: exact below twice this number, and no more work for thousands."""

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
            # The slots of a service are no engines of their own: what runs there slows what comes.
            return replica.base_s * (1 + replica.outstanding) if replica.is_service else replica.base_s
        return replica.starts_at(now) + replica.base_s

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        found = self._soonest_open(pool, now)
        if found is None:
            return NO_CREDIT
        cost_s, replica = found
        # Nobody knows when a stream ends: for a service, nothing is kept for one that is full.
        busy = None if replica.is_service else pool.full.first(now, below=now + cost_s)
        if busy is not None and (wait := self._wait_for(pool, busy, cost_s, waiting, now)):
            return wait
        costs_ms = (1e3 * cost_s, 1e3 * replica.base_s)
        return Assign(replica, "least_loaded: {:.1f} ms, {:.1f} of it its own", costs_ms)

    def _soonest_open(self, pool: Pool, now: float) -> tuple[float, Replica] | None:
        idle = pool.idle.first(now)
        ahead = pool.ahead.first(now, below=math.inf if idle is None else now + idle[0])
        return idle if ahead is None else (ahead[0] - now, ahead[1])

    def _wait_for(
        self, pool: Pool, busy: tuple[float, Replica], cost_s: float, waiting: int, now: float
    ) -> Wait | None:
        """Worth it if even the last job of the queue would be answered sooner by the busy ones that are faster.

        Not when the demand is about all that those can do: each job kept for them then delays every later one, and
        the queue would stand at the threshold for good.
        """
        answered_at = busy[0]
        faster = pool.full.count_below(now + cost_s)
        rate_per_s = _rate_per_s(pool.full, faster)
        last_s = answered_at - now + (waiting - 1) / rate_per_s
        if last_s >= cost_s or pool.demand_per_s > _MOST_UTILISATION * rate_per_s:
            return None
        # Half: overdue work gets dearer by a second each second while the work of an open, busy worker gets less.
        lasts_s = (cost_s - (answered_at - now)) / 2
        return Wait(
            "least_loaded: {} busy but faster, {:.1f} ms against {:.1f} on an idle one",
            (faster, 1e3 * last_s, 1e3 * cost_s),
            until=now + max(lasts_s, _RECONSIDER_S),
        )


def _rate_per_s(ranking: Ranking, count: int) -> float:
    """Jobs per second of the first `count`. Read all along the ranking: its head alone is the luckiest estimates."""
    sampled = [ranking[position] for position in range(0, count, max(count // _SAMPLE, 1))]
    return count / len(sampled) * math.fsum(replica.width / replica.service_s for replica in sampled)
