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
from .frames import Buffer
from .session import Session, State

LATE_TIMER_S = 0.5
"""A timer this late means that this process did not run (a stopped process, a sleeping machine): what the peer sent in
the meantime is read first, before its silence is judged."""

GOODBYE_S = 1.0
"""Seconds that the last messages may take when the session has ended: a peer that is lost reads nothing any more."""


class Pump:
    """Runs one session over one channel until either ends; the channel's Receiver.

    What the owner gives is written where it is given; what comes is answered at the end of the event loop's turn, one
    ACK for all of it. A gateway has thousands that idle: no task beside the caller's own.
    """

    __slots__ = (
        "_armed_in",
        "_channel",
        "_clock",
        "_ended",
        "_goodbye",
        "_is_delivering",
        "_is_full",
        "_is_grace",
        "_loop",
        "_on_event",
        "_over",
        "_session",
        "_timer",
        "_timer_due",
        "_turn",
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
        self._over: asyncio.Future[None] | None = None  # while `run` waits
        self._is_full = True  # until `run` attaches the channel
        self._turn: asyncio.Handle | None = None  # at whose end what came is answered
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._armed_in: State | None = None
        self._goodbye: asyncio.TimerHandle | None = None
        self._is_grace = False
        self._is_delivering = False
        self._ended = SessionEnded(CloseCode.INTERNAL, "the pump was stopped", by_peer=False)

    def wake(self) -> None:
        """Call after any change of the session from outside: there may be something to write or to wait for."""
        if not self._is_delivering:  # else whoever delivers goes on with what the owner's callback did
            self._deliver()
            self._write()
            self._arm()

    async def run(self) -> SessionEnded:
        """Returns how it ended. Cancelling it ends the session and closes the channel without a goodbye."""
        self._over = self._loop.create_future()
        try:
            self._is_full = False
            self._channel.attach(self)
            self.wake()
            await self._over  # the session always ends: by itself, its peer, its silence, or its owner
        finally:
            self._is_full = True  # writes no more
            try:
                self._session.close(CloseCode.INTERNAL, "the pump was stopped")
                self.wake()  # the owner hears of the end; the timer is stopped
            finally:
                for handle in (self._turn, self._goodbye):
                    if handle is not None:
                        handle.cancel()
                await self._channel.close(self._ended.code.websocket, self._ended.text)
        return self._ended

    # --- told by the channel ------------------------------------------------------------------------------------------

    def message_received(self, message: Buffer) -> None:
        """See Receiver."""
        try:
            self._session.receive(message, self._clock())
            self._deliver()
        except Exception as error:  # a bug, the owner's or ours: `run` raises it
            self._stop(error)
        if self._turn is None and (self._session.has_output or self._session.state is not self._armed_in):
            self._turn = self._loop.call_soon(self._end_turn)

    def room_made(self) -> None:
        """See Receiver."""
        if self._over is not None and not self._over.done():
            self._is_full = False
            self._end_turn()

    def channel_closed(self, error: ChannelClosed | RemoteProtocolError) -> None:
        """See Receiver."""
        if isinstance(error, RemoteProtocolError):  # what came was no message of ours
            self._session.close(error.code, str(error))
        else:
            self._session.channel_closed(str(error))
        self._end_turn()

    def _end_turn(self) -> None:
        self._turn = None
        try:
            self.wake()
        except Exception as error:  # as in `message_received`
            self._stop(error)

    # --- moving -------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        session = self._session
        try:
            while not self._is_full and (message := session.next_message(self._clock())) is not None:
                self._deliver()  # BodySent asks for the next of a body before it is missed
                self._is_full = not self._channel.send(message)
        except ChannelClosed as closed:
            session.channel_closed(str(closed))
            self._deliver()
        if session.state is State.ENDED and not self._is_full:  # all is said
            self._stop()

    def _stop(self, error: Exception | None = None) -> None:
        if self._over is not None and not self._over.done():
            if error is None:
                self._over.set_result(None)
            else:
                self._over.set_exception(error)

    def _deliver(self) -> None:
        # While delivering, the owner called `wake` from its callback: the loop below goes on in order.
        session = self._session
        if self._is_delivering or not session.events:
            return
        self._is_delivering = True
        try:
            while session.events:
                for event in session.take_events():
                    if isinstance(event, SessionEnded):
                        self._ended = event
                        self._goodbye = self._loop.call_later(GOODBYE_S, self._stop)
                    self._on_event(event)
        finally:
            self._is_delivering = False

    def _arm(self) -> None:
        state = self._session.state
        if self._timer is not None:
            if state is self._armed_in:  # in one state `next_tick` only moves away: the timer will look again
                return
            self._timer.cancel()
            self._timer = None
        self._armed_in = state
        due = self._session.next_tick()
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
        self._end_turn()
