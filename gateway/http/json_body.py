"""A stranger's JSON, bounded before it is parsed: its bytes, its values, its depth. And tensors written as JSON.

Parsing holds the event loop, and small text can become large objects: `[[],[],...` takes some thirty times its bytes.
The count of values is bounded by counting what separates them, which costs a scan and no object.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

from gateway.errors import BadRequest, WorkerFailed
from gateway.http.head import shown

MAX_VALUES = 1 << 20
"""Numbers, texts, lists and objects of one body: six pictures of 224x224x3 numbers. At some 50 ns and 64 bytes each,
parsing takes 50 ms and 64 MiB at most."""
MAX_TEXT = 128
"""Characters of a name or an id that is echoed."""


def parse_object(body: bytes) -> dict[str, object]:
    """The JSON object that the body is. Raises BadRequest."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        detail = f"the JSON has more than {MAX_VALUES} values: send tensors in binary form, or in several requests"
        raise BadRequest(detail)
    try:
        document = _DECODER.decode(body.decode())
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deep") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"the JSON is not UTF-8: at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg}, at character {error.pos}") from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {shown(str(error))}") from error
    if not isinstance(document, dict):
        raise BadRequest("the JSON is not an object")
    return document


def flattened(data: object, shape: Sequence[int], name: str) -> list[object]:
    """A tensor's values in row-major order, from a list that is flat or nested as the shape says. Raises BadRequest."""
    if not isinstance(data, list):
        raise BadRequest(f"the data of {shown(name)} is not a list")
    count = math.prod(shape)
    if len(shape) < 2 or not (data and isinstance(data[0], list)):
        if len(data) != count:
            raise BadRequest(f"the data of {shown(name)} has {len(data)} values, and its shape {list(shape)} {count}")
        return data
    values: list[Any] = [data]  # Any: lists, until the last dimension
    for depth, side in enumerate(shape):
        if not all(type(row) is list and len(row) == side for row in values):
            detail = f"the data of {shown(name)} is not nested as its shape {list(shape)} says: dimension {depth}"
            raise BadRequest(detail)
        values = list(chain.from_iterable(values))
    return values


def packed(values: Sequence[Any], name: str) -> bytes:  # Any: JSON values, which array itself checks
    """Numbers as little-endian FP32. Raises BadRequest."""
    try:
        numbers = array("f", values)
    except (TypeError, OverflowError) as error:
        raise BadRequest(f"the data of {shown(name)} is not numbers: {shown(str(error))}") from error
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def finite_text(data: bytes) -> str:
    """Little-endian FP32 as JSON numbers with commas, in the nine digits that give each value back. Raises WorkerFailed
    for infinities and NaN, which JSON does not know."""
    numbers = array("f", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    if not all(map(math.isfinite, numbers)):
        raise WorkerFailed("the model's answer is not finite numbers: its weights, or the tensor sent, are at fault")
    return ("%.9g," * len(numbers))[:-1] % tuple(numbers)


def text_of(document: dict[str, object], key: str) -> str:
    """A short text of an object; empty without one. Raises BadRequest."""
    text = document.get(key, "")
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise BadRequest(f"{key} must be a text of up to {MAX_TEXT} characters")
    return text


def objects_of(document: dict[str, object], key: str) -> list[dict[str, object]]:
    """A list of objects; empty without one. Raises BadRequest."""
    given = document.get(key, [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadRequest(f"{key} must be a list of objects")
    return given


def object_of(document: dict[str, object], key: str) -> dict[str, object]:
    """An object; empty without one. Raises BadRequest."""
    given = document.get(key, {})
    if not isinstance(given, dict):
        raise BadRequest(f"{key} must be an object")
    return given


def whole_of(document: dict[str, object], key: str, maximum: int) -> int:
    """A whole number from 0; 0 without one. Raises BadRequest."""
    number = document.get(key, 0)
    if type(number) is not int or not 0 <= number <= maximum:
        raise BadRequest(f"{key} must be a whole number from 0 to {maximum}")
    return number


def flag_of(document: dict[str, object], key: str, default: bool) -> bool:
    """True or false. Raises BadRequest."""
    flag = document.get(key, default)
    if not isinstance(flag, bool):
        raise BadRequest(f"{key} must be true or false")
    return flag


def _refuse_constant(name: str) -> float:
    """NaN and Infinity, which Python's reader takes and JSON does not know."""
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
compact = json.JSONEncoder(separators=(",", ":")).encode
"""A value as JSON without spaces. Made once: `json.dumps` makes an encoder for every call that asks for this."""
