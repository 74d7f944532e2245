"""The pump: who wakes whom, every way in which it ends, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.memory_channel import MemoryChannel, memory_channels, run_jumping
from tests.support.session_pair import HELLO
from wire import events
from wire.codec import decode, encode
from wire.errors import CloseCode, ExchangeCode
from wire.events import Event
from wire.frames import Cancel, GoAway, Load, RequestHead, ResponseHead
from wire.limits import KIB, Limits
from wire.pump import Pump
from wire.session import Role, Session, State

POST = RequestHead("POST", "/")


class End:
    """One end: a session, its pump, and all that the pump told."""

    def __init__(self, role: Role, channel: MemoryChannel) -> None:
        self.loop = asyncio.get_running_loop()
        self.channel = channel
        self.session = Session(role, Limits(), self.loop.time())
        self.told: list[Event] = []
        self.react: Callable[[Event], None] = lambda event: None
        self.pump = Pump(self.session, channel, self._on_event, self.loop.time)
        self._news = asyncio.Event()

    def _on_event(self, event: Event) -> None:
        self.told.append(event)
        self.react(event)
        if isinstance(event, events.HelloReceived):
            self.session.welcome("s", "g", 0)
            self.pump.wake()
        self._news.set()

    async def wait_told(self, kind: type[Event]) -> Event:
        while not (found := [event for event in self.told if isinstance(event, kind)]):
            self._news.clear()
            await self._news.wait()
        return found[-1]


class Tunnel:
    """Two ends over a memory channel, their pumps running."""

    def __init__(self, room: int = 16) -> None:
        gateway, worker = memory_channels(room)
        self.gateway, self.worker = End(Role.GATEWAY, gateway), End(Role.WORKER, worker)
        self.worker.session.hello(HELLO)
        self.runs = [asyncio.create_task(end.pump.run()) for end in (self.gateway, self.worker)]

    async def opened(self) -> Tunnel:
        await self.worker.wait_told(events.WelcomeReceived)
        return self

    async def ended(self) -> tuple[events.SessionEnded, events.SessionEnded]:
        gateway, worker = await asyncio.gather(*self.runs)
        for end in (self.gateway, self.worker):
            assert end.channel.closes == 1
            assert isinstance(end.told[-1], events.SessionEnded)
            assert sum(isinstance(event, events.SessionEnded) for event in end.told) == 1
        return gateway, worker


def test_an_exchange_goes_through_as_soon_as_it_is_given() -> None:
    """`wake` is all that the owner says; nothing waits for a timer."""

    async def main() -> None:
        tunnel = await Tunnel().opened()
        gateway, worker = tunnel.gateway, tunnel.worker

        def answer(event: Event) -> None:
            if isinstance(event, events.BodyEnded):
                worker.session.respond(event.exchange, ResponseHead(200))
                worker.session.send_body(event.exchange, b"seven", end=True)
                worker.pump.wake()

        worker.react = answer
        began = gateway.loop.time()
        number = gateway.session.open_exchange(POST, began)
        gateway.session.send_body(number, b"picture", end=True)
        gateway.pump.wake()
        await gateway.wait_told(events.BodyEnded)
        assert gateway.loop.time() == began
        assert events.BodyReceived(number, b"seven") in gateway.told
        gateway.session.close(CloseCode.SHUTTING_DOWN, "done")
        gateway.pump.wake()
        await tunnel.ended()

    run_jumping(main)


def test_heartbeats_go_on_for_an_hour() -> None:
    """The timer is armed anew each time."""

    async def main() -> None:
        tunnel = await Tunnel().opened()
        await asyncio.sleep(3600)  # of a clock that jumps
        assert len([event for event in tunnel.gateway.told if isinstance(event, events.RoundTripMeasured)]) >= 1800
        tunnel.worker.session.close(CloseCode.SHUTTING_DOWN, "done")
        tunnel.worker.pump.wake()
        await tunnel.ended()

    run_jumping(main)


def test_a_goaway_ends_both_pumps_and_closes_with_its_code() -> None:
    """The peer hears code and text, at once; the WebSocket says 4000 + code."""

    async def main() -> None:
        tunnel = await Tunnel().opened()
        began = tunnel.gateway.loop.time()
        tunnel.gateway.session.close(CloseCode.SUPERSEDED, "a newer one came")
        tunnel.gateway.pump.wake()
        gateway, worker = await tunnel.ended()
        assert tunnel.gateway.loop.time() == began
        assert gateway == events.SessionEnded(CloseCode.SUPERSEDED, "a newer one came", by_peer=False)
        assert worker == events.SessionEnded(CloseCode.SUPERSEDED, "a newer one came", by_peer=True)
        assert tunnel.gateway.channel.closed_with == (4002, "a newer one came")

    run_jumping(main)


def test_a_closed_channel_ends_both_pumps() -> None:
    """Each owner hears how the connection went."""

    async def main() -> None:
        tunnel = await Tunnel().opened()
        await tunnel.gateway.channel.break_off("connection reset")
        gateway, worker = await tunnel.ended()
        assert gateway == worker == events.SessionEnded(CloseCode.PEER_LOST, "connection reset", by_peer=True)

    run_jumping(main)


def test_cancelling_ends_the_session_and_closes_the_channel() -> None:
    """The owner still hears the last event; no goodbye is written."""

    async def main() -> None:
        tunnel = await Tunnel().opened()
        await asyncio.sleep(11)
        written = len(tunnel.gateway.channel.written)
        tunnel.runs[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tunnel.runs[0]
        assert tunnel.gateway.told[-1] == events.SessionEnded(CloseCode.INTERNAL, "the pump was stopped", by_peer=False)
        assert tunnel.gateway.channel.closed_with == (4008, "the pump was stopped")
        assert len(tunnel.gateway.channel.written) == written
        tunnel.gateway.pump.wake()  # a late call arms no timer
        ended = await tunnel.runs[1]
        assert ended.code is CloseCode.PEER_LOST

    run_jumping(main)


def test_a_bug_in_the_owner_ends_the_pump_and_closes_the_channel() -> None:
    """What the callback raises comes out of `run`; the peer is not left hanging."""

    async def main() -> None:
        tunnel = await Tunnel().opened()

        def fail(event: Event) -> None:
            if isinstance(event, events.RequestReceived):
                raise ZeroDivisionError

        tunnel.worker.react = fail
        tunnel.gateway.session.open_exchange(POST, 0.0)
        tunnel.gateway.pump.wake()
        with pytest.raises(ZeroDivisionError):
            await tunnel.runs[1]
        assert tunnel.worker.channel.closes == 1
        assert (await tunnel.runs[0]).code is CloseCode.PEER_LOST

    run_jumping(main)


def test_a_lost_peer_ends_the_pump_even_when_the_transport_is_full() -> None:
    """A send that will never end does not keep a dead tunnel alive: one second for the goodbye, then it is closed."""

    async def main() -> None:
        tunnel = await Tunnel(room=2).opened()
        gateway = tunnel.gateway
        await asyncio.sleep(11)
        tunnel.worker.session._silence_s = 3600.0  # it does not help by hanging up
        for channel in (gateway.channel, tunnel.worker.channel):
            await channel.cut()
        for _ in range(8):
            gateway.session.open_exchange(POST, gateway.loop.time())
        gateway.pump.wake()
        cut_at = gateway.loop.time()
        ended = await tunnel.runs[0]
        assert ended == events.SessionEnded(CloseCode.PEER_LOST, "nothing heard for 6.0 s", by_peer=False)
        assert gateway.loop.time() - cut_at <= 6.0 + 1.0
        await tunnel.worker.channel.cut(False)
        await tunnel.runs[1]

    run_jumping(main)


def test_control_goes_first_when_a_full_transport_takes_more() -> None:
    """A CANCEL given while a body waits for a full transport is the next thing written."""

    async def main() -> None:
        tunnel = await Tunnel(room=2).opened()
        gateway = tunnel.gateway
        await asyncio.sleep(1)
        await tunnel.worker.channel.cut()
        other = gateway.session.open_exchange(POST, gateway.loop.time(), end=True)
        number = gateway.session.open_exchange(POST, gateway.loop.time())
        gateway.session.send_body(number, bytes(30 * KIB), end=True)
        gateway.pump.wake()
        await asyncio.sleep(0.5)
        blocked_at = len(gateway.channel.written)
        gateway.session.cancel(other, ExchangeCode.CANCELLED, "client left")
        gateway.pump.wake()
        await tunnel.worker.channel.cut(False)
        await tunnel.worker.wait_told(events.ExchangeCancelled)
        assert decode(gateway.channel.written[blocked_at]) == Cancel(other, ExchangeCode.CANCELLED, "client left")
        gateway.session.close(CloseCode.SHUTTING_DOWN, "done")
        gateway.pump.wake()
        await tunnel.ended()

    run_jumping(main)


def test_events_stay_in_order_when_the_owner_acts_on_them() -> None:
    """A `wake` from inside the callback does not overtake what is still to be told: SessionEnded comes last."""

    async def main() -> None:
        tunnel = await Tunnel().opened()
        gateway, worker = tunnel.gateway, tunnel.worker

        def leave(event: Event) -> None:
            if isinstance(event, events.RequestReceived):
                worker.session.close(CloseCode.INTERNAL, "at the first sight of work")
                worker.pump.wake()

        worker.react = leave
        number = gateway.session.open_exchange(POST, gateway.loop.time())
        gateway.session.send_body(number, b"body", end=True)
        gateway.pump.wake()
        await tunnel.ended()
        last = [type(event) for event in worker.told[-4:]]
        assert last == [events.RequestReceived, events.BodyReceived, events.BodyEnded, events.SessionEnded]

    run_jumping(main)


class Stalled:
    """A session's clock that a stopped process finds far ahead when it goes on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.loop = asyncio.get_running_loop()

    def __call__(self) -> float:
        return self.loop.time() + self.ahead_s


