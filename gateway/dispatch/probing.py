"""When a worker is asked to prove that it can serve a model: at first, after an ejection, and when it was long idle."""

from __future__ import annotations

from gateway.dispatch.pool import Pool
from gateway.dispatch.replica import Replica, State

IDLE_PROBES_PER_S = 200
"""Probes of one model's idle workers at most. Where more are ready than this times `probe_idle_s`, each is asked less
often: it gets a job as much less often too, and 5,000 of them would cost the gateway a quarter of a core."""


def is_probe_due(replica: Replica, pool: Pool, idle_s: float, now: float) -> bool:
    """`idle_s`: how long a ready one may be idle, 0 for ever; longer in a large pool."""
    if replica.state is State.PROBING:
        return now >= replica.probe_at
    if replica.state is State.EJECTED:
        return now >= replica.ejected_until
    if replica.state is not State.READY or replica.outstanding or not idle_s:
        return False
    if now < max(replica.heard_at + idle_s, replica.probe_at):
        return False
    return now >= replica.heard_at + pool.ready_count / IDLE_PROBES_PER_S
