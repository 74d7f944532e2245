"""What dispatch takes for one job among so many ready workers: the real core and policy, in this process, no network.

CPU time of this process, so that a busy machine disturbs little. Half of the workers are busy all the time. One job is
`submit`, `advance`, `answered`, `advance`: everything that decides about it. Housekeeping, which comes four times a
second however many jobs there are, falls into few of the blocks whose median counts, and is measured by itself.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gateway.dispatch.core import Core
from gateway.dispatch.effects import Assigned, Effect, ProbeDue
from gateway.dispatch.model import Job, LoadReport, ModelOffer, Reply
from gateway.dispatch.observer import NullObserver
from gateway.dispatch.queue import Ticket
from gateway.dispatch.settings import DispatchSettings
from gateway.dispatch.view import workers_view

MODEL = "m"
SLOTS = 2
JOBS_PER_S = 4000.0
"""Simulated: what one gateway may carry, and half of what the fleet could do: with more workers, jobs last longer."""
BLOCK = 200
BLOCKS = 15
TRAINED = 1 << 20
"""Allowance of workers that have been here for long: more than any number of credits."""


class _Link:
    """A worker of which the core reads name and round trip."""

    def __init__(self, worker: str, rtt_s: float) -> None:
        self.worker = worker
        self.rtt_s = rtt_s
        self.about: Mapping[str, object] = {}

    def exchange(self, job: Job) -> AbstractAsyncContextManager[Reply]:
        raise AssertionError("nothing is sent")

    async def probe(self, model: str, timeout_s: float) -> float:
        raise AssertionError("nothing is sent")

    def close(self, reason: str) -> None:
        raise AssertionError("nobody is superseded")


class _Body:
    size: int | None = 0
    is_complete = True
    is_replayable = True

    def chunks(self) -> AsyncIterator[bytes]:
        raise AssertionError("nothing is sent")


@dataclass(frozen=True)
class Decision:
    """Of one size of fleet."""

    workers: int
    us: float
    """CPU time of one job: the median of the blocks' means."""
    worst_us: float
    """The slowest block's."""
    tick_ms: float
    """Of one round of housekeeping."""
    view_ms: float
    """Of the list of workers that operators see."""


def measure(workers: int) -> Decision:
    """Of this many."""
    fleet = _Fleet(workers)
    means = [fleet.block_us() for _ in range(BLOCKS)]
    return Decision(workers, statistics.median(means), max(means), fleet.tick_ms(), fleet.view_ms())


class _Fleet:
    """A core whose workers are ready and half busy."""

    def __init__(self, workers: int) -> None:
        self._settings = DispatchSettings()
        self._core = Core(self._settings, NullObserver())
        self._now = 0.0
        self._numbers = 0
        self._running: deque[Ticket] = deque()
        busy = workers * SLOTS // 2
        service_s = busy / JOBS_PER_S
        for number in range(workers):
            self._join(_Link(f"w{number}", 0.001 + 0.0005 * (number % 17)), service_s * (0.95 + number % 7 / 70))
        for _ in range(busy):
            self._now += 1 / JOBS_PER_S
            self._submit()
        for _ in range(busy):
            self._one()

    def block_us(self) -> float:
        """CPU time of one job, in microseconds; the garbage of others is collected before."""
        gc.collect()
        began = time.process_time_ns()
        for _ in range(BLOCK):
            self._one()
        return (time.process_time_ns() - began) / BLOCK / 1e3

    def tick_ms(self) -> float:
        """As the core does every `tick_s`."""

        def tick() -> None:
            self._now += self._settings.tick_s
            self._take(self._core.advance(self._now))

        return _median_ms(tick)

    def view_ms(self) -> float:
        """Without what makes JSON of it."""
        return _median_ms(lambda: workers_view(self._core.fleet, self._now))

    def _join(self, link: _Link, service_s: float) -> None:
        self._core.join(link, [ModelOffer(MODEL, "1", SLOTS)], self._now)
        for effect in self._core.advance(self._now):
            assert isinstance(effect, ProbeDue)
            self._core.probed(effect.replica, service_s, "", self._now)
            effect.replica.allowance = TRAINED
        self._core.load(link, LoadReport(0, 0), self._now)
        self._core.advance(self._now)

    def _one(self) -> None:
        self._now += 1 / JOBS_PER_S
        ticket = self._running.popleft()
        assert ticket.replica is not None
        self._core.answered(ticket, ticket.replica.service_s, self._now)
        self._take(self._core.advance(self._now))
        self._submit()

    def _submit(self) -> None:
        self._numbers += 1
        job = Job(str(self._numbers), MODEL, "POST", "/", (), _Body(), self._now + 60)
        self._core.submit(job, self._now)
        self._take(self._core.advance(self._now))

    def _take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Assigned(ticket):
                    self._running.append(ticket)
                case ProbeDue(replica):
                    self._core.probed(replica, replica.service_s, "", self._now)


def _median_ms(work: Callable[[], object], times: int = 9) -> float:
    took = []
    for _ in range(times):
        began = time.process_time_ns()
        work()
        took.append((time.process_time_ns() - began) / 1e6)
    return statistics.median(took)
