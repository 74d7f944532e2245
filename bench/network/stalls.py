"""When nothing moves: handovers and fades, at times that the seed alone decides."""

from __future__ import annotations

import random

NS = 1_000_000_000


class Stalls:
    """Exponential gaps and exponential lengths, from time 0 on. Asked in order of time."""

    def __init__(self, every_s: float, length_s: float, random_source: random.Random) -> None:
        self._every_s = every_s
        self._length_s = length_s
        self._random = random_source
        self._begins_ns = self._ends_ns = -1
        self.count = 0
        """Stalls that something ran into."""
        self._counted_ns = -1

    def end_ns(self, now_ns: int) -> int:
        """`now_ns`, or the end of the stall that it lies in."""
        if not self._every_s or not self._length_s:
            return now_ns
        while self._ends_ns <= now_ns:
            gap_s = self._random.expovariate(1 / self._every_s)
            self._begins_ns = max(0, self._ends_ns) + round(gap_s * NS)
            self._ends_ns = self._begins_ns + 1 + round(self._random.expovariate(1 / self._length_s) * NS)
        if now_ns < self._begins_ns:
            return now_ns
        if self._counted_ns != self._begins_ns:
            self._counted_ns = self._begins_ns
            self.count += 1
        return self._ends_ns
