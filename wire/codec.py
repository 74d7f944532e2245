"""Frames to bytes and back.

`encode(frame)` gives the message; `decode(message)` gives a frame or raises FrameError, for any bytes at all: every
field is bounded first and read second. What `decode` would refuse, `encode` refuses to make: a header too many in one
client's request fails there, and not the tunnel. Layouts are those of docs/reference/wire.md, section by section. The
heads of exchanges are in `heads.py`, single fields in `fields.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from .errors import FrameError
from .fields import (
    U16,
    U32,
    U64,
    check,
    integer,
    json_bytes,
    list_of,
    mapping,
    metadata,
    name_of,
    number_and_text,
    object_of,
    string,
    text_bytes,
    unpack,
    utf8,
)
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
    Model,
    Models,
    Ping,
    Pong,
    Request,
    Response,
    Token,
    TokenAccepted,
    Trailers,
    Welcome,
)
from .heads import encode_head, read_request_head, read_response_head, split_head
from .limits import MAX_CREDIT_BYTES, MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, MAX_TOKEN_BYTES

HEADER: Final = struct.Struct(">BBI")
"""Type, flags, exchange: 6 bytes, network order. The length is the message's."""

END: Final = 0x01
"""Flag of REQUEST, RESPONSE and DATA: the body ends with this frame."""
ACK_NOW: Final = 0x02
"""Flag of DATA, REQUEST and RESPONSE: acknowledge at once, the sender measures the path with this one."""

_PING = struct.Struct(">QI")
_PONG = struct.Struct(">QQQ")
_MAX_U32 = (1 << 32) - 1

# --- encoding ---------------------------------------------------------------------------------------------------------


def encode(frame: Frame) -> bytes:
    """The message of a frame. Raises ValueError for a field out of its range: a bug of the caller's."""
    name, exchange = type(frame).__name__, getattr(frame, "exchange", 0)
    try:
        message = b"".join((HEADER.pack(frame.TYPE, _flags(frame), exchange), *_payload(frame)))
    except struct.error as error:
        raise ValueError(f"{name}: {error}") from error
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"{name} of {len(message)} bytes is over {MAX_MESSAGE_BYTES}")
    # Heads are checked in encode_head, an ACK has nothing that could be wrong, and the others are rare.
    if not isinstance(frame, Request | Response | Data | Ack):
        check(decode, message)
    return message


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
            return (U64.pack(frame.received),)
        case Credit():
            return (U32.pack(frame.bytes),)
        case Cancel() | Failed() | GoAway():
            return U16.pack(frame.code), text_bytes(frame.text)
        case Drain():
            return U32.pack(frame.grace_ms), text_bytes(frame.text)
        case TokenAccepted():
            return (U64.pack(frame.expires_in_ms),)
        case Token():
            return (frame.token.encode(),)
        case Trailers():
            return (json_bytes({"metadata": frame.metadata}),)
        case Hello() | Welcome() | Models() | Load():
            return (json_bytes(_connection_json(frame)),)


def _connection_json(frame: Hello | Welcome | Models | Load) -> Json:
    fields = {name: getattr(frame, name) for name in frame.__slots__}
    if "models" in fields:
        fields["models"] = [{name: getattr(model, name) for name in Model.__slots__} for model in fields["models"]]
    return fields


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
    head, data = split_head(payload)
    return Request(exchange, read_request_head(head), data, bool(flags & END), bool(flags & ACK_NOW))


def _read_response(exchange: int, flags: int, payload: memoryview) -> Response:
    head, data = split_head(payload)
    return Response(exchange, read_response_head(head), data, bool(flags & END), bool(flags & ACK_NOW))


def _read_data(exchange: int, flags: int, payload: memoryview) -> Data:
    return Data(exchange, payload, bool(flags & END), bool(flags & ACK_NOW))


def _read_trailers(exchange: int, flags: int, payload: memoryview) -> Trailers:
    if len(payload) > MAX_HEAD_BYTES:
        raise FrameError(f"{len(payload)} bytes are over {MAX_HEAD_BYTES}")
    return Trailers(exchange, metadata(object_of(payload)))


