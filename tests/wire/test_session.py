"""The rules of a session, told by two of them and a link in virtual time."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import frames as strategies
from tests.support.session_pair import HELLO, SessionPair
from wire import events
from wire.codec import decode, encode
from wire.errors import CloseCode, ExchangeCode, LocalProtocolError
from wire.events import Event
from wire.frames import (
    Ack,
    Credit,
    Data,
    Drain,
    Failed,
    Frame,
    GoAway,
    Hello,
    Load,
    Model,
    Ping,
    Pong,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    Trailers,
    Welcome,
)
from wire.limits import KIB, MIB, Limits
from wire.receiving import MAX_UNACKNOWLEDGED_BYTES, MAX_WAITING_CONTROL
from wire.session import Role, Session, State

POST = RequestHead("POST", "/")
WELCOME = Welcome(1, "s", "g", 2000, 3, 256 * KIB, 0)


def opening(role: Role) -> Session:
    return Session(role, Limits(), 0.0)


def opened(role: Role, exchanges: int = 0, now: float = 0.0) -> Session:
    """A session after HELLO and WELCOME, with nothing to write and no event untold."""
    session = Session(role, Limits(), now)
    if role is Role.GATEWAY:
        session.receive(encode(HELLO), now)
        session.welcome("s", "g", 0)
        for _ in range(exchanges):
            session.open_exchange(POST, now)
    else:
        session.hello(HELLO)
        session.receive(encode(WELCOME), now)
        for number in range(1, exchanges + 1):
            session.receive(encode(Request(number, POST)), now)
    written(session, now)
    session.take_events()
    return session


def written(session: Session, now: float = 0.0) -> list[Frame]:
    """All that it has to say."""
    return [decode(message) for message in iter(lambda: session.next_message(now), None)]


def ending(session: Session) -> events.SessionEnded:
    """Its last event, which there must be, once."""
    told = session.take_events()
    assert isinstance(told[-1], events.SessionEnded)
    assert sum(isinstance(event, events.SessionEnded) for event in told) == 1
    return told[-1]


def kinds(told: list[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


# --- opening ----------------------------------------------------------------------------------------------------------


def test_hello_and_welcome_open_a_tunnel() -> None:
    """Both ends are open, and each knows what the other said of itself."""
    pair = SessionPair()
    assert pair.gateway.state is pair.worker.state is State.OPEN
    assert pair.seen(events.HelloReceived) == [events.HelloReceived(HELLO)]
    (welcomed,) = pair.seen(events.WelcomeReceived)
    assert isinstance(welcomed, events.WelcomeReceived)
    assert (welcomed.welcome.version, welcomed.welcome.window) == (1, pair.limits.window_bytes)


def test_a_worker_of_another_version_is_told_which_one_is_spoken() -> None:
    """No version in common ends the session with its own code."""
    pair = SessionPair(hello=None)
    pair.worker.hello(replace(HELLO, versions=(2, 3)))
    pair.settle()
    gateway, worker = pair.seen(events.SessionEnded)
    text = "this gateway speaks version 1, the worker 2, 3"
    assert gateway == events.SessionEnded(CloseCode.VERSION_UNSUPPORTED, text, by_peer=False)
    assert worker == events.SessionEnded(CloseCode.VERSION_UNSUPPORTED, text, by_peer=True)


def test_a_gateway_that_chooses_another_version_is_left() -> None:
    """The worker does not go on in a version that it does not speak."""
    worker = opening(Role.WORKER)
    worker.hello(HELLO)
    worker.receive(encode(replace(WELCOME, version=2)), 0.0)
    assert ending(worker).code is CloseCode.VERSION_UNSUPPORTED


def test_a_second_hello_ends_the_session() -> None:
    """A gateway that is still thinking about the first does not get another one to think about."""
    gateway = opening(Role.GATEWAY)
    gateway.receive(encode(HELLO), 0.0)
    gateway.receive(encode(HELLO), 0.0)
    assert ending(gateway).text == "HELLO: a second one"


def test_a_gateway_cannot_welcome_whom_it_does_not_know() -> None:
    """WELCOME answers a HELLO."""
    with pytest.raises(LocalProtocolError, match="WELCOME before a HELLO"):
        opening(Role.GATEWAY).welcome("s", "g", 0)


def test_a_worker_cannot_announce_more_than_its_limits_allow() -> None:
    """Credit that the session would then punish is not given away."""
    for hello in (replace(HELLO, window=1 * MIB), replace(HELLO, max_exchanges=129)):
        with pytest.raises(LocalProtocolError, match="HELLO allows"):
            opening(Role.WORKER).hello(hello)


@pytest.mark.parametrize(("role", "missing"), [(Role.GATEWAY, "HELLO"), (Role.WORKER, "WELCOME")])
def test_an_opening_that_never_comes_ends_after_its_time(role: Role, missing: str) -> None:
    """Neither end waits for ever for the other's first frame."""
    session = opening(role)
    assert session.next_tick() == session.limits.opening_timeout_s
    session.tick(9.9)
    assert session.state is State.OPENING
    session.tick(10.0)
    assert ending(session) == events.SessionEnded(CloseCode.PEER_LOST, f"no {missing} within 10 s", by_peer=False)


