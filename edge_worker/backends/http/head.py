"""The head of an HTTP/1.1 request as bytes, and the end of a chunked body.

Fields that are between two neighbours only are dropped (RFC 9110 7.6.1). Framing is never copied from the other side:
it is written anew from what is known of the body, so that no two readers can disagree about its end.
"""

from __future__ import annotations

import re

from edge_worker.backends.base import BadInput
from edge_worker.backends.forwarding import Exchange, Headers
from wire.forwarding import HOP_BY_HOP, TOKEN, VALUE

BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "CONNECT"})
"""Methods for which an empty body needs no Content-Length: 0 (RFC 9110 8.6)."""

_FRAMING = frozenset({"content-length"})
_TARGET = re.compile(r"/[!-~\x80-\xff]*")  # an absolute one would make a server that is a proxy ask another


def is_upgrade(exchange: Exchange) -> bool:
    """Whether the client wants another protocol on its connection: WebSocket, say."""
    return any(name == "upgrade" for name, _ in exchange.headers)


def encode_request(exchange: Exchange, authority: str) -> bytes:
    """The request's head. Raises BadInput for one that cannot be written without saying something else."""
    if not TOKEN.fullmatch(exchange.method) or not _TARGET.fullmatch(exchange.path):
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


def _framing(exchange: Exchange, upgrade: str) -> list[str]:
    if upgrade:
        return ["connection: upgrade", _line("upgrade", upgrade)]
    if exchange.body_bytes is None:
        return ["transfer-encoding: chunked"]
    if exchange.body_bytes or exchange.method not in BODILESS:
        return [f"content-length: {exchange.body_bytes}"]
    return []


def _line(name: str, value: str) -> str:
    if not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
        raise BadInput("bad_request", f"the header {name[:64]!a} cannot be sent in HTTP")
    return f"{name}: {value}"
