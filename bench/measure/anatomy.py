"""Where a request's time went, by percentile: the client's own parts, the server's stages, and what neither explains.

A row of percentiles of each stage would add up to nothing. So the requests around a percentile of the whole are taken,
and the means of their parts: these add up to the mean of their wholes, and the rest is shown as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.load.sample import Floats, Samples
from bench.measure.percentiles import least_n, name_of, nearest_rank

MS = 1e6
QUANTILES = (0.5, 0.9, 0.99, 0.999)
NEIGHBOURHOOD = 0.005
"""Ranks to each side of a percentile, as a share of all: a hundredth of the requests make one bar."""
TOTAL = "total"
"""The stage in which a server sums up the others; not one of the parts."""
BEFORE = ("client_lag", "connect", "tls")
AFTER = ("download", "network", "unnamed")
"""`network`: between send and first byte, and not within the server's total: the way there and back, and the HTTP
client. `unnamed`: within the server's total, and in none of its stages. Both are what is left over; their sum is the
residual."""


@dataclass(frozen=True)
class Bar:
    """The requests around one percentile of R, in ms."""

    name: str
    requests: int
    response: float
    parts: dict[str, float]
    """In the order in which they happen; their sum is `response`."""

    @property
    def residual(self) -> float:
        """What no measured part explains."""
        return self.parts["network"] + self.parts["unnamed"]


def anatomy(samples: Samples) -> list[Bar]:
    """One bar for each percentile that there are samples enough for. Only successes."""
    ok = samples.take(samples.is_ok)
    response = ok.response_ns / MS
    parts = parts_ms(ok)
    order = np.argsort(response, kind="stable")
    bars = []
    for q in QUANTILES:
        if len(ok) < least_n(q):
            continue
        rank, reach = nearest_rank(len(ok), q) - 1, int(NEIGHBOURHOOD * len(ok))
        reach = min(reach, len(ok) - 1 - rank)  # symmetric: not all of the tail beyond p99.9
        near = order[max(0, rank - reach) : rank + reach + 1]
        means = {name: float(values[near].mean()) for name, values in parts.items()}
        bars.append(Bar(name_of(q), len(near), float(response[near].mean()), means))
    return bars


def parts_ms(samples: Samples) -> dict[str, Floats]:
    """Every part of every request; for each request they add up to its R. A stage that was not said took no time."""
    sent, first = samples.column("t_send"), samples.column("t_first_byte")
    connect, tls = samples.column("connect") / MS, samples.column("tls") / MS
    parts = {"client_lag": samples.lag_ns / MS, "connect": connect, "tls": tls}
    stages = {name: samples.stage_ms(name) for name in samples.stage_names}
    total = stages.pop(TOTAL, np.full(len(samples), np.nan))
    parts |= {_free(name): np.nan_to_num(values) for name, values in stages.items()}
    named = sum((np.nan_to_num(values) for values in stages.values()), np.zeros(len(samples)))
    served = np.where(np.isnan(total), named, total)
    parts["download"] = (samples.column("t_done") - first) / MS
    parts["network"] = (first - sent) / MS - connect - tls - served
    parts["unnamed"] = served - named
    return parts


def _free(name: str) -> str:
    """A server's stage that is called as one of our parts keeps out of its way."""
    return f"server_{name}" if name in (*BEFORE, *AFTER) else name
