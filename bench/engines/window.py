"""Steps by several threads, counted within a window of time: what a loop and a load have in common.

The first moments are not counted. A step that lies across an edge of the window counts by the share of its time that
lies within, so that a window of a second, which holds 30 pictures, tells rates apart that differ by less than a 30th.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

WARM_UP_S = 0.3
"""Before each window: connections are opened, caches filled."""

Step = Callable[[], object]
Mark = TypeVar("Mark")


@dataclass(frozen=True)
class Seen(Generic[Mark]):
    """What happened in the window."""

    count: float
    """Steps, and parts of steps."""
    elapsed_s: float
    before: Mark
    """What was read at its beginning, and at its end."""
    after: Mark


class _Threads:
    """One for each step, again and again, until it is over or one of them fails."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.is_over = False
        self._times: list[list[float]] = [[] for _ in steps]  # when each step ended, and the next one began
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._go, args=one) for one in zip(steps, self._times, strict=True)]
        for thread in self._threads:
            thread.start()

    def _go(self, step: Step, times: list[float]) -> None:
        try:
            times.append(time.perf_counter())
            while not self.is_over:
                step()
                times.append(time.perf_counter())
        except BaseException as error:
            self._failure, self.is_over = error, True

    def end(self) -> Sequence[Sequence[float]]:
        """By step, when it began and each time that it ended. Raises what a step raised."""
        self.is_over = True
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return self._times


def watched(steps: Sequence[Step], seconds: float, mark: Callable[[], Mark]) -> Seen[Mark]:
    """Runs every step again and again, each on a thread, for so long. Raises what one of them raises."""
    threads = _Threads(steps)
    try:
        time.sleep(WARM_UP_S)
        began_s, before = time.perf_counter(), mark()
        time.sleep(seconds)
        ended_s, after = time.perf_counter(), mark()
    finally:
        times = threads.end()
    return Seen(sum(within(one, began_s, ended_s) for one in times), ended_s - began_s, before, after)


def turned(images: Sequence[bytes], times: int) -> Iterator[Iterator[bytes]]:
    """All of them again and again, for so many threads; each begins with the next one."""
    for place in range(times):
        yield itertools.islice(itertools.cycle(images), place, None)


def within(times: Sequence[float], began: float, ended: float) -> float:
    """How many steps, of one beginning and many ends, lie between two times."""
    return sum(
        max(0.0, min(end, ended) - max(begin, began)) / (end - begin)
        for begin, end in itertools.pairwise(times)
        if end > begin
    )
