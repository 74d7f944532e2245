"""Runs one scenario: events in order of time, the gateway's core told of each, and what it answers done at once.

    outcome = simulate(scenario, "least_loaded")

It takes the place of `gateway/dispatch/dispatcher.py`, without waiting: the same calls, `advance` after each of them,
the same reaction to every effect, a wake-up whenever the core asks for one. It decides nothing.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from bench.simulation.audit import Audit
from bench.simulation.outcome import Outcome
from bench.simulation.scenario import Join, Loss, Scenario, Stall, WorkerSpec
from bench.simulation.worker import MODEL, SimWorker
from gateway.dispatch.core import Core
from gateway.dispatch.effects import Assigned, Effect, Expired, Failure, ProbeDue, Rejected
from gateway.dispatch.model import Job, LoadReport
from gateway.dispatch.policies import Policy
from gateway.dispatch.queue import Stage, Ticket
from gateway.dispatch.replica import Replica
from gateway.dispatch.settings import DispatchSettings
from gateway.errors import DeadlineExceeded, GatewayError

_Event = tuple[float, int, Callable[..., None], tuple[Any, ...]]
"""When, a number that keeps events of one moment in order, and what to call with what."""

_TRAINED = 1 << 20
"""Allowance of workers that have been here for long: more than any number of credits."""


class _Body:
    """A body that is here already and is never read."""

    size: int | None = 0
    is_complete = True
    is_replayable = True

    def chunks(self) -> AsyncIterator[bytes]:
        raise AssertionError("a simulation sends no bytes")


def simulate(scenario: Scenario, policy: str | Policy = "least_loaded") -> Outcome:
    """Runs to the last job's end. `policy`: a name that configuration knows, or a policy of one's own."""
    return _Simulation(scenario, policy).run()


class _Simulation:
    """One run. Time is the simulated gateway's clock; jobs begin at 0, the first workers join before that."""

    def __init__(self, scenario: Scenario, policy: str | Policy) -> None:
        self._scenario = scenario
        own = None if isinstance(policy, str) else policy
        name = policy if isinstance(policy, str) else policy.name
        settings = DispatchSettings(
            policy="least_loaded" if own else name,
            seed=scenario.seed,
            max_queue_jobs=scenario.max_queue_jobs,
            **dict(scenario.settings),  # type: ignore[arg-type]  # fields by name, as the scenario was written
        )
        self._now = -2.0 * max(spec.service_s + spec.rtt_s for spec in scenario.fleet)
        self._audit = Audit(settings, name, scenario.jobs)
        self._core = Core(settings, self._audit, now=self._now, policy=own)
        self._workers: list[SimWorker] = []
        self._events: list[_Event] = []
        self._pushed = 0
        self._waiting: dict[Ticket, None] = {}
        self._body = _Body()
        arrivals, factors = scenario.draw()
        self._arrivals: list[float] = arrivals.tolist()
        self._factors: list[float] = factors.tolist()
        self._answered_at = [math.nan] * scenario.jobs
        self._outcome = Outcome(name, arrivals, np.empty(0))

    def run(self) -> Outcome:
        began = time.perf_counter()
        self._begin()
        for number, arrival in enumerate(self._arrivals):
            self._run_until(arrival)
            self._now = arrival
            self._submit(number)
            self._advance()
        while self._core.live_jobs:
            self._run_until(self._next_at())
        outcome = self._outcome
        outcome.response_s = np.array(self._answered_at) - outcome.arrivals_s
        outcome.retried, outcome.deliberate = self._audit.retried, self._audit.deliberate
        outcome.violations = self._audit.closed(sum(len(worker.held) for worker in self._workers if worker.is_alive))
        outcome.wall_s = time.perf_counter() - began
        return outcome

    # ---- time

    def _begin(self) -> None:
        """The first fleet joins, is probed, and is taken as known."""
        for worker, spec in enumerate(self._scenario.fleet):
            self._join(spec, [stall for stall in self._scenario.stalls if stall.worker == worker])
        self._run_until(0.0)
        self._now = 0.0
        for sim in self._workers:
            self._core.fleet.pools[MODEL].replicas[sim.worker].allowance = _TRAINED
            self._core.load(sim, LoadReport(0, 0), self._now)
        self._advance()
        for loss in self._scenario.losses:
            self._at(loss.at_s, self._lose, loss)
        for join in self._scenario.joins:
            self._at(join.at_s, self._join_late, join)

    def _at(self, when: float, call: Callable[..., None], *arguments: object) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (when, self._pushed, call, arguments))

    def _next_at(self) -> float:
        wake_at = self._core.wake_at()
        event_at = self._events[0][0] if self._events else math.inf
        return event_at if wake_at is None else min(event_at, wake_at)

    def _run_until(self, end: float) -> None:
        """Everything up to and including this moment."""
        while (when := self._next_at()) <= end:
            self._now = max(self._now, when)
            self._outcome.events += 1
            if self._events and self._events[0][0] <= when:
                _, _, call, arguments = heapq.heappop(self._events)
                call(*arguments)
            self._advance()

    # ---- jobs

    def _submit(self, number: int) -> None:
        deadline = self._now + self._scenario.deadline_s
        job = Job(str(number), MODEL, "POST", "", (), self._body, deadline)
        try:
            ticket = self._core.submit(job, self._now)
        except GatewayError as error:
            self._audit.job_refused(job, error.code)
            self._outcome.outcomes[error.code] += 1
        else:
            self._waiting[ticket] = None

    def _answer(self, ticket: Ticket, attempt: int, worker: SimWorker, service_s: float) -> None:
        if not worker.is_alive or ticket not in worker.held or ticket.attempts != attempt:
            return  # the answer of a worker that died, or to a job that ran out of time
        del worker.held[ticket]
        self._answered_at[int(ticket.job.id)] = self._now
        self._outcome.outcomes["answered"] += 1
        self._core.answered(ticket, service_s, self._now)

    # ---- workers

    def _join(self, spec: WorkerSpec, stalls: list[Stall]) -> None:
        worker = SimWorker(f"w{len(self._workers)}", spec, stalls)
        self._workers.append(worker)
        self._core.join(worker, [worker.offer], self._now)
        self._advance()

    def _join_late(self, join: Join) -> None:
        self._join(join.spec, [])

    def _lose(self, loss: Loss) -> None:
        worker = self._workers[loss.worker]
        if worker.is_alive:
            worker.is_alive = False
            self._at(self._now + loss.noticed_after_s, self._notice, worker, loss)

    def _notice(self, worker: SimWorker, loss: Loss) -> None:
        """As the shell does it: the worker leaves, then its exchanges fail one by one."""
        worker.is_known_dead = True
        self._core.leave(worker, "lost", self._now)
        self._advance()
        while worker.held:
            ticket = next(iter(worker.held))
            del worker.held[ticket]
            error = self._core.failed(ticket, Failure.LOST, "the worker died", self._now)
            if error is None:
                self._waiting[ticket] = None
            else:
                self._outcome.outcomes[error.code] += 1
            self._advance()
        if loss.back_after_s is not None:
            self._at(self._now + loss.back_after_s, self._come_back, loss)

    def _come_back(self, loss: Loss) -> None:
        spec = self._scenario.fleet[loss.worker]
        worker = self._workers[loss.worker] = SimWorker(f"w{loss.worker}", spec)
        self._core.join(worker, [worker.offer], self._now)

    def _probed(self, replica: Replica, worker: SimWorker, service_s: float) -> None:
        if worker.is_alive:
            self._core.probed(replica, service_s, "", self._now)

    # ---- effects

    def _advance(self) -> None:
        for effect in self._core.advance(self._now):
            self._act(effect)
        if self._waiting:
            self._outcome.most_waiting = max(self._outcome.most_waiting, len(self._waiting))
            self._audit.looked(self._core, self._waiting, self._now)

    def _act(self, effect: Effect) -> None:
        match effect:
            case Assigned(ticket):
                self._send(ticket)
            case ProbeDue(replica):
                worker = _worker_of(replica)
                back_at, service_s = worker.work(self._now, 1.0)
                self._at(back_at, self._probed, replica, worker, service_s)
            case Rejected(ticket, error):
                del self._waiting[ticket]
                self._outcome.outcomes[error.code] += 1
            case Expired(ticket):
                self._expire(ticket)
            case _:
                raise AssertionError(f"no worker of a simulation is superseded: {effect}")

    def _send(self, ticket: Ticket) -> None:
        assert ticket.replica is not None
        worker = _worker_of(ticket.replica)
        del self._waiting[ticket]
        worker.held[ticket] = None
        self._outcome.assigned[worker.worker] += 1
        self._audit.sent(ticket, ticket.replica, worker, self._now)
        back_at, service_s = worker.work(self._now, self._factors[int(ticket.job.id)])
        self._at(back_at, self._answer, ticket, ticket.attempts, worker, service_s)

    def _expire(self, ticket: Ticket) -> None:
        if ticket.stage is Stage.ENDED:
            del self._waiting[ticket]
            self._outcome.outcomes[DeadlineExceeded.code] += 1
        else:
            self._at(self._now, self._cancel, ticket)

    def _cancel(self, ticket: Ticket) -> None:
        """A moment later, as the shell does it: its task is told, and gives the job back in its `finally`."""
        assert ticket.replica is not None
        worker = _worker_of(ticket.replica)
        if ticket in worker.held:
            del worker.held[ticket]
            self._outcome.outcomes[DeadlineExceeded.code] += 1
            self._core.cancel(ticket, DeadlineExceeded.code, self._now)


def _worker_of(replica: Replica) -> SimWorker:
    assert isinstance(replica.link, SimWorker)
    return replica.link
