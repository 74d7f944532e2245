"""Steps by several threads, counted within a window of time: what a loop and a load have in common.

The first moments are not counted, nor is what is in flight at the end; what was in flight at the beginning is. So a
block's edges neither add nor take anything on average.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

WARM_UP_S = 0.3
"""Before each window: connections are opened, caches filled."""

Step = Callable[[], object]
Mark = TypeVar("Mark")


@dataclass(frozen=True)
class Seen(Generic[Mark]):
    """What happened in the window."""

    count: int
    elapsed_s: float
    before: Mark
    """What was read at its beginning, and at its end."""
    after: Mark


class _Threads:
    """One for each step, again and again, until it is over or one of them fails."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.is_counting = self.is_over = False
        self._counts = [0] * len(steps)
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._go, args=one) for one in enumerate(steps)]
        for thread in self._threads:
            thread.start()

    def _go(self, place: int, step: Step) -> None:
        try:
            while not self.is_over:
                step()
                self._counts[place] += self.is_counting
        except BaseException as error:
            self._failure, self.is_over = error, True

    def end(self) -> int:
        """How many were counted. Raises what a step raised."""
        self.is_over = True
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return sum(self._counts)


def watched(steps: Sequence[Step], seconds: float, mark: Callable[[], Mark]) -> Seen[Mark]:
    """Runs every step again and again, each on a thread, for so long. Raises what one of them raises."""
    threads = _Threads(steps)
    try:
        time.sleep(WARM_UP_S)
        began_s, before = time.perf_counter(), mark()
        threads.is_counting = True
        time.sleep(seconds)
        threads.is_counting = False
        ended_s, after = time.perf_counter(), mark()
    finally:
        count = threads.end()
    return Seen(count, ended_s - began_s, before, after)
