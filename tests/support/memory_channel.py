"""Two Channels joined in memory, and an event loop whose clock jumps to the next timer instead of waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from wire.channel import Channel, ChannelClosed, Receiver

T = TypeVar("T")


class MemoryChannel(Channel):
    """One end. `room` messages fit between the two ends; it is full with as many, until the peer has received one. A
    test without a receiver takes them with `receive`."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[bytes] = deque()
        self._receiver: Receiver | None = None
        self._news = asyncio.Event()
        self._end: str | None = None
        self._is_cut = False
        self._was_full = False
        self._is_told = False
        self.peer: MemoryChannel = self
        self.closed_with: tuple[int, str] | None = None
        self.closes = 0
        self.written: list[bytes] = []

    def attach(self, receiver: Receiver) -> None:
        """See Channel."""
        self._receiver = receiver
        self._loop.call_soon(self._pass)

    def send(self, message: bytes) -> bool:
        """See Channel. What a cut end sends arrives nowhere, and soon does not fit either."""
        if self._end is not None:
            raise ChannelClosed(self._end)
        self.written.append(message)
        self.peer._arrived.append(message)
        self._loop.call_soon(self.peer._pass)
        self._was_full = len(self.peer._arrived) >= self._room
        return not self._was_full

    def _pass(self) -> None:
        """What arrived before the end is received first."""
        self._news.set()
        while self._receiver is not None and not self._is_cut and self._arrived:
            self._receiver.message_received(self._take())
        if self._receiver is not None and not self._is_cut and self._end is not None and not self._is_told:
            self._is_told = True
            self._receiver.channel_closed(ChannelClosed(self._end))

    def _take(self) -> bytes:
        message, sender = self._arrived.popleft(), self.peer
        if sender._was_full and sender._receiver is not None:
            sender._was_full = False
            self._loop.call_soon(sender._receiver.room_made)
        return message

    async def receive(self) -> bytes:
        """The next message, for a test that plays this end by hand. Raises ChannelClosed."""
        while not self._arrived:
            if self._end is not None:
                raise ChannelClosed(self._end)
            self._news.clear()
            await self._news.wait()
        return self._take()

    async def close(self, code: int, reason: str) -> None:
        """See Channel. Never waits for the peer."""
        self.closes += 1
        self.closed_with = self.closed_with or (code, reason)
        await self.break_off(f"closed with {code}: {reason}")

    async def break_off(self, text: str) -> None:
        """The connection goes away under both ends."""
        for end in (self, self.peer):
            end._end = end._end or text
            self._loop.call_soon(end._pass)

    async def cut(self, is_cut: bool = True) -> None:
        """This end receives nothing any more, as behind an unplugged cable; or all of it, when plugged in again."""
        self._is_cut = is_cut
        self._loop.call_soon(self._pass)


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