def _read_hello(exchange: int, flags: int, payload: memoryview) -> Hello:
    fields = object_of(payload)
    versions = list_of(fields, "versions")
    if not all(type(version) is int for version in versions):
        raise FrameError("versions must be integers")
    return Hello(
        versions=tuple(versions),
        worker=name_of(fields, "worker"),
        generation=integer(fields, "generation"),
        dial=integer(fields, "dial"),
        software=string(fields, "software", 256, ""),
        models=_models(fields),
        max_exchanges=integer(fields, "max_exchanges", low=1, high=_MAX_U32),
        window=integer(fields, "window", low=1, high=MAX_CREDIT_BYTES),
        labels=mapping(fields, "labels"),
    )


def _read_welcome(exchange: int, flags: int, payload: memoryview) -> Welcome:
    fields = object_of(payload)
    return Welcome(
        version=integer(fields, "version"),
        session=string(fields, "session", 256),
        gateway=string(fields, "gateway", 256),
        heartbeat_ms=integer(fields, "heartbeat_ms", low=1, high=_MAX_U32),
        misses=integer(fields, "misses", low=1, high=_MAX_U32),
        window=integer(fields, "window", low=1, high=MAX_CREDIT_BYTES),
        token_expires_in_ms=integer(fields, "token_expires_in_ms", 0),
    )


def _read_models(exchange: int, flags: int, payload: memoryview) -> Models:
    return Models(_models(object_of(payload)))


def _read_load(exchange: int, flags: int, payload: memoryview) -> Load:
    fields = object_of(payload)
    return Load(integer(fields, "running"), integer(fields, "waiting"), mapping(fields, "details"))


def _read_ping(exchange: int, flags: int, payload: memoryview) -> Ping:
    return Ping(*unpack(_PING, payload))


def _read_pong(exchange: int, flags: int, payload: memoryview) -> Pong:
    return Pong(*unpack(_PONG, payload))


def _read_ack(exchange: int, flags: int, payload: memoryview) -> Ack:
    return Ack(*unpack(U64, payload))


def _read_credit(exchange: int, flags: int, payload: memoryview) -> Credit:
    (more,) = unpack(U32, payload)
    if not 0 < more <= MAX_CREDIT_BYTES:
        raise FrameError(f"a credit of {more} bytes is not from 1 to {MAX_CREDIT_BYTES}")
    return Credit(exchange, more)


def _read_token(exchange: int, flags: int, payload: memoryview) -> Token:
    if not 0 < len(payload) <= MAX_TOKEN_BYTES:
        raise FrameError(f"{len(payload)} bytes are not from 1 to {MAX_TOKEN_BYTES}")
    return Token(utf8(payload))


def _read_token_accepted(exchange: int, flags: int, payload: memoryview) -> TokenAccepted:
    return TokenAccepted(*unpack(U64, payload))


def _read_drain(exchange: int, flags: int, payload: memoryview) -> Drain:
    return Drain(*number_and_text(U32, payload))


def _read_goaway(exchange: int, flags: int, payload: memoryview) -> GoAway:
    return GoAway(*number_and_text(U16, payload))


def _read_cancel(exchange: int, flags: int, payload: memoryview) -> Cancel:
    return Cancel(exchange, *number_and_text(U16, payload))


def _read_failed(exchange: int, flags: int, payload: memoryview) -> Failed:
    return Failed(exchange, *number_and_text(U16, payload))


def _models(fields: Json) -> tuple[Model, ...]:
    models = []
    for entry in list_of(fields, "models"):
        if not isinstance(entry, dict):
            raise FrameError("models must be objects")
        models.append(
            Model(
                name=name_of(entry, "name"),
                version=string(entry, "version", 128),
                slots=integer(entry, "slots", low=1, high=1 << 16),
                failure=string(entry, "failure", 4096, ""),
                metadata=mapping(entry, "metadata"),
            )
        )
    if len({model.name for model in models}) != len(models):
        raise FrameError("a model is announced twice")
    return tuple(models)


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
