"""The waiting that the rules leave out: moves messages between a Session and a Channel, and calls `tick` in time.

The only file of `wire` that awaits. It decides nothing; the owner sees every event, in order, in one callback.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .channel import Channel, ChannelClosed
from .errors import CloseCode
from .events import Event, SessionEnded
from .session import Session, State

LATE_TIMER_S = 0.5
"""A timer this late means that this process did not run (a stopped process, a sleeping machine): what the peer sent in
the meantime is read first, before its silence is judged."""


class Pump:
    """Runs one session over one channel until either ends."""

    def __init__(
        self,
        session: Session,
        channel: Channel,
        on_event: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._channel = channel
        self._on_event = on_event
        self._clock = clock  # not the loop's: uvloop's has a resolution of 1 ms
        self._loop = asyncio.get_running_loop()
        self._output = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._ended = SessionEnded(CloseCode.INTERNAL, "the pump was stopped", by_peer=False)

    def wake(self) -> None:
        """Call after any change of the session from outside: there may be something to write or to wait for."""
        self._deliver()
        if self._session.has_output or self._session.state is State.ENDED:
            self._output.set()
        self._arm()

    async def run(self) -> SessionEnded:
        """Returns how it ended. Cancelling it closes the channel without a goodbye."""
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read())
                self.wake()
                await self._write()
                await self._channel.close(self._ended.code.websocket, self._ended.text)
                reader.cancel()
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return self._ended

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                self._session.receive(message, self._clock())
                self.wake()
        except ChannelClosed as closed:
            self._session.channel_closed(str(closed))
            self.wake()

    async def _write(self) -> None:
        try:
            while True:
                message = self._session.next_message(self._clock())
                self._deliver()
                if message is not None:
                    await self._channel.send(message)
                elif self._session.state is State.ENDED:
                    return
                else:
                    self._output.clear()
                    await self._output.wait()  # set by `wake`, which the reader, the timer and the owner call
        except ChannelClosed as closed:
            self._session.channel_closed(str(closed))
            self._deliver()

    def _deliver(self) -> None:
        for event in self._session.take_events():
            if isinstance(event, SessionEnded):
                self._ended = event
            self._on_event(event)

    def _arm(self) -> None:
        due = self._session.next_tick()
        if self._timer is not None:
            if due is not None and self._timer_due <= due:
                return  # it will look again then
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer_due = due
            self._timer = self._loop.call_later(max(0.0, due - self._clock()), self._on_timer)

    def _on_timer(self, was_late: bool = False) -> None:
        now = self._clock()
        if now - self._timer_due > LATE_TIMER_S and not was_late:
            self._timer = self._loop.call_later(LATE_TIMER_S / 4, self._on_timer, True)
            return
        self._timer = None
        self._session.tick(now)
        self.wake()
