"""Progress: running percentiles within a bucket's width, at a fixed cost."""

from __future__ import annotations

import asyncio
import io
import math

import pytest
from rich.console import Console

from bench.load.sample import Sample
from bench.report import live
from bench.report.live import Progress, show_progress


def after(latencies_ms: list[float], failed: int = 0) -> Progress:
    progress = Progress()
    for latency in latencies_ms:
        progress.add(Sample(0, 0, t_done_ns=round(latency * 1e6)))
    for _ in range(failed):
        progress.add(Sample(0, 0, t_done_ns=10**10, reason="timeout"))
    return progress


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_running_percentiles_are_near(q: float) -> None:
    """Within 2.3 % of the exact ones: half a bucket."""
    progress = after([float(value) for value in range(1, 1001)])
    assert progress.percentile_ms(q) == pytest.approx(math.ceil(q * 1000), rel=0.023)


def test_failures_are_counted_and_no_latency() -> None:
    """A time-out of 10 s moves no percentile of the answers."""
    progress = after([5.0] * 10, failed=3)
    assert (progress.done, progress.failed) == (13, 3)
    assert progress.percentile_ms(0.99) == pytest.approx(5, rel=0.023)


def test_before_the_first_answer() -> None:
    """A dash, and no exception."""
    assert Progress().percentile_ms(0.5) is None
    assert "p50 -  p99 -" in after([], failed=1).line(1.5, 2)


@pytest.mark.parametrize("latency_ms", [0.0, -1.0, 1e12])
def test_latencies_beyond_the_buckets(latency_ms: float) -> None:
    """Land in the first or the last of them."""
    assert after([latency_ms]).percentile_ms(0.5) is not None


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_shown_as_lines_or_in_place(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on a terminal each state is a line of its own."""
    turns = 3

    async def skip(_seconds: float) -> None:
        nonlocal turns
        turns -= 1
        if turns < 0:
            raise asyncio.CancelledError

    monkeypatch.setattr(live.asyncio, "sleep", skip)
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    with pytest.raises(asyncio.CancelledError):
        await show_progress(console, after([5.0]), lambda: 7, lambda: 1.0)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "1 done  0 failed  7 in flight  p50 5" in text
    assert ("\x1b" in text) is is_terminal
    if not is_terminal:
        assert len(text.splitlines()) == 3
