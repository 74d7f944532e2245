"""The worker that the request names, for studies of one worker at a time; the default policy for all other requests."""

from __future__ import annotations

from gateway.dispatch.model import Job
from gateway.dispatch.policies.base import Assign, Decision, Reject, Wait
from gateway.dispatch.policies.least_loaded import LeastLoaded
from gateway.dispatch.pool import Pool
from gateway.errors import UnknownWorker


class Pin(LeastLoaded):
    """A pinned job waits for its worker while that one is full, ejected or not yet proven."""

    name = "pin"
    pins = True

    def choose(self, job: Job, pool: Pool, waiting: int, now: float) -> Decision:
        if job.pin is None:
            return super().choose(job, pool, waiting, now)
        replica = pool.replicas.get(job.pin)
        if replica is None:
            error = UnknownWorker(f"no worker named {job.pin!r} serves model {job.model!r}")
            return Reject(error, f"pin: {error.detail}")
        if not replica.takes_jobs:
            return Wait("pin: {} takes no jobs ({})", (job.pin, replica.reason))
        if replica.outstanding >= replica.credits:
            return Wait("pin: every credit of {} is taken", (job.pin,))
        return Assign(replica, "pin: the request names {}", (job.pin,))
