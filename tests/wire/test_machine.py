"""Two sessions under random use: whatever owners do in whatever order, nothing is lost, doubled, leaked or stuck."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.session_pair import HELLO, SessionPair
from wire import events
from wire.errors import ExchangeCode
from wire.events import Event
from wire.frames import Metadata, RequestHead, ResponseHead
from wire.limits import KIB, Limits
from wire.session import Role, Session, State

LIMITS = Limits(window_bytes=16 * KIB, max_window_bytes=128 * KIB, max_buffered_bytes=256 * KIB, max_exchanges=8)
SIZES = st.sampled_from([0, 1, 1000, 5 * KIB, 40 * KIB, 100 * KIB])
TRAILERS = st.sampled_from([(), (("sum", "1"),)])
OTHER = {Role.GATEWAY: Role.WORKER, Role.WORKER: Role.GATEWAY}


@dataclass
class Body:
    """One body as it was given to one end and as it came out at the other."""

    given: bytearray = field(default_factory=bytearray)
    came: bytearray = field(default_factory=bytearray)
    unconsumed: int = 0
    has_head: bool = False
    given_end: tuple[Metadata] | None = None
    came_end: tuple[Metadata] | None = None


@dataclass
class Told:
    """One exchange: both bodies by who sends them, and how it ended at each end."""

    bodies: dict[Role, Body] = field(default_factory=lambda: {role: Body() for role in Role})
    ends: dict[Role, list[str]] = field(default_factory=lambda: {role: [] for role in Role})


class Tunnel(RuleBasedStateMachine):
    """Rules are what owners may do; time passes between them or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[int, Told] = {}
        self.is_draining = False
        self.stamp = 0

    @initialize(latency_s=st.sampled_from([0.0, 0.001, 0.2]), rate_bytes_s=st.sampled_from([50e3, 1e6, 1e9]))
    def open(self, latency_s: float, rate_bytes_s: float) -> None:
        hello = replace(HELLO, window=LIMITS.window_bytes, max_exchanges=LIMITS.max_exchanges)
        self.pair = SessionPair(latency_s=latency_s, rate_bytes_s=rate_bytes_s, limits=LIMITS, hello=hello)
        self.free_bytes = {role: self.pair.session(role)._budget.free_bytes for role in Role}
        self.pair.on_event = self.on_event

    # --- what comes out -----------------------------------------------------------------------------------------------

    def on_event(self, role: Role, event: Event) -> None:
        match event:
            case events.RequestReceived():
                assert self.told[event.exchange].bodies[Role.GATEWAY].has_head
            case events.ResponseReceived():
                assert self.told[event.exchange].bodies[Role.WORKER].has_head
            case events.BodyReceived():
                body = self.told[event.exchange].bodies[OTHER[role]]
                body.came += event.data
                body.unconsumed += len(event.data)
                assert body.came_end is None
            case events.BodyEnded():
                body = self.told[event.exchange].bodies[OTHER[role]]
                assert body.came_end is None
                body.came_end = (event.trailers,)
                assert body.given_end == body.came_end
                assert body.came == body.given
                if role is Role.GATEWAY:
                    self.told[event.exchange].ends[role].append("answered")
            case events.ResponseSent():
                self.told[event.exchange].ends[role].append("answered")
            case events.ExchangeFailed():
                self.told[event.exchange].ends[role].append("failed")
            case events.ExchangeCancelled():
                self.told[event.exchange].ends[role].append("cancelled")
            case events.SessionEnded():
                raise AssertionError(f"{role.name}: {event.text}")

    # --- what owners do -----------------------------------------------------------------------------------------------

    def session(self, role: Role) -> Session:
        return self.pair.session(role)

    def open_at(self, role: Role) -> list[int]:
        return [number for number in self.told if self.session(role).is_open(number)]

    def pick(self, data: st.DataObject, numbers: list[int]) -> int | None:
        return data.draw(st.sampled_from(numbers)) if numbers else None

    @precondition(lambda self: self.pair.gateway.can_open)
    @rule(size=SIZES, is_known=st.booleans())
    def begin(self, size: int, is_known: bool) -> None:
        """Opens an exchange; with its whole body given at once, or with more to come."""
        head = RequestHead("POST", "/", body_bytes=size if is_known else None)
        number = self.pair.gateway.open_exchange(head, self.pair.now)
        self.told[number] = Told()
        self.told[number].bodies[Role.GATEWAY].has_head = True
        if is_known:
            self.give(Role.GATEWAY, number, size, end=True, trailers=())

    @rule(data=st.data(), role=st.sampled_from(Role), size=SIZES, end=st.booleans(), trailers=TRAILERS)
    def send(self, data: st.DataObject, role: Role, size: int, end: bool, trailers: Metadata) -> None:
        """Gives more of a body, if its head was given and its end was not."""
        bodies = {number: self.told[number].bodies[role] for number in self.open_at(role)}
        number = self.pick(data, [n for n, body in bodies.items() if body.has_head and body.given_end is None])
        if number is not None:
            self.give(role, number, size, end=end, trailers=trailers if end else ())

    def give(self, role: Role, number: int, size: int, *, end: bool, trailers: Metadata) -> None:
        self.stamp += 1
        piece = (self.stamp.to_bytes(4, "big") * (size // 4 + 1))[:size]
        body = self.told[number].bodies[role]
        body.given += piece
        body.given_end = (trailers,) if end else None
        self.session(role).send_body(number, piece, end=end, trailers=trailers)

    @rule(data=st.data(), status=st.sampled_from([103, 200, 500]), end=st.booleans())
    def respond(self, data: st.DataObject, status: int, end: bool) -> None:
        """Answers, at any time after the request's head came: before its body's end too."""
        numbers = [n for n in self.open_at(Role.WORKER) if not self.told[n].bodies[Role.WORKER].has_head]
        number = self.pick(data, numbers)
        if number is not None:
            body = self.told[number].bodies[Role.WORKER]
            body.has_head = True
            self.pair.worker.respond(number, ResponseHead(status), end=end and status >= 200)
            if status < 200:
                self.pair.worker.respond(number, ResponseHead(200), end=end)
            body.given_end = ((),) if end else None

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """The client left."""
        number = self.pick(data, self.open_at(Role.GATEWAY))
        if number is not None:
            self.pair.gateway.cancel(number, ExchangeCode.CANCELLED, "left")
            self.told[number].ends[Role.GATEWAY].append("cancels")

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """The worker gives up."""
        number = self.pick(data, self.open_at(Role.WORKER))
        if number is not None:
            self.pair.worker.fail(number, ExchangeCode.BACKEND_FAILED, "broke")
            self.told[number].ends[Role.WORKER].append("fails")

    @rule(data=st.data(), role=st.sampled_from(Role), part=st.sampled_from([1, 2, 10]))
    def consume(self, data: st.DataObject, role: Role, part: int) -> None:
        """Uses up some of what came."""
        number = self.pick(data, self.open_at(role))
        if number is not None:
            body = self.told[number].bodies[OTHER[role]]
            size = body.unconsumed // part
            body.unconsumed -= size
            self.session(role).consume(number, size, self.pair.now)

    @precondition(lambda self: not self.is_draining)
    @rule()
    def drain(self) -> None:
        """The worker asks for no more."""
        self.is_draining = True
        self.pair.worker.drain(60.0, "reboot")

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.05, 1.0, 20.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.pair.advance(seconds)

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def the_tunnel_is_open(self) -> None:
        assert self.pair.gateway.state is self.pair.worker.state is State.OPEN

    @invariant()
    def nothing_comes_that_was_not_given(self) -> None:
        for told in self.told.values():
            for body in told.bodies.values():
                assert body.given.startswith(body.came)

    @invariant()
    def credit_and_budget_are_kept(self) -> None:
        for role in Role:
            windows = [exchange.incoming.window for exchange in self.session(role)._exchanges.values()]
            assert all(0 <= window.available <= window.size <= LIMITS.max_window_bytes for window in windows)
            assert sum(window.size for window in windows) <= LIMITS.max_buffered_bytes
            grown = sum(window.size - LIMITS.window_bytes for window in windows)
            assert self.session(role)._budget.free_bytes == self.free_bytes[role] - grown

    @invariant()
    def queues_are_bounded(self) -> None:
        for role in Role:
            session = self.session(role)
            assert len(session._ring) <= session.open_exchanges <= LIMITS.max_exchanges
            assert len(session._heads) <= 2 * session.open_exchanges
            assert session.path.in_flight >= 0

    @invariant()
    def an_exchange_ends_once(self) -> None:
        for told in self.told.values():
            assert all(len(ends) <= 1 for ends in told.ends.values()), told.ends

    # --- and in the end -----------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Everything given is ended and consumed: then all of it arrives, and nothing stays behind."""
        if not hasattr(self, "pair"):
            return
        for _ in range(400):
            if not self.pair.gateway.open_exchanges and not self.pair.worker.open_exchanges:
                break
            self.finish()
            self.pair.advance(2.0)
        self.pair.advance(5.0)
        for number, told in self.told.items():
            cancelled_unsent = told.ends[Role.GATEWAY] in (["cancels"], ["failed"]) and not told.ends[Role.WORKER]
            assert [len(ends) for ends in told.ends.values()] == [1, 1] or cancelled_unsent, (number, told.ends)
        for role in Role:
            session = self.session(role)
            assert session.open_exchanges == 0
            assert not session.has_output
            assert session._budget.free_bytes == self.free_bytes[role]
            assert len(session.path._samples) == 0
            assert session.path.in_flight * 2 <= session.path.flight_bytes
        if self.is_draining:
            assert events.DrainHeard() in self.pair.seen(events.DrainHeard)

    def finish(self) -> None:
        for role in Role:
            for number in self.open_at(role):
                told = self.told[number]
                body, incoming = told.bodies[role], told.bodies[OTHER[role]]
                if role is Role.WORKER and not body.has_head:
                    body.has_head = True
                    self.pair.worker.respond(number, ResponseHead(200))
                if body.given_end is None:
                    self.give(role, number, 10, end=True, trailers=())
                self.session(role).consume(number, incoming.unconsumed, self.pair.now)
                incoming.unconsumed = 0


TestTunnel = Tunnel.TestCase
TestTunnel.settings = settings(max_examples=200, stateful_step_count=50)