# --- every frame in every state ---------------------------------------------------------------------------------------

STATES = [
    (role, state, exchanges)
    for role, (state, exchanges) in itertools.product(
        Role, [(State.OPENING, 0), (State.OPEN, 0), (State.OPEN, 5), (State.ENDED, 0)]
    )
]


def in_state(role: Role, state: State, exchanges: int) -> Session:
    session = opening(role) if state is State.OPENING else opened(role, exchanges=exchanges)
    if state is State.ENDED:
        session.close(CloseCode.SHUTTING_DOWN, "bye")
        session.take_events()
    return session


@pytest.mark.parametrize("kind", strategies.BY_CLASS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("role", "state", "exchanges"), STATES)
@settings(max_examples=20)
@given(data=st.data())
def test_any_frame_in_any_state_has_an_effect_or_ends_the_session_by_name(
    kind: type[Frame], role: Role, state: State, exchanges: int, data: st.DataObject
) -> None:
    """Nothing that a peer says raises; what is not for this state ends the session with a GOAWAY that says why."""
    session = in_state(role, state, exchanges)
    frame = data.draw(strategies.BY_CLASS[kind])
    if hasattr(frame, "exchange") and data.draw(st.booleans()):
        frame = replace(frame, exchange=data.draw(st.integers(1, 6)))  # one that is open, or the next
    session.receive(encode(frame), 1.0)
    session.tick(1.0)
    told, said = session.take_events(), written(session, 1.0)
    if state is State.ENDED:
        assert told == []
    if session.state is State.ENDED and state is not State.ENDED:
        assert isinstance(told[-1], events.SessionEnded)
        assert told[-1].text or isinstance(frame, GoAway)
        assert told[-1].by_peer == isinstance(frame, GoAway)
        assert isinstance(frame, GoAway) or isinstance(said[-1], GoAway)
        assert session.open_exchanges == 0


@pytest.mark.parametrize(
    ("role", "state", "allowed"),
    [
        (Role.GATEWAY, State.OPENING, "HELLO GOAWAY"),
        (Role.WORKER, State.OPENING, "WELCOME GOAWAY"),
        (
            Role.GATEWAY,
            State.OPEN,
            "MODELS LOAD PING PONG TOKEN DRAIN GOAWAY ACK RESPONSE DATA TRAILERS CREDIT FAILED",
        ),
        (
            Role.WORKER,
            State.OPEN,
            "PING PONG TOKENACCEPTED DRAIN GOAWAY ACK REQUEST DATA TRAILERS CREDIT CANCEL",
        ),
    ],
)
@settings(max_examples=5)
@given(data=st.data())
def test_who_takes_what_in_which_state(role: Role, state: State, allowed: str, data: st.DataObject) -> None:
    """The table of docs/reference/wire.md: a frame that is not in it is refused as not for this state."""
    for kind, strategy in strategies.BY_CLASS.items():
        session = in_state(role, state, 0)
        session.receive(encode(data.draw(strategy)), 1.0)
        refused = any(
            isinstance(event, events.SessionEnded) and f"is not for a {state.name} session here" in event.text
            for event in session.take_events()
        )
        assert refused is (kind.__name__.upper() not in allowed.split())


@given(st.sampled_from(Role), st.lists(st.binary(max_size=60) | strategies.ANY.map(encode), max_size=12))
def test_no_sequence_of_messages_raises(role: Role, messages: list[bytes]) -> None:
    """Whatever comes, in whatever order, the session goes on or ends once."""
    session = opened(role, exchanges=3)
    for message in messages:
        session.receive(message, 1.0)
        written(session, 1.0)
    assert sum(isinstance(event, events.SessionEnded) for event in session.take_events()) <= 1


# --- exchanges --------------------------------------------------------------------------------------------------------


def test_a_small_request_is_one_message_each_way() -> None:
    """Head, body and end travel together."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(RequestHead("POST", "/", body_bytes=5), pair.now)
    pair.gateway.send_body(number, b"hello", end=True)
    assert written(pair.gateway) == [Request(number, RequestHead("POST", "/", body_bytes=5), b"hello", end=True)]


def test_a_body_in_pieces_is_one_message_when_its_end_is_here() -> None:
    """A picture as its client's packets brought it: nobody pays for a frame to each."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(RequestHead("POST", "/", body_bytes=5), pair.now)
    for piece in (b"he", b"l"):
        pair.gateway.send_body(number, piece)
    pair.gateway.send_body(number, b"lo", end=True)
    assert written(pair.gateway) == [Request(number, RequestHead("POST", "/", body_bytes=5), b"hello", end=True)]


