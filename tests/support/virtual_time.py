"""Time that passes only when everybody waits, and a server in it whose latencies are known: what a load generator is
tried on.

    clock = VirtualClock()
    run = await clock.drive(Generator(plan, KnownServer(clock, fixed_ms=10), clock, Recorder()).run())
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import TypeVar

from bench.load.sample import Sample
from tests.support.fake_clock import settle

MS = 1_000_000
TURNS = 12
"""Of the loop, for a wake-up to reach a task, the task to start another and that one to wait."""
T = TypeVar("T")


class VirtualClock:
    """Fits `bench.load.clock.Clock`. `oversleep_ns` says how much too late a wait until a time ends."""

    def __init__(self, oversleep_ns: Callable[[int], int] = lambda _when_ns: 0) -> None:
        self._now_ns = 1_000_000_000_000
        self._order = itertools.count()
        self._waits: list[tuple[int, int, asyncio.Future[None]]] = []
        self._oversleep_ns = oversleep_ns

    def now_ns(self) -> int:
        return self._now_ns

    async def wait_until_ns(self, when_ns: int) -> None:
        late_ns = self._oversleep_ns(when_ns) if when_ns > self._now_ns else 0
        await self._until(max(when_ns, self._now_ns) + late_ns)

    async def pass_ns(self, duration_ns: int) -> None:
        """Waits without oversleeping."""
        await self._until(self._now_ns + duration_ns)

    async def drive(self, coroutine: Coroutine[object, object, T]) -> T:
        """Runs it to its end; whenever all wait, time goes on to the next wait's end."""
        task = asyncio.create_task(coroutine)
        while True:
            await settle(TURNS)
            if task.done():
                return task.result()
            assert self._waits, "nobody waits for a time, and it does not end"
            when_ns, _, future = heapq.heappop(self._waits)
            self._now_ns = max(self._now_ns, when_ns)
            if not future.done():
                future.set_result(None)

    async def _until(self, when_ns: int) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waits, (when_ns, next(self._order), future))
        await future


class KnownServer:
    """Fits `bench.load.transport.Transport`: answers after a time that the test chose, unless it pauses."""

    def __init__(
        self,
        clock: VirtualClock,
        latency_ms: Callable[[int], float],
        *,
        pause_ms: tuple[float, float] = (0, 0),
        connections: int = 0,
    ) -> None:
        """`latency_ms` by index; within `pause_ms` (from, to; from the clock's start) no work goes on; `connections`:
        at most."""
        self._clock = clock
        self._latency_ms = latency_ms
        self._pause_ns = [clock.now_ns() + round(edge * MS) for edge in pause_ms]
        self._free = asyncio.Semaphore(connections) if connections else None

    async def send(self, sample: Sample, deadline_ns: int) -> None:
        if self._free is None:
            await self._serve(sample, deadline_ns)
            return
        arrived_ns = self._clock.now_ns()
        async with self._free:
            sample.wait_ns = self._clock.now_ns() - arrived_ns
            await self._serve(sample, deadline_ns)

    async def _serve(self, sample: Sample, deadline_ns: int) -> None:
        sample.t_send_ns = now_ns = self._clock.now_ns()
        begins_ns, ends_ns = self._pause_ns
        work_ns = round(self._latency_ms(sample.index) * MS)
        if begins_ns <= now_ns < ends_ns:
            work_ns += ends_ns - now_ns
        if now_ns + work_ns > deadline_ns:
            await self._clock.pass_ns(deadline_ns - now_ns)
            sample.reason, sample.t_done_ns = "timeout", deadline_ns
            return
        await self._clock.pass_ns(work_ns)
        sample.t_first_byte_ns = sample.t_done_ns = self._clock.now_ns()
        sample.status, sample.bytes_out, sample.bytes_in, sample.worker = 200, 1000, 100, f"worker-{sample.index % 2}"
