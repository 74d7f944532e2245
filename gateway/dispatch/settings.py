"""The limits and times that dispatch works with, as one frozen value handed down by the composition root.

Validation with a field's full name in the message belongs to the configuration that builds it, not here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """Every default is meant for a handful to a few hundred workers and jobs of a millisecond to a minute."""

    policy: str = "least_loaded"
    """Which policy chooses: one of `policies.POLICIES`."""

    seed: int | None = None
    """Seed of the policies that draw (random, power_of_two); None draws one from the system."""

    max_queue_jobs: int = 512
    """Jobs that may wait for one model, at least 1. The next one is answered QueueFull."""

    max_queue_bytes: int = 256 << 20
    """Body bytes that may wait for one model. A job that finds the queue empty is taken whatever its size."""

    retry_after_min_s: float = 1.0
    """The shortest Retry-After that is ever given, and the one given while draining."""

    retry_after_max_s: float = 30.0
    """The longest Retry-After that is ever given, however long the backlog is."""

    no_worker_retry_s: float = 5.0
    """Retry-After, in seconds, when a model has no ready worker: about what a worker needs to start and reconnect."""

    absence_s: float = 2.0
    """How long a model without a ready worker still keeps and takes jobs, so that a worker that reconnects costs no
    client an error. 0 answers NoWorker at the next tick."""

    smoothing: float = 0.1
    """Weight of the newest measurement in a service time's moving average, over 0 and up to 1."""

    decay_s: float = 5.0
    """Time constant with which an estimate that is not measured any more moves to the best of its model."""

    max_credits_ahead: int = 16
    """Most jobs sent ahead of a worker's free slots to hide the round trip; each one is hurt if the worker stalls."""

    eject_after: int = 5
    """Consecutive failures after which a worker is left out of a model. 0 never ejects."""

    eject_base_s: float = 2.0
    """How long the first ejection lasts, in seconds; each further one lasts twice as long."""

    eject_max_s: float = 120.0
    """The longest ejection; a worker that stays ready for as long has its ejections forgotten."""

    probe_timeout_s: float = 10.0
    """How long a probe may take before it counts as failed."""

    probe_retry_s: float = 1.0
    """Time between a failed first probe of a worker and the next."""

    probe_idle_s: float = 3.0
    """A ready worker that nothing was heard of for so long, and that has no job, is probed; later where a model has so
    many that this were over 200 probes a second. 0 never probes again (for studies of idle workers: a probe wakes the
    hardware up)."""

    tick_s: float = 0.25
    """How often housekeeping runs: decay, probes that are due, models without a worker."""

    reply_hold_bytes: int = 1 << 20
    """An answer that declares a length up to this is taken whole before the client gets its first byte: the credit
    is free sooner, and a worker lost halfway costs nobody an error. 0 never holds one."""

    max_models: int = 1000
    """Models remembered as announced. The offers of further ones are refused, or a worker could fill the memory."""
