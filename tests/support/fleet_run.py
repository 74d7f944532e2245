"""A study of a gateway's size that never ran: known numbers."""

from __future__ import annotations

from datetime import UTC, datetime

from bench.fleet.cost import Cost, Memory
from bench.fleet.decision import Decision
from bench.fleet.document import BAR_TUNNELS, KIB, Fleet, Joined, Returned


def fleet(tunnels: int = BAR_TUNNELS) -> Fleet:
    """A gateway that takes 40 KiB for each tunnel and a fifth of a core for all."""

    def joined(count: int) -> Joined:
        size = (60_000 + 40 * count) * KIB
        return Joined(count, count // 2, 3.0, Cost(3.0, 1.5, 2.5), Memory(size, size - KIB))

    decisions = [Decision(10, 10.0, 12.0, 0.1, 0.1), Decision(1000, 20.0, 30.0, 2.0, 3.0)]
    returned = Returned(5.0, 20.0, Cost(20.0, 10.0, 15.0), 11_000, 6_000)
    where = {"cpu": "a", "command": "b"}
    started = datetime(2026, 11, 21, tzinfo=UTC)
    both = [joined(tunnels // 10), joined(tunnels)]
    return Fleet(started, where, tunnels, both, Cost(20.0, 4.0, 5.0), returned, decisions, {"cut": 5000})
