"""Frames to bytes and back.

`encode(frame)` gives the message; `decode(message)` gives a frame or raises FrameError, for any bytes at all: every
field is bounded first and read second. What `decode` would refuse, `encode` refuses to make: a header too many in one
client's request fails there, and not the tunnel. Layouts are those of docs/reference/wire.md, section by section.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any, Final

from .errors import FrameError
from .frames import (
    Ack,
    Buffer,
    Cancel,
    Credit,
    Data,
    Drain,
    Failed,
    Frame,
    GoAway,
    Hello,
    Json,
    Load,
    Metadata,
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
from .limits import (
    MAX_CREDIT_BYTES,
    MAX_HEAD_BYTES,
    MAX_JSON_DEPTH,
    MAX_MESSAGE_BYTES,
    MAX_METADATA_PAIRS,
    MAX_TEXT_BYTES,
    MAX_TOKEN_BYTES,
)

HEADER: Final = struct.Struct(">BBI")
"""Type, flags, exchange: 6 bytes, network order. The length is the message's."""

END: Final = 0x01
"""Flag of REQUEST, RESPONSE and DATA: the body ends with this frame."""
ACK_NOW: Final = 0x02
"""Flag of DATA, REQUEST and RESPONSE: acknowledge at once, the sender measures the path with this one."""

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_PING = struct.Struct(">QI")
_PONG = struct.Struct(">QQQ")
_MAX_U32 = (1 << 32) - 1
_JSON_INTEGERS = (1 << 53) - 1  # what every JSON library keeps exact (RFC 8259 6)

# --- encoding ---------------------------------------------------------------------------------------------------------

_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def encode(frame: Frame) -> bytes:
    """The message of a frame. Raises ValueError for a field out of its range: a bug of the caller's."""
    name, exchange = type(frame).__name__, getattr(frame, "exchange", 0)
    try:
        message = b"".join((HEADER.pack(frame.TYPE, _flags(frame), exchange), *_payload(frame)))
    except struct.error as error:
        raise ValueError(f"{name}: {error}") from error
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"{name} of {len(message)} bytes is over {MAX_MESSAGE_BYTES}")
    if not isinstance(frame, Request | Response | Data):  # heads are checked in encode_head; the others are rare
        _check(decode, message)
    return message


def _check(read: Callable[[Any], object], value: object) -> None:
    try:
        read(value)
    except FrameError as error:
        raise ValueError(str(error)) from error


def _flags(frame: Frame) -> int:
    if isinstance(frame, Request | Response | Data):
        return (END if frame.end else 0) | (ACK_NOW if frame.ack_now else 0)
    return 0


def _payload(frame: Frame) -> tuple[Buffer, ...]:
    match frame:
        case Data():
            return (frame.data,)
        case Request() | Response():
            return *encode_head(frame.head), frame.data
        case Ping():
            return (_PING.pack(frame.sent_us, frame.rtt_us),)
        case Pong():
            return (_PONG.pack(frame.ping_us, frame.received_us, frame.sent_us),)
        case Ack():
            return (_U64.pack(frame.received),)
        case Credit():
            return (_U32.pack(frame.bytes),)
        case Cancel() | Failed() | GoAway():
            return _U16.pack(frame.code), _text_bytes(frame.text)
        case Drain():
            return _U32.pack(frame.grace_ms), _text_bytes(frame.text)
        case TokenAccepted():
            return (_U64.pack(frame.expires_in_ms),)
        case Token():
            return (frame.token.encode(),)
        case Trailers():
            return (_json_bytes({"metadata": frame.metadata}),)
        case Hello() | Welcome() | Models() | Load():
            return (_json_bytes(_connection_json(frame)),)


def encode_head(head: RequestHead | ResponseHead) -> tuple[bytes, bytes]:
    """The head of a REQUEST or RESPONSE: its length and its JSON. Raises ValueError over MAX_HEAD_BYTES and for a field
    out of its range."""
    if isinstance(head, RequestHead):
        fields = _request_head(head)
        if not _is_usual_request(head):
            _check(_read_request_head, fields)
    else:
        fields = _response_head(head)
        if not _is_usual_response(head):
            _check(_read_response_head, fields)
    encoded = _json_bytes(fields)
    if len(encoded) > MAX_HEAD_BYTES:
        raise ValueError(f"a head of {len(encoded)} bytes is over {MAX_HEAD_BYTES}")
    return _U32.pack(len(encoded)), encoded