async def stalled_gateway() -> tuple[MemoryChannel, Session, Pump, Stalled, list[Event], asyncio.Task[object]]:
    near, far = memory_channels(room=4096)
    clock = Stalled()
    session, told = Session(Role.GATEWAY, Limits(), clock()), list[Event]()
    pump = Pump(session, near, told.append, clock)
    run = asyncio.create_task(pump.run())
    worker = Session(Role.WORKER, Limits(), clock())
    worker.hello(HELLO)
    message = worker.next_message(0.0)
    assert message
    far.send(message)
    await asyncio.sleep(0.1)
    session.welcome("s", "g", 0)
    pump.wake()
    await asyncio.sleep(0.1)
    return far, session, pump, clock, told, run


async def finish(session: Session, pump: Pump, run: asyncio.Task[object]) -> None:
    session.close(CloseCode.SHUTTING_DOWN, "done")
    pump.wake()
    await run


def test_a_process_that_was_stopped_reads_before_it_judges() -> None:
    """After ten seconds in which it did not run, what the peer sent meanwhile counts, and the tunnel lives."""

    async def main() -> None:
        far, session, pump, clock, _, run = await stalled_gateway()
        clock.ahead_s = 10.0
        while not pump._is_grace:
            await asyncio.sleep(0.05)
        far.send(encode(Load(0, 0)))  # lay in the socket while the process did not run
        await asyncio.sleep(5.0)
        assert session.state is State.OPEN
        await finish(session, pump, run)

    run_jumping(main)


