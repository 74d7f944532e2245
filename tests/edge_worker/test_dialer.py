"""Addresses, refusals, and connections that end: what they become. TLS itself is tested in tests/system."""

from __future__ import annotations

import email.utils
import json
import ssl
import time
from collections.abc import Callable

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import (
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.http11 import Response

from edge_worker import dialer
from edge_worker.channel import FrameConnection
from edge_worker.dialer import DialFailed, dial, tunnel_url
from wire import SUBPROTOCOL


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("gateway.example", "wss://gateway.example/v1/tunnel"),
        ("localhost:8443", "wss://localhost:8443/v1/tunnel"),
        ("wss://g", "wss://g/v1/tunnel"),
        ("wss://g/", "wss://g/v1/tunnel"),
        ("https://g:8443", "wss://g:8443/v1/tunnel"),
        ("wss://g/edge/tunnel", "wss://g/edge/tunnel"),
        ("wss://[2001:db8::1]:8443", "wss://[2001:db8::1]:8443/v1/tunnel"),
    ],
)
def test_addresses(given: str, expected: str) -> None:
    """A host is enough; scheme, port and path may be given."""
    assert tunnel_url(given) == expected


@pytest.mark.parametrize(
    "given",
    ["", "ws://g", "http://g", "ftp://g", "wss://", "wss://:80", "wss://g:0x1", "wss://g:99999", "wss://[::1",
     "wss://user:password@g", "wss://@g", "wss://g?x=1", "wss://g?", "wss://g#x", "wss://a b", "wss://g\r\nX: y",
     "wss://gäste"],
)  # fmt: skip
def test_addresses_that_cannot_be_dialled(given: str) -> None:
    """Nothing unencrypted, nothing with credentials, nothing that no URL may contain."""
    with pytest.raises(ValueError, match=r"."):
        tunnel_url(given)


class Dialled:
    """What `websockets.connect` is asked, and what it answers."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.url = ""
        self.options: dict[str, object] = {}

    async def __call__(self, url: str, **options: object) -> object:
        self.url, self.options = url, options
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


Meet = Callable[[object], Dialled]


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Meet:
    def meet(answer: object) -> Dialled:
        dialled = Dialled(answer)
        monkeypatch.setattr(dialer, "connect", dialled)
        return dialled

    return meet


async def failure() -> DialFailed:
    with pytest.raises(DialFailed) as caught:
        await dial("wss://g", "secret-token", ssl.create_default_context())
    assert "secret-token" not in str(caught.value)
    return caught.value


def refusal(status: int, body: bytes = b"", *retry_after: str) -> InvalidStatus:
    return InvalidStatus(Response(status, "", Headers([("Retry-After", value) for value in retry_after]), body))


@pytest.mark.parametrize(
    ("status", "is_refusal"),
    [(400, True), (401, True), (403, True), (404, True), (426, True), (429, False), (500, False), (502, False),
     (503, False)],
)  # fmt: skip
async def test_a_status_says_whether_waiting_helps(meet: Meet, status: int, is_refusal: bool) -> None:
    """What is wrong with the request stays wrong; what is wrong with the gateway passes."""
    meet(refusal(status))
    failed = await failure()
    assert str(failed) == f"the gateway answered {status}"
    assert (failed.is_refusal, failed.retry_after_s) == (is_refusal, None)


async def test_the_gateways_words_are_passed_on(meet: Meet) -> None:
    """A problem's detail is in the message; a body that is none, or a huge one, is left out."""
    meet(refusal(401, json.dumps({"detail": "the token expired"}).encode()))
    assert str(await failure()) == "the gateway answered 401: the token expired"
    for body in (b"<html>", b"[1]", b"\xff", json.dumps({"detail": "x" * 10_000}).encode(), b"[" * 4000):
        meet(refusal(401, body))
        assert str(await failure()) == "the gateway answered 401"