def _connection_json(frame: Hello | Welcome | Models | Load) -> Json:
    fields = {name: getattr(frame, name) for name in frame.__slots__}
    if "models" in fields:
        fields["models"] = [{name: getattr(model, name) for name in Model.__slots__} for model in fields["models"]]
    return fields


# Reading every head back would be a seventh of an exchange's whole cost here: only one that has something out of the
# ordinary is, to be refused with the reader's words.


def _is_usual_request(head: RequestHead) -> bool:
    return (
        len(head.method) <= 32
        and len(head.path) <= MAX_HEAD_BYTES
        and len(head.model) <= 256
        and len(head.traceparent) <= 256
        and len(head.metadata) <= MAX_METADATA_PAIRS
        and 0 <= head.deadline_ms <= _JSON_INTEGERS
        and 0 <= (head.body_bytes or 0) <= _JSON_INTEGERS
    )


def _is_usual_response(head: ResponseHead) -> bool:
    return (
        100 <= head.status <= 599
        and len(head.metadata) <= MAX_METADATA_PAIRS
        and 0 <= head.received_us <= _JSON_INTEGERS
        and 0 <= head.sent_us <= _JSON_INTEGERS
        and 0 <= (head.body_bytes or 0) <= _JSON_INTEGERS
        and len(head.durations_us) <= MAX_METADATA_PAIRS
        and all(0 <= micros <= _JSON_INTEGERS for _, micros in head.durations_us)
    )


def _request_head(head: RequestHead) -> Json:
    fields: dict[str, Any] = {"method": head.method, "path": head.path}
    if head.model:
        fields["model"] = head.model
    if head.metadata:
        fields["metadata"] = head.metadata
    if head.deadline_ms:
        fields["deadline_ms"] = head.deadline_ms
    if head.traceparent:
        fields["traceparent"] = head.traceparent
    if head.body_bytes is not None:
        fields["body_bytes"] = head.body_bytes
    return fields


def _response_head(head: ResponseHead) -> Json:
    fields: dict[str, Any] = {"status": head.status}
    if head.metadata:
        fields["metadata"] = head.metadata
    if head.body_bytes is not None:
        fields["body_bytes"] = head.body_bytes
    if head.received_us:
        fields["received_us"] = head.received_us
    if head.sent_us:
        fields["sent_us"] = head.sent_us
    if head.durations_us:
        fields["durations_us"] = head.durations_us
    return fields


def _json_bytes(value: Json) -> bytes:
    # Lone surrogates cannot be UTF-8; they only come from header bytes that were never text.
    return _dump(value).encode("utf-8", "replace")


def _text_bytes(text: str) -> bytes:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded
    return encoded[:MAX_TEXT_BYTES].decode("utf-8", "ignore").encode()


# --- decoding ---------------------------------------------------------------------------------------------------------


