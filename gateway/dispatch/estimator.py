"""How long a worker takes for one job of a model: a moving average of what the worker itself measured.

The time a job spends in queues is no part of it, or a busy worker would look slow and an overloaded pool would chase
its own tail. It forgets: an estimate that nobody renews moves to the pool's best within seconds, or a worker that was
slow once would never be given the job that shows it has recovered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MIN_SERVICE_S = 1e-4
"""Least service time believed. Below it the tunnel is all of the cost, and round trip / service explodes."""

MAX_SERVICE_S = 86_400.0
"""Most service time believed: a day."""

_WAITING = "worker_queue"


def measured_service_s(worker_s: Mapping[str, float]) -> float | None:
    """What one exchange says of its worker's speed: its durations without the wait.

    None if it measured nothing, or nothing that can be believed: the numbers come from the worker.
    """
    service_s, is_measured = 0.0, False
    for name, seconds in worker_s.items():
        if name != _WAITING:
            service_s += seconds
            is_measured = True
    return service_s if is_measured and is_plausible(service_s) else None


def is_plausible(service_s: float) -> bool:
    """Whether an estimate may be made of it; false for NaN and infinities, which would break every comparison."""
    return 0 <= service_s <= MAX_SERVICE_S


@dataclass(frozen=True, slots=True)
class Estimator:
    """Rules for one number, in seconds, per (worker, model)."""

    smoothing: float
    decay_s: float

    def first(self, sample_s: float) -> float:
        """The estimate after the first good probe."""
        return max(sample_s, MIN_SERVICE_S)

    def renewed(self, service_s: float, spread_s: float, sample_s: float, age_s: float) -> tuple[float, float]:
        """The estimate and its spread (mean deviation, as RFC 6298 keeps for round trips) after one more measurement.

        The old estimate counts for less by as much as it had decayed.
        """
        weight = 1 - (1 - self.smoothing) * math.exp(-age_s / self.decay_s)
        error_s = sample_s - service_s
        spread_s += self.smoothing * (abs(error_s) - spread_s)
        return max(service_s + weight * error_s, MIN_SERVICE_S), spread_s

    def decayed(self, service_s: float, best_s: float, elapsed_s: float) -> float:
        """The estimate after `elapsed_s` without a measurement: exponentially closer to the pool's best."""
        return best_s + (service_s - best_s) * math.exp(-elapsed_s / self.decay_s)