def test_a_body_that_goes_on_is_sent_in_the_pieces_that_it_comes_in() -> None:
    """Those of a stream are as large as their sender wants them."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(POST, pair.now)
    for piece in (b"one", b"two"):
        pair.gateway.send_body(number, piece)
    assert [frame.data for frame in written(pair.gateway)] == [b"one", b"two"]  # type: ignore[union-attr]


def test_an_exchange_carries_heads_bodies_and_trailers() -> None:
    """What goes in at one end comes out at the other, informational answers included."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(POST, pair.now)
    pair.gateway.send_body(number, b"ab")
    pair.settle()
    pair.gateway.send_body(number, b"cd", end=True, trailers=(("sum", "1"),))
    pair.settle()
    pair.worker.respond(number, ResponseHead(103))
    pair.worker.respond(number, ResponseHead(200))
    pair.worker.send_body(number, b"ef", end=True, trailers=(("sum", "2"),))
    pair.settle()
    told = [event for _, event in pair.events if getattr(event, "exchange", None) == number]
    assert told == [
        events.RequestReceived(number, POST),
        events.BodyReceived(number, b"ab"),
        events.BodyReceived(number, b"cd"),
        events.BodyEnded(number, (("sum", "1"),)),
        events.ResponseSent(number),
        events.ResponseReceived(number, ResponseHead(103)),
        events.ResponseReceived(number, ResponseHead(200)),
        events.BodyReceived(number, b"ef"),
        events.BodyEnded(number, (("sum", "2"),)),
    ]
    assert pair.gateway.open_exchanges == pair.worker.open_exchanges == 0


def test_an_early_answer_ends_the_exchange_and_the_rest_of_the_request_is_dropped() -> None:
    """A worker need not read a body to the end to say no."""
    pair = SessionPair(rate_bytes_s=1e6)
    number = pair.gateway.open_exchange(POST, pair.now)
    pair.gateway.send_body(number, bytes(200 * KIB))
    pair.advance(0.05)
    pair.worker.respond(number, ResponseHead(413), end=True)
    pair.settle(5.0)
    assert pair.gateway.open_exchanges == pair.worker.open_exchanges == 0
    assert pair.gateway.state is pair.worker.state is State.OPEN
    assert pair.gateway.path.in_flight < 100 * KIB


@pytest.mark.parametrize(
    ("promised", "frames", "text"),
    [
        (3, [Data(1, b"abcd")], "a body of over the promised 3 bytes"),
        (3, [Data(1, b"ab", end=True)], "a body of 2 bytes where 3 were promised"),
        (3, [Trailers(1, ())], "a body of 0 bytes where 3 were promised"),
        (None, [Data(1, b"", end=True), Data(1, b"more")], "DATA in state DONE"),
        (None, [Trailers(1, ()), Trailers(1, ())], "TRAILERS in state DONE"),
    ],
)
def test_a_request_body_that_breaks_its_promise_ends_its_exchange_only(
    promised: int | None, frames: list[Frame], text: str
) -> None:
    """Too long, too short, or more after the end: FAILED for that one, and the others go on."""
    worker = opened(Role.WORKER)
    worker.receive(encode(Request(1, RequestHead("POST", "/", body_bytes=promised))), 0.0)
    worker.receive(encode(Request(2, POST)), 0.0)
    for frame in frames:
        worker.receive(encode(frame), 0.0)
    assert worker.take_events()[-1] == events.ExchangeCancelled(1, ExchangeCode.BAD_REQUEST, text)
    assert written(worker)[-1] == Failed(1, ExchangeCode.BAD_REQUEST, text)
    assert (worker.is_open(1), worker.is_open(2), worker.state) == (False, True, State.OPEN)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([Data(1, b"x")], "DATA in state HEAD"),
        ([Response(1, ResponseHead(200)), Response(1, ResponseHead(200))], "RESPONSE in state BODY"),
        ([Response(1, ResponseHead(100), b"x")], "an informational response (100) with a body"),
        ([Response(1, ResponseHead(200, body_bytes=1), b"xy")], "a body of over the promised 1 bytes"),
    ],
)
def test_an_answer_that_breaks_a_rule_ends_its_exchange_only(frames: list[Frame], text: str) -> None:
    """The gateway hears that it failed, the worker that it is cancelled."""
    gateway = opened(Role.GATEWAY, exchanges=2)
    for frame in frames:
        gateway.receive(encode(frame), 0.0)
    assert gateway.take_events()[-1] == events.ExchangeFailed(1, ExchangeCode.INTERNAL, text)
    assert "CANCEL" in [type(frame).__name__.upper() for frame in written(gateway)]
    assert (gateway.is_open(1), gateway.is_open(2), gateway.state) == (False, True, State.OPEN)


