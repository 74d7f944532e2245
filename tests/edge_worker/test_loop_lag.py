"""How late the event loop was, from sleeps whose lateness the test chose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from edge_worker.loop_lag import KEPT, LoopLag


async def lag_of(late_s: Sequence[float]) -> LoopLag:
    """What was seen of a loop that wakes a sleeper so many seconds too late, one after the other."""
    now = 100.0
    left = iter(late_s)

    async def sleep(seconds: float) -> None:
        nonlocal now
        late = next(left, None)
        if late is None:
            raise asyncio.CancelledError
        now += seconds + late

    lag = LoopLag(lambda: now, sleep)
    with pytest.raises(asyncio.CancelledError):
        await lag.run()
    return lag


async def test_nothing_was_late_before_the_first_look() -> None:
    """No number is made up."""
    assert (await lag_of([])).percentile_ms(99) == 0.0


async def test_percentiles_are_of_the_lateness() -> None:
    """Of a hundred looks the 99th, and the last; a sleep that ended early was not late."""
    lag = await lag_of([0.001] * 98 + [0.004, 0.25])
    assert (lag.percentile_ms(50), lag.percentile_ms(99), lag.percentile_ms(100)) == (1.0, 4.0, 250.0)
    assert (await lag_of([-0.01])).percentile_ms(100) == 0.0


async def test_what_is_long_past_is_forgotten() -> None:
    """A minute is kept, no more."""
    lag = await lag_of([0.5] + [0.002] * KEPT)
    assert lag.percentile_ms(100) == 2.0
