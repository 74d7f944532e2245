"""What one simulated run gives: a time for each job, counts, and the numbers that are quoted from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from bench.simulation.scenario import Times

WARM_UP = 0.1
"""Share of the jobs, the first ones, that no quantile counts."""

UNSTABLE_SHARE = 0.02
"""A run is unstable when more than this share of all its jobs is still in the system as the last one arrives. A queue
that is stable keeps a number that does not grow with the run; what grows by less than a fiftieth is not told apart."""


def quantile(samples: Times, q: float) -> float:
    """Nearest rank; NaN of none."""
    return float(np.quantile(samples, q, method="inverted_cdf")) if samples.size else float("nan")


@dataclass(slots=True)
class Outcome:
    """Times are simulated seconds but for `wall_s`."""

    policy: str
    arrivals_s: Times
    response_s: Times
    """Of each job; NaN for one that was not answered."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Jobs by how they ended: "answered", or an error's code."""
    retried: int = 0
    assigned: Counter[str] = field(default_factory=Counter)
    """Assignments by worker."""
    most_waiting: int = 0
    deliberate: int = 0
    """Times that a job was left waiting although a worker had a free credit for it."""
    events: int = 0
    wall_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    """Promises that were broken; empty in a correct run."""

    @property
    def steady_s(self) -> Times:
        """Response times of the jobs that were answered, after the warm-up."""
        kept = self.response_s[int(WARM_UP * self.response_s.size) :]
        return kept[~np.isnan(kept)]

    def quantile_ms(self, q: float) -> float:
        return 1e3 * quantile(self.steady_s, q)

    @property
    def is_stable(self) -> bool:
        last = self.arrivals_s[-1]
        in_system = np.count_nonzero(self.arrivals_s + np.nan_to_num(self.response_s) > last)
        return bool(in_system <= UNSTABLE_SHARE * self.arrivals_s.size + 10)
