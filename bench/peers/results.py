"""Blocks put together: latency, rate and cost of each system, size and concurrency, over all rounds and by round.

Percentiles are of all samples of all rounds, by nearest rank; costs are sums by sums. What is kept by round says how
far a number can be trusted. Plain values in and out: results.json is this and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.load.sample import Floats
from bench.measure.percentiles import least_n, nearest_rank
from bench.peers.measure import Found, Measured
from bench.peers.system import UPSTREAM

NS, US = 1_000_000_000, 1000
Key = tuple[str, int, int]
"""System, bytes of a body, concurrency."""


@dataclass(frozen=True)
class Numbers:
    """Of some blocks. None: nothing succeeded, or, of p99, too little for it."""

    requests: int
    p50_ms: float | None
    p99_ms: float | None
    requests_s: float | None
    cpu_us: float | None
    """CPU time of one request in all processes of the system, the upstream not among them."""


@dataclass(frozen=True)
class Cell:
    """One system under one load."""

    system: str
    size: int
    concurrency: int
    all: Numbers
    rounds: Sequence[Numbers]
    part_cpu_us: Mapping[str, float]
    """The cost by part, the upstream's too."""
    failures: Mapping[str, int]
    generator_share: float
    """CPU time of the generator by time: near 1 it is what is measured."""


def cells_of(found: Found) -> dict[Key, Cell]:
    """In the order of the blocks."""
    by_key: dict[Key, list[Measured]] = {}
    for one in found.blocks:
        by_key.setdefault((one.system, one.size, one.concurrency), []).append(one)
    return {key: _cell(key, blocks) for key, blocks in by_key.items()}


def _cell(key: Key, blocks: Sequence[Measured]) -> Cell:
    requests = sum(len(one.block.latencies_ns) for one in blocks)
    spent: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for one in blocks:
        spent.update(one.spent)
        failures.update(one.block.failures)
    return Cell(
        *key,
        all=_numbers(blocks),
        rounds=[_numbers([one]) for one in blocks],
        part_cpu_us={part: spent_ns / requests / US for part, spent_ns in spent.items()} if requests else {},
        failures=dict(failures),
        generator_share=_by(sum(one.block.cpu_ns for one in blocks), sum(one.block.elapsed_ns for one in blocks))
        or 0.0,
    )


def _numbers(blocks: Sequence[Measured]) -> Numbers:
    latencies = np.sort(np.concatenate([np.asarray(one.block.latencies_ns, np.float64) for one in blocks])) / 1e6
    requests = len(latencies)
    elapsed_ns = sum(one.block.elapsed_ns for one in blocks)
    return Numbers(
        requests=requests,
        p50_ms=_quantile(latencies, 0.5),
        p99_ms=_quantile(latencies, 0.99),
        requests_s=_by(requests * NS, elapsed_ns) if requests else None,
        cpu_us=_by(sum(relay_ns(one.spent) for one in blocks) / US, requests),
    )


def relay_ns(spent: Mapping[str, int]) -> int:
    """Without the upstream, which is the same behind all that use it."""
    return sum(nanoseconds for part, nanoseconds in spent.items() if part != UPSTREAM)


def _quantile(ordered: Floats, q: float) -> float | None:
    """None where so few samples say nothing of it (bench.measure.percentiles)."""
    return float(ordered[nearest_rank(len(ordered), q) - 1]) if len(ordered) >= least_n(q) else None


def _by(value: float, divisor: float) -> float | None:
    return value / divisor if divisor else None


def failed(cells: Iterable[Cell]) -> dict[str, str]:
    """By system, how many requests failed and of what, such as `3 closed`."""
    found: dict[str, Counter[str]] = {}
    for cell in cells:
        if cell.failures:
            found.setdefault(cell.system, Counter()).update(cell.failures)
    return {name: ", ".join(f"{number} {reason}" for reason, number in of.items()) for name, of in found.items()}