@pytest.mark.parametrize(
    ("role", "frame", "text"),
    [
        (Role.GATEWAY, Response(9, ResponseHead(200)), "exchange 9 was never opened"),
        (Role.GATEWAY, Failed(9, 1), "exchange 9 was never opened"),
        (Role.WORKER, Credit(9, 1), "exchange 9 was never opened"),
        (Role.WORKER, Request(2, POST), "REQUEST: exchange 2 after 3"),
        (Role.WORKER, Data(3, bytes(256 * KIB + 1)), "262145 bytes of body where credit for 262144 was left"),
        (Role.WORKER, Credit(3, (1 << 31) - 1), "credit of 2147483647 bytes brings the window over 2147483647"),
        (Role.GATEWAY, Ack(1), "ACK of 1 bytes where 0 to 0 were possible"),
        (Role.GATEWAY, Pong(0, 0, 0), "PONG: nothing was asked"),
        (Role.WORKER, Hello(**{name: getattr(HELLO, name) for name in HELLO.__slots__}), "HELLO is not for"),
    ],
)
def test_what_no_honest_peer_says_ends_the_session(role: Role, frame: Frame, text: str) -> None:
    """A number that was never opened, a body without credit, a count that cannot be: the tunnel cannot go on."""
    session = opened(role, exchanges=3)
    session.receive(encode(frame), 0.0)
    ended = ending(session)
    assert ended.code is CloseCode.PROTOCOL_ERROR
    assert text in ended.text
    assert written(session)[-1] == GoAway(CloseCode.PROTOCOL_ERROR, ended.text)


def test_a_head_that_lies_about_its_length_ends_the_session_by_name() -> None:
    """The frame and the lie are in the GOAWAY."""
    worker = opened(Role.WORKER)
    message = bytearray(encode(Request(1, POST)))
    message[6:10] = (60_000).to_bytes(4, "big")
    worker.receive(bytes(message), 0.0)
    assert ending(worker).text.startswith("REQUEST: a head of 60000 bytes in a frame that has")


def test_frames_for_an_exchange_that_is_over_are_ignored_but_counted() -> None:
    """The peer could not know yet; its bytes are acknowledged all the same."""
    worker = opened(Role.WORKER, exchanges=1)
    worker.fail(1, ExchangeCode.OVERLOADED, "full")
    for frame in (Data(1, b"late", ack_now=True), Credit(1, 5), Trailers(1, ())):
        worker.receive(encode(frame), 0.0)
    assert worker.take_events() == []
    assert written(worker) == [Failed(1, ExchangeCode.OVERLOADED, "full"), Ack(4)]


def test_one_exchange_over_the_limit_is_refused_as_not_begun() -> None:
    """The others go on, and the bytes that came with it are acknowledged."""
    worker = opened(Role.WORKER, exchanges=128)
    worker.receive(encode(Request(129, POST, b"abc", ack_now=True)), 0.0)
    refused, ack = written(worker)
    assert refused == Failed(129, ExchangeCode.OVERLOADED, "128 exchanges are open already")
    assert ack == Ack(3)
    worker.receive(encode(Data(129, b"more")), 0.0)
    assert (worker.state, worker.open_exchanges) == (State.OPEN, 128)


def test_a_gateway_opens_no_more_than_the_worker_takes() -> None:
    """HELLO's max_exchanges is kept, and asked for over it is a bug here."""
    gateway = opened(Role.GATEWAY, exchanges=HELLO.max_exchanges)
    assert not gateway.can_open
    with pytest.raises(LocalProtocolError, match="takes no more"):
        gateway.open_exchange(POST, 0.0)


def test_an_exchange_cancelled_before_it_left_leaves_nothing_to_send() -> None:
    """Ten thousand requests given up while the transport is full cost nothing."""
    gateway = opened(Role.GATEWAY)
    for _ in range(10_000):
        gateway.cancel(gateway.open_exchange(POST, 0.0), ExchangeCode.CANCELLED, "gone")
    assert not gateway.has_output
    assert len(gateway._heads) == 0


def test_a_cancelled_exchange_drops_its_unsent_body() -> None:
    """CANCEL goes ahead of everything, and nothing of that body follows."""
    pair = SessionPair(rate_bytes_s=1e5)
    number = pair.gateway.open_exchange(POST, pair.now)
    pair.gateway.send_body(number, bytes(200 * KIB))
    pair.advance(0.01)
    pair.gateway.cancel(number, ExchangeCode.CANCELLED, "client left")
    pair.settle(60.0)
    assert pair.events[-1] == (Role.WORKER, events.ExchangeCancelled(number, ExchangeCode.CANCELLED, "client left"))
    assert not pair.gateway.has_output
    assert len(pair.gateway._ring) == 0


