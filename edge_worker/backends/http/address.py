"""Where a server behind the worker is: http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH, and its service's name.

A path is refused: what the client asks for is what the server is asked for, byte for byte, with nothing before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_SERVICE = "http"
"""The name of a service that is given none."""

DEFAULT_SLOTS = 32
"""Exchanges with one server at the same moment; common servers run with fewer threads."""

MAX_SLOTS = 128
"""A tunnel carries no more exchanges at the same moment (wire/limits.py)."""

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})=(.+)")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One service and its server."""

    service: str
    url: str
    """As given, for people."""
    host: str
    """Empty for a Unix socket."""
    port: int
    path: str
    """Of a Unix socket; empty otherwise."""
    is_tls: bool
    authority: str
    """What the Host header says unless the client's own is passed on."""


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """What the backend is told."""

    upstreams: tuple[Upstream, ...] = ()
    """One for each service."""
    health: str = ""
    """The path that is asked for; an answer below 500 counts as good. Empty: a connection is enough."""
    slots: int = DEFAULT_SLOTS
    """Exchanges with one server at the same moment, streams and WebSockets included."""
    ca_file: Path | None = None
    """Who signed the certificates of https servers; None for the system's authorities."""


def parse_upstream(text: str) -> Upstream:
    """`[NAME=]URL`. Raises ValueError that says what is allowed."""
    named = _NAMED.fullmatch(text)
    service, url = named.groups() if named else (DEFAULT_SERVICE, text)
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        if not path.startswith("/") or not path.isprintable():
            raise ValueError("must be unix:/PATH with an absolute path")
        return Upstream(service, url, "", 0, path, is_tls=False, authority="localhost")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"must be http://HOST[:PORT]: {error}") from error
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(" @?#\\")
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain or parts.path not in ("", "/"):
        raise ValueError("must be [NAME=]http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH, with no path behind")
    is_tls = parts.scheme == "https"
    return Upstream(service, url, parts.hostname, port or (443 if is_tls else 80), "", is_tls, parts.netloc)
