"""How fast a client's body comes: too slow to go on waiting, or soon enough complete to take a worker for it.

Pure arithmetic over what was received and how long the gateway waited for it; no clock, no connection. Only time spent
waiting for the client counts, so a busy gateway never calls its client slow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HEAD_START_BYTES = 64 * 1024
"""Less says little about the rest: it fits the first flights of a fresh connection (RFC 6928: 10 segments)."""
SOON_S = 0.1
"""A worker's credit may wait this long for the rest of a body; longer, and others should have it meanwhile."""


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """When a body counts as too slow."""

    stall_s: float
    """No byte for this long ends it."""
    min_rate_bytes_s: float
    """Least average rate, demanded after the first `stall_s` of waiting."""
    total_s: float
    """Most time to wait for one body in all."""


class Pace:
    """The measured arrival of one body."""

    __slots__ = ("_first_bytes", "_limits", "received_bytes", "waited_s")

    def __init__(self, limits: PaceLimits) -> None:
        self._limits = limits
        self._first_bytes: int | None = None
        self.received_bytes = 0
        self.waited_s = 0.0

    def arrived(self, size_bytes: int, waited_s: float = 0.0) -> None:
        """Counts a piece, and the time for which it was waited."""
        if self._first_bytes is None:
            self._first_bytes = size_bytes
            # What came with the head says nothing of the client's speed: its clock starts afterwards.
        self.received_bytes += size_bytes
        self.waited_s += waited_s

    def patience_s(self) -> float:
        """How long the next byte may take; zero or less when the client is too slow already."""
        limits = self._limits
        earned_s = limits.stall_s + self.received_bytes / limits.min_rate_bytes_s
        return min(limits.stall_s, earned_s - self.waited_s, limits.total_s - self.waited_s)

    def is_nearly_complete(self, size_bytes: int | None) -> bool:
        """Whether the rest of a body of this size will be here within SOON_S at the rate seen since the first piece."""
        if size_bytes is None or self._first_bytes is None or self.received_bytes < HEAD_START_BYTES:
            return False
        measured_bytes = self.received_bytes - self._first_bytes
        if measured_bytes <= 0:
            return False
        rate_bytes_s = measured_bytes / self.waited_s if self.waited_s > 0 else math.inf
        return (size_bytes - self.received_bytes) / rate_bytes_s <= SOON_S
