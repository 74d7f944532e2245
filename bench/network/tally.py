"""What a relay did: counts, and how much later than due it delivered. Flat memory, however long it runs.

A relay that is late adds delay of its own; whoever measures through it needs to know how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

STEPS_PER_DOUBLING = 16
"""Buckets of the histogram: 4.4 % wide."""
BUCKETS = 40 * STEPS_PER_DOUBLING
"""From a nanosecond to some 18 minutes."""


class Lateness:
    """A histogram of nanoseconds."""

    def __init__(self) -> None:
        self.count = 0
        self.max_ns = 0
        self._buckets = [0] * BUCKETS

    def add(self, late_ns: int) -> None:
        """One delivery."""
        self.count += 1
        self.max_ns = max(self.max_ns, late_ns)
        self._buckets[min(BUCKETS - 1, int(math.log2(max(1, late_ns)) * STEPS_PER_DOUBLING))] += 1

    def percentile_us(self, q: float) -> float | None:
        """The upper edge of the bucket that holds it, in microseconds; None without a delivery."""
        rank, seen = math.ceil(q * self.count), 0
        for bucket, count in enumerate(self._buckets):
            seen += count
            if count and seen >= rank:
                return round(min(self.max_ns, 2 ** ((bucket + 1) / STEPS_PER_DOUBLING)) / 1000, 3)
        return None


@dataclass
class WayTally:
    """One direction."""

    pieces: int = 0
    """Reads of a stream, or packets, that were delivered."""
    bytes: int = 0
    lost: int = 0
    """Packets that chance took."""
    overflowed: int = 0
    """Packets that found the queue full."""
    stalls: int = 0
    lateness: Lateness = field(default_factory=Lateness)

    def as_json(self) -> dict[str, object]:
        """For a report. `late_us`: how much after the time that the rule gave it was delivered, microseconds."""
        late = {f"p{100 * q:g}": self.lateness.percentile_us(q) for q in (0.5, 0.9, 0.99, 0.999)}
        return {
            "pieces": self.pieces,
            "bytes": self.bytes,
            "lost": self.lost,
            "overflowed": self.overflowed,
            "stalls": self.stalls,
            "late_us": {**late, "max": self.lateness.max_ns / 1000},
        }


@dataclass
class Tally:
    """A whole relay."""

    connections: int = 0
    refused: int = 0
    """Connections that the target did not take, or that were above the bound."""
    resets: int = 0
    """Connections that the network reset, as the profile says."""
    up: WayTally = field(default_factory=WayTally)
    down: WayTally = field(default_factory=WayTally)

    def as_json(self) -> dict[str, object]:
        """For a report."""
        counts = {"connections": self.connections, "refused": self.refused, "resets": self.resets}
        return {**counts, "up": self.up.as_json(), "down": self.down.as_json()}
