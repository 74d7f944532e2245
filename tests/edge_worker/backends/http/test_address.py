"""What names a server."""

from __future__ import annotations

import pytest

from edge_worker.backends.http.address import Upstream, parse_upstream


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:8000", ("http", "127.0.0.1", 8000, "", False, "127.0.0.1:8000")),
        ("http://localhost/", ("http", "localhost", 80, "", False, "localhost")),
        ("https://h", ("http", "h", 443, "", True, "h")),
        ("http://[::1]:9", ("http", "::1", 9, "", False, "[::1]:9")),
        ("old=http://h:1", ("old", "h", 1, "", False, "h:1")),
        ("old=unix:/run/a=b.sock", ("old", "", 0, "/run/a=b.sock", False, "localhost")),
    ],
)
def test_addresses(text: str, expected: tuple[object, ...]) -> None:
    """A URL or a socket, with or without the name of its service."""
    found = parse_upstream(text)
    assert (found.service, found.host, found.port, found.path, found.is_tls, found.authority) == expected
    assert isinstance(found, Upstream)


@pytest.mark.parametrize(
    "text",
    ["", "8000", "ftp://h", "http://", "http://h/path", "http://h?q", "http://u:p@h", "http://h:99999", "unix:a", "=x"],
)
def test_what_is_no_address(text: str) -> None:
    """A path of its own, credentials and what is not HTTP are refused with what is allowed."""
    with pytest.raises(ValueError, match="must be"):
        parse_upstream(text)
