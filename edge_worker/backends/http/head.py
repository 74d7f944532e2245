"""Heads of HTTP/1.1 messages: the request as bytes, and what of an answer's fields is passed on.

Both directions drop the fields that are between two neighbours only (RFC 9110 7.6.1). Framing is never copied from the
other side: it is written anew from what is known of the body, so that no two readers can disagree about its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edge_worker.backends.base import BadInput
from edge_worker.backends.forwarding import Exchange, Headers

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 9.2.2: asking twice is as asking once."""

BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "CONNECT"})
"""Methods for which an empty body needs no Content-Length: 0 (RFC 9110 8.6)."""

HOP_BY_HOP = frozenset(
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
"""Never passed on as they are. `Trailer` only announces; what follows a body is passed on without it."""

_FRAMING = frozenset({"content-length"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~\x80-\xff]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


def is_upgrade(exchange: Exchange) -> bool:
    """Whether the client wants another protocol on its connection: WebSocket, say."""
    return any(name == "upgrade" for name, _ in exchange.headers)


def encode_request(exchange: Exchange, authority: str) -> bytes:
    """The request's head. Raises BadInput for one that cannot be written without saying something else."""
    if not _TOKEN.fullmatch(exchange.method) or not _TARGET.fullmatch(exchange.path):
        raise BadInput("bad_request", "the method or the path cannot be sent in HTTP")
    lines = [f"{exchange.method} {exchange.path} HTTP/1.1"]
    upgrade = ""
    has_host = False
    for name, value in exchange.headers:
        if name == "upgrade":
            upgrade = value
        if name in HOP_BY_HOP or name in _FRAMING:
            continue
        has_host = has_host or name == "host"
        lines.append(_line(name, value))
    if not has_host:
        lines.append(f"host: {authority}")
    lines += _framing(exchange, upgrade)
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def encode_trailers(trailers: Headers) -> bytes:
    """The end of a chunked body. Raises BadInput as `encode_request` does."""
    lines = [_line(name, value) for name, value in trailers if name not in HOP_BY_HOP | _FRAMING]
    return "\r\n".join(["0", *lines, "", ""]).encode("latin-1")


def passed_on(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """An answer's fields without those that are for us alone, the ones that Connection names among them."""
    named = {word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")}
    dropped = HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name not in dropped]


def _framing(exchange: Exchange, upgrade: str) -> list[str]:
    if upgrade:
        return ["connection: upgrade", _line("upgrade", upgrade)]
    if exchange.body_bytes is None:
        return ["transfer-encoding: chunked"]
    if exchange.body_bytes or exchange.method not in BODILESS:
        return [f"content-length: {exchange.body_bytes}"]
    return []


def _line(name: str, value: str) -> str:
    if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadInput("bad_request", f"the header {name[:64]!a} cannot be sent in HTTP")
    return f"{name}: {value}"
