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
            return Wait(f"pin: {job.pin} takes no jobs ({replica.reason})")
        if replica.outstanding >= replica.credits:
            return Wait(f"pin: every credit of {job.pin} is taken")
        return Assign(replica, f"pin: the request names {job.pin}")
