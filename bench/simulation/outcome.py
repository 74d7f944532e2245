"""What one simulated run gives: a time for each job, counts, and the numbers that are quoted from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from bench.simulation.scenario import Times

WARM_UP = 0.1
"""Share of the jobs, the first ones, that no quantile counts."""

UNSTABLE_SHARE = 0.02
"""A run is unstable when, as its last job arrives, more than this share of all its jobs is in the system, and half
as many again as when the middle one arrived. A backlog that grows by less than a fiftieth of what comes is not seen."""


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
        last = self.arrivals_s.size - 1
        at_end = self._in_system(last)
        return at_end <= UNSTABLE_SHARE * last + 10 or at_end <= 1.5 * self._in_system(last // 2)

    def _in_system(self, job: int) -> int:
        """Jobs that came up to this one and were still to be answered when it came."""
        ends_s = self.arrivals_s[: job + 1] + np.nan_to_num(self.response_s[: job + 1])
        return int(np.count_nonzero(ends_s > self.arrivals_s[job]))
