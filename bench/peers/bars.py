"""What this project wants to reach, as ratios to the best tunnel of the same run, and whether it does.

The best is chosen for each bar by itself: whoever is cheapest or quickest there, of those that answered every request.
A ratio by round is to the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.peers.measure import CONCURRENCY
from bench.peers.results import Cell, Key, Numbers
from bench.peers.slow_link import Slow
from bench.peers.system import UPSTREAM

ECHO, HTTP = "echo", "http"
SMALL, MIDDLE, LARGE = 1000, 100_000, 1_000_000
"""Bytes of a body."""
CPU_BOUNDS = {SMALL: 1.0, MIDDLE: 0.75, LARGE: 0.75}
P50_BOUNDS = {SMALL: 1.0, MIDDLE: 0.7, LARGE: 0.7}
P99_BOUND = 1.0
HTTP_CPU_BOUND = 1.0
MOST_EXTRA_MS = 25.0
"""Of a small request at p99 while an upload fills a slow link."""
LEAST_SHARE = 0.85
"""Of that link, for the upload."""

Measure = Callable[[Numbers], float | None]


@dataclass(frozen=True)
class Bar:
    """One line."""

    text: str
    value: float
    rounds: Sequence[float]
    bound: float | None
    """None: shown for comparison."""
    against: str
    """The peer that was best; '' where it is no ratio."""
    at_least: bool = False
    """Whether the bound is the least rather than the most."""

    @property
    def verdict(self) -> str:
        """'' without a bound."""
        if self.bound is None:
            return ""
        is_met = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "met" if is_met else "missed"


def bars_of(
    cells: Mapping[Key, Cell], tunnels: Sequence[str], slow: Sequence[Slow], same_worker: Sequence[str] = ()
) -> list[Bar]:
    """Those that the run has numbers for. `tunnels`: the peers' names; `same_worker`: theirs before the worker."""
    return [*_ratios(cells, tunnels), *_slow(slow), *_same_worker(cells, same_worker)]


def _ratios(cells: Mapping[Key, Cell], tunnels: Sequence[str]) -> Iterator[Bar]:
    for size in _sizes(cells):
        peers = _answering(cells, tunnels, size)
        echo, http = (cells.get((name, size, CONCURRENCY)) for name in (ECHO, HTTP))
        of = bytes_text(size)
        yield from _bar(f"CPU, {of}", echo, peers, lambda one: one.cpu_us, CPU_BOUNDS.get(size))
        yield from _whole_cpu(f"CPU, {of}, the peers' upstream counted too", echo, peers)
        yield from _bar(f"p50, {of}", echo, peers, lambda one: one.p50_ms, P50_BOUNDS.get(size))
        yield from _bar(f"p99, {of}", echo, peers, lambda one: one.p99_ms, P99_BOUND)
        bound = HTTP_CPU_BOUND if size in (MIDDLE, LARGE) else None
        yield from _bar(f"CPU, {of}, http backend", http, peers, lambda one: one.cpu_us, bound)


def _same_worker(cells: Mapping[Key, Cell], names: Sequence[str]) -> Iterator[Bar]:
    """The echo worker that dials the gateway by the same worker in server mode behind a tunnel: nothing is aimed at."""
    for size in _sizes(cells):
        peers, echo = _answering(cells, names, size), cells.get((ECHO, size, CONCURRENCY))
        of = f"{bytes_text(size)}, the same worker behind the tunnel"
        yield from _bar(f"CPU, {of}, its CPU counted", echo, peers, lambda one: one.cpu_us, None)
        yield from _bar(f"p50, {of}", echo, peers, lambda one: one.p50_ms, None)
        yield from _bar(f"p99, {of}", echo, peers, lambda one: one.p99_ms, None)


def _sizes(cells: Mapping[Key, Cell]) -> list[int]:
    return list(dict.fromkeys(size for _, size, concurrency in cells if concurrency == CONCURRENCY))


def _answering(cells: Mapping[Key, Cell], names: Sequence[str], size: int) -> list[Cell]:
    """Of these, those that answered every request."""
    found = (cells.get((name, size, CONCURRENCY)) for name in names)
    return [cell for cell in found if cell is not None and not cell.failures]


def _bar(text: str, ours: Cell | None, peers: Sequence[Cell], measure: Measure, bound: float | None) -> Iterator[Bar]:
    known = [(value, peer) for peer in peers if (value := measure(peer.all)) is not None]
    value = measure(ours.all) if ours is not None else None
    if ours is None or value is None or not known:
        return
    best_value, best = min(known, key=lambda one: one[0])
    rounds = [
        mine / its
        for one, other in zip(ours.rounds, best.rounds, strict=False)
        if (mine := measure(one)) is not None and (its := measure(other))
    ]
    yield Bar(text, value / best_value, rounds, bound, best.system)


def _whole_cpu(text: str, ours: Cell | None, peers: Sequence[Cell]) -> Iterator[Bar]:
    """The echo worker is its own server: beside it, the cheapest peer with the server that stands behind it."""
    known = [(sum(peer.part_cpu_us.values()), peer.system) for peer in peers if UPSTREAM in peer.part_cpu_us]
    if ours is not None and ours.all.cpu_us is not None and known:
        value, name = min(known)
        yield Bar(text, ours.all.cpu_us / value, [], None, name)


def _slow(slow: Sequence[Slow]) -> Iterator[Bar]:
    for one in slow:
        if one.system in (ECHO, HTTP):
            bounds = (MOST_EXTRA_MS, LEAST_SHARE) if one.system == ECHO else (None, None)
            yield Bar(f"slow link, {one.system}: ms more at p99 during an upload", one.extra_ms, [], bounds[0], "")
            yield Bar(f"slow link, {one.system}: the upload's share", one.share, [], bounds[1], "", at_least=True)


def bytes_text(size: int) -> str:
    """1 kB, 100 kB, 1 MB."""
    return f"{size / 1_000_000:g} MB" if size >= 1_000_000 else f"{size / 1000:g} kB"
