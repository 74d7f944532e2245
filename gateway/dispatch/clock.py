"""The one way in which dispatch learns the time and asks to be woken: injected, so that tests never sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Takes it back; harmless when it already ran."""


class Clock(Protocol):
    """Monotonic seconds, the same as in `Job.deadline`."""

    def now(self) -> float:
        """Seconds since some fixed moment."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Calls back at `when`, or as soon as possible if that has passed."""


class LoopClock:
    """`time.monotonic` and the running event loop's timers (the loop's own clock may be coarser and offset)."""

    now = staticmethod(time.monotonic)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(max(when - time.monotonic(), 0.0), callback)
