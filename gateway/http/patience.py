"""How long nothing may happen: a limit on silence, not on duration, so that what flows may last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.errors import DeadlineExceeded


class Patience:
    """One exchange's. `moved` is called for each piece of either body, so it only notes the time."""

    def __init__(self, limit_s: float, clock: Callable[[], float]) -> None:
        self.limit_s = limit_s
        """Seconds of silence that end it; may be changed on the way."""
        self._clock = clock
        self._moved_at = clock()
        self._timer: asyncio.TimerHandle | None = None

    def moved(self) -> None:
        """Something happened."""
        self._moved_at = self._clock()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Ends what it is around after so long a silence. Raises DeadlineExceeded."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._look(scope)
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeadlineExceeded(f"nothing was sent or received for {self.limit_s:g} s") from error
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _look(self, scope: asyncio.Timeout) -> None:
        left_s = self._moved_at + self.limit_s - self._clock()
        loop = asyncio.get_running_loop()
        if left_s > 0:
            self._timer = loop.call_later(left_s, self._look, scope)
        else:
            self._timer = None
            scope.reschedule(loop.time())  # now
