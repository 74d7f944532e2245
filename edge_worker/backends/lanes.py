"""Threads for work that blocks: as many calls at once as there are lanes, each given up when it runs past its limit.

A thread takes its next call as soon as it is done with one, without asking the event loop: between two pictures an
engine waits for nobody. A thread that is stuck in native code cannot be ended: its caller is told, and so is whoever
made the lanes; what waits is refused, and no more work is taken. Threads are daemons: a stuck one does not keep the
process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from edge_worker.backends.base import BackendFailed, NotReady
from edge_worker.batcher import Clock, Timer


class LoopClock:
    """The event loop's own timers, which are as good as a limit of seconds needs them. Any thread may ask for `now`."""

    def now(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(when - self.now(), callback)


class Lanes:
    """Belongs to one event loop. `on_stuck` is called there, once, with the first call that runs past `limit_s`."""

    def __init__(self, name: str, count: int, limit_s: float, clock: Clock, on_stuck: Callable[[], None]) -> None:
        self._name = name
        self._count = count
        self._limit_s = limit_s
        self._clock = clock
        self._on_stuck = on_stuck
        self._given: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()  # what was admitted, and an end for each
        self._open: set[_Call] = set()
        """What waits or runs; a call that is given up is not in it."""
        self._is_given_up = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: Timer | None = None
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    async def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        """What the work returns (hence Any) or raises. Waits for a lane; a call that is cancelled before it has one
        never runs. Raises BackendFailed when the limit has passed, NotReady once these lanes are given up."""
        if self._is_given_up:
            raise self._refusal()
        loop = asyncio.get_running_loop()
        call = _Call(lambda: work(*arguments), loop, loop.create_future())
        self._open.add(call)
        self._idle.clear()
        self._given.put(call)
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now() + self._limit_s, self._look)
        try:
            return await call.done
        finally:
            if call.claim():
                self._over(call)

    async def close(self) -> None:
        """Waits for what runs, which is no longer than the limit, and ends the threads that are not stuck."""
        self._end_threads()
        await self._idle.wait()
        if self._timer is not None:
            self._timer.cancel()

    def _refusal(self) -> NotReady:
        return NotReady(f"{self._name}: its engine is being replaced")

    def _over(self, call: _Call) -> None:
        self._open.discard(call)
        if not self._open:
            self._idle.set()

    def _end_threads(self) -> None:
        for _ in range(self._count):
            self._given.put(None)

    # --- the limit ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Gives up what runs too long, and looks again when the next one could: a timer a limit, not one a call."""
        self._timer = None
        now = self._clock.now()
        for call in [one for one in self._open if one.began_at is not None and now >= one.began_at + self._limit_s]:
            self._give_up(call)
        if self._open:
            oldest = min((now if one.began_at is None else one.began_at) for one in self._open)
            self._timer = self._clock.call_at(oldest + self._limit_s, self._look)

    def _give_up(self, call: _Call) -> None:
        self._over(call)
        call.settle(None, BackendFailed(f"{self._name}: the engine did not end within {self._limit_s:g} s"))
        if self._is_given_up:
            return
        self._is_given_up = True
        for waiting in [one for one in self._open if one.claim()]:
            self._over(waiting)
            waiting.settle(None, self._refusal())
        self._end_threads()
        self._on_stuck()

    # --- on the threads -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (call := self._given.get()) is not None:
            if call.claim():
                call.run(self._clock.now(), self._ended)

    def _ended(self, call: _Call, outcome: object, error: BaseException | None) -> None:
        """On the event loop again."""
        if call in self._open:
            self._over(call)
            call.settle(outcome, error)


class _Call:
    """One piece of work."""

    def __init__(self, work: Callable[[], object], loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]) -> None:
        self._work = work
        self._loop = loop
        self._claim = threading.Lock()  # never let go: claimed once
        self.done = done
        self.began_at: float | None = None

    def claim(self) -> bool:
        """True for the first who asks: a thread that will run it, or the event loop, which drops it."""
        return self._claim.acquire(blocking=False)

    def run(self, now: float, ended: Callable[[_Call, object, BaseException | None], None]) -> None:
        """Does the work, and tells the event loop how it ended."""
        self.began_at = now
        outcome, error = None, None
        try:
            outcome = self._work()
        except BaseException as raised:  # whoever waits for it raises it
            error = raised
        try:
            self._loop.call_soon_threadsafe(ended, self, outcome, error)
        except RuntimeError:  # came back when the loop was closed, and nobody waits any more
            return

    def settle(self, outcome: object, error: BaseException | None) -> None:
        """Tells the caller, unless it has gone."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(outcome)
        else:
            self.done.set_exception(error)
