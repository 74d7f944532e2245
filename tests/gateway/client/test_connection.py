"""What is sent to a gateway, and what is made of its answers and of everything else that an address may answer."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from aiohttp import web

from gateway.client import (
    AsyncClient,
    BadAnswer,
    BadPicture,
    Bounds,
    Busy,
    CannotConnect,
    ClientError,
    NotAllowed,
    NotFound,
    Outcome,
    Result,
)
from gateway.client.connection import proxy_of, request_url, tls_context
from tests.support import certificates
from tests.support.picture_server import CAT, answering, client_of
from tests.support.scripted_server import answer, scripted_server

ONCE = Bounds(tries=1)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    for name in ("a.png", "b.jpg", 'c".png'):
        (tmp_path / name).write_bytes(b"picture " + name.encode())
    return sorted(tmp_path.iterdir())


def codes(outcomes: list[Outcome]) -> list[str]:
    return [one.code if isinstance(one, ClientError) else one.label for one in outcomes]


async def test_one_picture_is_the_body_as_it_is(pictures: list[Path]) -> None:
    """With its type, the token, what is left of its time, and the parameters in the query."""
    seen: list[tuple[object, ...]] = []

    async def handle(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append((await request.read(), request.content_type, headers["Authorization"], request.path_qs))
        seen.append((float(headers["X-Request-Timeout"]),))
        return web.json_response(CAT, headers={"Server-Timing": "total;dur=0.01", "X-Request-ID": "r1"})

    async with client_of(handle) as client:
        result = await client.classify(pictures[1], model="a/b", top=3, query="cat", timeout_s=7.0)
    assert seen == [(b"picture b.jpg", "image/jpeg", "Bearer secret", "/inference/a%2Fb?top=3&query=cat"), (7.0,)]
    assert (result.label, result.worker, result.request_id, result.tries) == ("cat", "w1", "r1", 1)
    assert (result.name, result.timing.gateway_ms) == (str(pictures[1]), 0.01)
    assert result.timing.network_ms is not None


async def test_several_pictures_are_a_form_in_order(pictures: list[Path]) -> None:
    """Each with its type; outcomes are in the order sent, and a bad one fails alone."""
    seen: list[tuple[bytes, str | None]] = []
    problem = {"file": "1", "status": 400, "code": "bad_input", "detail": "not an image"}

    async def handle(request: web.Request) -> web.Response:
        form = await request.multipart()
        while part := await form.next():
            seen.append((await part.read(), part.headers.get("Content-Type")))  # type: ignore[union-attr]
        return web.json_response([CAT, problem, CAT])

    async with client_of(handle) as client:
        outcomes = await client.classify_batch(pictures, model="m")
    assert seen == [
        (b"picture a.png", "image/png"),
        (b"picture b.jpg", "image/jpeg"),
        (b'picture c".png', "image/png"),
    ]
    assert codes(outcomes) == ["cat", "bad_input", "cat"]
    assert isinstance(outcomes[1], BadPicture)
    assert isinstance(outcomes[0], Result)
    assert outcomes[0].timing.network_ms is None


async def test_a_file_that_is_gone_fails_alone(pictures: list[Path]) -> None:
    """The others are sent; a batch of nothing but such files makes no request."""
    pictures[0].unlink()
    async with client_of(answering([CAT, CAT])) as client:
        outcomes = await client.classify_batch(pictures, model="m")
        assert codes(outcomes) == ["unreadable", "cat", "cat"]
        sent = client.patience.requests
        assert codes(await client.classify_batch(pictures[:1], model="m")) == ["unreadable"]
        assert client.patience.requests == sent


async def test_a_refusal_says_when_to_come_back() -> None:
    """429 and 503 are the gateway's word, with the seconds of its Retry-After."""
    problem = {"status": 429, "code": "queue_full", "detail": "512 jobs wait"}
    async with client_of(answering(problem, 429, **{"Retry-After": "3", "X-Request-ID": "r9"}), ONCE) as client:
        with pytest.raises(Busy, match=r"queue_full: 512 jobs wait \(send fewer") as caught:
            await client.classify(b"x", model="m")
    assert (caught.value.retry_after_s, caught.value.request_id, caught.value.status) == (3.0, "r9", 429)


