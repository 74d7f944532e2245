"""The audit finds what is broken: it is no use otherwise."""

from __future__ import annotations

import pytest

from bench.simulation.audit import Audit
from bench.simulation.engine import simulate
from bench.simulation.scenario import Scenario, WorkerSpec, parse_fleet
from bench.simulation.worker import SimWorker
from gateway.dispatch.core import Core
from gateway.dispatch.effects import Assigned, ProbeDue
from gateway.dispatch.model import Job
from gateway.dispatch.policies import Assign, Decision, LeastLoaded, Wait
from gateway.dispatch.pool import Pool
from gateway.dispatch.queue import Ticket
from gateway.dispatch.settings import DispatchSettings
from tests.support.fake_link import make_job

FLEET = parse_fleet("10ms,20ms")


class Lazy(LeastLoaded):
    """Waits for the fast worker whenever it is busy, whatever the queue, until something changes."""

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        fast = pool.replicas["w0"]
        return Assign(fast, "fast") if fast.outstanding < fast.credits else Wait("for the fast one")


@pytest.mark.parametrize("name", ["lazy", "least_loaded"])
def test_idle_worker_and_waiting_job(name: str) -> None:
    """A job that waits beside a free worker is found: always, and under least_loaded's name when the wait has no reason
    or the core would sleep through its end."""
    policy = Lazy()
    policy.name = name
    outcome = simulate(Scenario(FLEET, 0.9, jobs=200), policy)
    assert outcome.violations
    assert all("a job waits" in violation for violation in outcome.violations)


class Promise:
    """One job on its way to one worker."""

    def __init__(self) -> None:
        settings = DispatchSettings()
        self.audit = Audit(settings, "least_loaded", jobs=1)
        self.core = Core(settings, self.audit)
        self.worker = SimWorker("w0", WorkerSpec(0.01))
        self.core.join(self.worker, [self.worker.offer], 0.0)
        (probe,) = self.core.advance(0.0)
        assert isinstance(probe, ProbeDue)
        self.core.probed(probe.replica, 0.01, "", 0.0)
        self.ticket: Ticket = self.core.submit(make_job(id="0"), 0.0)
        (assigned,) = self.core.advance(0.0)
        assert isinstance(assigned, Assigned)
        self.replica = probe.replica

    def sent(self) -> list[str]:
        self.audit.sent(self.ticket, self.replica, self.worker, 0.0)
        return self.audit.violations


def test_what_is_right_is_no_violation() -> None:
    """One job on one slot of a living worker, answered once: nothing to report."""
    promise = Promise()
    assert promise.sent() == []
    promise.core.answered(promise.ticket, 0.01, 0.01)
    assert promise.audit.closed(0) == []


def test_too_many_jobs() -> None:
    """More jobs at a worker than its credits are found by the core's count, and by the engine's own."""
    promise = Promise()
    promise.replica.outstanding = 2
    assert "holds 2 jobs with 1 credits" in promise.sent()[0]
    promise = Promise()
    promise.worker.held = {Ticket(make_job(), number, 0.0): None for number in range(2)}
    assert "holds 1 jobs with 1 credits" in promise.sent()[0]


def test_dead_worker() -> None:
    """A job for a worker that is known to be gone is found."""
    promise = Promise()
    promise.worker.is_known_dead = True
    assert "which is gone" in promise.sent()[0]


def test_every_job_ends_once() -> None:
    """A job without an end is found, and so is one with two."""
    promise = Promise()
    assert "1 jobs never ended" in promise.audit.closed(0)[0]
    promise = Promise()
    promise.core.answered(promise.ticket, 0.01, 0.01)
    promise.audit.job_ended(promise.ticket.job, "answered", "w0")
    assert "ended 2 times" in promise.audit.violations[0]
