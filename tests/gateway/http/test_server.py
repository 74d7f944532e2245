"""Connections: slow heads, Expect, keep-alive, leaving, and the tunnel's route."""

from __future__ import annotations

import asyncio
import gc
import weakref

import aiohttp
import pytest
from aiohttp import web

from gateway.config import Config, Limits
from gateway.errors import Forbidden
from gateway.http.routes import build_admin_app
from gateway.http.server import serve
from gateway.metrics import Metrics
from gateway.tunnel.channel import new_websocket
from tests.support.http_gateway import TOKEN, FakeDispatcher, serving, turns

HEAD = f"Host: gateway\r\nAuthorization: Bearer {TOKEN}\r\n"


async def test_closes_a_connection_that_never_finishes_its_head() -> None:
    """A client that drips its head is cut off, and counted."""
    async with serving(FakeDispatcher(), {"limits": {"header_timeout_s": 0.01}}) as served:
        assert await served.talk(b"POST /inference/digits HTTP/1.1\r\nHost: gate") == b""
        assert served.metrics.connections_closed.count("slow_head") == 1


async def test_keeps_a_connection_whose_head_came_in_time() -> None:
    """The head's time limit does not end a request that takes longer than it."""
    async with serving(FakeDispatcher(), {"limits": {"header_timeout_s": 0.01}}) as served:
        served.dispatcher.may_answer.clear()
        request = asyncio.create_task(served.session.post("/inference/digits", data=b"picture"))
        await served.dispatcher.started.acquire()
        loop = asyncio.get_running_loop()
        passed = asyncio.Event()
        loop.call_later(0.02, passed.set)
        await passed.wait()
        served.dispatcher.may_answer.set()
        assert (await request).status == 200


async def test_says_continue_once_it_would_serve() -> None:
    """A client that asks first is told to go ahead when its token, model and length are fine."""
    async with serving(FakeDispatcher()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        expect = "Content-Length: 7\r\nExpect: 100-continue\r\n\r\n"
        writer.write(f"POST /inference/digits HTTP/1.1\r\n{HEAD}{expect}".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"picture")
        assert b" 200 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Host: gateway\r\nContent-Length: 7\r\n", b" 401 "),
        (f"{HEAD}Content-Length: 99999999999\r\n", b" 413 "),
        (f"{HEAD}Content-Length: 7\r\nContent-Type: text/html\r\n", b" 415 "),
    ],
)
async def test_refuses_without_asking_for_the_body(head: str, status: bytes) -> None:
    """A client that asks first is refused before it sends anything."""
    async with serving(FakeDispatcher()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST /inference/digits HTTP/1.1\r\n{head}Expect: 100-continue\r\n\r\n".encode())
        assert status in await reader.readline()
        writer.close()


async def test_serves_many_requests_on_one_connection() -> None:
    """Connections are kept: two pipelined requests are answered in order."""
    async with serving(FakeDispatcher()) as served:
        one = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: 3\r\n"
        answer = await served.talk(f"{one}\r\none".encode(), f"{one}Connection: close\r\n\r\ntwo".encode())
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert served.dispatcher.bodies == [b"one", b"two"]


async def test_forwards_a_large_body_while_it_arrives() -> None:
    """Once a worker is taken, pieces reach it before the client has sent the last one."""
    async with serving(FakeDispatcher()) as served:
        size = 220_000
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: {size}\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        sent = 0
        while not served.dispatcher.jobs and sent < size - 10_000:
            writer.write(b"x" * 10_000)
            sent += 10_000
            await writer.drain()
            await turns()
        received = len(await served.dispatcher.pieces.get())
        assert 0 < received < size
        assert served.dispatcher.bodies == []
        writer.write(b"x" * (size - sent))
        assert b" 200 " in await reader.readline()
        writer.close()
        assert [len(body) for body in served.dispatcher.bodies] == [size]


async def test_an_early_answer_does_not_wait_for_the_body() -> None:
    """A worker that answers before it has the whole body is passed on at once."""
    async with serving(FakeDispatcher(reads_bodies=False)) as served:
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: 220000\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        answered = asyncio.create_task(reader.readline())
        for _ in range(20):
            writer.write(b"x" * 10_000)
            await writer.drain()
            await turns()
        assert b" 200 " in await answered
        writer.close()


async def test_lets_open_requests_end_when_it_closes() -> None:
    """Closing waits for the request that is open, within the grace time, and takes no new connection."""
    release = asyncio.Event()
    started = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        started.set()
        await release.wait()
        return web.Response(text="done")

    metrics = Metrics()
    app = build_admin_app(FakeDispatcher(), metrics, Config())
    app.router.add_get("/", slow)
    server = await serve(app, "127.0.0.1", 0, limits=Limits(), metrics=metrics, grace_s=60.0)
    port = server.port
    async with aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.get(f"http://127.0.0.1:{port}/"))
        await started.wait()
        closing = asyncio.create_task(server.close())
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                break
            writer.close()
        release.set()
        answer = await request
        assert await answer.text() == "done"
        await closing