def test_an_owner_that_wakes_it_often_does_not_put_off_a_late_timer() -> None:
    """After a stall the grace ends once, however often the owner has something to send in the meantime."""

    async def main() -> None:
        _, session, pump, clock, told, run = await stalled_gateway()
        clock.ahead_s = 10.0
        for _ in range(100):
            pump.wake()
            await asyncio.sleep(0.05)
        (ended,) = [event for event in told if isinstance(event, events.SessionEnded)]
        assert ended.code is CloseCode.PEER_LOST
        await finish(session, pump, run)

    run_jumping(main)


def test_the_last_message_is_goaway() -> None:
    """After a protocol error the peer is told which, before the channel is closed."""

    async def main() -> None:
        near, far = memory_channels()
        session = Session(Role.GATEWAY, Limits(), asyncio.get_running_loop().time())
        run = asyncio.create_task(Pump(session, near, lambda event: None, asyncio.get_running_loop().time).run())
        far.send(b"\x7f\0\0\0\0\0")
        ended = await run
        assert ended == events.SessionEnded(CloseCode.PROTOCOL_ERROR, "unknown frame type 0x7f", by_peer=False)
        assert decode(await far.receive()) == GoAway(CloseCode.PROTOCOL_ERROR, "unknown frame type 0x7f")
        assert near.closed_with == (4004, "unknown frame type 0x7f")

    run_jumping(main)
