"""Two systems side by side: ratios with intervals, and a verdict only where the interval leaves no doubt.

Interleaved requests are compared pair by pair: what slows both at one moment, slows both of a pair, and cancels in the
ratio. Two separate runs have no such pairs, and their intervals know nothing of what changed between them. Latencies
are of successes, so the share of failures stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.load.sample import Bools, Floats, Ints, Samples
from bench.measure.percentiles import CONFIDENCE, least_n, name_of, nearest_rank

MS, NS = 1e6, 1e9
QUANTILES = (0.5, 0.9, 0.99)
RESAMPLES = 1000
"""The ends of an interval are then the 25th of them from below and from above, and hardly depend on the seed."""
LEAST_REQUESTS = 36
"""Of each side, for any interval: six blocks of six."""
FIRST, SECOND, NONE = "first", "second", "none"
"""Which is better; NONE: no difference shown."""


@dataclass(frozen=True)
class Side:
    """One system's measured requests by their position, failures included."""

    position: Ints
    """Ascending; of an interleaved run, requests of the two sides with one position belong together."""
    is_ok: Bools
    response_ms: Floats
    """NaN for a failure."""
    step_ms: Floats
    """|IPDV| from the request before; NaN where one of the two failed or is missing."""
    cost_s: Floats
    """What each request took of the time, so that successes by the sum of costs are the throughput."""

    def at(self, places: Ints) -> Side:
        """Those requests, as often as they are named."""
        return Side(
            self.position[places],
            self.is_ok[places],
            self.response_ms[places],
            self.step_ms[places],
            self.cost_s[places],
        )


def side_of(measured: Samples, position: Ints, *, offered: float | None = None, closed_loops: int = 0) -> Side:
    """`position` ascends with the schedule. In a closed loop a request costs the time that it occupies one of the
    loops. In an open one it costs the gap before it, so that the chance in random arrivals widens the interval; or
    1/offered, where both sides come from one schedule and chance gave them the same."""
    ok = measured.is_ok
    response = np.where(ok, measured.response_ns / MS, np.nan)
    step = np.abs(np.diff(response, prepend=np.nan))
    step[np.diff(position, prepend=-2) != 1] = np.nan
    if closed_loops:
        cost = measured.response_ns / NS / closed_loops
    elif offered:
        cost = np.full(len(ok), 1 / offered)
    else:
        gaps = np.diff(measured.column("t_int")) / NS
        cost = np.concatenate([[gaps.mean() if len(gaps) else np.nan], gaps])[: len(ok)]
    return Side(position, ok, response, step, cost)


@dataclass(frozen=True)
class Ratio:
    """One measure of both sides, and second / first."""

    measure: str
    unit: str
    first: float | None
    second: float | None
    ratio: float | None
    """None with all below it: too few samples, or a side without a success."""
    low: float | None
    high: float | None
    verdict: str
    needs: int
    """Successes that each side needs."""


@dataclass(frozen=True)
class Failed:
    """The shares that failed and their difference second - first; a ratio would divide by zero."""

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    verdict: str


Statistic = Callable[[Side], float]


@dataclass(frozen=True)
class _Measure:
    name: str
    unit: str
    of: Statistic
    needs: int = LEAST_REQUESTS
    is_less_better: bool = True


def _quantile(q: float) -> Statistic:
    def value(side: Side) -> float:
        known = side.response_ms[side.is_ok]
        if not len(known):
            return math.nan
        rank = nearest_rank(len(known), q) - 1
        return float(np.partition(known, rank)[rank])

    return value


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _throughput(side: Side) -> float:
    total = float(side.cost_s.sum())
    return float(side.is_ok.sum()) / total if total > 0 else math.nan


MEASURES = (
    *(_Measure(name_of(q), "ms", _quantile(q), max(LEAST_REQUESTS, least_n(q))) for q in QUANTILES),
    _Measure("mean", "ms", lambda side: _mean(side.response_ms)),
    _Measure("jitter (mean |IPDV|)", "ms", lambda side: _mean(side.step_ms)),
    _Measure("throughput", "1/s", _throughput, is_less_better=False),
)
PAIRWISE = "pair by pair (median)"


