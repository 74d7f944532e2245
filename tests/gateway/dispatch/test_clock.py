"""The clock of production."""

from __future__ import annotations

import time

from gateway.dispatch.clock import LoopClock
from tests.support.fake_clock import settle


async def test_loop_clock() -> None:
    """A call whose time has passed comes with the next turns of the loop, a cancelled or later one does not."""
    clock, called = LoopClock(), []
    assert abs(clock.now() - time.monotonic()) < 60
    clock.call_at(clock.now() - 1, lambda: called.append("past"))
    clock.call_at(clock.now() - 1, lambda: called.append("cancelled")).cancel()
    later = clock.call_at(clock.now() + 3600, lambda: called.append("later"))
    await settle()
    assert called == ["past"]
    later.cancel()
