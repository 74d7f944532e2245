"""Turns: every system has the same short blocks, round after round, and two systems are compared round by round.

Within a round a seed says who begins, so that nobody always comes after the same one. All systems of a round are given
the same images. Knows nothing of what a system is.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure.percentiles import interval_ranks


@dataclass(frozen=True)
class Rate:
    """What one block of one system gave."""

    images: float
    """Those that lay across an edge of the block by the share that lay within."""
    elapsed_s: float
    cpu_s: Mapping[str, float]
    """By part: all processes that the system needs, the load's own among them."""

    @property
    def per_s(self) -> float:
        """Images a second."""
        return self.images / self.elapsed_s

    @property
    def cpu_ms(self) -> float:
        """Of one image, all parts together."""
        return sum(self.cpu_s.values()) / self.images * 1e3

    def cpu_ms_of(self, part: str) -> float:
        """Of one image, one part."""
        return self.cpu_s[part] / self.images * 1e3


System = Callable[[Sequence[Path], float], Rate]
"""Classifies these images in turn for so many seconds."""
Rounds = Sequence[Mapping[str, Rate]]
"""One block of each system by name, for each round."""


@dataclass(frozen=True)
class Turns:
    """How often, and how long."""

    rounds: int
    block_s: float
    seed: int
    images: Sequence[Path]
    at_once: int
    """Images of one round; each round has other ones."""

    def take(self, systems: Mapping[str, System]) -> Iterator[Mapping[str, Rate]]:
        """Round by round. Raises BenchError when a system fails."""
        source = random.Random(self.seed)
        names = list(systems)
        for _ in range(self.rounds):
            images = source.sample(self.images, min(self.at_once, len(self.images)))
            first = source.randrange(len(names))
            yield {name: systems[name](images, self.block_s) for name in [*names[first:], *names[:first]]}


@dataclass(frozen=True)
class Ratio:
    """One thing over another."""

    median: float
    """Of the rounds' ratios."""
    low: float | None = None
    high: float | None = None
    """Together its interval of 95 %, which assumes no distribution; None for both: the rounds are too few for one."""


def ratio(values: Sequence[float]) -> Ratio:
    """Of some rounds' ratios."""
    ordered = sorted(values)
    ranks = interval_ranks(len(values), 0.5) or ()
    return Ratio(statistics.median(ordered), *(ordered[rank - 1] for rank in ranks))


def rates(rounds: Rounds, over: str, under: str) -> Ratio:
    """Images a second of one system by those of another."""
    return ratio([one[over].per_s / one[under].per_s for one in rounds])


def costs(rounds: Rounds, over: str, under: str) -> Ratio:
    """Images for a second of CPU time, likewise: what the rates would be, if nobody waited for a core or for another
    process."""
    return ratio([one[under].cpu_ms / one[over].cpu_ms for one in rounds])
