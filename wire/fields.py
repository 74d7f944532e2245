"""Fields of frames, to bytes and back: JSON, text and numbers, each bounded first and read second.

The readers raise FrameError with the field's name and its bound; the writers take what this side made.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any, Final

from .errors import FrameError
from .frames import Json, Metadata
from .limits import MAX_JSON_DEPTH, MAX_METADATA_PAIRS, MAX_TEXT_BYTES

U16: Final = struct.Struct(">H")
U32: Final = struct.Struct(">I")
U64: Final = struct.Struct(">Q")

MAX_INTEGER: Final = (1 << 53) - 1
"""What every JSON library keeps exact (RFC 8259 6)."""

# --- writing ----------------------------------------------------------------------------------------------------------

_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def json_bytes(value: Json) -> bytes:
    """As short as JSON is, in UTF-8."""
    # Lone surrogates cannot be UTF-8; they only come from header bytes that were never text.
    return _dump(value).encode("utf-8", "replace")


def text_bytes(text: str) -> bytes:
    """Cut to MAX_TEXT_BYTES, between characters."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded
    return encoded[:MAX_TEXT_BYTES].decode("utf-8", "ignore").encode()


def check(read: Callable[[Any], object], value: object) -> None:
    """Raises ValueError for what `read` would refuse: it was made here, and is no frame."""
    try:
        read(value)
    except FrameError as error:
        raise ValueError(str(error)) from error


# --- reading ----------------------------------------------------------------------------------------------------------


def object_of(payload: memoryview) -> Json:
    """A payload that is one JSON object."""
    text = utf8(payload)
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


def utf8(payload: memoryview) -> str:
    """Bytes that must be text."""
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError as error:
        raise FrameError(f"not UTF-8: {error.reason} at byte {error.start}") from None


def unpack(layout: struct.Struct, payload: memoryview) -> tuple[Any, ...]:
    """A payload of one layout, and nothing else."""
    if len(payload) != layout.size:
        raise FrameError(f"a payload of {len(payload)} bytes where {layout.size} are needed")
    return layout.unpack(payload)


def number_and_text(layout: struct.Struct, payload: memoryview) -> tuple[int, str]:
    """A number, and text for people behind it."""
    least, most = layout.size, layout.size + MAX_TEXT_BYTES
    if not least <= len(payload) <= most:
        raise FrameError(f"a payload of {len(payload)} bytes is not from {least} to {most}")
    return layout.unpack_from(payload)[0], utf8(payload[layout.size :])


def string(fields: Json, name: str, most: int, default: str | None = None) -> str:
    """A string of at most `most` characters."""
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > most:
        raise FrameError(f"{name} must be a string of at most {most} characters")
    return value


def name_of(fields: Json, name: str) -> str:
    """A worker's or a model's name."""
    value = string(fields, name, 128)
    if not value or not value.isprintable() or "/" in value:
        raise FrameError(f"{name} must be 1 to 128 printable characters without a slash")
    return value


def integer(fields: Json, name: str, default: int | None = None, low: int = 0, high: int = MAX_INTEGER) -> int:
    """An integer from `low` to `high`."""
    value = fields.get(name, default)
    if type(value) is not int or not low <= value <= high:  # bool is an int, and not meant here
        raise FrameError(f"{name} must be an integer from {low} to {high}")
    return value


def list_of(fields: Json, name: str) -> list[Any]:
    """A list, empty by default."""
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise FrameError(f"{name} must be a list")
    return value


def mapping(fields: Json, name: str) -> Json:
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


PAIRS = (list, tuple)  # as read, as given


def metadata(fields: Json) -> Metadata:
    """Pairs of strings, as read or as given."""
    pairs = fields.get("metadata", [])
    if not isinstance(pairs, list | tuple):
        raise FrameError("metadata must be a list")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise FrameError(f"{len(pairs)} pairs of metadata are over {MAX_METADATA_PAIRS}")
    for pair in pairs:
        if type(pair) not in PAIRS or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
            raise FrameError("metadata must be pairs of strings")
    return tuple(map(tuple, pairs))
