"""The heads of REQUEST and RESPONSE: what they may hold, as JSON and back.

Most of what an exchange costs the protocol is here, so one that was made on this side is read back, to be refused with
the reader's words, only when something in it is out of the ordinary.
"""

from __future__ import annotations

from typing import Any

from .errors import FrameError
from .fields import MAX_INTEGER, PAIRS, U32, check, integer, json_bytes, metadata, object_of, string
from .frames import Json, RequestHead, ResponseHead
from .limits import MAX_HEAD_BYTES, MAX_METADATA_PAIRS


def encode_head(head: RequestHead | ResponseHead) -> tuple[bytes, bytes]:
    """The head of a REQUEST or RESPONSE: its length and its JSON. Raises ValueError over MAX_HEAD_BYTES and for a field
    out of its range."""
    if isinstance(head, RequestHead):
        fields = _request_head(head)
        if not _is_usual_request(head):
            check(read_request_head, fields)
    else:
        fields = _response_head(head)
        if not _is_usual_response(head):
            check(read_response_head, fields)
    encoded = json_bytes(fields)
    if len(encoded) > MAX_HEAD_BYTES:
        raise ValueError(f"a head of {len(encoded)} bytes is over {MAX_HEAD_BYTES}")
    return U32.pack(len(encoded)), encoded


def _is_usual_request(head: RequestHead) -> bool:
    return (
        len(head.method) <= 32
        and len(head.path) <= MAX_HEAD_BYTES
        and len(head.model) <= 256
        and len(head.traceparent) <= 256
        and len(head.metadata) <= MAX_METADATA_PAIRS
        and 0 <= head.deadline_ms <= MAX_INTEGER
        and 0 <= (head.body_bytes or 0) <= MAX_INTEGER
    )


def _is_usual_response(head: ResponseHead) -> bool:
    return (
        100 <= head.status <= 599
        and len(head.metadata) <= MAX_METADATA_PAIRS
        and 0 <= head.received_us <= MAX_INTEGER
        and 0 <= head.sent_us <= MAX_INTEGER
        and 0 <= (head.body_bytes or 0) <= MAX_INTEGER
        and len(head.durations_us) <= MAX_METADATA_PAIRS
        and all(0 <= micros <= MAX_INTEGER for _, micros in head.durations_us)
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


def split_head(payload: memoryview) -> tuple[Json, memoryview]:
    """The JSON of a head at the beginning of a payload, and the data behind it. Raises FrameError."""
    if len(payload) < U32.size:
        raise FrameError("the head's length is missing")
    (length,) = U32.unpack_from(payload)
    if length > MAX_HEAD_BYTES:
        raise FrameError(f"a head of {length} bytes is over {MAX_HEAD_BYTES}")
    if length > len(payload) - U32.size:
        raise FrameError(f"a head of {length} bytes in a frame that has {len(payload) - U32.size} left")
    end = U32.size + length
    return object_of(payload[U32.size : end]), payload[end:]


def read_request_head(head: Json) -> RequestHead:
    """A REQUEST's. Raises FrameError."""
    return RequestHead(
        method=string(head, "method", 32),
        path=string(head, "path", MAX_HEAD_BYTES),
        model=string(head, "model", 256, ""),
        metadata=metadata(head),
        deadline_ms=integer(head, "deadline_ms", 0),
        traceparent=string(head, "traceparent", 256, ""),
        body_bytes=_body_bytes(head),
    )


def read_response_head(head: Json) -> ResponseHead:
    """A RESPONSE's. Raises FrameError."""
    return ResponseHead(
        status=integer(head, "status", low=100, high=599),
        metadata=metadata(head),
        body_bytes=_body_bytes(head),
        received_us=integer(head, "received_us", 0),
        sent_us=integer(head, "sent_us", 0),
        durations_us=_durations(head),
    )


def _body_bytes(head: Json) -> int | None:
    return None if head.get("body_bytes") is None else integer(head, "body_bytes")


def _durations(head: Json) -> tuple[tuple[str, int], ...]:
    pairs = head.get("durations_us", [])
    if not isinstance(pairs, list | tuple):
        raise FrameError("durations_us must be a list")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise FrameError(f"{len(pairs)} durations are over {MAX_METADATA_PAIRS}")
    for pair in pairs:
        if type(pair) not in PAIRS or len(pair) != 2 or type(pair[0]) is not str:
            raise FrameError("durations_us must be pairs of a name and microseconds")
        if type(pair[1]) is not int or not 0 <= pair[1] <= MAX_INTEGER:
            raise FrameError(f"durations_us of {pair[0][:64]!r} must be an integer of at least 0")
    return tuple(map(tuple, pairs))