def test_a_failure_told_just_before_the_end_still_arrives() -> None:
    """Closing drops bodies, not verdicts."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(POST, pair.now, end=True)
    pair.settle()
    pair.worker.fail(number, ExchangeCode.BAD_INPUT, "no picture")
    pair.worker.close(CloseCode.SHUTTING_DOWN, "leaving")
    pair.settle()
    told = [event for role, event in pair.events if role is Role.GATEWAY][-2:]
    assert told == [
        events.ExchangeFailed(number, ExchangeCode.BAD_INPUT, "no picture"),
        events.SessionEnded(CloseCode.SHUTTING_DOWN, "leaving", by_peer=True),
    ]


def test_trailers_that_are_too_large_fail_where_they_are_given() -> None:
    """Not later, in the middle of writing."""
    gateway = opened(Role.GATEWAY, exchanges=1)
    with pytest.raises(ValueError, match="TRAILERS"):
        gateway.send_body(1, b"", end=True, trailers=(("a", "b" * 70_000),))
    gateway.send_body(1, b"", end=True)
    assert written(gateway) == [Data(1, b"", end=True)]


def test_a_request_with_too_many_headers_fails_alone() -> None:
    """It never gets a number, and the tunnel goes on."""
    gateway = opened(Role.GATEWAY)
    with pytest.raises(ValueError, match="257 pairs of metadata are over 256"):
        gateway.open_exchange(RequestHead("GET", "/", metadata=(("a", "b"),) * 257), 0.0)
    assert gateway.open_exchange(POST, 0.0) == 1


# --- credit -----------------------------------------------------------------------------------------------------------


def test_without_credit_a_body_waits_and_goes_on_with_it() -> None:
    """A consumer that takes nothing gets one window; each piece it takes lets as much follow."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(POST, pair.now)
    pair.gateway.send_body(number, bytes(1 * MIB), end=True)
    pair.advance(60.0)
    assert received(pair, number) == 256 * KIB
    pair.worker.consume(number, 128 * KIB, pair.now)
    pair.advance(1.0)
    assert received(pair, number) == 384 * KIB


def received(pair: SessionPair, number: int) -> int:
    return sum(
        len(event.data)
        for event in pair.seen(events.BodyReceived)
        if isinstance(event, events.BodyReceived) and event.exchange == number
    )


def test_a_slow_consumer_blocks_no_other_exchange() -> None:
    """While one body waits for credit, another passes."""
    pair = SessionPair()
    slow, quick = pair.gateway.open_exchange(POST, pair.now), pair.gateway.open_exchange(POST, pair.now)
    for number in (slow, quick):
        pair.gateway.send_body(number, bytes(2 * MIB), end=True)

    def consume(role: Role, event: Event) -> None:
        if isinstance(event, events.BodyReceived) and event.exchange == quick:
            pair.worker.consume(quick, len(event.data), pair.now)

    pair.on_event = consume
    pair.advance(5.0)
    assert (received(pair, slow), received(pair, quick)) == (256 * KIB, 2 * MIB)


def test_a_window_grows_with_the_bandwidth_delay_product() -> None:
    """At 100 ms there and back, 10 MB/s need a window of 1 MB at least, and get it; 0.1 MB/s do not."""
    assert window_after_transfer(rate_bytes_s=10e6) >= 1 * MIB
    assert window_after_transfer(rate_bytes_s=0.1e6) == 256 * KIB


def window_after_transfer(rate_bytes_s: float) -> int:
    pair = SessionPair(latency_s=0.05, rate_bytes_s=rate_bytes_s)
    pair.advance(5.0)
    number = pair.gateway.open_exchange(POST, pair.now)

    def consume(role: Role, event: Event) -> None:
        if isinstance(event, events.BodyReceived):
            pair.worker.consume(number, len(event.data), pair.now)

    pair.on_event = consume
    pair.gateway.send_body(number, bytes(int(rate_bytes_s * 3)))
    pair.advance(3.0)
    return pair.worker._exchanges[number].incoming.window.size


