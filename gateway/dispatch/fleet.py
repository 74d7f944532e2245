"""The workers: who is here, what each serves, how much it may hold, whether it is fit. The one writer of their state.

Chooses nothing and awaits nothing; `now` is an argument. The core claims a replica for each job and gives it back with
a verdict; readiness comes from real inferences alone (probes and jobs), never from a worker's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from gateway.dispatch.credits import count_credits
from gateway.dispatch.estimator import Estimator, is_plausible
from gateway.dispatch.model import Link, LoadReport, ModelOffer
from gateway.dispatch.observer import Observer
from gateway.dispatch.pool import Pool, Rank
from gateway.dispatch.probing import is_probe_due
from gateway.dispatch.replica import MOVES, Replica, State
from gateway.dispatch.settings import DispatchSettings

WEDGED_FACTOR = 10
"""A job that dies at its deadline after this many times the worker's usual service counts as the worker's failure."""

NEAR_BEST = 1.01
"""An estimate this near to the best of its pool has decayed: moving it on for ever would move all of them each tick."""


class Verdict(Enum):
    """What one job's end says about the worker."""

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"
    """It would not start: its idea of its slots differs from ours, so it is trusted with one job again."""
    NONE = "none"
    """Nothing: the client left, its input was bad, the tunnel broke."""


@dataclass(slots=True, eq=False)
class Worker:
    """One link and what is known about its other end."""

    link: Link
    name: str
    joined_at: float
    draining: bool = False
    load: LoadReport | None = None
    replicas: dict[str, Replica] = field(default_factory=dict)
    """By model."""


