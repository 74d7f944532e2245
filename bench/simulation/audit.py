"""The promises of dispatch, checked from outside after every event. It reads the core's state and keeps its own counts.

1. A worker never holds more jobs than its credits, and never more than its slots and `max_credits_ahead`.
2. No job waits while a worker that may run it has a free credit. `least_loaded` (and `pin`) may leave it waiting, but
   only while some busy worker is expected to answer it sooner, and if the core asks to be woken before that changes.
3. Every job ends once, and is answered at most once.
4. Nothing is sent to a worker that the gateway knows to be gone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from bench.simulation.worker import MODEL, SimWorker
from gateway.dispatch.core import Core
from gateway.dispatch.model import Job
from gateway.dispatch.observer import NullObserver
from gateway.dispatch.queue import Ticket
from gateway.dispatch.replica import Replica
from gateway.dispatch.settings import DispatchSettings

PATIENT = ("least_loaded", "pin")
"""Policies that may leave a job waiting on purpose."""

FULL_LOOK = 64
"""Workers up to which every wait is examined; above, one in `RARELY`, because each examination looks at all of them."""

LOOKS_S = 2e-3
"""A wait is looked at again by time alone at most once in 1 ms; in that time two promises may come 2 ms apart."""

RARELY = 1009

MOST_VIOLATIONS = 20
"""Kept as text; a run that breaks a promise usually breaks it thousands of times."""


class Audit(NullObserver):
    """Told of every event by the engine, and of every end by the core itself."""

    def __init__(self, settings: DispatchSettings, policy: str, jobs: int) -> None:
        self._settings = settings
        self._is_patient = policy in PATIENT
        self._ends = bytearray(jobs)
        self.retried = 0
        self.deliberate = 0
        self.violations: list[str] = []

    # ---- told by the core

    def job_ended(self, job: Job, outcome: str, worker: str) -> None:
        self._end(int(job.id), outcome)

    def job_retried(self, job: Job, worker: str, reason: str) -> None:
        self.retried += 1

    # ---- told by the engine

    def job_refused(self, job: Job, outcome: str) -> None:
        """`submit` raised: the job never began, and that is its end."""
        self._end(int(job.id), outcome)

    def sent(self, ticket: Ticket, replica: Replica, worker: SimWorker, now: float) -> None:
        most = worker.offer.slots + self._settings.max_credits_ahead
        if not replica.outstanding <= replica.credits <= most or len(worker.held) > replica.credits:
            self._broken(f"{worker.worker} holds {replica.outstanding} jobs with {replica.credits} credits", now)
        if worker.is_known_dead:
            self._broken(f"job {ticket.job.id} was sent to {worker.worker}, which is gone", now)

    def looked(self, core: Core, waiting: Mapping[Ticket, None], now: float) -> None:
        """After `advance`, with every job that still waits."""
        pool = core.fleet.pools[MODEL]
        if not pool.open_count:
            return
        self.deliberate += 1
        if self._is_patient and pool.ready_count > FULL_LOOK and self.deliberate % RARELY:
            return
        for excluded in {ticket.lane.excluded for ticket in waiting}:
            opened = [one for tier in (pool.idle, pool.ahead) for one in tier if one.worker not in excluded]
            if opened and self._is_patient:
                self._examine_wait(core, opened, [one for one in pool.full if one.worker not in excluded], now)
            elif opened:
                self._broken(f"a job waits while {opened[0].worker} has a free credit", now)

    def closed(self, unfinished: int) -> list[str]:
        """At the end of the run: everything that was broken."""
        missing = self._ends.count(0)
        if missing or unfinished:
            self.violations.append(f"{missing} jobs never ended, {unfinished} are still held")
        return self.violations

    # ---- inside

    def _examine_wait(self, core: Core, opened: list[Replica], full: list[Replica], now: float) -> None:
        idle_s = min(one.cost_s(now) for one in opened)
        busy_s = min((one.cost_s(now) for one in full), default=math.inf)
        if busy_s >= idle_s + LOOKS_S:
            self._broken(f"a job waits for {busy_s:.6f} s, and a free worker would take {idle_s:.6f}", now)
        wake_at = core.wake_at()
        if wake_at is None or wake_at > now + 2 * idle_s + self._settings.tick_s:
            self._broken(f"a job waits past a free worker and the core sleeps until {wake_at}", now)

    def _end(self, number: int, outcome: str) -> None:
        self._ends[number] += self._ends[number] < 255
        if self._ends[number] != 1:
            self._broken(f"job {number} ended {self._ends[number]} times, now by {outcome}", math.nan)

    def _broken(self, what: str, now: float) -> None:
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(f"at {now:.6f} s: {what}")
