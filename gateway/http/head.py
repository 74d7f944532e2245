"""What a request says of itself before its body: id, trace, deadline, priority, pin, number of answers.

Everything here came from a stranger: it is bounded and checked first, and what is passed on or logged is only what
passed. Pure functions over a mapping of headers; no request object, no clock.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from gateway.dispatch.model import Priority
from gateway.errors import BadRequest

REQUEST_ID = "X-Request-ID"
REQUEST_TIMEOUT = "X-Request-Timeout"
PRIORITY = "X-Priority"
WORKER = "X-Worker"
TRACEPARENT = "traceparent"

MAX_REQUEST_ID_CHARS = 64
MAX_MODEL_NAME = 128
"""Characters."""
MAX_TOP = 1000
"""Classes in the largest common label set (ImageNet); an answer stays below 100 kB."""
DEFAULT_TOP = 5
MAX_GROUP_NAME = 100
"""Characters."""

_NOT_IN_REQUEST_ID = re.compile(r"[^A-Za-z0-9._-]")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_SECONDS = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PRIORITIES = {"high": Priority.HIGH, "normal": Priority.NORMAL}


class Asked(NamedTuple):
    """How the client wants its request handled."""

    timeout_s: float
    priority: Priority
    pin: str | None


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's X-Request-ID, less what does not belong in a log line or a path; a new one if nothing is left."""
    given = headers.get(REQUEST_ID)
    if given:
        kept = _NOT_IN_REQUEST_ID.sub("", given[: 4 * MAX_REQUEST_ID_CHARS])[:MAX_REQUEST_ID_CHARS]
        if kept:
            return kept
    return f"{random.getrandbits(64):016x}"


def traceparent_of(headers: Mapping[str, str]) -> str:
    """A traceparent for the way onward: the client's trace with a new parent id, or a new trace.

    Source: W3C Trace Context 3.2 and 4.3. A version this gateway does not know is read as version 00; `ff`, all zeros
    and anything malformed start a new trace. A new trace is not sampled (flags 00): the gateway records no spans.
    """
    parent = f"{random.getrandbits(64) or 1:016x}"
    given = headers.get(TRACEPARENT)
    if given and (match := _TRACEPARENT.fullmatch(given)):
        version, trace, span, flags, more = match.groups()
        is_valid = version != "ff" and trace.strip("0") and span.strip("0") and not (version == "00" and more)
        if is_valid:
            # Only the sampled and random bits are defined; unknown ones are cleared (3.2.2.5).
            return f"00-{trace}-{parent}-{int(flags, 16) & 0x03:02x}"
    return f"00-{random.getrandbits(128) or 1:032x}-{parent}-00"


def asked_of(headers: Mapping[str, str], *, default_timeout_s: float, max_timeout_s: float, may_pin: bool) -> Asked:
    """Deadline, priority and pin. Raises BadRequest for values that are not allowed: a silent cap hurts later."""
    return Asked(
        timeout_s=_timeout_s(headers.get(REQUEST_TIMEOUT), default_timeout_s, max_timeout_s),
        priority=_priority(headers.get(PRIORITY)),
        pin=_pin(headers.get(WORKER), may_pin),
    )


def top_of(query: Mapping[str, str]) -> int:
    """How many labels the client wants. Raises BadRequest."""
    given = query.get("top")
    if given is None:
        return DEFAULT_TOP
    if len(given) > 4 or not given.isascii() or not given.isdigit() or not 1 <= int(given) <= MAX_TOP:
        raise BadRequest(f"top must be a whole number from 1 to {MAX_TOP}, not {shown(given)}")
    return int(given)


def question_of(query: Mapping[str, str]) -> str:
    """What the worker is asked for, as its path's query: labels, or whether the image shows one of a group. Raises
    BadRequest."""
    group = query.get("query")
    if group is None:
        return f"top={top_of(query)}"
    if "top" in query:
        raise BadRequest("query and top are two kinds of answer: give one of them")
    if not group or len(group) > MAX_GROUP_NAME or not group.isprintable():
        raise BadRequest(f"query must be a group's name, up to {MAX_GROUP_NAME} characters, not {shown(group)}")
    return f"query={quote(group, safe='')}"


def model_name_of(name: str) -> str:
    """A model's name as it stands in a path: anything printable without a slash. Raises BadRequest."""
    if not name or len(name) > MAX_MODEL_NAME or not name.isprintable():
        raise BadRequest(f"a model's name has 1 to {MAX_MODEL_NAME} printable characters; this one is {shown(name)}")
    return name


def shown(value: str) -> str:
    """A stranger's text for an error message: quoted, ASCII, short."""
    return ascii(value if len(value) <= 64 else value[:61] + "...")


def _timeout_s(given: str | None, default_s: float, max_s: float) -> float:
    if given is None:
        return default_s
    value = float(given) if _SECONDS.fullmatch(given) else 0.0
    if not 0 < value <= max_s:
        raise BadRequest(f"{REQUEST_TIMEOUT} must be seconds, more than 0 and at most {max_s:g}, not {shown(given)}")
    return value


def _priority(given: str | None) -> Priority:
    if given is None:
        return Priority.NORMAL
    priority = _PRIORITIES.get(given.lower())
    if priority is None:
        raise BadRequest(f"{PRIORITY} must be high or normal, not {shown(given)}")
    return priority


def _pin(given: str | None, may_pin: bool) -> str | None:
    if given is None:
        return None
    if not may_pin:
        raise BadRequest(f"{WORKER} is not taken here: dispatch.policy is not pin")
    if not _NAME.fullmatch(given):
        raise BadRequest(f"{WORKER} must be a worker's name, not {shown(given)}")
    return given
