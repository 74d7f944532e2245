"""Frames and bytes: what is written is read back, and any bytes at all give a frame or one named error."""

from __future__ import annotations

import json
import struct
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import frames as strategies
from wire.codec import HEADER, decode, encode, encode_head
from wire.errors import FrameError
from wire.frames import (
    ControlFrame,
    Credit,
    Data,
    Drain,
    ExchangeFrame,
    Failed,
    Frame,
    Hello,
    Load,
    Model,
    Models,
    Ping,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    Token,
    Trailers,
)
from wire.limits import MAX_JSON_DEPTH, MAX_MESSAGE_BYTES, MAX_METADATA_PAIRS, MAX_TEXT_BYTES, MAX_TOKEN_BYTES

CLASSES = (*get_args(ControlFrame), *get_args(ExchangeFrame))
TYPES = {frame.TYPE for frame in CLASSES}


def message(kind: int, payload: bytes, exchange: int = 0, flags: int = 0) -> bytes:
    return HEADER.pack(kind, flags, exchange) + payload


def load_with(details: str) -> bytes:
    return message(Load.TYPE, b'{"running":0,"waiting":0,"details":%s}' % details.encode())


def request_with(head: bytes, says: int | None = None, data: bytes = b"") -> bytes:
    return message(Request.TYPE, struct.pack(">I", len(head) if says is None else says) + head + data, 1)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_each_frame_is_read_back_as_it_was_written(kind: type[Frame], data: st.DataObject) -> None:
    """Every frame of every class survives its way over the wire."""
    frame = data.draw(strategies.BY_CLASS[kind])
    assert decode(encode(frame)) == frame


@given(st.binary(max_size=400))
def test_any_bytes_give_a_frame_or_one_error(noise: bytes) -> None:
    """Decoding raises FrameError and nothing else."""
    read(noise)


@given(st.sampled_from(sorted(TYPES)), st.integers(0, 3), st.sampled_from([0, 1]), st.binary(max_size=100))
def test_any_payload_behind_a_right_header_gives_a_frame_or_one_error(
    kind: int, flags: int, exchange: int, payload: bytes
) -> None:
    """The readers of each class are total too."""
    read(message(kind, payload, exchange, flags))


@given(strategies.ANY, st.data())
def test_a_damaged_frame_gives_a_frame_or_one_error(frame: Frame, data: st.DataObject) -> None:
    """Bytes changed, cut out or added anywhere do no harm."""
    whole = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    read(bytes(whole))


JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=5,
)
FIELDS = sorted({*Hello.__slots__, *Load.__slots__, *Model.__slots__, *RequestHead.__slots__, *ResponseHead.__slots__})


@given(
    st.sampled_from([0x01, 0x02, 0x03, 0x04, 0x10, 0x11, 0x13]), st.dictionaries(st.sampled_from(FIELDS), JSON_VALUE)
)
def test_any_json_gives_a_frame_or_one_error(kind: int, fields: dict[str, object]) -> None:
    """Fields of any JSON type, in any of the heads, are refused by name or taken."""
    text = json.dumps(fields).encode()
    has_head = kind in (Request.TYPE, Response.TYPE)
    payload = struct.pack(">I", len(text)) + text if has_head else text
    read(message(kind, payload, 1 if kind >= Request.TYPE else 0))


@given(strategies.ANY)
def test_what_was_read_can_be_written_again(frame: Frame) -> None:
    """A frame that decoding lets through has no value that encoding would refuse."""
    again = read(encode(frame))
    assert again is not None
    encode(again)


def read(noise: bytes) -> Frame | None:
    try:
        frame = decode(noise)
    except FrameError:
        return None
    encode(frame)
    return frame


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_json_nested_ten_thousand_deep_is_refused(bracket: str) -> None:
    """The depth of a peer's JSON cannot exhaust this side's stack."""
    closing = "]" if bracket == "[" else "}"
    deep = bracket * 10_000 + "0" + closing * 10_000
    for noise in (load_with(deep), load_with(f'{{"a":{deep}}}'), request_with(deep.encode())):
        with pytest.raises(FrameError):
            decode(noise)


def test_details_nested_over_the_limit_are_refused() -> None:
    """What a recursive reader above would fail on does not get there: a depth far below Python's own is the limit."""
    levels = MAX_JSON_DEPTH - 1
    assert decode(load_with('{"a":' + "[" * levels + "]" * levels + "}"))
    with pytest.raises(FrameError, match="LOAD: details is nested over 16 levels deep"):
        decode(load_with('{"a":' + "[" * (levels + 1) + "]" * (levels + 1) + "}"))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_json_is_refused(number: str) -> None:
    """No value comes in that could not be written as JSON again."""
    with pytest.raises(FrameError, match="LOAD: not JSON"):
        decode(load_with(f'{{"a":{number}}}'))


def test_an_integer_of_a_million_digits_is_refused() -> None:
    """Python's own bound on the digits of an integer holds here, as a FrameError."""
    with pytest.raises(FrameError, match="LOAD: not JSON"):
        decode(load_with('{"a":' + "9" * 1_000_000 + "}"))


