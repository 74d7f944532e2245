"""Calls become batches, in virtual time: full ones, late ones, cancelled ones and broken ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from edge_worker.batch_rules import BatchRule
from edge_worker.batcher import Batched, Batcher
from tests.support.fake_clock import FakeClock, settle

RULE = BatchRule(max_batch=3, max_wait_us=2000)


class Engine:
    """Computes a batch when the test says so: each item's double, or the item itself if it is an exception."""

    def __init__(self, clock: FakeClock, takes_s: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self._clock = clock
        self._takes_s = takes_s
        self.failure: Exception | None = None

    async def compute(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        if self._takes_s:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._clock.call_at(self._clock.now() + self._takes_s, lambda: done.set_result(None))
            await done
        if self.failure:
            raise self.failure
        return [ValueError("odd") if item % 2 else item * 2 for item in items]


def made(takes_s: float = 0.0, rule: BatchRule = RULE, lanes: int = 1) -> tuple[FakeClock, Engine, Batcher[int, int]]:
    clock = FakeClock()
    engine = Engine(clock, takes_s)
    return clock, engine, Batcher(rule, lanes, engine.compute, clock)


def ask(batcher: Batcher[int, int], item: int, deadline_at: float | None = None) -> asyncio.Task[Batched[int]]:
    return asyncio.create_task(batcher.run(item, deadline_at))


async def test_a_full_batch_does_not_wait() -> None:
    """As many calls as fit leave together, with no time between."""
    _, engine, batcher = made()
    answers = await asyncio.gather(*[ask(batcher, item) for item in (2, 4, 6)])
    assert engine.batches == [[2, 4, 6]]
    assert [(one.result, one.size, one.wait_s) for one in answers] == [(4, 3, 0.0), (8, 3, 0.0), (12, 3, 0.0)]


async def test_a_batch_that_is_not_full_leaves_when_its_first_call_has_waited_long_enough() -> None:
    """Not before; and each call is told how long it waited itself."""
    clock, engine, batcher = made()
    first = ask(batcher, 2)
    await clock.advance(0.0015)
    second = ask(batcher, 4)
    await clock.advance(0.00049)
    assert engine.batches == []
    await clock.advance(0.00001)
    assert engine.batches == [[2, 4]]
    assert (await first).wait_s == pytest.approx(0.002)
    assert (await second).wait_s == pytest.approx(0.0005)


async def test_without_a_wait_only_what_waits_anyway_is_put_together() -> None:
    """The first call goes alone; those that come while it is computed go together after it."""
    clock, engine, batcher = made(takes_s=1.0, rule=BatchRule(4, 0))
    tasks = [ask(batcher, 2)]
    await settle()
    tasks += [ask(batcher, item) for item in (4, 6)]
    await clock.advance(2.0)
    assert engine.batches == [[2], [4, 6]]
    answers = await asyncio.gather(*tasks)
    assert [(one.wait_s, one.compute_s, one.size) for one in answers] == [(0, 1, 1), (1, 1, 2), (1, 1, 2)]


async def test_each_lane_computes_a_batch_at_the_same_moment() -> None:
    """Two networks take two batches; the third waits for the first that is free."""
    clock, engine, batcher = made(takes_s=1.0, lanes=2)
    tasks = [ask(batcher, item) for item in range(0, 18, 2)]
    await settle()
    assert len(engine.batches) == 2
    await clock.advance(1.0)
    assert len(engine.batches) == 3
    await clock.advance(1.0)
    assert [task.result().result for task in tasks] == [item * 2 for item in range(0, 18, 2)]


async def test_one_that_fails_fails_alone() -> None:
    """The others of its batch are answered."""
    _, _, batcher = made()
    two, three, four = await asyncio.gather(*[ask(batcher, item) for item in (2, 3, 4)], return_exceptions=True)
    assert isinstance(three, ValueError)
    assert isinstance(two, Batched)
    assert isinstance(four, Batched)


async def test_a_cancelled_call_is_never_computed_and_the_others_are() -> None:
    """It leaves the line; its place in the batch is free."""
    clock, engine, batcher = made()
    gone, stays = ask(batcher, 2), ask(batcher, 4)
    await settle()
    gone.cancel()
    await clock.advance(0.001)
    rest = [ask(batcher, item) for item in (6, 8)]
    await settle()
    assert engine.batches == [[4, 6, 8]]
    assert [(await task).size for task in (stays, *rest)] == [3, 3, 3]


async def test_a_line_that_was_left_by_all_computes_nothing() -> None:
    """The timer that was set for them finds nobody, and the next call waits its own time."""
    clock, engine, batcher = made()
    gone = ask(batcher, 2)
    await settle()
    gone.cancel()
    await clock.advance(0.0019)
    stays = ask(batcher, 4)
    await clock.advance(0.0019)
    assert engine.batches == []
    await clock.advance(0.0002)
    assert engine.batches == [[4]]
    assert (await stays).result == 8


async def test_a_call_that_is_cancelled_while_it_is_computed_leaves_the_others_alone() -> None:
    """Its result is dropped, theirs is not."""
    clock, _, batcher = made(takes_s=1.0)
    gone, stays, third = ask(batcher, 2), ask(batcher, 4), ask(batcher, 6)
    await settle()
    gone.cancel()
    await clock.advance(1.0)
    assert (await stays).result == 8
    assert (await third).result == 12
    assert gone.cancelled()


async def test_a_deadline_lets_its_batch_leave_in_time() -> None:
    """With a wait of a second and batches that take 0.2 s, a call due in 0.5 s is computed from 0.3 s on."""
    clock, engine, batcher = made(takes_s=0.2, rule=BatchRule(4, 1_000_000))
    warm = ask(batcher, 2)
    await clock.advance(1.3)
    assert warm.done()
    hurried = ask(batcher, 4, clock.now() + 0.5)
    patient = ask(batcher, 6)
    await clock.advance(0.29)
    assert engine.batches == [[2]]
    await clock.advance(0.22)
    assert engine.batches == [[2], [4, 6]]
    assert (await hurried).wait_s == pytest.approx(0.3)
    assert patient.done()


async def test_a_bug_in_computing_is_told_to_every_call_and_ends_nothing() -> None:
    """The lane is free again, and the next batch is answered."""
    _, engine, batcher = made()
    engine.failure = RuntimeError("a bug")
    outcomes = await asyncio.gather(*[ask(batcher, item) for item in (2, 4, 6)], return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["a bug"] * 3
    engine.failure = None
    answers = await asyncio.gather(*[ask(batcher, item) for item in (2, 4, 6)])
    assert [one.result for one in answers] == [4, 8, 12]


async def test_closing_waits_for_the_batch_that_runs() -> None:
    """No engine is let go while it computes."""
    clock, _, batcher = made(takes_s=1.0, rule=BatchRule(2))
    task = ask(batcher, 2)
    await settle()
    closing = asyncio.create_task(batcher.close())
    await clock.advance(0.5)
    assert not closing.done()
    await clock.advance(0.5)
    assert closing.done()
    assert task.done()
