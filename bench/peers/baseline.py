"""Whether this project became slower beside the others: ratios of one run against ratios of an earlier one.

Times of two machines, or of two days, say nothing of each other; what this project takes by what a peer took in the
same run does. For each of our systems, size and measure, the ratios to all peers that both runs have are compared, and
their geometric mean says how much changed. It is worse where every round says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.peers.bars import bytes_text
from bench.peers.measure import CONCURRENCY
from bench.peers.results import Cell, Key, Numbers

SCHEMA = "bench.peers 1"
FILE = "peers.json"
"""In the directory of a result."""
MEASURES = {"CPU": "cpu_us", "p50": "p50_ms", "p99": "p99_ms"}
"""By the name of a field of Numbers."""


@dataclass(frozen=True)
class Ratio:
    """What one of ours takes by what a peer took, at CONCURRENCY connections."""

    ours: str
    peer: str
    size: int
    measure: str
    ratio: float
    rounds: Sequence[float]


@dataclass(frozen=True)
class Change:
    """Of one measure of one of ours: second by first."""

    text: str
    peers: Sequence[str]
    """Those that both runs have."""
    change: float
    low: float
    high: float
    """Of the second run's rounds."""

    def is_worse(self, tolerance: float) -> bool:
        """Whether every round is, by more than this share."""
        return self.low > 1 + tolerance


def ratios_of(cells: Mapping[Key, Cell], ours: Sequence[str], others: Sequence[str]) -> Iterator[Ratio]:
    """Of each of ours to each other system of a run; none where requests failed."""
    for size in dict.fromkeys(size for _, size, concurrency in cells if concurrency == CONCURRENCY):
        for mine in ours:
            for peer in others:
                first, second = (cells.get((name, size, CONCURRENCY)) for name in (mine, peer))
                if first is not None and second is not None and not (first.failures or second.failures):
                    yield from _ratios(first, second)


def _ratios(mine: Cell, peer: Cell) -> Iterator[Ratio]:
    for name in MEASURES:
        ratio = ratio_of(mine.all, peer.all, name)
        rounds = [ratio_of(*pair, name) for pair in zip(mine.rounds, peer.rounds, strict=False)]
        if ratio is not None:
            known = [one for one in rounds if one is not None]
            yield Ratio(mine.system, peer.system, mine.size, name, ratio, known)


def ratio_of(mine: Numbers, peer: Numbers, measure: str) -> float | None:
    """None where one of them has no such number."""
    first, second = (getattr(one, MEASURES[measure]) for one in (mine, peer))
    return first / second if first is not None and second else None


def baseline_of(document: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """What is kept of a result to compare with later: its ratios, and where they are from."""
    kept = {name: document["environment"][name] for name in ("cpu", "usable_cores", "system", "commit", "command")}
    return {"schema": SCHEMA, "started": document["started"], "environment": kept, "ratios": document["ratios"]}


def is_result(path: Path) -> bool:
    """Whether it is a file or a directory of this comparison."""
    return path.suffix == ".json" or (path / FILE).is_file()


def read_ratios(path: Path) -> list[Ratio]:
    """Of a result's directory, or of a baseline's file. Raises BenchError."""
    file = path / FILE if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document.get("schema") != SCHEMA:
            raise BenchError(f"{file} is not of schema {SCHEMA!r}: it was written by another program or version")
        return [Ratio(**one) for one in document["ratios"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"{file} holds no ratios: {error}") from error


def as_json(ratios: Sequence[Ratio]) -> list[dict[str, Any]]:  # Any: JSON
    """What `read_ratios` reads."""
    return [asdict(one) for one in ratios]


def changes(first: Sequence[Ratio], second: Sequence[Ratio]) -> list[Change]:
    """What both have. Raises BenchError when that is nothing."""
    before = {(one.ours, one.peer, one.size, one.measure): one.ratio for one in first}
    groups: dict[tuple[str, int, str], list[tuple[Ratio, float]]] = {}
    for one in second:
        earlier = before.get((one.ours, one.peer, one.size, one.measure))
        if earlier:
            groups.setdefault((one.ours, one.size, one.measure), []).append((one, earlier))
    if not groups:
        raise BenchError("the two results have no system beside another in common")
    return [_change(*key, pairs) for key, pairs in groups.items()]


def _change(ours: str, size: int, measure: str, pairs: Sequence[tuple[Ratio, float]]) -> Change:
    number = min(len(now.rounds) for now, _ in pairs)
    rounds = [_mean([now.rounds[place] / earlier for now, earlier in pairs]) for place in range(number)]
    whole = _mean([now.ratio / earlier for now, earlier in pairs])
    known = rounds or [whole]
    text = f"{ours}: {measure}, {bytes_text(size)}"
    return Change(text, [now.peer for now, _ in pairs], whole, min(known), max(known))


def _mean(values: Sequence[float]) -> float:
    """The geometric one, which is the same whichever way round ratios are."""
    return math.exp(sum(map(math.log, values)) / len(values))