def test_windows_that_have_grown_leave_room_for_new_exchanges() -> None:
    """Growth takes from what max_exchanges first windows leave of max_buffered_bytes, and never more."""
    limits = Limits(window_bytes=64 * KIB, max_buffered_bytes=2 * MIB, max_exchanges=8)
    worker = Session(Role.WORKER, limits, 0.0)
    worker.hello(replace(HELLO, window=64 * KIB, max_exchanges=8))
    worker.receive(encode(WELCOME), 0.0)
    worker.receive(encode(Ping(0, 100_000)), 0.0)
    worker.receive(encode(Request(1, POST)), 0.0)
    granted = 64 * KIB
    while granted:
        worker.receive(encode(Data(1, bytes(min(granted, 256 * KIB)))), 0.0)
        worker.consume(1, min(granted, 256 * KIB), 0.0)
        more = sum(frame.bytes for frame in written(worker) if isinstance(frame, Credit))
        granted = granted - min(granted, 256 * KIB) + more if worker._budget.free_bytes else 0
    assert worker._exchanges[1].incoming.window.size == 2 * MIB - 7 * 64 * KIB
    for number in range(2, 9):
        worker.receive(encode(Request(number, POST, bytes(64 * KIB))), 0.0)
    assert (worker.state, worker.open_exchanges) == (State.OPEN, 8)


def test_consuming_more_than_came_is_a_bug_here() -> None:
    """Credit that was never earned would let the peer overrun the budget."""
    worker = opened(Role.WORKER, exchanges=1)
    worker.receive(encode(Data(1, b"abc")), 0.0)
    worker.consume(1, 3, 0.0)
    with pytest.raises(LocalProtocolError, match="1 bytes consumed where fewer had come"):
        worker.consume(1, 1, 0.0)


