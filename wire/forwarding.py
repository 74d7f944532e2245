"""Forwarded HTTP (RFC 9110): what the two ends of a tunnel must agree on when they pass on a request or an answer.

Which fields stop here, which methods may be asked again, which answers have no body, what may stand in a head. If the
two ends differed in one of these, somebody could say one thing to the first and another to the second. Pure; names of
fields are in lower case, bytes are Latin-1 in strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Between two neighbours, never passed on as they are (7.6.1). `Trailer` only announces; what follows a body is passed
on without it."""

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Asking twice is as asking once (9.2.2)."""

BODILESS_STATUSES: Final = frozenset({204, 304})
"""Answers without a body, whatever their head says (6.4.1); an answer to HEAD is another."""

MAX_INFORMATIONAL: Final = 16
"""Informational answers to one request; more is a server gone wrong."""

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A method, or a field's name (5.6.2)."""

VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
"""A field's value (5.5): nothing that could end its line."""


def named_in_connection(fields: Iterable[tuple[str, str]]) -> frozenset[str]:
    """The fields that are between two neighbours because Connection says so."""
    values = [value for name, value in fields if name == "connection"]
    return frozenset(word.strip().lower() for value in values for word in value.split(","))


def end_to_end(fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields that are for more than the next neighbour."""
    dropped = HOP_BY_HOP | named_in_connection(fields)
    return [(name, value) for name, value in fields if name not in dropped]
