"""Whatever happens, in whatever order: dispatch keeps its promises after every step, and at the end nothing is owed."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.dispatch.effects import Failure
from gateway.dispatch.model import Priority
from gateway.dispatch.policies import POLICIES
from gateway.dispatch.queue import Stage, Ticket
from gateway.dispatch.replica import State
from gateway.errors import GatewayError
from tests.support.core_driver import CoreDriver
from tests.support.fake_link import FakeBody, FakeLink, offer

WORKERS = st.sampled_from(["a", "b", "c"])
MODELS = st.sampled_from(["m", "n"])
SECONDS = st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.0, 5.0])


class Dispatch(RuleBasedStateMachine):
    """Workers come, go, fail and drain; jobs come, wait, run, are lost, refused, cancelled and run out of time."""

    @initialize(policy=st.sampled_from(sorted(POLICIES)), max_queue_jobs=st.integers(1, 4))
    def begin(self, policy: str, max_queue_jobs: int) -> None:
        self.policy = policy
        self.driver = CoreDriver(
            policy=policy, seed=1, max_queue_jobs=max_queue_jobs, max_queue_bytes=50, eject_after=2
        )
        self.links: dict[str, FakeLink] = {}
        self.tickets: list[Ticket] = []
        self.refused = 0

    # ---- workers

    @rule(worker=WORKERS, slots=st.integers(1, 3), rtt_s=st.sampled_from([0.0, 0.03]))
    def join(self, worker: str, slots: int, rtt_s: float) -> None:
        self.links[worker] = FakeLink(worker, rtt_s)
        self.driver.join(self.links[worker], "m", "n", slots=slots)

    @rule(worker=WORKERS)
    def leave(self, worker: str) -> None:
        if worker in self.links:
            self.driver.core.leave(self.links.pop(worker), "left", self.driver.now)
            self.driver.advance()

    @rule(
        worker=WORKERS, slots=st.integers(0, 3), version=st.sampled_from("12"), failure=st.sampled_from(["", "broken"])
    )
    def update(self, worker: str, slots: int, version: str, failure: str) -> None:
        if worker in self.links:
            offers = [offer("m", slots, version, failure)]
            self.driver.core.update(self.links[worker], offers, self.driver.now)
            self.driver.advance()

    @rule(worker=WORKERS)
    def drain_worker(self, worker: str) -> None:
        if worker in self.links:
            self.driver.core.drain_worker(self.links[worker], self.driver.now)
            self.driver.advance()

    @precondition(lambda self: self.driver.probes)
    @rule(service_s=st.sampled_from([0.001, 0.01, 0.1, None]))
    def probe(self, service_s: float | None) -> None:
        self.driver.prove(service_s, "failed", only=self.driver.probes[0])

    # ---- jobs

    @rule(
        model=MODELS,
        priority=st.sampled_from(Priority),
        deadline_s=st.sampled_from([0.01, 1.0, 100.0]),
        queued_bytes=st.integers(0, 60),
        pin=st.one_of(st.none(), WORKERS),
        is_replayable=st.booleans(),
    )
    def submit(
        self, model: str, priority: Priority, deadline_s: float, queued_bytes: int, pin: str | None, is_replayable: bool
    ) -> None:
        body = FakeBody(is_replayable=is_replayable)
        try:
            ticket = self.driver.submit(
                model, priority=priority, deadline_s=deadline_s, queued_bytes=queued_bytes, pin=pin, body=body
            )
        except GatewayError as error:
            assert error.code in ("unknown_model", "no_worker", "queue_full"), error.code
            self.refused += 1
        else:
            self.tickets.append(ticket)

    @precondition(lambda self: self.driver.running)
    @rule(index=st.integers(0, 20), service_s=st.sampled_from([None, 0.0, 0.005, 0.2]))
    def answer(self, index: int, service_s: float | None) -> None:
        self.driver.answer(self.driver.running[index % len(self.driver.running)], service_s)

    @precondition(lambda self: self.driver.running)
    @rule(index=st.integers(0, 20), failure=st.sampled_from(Failure), may_retry=st.booleans())
    def fail(self, index: int, failure: Failure, may_retry: bool) -> None:
        self.driver.fail(self.driver.running[index % len(self.driver.running)], failure, may_retry=may_retry)

    @precondition(lambda self: self.tickets)
    @rule(index=st.integers(0, 20))
    def cancel(self, index: int) -> None:
        self.driver.cancel(self.tickets[index % len(self.tickets)])

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.driver.pass_time(seconds)

    # ---- promises

    @invariant()
    def claims_are_what_runs(self) -> None:
        """The counts that credits are measured by are exactly the jobs that run."""
        runs = Counter(ticket.replica for ticket in self.tickets if ticket.stage is Stage.RUNNING)
        assert set(runs) <= {ticket.replica for ticket in self.driver.running}
        for pool in self.driver.core.fleet.pools.values():
            for replica in pool.replicas.values():
                assert replica.outstanding == runs[replica]

    @invariant()
    def never_over_the_most_credits(self) -> None:
        """No worker holds more than its slots and the most that is sent ahead."""
        for pool in self.driver.core.fleet.pools.values():
            for replica in pool.replicas.values():
                if replica.state is State.READY:
                    assert replica.credits <= replica.offer.slots + self.driver.settings.max_credits_ahead

    @invariant()
    def never_idle_while_a_job_could_run(self) -> None:
        """While a job waits, no worker that it may run on has a free credit, unless it waits for a faster one."""
        core = self.driver.core
        for ticket in self.tickets:
            if ticket.stage is not Stage.QUEUED:
                continue
            pool = core.fleet.pools[ticket.job.model]
            able = [replica for replica in pool.ready() if ticket.lane.pin in (None, replica.worker)]
            able = [replica for replica in able if replica.worker not in ticket.lane.excluded] or able
            free = [replica for replica in able if replica.outstanding < replica.credits]
            waits_for_faster = self.policy in ("least_loaded", "pin") and len(free) < len(able)
            assert not free or waits_for_faster, (ticket, free)
            if free:
                assert core.wake_at() is not None

    @invariant()
    def pools_hold_who_takes_jobs(self) -> None:
        """Exactly the ready workers that do not drain can be chosen, each in one place, by its counts."""
        for pool in self.driver.core.fleet.pools.values():
            assert sorted(r.index for r in pool.ready()) == sorted(
                r.index for r in pool.replicas.values() if r.takes_jobs
            )
            assert (pool.absent_since is None) == bool(pool.ready_count)
            assert all(r.outstanding < r.width for r in pool.idle)
            assert all(r.width <= r.outstanding < r.credits for r in pool.ahead)
            assert all(r.outstanding >= r.credits for r in pool.full)

    @invariant()
    def queues_count_what_waits(self) -> None:
        """Queues count exactly the jobs and bytes that wait."""
        waiting = [ticket for ticket in self.tickets if ticket.stage is Stage.QUEUED]
        queues = self.driver.core._queues.values()
        assert sum(queue.jobs for queue in queues) == len(waiting)
        assert sum(queue.bytes for queue in queues) == sum(ticket.job.queued_bytes for ticket in waiting)

    @invariant()
    def deadlines_are_kept(self) -> None:
        """No job lives past its deadline."""
        assert all(ticket.job.deadline > self.driver.now for ticket in self.tickets if ticket.stage is not Stage.ENDED)

    @invariant()
    def attempts_are_bounded(self) -> None:
        """A job is risked on two workers at most, and asked for six times at most."""
        assert all(ticket.losses <= 2 and ticket.attempts <= 6 for ticket in self.tickets)

    def teardown(self) -> None:
        """In the end every job has ended exactly once, and nothing is claimed, queued or remembered of it."""
        if not hasattr(self, "driver"):
            return
        for ticket in self.tickets:
            self.driver.cancel(ticket)
        self.claims_are_what_runs()
        self.queues_count_what_waits()
        assert self.driver.core.live_jobs == 0
        ends = Counter(name for name, _, _ in self.driver.observer.ended)
        assert ends == Counter(ticket.job.id for ticket in self.tickets)
        assert len(self.tickets) + self.refused == self.driver.jobs


TestDispatch = Dispatch.TestCase
TestDispatch.settings = settings(max_examples=150, stateful_step_count=40)
