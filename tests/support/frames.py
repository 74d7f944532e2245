"""Frames for property tests: for each class, any value that the protocol allows (docs/reference/wire.md)."""

from __future__ import annotations

from hypothesis import strategies as st

from wire.frames import (
    Ack,
    Cancel,
    Credit,
    Data,
    Drain,
    Failed,
    Frame,
    GoAway,
    Hello,
    Load,
    Model,
    Models,
    Ping,
    Pong,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    Token,
    TokenAccepted,
    Trailers,
    Welcome,
)

U16 = st.integers(0, (1 << 16) - 1)
U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
COUNT = st.integers(1, (1 << 32) - 1)
EXCHANGE = COUNT
CREDIT = st.integers(1, (1 << 31) - 1)
INTEGER = st.integers(0, (1 << 53) - 1)
CHARACTER = st.characters(exclude_categories=["Cs"])  # a lone surrogate is no character
TEXT = st.text(CHARACTER, max_size=40)
NAME = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="/"), min_size=1, max_size=20)
METADATA = st.lists(st.tuples(TEXT, TEXT), max_size=4).map(tuple)
BODY = st.binary(max_size=200)
JSON = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)
MODELS = st.lists(
    st.builds(Model, name=NAME, version=TEXT, slots=st.integers(1, 1 << 16), failure=TEXT, metadata=JSON),
    max_size=3,
    unique_by=lambda model: model.name,
).map(tuple)
REQUEST_HEAD = st.builds(
    RequestHead,
    method=st.text(CHARACTER, max_size=32),
    path=TEXT,
    model=TEXT,
    metadata=METADATA,
    deadline_ms=INTEGER,
    traceparent=TEXT,
    body_bytes=st.none() | INTEGER,
)
RESPONSE_HEAD = st.builds(
    ResponseHead,
    status=st.integers(100, 599),
    metadata=METADATA,
    body_bytes=st.none() | INTEGER,
    received_us=INTEGER,
    sent_us=INTEGER,
    durations_us=st.lists(st.tuples(TEXT, INTEGER), max_size=4).map(tuple),
)

BY_CLASS: dict[type[Frame], st.SearchStrategy[Frame]] = {
    Hello: st.builds(
        Hello,
        versions=st.lists(st.integers(0, 9), max_size=3).map(tuple),
        worker=NAME,
        generation=INTEGER,
        dial=INTEGER,
        software=TEXT,
        models=MODELS,
        max_exchanges=COUNT,
        window=CREDIT,
        labels=JSON,
    ),
    Welcome: st.builds(
        Welcome,
        version=INTEGER,
        session=TEXT,
        gateway=TEXT,
        heartbeat_ms=COUNT,
        misses=COUNT,
        window=CREDIT,
        token_expires_in_ms=INTEGER,
    ),
    Models: st.builds(Models, MODELS),
    Load: st.builds(Load, INTEGER, INTEGER, JSON),
    Ping: st.builds(Ping, U64, U32),
    Pong: st.builds(Pong, U64, U64, U64),
    Token: st.builds(Token, st.text(CHARACTER, min_size=1, max_size=200)),
    TokenAccepted: st.builds(TokenAccepted, U64),
    Drain: st.builds(Drain, U32, TEXT),
    GoAway: st.builds(GoAway, U16, TEXT),
    Ack: st.builds(Ack, U64),
    Request: st.builds(Request, EXCHANGE, REQUEST_HEAD, BODY, st.booleans(), st.booleans()),
    Response: st.builds(Response, EXCHANGE, RESPONSE_HEAD, BODY, st.booleans(), st.booleans()),
    Data: st.builds(Data, EXCHANGE, BODY, st.booleans(), st.booleans()),
    Trailers: st.builds(Trailers, EXCHANGE, METADATA),
    Credit: st.builds(Credit, EXCHANGE, CREDIT),
    Cancel: st.builds(Cancel, EXCHANGE, U16, TEXT),
    Failed: st.builds(Failed, EXCHANGE, U16, TEXT),
}
ANY = st.one_of(*BY_CLASS.values())
