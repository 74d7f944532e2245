"""Everything a client can get wrong: its own status, problem+json with `error`, one count, and nothing else hurt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.dispatch.model import ModelOffer
from tests.support.http_gateway import TOKEN, FakeDispatcher, Served, serving, turns

HEAD = f"Host: gateway\r\nAuthorization: Bearer {TOKEN}\r\n"


def problem_in(answer: bytes) -> tuple[int, dict[str, object]]:
    """Status and document of a raw answer, which must be a problem and close the connection or not at will."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"Server-Timing: total;dur=" in head
    problem = json.loads(body)
    assert isinstance(problem["error"], str)
    return int(head.split()[1]), problem


async def check_others_are_served(served: Served) -> None:
    async with served.session.post("/inference/digits", data=b"picture") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("GET", "/nothing", {}, b"", 404, "no_such_path"),
        ("GET", "/inference/digits", {}, b"", 405, "method_not_allowed"),
        ("PUT", "/inference/digits", {}, b"picture", 405, "method_not_allowed"),
        ("POST", "/healthz", {}, b"", 405, "method_not_allowed"),
        ("POST", "/inference/digits", {}, b"", 400, "bad_input"),
        ("POST", "/inference/digits", {"Content-Type": "application/json"}, b"{}", 415, "unsupported_media_type"),
        ("POST", "/inference/digits", {"Content-Type": "text/plain"}, b"x", 415, "unsupported_media_type"),
        ("POST", "/inference/digits", {"Content-Type": "multipart/form-data"}, b"x", 400, "bad_request"),
        ("POST", "/inference/digits", {"Content-Type": "multipart/form-data; boundary=B"}, b"x", 400, "bad_request"),
        ("POST", "/inference/digits", {"Content-Encoding": "gzip"}, b"not gzip", 415, "unsupported_media_type"),
        ("POST", "/inference/digits", {"Authorization": ""}, b"picture", 401, "unauthenticated"),
        ("POST", "/inference/digits", {"Authorization": "Bearer forged"}, b"picture", 401, "unauthenticated"),
        ("POST", "/inference/secret", {}, b"picture", 403, "forbidden"),
        ("POST", "/inference/digits?top=0", {}, b"picture", 400, "bad_request"),
        ("POST", "/inference/digits", {"X-Request-Timeout": "soon"}, b"picture", 400, "bad_request"),
        ("POST", "/inference/digits", {"X-Priority": "urgent"}, b"picture", 400, "bad_request"),
        ("POST", "/inference/digits", {"X-Worker": "w1"}, b"picture", 400, "bad_request"),
        ("POST", "/inference/a%0Ab", {}, b"picture", 400, "bad_request"),
        ("GET", "/v1/workers", {"Authorization": ""}, b"", 401, "unauthenticated"),
    ],
)
async def test_refuses(method: str, path: str, headers: dict[str, str], body: bytes, status: int, code: str) -> None:
    """Each mistake has its status and code, and is counted once under that code."""
    async with serving(FakeDispatcher()) as served:
        async with served.session.request(method, path, headers=headers, data=body or None) as answer:
            assert answer.status == status
            assert answer.content_type == "application/problem+json"
            assert "Server-Timing" in answer.headers
            assert "X-Request-ID" in answer.headers
            problem = await answer.json()
        assert problem["code"] == code
        assert problem["type"] == f"urn:edge-inference:error:{code}"
        assert isinstance(problem["error"], str)
        assert served.metrics.failures.count(code) == 1
        assert served.dispatcher.jobs == []
        await check_others_are_served(served)


async def test_names_the_methods_that_a_path_takes() -> None:
    """405 carries Allow."""
    async with serving(FakeDispatcher()) as served, served.session.get("/inference/digits") as answer:
        assert answer.headers["Allow"] == "POST"


async def test_asks_for_a_bearer_token() -> None:
    """401 carries WWW-Authenticate, and is counted by the authenticator's reason."""
    async with serving(FakeDispatcher()) as served:
        async with served.session.get("/v1/workers", headers={"Authorization": ""}) as answer:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert served.metrics.tokens_refused.count("missing") == 1


async def test_refuses_a_declared_length_before_reading() -> None:
    """A Content-Length over the limit is 413 although no byte of the body was sent."""
    async with serving(FakeDispatcher(), {"limits": {"max_body_bytes": 1024}}) as served:
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: 1025\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        status_line = await reader.readline()
        assert b" 413 " in status_line
        writer.close()
        assert served.metrics.failures.count("payload_too_large") == 1


