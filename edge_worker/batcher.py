"""Makes batches of calls: each caller waits here for its own result, and a batch for one of the engine's lanes.

The rules are in batch_rules.py; this is what waits. A caller that is cancelled leaves the line, so it is never
computed; in a batch that runs already its result is dropped. A batch that fails does not take its calls with it:
`compute` gives a result or a failure for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from edge_worker.batch_rules import BatchRule, Line, Waiting

Item = TypeVar("Item")
Result = TypeVar("Result")
Compute = Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]]
"""From 1 to max_batch items to as many results, or the failures of those that failed."""

log = logging.getLogger("edge_worker.batcher")


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Seconds, and timers whose callbacks run on the event loop."""

    def now(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer: ...


@dataclass(frozen=True, slots=True)
class Batched(Generic[Result]):
    """One call's result, and the batch that it was in."""

    result: Result
    size: int
    """Calls in the batch, without what pads it."""
    wait_s: float
    """From the call's arrival until its batch left."""
    compute_s: float


class Batcher(Generic[Item, Result]):
    """One model's line, before as many lanes as it has networks."""

    def __init__(self, rule: BatchRule, lanes: int, compute: Compute[Item, Result], clock: Clock) -> None:
        self._line: Line[_Call[Item, Result]] = Line(rule)
        self._free_lanes = lanes
        self._compute = compute
        self._clock = clock
        self._timer: Timer | None = None
        self._expected_s = 0.0
        """What the last batch took."""
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, item: Item, deadline_at: float | None = None) -> Batched[Result]:
        """The item's result, once a batch with it was computed. Raises what `compute` gave for it."""
        call: _Call[Item, Result] = _Call(item, asyncio.get_running_loop().create_future())
        waiting = Waiting(call, self._clock.now(), deadline_at)
        self._line.add(waiting)
        self._leave()
        try:
            return await call.done
        finally:
            self._line.discard(waiting)

    async def close(self) -> None:
        """Waits for the batches that run. Nobody waits in the line then."""
        self._stop_timer()
        if self._running:
            await asyncio.wait(self._running)

    def _leave(self) -> None:
        """Sends off every batch that may leave, and sets the timer for the one that may leave later."""
        self._stop_timer()
        while self._free_lanes:
            leaves_at = self._line.leaves_at(self._expected_s)
            if leaves_at is None:
                return
            if leaves_at > self._clock.now():
                self._timer = self._clock.call_at(leaves_at, self._leave)
                return
            self._free_lanes -= 1
            task = asyncio.create_task(self._run(self._line.take()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self, batch: list[Waiting[_Call[Item, Result]]]) -> None:
        """Computes one batch and tells each caller that is still there; then its lane is free."""
        began = self._clock.now()
        try:
            outcomes = await self._compute([waiting.item.item for waiting in batch])
        except Exception as error:  # compute's bug: each caller hears of it, and the lane goes on
            log.exception("a batch raised what it must not")
            outcomes = [error] * len(batch)
        finally:
            self._free_lanes += 1
        self._expected_s = compute_s = self._clock.now() - began
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.item.tell(outcome, len(batch), began - waiting.arrived_at, compute_s)
        self._leave()


@dataclass(slots=True, eq=False)
class _Call(Generic[Item, Result]):
    item: Item
    done: asyncio.Future[Batched[Result]]

    def tell(self, outcome: Result | Exception, size: int, wait_s: float, compute_s: float) -> None:
        if self.done.done():  # its caller has gone
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(Batched(outcome, size, wait_s, compute_s))
