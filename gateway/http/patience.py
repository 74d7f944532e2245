"""How long nothing may happen: a limit on silence, not on duration, so that what flows may last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.errors import DeadlineExceeded


class Patience:
    """One exchange's. `moved` is called for each piece of either body, so it only notes the time."""

    def __init__(self, limit_s: float, clock: Callable[[], float]) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._moved_at = clock()
        self._scope = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    def moved(self) -> None:
        """Something happened."""
        self._moved_at = self._clock()

    def allow(self, limit_s: float) -> None:
        """Another limit from now on, longer or shorter. Within `bounded` alone."""
        self._limit_s = limit_s
        self.moved()
        self._stop()
        self._look()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Ends what it is around after so long a silence. Raises DeadlineExceeded."""
        try:
            async with self._scope:
                self._look()
                yield
        except TimeoutError as error:
            if not self._scope.expired():
                raise
            raise DeadlineExceeded(f"nothing was sent or received for {self._limit_s:g} s") from error
        finally:
            self._stop()

    def _look(self) -> None:
        left_s = self._moved_at + self._limit_s - self._clock()
        loop = asyncio.get_running_loop()
        if left_s > 0:
            self._timer = loop.call_later(left_s, self._look)
        else:
            self._timer = None
            self._scope.reschedule(loop.time())  # now

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
