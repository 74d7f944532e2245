"""Progress while a run goes on: running percentiles and errors, redrawn in place on a terminal, as lines elsewhere.

It runs in the generator's loop, so it must cost less than the lag that it would be blamed for: percentiles come from a
histogram of fixed size, and one line is drawn twice a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.load.sample import Sample

REDRAW_S = 0.5
LINE_S = 5.0
"""Between lines where there is no terminal: a log of ten minutes stays readable."""
STEPS_PER_DOUBLING = 16
"""Buckets of the histogram: 4.4 % wide. The table at the end is exact."""
BUCKETS = 40 * STEPS_PER_DOUBLING
"""From a nanosecond to some 18 minutes."""


class Progress:
    """Counts samples and says how things stand. Warm-up included: it is to show that something happens."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self._buckets = [0] * BUCKETS

    def add(self, sample: Sample) -> None:
        """One request is over."""
        self.done += 1
        if sample.reason:
            self.failed += 1
            return
        bucket = int(math.log2(max(1, sample.t_done_ns - sample.t_int_ns)) * STEPS_PER_DOUBLING)
        self._buckets[min(BUCKETS - 1, bucket)] += 1

    def percentile_ms(self, q: float) -> float | None:
        """The middle of the bucket that holds it; None without a success."""
        rank, seen = math.ceil(q * (self.done - self.failed)), 0
        for bucket, count in enumerate(self._buckets):
            seen += count
            if count and seen >= rank:
                return float(2 ** ((bucket + 0.5) / STEPS_PER_DOUBLING) / 1e6)
        return None

    def line(self, elapsed_s: float, in_flight: int) -> str:
        """Such as `12.5 s  1250 done  0 failed  3 in flight  p50 4.1 ms  p99 9.8 ms`."""
        text = f"{elapsed_s:7.1f} s  {self.done} done  {self.failed} failed  {in_flight} in flight"
        for name, q in (("p50", 0.5), ("p99", 0.99)):
            value = self.percentile_ms(q)
            text += f"  {name} {'-' if value is None else f'{value:.3g} ms'}"
        return text


async def show_progress(
    console: Console, progress: Progress, in_flight: Callable[[], int], now_s: Callable[[], float]
) -> None:
    """Until cancelled, which is how it ends."""
    began_s = now_s()

    def line() -> Text:
        return Text(progress.line(now_s() - began_s, in_flight()), style="red" if progress.failed else "")

    if console.is_terminal:
        with Live(line(), console=console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(REDRAW_S)
                live.update(line(), refresh=True)
    while True:
        await asyncio.sleep(LINE_S)
        with contextlib.suppress(BrokenPipeError):  # whoever read the lines has left: the samples still count
            console.print(line(), soft_wrap=True)
