"""Heads as bytes."""

from __future__ import annotations

import pytest

from edge_worker.backends.base import BadInput
from edge_worker.backends.http.head import encode_request, encode_trailers
from tests.support.fake_exchange import FakeExchange


def lines(exchange: FakeExchange) -> list[str]:
    text = encode_request(exchange, "127.0.0.1:8000").decode("latin-1")
    assert text.endswith("\r\n\r\n")
    return text.removesuffix("\r\n\r\n").split("\r\n")


def test_a_request() -> None:
    """Target and fields as they came, the server's own Host where the client's is not passed on."""
    exchange = FakeExchange("GET", "/a%2F//..?q=\xe9", [("x", "caf\xe9"), ("x", "2")])
    assert lines(exchange) == ["GET /a%2F//..?q=\xe9 HTTP/1.1", "x: caf\xe9", "x: 2", "host: 127.0.0.1:8000"]
    assert "host: old.example.org" in lines(FakeExchange(headers=[("host", "old.example.org")]))
    assert "host: 127.0.0.1:8000" not in lines(FakeExchange(headers=[("host", "old.example.org")]))


@pytest.mark.parametrize(
    ("method", "body_bytes", "framing"),
    [
        ("GET", 0, []),
        ("POST", 0, ["content-length: 0"]),
        ("GET", 3, ["content-length: 3"]),
        ("PUT", None, ["transfer-encoding: chunked"]),
    ],
)
def test_framing_is_written_anew(method: str, body_bytes: int | None, framing: list[str]) -> None:
    """What the gateway's head says of lengths and codings is not copied: only what is known of the body counts."""
    fields = [("content-length", "999"), ("transfer-encoding", "chunked"), ("connection", "close"), ("te", "trailers")]
    found = lines(FakeExchange(method, headers=fields, body_bytes=body_bytes))
    assert found[2:] == framing


def test_an_upgrade_has_no_body() -> None:
    """Connection and Upgrade are the server's business; no framing."""
    found = lines(FakeExchange(headers=[("upgrade", "websocket"), ("sec-websocket-key", "k")], body_bytes=None))
    assert found[-2:] == ["connection: upgrade", "upgrade: websocket"]
    assert "transfer-encoding: chunked" not in found


@pytest.mark.parametrize(
    "exchange",
    [
        FakeExchange("GET /x HTTP/1.1\r\nx: y\r\n"),
        FakeExchange("G ET"),
        FakeExchange(path="/a b"),
        FakeExchange(path="/a\r\nx: y"),
        FakeExchange(path=""),
        FakeExchange(path="http://elsewhere/"),
        FakeExchange(headers=[("x", "a\r\nb: c")]),
        FakeExchange(headers=[("x", "a\x00")]),
        FakeExchange(headers=[("x y", "a")]),
        FakeExchange(headers=[("", "a")]),
        FakeExchange(headers=[("upgrade", "a\r\nb")]),
    ],
)
def test_nothing_can_be_smuggled(exchange: FakeExchange) -> None:
    """What would end a line is refused."""
    with pytest.raises(BadInput):
        encode_request(exchange, "h")


def test_trailers() -> None:
    """The end of a chunked body; framing is no trailer, and a broken one is refused."""
    assert encode_trailers([("checksum", "1"), ("content-length", "5")]) == b"0\r\nchecksum: 1\r\n\r\n"
    with pytest.raises(BadInput):
        encode_trailers([("a", "b\r\n")])