def test_a_mebibyte_is_acknowledged_unasked() -> None:
    """A sender that never asks still learns what arrived."""
    worker = opened(Role.WORKER, exchanges=1)
    for _ in range(MAX_UNACKNOWLEDGED_BYTES // (128 * KIB)):
        assert Ack(0) not in written(worker)
        worker.receive(encode(Data(1, bytes(128 * KIB))), 0.0)
        worker.consume(1, 128 * KIB, 0.0)
    assert Ack(MAX_UNACKNOWLEDGED_BYTES) in written(worker)


# --- order and fairness -----------------------------------------------------------------------------------------------


def test_control_goes_before_heads_and_heads_before_bodies() -> None:
    """What is short and urgent does not wait behind what is long."""
    gateway = opened(Role.GATEWAY, exchanges=1)
    gateway.send_body(1, bytes(64 * KIB))
    gateway.open_exchange(POST, 0.0, end=True)
    gateway.drain(1.0, "leaving")
    order = [type(frame).__name__ for frame in itertools.islice(iter(written(gateway)), 4)]
    assert order == ["Drain", "Ping", "Request", "Data"]


def test_bodies_are_served_in_turn() -> None:
    """Two large bodies alternate."""
    gateway = opened(Role.GATEWAY, exchanges=2)
    for number in (1, 2):
        gateway.send_body(number, bytes(200 * KIB))
    turns = [frame.exchange for frame in written(gateway) if isinstance(frame, Data)]
    assert turns[:4] in ([1, 2, 1, 2], [1, 2])


def test_new_exchanges_without_end_do_not_starve_a_body() -> None:
    """When heads alone would fill the link, a body that waits gets about half of it."""
    gateway = opened(Role.GATEWAY, exchanges=1)
    gateway.send_body(1, bytes(8 * MIB))
    head = RequestHead("POST", "/", metadata=(("pad", "x" * 8000),))
    body_bytes = head_bytes = acknowledged = 0
    for _ in range(400):
        number = gateway.open_exchange(head, 0.0, end=True)
        message = gateway.next_message(0.0)
        assert message is not None
        frame = decode(message)
        if isinstance(frame, Data):
            body_bytes += len(frame.data)
            acknowledged += len(frame.data)
            gateway.receive(encode(Ack(acknowledged)), 0.01)
            gateway.receive(encode(Credit(1, len(frame.data))), 0.01)
            gateway.cancel(number, ExchangeCode.CANCELLED, "not sent")
        else:
            assert isinstance(frame, Request)
            head_bytes += len(message)
            gateway.receive(encode(Response(frame.exchange, ResponseHead(200), end=True)), 0.01)
            gateway.take_events()
            if gateway.is_open(number):
                gateway.cancel(number, ExchangeCode.CANCELLED, "not sent")
    assert 0.3 < body_bytes / (body_bytes + head_bytes) < 0.7


def test_a_peer_that_asks_and_does_not_read_is_cut_off() -> None:
    """Answers that nobody takes do not pile up without end."""
    worker = opened(Role.WORKER)
    for _ in range(MAX_WAITING_CONTROL + 2):
        worker.receive(encode(Ping(0)), 0.0)
    assert "the peer does not read them" in ending(worker).text


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_hour_of_heartbeats() -> None:
    """Both ends stay, a PING every 2 s each way and back, and nothing piles up."""
    pair = SessionPair()
    pair.advance(3600.0)
    assert pair.gateway.state is pair.worker.state is State.OPEN
    assert len(pair.seen(events.RoundTripMeasured)) in range(1800, 1803)
    assert pair.gateway.rtt_s == pytest.approx(0.002, abs=1e-5)
    assert pair.worker.rtt_s == pytest.approx(0.002, abs=1e-5)


def test_the_worker_knows_the_round_trip_from_the_start() -> None:
    """A second PING follows the first PONG at once: windows of the first bodies can grow."""
    pair = SessionPair(latency_s=0.01)
    pair.advance(0.1)
    assert pair.worker.rtt_s == pytest.approx(0.02, abs=1e-4)


@pytest.mark.parametrize("deaf", list(Role))
def test_a_lost_peer_is_noticed_after_three_intervals(deaf: Role) -> None:
    """6 s after its last byte, at whichever end it no longer arrives; the other end is told."""
    pair = SessionPair()
    pair.advance(10.0)
    talker = Role.WORKER if deaf is Role.GATEWAY else Role.GATEWAY
    pair.ways[talker].is_cut = True
    cut_at = pair.now
    pair.run_until(lambda: pair.session(deaf).state is State.ENDED)
    assert 4.0 < pair.now - cut_at <= 6.0
    (ended,) = [event for role, event in pair.events if role is deaf and isinstance(event, events.SessionEnded)]
    assert ended == events.SessionEnded(CloseCode.PEER_LOST, "nothing heard for 6.0 s", by_peer=False)
    assert pair.session(deaf).next_tick() is None


def test_any_byte_counts_as_life() -> None:
    """A worker that sends bodies but no PONG is not lost."""
    gateway = opened(Role.GATEWAY, exchanges=1)
    for second in range(1, 60):
        gateway.receive(encode(Load(1, 0)), float(second))
        gateway.tick(float(second))
    assert gateway.state is State.OPEN


@given(st.floats(-1e4, 1e6), st.floats(0.0, 0.2))
def test_the_clock_offset_is_found_within_half_the_round_trip(skew_s: float, latency_s: float) -> None:
    """However far apart the two clocks are; when both ways take as long, it is exact."""
    now = 20_000.0
    gateway, worker = opened(Role.GATEWAY, now=now), opened(Role.WORKER, now=now + skew_s)
    gateway.tick(now)
    ping = gateway.next_message(now)
    assert ping
    worker.receive(ping, now + latency_s + skew_s)
    pong = worker.next_message(now + latency_s + skew_s + 0.005)
    assert pong
    gateway.receive(pong, now + 2 * latency_s + 0.005)
    (measured,) = gateway.take_events()
    assert isinstance(measured, events.RoundTripMeasured)
    assert measured.offset_s == pytest.approx(skew_s, abs=1e-4)
    assert measured.rtt_s == pytest.approx(2 * latency_s, abs=1e-4)


def test_the_offset_is_taken_from_the_quickest_of_the_last_heartbeats() -> None:
    """A heartbeat that waited one way says little about the clock."""
    pair = SessionPair(latency_s=0.01)
    pair.advance(10.0)
    delays = itertools.cycle([0.0, 0.4])
    pair.ways[Role.GATEWAY].jitter_s = lambda: next(delays)
    pair.advance(60.0)
    measured = pair.seen(events.RoundTripMeasured)[-1]
    assert isinstance(measured, events.RoundTripMeasured)
    assert measured.offset_s == pytest.approx(0.0, abs=0.001)


# --- tokens, models, load, leaving ------------------------------------------------------------------------------------


def test_a_token_is_renewed_in_band() -> None:
    """The tunnel and its exchanges go on."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(POST, pair.now)
    pair.worker.offer_token("newer")
    pair.settle()
    assert pair.seen(events.TokenReceived) == [events.TokenReceived("newer")]
    pair.gateway.accept_token(3600.0)
    pair.settle()
    assert pair.seen(events.TokenRenewed) == [events.TokenRenewed(3600.0)]
    assert pair.worker.is_open(number)


@pytest.mark.parametrize(("expires_in_s", "said_ms"), [(0, 0), (1.5, 1500), (0.0001, 1), (-5.0, 1)])
def test_a_token_about_to_expire_is_not_called_eternal(expires_in_s: float, said_ms: int) -> None:
    """0 ms means never; what is over or nearly so is 1 ms."""
    gateway = opening(Role.GATEWAY)
    gateway.receive(encode(HELLO), 0.0)
    gateway.welcome("s", "g", expires_in_s)
    (welcome,) = written(gateway)
    assert isinstance(welcome, Welcome)
    assert welcome.token_expires_in_ms == said_ms


def test_models_and_load_are_reported() -> None:
    """The gateway hears of both as they change."""
    pair = SessionPair()
    pair.worker.update_models([Model("digits", "2", 4)])
    pair.worker.report_load(Load(3, 1, {"gpu": 0.5}))
    pair.settle()
    assert pair.seen(events.ModelsChanged) == [events.ModelsChanged((Model("digits", "2", 4),))]
    assert pair.seen(events.LoadReported) == [events.LoadReported(Load(3, 1, {"gpu": 0.5}))]


def test_a_draining_worker_gets_no_more_and_finishes_what_it_has() -> None:
    """After DRAIN was heard nothing new comes; what is open is answered."""
    pair = SessionPair()
    number = pair.gateway.open_exchange(POST, pair.now, end=True)
    pair.settle()
    pair.worker.drain(5.0, "reboot")
    pair.settle()
    assert pair.seen(events.PeerDraining) == [events.PeerDraining(5.0, "reboot")]
    assert pair.seen(events.DrainHeard) == [events.DrainHeard()]
    assert not pair.gateway.can_open
    pair.worker.respond(number, ResponseHead(200), end=True)
    pair.settle()
    assert pair.seen(events.BodyEnded)[-1] == events.BodyEnded(number, ())


def test_a_request_that_has_not_left_when_drain_comes_never_leaves() -> None:
    """So that DrainHeard is the truth even when the gateway's transport was full: it fails as not begun."""
    gateway = opened(Role.GATEWAY)
    number = gateway.open_exchange(POST, 0.0, end=True)
    gateway.receive(encode(Drain(5000, "reboot")), 0.0)
    gateway.receive(encode(Ping(1)), 0.0)
    assert gateway.take_events() == [
        events.PeerDraining(5.0, "reboot"),
        events.ExchangeFailed(number, ExchangeCode.DRAINING, "reboot"),
    ]
    assert [type(frame) for frame in written(gateway)] == [Pong]


def test_goaway_ends_both_ends_once() -> None:
    """The sender's exchanges are dropped, the receiver learns the code and the text; what comes later is ignored."""
    pair = SessionPair()
    pair.gateway.open_exchange(POST, pair.now)
    pair.settle()
    pair.gateway.close(CloseCode.SUPERSEDED, "a newer session took over")
    pair.gateway.close(CloseCode.INTERNAL, "again")
    pair.settle()
    gateway, worker = pair.seen(events.SessionEnded)
    assert gateway == events.SessionEnded(CloseCode.SUPERSEDED, "a newer session took over", by_peer=False)
    assert worker == events.SessionEnded(CloseCode.SUPERSEDED, "a newer session took over", by_peer=True)
    assert pair.gateway.open_exchanges == pair.worker.open_exchanges == 0
    pair.gateway.receive(encode(HELLO), pair.now)
    assert pair.gateway.take_events() == []


def test_a_code_of_a_later_version_is_internal() -> None:
    """An unknown code is no reason to fail."""
    worker = opened(Role.WORKER)
    worker.receive(encode(GoAway(999, "new reason")), 0.0)
    assert ending(worker) == events.SessionEnded(CloseCode.INTERNAL, "new reason", by_peer=True)


def test_a_closed_channel_ends_the_session_without_a_goodbye() -> None:
    """There is nobody to say it to."""
    gateway = opened(Role.GATEWAY, exchanges=1)
    gateway.channel_closed("connection reset")
    assert ending(gateway) == events.SessionEnded(CloseCode.PEER_LOST, "connection reset", by_peer=True)
    assert not gateway.has_output


@pytest.mark.parametrize("bodies", [1, 3])
def test_a_session_that_ends_drops_the_bodies_that_wait(bodies: int) -> None:
    """Whatever was queued when the connection broke, the end is told once and nothing is left."""
    gateway = opened(Role.GATEWAY, exchanges=3)
    for number in range(1, bodies + 1):
        gateway.send_body(number, bytes(200 * KIB))
    gateway.channel_closed("connection reset")
    assert ending(gateway) == events.SessionEnded(CloseCode.PEER_LOST, "connection reset", by_peer=True)
    assert gateway.open_exchanges == 0
    assert not gateway.has_output


@pytest.mark.parametrize("call", ["models", "load", "token", "accept", "open", "drain", "cancel"])
def test_what_is_not_for_this_role_or_state_is_a_bug_here(call: str) -> None:
    """LocalProtocolError names the caller's mistake; nothing is sent."""
    gateway, worker = opened(Role.GATEWAY), opened(Role.WORKER)
    actions = {
        "models": lambda: gateway.update_models(()),
        "load": lambda: gateway.report_load(Load(0, 0)),
        "token": lambda: gateway.offer_token("t"),
        "accept": lambda: worker.accept_token(1.0),
        "open": lambda: worker.open_exchange(POST, 0.0),
        "drain": lambda: opening(Role.WORKER).drain(1.0, ""),
        "cancel": lambda: worker.cancel(1, ExchangeCode.CANCELLED, ""),
    }
    with pytest.raises(LocalProtocolError):
        actions[call]()
    assert not gateway.has_output
    assert not worker.has_output
