"""Images by address: which addresses are taken, what is connected to, and what comes of other answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.config import ImageUrl
from gateway.errors import BadInput, BadRequest, DeadlineExceeded, GatewayError, PayloadTooLarge, QueueFull
from gateway.http import image_url
from gateway.http.body import ByteBudget
from gateway.http.image_url import ImageFetcher, is_public
from tests.support.certificates import client_context, made
from tests.support.http_gateway import FakeDispatcher, serving

MAX_BYTES = 4096
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
        ),
        *("100.100.100.200", "168.63.129.16", "192.0.0.1", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
        *("198.18.0.1", "198.51.100.1"),
        *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8"),
        *("64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1"),
        *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1"),
    ],
)
def test_refuses_what_is_not_public(address: str) -> None:
    """Loopback, private, link-local, shared, metadata, multicast and reserved addresses, and IPv4 inside IPv6."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2001:4860:4860::8888", "2606:4700::1111"])
def test_takes_what_is_public(address: str) -> None:
    """Machines of the internet."""
    assert is_public(ip_address(address))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with a certificate for localhost."""
    return made(tmp_path_factory.mktemp("certs"))


@asynccontextmanager
async def site(authority: Path, handler: Handler) -> AsyncIterator[int]:
    """An HTTPS server that answers everything with `handler`; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await listener.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def fetcher(authority: Path, port: int, *, timeout_s: float = 30.0, **more: Any) -> ImageFetcher:
    """Knows localhost alone, and lets it be what the site is."""
    settings = ImageUrl(enabled=True, hosts=(f"localhost:{port}",), timeout_s=timeout_s)
    more.setdefault("is_allowed", lambda _: True)
    more.setdefault("resolve", resolving("127.0.0.1"))
    return ImageFetcher(settings, MAX_BYTES, tls=client_context(authority / "ca.pem"), **more)


def resolving(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return resolve


async def fetched(images: ImageFetcher, url: str, timeout_s: float = 30.0) -> bytes:
    """The image; the budget is as it was before."""
    budget = ByteBudget(1 << 20)
    try:
        image = await images.fetch(url, timeout_s, budget)
    except GatewayError:
        assert budget.held_bytes == 0
        raise
    whole = b"".join(image.pieces)
    assert budget.held_bytes == len(whole)
    image.release()
    assert budget.held_bytes == 0
    return whole


async def test_fetches_from_the_pinned_address(authority: Path) -> None:
    """The name is looked up once; the request goes to that address, with the name for TLS and Host, and no secrets."""
    seen: list[web.BaseRequest] = []
    asked: list[tuple[str, int]] = []

    async def answer(request: Any) -> web.StreamResponse:
        seen.append(request)
        return web.Response(body=b"picture", content_type="image/jpeg")

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    async with site(authority, answer) as port:
        images = fetcher(authority, port, resolve=resolve)
        assert await fetched(images, f"https://LOCALHOST:{port}/a/cat.jpg?size=1#top") == b"picture"
    assert asked == [("localhost", port)]
    assert (seen[0].path_qs, seen[0].headers["Host"]) == ("/a/cat.jpg?size=1", f"localhost:{port}")
    assert not {"Authorization", "Cookie", "Referer"} & set(seen[0].headers)


async def refuse_all(_request: Any) -> web.StreamResponse:
    raise AssertionError("nobody may come here")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/",
        "ftp://localhost:{port}/",
        "https://example.org/",
        "https://localhost/",
        "https://localhost:{port}@example.org/",
        "https://user@localhost:{port}/",
        "https://:secret@localhost:{port}/",
        "https://example.org\\@localhost:{port}/",
        "https://localhost:{port}.example.org/",
        "https://127.0.0.1:{port}/",
        "https://localhost:99999/",
        "https://[localhost:{port}/",
        "//localhost:{port}/",
        "https:///",
        "https://localhost:{port}/a b",
        "https://localhost:{port}/\r\nHost: x",
        "https://localhost:{port}/" + "a" * 2048,
        "https://l\N{LATIN SMALL LETTER O WITH STROKE}calhost:{port}/",
        "",
    ],
)
async def test_refuses_addresses(authority: Path, url: str) -> None:
    """Another scheme, host, port or user, and whatever could be read in two ways, is refused before any look-up."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise AssertionError("nothing may be looked up")

    async with site(authority, refuse_all) as port:
        with pytest.raises(BadRequest):
            await fetched(fetcher(authority, port, resolve=resolve), url.replace("{port}", str(port)))


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"], []])
async def test_connects_to_public_addresses_alone(authority: Path, addresses: list[str]) -> None:
    """A listed name with one address that is not public, or with none, is not connected to."""
    async with site(authority, refuse_all) as port:
        images = fetcher(authority, port, resolve=resolving(*addresses), is_allowed=is_public)
        with pytest.raises(BadRequest, match="not public"):
            await fetched(images, f"https://localhost:{port}/")


async def test_follows_no_redirect(authority: Path) -> None:
    """A redirect is an answer, and not the image."""

    async def answer(_request: Any) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})

    async with site(authority, answer) as port:
        with pytest.raises(BadInput, match="redirect"):
            await fetched(fetcher(authority, port), f"https://localhost:{port}/")


@pytest.mark.parametrize("is_declared", [True, False])
async def test_bounds_the_size(authority: Path, is_declared: bool) -> None:
    """An image over the limit is refused by its declared length, or when it has come that far."""

    async def answer(request: Any) -> web.StreamResponse:
        if is_declared:
            return web.Response(body=bytes(MAX_BYTES + 1))
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(bytes(MAX_BYTES))
        await response.write(b"!")
        await response.write_eof()
        return response

    async with site(authority, answer) as port:
        with pytest.raises(PayloadTooLarge):
            await fetched(fetcher(authority, port), f"https://localhost:{port}/")


@pytest.mark.parametrize(
    ("settings_s", "deadline_s", "error"), [(0.05, 30.0, BadInput), (30.0, 0.05, DeadlineExceeded)]
)
async def test_bounds_the_time(
    authority: Path, settings_s: float, deadline_s: float, error: type[GatewayError]
) -> None:
    """A site that hangs is given up at its own limit, or at the request's deadline; each says which."""
    hanging = asyncio.Event()

    async def answer(_request: Any) -> web.StreamResponse:
        await hanging.wait()
        return web.Response()

    async with site(authority, answer) as port:
        with pytest.raises(error):
            await fetched(fetcher(authority, port, timeout_s=settings_s), f"https://localhost:{port}/", deadline_s)
        hanging.set()


