"""The one clock of a run, and waiting for a moment of it.

Event loops wake to the millisecond; a generator whose lag must stay under one needs better. On Linux a timerfd wakes
the loop at the nanosecond asked for, without burning a core; elsewhere the loop's own timer has to do, and the lag
shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from types import TracebackType
from typing import Protocol

NS = 1_000_000_000


class Clock(Protocol):
    """Monotonic nanoseconds."""

    def now_ns(self) -> int:
        """The time."""

    async def wait_until_ns(self, when_ns: int) -> None:
        """Returns at that time or after; at once, but after a turn of the loop, when it is over."""


class SystemClock:
    """CLOCK_MONOTONIC. Use as a context manager inside the loop; one waiter at a time."""

    def __init__(self) -> None:
        self._fd = -1
        self._woken: asyncio.Future[None] | None = None

    def __enter__(self) -> SystemClock:
        if sys.platform == "linux":
            self._fd = _timerfd_create()
            asyncio.get_running_loop().add_reader(self._fd, self._wake)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def now_ns(self) -> int:
        """The time."""
        return time.monotonic_ns()

    async def wait_until_ns(self, when_ns: int) -> None:
        """Returns at that time or after."""
        if when_ns <= time.monotonic_ns():
            await asyncio.sleep(0)  # others get their turn also when we are late
        elif self._fd < 0:
            await asyncio.sleep((when_ns - time.monotonic_ns()) / NS)
        else:
            self._woken = asyncio.get_running_loop().create_future()
            _timerfd_settime(self._fd, when_ns)
            await self._woken

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # set anew since it rang
            os.read(self._fd, 8)
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.timerfd_create is there from Python 3.13 on


def _timerfd_create() -> int:
    fd = int(_LIBC.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    return fd


def _timerfd_settime(fd: int, when_ns: int) -> None:
    spec = _Itimerspec(0, 0, when_ns // NS, when_ns % NS)
    if _LIBC.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