async def test_says_when_a_port_cannot_be_had() -> None:
    """A port in use is an OSError, with nothing left running."""
    async with serving(FakeDispatcher()) as served:
        app = build_admin_app(FakeDispatcher(), served.metrics, Config())
        with pytest.raises(OSError, match="in use"):
            await serve(app, "127.0.0.1", served.port, limits=Limits(), metrics=served.metrics)


async def test_the_tunnel_is_told_the_workers_address() -> None:
    """The tunnel's handler gets the request and the address behind trusted proxies, and its WebSocket works."""
    seen: list[str] = []

    async def tunnel(request: web.Request, address: str) -> web.StreamResponse:
        seen.append(address)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    config = {"proxy": {"trusted": ["127.0.0.1"]}}
    async with serving(FakeDispatcher(), config, tunnel) as served:
        headers = {"X-Forwarded-For": "192.0.2.1"}
        async with served.session.ws_connect("/v1/tunnel", headers=headers) as socket:
            await socket.send_bytes(b"frame")
            assert await socket.receive_bytes() == b"frame"
        assert seen == ["192.0.2.1"]
        assert served.metrics.failures.count("client_gone") == 0


async def test_a_tunnel_outlives_its_request() -> None:
    """The handler returns and the connection stays, with its flow control and without the request, whose head nobody
    holds any more; a connection that is cut ends the tunnel's reading, and no request has failed."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    requests: list[weakref.ref[web.Request]] = []
    serving_it: list[asyncio.Task[None]] = []
    protocols: list[web.RequestHandler] = []

    async def tunnel(request: web.Request, _address: str) -> web.StreamResponse:
        socket = new_websocket("chat")
        await socket.prepare(request)
        socket.inbox.on_message = lambda message: heard.put_nowait(message.decode())
        requests.append(weakref.ref(request))
        protocols.append(request.protocol)
        serving_it.append(asyncio.create_task(listen(socket)))
        return socket

    async def listen(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"hello")
        heard.put_nowait((await socket.receive()).type.name)

    async with serving(FakeDispatcher(), tunnel=tunnel) as served:
        async with served.session.ws_connect("/v1/tunnel", protocols=("chat",)) as socket:
            assert await socket.receive_bytes() == b"hello"
            for text in ("one", "two"):
                await socket.send_bytes(text.encode())
                assert await heard.get() == text
            gc.collect()
            assert requests[0]() is None
            assert protocols[0].transport is not None
            protocols[0].transport.abort()
            assert await heard.get() == "CLOSED"
            assert protocols[0].transport is None
        await serving_it[0]
        assert served.metrics.failures.count("client_gone") == 0


async def test_the_tunnel_refuses_with_problems() -> None:
    """A worker that is not let in gets a problem like any client."""

    async def tunnel(_request: web.Request, _address: str) -> web.StreamResponse:
        raise Forbidden("this token has no worker scope")

    async with serving(FakeDispatcher(), tunnel=tunnel) as served, served.session.get("/v1/tunnel") as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "forbidden"
        assert served.metrics.requests.count("/v1/tunnel", "GET", "403") == 1
