"""Drives the dispatch core by hand, as the asyncio shell or a simulator would: time moves when a test says so."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dispatch.core import Core
from gateway.dispatch.effects import Assigned, CloseLink, Effect, Expired, Failure, ProbeDue, Rejected
from gateway.dispatch.model import Job, LoadReport
from gateway.dispatch.queue import Ticket
from gateway.dispatch.replica import Replica
from gateway.dispatch.settings import DispatchSettings
from gateway.errors import GatewayError
from tests.support.fake_link import FakeLink, make_job, offer


class RecordingObserver:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.assigned: list[tuple[str, str]] = []
        self.retried: list[str] = []
        self.ended: list[tuple[str, str, str]] = []
        self.changes: list[tuple[str, str, str, str]] = []

    def job_assigned(self, job: Job, worker: str, queue_s: float) -> None:
        self.assigned.append((job.id, worker))

    def job_retried(self, job: Job, worker: str, reason: str) -> None:
        self.retried.append(job.id)

    def job_ended(self, job: Job, outcome: str, worker: str) -> None:
        self.ended.append((job.id, outcome, worker))

    def worker_changed(self, worker: str, model: str, state: str, reason: str) -> None:
        self.changes.append((worker, model, state, reason))


class CoreDriver:
    """A core, its time, and what its effects asked for."""

    def __init__(self, **settings: object) -> None:
        self.settings = DispatchSettings(**settings)  # type: ignore[arg-type]
        self.observer = RecordingObserver()
        self.now = 100.0
        self.core = Core(self.settings, self.observer, now=self.now)
        self.running: list[Ticket] = []
        """Assigned and not yet ended, in order."""
        self.reasons: list[str] = []
        """Why each job went where it did, in order."""
        self.errors: dict[Ticket, GatewayError | None] = {}
        """What tickets were answered with; None for a deadline."""
        self.probes: list[Replica] = []
        self.closed: list[FakeLink] = []
        self.jobs = 0

    # ---- workers

    def join(self, link: FakeLink, *models: str, slots: int = 1) -> None:
        self.core.join(link, [offer(model, slots) for model in models or ("m",)], self.now)
        self.advance()

    def add(
        self, name: str, service_s: float = 0.01, *, slots: int = 1, rtt_s: float = 0.0, warm: bool = True
    ) -> Replica:
        """A worker of model m that is ready; `warm`: past its slow start as well."""
        link = FakeLink(name, rtt_s)
        self.join(link, slots=slots)
        replica = self.replica(name)
        self.prove(service_s, only=replica)
        if warm:
            replica.allowance = 1000
            self.core.load(link, LoadReport(0, 0), self.now)
            self.advance()
        return replica

    def prove(self, service_s: float | None = 0.01, reason: str = "", only: Replica | None = None) -> None:
        """Ends every open probe, or one."""
        due = [replica for replica in self.probes if only in (None, replica)]
        self.probes = [replica for replica in self.probes if replica not in due]
        for replica in due:
            self.core.probed(replica, service_s, reason, self.now)
        self.advance()

    def replica(self, worker: str, model: str = "m") -> Replica:
        return self.core.fleet.pools[model].replicas[worker]

    # ---- jobs

    def submit(self, model: str = "m", *, deadline_s: float = 1e6, **job: object) -> Ticket:
        self.jobs += 1
        name = str(job.pop("id", f"job{self.jobs}"))
        made = make_job(model, id=name, deadline=self.now + deadline_s, **job)  # type: ignore[arg-type]
        ticket = self.core.submit(made, self.now)
        self.advance()
        return ticket

    def answer(self, ticket: Ticket, service_s: float | None = None) -> None:
        self.running.remove(ticket)
        self.core.answered(ticket, service_s, self.now)
        self.advance()

    def fail(self, ticket: Ticket, failure: Failure, **how: bool) -> GatewayError | None:
        self.running.remove(ticket)
        error = self.core.failed(ticket, failure, "why", self.now, **how)
        self.advance()
        return error

    def cancel(self, ticket: Ticket) -> None:
        self.running = [other for other in self.running if other is not ticket]
        self.core.cancel(ticket, "cancelled", self.now)
        self.advance()

    def workers(self) -> list[str]:
        """Where the running jobs are, in order of assignment."""
        return [ticket.replica.worker for ticket in self.running if ticket.replica is not None]

    # ---- time

    def pass_time(self, seconds: float) -> None:
        """Moves on, waking the core whenever it asked to be; open probes stay open."""
        end = self.now + seconds
        while (wake := self.core.wake_at()) is not None and wake <= end:
            self.now = max(self.now, wake)
            self.advance()
        self.now = end
        self.advance()

    def advance(self) -> Sequence[Effect]:
        effects = self.core.advance(self.now)
        for effect in effects:
            self._note(effect)
        return effects

    def _note(self, effect: Effect) -> None:
        match effect:
            case Assigned(ticket, decision):
                self.running.append(ticket)
                self.reasons.append(decision.reason)
            case Rejected(ticket, error):
                self.errors[ticket] = error
            case Expired(ticket):
                self.errors[ticket] = None
                self.running = [other for other in self.running if other is not ticket]
                self.core.cancel(ticket, "deadline_exceeded", self.now)
            case ProbeDue(replica):
                self.probes.append(replica)
            case CloseLink(link):
                assert isinstance(link, FakeLink)
                link.close("superseded")
                self.closed.append(link)