def decode(message: Buffer) -> Frame:
    """The frame of a message. Bodies are views of `message`, not copies. Raises FrameError, and nothing else."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise FrameError(f"a message of {len(message)} bytes is over {MAX_MESSAGE_BYTES}")
    if len(message) < HEADER.size:
        raise FrameError(f"a message of {len(message)} bytes is shorter than a frame's header of {HEADER.size}")
    kind, flags, exchange = HEADER.unpack_from(message)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise FrameError(f"unknown frame type 0x{kind:02x}")
    name, allowed_flags, on_exchange, read = decoder
    if flags & ~allowed_flags:
        raise FrameError(f"{name}: unknown flags 0x{flags:02x}")
    if (exchange != 0) != on_exchange:
        raise FrameError(f"{name}: exchange {exchange} where {'one is' if on_exchange else 'none is'} needed")
    try:
        return read(exchange, flags, memoryview(message)[HEADER.size :])
    except FrameError as error:
        raise FrameError(f"{name}: {error}") from error


def _read_request(exchange: int, flags: int, payload: memoryview) -> Request:
    head, data = _split_head(payload)
    return Request(exchange, _read_request_head(head), data, bool(flags & END), bool(flags & ACK_NOW))


def _read_request_head(head: Json) -> RequestHead:
    return RequestHead(
        method=_string(head, "method", 32),
        path=_string(head, "path", MAX_HEAD_BYTES),
        model=_string(head, "model", 256, ""),
        metadata=_metadata(head),
        deadline_ms=_integer(head, "deadline_ms", 0),
        traceparent=_string(head, "traceparent", 256, ""),
        body_bytes=_body_bytes(head),
    )


def _read_response(exchange: int, flags: int, payload: memoryview) -> Response:
    head, data = _split_head(payload)
    return Response(exchange, _read_response_head(head), data, bool(flags & END), bool(flags & ACK_NOW))


def _read_response_head(head: Json) -> ResponseHead:
    return ResponseHead(
        status=_integer(head, "status", low=100, high=599),
        metadata=_metadata(head),
        body_bytes=_body_bytes(head),
        received_us=_integer(head, "received_us", 0),
        sent_us=_integer(head, "sent_us", 0),
        durations_us=_durations(head),
    )


def _read_data(exchange: int, flags: int, payload: memoryview) -> Data:
    return Data(exchange, payload, bool(flags & END), bool(flags & ACK_NOW))


def _read_trailers(exchange: int, flags: int, payload: memoryview) -> Trailers:
    if len(payload) > MAX_HEAD_BYTES:
        raise FrameError(f"{len(payload)} bytes are over {MAX_HEAD_BYTES}")
    return Trailers(exchange, _metadata(_object(payload)))


def _read_hello(exchange: int, flags: int, payload: memoryview) -> Hello:
    fields = _object(payload)
    versions = _list(fields, "versions")
    if not all(type(version) is int for version in versions):
        raise FrameError("versions must be integers")
    return Hello(
        versions=tuple(versions),
        worker=_name(fields, "worker"),
        generation=_integer(fields, "generation"),
        dial=_integer(fields, "dial"),
        software=_string(fields, "software", 256, ""),
        models=_models(fields),
        max_exchanges=_integer(fields, "max_exchanges", low=1, high=_MAX_U32),
        window=_integer(fields, "window", low=1, high=MAX_CREDIT_BYTES),
        labels=_mapping(fields, "labels"),
    )


def _read_welcome(exchange: int, flags: int, payload: memoryview) -> Welcome:
    fields = _object(payload)
    return Welcome(
        version=_integer(fields, "version"),
        session=_string(fields, "session", 256),
        gateway=_string(fields, "gateway", 256),
        heartbeat_ms=_integer(fields, "heartbeat_ms", low=1, high=_MAX_U32),
        misses=_integer(fields, "misses", low=1, high=_MAX_U32),
        window=_integer(fields, "window", low=1, high=MAX_CREDIT_BYTES),
        token_expires_in_ms=_integer(fields, "token_expires_in_ms", 0),
    )


def _read_models(exchange: int, flags: int, payload: memoryview) -> Models:
    return Models(_models(_object(payload)))


def _read_load(exchange: int, flags: int, payload: memoryview) -> Load:
    fields = _object(payload)
    return Load(_integer(fields, "running"), _integer(fields, "waiting"), _mapping(fields, "details"))


def _read_ping(exchange: int, flags: int, payload: memoryview) -> Ping:
    return Ping(*_unpack(_PING, payload))


def _read_pong(exchange: int, flags: int, payload: memoryview) -> Pong:
    return Pong(*_unpack(_PONG, payload))


def _read_ack(exchange: int, flags: int, payload: memoryview) -> Ack:
    return Ack(*_unpack(_U64, payload))


def _read_credit(exchange: int, flags: int, payload: memoryview) -> Credit:
    (more,) = _unpack(_U32, payload)
    if not 0 < more <= MAX_CREDIT_BYTES:
        raise FrameError(f"a credit of {more} bytes is not from 1 to {MAX_CREDIT_BYTES}")
    return Credit(exchange, more)


def _read_token(exchange: int, flags: int, payload: memoryview) -> Token:
    if not 0 < len(payload) <= MAX_TOKEN_BYTES:
        raise FrameError(f"{len(payload)} bytes are not from 1 to {MAX_TOKEN_BYTES}")
    return Token(_utf8(payload))


def _read_token_accepted(exchange: int, flags: int, payload: memoryview) -> TokenAccepted:
    return TokenAccepted(*_unpack(_U64, payload))


def _read_drain(exchange: int, flags: int, payload: memoryview) -> Drain:
    return Drain(*_number_and_text(_U32, payload))


def _read_goaway(exchange: int, flags: int, payload: memoryview) -> GoAway:
    return GoAway(*_number_and_text(_U16, payload))


def _read_cancel(exchange: int, flags: int, payload: memoryview) -> Cancel:
    return Cancel(exchange, *_number_and_text(_U16, payload))


def _read_failed(exchange: int, flags: int, payload: memoryview) -> Failed:
    return Failed(exchange, *_number_and_text(_U16, payload))


_DECODERS: Final[dict[int, tuple[str, int, bool, Callable[[int, int, memoryview], Frame]]]] = {
    Hello.TYPE: ("HELLO", 0, False, _read_hello),
    Welcome.TYPE: ("WELCOME", 0, False, _read_welcome),
    Models.TYPE: ("MODELS", 0, False, _read_models),
    Load.TYPE: ("LOAD", 0, False, _read_load),
    Ping.TYPE: ("PING", 0, False, _read_ping),
    Pong.TYPE: ("PONG", 0, False, _read_pong),
    Token.TYPE: ("TOKEN", 0, False, _read_token),
    TokenAccepted.TYPE: ("TOKEN_ACCEPTED", 0, False, _read_token_accepted),
    Drain.TYPE: ("DRAIN", 0, False, _read_drain),
    GoAway.TYPE: ("GOAWAY", 0, False, _read_goaway),
    Ack.TYPE: ("ACK", 0, False, _read_ack),
    Request.TYPE: ("REQUEST", END | ACK_NOW, True, _read_request),
    Response.TYPE: ("RESPONSE", END | ACK_NOW, True, _read_response),
    Data.TYPE: ("DATA", END | ACK_NOW, True, _read_data),
    Trailers.TYPE: ("TRAILERS", 0, True, _read_trailers),
    Credit.TYPE: ("CREDIT", 0, True, _read_credit),
    Cancel.TYPE: ("CANCEL", 0, True, _read_cancel),
    Failed.TYPE: ("FAILED", 0, True, _read_failed),
}

# --- fields: every one is bounded first and read second ---------------------------------------------------------------


def _split_head(payload: memoryview) -> tuple[Json, memoryview]:
    if len(payload) < _U32.size:
        raise FrameError("the head's length is missing")
    (length,) = _U32.unpack_from(payload)
    if length > MAX_HEAD_BYTES:
        raise FrameError(f"a head of {length} bytes is over {MAX_HEAD_BYTES}")
    if length > len(payload) - _U32.size:
        raise FrameError(f"a head of {length} bytes in a frame that has {len(payload) - _U32.size} left")
    end = _U32.size + length
    return _object(payload[_U32.size : end]), payload[end:]


def _object(payload: memoryview) -> Json:
    text = _utf8(payload)
    try:
        value, end = _read(text)
        if end != len(text):
            value = _load(text)
        if "\\u" in text:  # an escaped lone surrogate is no character: it would fail later, far from here
            _dump(value).encode()
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FrameError("not a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):  # 1e999: nobody could write it back as JSON
        raise ValueError(f"{digits[:32]} is no number that can be kept")
    return value


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_load = _decoder.decode


def _read(text: str) -> tuple[object, int]:
    """The object that `text` begins with and where it ends: all of it, as everybody writes it. White space around it is
    `_load`'s, which looks for some by two regular expressions."""
    return _decoder.raw_decode(text) if text[:1] == "{" else (None, -1)