@pytest.mark.parametrize(
    ("values", "expected"),
    [(("7",), 7.0), ((" 7 ",), 7.0), (("0",), 0.0), (("99999999",), 300.0), (("7", "9"), 7.0), (("soon",), None),
     (("-1",), None), (("\u00b2",), None), (("",), None), (("Wed, 99 Foo 2020 25:00:00 GMT",), None),
     (("Wed, 21 Oct 2015 07:28:00 GMT",), 0.0), (("Wed, 21 Oct 2015 07:28:00 -0000",), 0.0)],
)  # fmt: skip
async def test_retry_after(meet: Meet, values: tuple[str, ...], expected: float | None) -> None:
    """A number or a date, five minutes at most; what cannot be read is as if it were not there."""
    meet(refusal(503, b"", *values))
    assert (await failure()).retry_after_s == expected


async def test_retry_after_as_a_date(meet: Meet) -> None:
    """A date counts from now."""
    meet(refusal(503, b"", email.utils.formatdate(time.time() + 60, usegmt=True)))
    retry_after_s = (await failure()).retry_after_s
    assert retry_after_s is not None
    assert 50 < retry_after_s <= 60


PROXY = "http://user:password@proxy:3128"


@pytest.mark.parametrize(
    ("error", "text", "is_refusal"),
    [
        (InvalidProxyStatus(Response(407, "", Headers())), "the proxy answered 407; check HTTPS_PROXY", False),
        (ProxyError("failed to connect to HTTP proxy"), "the proxy cannot be used: failed to connect", False),
        (InvalidProxy(PROXY, "path is meaningless"), "HTTPS_PROXY cannot be used: path is meaningless", True),
        (ImportError("connecting through a SOCKS proxy requires python-socks"), "requires python-socks", True),
        (ssl.SSLCertVerificationError(1, "self-signed"), "the gateway's certificate does not verify", True),
        (ssl.SSLError(1, "wrong version number"), "wrong version number", False),
        (TimeoutError(), "no connection within 10 s", False),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused", False),
        (OSError(-2, "Name or service not known"), "Name or service not known", False),
        (InvalidMessage("did not receive a valid HTTP response"), "did not receive a valid HTTP response", False),
        (EOFError("stream ends"), "stream ends", False),
    ],
)
async def test_each_failure_has_its_words(meet: Meet, error: Exception, text: str, is_refusal: bool) -> None:
    """What goes wrong on the way says what to look at, and never shows a proxy's password."""
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message, error.verify_code = "self-signed certificate", 18
    meet(error)
    failed = await failure()
    assert text in str(failed)
    assert failed.is_refusal is is_refusal
    assert "password" not in str(failed)


class Refusing:
    """A connection whose server named no subprotocol."""

    def __init__(self) -> None:
        self.subprotocol = None
        self.was_closed = False

    async def close(self) -> None:
        self.was_closed = True


async def test_a_dial_shows_the_token_and_the_subprotocol(meet: Meet) -> None:
    """The token goes in the header, TLS is the verified one, and nothing is compressed or pinged by the library."""
    dialled, tls = meet(Refusing()), ssl.create_default_context()
    with pytest.raises(DialFailed):
        await dial("wss://g/v1/tunnel", "token-1", tls)
    assert dialled.url == "wss://g/v1/tunnel"
    assert dialled.options["ssl"] is tls
    assert dialled.options["additional_headers"] == {"Authorization": "Bearer token-1"}
    assert dialled.options["subprotocols"] == [SUBPROTOCOL]
    assert dialled.options["compression"] is None
    assert dialled.options["ping_interval"] is None
    assert dialled.options["create_connection"] is FrameConnection


async def test_another_server_is_none_of_ours(meet: Meet) -> None:
    """A WebSocket server that does not name our subprotocol is closed and named."""
    connection = Refusing()
    meet(connection)
    failed = await failure()
    assert failed.is_refusal
    assert "is it a gateway?" in str(failed)
    assert connection.was_closed
