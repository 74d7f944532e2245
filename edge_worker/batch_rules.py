"""When calls that wait become one batch: how many at most, how long at most, and in which sizes. Pure: `now` is given.

Batching trades latency for throughput and adds jitter, so it is off unless a model or its worker says otherwise. A
batch leaves when it is full, when its first call has waited long enough, or when a deadline would pass otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_BATCH = 256
"""Pictures: of 224x224 pixels they are 150 MB in float32; engines gain next to nothing beyond 64."""
MAX_WAIT_US = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchRule:
    """What one model allows."""

    max_batch: int = 1
    """Pictures of the largest batch, 1 to MAX_BATCH; 1 is no batching at all."""
    max_wait_us: int = 0
    """Microseconds that the first of a batch waits for others while the engine is free, 0 to MAX_WAIT_US. 0: only what
    waits for the engine anyway becomes a batch."""

    @property
    def is_on(self) -> bool:
        return self.max_batch > 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that the engine ever sees, each warmed up before the worker is ready: powers of two, and the
        largest."""
        powers = [1 << power for power in range(self.max_batch.bit_length()) if 1 << power < self.max_batch]
        return (*powers, self.max_batch)

    def padded(self, count: int) -> int:
        """The size in which `count` pictures go, 1 to max_batch."""
        return next(size for size in self.sizes if size >= count)

    def calls_at_once(self, networks: int) -> int:
        """How many calls a worker takes at the same moment: a batch in each network, and one that gathers."""
        return self.max_batch * (networks + 1) if self.is_on else networks


@dataclass(slots=True, eq=False)
class Waiting(Generic[T]):
    """One call in the line."""

    item: T
    arrived_at: float
    """Seconds, as all times here."""
    deadline_at: float | None
    """When its answer is worth nothing any more; None for never."""


class Line(Generic[T]):
    """The calls that wait for a batch, in the order in which they came. As many as its worker admits."""

    def __init__(self, rule: BatchRule) -> None:
        self._rule = rule
        self._waiting: list[Waiting[T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, call: Waiting[T]) -> None:
        self._waiting.append(call)

    def discard(self, call: Waiting[T]) -> None:
        """Takes out a call that nobody waits for any more; nothing when it has left."""
        if call in self._waiting:
            self._waiting.remove(call)

    def leaves_at(self, expected_s: float) -> float | None:
        """When the next batch leaves if an engine is free: at once (-inf) when it is full; None when nobody waits.

        `expected_s` is what a batch takes to compute: a call with a deadline does not wait past what that leaves it.
        """
        first = self._waiting[: self._rule.max_batch]
        if len(first) == self._rule.max_batch:
            return float("-inf")
        wait_s = self._rule.max_wait_us / 1e6
        return min((_leaves_by(call, wait_s, expected_s) for call in first), default=None)

    def take(self) -> list[Waiting[T]]:
        """The next batch, the oldest calls first."""
        batch = self._waiting[: self._rule.max_batch]
        del self._waiting[: len(batch)]
        return batch


def _leaves_by(call: Waiting[T], wait_s: float, expected_s: float) -> float:
    patient = call.arrived_at + wait_s
    return patient if call.deadline_at is None else min(patient, call.deadline_at - expected_s)