def test_half_a_character_is_refused() -> None:
    """An escaped lone surrogate would fail later, far from here."""
    with pytest.raises(FrameError, match="LOAD: not JSON"):
        decode(load_with('{"a":"\\ud800"}'))


@pytest.mark.parametrize(
    ("noise", "text"),
    [
        (b"", "shorter than a frame's header of 6"),
        (b"\x12\x00\x00\x00\x00", "shorter than a frame's header of 6"),
        (message(0x7F, b""), "unknown frame type 0x7f"),
        (message(Ping.TYPE, bytes(12), flags=1), "PING: unknown flags 0x01"),
        (message(Data.TYPE, b"", 1, flags=4), "DATA: unknown flags 0x04"),
        (message(Data.TYPE, b"", 0), "DATA: exchange 0 where one is needed"),
        (message(Ping.TYPE, bytes(12), 7), "PING: exchange 7 where none is needed"),
        (message(Ping.TYPE, bytes(11)), "PING: a payload of 11 bytes where 12 are needed"),
        (message(Credit.TYPE, bytes(4), 1), "CREDIT: a credit of 0 bytes"),
        (message(Credit.TYPE, b"\x80\0\0\0", 1), "CREDIT: a credit of 2147483648 bytes"),
        (request_with(b"{}", says=3), "REQUEST: a head of 3 bytes in a frame that has 2 left"),
        (request_with(b"{}", says=1 << 31), "REQUEST: a head of 2147483648 bytes is over 65536"),
        (request_with(b"{}", says=1), "REQUEST: not JSON"),
        (request_with(b"[]"), "REQUEST: not a JSON object"),
        (request_with(b"{}"), "REQUEST: method must be a string"),
        (request_with(b'{"method":"GET","path":"/","deadline_ms":true}'), "deadline_ms must be an integer"),
        (request_with(b'{"method":"GET","path":"/","deadline_ms":-1}'), "deadline_ms must be an integer"),
        (message(Request.TYPE, b"\0\0", 1), "REQUEST: the head's length is missing"),
        (message(Token.TYPE, b""), "TOKEN: 0 bytes are not from 1"),
        (message(Token.TYPE, bytes(MAX_TOKEN_BYTES + 1)), "TOKEN: 16385 bytes"),
        (message(Failed.TYPE, bytes(2 + MAX_TEXT_BYTES + 1), 1), "FAILED: a payload of 1027 bytes"),
        (message(Failed.TYPE, b"\0\x01\xff", 1), "FAILED: not UTF-8: invalid start byte at byte 0"),
        (bytes(MAX_MESSAGE_BYTES + 1), "a message of 1048577 bytes is over 1048576"),
    ],
)
def test_an_error_names_the_frame_and_the_field(noise: bytes, text: str) -> None:
    """Whoever writes the other end learns what is wrong."""
    with pytest.raises(FrameError) as caught:
        decode(noise)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        RequestHead("GET", "/", metadata=(("a", "b"),) * (MAX_METADATA_PAIRS + 1)),
        RequestHead("GET", "/", metadata=(("a", "b" * 70_000),)),
        RequestHead("M" * 33, "/"),
        RequestHead("GET", "/", deadline_ms=-1),
        RequestHead("GET", "/", body_bytes=-1),
        RequestHead("GET", "/", traceparent="0" * 257),
        ResponseHead(99),
        ResponseHead(600),
        ResponseHead(200, durations_us=(("decode", -1),)),
    ],
)
def test_a_head_that_the_peer_would_refuse_is_not_made(head: RequestHead | ResponseHead) -> None:
    """One client's request with too many headers fails by itself, and not the tunnel that carries it."""
    with pytest.raises(ValueError, match=r"must be|are over|is over"):
        encode_head(head)


@pytest.mark.parametrize(
    "frame",
    [
        Token("x" * (MAX_TOKEN_BYTES + 1)),
        Trailers(1, (("a", "b" * 70_000),)),
        Models((Model("a/b", "1", 1),)),
        Models((Model("a", "1", 0),)),
        Models((Model("a", "1", 1), Model("a", "2", 1))),
        Credit(1, 1 << 31),
        Drain(1 << 32),
        Data(1 << 32, b""),
        Data(1, bytes(MAX_MESSAGE_BYTES)),
    ],
)
def test_a_frame_that_the_peer_would_refuse_is_not_made(frame: Frame) -> None:
    """What is out of range fails where it was made, with ValueError."""
    with pytest.raises(ValueError, match=frame.__class__.__name__ + r"|" + frame.__class__.__name__.upper()):
        encode(frame)


def test_a_long_text_is_cut_between_characters() -> None:
    """A reason is never refused for its length."""
    frame = decode(encode(Failed(1, 33, "\N{EURO SIGN}" * 1000)))
    assert isinstance(frame, Failed)
    assert frame.text == "\N{EURO SIGN}" * (MAX_TEXT_BYTES // 3)


def test_a_body_is_a_view_and_not_a_copy() -> None:
    """Nothing of a body is copied when a frame is read."""
    whole = encode(Data(1, b"picture"))
    frame = decode(whole)
    assert isinstance(frame, Data)
    assert isinstance(frame.data, memoryview)
    assert frame.data.obj is whole