def compare(
    first: Side, second: Side, *, is_interleaved: bool, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[list[Ratio], Failed]:
    """All measures, and the failures. Interleaved sides are reduced to the positions that both have."""
    if is_interleaved:
        _, one, two = np.intersect1d(first.position, second.position, assume_unique=True, return_indices=True)
        first, second = first.at(one), second.at(two)
    known = min(int(first.is_ok.sum()), int(second.is_ok.sum()))
    measures = [one for one in MEASURES if known >= one.needs]
    drawn = [
        ([(one.of(a), one.of(b)) for one in measures], _share(a), _share(b), _pairwise(a, b) if is_interleaved else 0.0)
        for a, b in _resamples(first, second, is_interleaved, seed, resamples)
    ]
    ratios = []
    if is_interleaved:
        ratios.append(_pairs(first, second, known, np.array([one[3] for one in drawn])))
    for measure in MEASURES:
        place = measures.index(measure) if measure in measures else -1
        pairs = np.array([one[0][place] for one in drawn]) if place >= 0 else np.empty((0, 2))
        ratios.append(_ratio(measure, measure.of(first), measure.of(second), pairs))
    return ratios, _failed(first, second, np.array([one[2] - one[1] for one in drawn]))


def _resamples(
    first: Side, second: Side, is_interleaved: bool, seed: int, resamples: int
) -> Iterator[tuple[Side, Side]]:
    """By the circular block bootstrap (Politis and Romano 1992): neighbours stay together. Of interleaved sides the
    same blocks are drawn, so that pairs stay together as well."""
    random = np.random.default_rng(seed)
    if min(len(first.position), len(second.position)) < LEAST_REQUESTS:
        return
    for _ in range(resamples):
        one = _blocks(len(first.position), random)
        two = one if is_interleaved else _blocks(len(second.position), random)
        yield first.at(one), second.at(two)


def _blocks(n: int, random: np.random.Generator) -> Ints:
    block = round(math.sqrt(n))
    starts = random.integers(0, n, math.ceil(n / block))
    return np.asarray(((starts[:, None] + np.arange(block)).ravel() % n)[:n])


def _ratio(measure: _Measure, first: float, second: float, drawn: Floats) -> Ratio:
    whole = second / first if first > 0 and not math.isnan(second) else math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = interval(drawn[:, 1] / drawn[:, 0])
    verdict = _verdict(low, high, 1.0, is_less_better=measure.is_less_better)
    has_none = low is None or math.isnan(whole)
    values = (_or_none(first), _or_none(second))
    if has_none:
        return Ratio(measure.name, measure.unit, *values, None, None, None, NONE, measure.needs)
    return Ratio(measure.name, measure.unit, *values, whole, low, high, verdict, measure.needs)


def _pairwise(first: Side, second: Side) -> float:
    """The median of second / first, by nearest rank, over the pairs in which both succeeded."""
    both = first.is_ok & second.is_ok
    if not both.any():
        return math.nan
    each = second.response_ms[both] / first.response_ms[both]
    rank = nearest_rank(len(each), 0.5) - 1
    return float(np.partition(each, rank)[rank])


def _pairs(first: Side, second: Side, known: int, drawn: Floats) -> Ratio:
    low, high = interval(drawn) if known >= LEAST_REQUESTS else (None, None)
    whole = _pairwise(first, second) if low is not None else None
    verdict = _verdict(low, high, 1.0, is_less_better=True)
    return Ratio(PAIRWISE, "", None, None, whole, low, high, verdict, LEAST_REQUESTS)


def _share(side: Side) -> float:
    return 1 - float(side.is_ok.mean())


def _failed(first: Side, second: Side, drawn: Floats) -> Failed:
    one, two = (_share(side) if len(side.is_ok) else 0.0 for side in (first, second))
    low, high = interval(drawn)
    return Failed(one, two, two - one, low, high, _verdict(low, high, 0.0, is_less_better=True))


def interval(drawn: Floats) -> tuple[float, float] | tuple[None, None]:
    """The middle 95 % of resampled values; (None, None) where there are none, or one cannot be computed."""
    if not len(drawn) or not np.isfinite(drawn).all():
        return None, None
    ordered = np.sort(drawn)
    tail = round(len(ordered) * (1 - CONFIDENCE) / 2)
    return float(ordered[tail - 1]), float(ordered[-tail])


def _verdict(low: float | None, high: float | None, even: float, *, is_less_better: bool) -> str:
    """Only where the interval excludes what no difference would be."""
    if low is None or high is None or low <= even <= high:
        return NONE
    return SECOND if (high < even) == is_less_better else FIRST


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
