"""A comparison that never ran: blocks with known numbers, and what is made of them."""

from __future__ import annotations

from array import array
from collections import Counter
from datetime import UTC, datetime

from bench.peers.closed_loop import Block
from bench.peers.document import Comparison
from bench.peers.measure import Found, Measured, Plan
from bench.peers.registry import SYSTEMS
from bench.peers.results import cells_of
from bench.peers.slow_link import Slow

MS = 1_000_000
PLAN = Plan([1000, 100_000], [4], rounds=2, block_s=1.0, seed=1)


def measured(
    system: str, latency_ms: float, cpu_us: float, *, size: int = 1000, number: int = 0, upstream_us: float = 0.0
) -> Measured:
    """A block of 400 requests, all alike, in one second; the private side costs a third."""
    block = Block(array("q", [round(latency_ms * MS)] * 400), Counter(), 1_000_000_000, 100_000_000)
    whole = round(400 * cpu_us * 1000)
    spent = {"public": whole - whole // 3, "private": whole // 3}
    if upstream_us:
        spent["upstream"] = round(400 * upstream_us * 1000)
    return Measured(system, size, 4, number, block, spent)


def found_of(echo_us: float = 100.0) -> Found:
    """Two peers and ours, with bodies of two sizes, in two rounds."""
    blocks = [
        one
        for size in PLAN.sizes
        for number in range(2)
        for one in (
            measured("ssh", 2.0, 80.0, size=size, number=number, upstream_us=20.0),
            measured("frp", 1.0, 160.0, size=size, number=number, upstream_us=20.0),
            measured("nginx", 0.1, 10.0, size=size, number=number),
            measured("echo", 1.5, echo_us * (1 + number / 10), size=size, number=number),
        )
    ]
    peaks = {(name, size): {"public": 1 << 20} for name in ("ssh", "frp", "echo") for size in PLAN.sizes}
    return Found(blocks, peaks)


def comparison(found: Found, slow: list[Slow] | None = None) -> Comparison:
    names = {one.system for one in found.blocks}
    systems = [one for one in SYSTEMS if one.name in names]
    where = {"cpu": "a", "usable_cores": 2, "system": "b", "commit": "c", "command": "d"}
    versions = {one.name: "1.0" for one in systems}
    skipped = {"piko": "not here"}
    started = datetime(2026, 11, 21, tzinfo=UTC)
    return Comparison(started, where, PLAN, systems, versions, skipped, cells_of(found), found.peaks, slow or [])
