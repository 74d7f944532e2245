"""The interleaved part: every system has the same short blocks of the same load, in turn, round after round.

Sizes are the outer loop, so that a peak of memory belongs to one size. Within a round a seed says who begins, so that
nobody always comes after the same one. A system that goes away is left out from then on, and named. Rounds are put
together in results.py.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.errors import BenchError
from bench.peers.accounts import Accounts, Spent
from bench.peers.closed_loop import Block, connected, run_block
from bench.peers.grounds import Grounds
from bench.peers.system import UPSTREAM, Running

NS = 1_000_000_000
WARM_UP_S = 0.2
"""Of each block, not counted: the connections to the tunnel and behind it are opened then."""
BETWEEN_S = 0.1
"""Until the next block, about: handshakes and accounts."""
CONCURRENCY = 4
"""At which bars are read."""


@dataclass(frozen=True)
class Plan:
    """Which blocks there are."""

    sizes: Sequence[int]
    """Bytes of a body."""
    concurrencies: Sequence[int]
    rounds: int
    block_s: float
    seed: int
    only_for_bars: Sequence[str] = ()
    """Systems that are measured at one concurrency alone, to save time."""

    def systems_at(self, concurrency: int, names: Sequence[str]) -> list[str]:
        """Those of them that have a block there."""
        is_for_bars = concurrency == concurrency_of_bars(self.concurrencies)
        return [name for name in names if is_for_bars or name not in self.only_for_bars]

    def seconds(self, names: Sequence[str]) -> float:
        """How long all of it takes with these systems, about."""
        blocks = len(self.sizes) * self.rounds * sum(len(self.systems_at(one, names)) for one in self.concurrencies)
        return blocks * (self.block_s + WARM_UP_S + BETWEEN_S)


@dataclass(frozen=True)
class Measured:
    """One block of one system."""

    system: str
    size: int
    concurrency: int
    round: int
    block: Block
    spent: Spent


@dataclass
class Found:
    """What the blocks gave."""

    blocks: list[Measured] = field(default_factory=list)
    peaks: dict[tuple[str, int], Mapping[str, int]] = field(default_factory=dict)
    """The largest resident memory in bytes, by part, of a system with bodies of one size."""
    lost: dict[str, str] = field(default_factory=dict)
    """Systems that went away, and why."""


def interleaved(
    grounds: Grounds, systems: Mapping[str, Running], plan: Plan, on_block: Callable[[Measured], None]
) -> Found:
    """Runs the plan. `on_block` sees each block."""
    found = Found()
    for size in plan.sizes:
        for running in systems.values():
            Accounts(running.parts).reset_peaks()
        for concurrency, number, name in order(list(systems), plan):
            if name in found.lost:
                continue
            try:
                block, spent = _measure(grounds, systems[name], size, concurrency, plan.block_s)
            except (BenchError, OSError) as error:
                found.lost[name] = str(error)
                continue
            found.blocks.append(Measured(name, size, concurrency, number, block, spent))
            on_block(found.blocks[-1])
        for name, running in systems.items():
            found.peaks[name, size] = Accounts(running.parts).peak_bytes()
    return found


def order(names: Sequence[str], plan: Plan) -> Iterator[tuple[int, int, str]]:
    """(concurrency, round, system) of each block of one size: all systems in each round, a random one first."""
    source = random.Random(plan.seed)
    for concurrency in plan.concurrencies:
        here = plan.systems_at(concurrency, names)
        for number in range(plan.rounds if here else 0):
            first = source.randrange(len(here))
            for name in [*here[first:], *here[:first]]:
                yield concurrency, number, name


def concurrency_of_bars(concurrencies: Collection[int]) -> int:
    """CONCURRENCY, or the least of these where it is none of them."""
    return CONCURRENCY if CONCURRENCY in concurrencies else min(concurrencies)


def _measure(grounds: Grounds, running: Running, size: int, concurrency: int, block_s: float) -> tuple[Block, Spent]:
    upstream = {UPSTREAM: (grounds.upstream_pid,)} if running.uses_upstream else {}
    accounts = Accounts({**running.parts, **upstream})
    request = running.address.request(size)
    with connected(running.address.port, request, concurrency, grounds.tls) as connections:
        run_block(connections, until(WARM_UP_S))
        before = accounts.read()
        block = run_block(connections, until(block_s))
        return block, accounts.spent(before)


def until(seconds: float) -> Callable[[int], bool]:
    """Whether so many are over, from now."""
    end_ns = time.perf_counter_ns() + round(seconds * NS)
    return lambda now_ns: now_ns >= end_ns
