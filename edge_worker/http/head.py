"""What a request says before its body: id, deadline, number of labels, type. The same rules as the gateway's.

Everything here came from a stranger and is bounded first. Pure functions; no request object, no clock.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

REQUEST_ID = "X-Request-ID"
REQUEST_TIMEOUT = "X-Request-Timeout"
MULTIPART = "multipart/form-data"

DEFAULT_TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 300.0
"""Seconds; both are the gateway's defaults. A longer timeout is refused rather than cut."""
DEFAULT_TOP = 5
MAX_TOP = 1000
MAX_GROUP_NAME = 100
"""Characters of a group's name in a model's description."""
MAX_REQUEST_ID_CHARS = 64

_IMAGE_LIKE = frozenset(("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded"))
"""Besides image/*: no type, unnamed bytes, and what `curl --data-binary` says when it is told nothing."""
_NOT_IN_REQUEST_ID = re.compile(r"[^A-Za-z0-9._-]")
_SECONDS = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's X-Request-ID, less what does not belong in a log line; a new one if nothing is left."""
    given = headers.get(REQUEST_ID, "")[: 4 * MAX_REQUEST_ID_CHARS]
    kept = _NOT_IN_REQUEST_ID.sub("", given)[:MAX_REQUEST_ID_CHARS]
    return kept or f"{random.getrandbits(64):016x}"


def timeout_s_of(headers: Mapping[str, str]) -> float:
    """The deadline in seconds from now. Raises ValueError that says what is allowed."""
    given = headers.get(REQUEST_TIMEOUT)
    if given is None:
        return DEFAULT_TIMEOUT_S
    value = float(given) if _SECONDS.fullmatch(given) else 0.0
    if not 0 < value <= MAX_TIMEOUT_S:
        allowed = f"seconds, more than 0 and at most {MAX_TIMEOUT_S:g}"
        raise ValueError(f"{REQUEST_TIMEOUT} must be {allowed}, not {shown(given)}")
    return value


def top_of(query: Mapping[str, str]) -> int:
    """How many labels the client wants. Raises ValueError that says what is allowed."""
    given = query.get("top", str(DEFAULT_TOP))
    if len(given) > 4 or not given.isascii() or not given.isdigit() or not 1 <= int(given) <= MAX_TOP:
        raise ValueError(f"top must be a whole number from 1 to {MAX_TOP}, not {shown(given)}")
    return int(given)


def question_of(query: Mapping[str, str]) -> str:
    """What the backend is asked for, as its path's query: labels, or whether the image shows one of a group. Raises
    ValueError that says what is allowed."""
    group = query.get("query")
    if group is None:
        return f"top={top_of(query)}"
    if "top" in query:
        raise ValueError("query and top are two kinds of answer: give one of them")
    if not 1 <= len(group) <= MAX_GROUP_NAME:
        raise ValueError(f"query must be a group's name, up to {MAX_GROUP_NAME} characters, not {shown(group)}")
    return f"query={quote(group, safe='')}"


def media_type_of(content_type: str) -> str:
    """The type without its parameters, in lower case; empty where the header is missing."""
    return content_type.partition(";")[0].strip().lower()


def is_image_like(content_type: str) -> bool:
    """Whether a body of this type may be an image; the backend decides by the bytes."""
    media_type = media_type_of(content_type)
    return media_type.startswith("image/") or media_type in _IMAGE_LIKE


def shown(value: str) -> str:
    """A stranger's text for an error message: quoted, ASCII, short."""
    return ascii(value if len(value) <= 64 else value[:61] + "...")


def server_timing(stages_s: Iterable[tuple[str, float]]) -> str:
    """The value of a Server-Timing header, such as `upload;dur=0.021, total;dur=8.250`."""
    return ", ".join([f"{name};dur={max(0.0, seconds) * 1000:.3f}" for name, seconds in stages_s])


def timing_ms(stages_s: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The same as a JSON object of milliseconds."""
    return {name: round(max(0.0, seconds) * 1000, 3) for name, seconds in stages_s}
