"""A slow link between the two sides of a tunnel: small requests on it while it idles, and while a large upload runs.

The relay of bench/wan.py stands where the private side dials: 50 ms there and back, 20 Mbit/s each way. One system at a
time, since what is measured is a wait and not a load. What is asked: how much later small answers come, and whether the
upload still gets the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.errors import BenchError
from bench.measure.percentiles import nearest_rank
from bench.network.process import network
from bench.network.profile import Profile, Way
from bench.peers.closed_loop import Address, Block, connected, run_block
from bench.peers.grounds import Grounds
from bench.peers.measure import NS, until
from bench.peers.system import System, free_port

RATE_BITS_S = 20e6
WAY = Way(delay_s=0.025, rate_bits_s=RATE_BITS_S)
LINK = Profile("slow", WAY, WAY)
SMALL_BYTES = 1000
CONNECTIONS = 3
"""Of small requests: some 54 a second, three hundredths of the link."""


@dataclass(frozen=True)
class SlowPlan:
    """What is done to each system."""

    rounds: int
    idle_s: float
    upload_bytes: int
    seed: int

    def seconds(self, systems: int) -> float:
        """How long it takes, about, where uploads get the link."""
        return systems * (3 + self.rounds * (self.idle_s + 1.1 * self.upload_bytes * 8 / RATE_BITS_S))


@dataclass(frozen=True)
class Slow:
    """What came of it."""

    system: str
    idle_p50_ms: float
    idle_p99_ms: float
    upload_p50_ms: float
    upload_p99_ms: float
    """Of small requests during the uploads."""
    requests: tuple[int, int]
    """While it idled, and during uploads."""
    share: float
    """Bytes of the uploads by what the link could have carried meanwhile."""
    failures: int

    @property
    def extra_ms(self) -> float:
        """What an upload costs a small request at p99."""
        return self.upload_p99_ms - self.idle_p99_ms


async def over_slow_link(grounds: Grounds, system: System, plan: SlowPlan) -> Slow:
    """Starts the system with the link within it, and measures. Raises BenchError."""
    port = free_port()
    async with network(LINK, seed=plan.seed, to=("127.0.0.1", port)) as link:
        with grounds.started(system, f"{system.name}-slow", (port, link.port)) as running:
            try:
                idle, during, uploads = _rounds(grounds, running.address, plan)
            except OSError as error:
                raise BenchError(f"no connection: {error}") from error
    return _slow(system.name, idle, during, uploads, plan)


def _rounds(grounds: Grounds, address: Address, plan: SlowPlan) -> tuple[list[Block], list[Block], list[Block]]:
    """Blocks of small requests while idle and during uploads, and the uploads."""
    idle, during, uploads = [], [], []
    upload = address.request(plan.upload_bytes)
    with (
        connected(address.port, address.request(SMALL_BYTES), CONNECTIONS, grounds.tls) as small,
        ThreadPoolExecutor(1) as thread,
    ):
        for _ in range(plan.rounds):
            idle.append(run_block(small, until(plan.idle_s)))
            with connected(address.port, upload, 1, grounds.tls) as large:
                running = thread.submit(run_block, large, lambda _now_ns: True)
                during.append(run_block(small, partial(_is_done, running)))
                uploads.append(running.result())
    return idle, during, uploads


def _is_done(running: Future[Block], _now_ns: int) -> bool:
    return running.done()


def _slow(name: str, idle: Sequence[Block], during: Sequence[Block], uploads: Sequence[Block], plan: SlowPlan) -> Slow:
    if any(not block.latencies_ns for block in (*idle, *during, *uploads)):
        reasons = {reason for block in (*idle, *during, *uploads) for reason in block.failures}
        raise BenchError(f"no answer over the slow link: {', '.join(sorted(reasons))}")
    carried_s = sum(block.elapsed_ns for block in uploads) / NS
    return Slow(
        name,
        idle_p50_ms=_quantile_ms(idle, 0.5),
        idle_p99_ms=_quantile_ms(idle, 0.99),
        upload_p50_ms=_quantile_ms(during, 0.5),
        upload_p99_ms=_quantile_ms(during, 0.99),
        requests=(_requests(idle), _requests(during)),
        share=len(uploads) * plan.upload_bytes * 8 / RATE_BITS_S / carried_s,
        failures=sum(sum(block.failures.values()) for block in (*idle, *during, *uploads)),
    )


def _quantile_ms(blocks: Sequence[Block], q: float) -> float:
    ordered = np.sort(np.concatenate([np.asarray(block.latencies_ns, np.float64) for block in blocks]))
    return float(ordered[nearest_rank(len(ordered), q) - 1]) / 1e6


def _requests(blocks: Sequence[Block]) -> int:
    return sum(len(block.latencies_ns) for block in blocks)
