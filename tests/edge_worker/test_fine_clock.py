"""Timers on a thread: in order, cancelled in time, and ended."""

from __future__ import annotations

import asyncio
import time

from edge_worker.fine_clock import FineClock


async def test_callbacks_run_on_the_loop_in_the_order_of_their_times() -> None:
    """Not before their time, and whichever was asked for first."""
    clock = FineClock(asyncio.get_running_loop())
    ran: list[str] = []
    last = asyncio.Event()
    now = clock.now()
    clock.call_at(now + 0.004, lambda: (ran.append("second"), last.set()))
    clock.call_at(now + 0.002, lambda: ran.append("first"))
    clock.call_at(now - 1.0, lambda: ran.append("at once"))
    await asyncio.wait_for(last.wait(), 30)
    assert ran == ["at once", "first", "second"]
    assert clock.now() >= now + 0.004
    clock.close()


async def test_a_cancelled_timer_never_runs() -> None:
    """Not even when its time had come before it was cancelled: both happen on the loop."""
    clock = FineClock(asyncio.get_running_loop())
    ran: list[str] = []
    last = asyncio.Event()
    due = clock.call_at(clock.now() - 1.0, lambda: ran.append("cancelled"))
    due.cancel()
    clock.call_at(clock.now() + 0.001, last.set)
    await asyncio.wait_for(last.wait(), 30)
    assert ran == []
    clock.close()


async def test_its_thread_ends_with_it() -> None:
    """Whatever is still to come."""
    clock = FineClock(asyncio.get_running_loop())
    clock.call_at(time.monotonic() + 3600, lambda: None)
    clock.close()
    assert not clock._thread.is_alive()
