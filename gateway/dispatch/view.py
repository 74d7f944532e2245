"""The fleet as operators see it: JSON values only, units in the names. Reads, never writes."""

from __future__ import annotations

from gateway.dispatch.fleet import Fleet, Worker
from gateway.dispatch.replica import Replica, State


def workers_view(fleet: Fleet, now: float) -> list[dict[str, object]]:
    """Every worker, by name."""
    return [_worker_view(worker, now) for _, worker in sorted(fleet.workers.items())]


def _worker_view(worker: Worker, now: float) -> dict[str, object]:
    load = worker.load
    return {
        "worker": worker.name,
        "connected_s": round(now - worker.joined_at, 3),
        "rtt_ms": round(1e3 * worker.link.rtt_s, 3),
        "draining": worker.draining,
        "about": dict(worker.link.about),
        "load": None if load is None else {"running": load.running, "waiting": load.waiting, **load.details},
        "models": [_replica_view(replica, now) for _, replica in sorted(worker.replicas.items())],
    }


def _replica_view(replica: Replica, now: float) -> dict[str, object]:
    is_proven = replica.state is State.READY
    return {
        "model": replica.offer.name,
        "version": replica.offer.version,
        "state": replica.state.value,
        "reason": replica.reason,
        "slots": replica.offer.slots,
        "credits": replica.credits if is_proven else 0,
        "running": replica.outstanding,
        "service_ms": round(1e3 * replica.service_s, 3) if is_proven else None,
        "expected_ms": round(1e3 * replica.cost_s(now), 3) if is_proven else None,
        "answered": replica.answered,
        "failed": replica.failed,
        "failures_in_a_row": replica.failures,
        "ejected_for_s": round(replica.ejected_until - now, 3) if replica.state is State.EJECTED else None,
        "metadata": dict(replica.offer.metadata),
    }
