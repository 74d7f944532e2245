"""Threads for work that blocks: as many pieces at once as there are lanes, each given up when it runs past its limit.

A thread takes its next work as soon as it is done with one, without asking the event loop: between two pictures an
engine waits for nobody. A thread that is stuck in native code cannot be ended: whoever gave it the work is told, and so
is whoever made the lanes; what waits is refused, and no more work is taken. Threads are daemons: a stuck one does not
keep the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from edge_worker.backends.base import BackendFailed, NotReady, Tell
from edge_worker.batcher import Clock, Timer


class Work:
    """One piece of it, told once. Fits `base.Work`."""

    def __init__(self, lanes: Lanes, compute: Callable[[], object], tell: Tell) -> None:
        self._lanes = lanes
        self._compute = compute
        self._tell = tell
        self._claim = threading.Lock()  # never let go: claimed once
        self._is_told = False

    def begin(self) -> None:
        """See `base.Work`."""
        self._lanes.take(self)

    def claim(self) -> bool:
        """True for the first who asks: a thread that will do it, or whoever wants it no more."""
        return self._claim.acquire(blocking=False)

    def do(self) -> None:
        """On this thread. Never raises."""
        try:
            outcome = self._compute()
        except BaseException as error:  # whoever is told raises it
            self.fail(error)
        else:
            self._say(outcome, None)

    def fail(self, error: BaseException) -> None:
        """Nothing comes of it, or nobody waits for what may come of it."""
        self._say(None, error)

    def _say(self, outcome: object, error: BaseException | None) -> None:
        if not self._is_told:
            self._is_told = True
            self._tell(outcome, error)


class Source(Protocol):
    """Where the threads of some lanes find work: a queue, which may know to look elsewhere when it is empty."""

    def put(self, item: Work | None, /) -> None:
        """From any thread. None ends the thread that takes it."""

    def get(self) -> Work | None:
        """Waits. A thread that asks is done with what it took before."""

    def get_nowait(self) -> Work | None:
        """Raises queue.Empty."""


class LoopClock:
    """The event loop's own timers, which are as good as a limit of seconds needs them. Any thread may ask for `now`."""

    def now(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(when - self.now(), callback)


class Lanes:
    """Belongs to one event loop. `on_stuck` is called there, once, when the first work runs past `limit_s`."""

    def __init__(
        self,
        name: str,
        count: int,
        limit_s: float,
        clock: Clock,
        on_stuck: Callable[[], None],
        source: Source | None = None,
    ) -> None:
        """`source` is a queue of their own unless it is given."""
        self._name = name
        self._limit_s = limit_s
        self._clock = clock
        self._on_stuck = on_stuck
        self._source: Source = source or queue.SimpleQueue()  # bounded by who admits
        self._loop = asyncio.get_running_loop()
        self._running: list[tuple[Work, float] | None] = [None] * count
        """By lane, what it does and since when."""
        self._alive = set(range(count))
        """Lanes that are neither stuck nor at their end."""
        self._is_given_up = False
        self._ended = asyncio.Event()
        self._timer = clock.call_at(clock.now() + limit_s, self._look)
        for lane in range(count):
            threading.Thread(target=self._work, args=(lane,), name=f"{name}-{lane}", daemon=True).start()

    async def run(self, compute: Callable[..., Any], *arguments: object) -> Any:
        """What it returns (hence Any) or raises. Waits for a lane; when cancelled before it has one it never runs.
        Raises BackendFailed when the limit has passed, NotReady once these lanes are given up."""
        done = self._loop.create_future()

        def tell(outcome: object, error: BaseException | None) -> None:
            try:
                self._loop.call_soon_threadsafe(_settle, done, outcome, error)
            except RuntimeError:  # the loop is closed, and nobody waits any more
                return

        work = Work(self, lambda: compute(*arguments), tell)
        work.begin()
        try:
            return await done
        finally:
            work.claim()

    def take(self, work: Work) -> None:
        """What `Work.begin` does."""
        if not self._is_given_up:
            self._source.put(work)
        if self._is_given_up and work.claim():  # as it was, or has been in this moment
            work.fail(self._refusal())

    async def close(self) -> None:
        """Waits for what runs, which is no longer than the limit, and ends the threads that are not stuck."""
        self._end_threads()
        if self._alive:
            await self._ended.wait()
        self._timer.cancel()

    def _refusal(self) -> NotReady:
        return NotReady(f"{self._name}: its engine is being replaced")

    def _end_threads(self) -> None:
        for _ in self._running:
            self._source.put(None)

    def _leave(self, lane: int) -> None:
        self._alive.discard(lane)
        if not self._alive:
            self._ended.set()

    # --- the limit ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Gives up what runs too long, and looks again when the next work could: a timer a limit, not one a work."""
        oldest = now = self._clock.now()
        for lane, running in enumerate(self._running):
            if running is None or lane not in self._alive:
                continue
            work, since = running
            if now >= since + self._limit_s:
                self._give_up(lane, work)
            else:
                oldest = min(oldest, since)
        self._timer = self._clock.call_at(oldest + self._limit_s, self._look)

    def _give_up(self, lane: int, work: Work) -> None:
        is_first, self._is_given_up = not self._is_given_up, True
        self._leave(lane)
        work.fail(BackendFailed(f"{self._name}: the engine did not end within {self._limit_s:g} s"))
        if is_first:
            self._refuse_waiting()
            self._end_threads()
            self._on_stuck()

    def _refuse_waiting(self) -> None:
        while True:
            try:
                work = self._source.get_nowait()
            except queue.Empty:
                return
            if work is not None and work.claim():
                work.fail(self._refusal())

    # --- on the threads -----------------------------------------------------------------------------------------------

    def _work(self, lane: int) -> None:
        while (work := self._source.get()) is not None:
            if work.claim():
                self._running[lane] = work, self._clock.now()
                work.do()
                self._running[lane] = None
        try:
            self._loop.call_soon_threadsafe(self._leave, lane)
        except RuntimeError:  # as above
            return


def _settle(done: asyncio.Future[Any], outcome: object, error: BaseException | None) -> None:
    """Tells the caller, unless it has gone."""
    if done.done():
        return
    if error is None:
        done.set_result(outcome)
    else:
        done.set_exception(error)
