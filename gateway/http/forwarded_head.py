"""What of a request's head goes to a server behind a worker, and what of its answer's head comes back.

What stands between two neighbours only is dropped (RFC 9110 7.6.1), what says who asked is written here, by the one who
knows, and never believed from outside. All else passes byte for byte. Pure functions; bytes are Latin-1 in strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from gateway.dispatch.model import Metadata
from gateway.errors import BadRequest, WorkerFailed
from wire.forwarding import HOP_BY_HOP, TOKEN, VALUE, end_to_end, named_in_connection

UPSTREAM_AUTHORIZATION = "x-upstream-authorization"
"""Reaches the server as Authorization; the client's Authorization is for the gateway and stays here."""

_OURS = frozenset(
    {
        "content-length",
        "forwarded",
        "host",
        "traceparent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
        "x-request-timeout",
        "x-priority",
        "x-worker",
    }
)
"""Written anew, carried by the tunnel's own head, or meant for the gateway."""

_LENGTH = re.compile(r"[0-9]{1,18}")
_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]*")  # nothing that could end the quotes that it stands in
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who asks, as far as the gateway knows."""

    address: str
    scheme: str
    host: str
    """The Host that the client asked for."""
    prefix: str
    """What was cut off the path; empty when a whole host is a service."""
    request_id: str


def request_metadata(
    raw_headers: Sequence[tuple[bytes, bytes]], sender: Sender, *, keeps_host: bool, passes_authorization: bool
) -> Metadata:
    """The fields that the server gets. Raises BadRequest for a Host that is none."""
    if not _HOST.fullmatch(sender.host):
        raise BadRequest("the Host header is not the name of a host")
    fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw_headers]
    dropped = HOP_BY_HOP | _OURS | named_in_connection(fields)
    if not passes_authorization:
        dropped |= {"authorization"}
    # Servers of the CGI family read X_Forwarded_For as X-Forwarded-For: what is dropped is dropped in both spellings.
    kept = [(name, value) for name, value in fields if name.replace("_", "-") not in dropped]
    own = [value for name, value in kept if name == UPSTREAM_AUTHORIZATION]
    if own:
        kept = [(name, value) for name, value in kept if name not in (UPSTREAM_AUTHORIZATION, "authorization")]
        kept.append(("authorization", own[0]))
    upgrade = [(name, value) for name, value in fields if name == "upgrade" and is_websocket(fields)]
    host = [("host", sender.host)] if keeps_host else []
    return (*host, *kept, *upgrade, *_forwarded(sender))


def is_websocket(fields: Iterable[tuple[str, str]]) -> bool:
    """Whether the client asks for WebSocket on this connection (RFC 6455 4.1)."""
    found = dict(fields)
    words = [word.strip().lower() for word in found.get("connection", "").split(",")]
    return "upgrade" in words and found.get("upgrade", "").strip().lower() == "websocket"


def answer_head(metadata: Metadata) -> list[tuple[str, str]]:
    """An answer's fields that are passed on. Raises WorkerFailed for one that is none: workers are strangers."""
    fields = end_to_end([(name.lower(), value) for name, value in metadata])
    for name, value in fields:
        if not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
            raise WorkerFailed(f"the answer has a header that cannot be sent in HTTP: {name[:64]!a}")
    return fields


def body_bytes_of(fields: Iterable[tuple[str, str]]) -> int | None:
    """What Content-Length says of the body; None without one. Raises WorkerFailed for two, and for one that readers
    would not agree on (RFC 9112 6.3)."""
    lengths = [value for name, value in fields if name == "content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise WorkerFailed("the answer has no one Content-Length, a whole number of bytes")
    return int(lengths[0])


def encode_head(status: int, fields: Iterable[tuple[str, str]]) -> bytes:
    """Status line and fields as HTTP/1.1 has them."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def encode_trailers(trailers: Metadata) -> bytes:
    """The end of a chunked body (RFC 9112 7.1). Raises WorkerFailed."""
    lines = [f"{name}: {value}" for name, value in answer_head(trailers)]
    return "\r\n".join(["0", *lines, "", ""]).encode("latin-1")


def target_of(raw_path: str) -> str:
    """The request's target as it stands behind the authority, in Latin-1. Raises BadRequest."""
    target = raw_path if raw_path.startswith("/") else re.sub(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*", "", raw_path)
    if not target.startswith("/"):
        target = "/" + target
    text = target.encode("utf-8", "surrogateescape").decode("latin-1")
    if re.search(r"[\x00-\x20\x7f#]", text):
        raise BadRequest("the path holds characters that have no place in one; send them percent-encoded")
    return text


def _forwarded(sender: Sender) -> list[tuple[str, str]]:
    """Both spellings: RFC 7239's, and the older one that most servers read."""
    node = f'"[{sender.address}]"' if ":" in sender.address else sender.address or "unknown"
    fields = [
        ("x-forwarded-for", sender.address),
        ("x-forwarded-proto", sender.scheme),
        ("x-forwarded-host", sender.host),
        ("forwarded", f'for={node};host="{sender.host}";proto={sender.scheme}'),
        ("via", "1.1 edge-gateway"),  # RFC 9110 7.6.3: who passes a request on must say so
        ("x-request-id", sender.request_id),
    ]
    return [*fields, ("x-forwarded-prefix", sender.prefix)] if sender.prefix else fields