async def test_tells_what_the_site_answered(authority: Path) -> None:
    """Another status, a packed body, a wrong certificate and a closed port are the image's problem, said in words."""
    answers = [web.Response(status=404), web.Response(body=b"x", headers={"Content-Encoding": "gzip"})]

    async def answer(_request: Any) -> web.StreamResponse:
        return answers.pop(0)

    async with site(authority, answer) as port:
        url = f"https://localhost:{port}/"
        for text in ("answered with 404", "Content-Encoding"):
            with pytest.raises(BadInput, match=text):
                await fetched(fetcher(authority, port), url)
        untrusting = ImageFetcher(
            ImageUrl(enabled=True, hosts=(f"localhost:{port}",)),
            MAX_BYTES,
            resolve=resolving("127.0.0.1"),
            is_allowed=lambda _: True,
        )
        with pytest.raises(BadInput, match="Certificate"):
            await fetched(untrusting, url)
    with pytest.raises(BadInput, match="could not be fetched"):
        await fetched(fetcher(authority, port), url)


async def test_a_host_is_the_same_in_capitals(authority: Path) -> None:
    """Names of hosts have no case (RFC 3986 3.2.2), neither in the setting nor in what a client sends."""

    async def answer(_request: Any) -> web.StreamResponse:
        return web.Response(body=b"picture")

    async with site(authority, answer) as port:
        images = ImageFetcher(
            ImageUrl(enabled=True, hosts=(f"LocalHost:{port}",)),
            MAX_BYTES,
            tls=client_context(authority / "ca.pem"),
            resolve=resolving("127.0.0.1"),
            is_allowed=lambda _: True,
        )
        assert await fetched(images, f"https://LOCALHOST:{port}/") == b"picture"


async def test_bounds_the_fetches(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than may be under way is answered 429, and has its turn later."""
    monkeypatch.setattr(image_url, "MAX_FETCHES", 1)
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(_request: Any) -> web.StreamResponse:
        arrived.set()
        await may_answer.wait()
        return web.Response(body=b"picture")

    async with site(authority, answer) as port:
        images, url = fetcher(authority, port), f"https://localhost:{port}/"
        first = asyncio.create_task(fetched(images, url))
        await arrived.wait()
        with pytest.raises(QueueFull):
            await fetched(images, url)
        may_answer.set()
        assert await first == b"picture"
        assert await fetched(images, url) == b"picture"


async def test_is_off_by_default() -> None:
    """Without the setting, JSON is a type that is not taken."""
    document = {"image_url": "https://localhost/"}
    async with (
        serving(FakeDispatcher()) as served,
        served.session.post("/inference/digits", json=document) as answer,
    ):
        assert answer.status == 415


async def test_answers_an_image_by_its_address(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched becomes the job's body; anything but one https address of a listed host is a 400."""
    pictures = [b"picture", b""]

    async def answer(_request: Any) -> web.StreamResponse:
        return web.Response(body=pictures.pop(0))

    async with site(authority, answer) as port:
        monkeypatch.setattr("gateway.http.routes.ImageFetcher", lambda *_: fetcher(authority, port))
        dispatcher = FakeDispatcher()
        async with serving(dispatcher, {"image_url": {"enabled": True}}) as served:
            here = {"image_url": f"https://localhost:{port}/"}
            async with served.session.post("/inference/digits?top=2", json=here) as answered:
                assert (answered.status, (await answered.json())["worker"]) == (200, "w1")
                assert "inference;dur=" in answered.headers["Server-Timing"]
            assert dispatcher.bodies == [b"picture"]
            async with served.session.get("/openapi.json") as answered:
                operation = (await answered.json())["paths"]["/inference/{model}"]["post"]
                assert "application/json" in operation["requestBody"]["content"]
            for document in (here, {}, {"image_url": 7}, here | {"more": 1}, {"image_url": "https://example.org/"}):
                async with served.session.post("/inference/digits", json=document) as answered:
                    assert answered.status == 400
            assert dispatcher.bodies == [b"picture"]
