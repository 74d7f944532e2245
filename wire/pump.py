"""The waiting that the rules leave out: moves messages between a Session and a Channel, and calls `tick` in time.

The only file of `wire` that awaits. It decides nothing; the owner sees every event, in order, in one callback.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .channel import Channel, ChannelClosed
from .errors import CloseCode, RemoteProtocolError
from .events import Event, SessionEnded
from .session import Session, State

LATE_TIMER_S = 0.5
"""A timer this late means that this process did not run (a stopped process, a sleeping machine): what the peer sent in
the meantime is read first, before its silence is judged."""

GOODBYE_S = 1.0
"""Seconds that the last messages may take when the session has ended: a peer that is lost reads nothing any more."""


class Pump:
    """Runs one session over one channel until either ends.

    A gateway has thousands that idle: one task beside the caller's own, and a future only while somebody waits.
    """

    __slots__ = (
        "_channel",
        "_clock",
        "_ended",
        "_is_delivering",
        "_is_grace",
        "_loop",
        "_on_event",
        "_output",
        "_reading",
        "_session",
        "_timer",
        "_timer_due",
    )

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
        self._output: asyncio.Future[None] | None = None  # while the writer waits for something to write
        self._reading: asyncio.Timeout | None = None  # what interrupts the reader
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._is_grace = False
        self._is_delivering = False
        self._ended = SessionEnded(CloseCode.INTERNAL, "the pump was stopped", by_peer=False)

    def wake(self) -> None:
        """Call after any change of the session from outside: there may be something to write or to wait for."""
        self._deliver()
        if self._session.has_output or self._session.state is State.ENDED:
            self._wake_writer()
        self._arm()

    async def run(self) -> SessionEnded:
        """Returns how it ended. Cancelling it ends the session and closes the channel without a goodbye."""
        writer = self._loop.create_task(self._write())
        try:
            try:
                async with asyncio.timeout(None) as self._reading:
                    self.wake()
                    await self._read()  # the session always ends: by itself, its peer, its silence, or its owner
            except TimeoutError:
                pass  # `_stop_reading`
            await asyncio.wait((writer,), timeout=GOODBYE_S)
        finally:
            self._reading = None
            writer.cancel()
            try:
                self._session.close(CloseCode.INTERNAL, "the pump was stopped")
                self.wake()  # the owner hears of the end; the timer is stopped
            finally:
                await asyncio.wait((writer,))
                await self._channel.close(self._ended.code.websocket, self._ended.text)
        if not writer.cancelled():
            writer.result()  # raises what it ended with, if that was a bug
        return self._ended

    async def _read(self) -> None:
        try:
            while True:
                message = await self._channel.receive()
                self._session.receive(message, self._clock())
                self.wake()
        except RemoteProtocolError as error:  # what came was no message of ours
            self._session.close(error.code, str(error))
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
                    self._output = self._loop.create_future()
                    await self._output  # done by `wake`, which the reader, the timer and the owner call
        except ChannelClosed as closed:
            self._session.channel_closed(str(closed))
            self._deliver()
        finally:
            self._stop_reading()

    def _wake_writer(self) -> None:
        if self._output is not None and not self._output.done():
            self._output.set_result(None)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.reschedule(self._loop.time())
            self._reading = None

    def _deliver(self) -> None:
        # While delivering, the owner called `wake` from its callback: the loop below goes on in order.
        if self._is_delivering or not self._session.has_events:
            return
        self._is_delivering = True
        try:
            while events := self._session.take_events():
                for event in events:
                    if isinstance(event, SessionEnded):
                        self._ended = event
                        self._stop_reading()
                    self._on_event(event)
        finally:
            self._is_delivering = False

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

    def _on_timer(self) -> None:
        now = self._clock()
        self._timer = None
        if now - self._timer_due > LATE_TIMER_S and not self._is_grace:
            self._is_grace = True
            self._timer = self._loop.call_later(LATE_TIMER_S / 4, self._on_timer)
            return
        self._is_grace = False
        self._session.tick(now)
        self.wake()
