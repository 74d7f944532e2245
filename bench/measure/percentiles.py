"""Percentiles by nearest rank, with intervals that assume no distribution, and none where the samples are too few.

A percentile is one of the samples, never an average of percentiles. Its 95 % interval is a pair of ranks from the
binomial distribution; latencies follow each other, though, so beside it stands a block bootstrap, which keeps
neighbours together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.load.sample import Floats

CONFIDENCE = 0.95
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
"""Those of the table."""
RESAMPLES = 200
"""Of the block bootstrap; the 2.5th percentile is then the fifth of them."""


@dataclass(frozen=True)
class Percentile:
    """One of them, in the unit of the samples."""

    q: float
    value: float
    low: float
    high: float
    """Together the distribution-free interval of 95 %."""
    block_low: float = float("nan")
    block_high: float = float("nan")
    """The same by block bootstrap; NaN where it was not computed."""


def name_of(q: float) -> str:
    """p50, p99, p99.9."""
    return f"p{q * 100:.10g}"


def nearest_rank(n: int, q: float) -> int:
    """The rank of the q-quantile of n samples, from 1: ceil(q n). The tiny number keeps 0.99 * 100 at 99."""
    return min(n, max(1, math.ceil(q * n - 1e-9)))


def least_n(q: float) -> int:
    """How many samples give the interval of a high quantile an upper end: 36 for p90, 72, 368, 3688 for p99.9; the
    lower quantiles are as demanding of their lower end."""
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(max(q, 1 - q)))


def interval_ranks(n: int, q: float) -> tuple[int, int] | None:
    """Ranks l, u from 1 with P(l <= Bin(n, q) < u) >= 95 %, each side missing at most half of the rest; None: n too
    small.

    [X_(l), X_(u)] holds the q-quantile with at least that probability, whatever the distribution, for independent
    samples.
    """
    if n < least_n(q):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, cumulative = _binomial_cdf(n, q)
    # the largest l with P(Bin <= l - 1) <= tail, and the smallest u with P(Bin <= u - 1) >= 1 - tail
    lower = low + int(np.searchsorted(cumulative, tail, side="right"))
    upper = low + int(np.searchsorted(cumulative, 1 - tail, side="left")) + 1
    return (lower, upper) if lower >= 1 and upper <= n else None


def _binomial_cdf(n: int, q: float) -> tuple[int, Floats]:
    """(k0, P(Bin(n, q) <= k) for k = k0, k0 + 1, ...) around the mean; what is left out weighs less than 1e-15."""
    spread = 9 * math.sqrt(n * q * (1 - q)) + 40
    low, high = max(0, math.floor(n * q - spread)), min(n, math.ceil(n * q + spread))
    log_p = math.lgamma(n + 1) - math.lgamma(low + 1) - math.lgamma(n - low + 1)
    log_p += low * math.log(q) + (n - low) * math.log1p(-q)
    k = np.arange(low, high, dtype=np.float64)
    steps = np.log((n - k) / (k + 1)) + math.log(q) - math.log1p(-q)
    return low, np.cumsum(np.exp(log_p + np.concatenate([[0.0], np.cumsum(steps)])))


def percentile(ordered: Floats, q: float) -> Percentile | None:
    """Of samples in ascending order; None: n too small."""
    n = len(ordered)
    ranks = interval_ranks(n, q)
    if ranks is None:
        return None
    value = ordered[nearest_rank(n, q) - 1]
    return Percentile(q, float(value), float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1]))


def percentiles(
    values: Floats, quantiles: tuple[float, ...] = QUANTILES, *, seed: int | None = 0
) -> list[Percentile | None]:
    """Of samples in the order in which they were taken, with both intervals; None in the place of each that has too
    few."""
    ordered = np.sort(values)
    plain = [percentile(ordered, q) for q in quantiles]
    if seed is None:
        return plain
    known = [one for one in plain if one is not None]
    blocks = iter(block_intervals(values, tuple(one.q for one in known), seed=seed))
    return [one and Percentile(one.q, one.value, one.low, one.high, *next(blocks)) for one in plain]


def block_intervals(values: Floats, quantiles: tuple[float, ...], *, seed: int = 0) -> list[tuple[float, float]]:
    """95 % intervals by the circular block bootstrap: resamples made of sqrt(n) runs of sqrt(n) neighbours (Politis and
    Romano 1992), so that the dependence of neighbours widens the interval as it should."""
    n = len(values)
    if not quantiles:
        return []
    block = max(1, round(math.sqrt(n)))
    random = np.random.default_rng(seed)
    ranks = [nearest_rank(n, q) - 1 for q in quantiles]
    found = np.empty((RESAMPLES, len(quantiles)))
    steps = np.arange(block)
    for row in found:
        starts = random.integers(0, n, math.ceil(n / block))
        resample = values[((starts[:, None] + steps).ravel() % n)[:n]]
        resample.partition(ranks)
        row[:] = resample[ranks]
    found.sort(axis=0)
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return [(float(found[tail - 1, column]), float(found[-tail, column])) for column in range(len(quantiles))]


def autocorrelation(values: Floats) -> float:
    """Of neighbours (lag 1); 0 where nothing varies. Far from 0, trust the block bootstrap rather than the ranks."""
    if len(values) < 2:
        return 0.0
    centred = values - values.mean()
    variance = float(centred @ centred)
    return float(centred[:-1] @ centred[1:]) / variance if variance > 0 else 0.0
