"""Where every assignment is made: one synchronous function, `advance`, called after every change.

Job in, job done, worker in, worker out, deadline: each is a method that changes state, and `advance(now)` then returns
what there is to do (effects) for the shell to do it. No clock, no await, no task: `dispatcher.py` and a simulator drive
the same object. Refuses to guess about time: `wake_at` says when it next wants to be called if nothing happens.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from itertools import islice
from random import Random

from gateway.dispatch.effects import Assigned, CloseLink, Effect, Expired, Failure, ProbeDue, Rejected
from gateway.dispatch.fleet import Fleet, Verdict, Worker
from gateway.dispatch.model import Job, Link, LoadReport, ModelOffer
from gateway.dispatch.observer import Observer
from gateway.dispatch.policies import Assign, Policy, Reject, Wait, make_policy
from gateway.dispatch.pool import Pool
from gateway.dispatch.queue import ANYWHERE, Lane, ModelQueue, Stage, Ticket
from gateway.dispatch.replica import Replica
from gateway.dispatch.retry import failure_error, is_retried
from gateway.dispatch.settings import DispatchSettings
from gateway.errors import DeadlineExceeded, Draining, GatewayError, NoWorker, QueueFull, UnknownModel

LOOKED_AT = 1000
"""Workers whose probes are looked for in one tick, about: with 5,000 of them, each has its turn after 1.5 s."""

_VERDICTS = {Failure.LOST: Verdict.NONE, Failure.REFUSED: Verdict.REFUSED, Failure.FAILED: Verdict.FAILED}


class Core:
    """All of dispatch's state and rules. After every call, or several, call `advance` and do what it returns."""

    def __init__(
        self, settings: DispatchSettings, observer: Observer, *, now: float = 0.0, policy: Policy | None = None
    ) -> None:
        """`policy`: instead of the one that the settings name, for a simulator that compares others."""
        self._settings = settings
        self._observer = observer
        self._policy = policy or make_policy(settings.policy, Random(settings.seed))
        self._queues: dict[str, ModelQueue] = {}
        self._live: dict[int, Ticket] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._numbers = 0
        self._changed: dict[str, None] = {}
        self._reconsider: dict[str, float] = {}
        self._effects: list[Effect] = []
        self._next_tick = now
        self._ticks = 0
        self.fleet = Fleet(settings, self._policy.rank, observer)
        self.is_draining = False
        """Set once, by the owner: no new job is taken, those that are here are finished."""

    # ---- jobs

    def submit(self, job: Job, now: float) -> Ticket:
        """Takes a job in. Raises Draining, UnknownModel, NoWorker, QueueFull or DeadlineExceeded."""
        queue = self._queue_for(job, now)
        self._numbers += 1
        lane = Lane(pin=job.pin) if self._policy.pins and job.pin is not None else ANYWHERE
        ticket = Ticket(job, self._numbers, now, lane)
        self._live[ticket.number] = ticket
        heapq.heappush(self._deadlines, (job.deadline, ticket.number))
        queue.push(ticket)
        self.fleet.pools[job.model].arrivals += 1
        self._changed[job.model] = None
        return ticket

    def began_answer(self, ticket: Ticket) -> None:
        """The head of a stream's answer is here."""
        ticket.is_answering = True

    def answered(self, ticket: Ticket, service_s: float | None, now: float) -> None:
        """The worker answered; it measured `service_s` for it, or None if it said nothing."""
        self._give_back(ticket, Verdict.ANSWERED, service_s, now)
        self._end(ticket, "answered")

    def failed(
        self, ticket: Ticket, failure: Failure, detail: str, now: float, *, may_retry: bool = True
    ) -> GatewayError | None:
        """The exchange ended without an answer. None: the job waits for another worker; else it has ended with this."""
        replica = self._give_back(ticket, _VERDICTS[failure], None, now)
        ticket.refusals += failure is Failure.REFUSED
        ticket.losses += failure is not Failure.REFUSED
        pool = self.fleet.pools[ticket.job.model]
        if now >= ticket.deadline or not may_retry or not is_retried(ticket, failure, replica, pool):
            error = failure_error(ticket, failure, detail, now, self._settings.retry_after_min_s)
            self._end(ticket, error.code)
            return error
        self._observer.job_retried(ticket.job, replica.worker, f"{failure.value}: {detail}")
        ticket.stage, ticket.queued_at = Stage.QUEUED, now
        ticket.lane = ticket.lane._replace(excluded=ticket.lane.excluded | {replica.worker})
        self._queues[ticket.job.model].push(ticket)
        self._changed[ticket.job.model] = None
        return None

    def cancel(self, ticket: Ticket, outcome: str, now: float) -> bool:
        """Nobody waits for the answer any more. Safe at every stage, so it can stand in a `finally`; False when the job
        had ended already."""
        if ticket.stage is Stage.QUEUED:
            self._queues[ticket.job.model].remove(ticket)
            self._changed[ticket.job.model] = None
        elif ticket.stage is Stage.RUNNING:
            replica = ticket.replica
            assert replica is not None
            is_fault = now >= ticket.deadline and self.fleet.is_wedged(replica, now - ticket.assigned_at)
            self._give_back(ticket, Verdict.FAILED if is_fault else Verdict.NONE, None, now)
        else:
            return False
        self._end(ticket, outcome)
        return True

    @property
    def live_jobs(self) -> int:
        """Jobs waiting or running."""
        return len(self._live)

    def queued_jobs(self, model: str) -> int:
        queue = self._queues.get(model)
        return queue.jobs if queue is not None else 0

    # ---- workers

    def join(self, link: Link, offers: Sequence[ModelOffer], now: float) -> None:
        superseded = self.fleet.join(link, offers, now)
        if superseded is not None:
            self._effects.append(CloseLink(superseded, "superseded by a new session of the same worker"))
        self._worker_changed(self.fleet.of(link), now)

    def leave(self, link: Link, reason: str, now: float) -> None:
        """The jobs that run there end one by one, as their exchanges fail."""
        worker = self.fleet.of(link)
        models = list(worker.replicas) if worker is not None else []
        self.fleet.leave(link, reason, now)
        self._changed.update(dict.fromkeys(models))

    def update(self, link: Link, offers: Sequence[ModelOffer], now: float) -> None:
        self._worker_changed(self.fleet.update(link, offers, now), now)

    def load(self, link: Link, report: LoadReport, now: float) -> None:
        self._worker_changed(self.fleet.load(link, report, now), now)

    def drain_worker(self, link: Link, now: float) -> None:
        self._worker_changed(self.fleet.drain_worker(link, now), now)

    def probed(self, replica: Replica, service_s: float | None, reason: str, now: float) -> None:
        self.fleet.probed(replica, service_s, reason, now)
        self._worker_changed(self.fleet.of(replica.link), now)

    # ---- time

    def wake_at(self) -> float | None:
        """When `advance` is wanted next if nothing happens; None when there is nothing to watch."""
        if not self.fleet.workers and not self._live:
            return None
        when = self._next_tick
        if self._deadlines and self._deadlines[0][0] < when:
            when = self._deadlines[0][0]
        return min(when, *self._reconsider.values()) if self._reconsider else when

    def advance(self, now: float) -> list[Effect]:
        """Makes every assignment that can be made, and returns what is to be done, in order."""
        if self._deadlines and self._deadlines[0][0] <= now:
            self._expire(now)
        if now >= self._next_tick:
            self._next_tick = now + self._settings.tick_s
            self._tick(now)
        if self._reconsider:
            self._changed.update((model, None) for model, when in self._reconsider.items() if when <= now)
        while self._changed:
            self._assign(self._changed.popitem()[0], now)
        effects, self._effects = self._effects, []
        return effects

    # ---- inside

    def _assign(self, model: str, now: float) -> None:
        queue = self._queues.get(model)
        if queue is None:
            return
        pool = self.fleet.pools[model]
        blocked: dict[Lane, float] = {}
        while queue.jobs and (ticket := queue.head(blocked)) is not None:
            able = pool.without(ticket.lane.excluded, now) if ticket.lane.excluded else pool
            decision = self._policy.choose(ticket.job, able, queue.jobs, now)
            if isinstance(decision, Wait):
                blocked[ticket.lane] = decision.until
                continue
            queue.remove(ticket)
            self._act(ticket, decision, now)
        self._reconsider.pop(model, None)
        if blocked and (until := min(blocked.values())) < math.inf:
            self._reconsider[model] = until

    def _act(self, ticket: Ticket, decision: Assign | Reject, now: float) -> None:
        waited_s = now - ticket.queued_at
        ticket.queue_s += waited_s
        if isinstance(decision, Assign):
            ticket.stage, ticket.replica, ticket.assigned_at = Stage.RUNNING, decision.replica, now
            ticket.attempts += 1
            self.fleet.claim(decision.replica, now)
            self._observer.job_assigned(ticket.job, decision.replica.worker, waited_s)
            self._effects.append(Assigned(ticket, decision))
        else:
            self._reject(ticket, decision.error)

    def _queue_for(self, job: Job, now: float) -> ModelQueue:
        settings = self._settings
        if self.is_draining:
            raise Draining("this gateway is going away; try again", retry_after_s=settings.retry_after_min_s)
        pool = self.fleet.pools.get(job.model)
        if pool is None:
            raise UnknownModel(f"no worker ever announced a model named {job.model!r}: see GET /v1/workers")
        if self._is_absent(pool, now):
            raise self._no_worker(job.model)
        if now >= job.deadline:
            raise DeadlineExceeded("the deadline had passed before the job was queued")
        queue = self._queues.get(job.model)
        if queue is None:
            queue = self._queues[job.model] = ModelQueue(settings.max_queue_jobs, settings.max_queue_bytes)
        if not queue.has_room(job):
            raise QueueFull(
                f"{queue.jobs} jobs ({queue.bytes} bytes) already wait for model {job.model!r}",
                retry_after_s=self._retry_after_s(queue, pool),
            )
        return queue

    def _retry_after_s(self, queue: ModelQueue, pool: Pool) -> float:
        """When the backlog of now will have been worked off, at the rate of the workers that are ready now."""
        backlog_s = queue.jobs / pool.rate_per_s if pool.rate_per_s else math.inf
        return min(max(backlog_s, self._settings.retry_after_min_s), self._settings.retry_after_max_s)

    def _give_back(self, ticket: Ticket, verdict: Verdict, service_s: float | None, now: float) -> Replica:
        assert ticket.stage is Stage.RUNNING, ticket
        assert ticket.replica is not None, ticket
        self.fleet.release(ticket.replica, verdict, service_s, now)
        if self._queues[ticket.job.model].jobs:  # else there is nothing to assign
            self._changed[ticket.job.model] = None
        return ticket.replica

    def _end(self, ticket: Ticket, outcome: str) -> None:
        ticket.stage = Stage.ENDED
        del self._live[ticket.number]
        if len(self._deadlines) > 2 * len(self._live) + 64:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._live]
            heapq.heapify(self._deadlines)
        self._observer.job_ended(ticket.job, outcome, ticket.replica.worker if ticket.replica is not None else "")

    def _reject(self, ticket: Ticket, error: GatewayError) -> None:
        self._end(ticket, error.code)
        self._effects.append(Rejected(ticket, error))

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            ticket = self._live.get(heapq.heappop(self._deadlines)[1])
            if ticket is None or ticket.is_answering:
                continue
            if ticket.stage is Stage.QUEUED:
                ticket.queue_s += now - ticket.queued_at
                self.cancel(ticket, DeadlineExceeded.code, now)
            self._effects.append(Expired(ticket))

    def _tick(self, now: float) -> None:
        self.fleet.decay(now)
        turns = 1 + len(self.fleet.workers) // LOOKED_AT
        self._ticks += 1
        for worker in islice(self.fleet.workers.values(), self._ticks % turns, None, turns):
            self._probe(worker, now)
        for model, queue in self._queues.items():
            if queue.jobs and self._is_absent(self.fleet.pools[model], now):
                for ticket in queue.take_all():
                    self._reject(ticket, self._no_worker(model))
            elif queue.jobs:
                self._changed[model] = None  # estimates have decayed: who was worth waiting for may not be any more

    def _is_absent(self, pool: Pool, now: float) -> bool:
        return pool.absent_since is not None and now - pool.absent_since >= self._settings.absence_s

    def _no_worker(self, model: str) -> NoWorker:
        detail = f"no worker is ready for {model!r}; GET /v1/workers says in which state each is"
        return NoWorker(detail, retry_after_s=self._settings.no_worker_retry_s)

    def _worker_changed(self, worker: Worker | None, now: float) -> None:
        if worker is not None:
            self._changed.update(dict.fromkeys(worker.replicas))
            self._probe(worker, now)

    def _probe(self, worker: Worker, now: float) -> None:
        replica = self.fleet.due_probe(worker, now)
        if replica is not None:
            self._effects.append(ProbeDue(replica))
