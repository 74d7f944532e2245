"""Two Channels joined in memory, and an event loop whose clock jumps to the next timer instead of waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from wire.channel import Channel, ChannelClosed

T = TypeVar("T")


class MemoryChannel(Channel):
    """One end. `room` messages fit between the two ends; a `send` beyond waits until the peer has received one."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._arrived: deque[bytes] = deque()
        self._changed = asyncio.Condition()
        self._end: str | None = None
        self._is_cut = False
        self.peer: MemoryChannel = self
        self.closed_with: tuple[int, str] | None = None
        self.closes = 0
        self.written: list[bytes] = []

    async def send(self, message: bytes) -> None:
        """See Channel. What a cut end sends arrives nowhere, and soon does not fit either."""
        peer = self.peer
        async with peer._changed:
            await peer._changed.wait_for(lambda: self._end is not None or len(peer._arrived) < self._room)
            if self._end is not None:
                raise ChannelClosed(self._end)
            self.written.append(message)
            peer._arrived.append(message)
            peer._changed.notify_all()

    async def receive(self) -> bytes:
        """See Channel. What arrived before the end is received first."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_cut and (bool(self._arrived) or self._end is not None))
            if not self._arrived:
                raise ChannelClosed(self._end or "")
            message = self._arrived.popleft()
            self._changed.notify_all()
            return message

    async def close(self, code: int, reason: str) -> None:
        """See Channel. Never waits for the peer."""
        self.closes += 1
        self.closed_with = self.closed_with or (code, reason)
        await self.break_off(f"closed with {code}: {reason}")

    async def break_off(self, text: str) -> None:
        """The connection goes away under both ends."""
        for end in (self, self.peer):
            async with end._changed:
                end._end = end._end or text
                end._changed.notify_all()

    async def cut(self, is_cut: bool = True) -> None:
        """This end receives nothing any more, as behind an unplugged cable; or all of it, when plugged in again."""
        async with self._changed:
            self._is_cut = is_cut
            self._changed.notify_all()


def memory_channels(room: int = 16) -> tuple[MemoryChannel, MemoryChannel]:
    """Two ends, joined. `room`: messages on the way each way."""
    one, other = MemoryChannel(room), MemoryChannel(room)
    one.peer, other.peer = other, one
    return one, other


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: says how long it was asked to."""

    def __init__(self, passed: Callable[[float], None]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and no timer will ever wake it"
            self._passed(timeout)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """When nothing can run, its time is the next timer's at once. An hour takes milliseconds; a deadlock fails."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_JumpingSelector(self._pass))

    def time(self) -> float:
        """Seconds of this loop's own time."""
        return self.now

    def _pass(self, seconds: float) -> None:
        self.now += seconds


def run_jumping(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs `main()` in a JumpingLoop, and asserts that it left no task and no timer behind."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        result = runner.run(main())
        loop = runner.get_loop()
        assert not asyncio.all_tasks(loop)
        assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        return result