def _utf8(payload: memoryview) -> str:
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError as error:
        raise FrameError(f"not UTF-8: {error.reason} at byte {error.start}") from None


def _unpack(layout: struct.Struct, payload: memoryview) -> tuple[Any, ...]:
    if len(payload) != layout.size:
        raise FrameError(f"a payload of {len(payload)} bytes where {layout.size} are needed")
    return layout.unpack(payload)


def _number_and_text(layout: struct.Struct, payload: memoryview) -> tuple[int, str]:
    least, most = layout.size, layout.size + MAX_TEXT_BYTES
    if not least <= len(payload) <= most:
        raise FrameError(f"a payload of {len(payload)} bytes is not from {least} to {most}")
    return layout.unpack_from(payload)[0], _utf8(payload[layout.size :])


def _string(fields: Json, name: str, most: int, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > most:
        raise FrameError(f"{name} must be a string of at most {most} characters")
    return value


def _name(fields: Json, name: str) -> str:
    value = _string(fields, name, 128)
    if not value or not value.isprintable() or "/" in value:
        raise FrameError(f"{name} must be 1 to 128 printable characters without a slash")
    return value


def _integer(fields: Json, name: str, default: int | None = None, low: int = 0, high: int = _JSON_INTEGERS) -> int:
    value = fields.get(name, default)
    if type(value) is not int or not low <= value <= high:  # bool is an int, and not meant here
        raise FrameError(f"{name} must be an integer from {low} to {high}")
    return value


def _body_bytes(head: Json) -> int | None:
    return None if head.get("body_bytes") is None else _integer(head, "body_bytes")


def _list(fields: Json, name: str) -> list[Any]:
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise FrameError(f"{name} must be a list")
    return value


def _mapping(fields: Json, name: str) -> Json:
    """An object for people and other programs to read. Its depth is bounded: whoever writes it again recurses."""
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise FrameError(f"{name} must be an object")
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        inside = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in inside if isinstance(child, dict | list)]
        if not level:
            return value
    raise FrameError(f"{name} is nested over {MAX_JSON_DEPTH} levels deep")


