"""Threads for work that blocks: as many calls at once as there are lanes, each given up when it runs past its limit.

A thread that is stuck in native code cannot be ended. Its caller is told, its lane is never used again, and neither are
the lanes beside it: what got stuck once is trusted with no more work, and whoever made the lanes makes new ones.
Threads are daemons: a stuck one does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

from edge_worker.backends.base import BackendFailed, NotReady
from edge_worker.batcher import Clock, Timer


class LoopClock:
    """The event loop's own timers: as good as a limit of seconds needs them."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)


class Lanes:
    """Belongs to one event loop. `on_stuck` is called there, once, with the first call that runs past `limit_s`."""

    def __init__(self, name: str, count: int, limit_s: float, clock: Clock, on_stuck: Callable[[], None]) -> None:
        self._name = name
        self._count = count
        self._limit_s = limit_s
        self._clock = clock
        self._on_stuck = on_stuck
        self._idle = [_Lane(f"{name}-{number}") for number in range(count)]
        self._places = asyncio.Semaphore(count)
        self._is_given_up = False
        self.stuck = 0
        """Threads that are past their limit and have not come back."""

    async def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        """What the work returns (hence Any) or raises. Waits for a lane; a call that is cancelled before it has one
        never runs. Raises BackendFailed when the limit has passed, NotReady once these lanes are given up."""
        await self._places.acquire()
        if self._is_given_up:
            self._places.release()  # for the next one who waits, to be told too
            raise NotReady(f"{self._name}: its engine is being replaced")
        call = _Running(self._idle.pop(), asyncio.get_running_loop().create_future())
        call.timer = self._clock.call_at(self._clock.now() + self._limit_s, lambda: self._overdue(call))
        call.lane.begin(lambda: work(*arguments), lambda outcome, error: self._ended(call, outcome, error))
        return await call.done

    async def close(self) -> None:
        """Waits for what runs, which is no longer than the limit, and ends the threads that are not stuck."""
        for _ in range(self._count):
            await self._places.acquire()
        for lane in self._idle:
            lane.end()

    def _ended(self, call: _Running, outcome: object, error: BaseException | None) -> None:
        assert call.timer is not None
        call.timer.cancel()
        if call.is_stuck:
            self.stuck -= 1
            call.lane.end()
            return
        self._idle.append(call.lane)
        self._places.release()
        if call.done.done():  # its caller has gone
            return
        if error is None:
            call.done.set_result(outcome)
        else:
            call.done.set_exception(error)

    def _overdue(self, call: _Running) -> None:
        call.is_stuck = True
        self.stuck += 1
        is_first, self._is_given_up = not self._is_given_up, True
        if not call.done.done():
            call.done.set_exception(BackendFailed(f"{self._name}: the engine did not end within {self._limit_s:g} s"))
        self._places.release()
        if is_first:
            self._on_stuck()


class _Running:
    """One call on its lane."""

    def __init__(self, lane: _Lane, done: asyncio.Future[Any]) -> None:
        self.lane = lane
        self.done = done
        self.timer: Timer | None = None
        self.is_stuck = False


class _Lane:
    """One thread, and the work that it is given."""

    def __init__(self, name: str) -> None:
        self._given: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()  # one call at most, and the end
        threading.Thread(target=self._turn, name=name, daemon=True).start()

    def begin(self, work: Callable[[], object], ended: Callable[[object, BaseException | None], None]) -> None:
        """Does the work, and tells the loop that is running now how it ended."""
        loop = asyncio.get_running_loop()

        def do() -> None:
            outcome, error = None, None
            try:
                outcome = work()
            except BaseException as raised:  # whoever waits for it raises it
                error = raised
            try:
                loop.call_soon_threadsafe(ended, outcome, error)
            except RuntimeError:  # came back when the loop was closed, and nobody waits any more
                return

        self._given.put(do)

    def end(self) -> None:
        """Ends the thread behind what it does."""
        self._given.put(None)

    def _turn(self) -> None:
        while (do := self._given.get()) is not None:
            do()
            del do  # what it was given is not kept until the next call
