"""Jitter has several meanings; here each has its name and its source.

L is a request's response time. The order is the schedule's, but for RFC 3550, which takes packets as they arrive.
Refuses to compute where nothing is left to compare: such a value is None.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.load.sample import Floats, Ints
from bench.measure.percentiles import nearest_rank, percentile

PDV_QUANTILES = (0.5, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Jitter:
    """All measures of one window, in ms."""

    rfc3550: float | None
    """J after the last answer."""
    rfc3550_max: float | None
    """The largest J on the way."""
    ipdv_mean: float | None
    """Of |L_i - L_(i-1)|, as the two below."""
    ipdv_p50: float | None
    ipdv_p99: float | None
    pdv: dict[float, float | None]
    """By quantile."""
    std: float | None
    p99_p50: float | None
    mad: float | None
    """Median of |L - median|."""


def jitter(index: Ints, t_done_ns: Ints, latency_ms: Floats) -> Jitter:
    """Of the successes of one window, each array in the order of the schedule."""
    series = rfc3550_series(latency_ms[np.argsort(t_done_ns, kind="stable")])
    steps = np.abs(ipdv(index, latency_ms))
    return Jitter(
        rfc3550=float(series[-1]) if len(series) > 1 else None,
        rfc3550_max=float(series.max()) if len(series) > 1 else None,
        ipdv_mean=float(steps.mean()) if len(steps) else None,
        ipdv_p50=_value(steps, 0.5),
        ipdv_p99=_value(steps, 0.99),
        pdv={q: _value(pdv(latency_ms), q) for q in PDV_QUANTILES},
        std=float(latency_ms.std(ddof=1)) if len(latency_ms) > 1 else None,
        p99_p50=_difference(_value(latency_ms, 0.99), _value(latency_ms, 0.5)),
        mad=mad(latency_ms),
    )


def rfc3550_series(latency: Floats) -> Floats:
    """J after each answer, in the order of their arrival: J += (|D| - J) / 16 with D = L_i - L_(i-1), from 0 (RFC 3550
    6.4.1, A.8). As long as `latency`; the first is 0."""
    series = np.zeros(len(latency))
    smoothed = 0.0
    for place, step in enumerate(np.abs(np.diff(latency)).tolist(), 1):
        smoothed += (step - smoothed) / 16
        series[place] = smoothed
    return series


def ipdv(index: Ints, latency: Floats) -> Floats:
    """L_i - L_(i-1) where both succeeded: a pair with a lost packet has none (RFC 3393 2.6, RFC 5481 4.1)."""
    return np.asarray(np.diff(latency)[np.diff(index) == 1])


def pdv(latency: Floats) -> Floats:
    """L_i - min L of the window (RFC 5481 4.2)."""
    return latency - latency.min() if len(latency) else latency


def mad(latency: Floats) -> float | None:
    """Median absolute deviation, by nearest rank as all medians here; None without samples."""
    if not len(latency):
        return None
    return _median(np.abs(latency - _median(latency)))


def _median(values: Floats) -> float:
    return float(np.sort(values)[nearest_rank(len(values), 0.5) - 1])


def _value(values: Floats, q: float) -> float | None:
    found = percentile(np.sort(values), q)
    return None if found is None else found.value


def _difference(high: float | None, low: float | None) -> float | None:
    return None if high is None or low is None else high - low