_PAIRS = (list, tuple)  # as read, as given


def _metadata(fields: Json) -> Metadata:
    pairs = fields.get("metadata", [])
    if not isinstance(pairs, list | tuple):
        raise FrameError("metadata must be a list")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise FrameError(f"{len(pairs)} pairs of metadata are over {MAX_METADATA_PAIRS}")
    for pair in pairs:
        if type(pair) not in _PAIRS or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
            raise FrameError("metadata must be pairs of strings")
    return tuple(map(tuple, pairs))


def _durations(head: Json) -> tuple[tuple[str, int], ...]:
    pairs = head.get("durations_us", [])
    if not isinstance(pairs, list | tuple):
        raise FrameError("durations_us must be a list")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise FrameError(f"{len(pairs)} durations are over {MAX_METADATA_PAIRS}")
    for pair in pairs:
        if type(pair) not in _PAIRS or len(pair) != 2 or type(pair[0]) is not str:
            raise FrameError("durations_us must be pairs of a name and microseconds")
        if type(pair[1]) is not int or not 0 <= pair[1] <= _JSON_INTEGERS:
            raise FrameError(f"durations_us of {pair[0][:64]!r} must be an integer of at least 0")
    return tuple(map(tuple, pairs))


def _models(fields: Json) -> tuple[Model, ...]:
    models = []
    for entry in _list(fields, "models"):
        if not isinstance(entry, dict):
            raise FrameError("models must be objects")
        models.append(
            Model(
                name=_name(entry, "name"),
                version=_string(entry, "version", 128),
                slots=_integer(entry, "slots", low=1, high=1 << 16),
                failure=_string(entry, "failure", 4096, ""),
                metadata=_mapping(entry, "metadata"),
            )
        )
    if len({model.name for model in models}) != len(models):
        raise FrameError("a model is announced twice")
    return tuple(models)