async def test_refuses_a_body_that_grows_too_long() -> None:
    """A body of unknown length is 413 when it passes the limit."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 500

    async with serving(FakeDispatcher(), {"limits": {"max_body_bytes": 1024}}) as served:
        async with served.session.post("/inference/digits", data=body()) as answer:
            assert answer.status == 413
        await check_others_are_served(served)


async def test_gives_up_on_a_slow_body() -> None:
    """A body that stops arriving is 408 after the stall limit."""
    async with serving(FakeDispatcher(), {"limits": {"body_stall_s": 0.01}}) as served:
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: 100\r\nConnection: close\r\n\r\nslow"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        assert b" 408 " in await reader.readline()
        writer.close()
        assert served.metrics.failures.count("slow_body") == 1
        assert served.dispatcher.jobs == []


async def test_a_slow_rest_ends_a_job_that_had_begun() -> None:
    """A body that stops arriving after a worker was taken ends the exchange, and is 408 too."""
    async with serving(FakeDispatcher(), {"limits": {"body_stall_s": 0.05}}) as served:
        size = 100_000
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: {size}\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        writer.write(b"x" * 70_000)
        await writer.drain()
        while not served.metrics.failures.count("slow_body"):
            if not served.dispatcher.jobs:
                writer.write(b"x" * 1000)
            await turns()
        assert b" 408 " in await reader.readline()
        writer.close()
        assert served.dispatcher.running == 0


async def test_the_deadline_counts_while_the_body_arrives() -> None:
    """A deadline that passes before the body is here is 504, not a question of speed."""
    async with serving(FakeDispatcher()) as served:
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}X-Request-Timeout: 0.01\r\nContent-Length: 100\r\n\r\nslow"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        assert b" 504 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize("path", ["/inference/old", "/predictions/old", "/v1/models/old:predict"])
async def test_a_service_is_no_model(path: str) -> None:
    """The server behind it knows nothing of our paths: the client is told where it is asked."""
    offers = {"old": ModelOffer("old", "", 32, metadata={"service": True})}
    async with serving(FakeDispatcher(offers=offers)) as served:
        async with served.session.post(path, data=b"picture") as answer:
            document = await answer.text()
        assert (answer.status, "/tunnel/SERVICE/PATH" in document) == (404, True)


async def test_an_unknown_model_is_refused_before_the_body() -> None:
    """A body that is still to come is not waited for when no worker ever announced the model."""
    async with serving(FakeDispatcher()) as served:
        head = f"POST /inference/nobody HTTP/1.1\r\n{HEAD}Content-Length: 100\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        assert b" 404 " in await reader.readline()
        writer.close()
        assert served.metrics.failures.count("unknown_model") == 1


async def test_a_draining_gateway_refuses_before_the_body() -> None:
    """A body that is still to come is not waited for when no new work is taken."""
    async with serving(FakeDispatcher(is_draining=True)) as served:
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: 100\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode())
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nConnection: close\r\n" in answer, "the next request is not to find a gateway that is gone"
        writer.close()


async def test_a_request_is_open_from_its_head_to_its_answer() -> None:
    """A drain that begins while the body arrives waits for the request, and the answer is its connection's last."""
    async with serving(FakeDispatcher()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Content-Length: 7\r\nExpect: 100-continue\r\n\r\n"
        writer.write(head.encode())
        assert b" 100 " in await reader.readline()
        assert served.dispatcher.open_requests == 1
        served.dispatcher.is_draining = True
        writer.write(b"picture")
        answer = await reader.read()
        assert b"HTTP/1.1 200 " in answer
        assert b"\r\nConnection: close\r\n" in answer
        assert served.dispatcher.open_requests == 0
        writer.close()


async def test_bounds_open_requests() -> None:
    """The request over max_requests is 429 with Retry-After, and finds room once another has ended."""
    async with serving(FakeDispatcher(), {"limits": {"max_requests": 1}}) as served:
        served.dispatcher.may_answer.clear()
        first = asyncio.create_task(check_others_are_served(served))
        await served.dispatcher.started.acquire()
        async with served.session.post("/inference/digits", data=b"picture") as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "1"
        served.dispatcher.may_answer.set()
        await first
        await check_others_are_served(served)


@pytest.mark.parametrize(
    ("request_text", "status", "code"),
    [
        ("nonsense\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
        (f"GET / HTTP/1.1\r\nHost: a\r\nX: {'y' * 9000}\r\n\r\n", 431, "headers_too_large"),
        (f"GET /{'y' * 9000} HTTP/1.1\r\nHost: a\r\n\r\n", 431, "headers_too_large"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n" + "X: y\r\n" * 100 + "\r\n",
            431,
            "headers_too_large",
        ),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417, "expectation_failed"),
    ],
)
async def test_answers_what_is_not_http(request_text: str, status: int, code: str) -> None:
    """What cannot be read as a request is answered as a problem like everything else, and counted."""
    async with serving(FakeDispatcher()) as served:
        text = request_text.replace("Host: a\r\n", "Host: a\r\nConnection: close\r\n")
        answered, problem = problem_in(await served.talk(text.encode()))
        assert (answered, problem["code"]) == (status, code)
        assert served.metrics.failures.count(code) == 1
        await check_others_are_served(served)


async def test_a_broken_chunk_is_not_http() -> None:
    """A chunked body that is broken from the start is a bad request."""
    async with serving(FakeDispatcher()) as served:
        head = f"POST /inference/digits HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n"
        status, problem = problem_in(await served.talk(head.encode() + b"3\r\nabc\r\nzz\r\n"))
        assert (status, problem["code"]) == (400, "bad_request")
        await check_others_are_served(served)


async def test_a_chunk_that_breaks_later_is_not_waited_for() -> None:
    """A chunked body that breaks after its head was taken ends at the stall limit: the parser tells nobody else."""
    async with serving(FakeDispatcher(), {"limits": {"body_stall_s": 0.01}}) as served:
        expect = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST /inference/digits HTTP/1.1\r\n{HEAD}{expect}".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"3\r\nabc\r\nzz\r\n")
        assert b" 408 " in await reader.readline()
        writer.close()
