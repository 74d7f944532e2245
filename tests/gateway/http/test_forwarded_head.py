"""What of a head crosses the gateway, and what it writes itself."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest, WorkerFailed
from gateway.http.forwarded_head import (
    Sender,
    answer_head,
    encode_head,
    encode_trailers,
    is_websocket,
    request_metadata,
    target_of,
)

SENDER = Sender("2001:db8::1", "https", "gateway.example.org:8443", "/tunnel/old", "id-1")


def fields(*raw: tuple[bytes, bytes], keeps_host: bool = False, passes: bool = False) -> list[tuple[str, str]]:
    return list(request_metadata(raw, SENDER, keeps_host=keeps_host, passes_authorization=passes))


OURS = [
    ("x-forwarded-for", "2001:db8::1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "gateway.example.org:8443"),
    ("forwarded", 'for="[2001:db8::1]";host="gateway.example.org:8443";proto=https'),
    ("via", "1.1 edge-gateway"),
    ("x-request-id", "id-1"),
    ("x-forwarded-prefix", "/tunnel/old"),
]


def test_who_asked_is_written_here() -> None:
    """In both spellings, an IPv6 address in brackets and quotes (RFC 7239 6)."""
    assert fields() == OURS


def test_values_pass_byte_for_byte() -> None:
    """Names become lower case; repeated fields stay apart and in order."""
    assert fields((b"X-A", b"caf\xc3\xa9"), (b"Cookie", b"a"), (b"cookie", b"b"))[:-7] == [
        ("x-a", "caf\xc3\xa9"),
        ("cookie", "a"),
        ("cookie", "b"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "proxy-authorization", "upgrade"),
        *("host", "content-length", "authorization", "x-forwarded-for", "x_forwarded_for", "X-Forwarded_Proto"),
        *("forwarded", "x-real-ip", "x-request-timeout", "x-priority", "x-worker", "traceparent"),
    ],
)
def test_what_is_not_the_servers_stays_here(name: str) -> None:
    """Fields between neighbours, fields for the gateway, and what strangers say of who asked, in any spelling."""
    assert fields((name.encode(), b"value")) == OURS


def test_what_connection_names_stays_here() -> None:
    """RFC 9110 7.6.1."""
    assert fields((b"connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"X-Other", b"2")) == [("x-other", "2"), *OURS]


def test_authorization() -> None:
    """The client's stays here unless it is configured to pass; one for the server takes its place either way."""
    theirs = (b"authorization", b"Bearer ours"), (b"X-Upstream-Authorization", b"Basic theirs")
    assert fields(theirs[0], passes=True)[0] == ("authorization", "Bearer ours")
    for passes in (True, False):
        assert fields(*theirs, passes=passes)[:-7] == [("authorization", "Basic theirs")]


def test_host() -> None:
    """The client's own where a whole host is the service's; a Host that could end its quotes is refused."""
    assert fields(keeps_host=True)[0] == ("host", "gateway.example.org:8443")
    with pytest.raises(BadRequest):
        request_metadata(
            (), Sender("a", "https", 'x";for=6.6.6.6', "", ""), keeps_host=False, passes_authorization=False
        )


@pytest.mark.parametrize(
    ("connection", "upgrade", "expected"),
    [
        (b"Upgrade", b"websocket", True),
        (b"keep-alive, upgrade", b"WebSocket", True),
        (b"keep-alive", b"websocket", False),
        (b"upgrade", b"h2c", False),
    ],
)
def test_a_websocket_is_asked_for_onward(connection: bytes, upgrade: bytes, expected: bool) -> None:
    """Upgrade passes for WebSocket alone, asked for as RFC 6455 has it."""
    raw = (b"connection", connection), (b"upgrade", upgrade)
    assert (("upgrade", upgrade.decode()) in fields(*raw)) == expected
    assert is_websocket([(name.decode(), value.decode()) for name, value in raw]) == expected


@pytest.mark.parametrize(
    ("raw_path", "expected"),
    [
        ("/a%2Fb/../c//d?x=%20&y", "/a%2Fb/../c//d?x=%20&y"),
        ("http://gateway/a?b", "/a?b"),
        ("https://gateway", "/"),
        ("/caf\xe9".encode().decode("utf-8"), "/caf\xc3\xa9"),
        ("/\udce9", "/\xe9"),
    ],
)
def test_targets(raw_path: str, expected: str) -> None:
    """Bytes as they came, in Latin-1; an absolute form loses what names this gateway."""
    assert target_of(raw_path) == expected


@pytest.mark.parametrize("raw_path", ["/a b", "/a\x00", "/a\x7f", "/a\r\nx: y"])
def test_what_is_no_target(raw_path: str) -> None:
    """What could end the request line is refused."""
    with pytest.raises(BadRequest):
        target_of(raw_path)


def test_an_answers_head() -> None:
    """Without what was between the worker's neighbours; a value that would end its line is the worker's failure."""
    assert answer_head([("connection", "x-mine"), ("x-mine", "1"), ("x", "\xe9")]) == [("x", "\xe9")]
    assert encode_head(299, [("x", "\xe9")]) == b"HTTP/1.1 299 \r\nx: \xe9\r\n\r\n"
    assert encode_head(204, []) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert encode_trailers([("a", "b")]) == b"0\r\na: b\r\n\r\n"
    for broken in (("x", "a\r\nb: c"), ("x y", "a"), ("x:", "a")):
        with pytest.raises(WorkerFailed):
            answer_head([broken])