@pytest.mark.parametrize(("status", "kind"), [(401, NotAllowed), (403, NotAllowed), (404, NotFound), (405, NotFound)])
async def test_what_meets_every_picture_is_final(status: int, kind: type[ClientError]) -> None:
    """Token, model and path are not tried again."""
    async with client_of(answering({"detail": "no"}, status)) as client:
        with pytest.raises(kind) as caught:
            await client.classify(b"x", model="m")
    assert caught.value.is_final
    assert not caught.value.is_retried
    assert caught.value.tries == 1


async def test_a_redirect_is_no_answer() -> None:
    """It is not followed, since the token would go along, and its target is said."""
    async with client_of(answering({}, 307, Location="https://elsewhere.example/")) as client:
        with pytest.raises(BadAnswer, match=r"http_307: https://elsewhere.example/"):
            await client.classify(b"x", model="m")


async def test_a_page_that_is_not_json_is_shown() -> None:
    """The beginning of what came instead, whether it calls itself a success or not."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html>welcome", content_type="text/html")

    async def failing(_request: web.Request) -> web.Response:
        return web.Response(text="bad gateway", status=502)

    async with client_of(page) as client:
        with pytest.raises(BadAnswer, match=r"not_json: .*<html>welcome"):
            await client.classify(b"x", model="m")
    async with client_of(failing) as client:
        with pytest.raises(ClientError, match="http_502: bad gateway"):
            await client.classify(b"x", model="m")


async def test_as_many_answers_as_pictures() -> None:
    """A list of another length cannot be told apart: all have failed."""
    async with client_of(answering([CAT, CAT])) as client:
        assert codes(await client.classify_batch([b"x"], model="m")) == ["bad_answer"]


async def test_a_connection_that_breaks_is_named(pictures: list[Path]) -> None:
    """A server that closes instead of answering."""

    async def close(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with client_of(close) as client:
        outcomes = await client.classify_batch(pictures, model="m")
    assert set(codes(outcomes)) <= {"closed", "reset"}


async def test_a_certificate_that_is_not_believed_is_said(tmp_path: Path) -> None:
    """As what it is, with what to do, and without a second try."""
    mine, other = certificates.made(tmp_path / "mine"), certificates.made(tmp_path / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(mine / "server.pem", mine / "server.key")
    async with scripted_server(answer(b"{}"), context) as url, AsyncClient(url, ca=other / "ca.pem") as client:
        with pytest.raises(CannotConnect, match=r"tls: .*CERTIFICATE_VERIFY_FAILED.*GATEWAY_CA"):
            await client.classify(b"x", model="m")
    assert client.patience.requests == 1


def test_an_address_with_a_path_is_taken_as_it_is() -> None:
    """Without one it is a gateway; a query of its own stays in front."""
    assert request_url("https://g:8443/", "m", {"top": None}) == "https://g:8443/inference/m"
    assert request_url("http://w:8000/other?a=1", "m", {"top": 2}) == "http://w:8000/other?a=1&top=2"
    for wrong in ("localhost:8443", "ftp://g", "https://", "https://g:x", "https://user@g"):
        with pytest.raises(ValueError, match="is not an address"):
            request_url(wrong, "m", {})


def test_the_environment_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """By scheme, but for the hosts of NO_PROXY."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_of("https://g.example/x") == "http://proxy:3128"
    assert proxy_of("http://g.example/x") is None
    assert proxy_of("https://inside.example:8443/x") is None


def test_a_ca_is_a_file_a_context_or_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """http needs none; what is no CA is said with its name."""
    ca = certificates.made(tmp_path / "pki") / "ca.pem"
    context = ssl.create_default_context()
    assert tls_context("https://g", context) is context
    assert tls_context("http://g", ca) is None
    given = tls_context("https://g", ca)
    assert given is not None
    assert len(given.get_ca_certs()) == 1
    monkeypatch.setenv("GATEWAY_CA", str(ca))
    named = tls_context("https://g", None)
    assert named is not None
    assert len(named.get_ca_certs()) == 1
    with pytest.raises(ValueError, match=r"cannot use .*test_connection.py as a CA"):
        tls_context("https://g", __file__)
