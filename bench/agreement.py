"""How far two workers' answers about the same pictures are apart. Knows results, no network.

An answer gives its likeliest classes, at most as many as were asked for. What it leaves out is anything between 0 and
the least that it gives, and is taken for whichever of these is farther off: a difference is never understated.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.errors import BenchError
from gateway.client import ClientError, Outcome, Prediction, Result

MAX_KEPT = 100
"""Pictures of which more than a count is kept: the worst ones, and the first that failed."""


@dataclass(frozen=True, order=True)
class Compared:
    """One picture that both have answered."""

    difference: float
    """The largest of a probability, over all classes."""
    file: str
    label: str
    """Of the class that differs most."""
    tops: tuple[str, str]
    """Each side's likeliest label."""
    is_same: bool
    """Whether both have the same likeliest class."""


@dataclass(frozen=True)
class Failure:
    """One picture that a side did not answer."""

    file: str
    side: str
    reason: str


@dataclass
class Agreement:
    """Of all pictures so far."""

    limit: float
    """The largest difference of a probability that is no difference."""
    names: tuple[str, str] = ("first", "second")
    """Of the sides, for reasons of failures."""
    compared: int = 0
    same: int = 0
    """Pictures with the same likeliest class on both sides."""
    over: int = 0
    """Pictures with a difference over the limit."""
    failed: int = 0
    workers: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    """Who answered; empty for a worker without a gateway."""
    weights: set[str] = field(default_factory=set)
    """What the answers said of their model's weights: `random`, or nothing."""
    worst: list[Compared] = field(default_factory=list)
    """The largest differences first."""
    failures: list[Failure] = field(default_factory=list)

    @property
    def largest(self) -> float:
        """The largest difference of a probability."""
        return self.worst[0].difference if self.worst else 0.0

    @property
    def holds(self) -> bool:
        """Whether all pictures were answered alike: the same first label, and no difference over the limit."""
        return not self.failed and not self.over and self.same == self.compared > 0

    def add(self, file: str, first: Outcome, second: Outcome) -> None:
        """One picture. Raises BenchError where the two number their classes in different ways."""
        if isinstance(first, ClientError) or isinstance(second, ClientError):
            self._fail(file, first, second)
            return
        one = compare(file, first, second)
        self.compared += 1
        self.same += one.is_same
        self.over += one.difference > self.limit
        for workers, result in zip(self.workers, (first, second), strict=True):
            workers.update(filter(None, [result.worker]))
            self.weights.update(filter(None, [result.weights]))
        self.worst = heapq.nlargest(MAX_KEPT, [*self.worst, one])

    def _fail(self, file: str, *outcomes: Outcome) -> None:
        self.failed += 1
        failures = [
            Failure(file, name, str(outcome))
            for name, outcome in zip(self.names, outcomes, strict=True)
            if isinstance(outcome, ClientError)
        ]
        self.failures = [*self.failures, *failures][:MAX_KEPT]

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """The object of --json; docs/reference/bench-agree.md describes its members."""
        return {
            "holds": self.holds,
            "limit": self.limit,
            "largest_difference": self.largest,
            "compared": self.compared,
            "same_top1": self.same,
            "over_limit": self.over,
            "failed": self.failed,
            "workers": [sorted(one) for one in self.workers],
            "weights": sorted(self.weights),
            "worst": [asdict(one) for one in self.worst],
            "failures": [asdict(one) for one in self.failures],
        }


def compare(file: str, first: Result, second: Result) -> Compared:
    """Raises BenchError where an index has two labels."""
    ours, theirs = _by_index(first.predictions), _by_index(second.predictions)
    for index in ours.keys() & theirs.keys():
        if ours[index].label != theirs[index].label:
            both = f"{ours[index].label!r} and {theirs[index].label!r}"
            raise BenchError(f"these are two models: class {index} is {both}")
    least = first.predictions[-1].probability, second.predictions[-1].probability
    apart = {
        index: _difference(ours.get(index), theirs.get(index), least) for index in sorted(ours.keys() | theirs.keys())
    }
    most = max(apart, key=apart.__getitem__)
    label = (ours.get(most) or theirs[most]).label
    return Compared(apart[most], file, label, (first.label, second.label), first.index == second.index)


def _by_index(predictions: Sequence[Prediction]) -> dict[int, Prediction]:
    return {one.index: one for one in predictions}


def _difference(ours: Prediction | None, theirs: Prediction | None, least: tuple[float, float]) -> float:
    """At most; one of the two is there."""
    if ours is None or theirs is None:
        given, bound = (theirs, least[0]) if ours is None else (ours, least[1])
        assert given is not None
        return max(given.probability, bound - given.probability)
    return abs(ours.probability - theirs.probability)
