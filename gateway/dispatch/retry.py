"""Whether a job whose exchange ended badly goes to another worker, and what it is answered when it does not.

Pure questions about one ticket. The core asks them once the credit is given back, and acts on what they say.
"""

from __future__ import annotations

from gateway.dispatch.effects import Failure
from gateway.dispatch.pool import Pool
from gateway.dispatch.queue import Ticket
from gateway.dispatch.replica import Replica
from gateway.errors import DeadlineExceeded, GatewayError, NoWorker, WorkerFailed, WorkerLost

MAX_LOSSES = 1
"""Attempts that may be lost or fail and still be made up for: a job goes once more to another worker, and not twice,
or one that kills workers would kill them all."""

MAX_REFUSALS = 4
"""Refusals cost nothing at the worker, so a rolling restart may give several; still bounded, or two would spin."""


def is_retried(ticket: Ticket, failure: Failure, replica: Replica, pool: Pool) -> bool:
    """`replica`: where it ended, of this pool."""
    if not ticket.job.body.is_replayable or ticket.losses > MAX_LOSSES or ticket.refusals > MAX_REFUSALS:
        return False
    if failure is not Failure.REFUSED and not ticket.job.may_repeat:
        return False
    if failure is not Failure.FAILED:
        return True
    return pool.ready_count > int(replica.takes_jobs)  # a failed engine may fail again: only another is worth a try


def failure_error(ticket: Ticket, failure: Failure, detail: str, now: float, retry_after_s: float) -> GatewayError:
    """What the client is told; `retry_after_s` goes with a refusal."""
    worker = ticket.replica.worker if ticket.replica is not None else ""
    if now >= ticket.deadline:
        return DeadlineExceeded(f"the deadline passed on worker {worker}: {detail}")
    if failure is Failure.REFUSED:
        return NoWorker(f"every worker asked refused: {detail}", retry_after_s=retry_after_s)
    if failure is Failure.LOST:
        return WorkerLost(f"worker {worker} was lost before it answered: {detail}")
    return WorkerFailed(f"worker {worker} failed: {detail}")
