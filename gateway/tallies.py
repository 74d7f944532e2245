"""Counters and histograms for one event loop: a dictionary entry and an addition, no lock.

The client library's own metrics are made for threads and cost some microseconds a request each; these are read by it
only when somebody scrapes. Every label's values must come from a bounded set.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally(Collector):
    """A counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        """`name` without the `_total` that is shown."""
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._counts: defaultdict[tuple[str, ...], float] = defaultdict(int)

    def add(self, *values: str, amount: float = 1) -> None:
        """Counts `amount` more for these values of the labels."""
        self._counts[values] += amount

    def count(self, *values: str) -> float:
        """What was counted so far."""
        return self._counts.get(values, 0)

    def start(self, *values: str) -> None:
        """Shows the series from now on, at 0: a rate over a first event needs the 0 before it."""
        self._counts.setdefault(values, 0)

    def collect(self) -> Iterator[Metric]:
        """For the client library."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in sorted(self._counts.items()):
            family.add_metric(values, count)
        yield family

    def describe(self) -> Iterable[Metric]:
        """For the client library: the name, so that two metrics of one name are refused."""
        return [CounterMetricFamily(self._name, self._documentation, labels=self._labels)]


class _Distribution:
    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class Spread(Collector):
    """A histogram with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """`bounds` are the upper ends of the buckets, ascending; what lies above them is counted too."""
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._shown_bounds = (*(f"{bound:g}" for bound in bounds), "+Inf")
        self._distributions: defaultdict[tuple[str, ...], _Distribution] = defaultdict(
            partial(_Distribution, len(bounds) + 1)
        )

    def observe(self, value: float, *values: str) -> None:
        """Counts one measured value for these values of the labels."""
        distribution = self._distributions[values]
        distribution.counts[bisect_left(self._bounds, value)] += 1
        distribution.total += value

    def observe_each(self, measured: Sequence[float], labels: Sequence[str]) -> None:
        """Counts one measured value for each value of the only label."""
        distributions, bounds = self._distributions, self._bounds
        for value, label in zip(measured, labels, strict=True):
            distribution = distributions[label,]
            distribution.counts[bisect_left(bounds, value)] += 1
            distribution.total += value

    def count(self, *values: str) -> int:
        """How many values were counted so far."""
        distribution = self._distributions.get(values)
        return 0 if distribution is None else sum(distribution.counts)

    def collect(self) -> Iterator[Metric]:
        """For the client library."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, distribution in sorted(self._distributions.items()):
            buckets = list(zip(self._shown_bounds, accumulate(distribution.counts), strict=True))
            family.add_metric(values, buckets, distribution.total)
        yield family

    def describe(self) -> Iterable[Metric]:
        """For the client library: the name, so that two metrics of one name are refused."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self._labels)]
