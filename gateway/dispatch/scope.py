"""A stretch of one task that another may end: `asyncio.timeout` without a time of its own, since dispatch has a clock.

Entered and left without a coroutine, as every exchange does once. It tells its own cancellation from any other by the
count of requests, as `asyncio.timeout` does (`Task.uncancel`).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Scope:
    """Raises TimeoutError at its end when `expire` ended it, and nothing else cancelled the task."""

    __slots__ = ("_cancelling", "_loop", "_task", "is_expired")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`loop`: the running one, from who knows it: before Python 3.12 each look-up of it is a system call."""
        self._loop = loop
        self._task: asyncio.Task[object] | None = None
        """Who is inside."""
        self._cancelling = 0
        self.is_expired = False
        """Whether the task was cancelled by `expire`."""

    def __enter__(self) -> Self:
        task = self._task = asyncio.current_task(self._loop)
        assert task is not None, "nobody could be told"
        self._cancelling = task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        is_ours = self.is_expired and task is not None and task.uncancel() <= self._cancelling
        if is_ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Ends it once the task has had its turn, if what it waits for is here; nothing happens if it has left then."""
        asyncio.get_running_loop().call_soon(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self.is_expired = True
            self._task.cancel()
