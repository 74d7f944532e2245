"""Work on threads of its own: in what order, for how long, and what becomes of a thread that never comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from edge_worker.backends.base import BackendFailed, NotReady
from edge_worker.backends.lanes import Lanes
from tests.support.fake_clock import FakeClock, settle
from tests.support.held import WAIT_S, Held

LIMIT_S = 10.0


@pytest.fixture
def held() -> Iterator[Callable[[], Held]]:
    made: list[Held] = []

    def make() -> Held:
        made.append(Held())
        return made[-1]

    yield make
    for one in made:
        one.end.set()


class Bench:
    def __init__(self, count: int) -> None:
        self.clock = FakeClock()
        self.times_stuck = 0
        before = set(threading.enumerate())
        self.lanes = Lanes("m-call", count, LIMIT_S, self.clock, self._stuck)
        self.threads = set(threading.enumerate()) - before

    def _stuck(self) -> None:
        self.times_stuck += 1


@asynccontextmanager
async def bench(count: int = 1) -> AsyncIterator[Bench]:
    made = Bench(count)
    async with asyncio.timeout(WAIT_S):
        yield made
        await made.lanes.close()


def raised() -> None:
    raise KeyError("inside")


async def test_work_is_done_on_another_thread() -> None:
    """What it returns or raises comes back, and the thread serves the next."""
    async with bench() as on:
        first = await on.lanes.run(threading.get_ident)
        assert first != threading.get_ident()
        with pytest.raises(KeyError, match="inside"):
            await on.lanes.run(raised)
        assert await on.lanes.run(threading.get_ident) == first
        assert await on.lanes.run(divmod, 7, 4) == (1, 3)


async def test_so_many_at_once_and_the_others_in_order(held: Callable[[], Held]) -> None:
    """Two lanes are busy, and a third call begins when one of them is free."""
    async with bench(2) as on:
        works = [held() for _ in range(3)]
        calls = [asyncio.create_task(on.lanes.run(work)) for work in works]
        await works[0].wait_begun()
        await works[1].wait_begun()
        assert not works[2].begun.is_set()
        works[1].end.set()
        await works[2].wait_begun()
        works[0].end.set()
        works[2].end.set()
        assert await asyncio.gather(*calls) == ["held"] * 3


async def test_a_call_that_is_cancelled_before_it_has_a_lane_never_runs(held: Callable[[], Held]) -> None:
    """The one behind it has its place."""
    async with bench() as on:
        works = [held() for _ in range(3)]
        calls = [asyncio.create_task(on.lanes.run(work)) for work in works]
        await works[0].wait_begun()
        calls[1].cancel()
        await settle()
        for work in (works[0], works[2]):
            work.end.set()
        assert await asyncio.gather(calls[0], calls[2]) == ["held"] * 2
        assert not works[1].begun.is_set()


async def test_a_call_that_is_cancelled_keeps_its_lane_until_its_thread_is_back(held: Callable[[], Held]) -> None:
    """No two pieces of work are ever on one network."""
    async with bench() as on:
        first, second = held(), held()
        call = asyncio.create_task(on.lanes.run(first))
        await first.wait_begun()
        call.cancel()
        behind = asyncio.create_task(on.lanes.run(second))
        await settle()
        assert not second.begun.is_set()
        first.end.set()
        second.end.set()
        assert await behind == "held"


async def test_a_call_past_its_limit_is_given_up(held: Callable[[], Held]) -> None:
    """Its caller is told at that moment, and who made the lanes is told once."""
    async with bench() as on:
        work = held()
        call = asyncio.create_task(on.lanes.run(work))
        await work.wait_begun()
        await on.clock.advance(LIMIT_S - 0.1)
        assert not call.done()
        await on.clock.advance(0.1)
        with pytest.raises(BackendFailed, match="m-call: the engine did not end within 10 s"):
            await call
        assert on.times_stuck == 1


async def test_the_limit_holds_when_the_caller_has_gone(held: Callable[[], Held]) -> None:
    """A deadline that passes before the limit must not hide that the engine hangs."""
    async with bench() as on:
        work = held()
        call = asyncio.create_task(on.lanes.run(work))
        await work.wait_begun()
        call.cancel()
        await on.clock.advance(LIMIT_S)
        assert on.times_stuck == 1


async def test_who_waits_for_a_lane_that_is_stuck_is_told(held: Callable[[], Held]) -> None:
    """All of them, that nothing was begun; and so is whoever comes later."""
    async with bench() as on:
        work = held()
        stuck = asyncio.create_task(on.lanes.run(work))
        await work.wait_begun()
        behind = [asyncio.create_task(on.lanes.run(held())) for _ in range(3)]
        await on.clock.advance(LIMIT_S)
        for call in (*behind, on.lanes.run(held())):
            with pytest.raises(NotReady, match="m-call: its engine is being replaced"):
                await call
        with pytest.raises(BackendFailed):
            await stuck


async def test_beside_a_stuck_lane_what_runs_is_answered(held: Callable[[], Held]) -> None:
    """It began before anyone knew; a second lane that gets stuck fails its own call, but is no news."""
    async with bench(3) as on:
        works = [held() for _ in range(3)]
        calls = [asyncio.create_task(on.lanes.run(works[number])) for number in range(2)]
        await works[0].wait_begun()
        await works[1].wait_begun()
        await on.clock.advance(LIMIT_S / 2)
        calls.append(asyncio.create_task(on.lanes.run(works[2])))
        await works[2].wait_begun()
        await on.clock.advance(LIMIT_S / 2)
        assert on.times_stuck == 1
        for call in calls[:2]:
            with pytest.raises(BackendFailed):
                await call
        works[2].end.set()
        assert await calls[2] == "held"


async def test_a_thread_that_comes_back_late_is_not_used_again(held: Callable[[], Held]) -> None:
    """Nor is anything of its answer; it ends."""
    async with bench() as on:
        work = held()
        call = asyncio.create_task(on.lanes.run(work))
        await work.wait_begun()
        await on.clock.advance(LIMIT_S)
        with pytest.raises(BackendFailed):
            await call
        work.end.set()
        (thread,) = on.threads
        await asyncio.to_thread(thread.join, WAIT_S)
        assert not thread.is_alive()
        with pytest.raises(NotReady):
            await on.lanes.run(held())


async def test_a_call_that_waited_long_has_its_whole_limit(held: Callable[[], Held]) -> None:
    """It counts from when a thread takes it."""
    async with bench() as on:
        first, second = held(), held()
        calls = [asyncio.create_task(on.lanes.run(work)) for work in (first, second)]
        await first.wait_begun()
        await on.clock.advance(LIMIT_S - 1.0)
        first.end.set()
        await second.wait_begun()
        assert await calls[0] == "held"
        await on.clock.advance(LIMIT_S - 1.0)
        assert not calls[1].done()
        await on.clock.advance(1.0)
        with pytest.raises(BackendFailed):
            await calls[1]


async def test_a_thread_takes_its_next_call_by_itself(held: Callable[[], Held]) -> None:
    """The event loop may be busy: nothing of it runs between two calls here."""
    async with bench() as on:
        works = [held(), held()]
        calls = [asyncio.create_task(on.lanes.run(work)) for work in works]
        await works[0].wait_begun()
        works[0].end.set()
        assert works[1].begun.wait(WAIT_S)
        works[1].end.set()
        assert await asyncio.gather(*calls) == ["held"] * 2


async def test_work_within_its_limit_leaves_no_timer_behind() -> None:
    """Time that passes later gives nothing up."""
    async with bench() as on:
        await on.lanes.run(int)
        await on.clock.advance(2 * LIMIT_S)
        assert on.times_stuck == 0


async def test_closing_ends_the_threads() -> None:
    """Each of them, once its work is done."""
    lanes = Lanes("closing", 3, LIMIT_S, FakeClock(), lambda: None)
    threads = [one for one in threading.enumerate() if one.name.startswith("closing-")]
    assert len(threads) == 3
    await asyncio.gather(*[lanes.run(int) for _ in range(3)])
    await lanes.close()
    for thread in threads:
        await asyncio.to_thread(thread.join, WAIT_S)
        assert not thread.is_alive()


async def test_closing_waits_for_what_runs(held: Callable[[], Held]) -> None:
    """And no longer than its limit."""
    clock = FakeClock()
    lanes = Lanes("closing", 2, LIMIT_S, clock, lambda: None)
    works = [held(), held()]
    calls = [asyncio.create_task(lanes.run(work)) for work in works]
    await works[0].wait_begun()
    await works[1].wait_begun()
    closing = asyncio.create_task(lanes.close())
    works[0].end.set()
    assert await calls[0] == "held"
    await settle()
    assert not closing.done()
    await clock.advance(LIMIT_S)
    await closing
    with pytest.raises(BackendFailed):
        await calls[1]


async def test_a_stuck_thread_does_not_keep_the_process() -> None:
    """It is a daemon."""
    async with bench() as on:
        assert await on.lanes.run(lambda: threading.current_thread().daemon)