class Fleet:
    """Pools by model, workers by name. Reads `link.rtt_s` whenever a job ends or a report comes."""

    def __init__(self, settings: DispatchSettings, rank: Rank, observer: Observer) -> None:
        self._settings = settings
        self._rank = rank
        self._observer = observer
        self._estimator = Estimator(settings.smoothing, settings.decay_s)
        self._arrivals = 0
        self._decayed_at: float | None = None
        self.workers: dict[str, Worker] = {}
        self.pools: dict[str, Pool] = {}
        """Every model ever announced; an empty pool is the difference between 503 and 404."""

    # ---- workers

    def join(self, link: Link, offers: Sequence[ModelOffer], now: float) -> Link | None:
        """Takes a worker in. Returns the link that it supersedes, if this worker was here: the caller closes it."""
        superseded = self.workers.get(link.worker)
        if superseded is not None:
            self._remove(superseded, "superseded by a new session of the same worker", now)
        worker = self.workers[link.worker] = Worker(link, link.worker, joined_at=now)
        self._observer.worker_changed(worker.name, "", "joined", "")
        self._offer(worker, offers, now)
        return superseded.link if superseded is not None else None

    def leave(self, link: Link, reason: str, now: float) -> Worker | None:
        """Removes the worker of this link; None if the link was superseded or never joined."""
        worker = self.of(link)
        if worker is not None:
            self._remove(worker, reason, now)
        return worker

    def update(self, link: Link, offers: Sequence[ModelOffer], now: float) -> Worker | None:
        """The worker's models are now these. A changed version is a new model to prove."""
        worker = self.of(link)
        if worker is not None:
            for model in worker.replicas.keys() - {offer.name for offer in offers}:
                self._drop(worker, model, "the worker withdrew the model", now)
            self._offer(worker, offers, now)
        return worker

    def load(self, link: Link, report: LoadReport, now: float) -> Worker | None:
        worker = self.of(link)
        if worker is not None:
            worker.load = report
            for replica in worker.replicas.values():
                self._place(replica, now)
        return worker

    def drain_worker(self, link: Link, now: float) -> Worker | None:
        """No new job goes there from now on."""
        worker = self.of(link)
        if worker is not None and not worker.draining:
            worker.draining = True
            self._observer.worker_changed(worker.name, "", "draining", "the worker asked for it")
            for replica in worker.replicas.values():
                replica.draining = True
                self._place(replica, now)
        return worker

    def of(self, link: Link) -> Worker | None:
        """The worker whose current link this is."""
        worker = self.workers.get(link.worker)
        return worker if worker is not None and worker.link is link else None

    # ---- jobs

    def claim(self, replica: Replica, now: float) -> None:
        """One credit of it is taken."""
        assert replica.takes_jobs, replica
        assert replica.outstanding < replica.credits, replica
        if replica.outstanding < replica.width:
            replica.moved_at = now
        replica.outstanding += 1
        pool = self.pools[replica.offer.name]
        pool.turns += 1
        replica.turn = pool.turns
        pool.place(replica, now)

    def release(self, replica: Replica, verdict: Verdict, service_s: float | None, now: float) -> None:
        """The credit comes back. `service_s` is what the worker measured, None if it said nothing."""
        assert replica.outstanding > 0, replica
        replica.outstanding -= 1
        replica.moved_at = now
        if verdict is Verdict.ANSWERED:
            replica.answered += 1
            replica.allowance += replica.allowance < replica.most_credits
            self._heard(replica, service_s, now)
        elif verdict is not Verdict.NONE:
            if verdict is Verdict.REFUSED:
                replica.allowance = 1
            self._blame(replica, f"{verdict.value} {replica.failures + 1} jobs in a row", now)
        self._place(replica, now)

    def is_wedged(self, replica: Replica, running_s: float) -> bool:
        """Whether a job that ran so long without an answer is the worker's fault."""
        return running_s > WEDGED_FACTOR * replica.service_s

    # ---- health

    def due_probe(self, worker: Worker, now: float) -> Replica | None:
        """The model of this worker to probe now, marked as being probed. One at a time, not to disturb each other."""
        replicas = worker.replicas.values()
        if worker.draining or any(replica.is_probed_now for replica in replicas):
            return None
        for replica in replicas:
            if is_probe_due(replica, self.pools[replica.offer.name], self._settings.probe_idle_s, now):
                replica.is_probed_now = True
                return replica
        return None

    def probed(self, replica: Replica, service_s: float | None, reason: str, now: float) -> None:
        """A probe ended: with the seconds it took, or None and why it failed."""
        replica.is_probed_now = False
        if service_s is not None and not is_plausible(service_s):
            service_s, reason = None, f"it claims to have taken {service_s} s"
        if service_s is None:
            self._probe_failed(replica, f"probe failed: {reason}", now)
        elif replica.state in (State.PROBING, State.EJECTED):
            replica.service_s, replica.spread_s = self._estimator.first(service_s), 0.0
            replica.heard_at = replica.ready_at = replica.moved_at = now
            replica.failures = 0
            replica.allowance = 1
            self._move(replica, State.READY, "an inference succeeded")
        elif replica.state is State.READY:
            self._heard(replica, service_s, now)
        self._place(replica, now)

    def decay(self, now: float) -> None:
        """Moves every estimate that was not renewed since the last call towards the best of its pool."""
        since = now if self._decayed_at is None else self._decayed_at
        self._decayed_at = now
        for pool in self.pools.values():
            best_s = min((replica.service_s for replica in pool.ready()), default=0.0)
            for replica in list(pool.ready()):
                if replica.heard_at <= since and replica.service_s > best_s * NEAR_BEST:
                    replica.service_s = self._estimator.decayed(replica.service_s, best_s, now - since)
                    self._place(replica, now)
            pool.refresh(now - since)

    # ---- inside

    def _offer(self, worker: Worker, offers: Sequence[ModelOffer], now: float) -> None:
        for offer in offers:
            replica = worker.replicas.get(offer.name)
            if replica is not None and replica.offer.version != offer.version:
                self._drop(worker, offer.name, f"replaced by version {offer.version}", now)
                replica = None
            if replica is None:
                replica = self._new_replica(worker, offer, now)
            if replica is not None:
                self._apply_offer(replica, offer, now)

    def _new_replica(self, worker: Worker, offer: ModelOffer, now: float) -> Replica | None:
        if offer.name not in self.pools:
            if len(self.pools) >= self._settings.max_models:
                reason = f"{self._settings.max_models} models were announced already"
                self._observer.worker_changed(worker.name, offer.name, "refused", reason)
                return None
            self.pools[offer.name] = Pool(offer.name, self._rank, now)
        self._arrivals += 1
        replica = Replica(worker.name, worker.link, offer, self._arrivals, heard_at=now, probe_at=now)
        pool = self.pools[offer.name]
        if not pool.ready_count:
            pool.absent_since = now
        worker.replicas[offer.name] = pool.replicas[worker.name] = replica
        return replica

    def _apply_offer(self, replica: Replica, offer: ModelOffer, now: float) -> None:
        replica.offer, replica.is_service = offer, offer.is_service
        failure = offer.failure or ("" if offer.slots > 0 else "the worker announced no slots")
        if failure and replica.state is not State.BROKEN:
            self._move(replica, State.BROKEN, failure)
        elif not failure and replica.state is State.BROKEN:
            replica.probe_at = now
            self._move(replica, State.PROBING, "the worker says that it can serve it again")
        self._place(replica, now)

    def _remove(self, worker: Worker, reason: str, now: float) -> None:
        for model in list(worker.replicas):
            self._drop(worker, model, reason, now)
        del self.workers[worker.name]
        self._observer.worker_changed(worker.name, "", "left", reason)

    def _drop(self, worker: Worker, model: str, reason: str, now: float) -> None:
        replica = worker.replicas.pop(model)
        pool = self.pools[model]
        del pool.replicas[worker.name]
        self._move(replica, State.GONE, reason)
        pool.place(replica, now)

    def _move(self, replica: Replica, state: State, reason: str) -> None:
        assert state in MOVES[replica.state], (replica.state, state)
        replica.state, replica.reason = state, reason
        self._observer.worker_changed(replica.worker, replica.offer.name, state.value, reason)

    def _place(self, replica: Replica, now: float) -> None:
        if replica.state is State.READY:
            count_credits(replica, self._settings.max_credits_ahead)
        if replica.state is not State.GONE:
            self.pools[replica.offer.name].place(replica, now)

    def _heard(self, replica: Replica, service_s: float | None, now: float) -> None:
        if replica.failures:
            replica.failures, replica.reason = 0, "an inference succeeded"
        if service_s is not None:
            replica.service_s, replica.spread_s = self._estimator.renewed(
                replica.service_s, replica.spread_s, service_s, now - replica.heard_at
            )
        replica.heard_at = now

    def _probe_failed(self, replica: Replica, reason: str, now: float) -> None:
        replica.probe_at = now + self._settings.probe_retry_s
        if replica.state is State.PROBING:
            replica.reason = reason
            self._observer.worker_changed(replica.worker, replica.offer.name, replica.state.value, reason)
        elif replica.state is State.EJECTED:
            self._eject(replica, reason, now)
        elif replica.state is State.READY:
            self._blame(replica, reason, now)

    def _blame(self, replica: Replica, reason: str, now: float) -> None:
        replica.failed += 1
        replica.failures += 1
        limit = self._settings.eject_after
        if replica.state is not State.READY or not limit or replica.failures < limit:
            return
        if replica.takes_jobs and self.pools[replica.offer.name].ready_count == 1:
            replica.reason = f"kept although it fails ({reason}): no other worker is ready"
            return
        if now - replica.ready_at > self._settings.eject_max_s:
            replica.ejections = 0
        self._eject(replica, reason, now)

    def _eject(self, replica: Replica, reason: str, now: float) -> None:
        settings = self._settings
        out_s = min(settings.eject_base_s * 2.0**replica.ejections, settings.eject_max_s)
        replica.ejections += out_s < settings.eject_max_s
        replica.ejected_until = now + out_s
        self._move(replica, State.EJECTED, f"{reason}; out for {out_s:g} s")
