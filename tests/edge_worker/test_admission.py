"""Slots and the line behind them."""

from __future__ import annotations

import asyncio

import pytest

from edge_worker.admission import Admission, Overloaded
from tests.support.fake_clock import settle


async def hold(admission: Admission, release: asyncio.Event, began: list[int] | None = None, name: int = 0) -> None:
    async with admission:
        if began is not None:
            began.append(name)
        await release.wait()


async def test_as_many_run_as_there_are_slots() -> None:
    """With two slots two calls run and the third waits until one has ended."""
    admission, release = Admission(2), asyncio.Event()
    tasks = [asyncio.create_task(hold(admission, release)) for _ in range(3)]
    await settle()
    assert (admission.running, admission.waiting) == (2, 1)
    release.set()
    await asyncio.gather(*tasks)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_calls_ahead_are_let_through_and_still_wait() -> None:
    """A backend that queues has its next call at hand; it counts as waiting, beside those that wait here."""
    admission, release, began = Admission(1, ahead=1), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(admission, release, began, name)) for name in range(3)]
    await settle()
    assert began == [0, 1]
    assert (admission.running, admission.waiting) == (1, 2)
    release.set()
    await asyncio.gather(*tasks)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_first_come_first_served() -> None:
    """Those who wait get their slot in the order in which they came."""
    admission, release, began = Admission(1), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(admission, release, began, name)) for name in range(4)]
    release.set()
    await asyncio.gather(*tasks)
    assert began == [0, 1, 2, 3]


async def test_a_full_line_refuses() -> None:
    """One more than may wait is refused at once, and a place that comes free is given again."""
    admission, release = Admission(1, max_waiting=1), asyncio.Event()
    tasks = [asyncio.create_task(hold(admission, release)) for _ in range(2)]
    await settle()
    with pytest.raises(Overloaded, match="1 calls are running and 1 are waiting"):
        async with admission:
            pass
    release.set()
    await asyncio.gather(*tasks)
    async with admission:
        assert admission.running == 1


async def test_cancelling_gives_back() -> None:
    """Whoever is cancelled, running or waiting, leaves its slot and its place to the next."""
    admission, release = Admission(1), asyncio.Event()
    running, waiting, last = (asyncio.create_task(hold(admission, release)) for _ in range(3))
    await settle()
    waiting.cancel()
    await settle()
    assert (admission.running, admission.waiting) == (1, 1)
    running.cancel()
    await settle()
    assert (admission.running, admission.waiting) == (1, 0)
    release.set()
    await last
    assert admission.running == 0


async def test_a_failing_call_gives_its_slot_back() -> None:
    """An exception inside leaves the slot free."""
    admission = Admission(1)
    with pytest.raises(KeyError):
        async with admission:
            raise KeyError
    assert admission.running == 0
    async with admission:
        pass
