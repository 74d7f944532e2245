"""Right or wrong: top-1, top-5, and which classes are taken for which. Numbers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.classification.labels import Truth
from gateway.client import Prediction

TOP = 5


@dataclass
class Result:
    """One picture. Either it has predictions or a reason."""

    name: str
    predictions: Sequence[Prediction] = ()
    """The likeliest first."""
    worker: str = ""
    reason: str = ""
    """Why there is none: the code of the answer, or what was wrong with the file or the connection."""
    detail: str = ""
    tries: int = 1
    truth: Truth | None = None

    def is_right(self, within: int = 1) -> bool | None:
        """Whether the truth is among so many; None when it is not known or there is no answer."""
        if self.truth is None or self.reason:
            return None
        return any(self.truth.is_answered_by(one.index, one.label) for one in self.predictions[:within])


@dataclass(frozen=True)
class Confusion:
    """One class taken for another."""

    truth: str
    answer: str
    count: int
    probability: float
    """The highest with which it was."""
    example: str


@dataclass(frozen=True)
class Score:
    """Of all pictures with a truth and an answer."""

    labelled: int
    top1: int
    top5: int
    confusions: Sequence[Confusion] = field(default_factory=tuple)
    """The most frequent first, then the surest."""


def score(results: Sequence[Result], most_confusions: int) -> Score | None:
    """None when not a single answer has a truth to be compared with."""
    judged = [result for result in results if result.is_right() is not None]
    if not judged:
        return None
    right = sum(bool(result.is_right()) for result in judged)
    near = sum(bool(result.is_right(TOP)) for result in judged)
    return Score(len(judged), right, near, _confusions(judged)[:most_confusions])


def _confusions(judged: Sequence[Result]) -> list[Confusion]:
    counts: Counter[tuple[str, str]] = Counter()
    surest: dict[tuple[str, str], Result] = {}
    for result in judged:
        if result.is_right() or not result.predictions or result.truth is None:
            continue
        pair = result.truth.label, result.predictions[0].label
        counts[pair] += 1
        if pair not in surest or result.predictions[0].probability > surest[pair].predictions[0].probability:
            surest[pair] = result
    found = [
        Confusion(*pair, count, surest[pair].predictions[0].probability, surest[pair].name)
        for pair, count in counts.items()
    ]
    return sorted(found, key=lambda one: (-one.count, -one.probability, one.example))
