"""What is made of a gateway's answers, and of everything else that an address may answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from bench.classification.folder import Picture, list_pictures
from bench.classification.gateway import HttpGateway, Reply, replies_of
from bench.classification.score import Prediction
from bench.load.target import Target

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CAT = {"model": "m", "worker": "w1", "predictions": [{"index": 1, "label": "cat", "probability": 0.75}]}
CAT_REPLY = Reply((Prediction(1, "cat", 0.75),), "w1", 200)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    for name in ("a.png", "b.jpg", 'c".png'):
        (tmp_path / name).write_bytes(b"picture " + name.encode())
    return list_pictures(tmp_path)


@contextlib.asynccontextmanager
async def gateway(handler: Handler) -> AsyncIterator[HttpGateway]:
    app = web.Application()
    app.router.add_post("/inference/m", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with HttpGateway(Target(f"http://127.0.0.1:{port}/inference/m", (), token="secret"), 10.0) as made:
            yield made
    finally:
        await runner.cleanup()


def answering(answer: object, status: int = 200, **headers: str) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        return web.json_response(answer, status=status, headers=headers)

    return handle


async def test_one_picture_is_the_body_as_it_is(pictures: list[Picture]) -> None:
    """With its type and the token."""
    seen: list[tuple[bytes, str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((await request.read(), request.content_type, request.headers["Authorization"]))
        return web.json_response(CAT)

    async with gateway(handle) as made:
        assert await made.classify(pictures[1:2]) == [CAT_REPLY]
    assert seen == [(b"picture b.jpg", "image/jpeg", "Bearer secret")]


async def test_several_pictures_are_a_form_in_order(pictures: list[Picture]) -> None:
    """Each with its type; replies are in the order sent, and a bad one fails alone."""
    seen: list[tuple[bytes, str | None]] = []
    problem = {"file": "1", "status": 400, "code": "bad_input", "detail": "not an image"}

    async def handle(request: web.Request) -> web.Response:
        form = await request.multipart()
        while part := await form.next():
            seen.append((await part.read(), part.headers.get("Content-Type")))  # type: ignore[union-attr]
        return web.json_response([CAT, problem, CAT])

    async with gateway(handle) as made:
        replies = await made.classify(pictures)
    assert seen == [
        (b"picture a.png", "image/png"),
        (b"picture b.jpg", "image/jpeg"),
        (b'picture c".png', "image/png"),
    ]
    assert replies == [CAT_REPLY, Reply(status=400, reason="bad_input", detail="not an image"), CAT_REPLY]


async def test_a_file_that_is_gone_fails_alone(pictures: list[Picture]) -> None:
    """The others are sent; a batch of nothing but such files makes no request."""
    pictures[0].path.unlink()
    async with gateway(answering([CAT, CAT])) as made:
        first, *others = await made.classify(pictures)
        assert (first.reason, first.is_retried, first.is_final) == ("unreadable", False, False)
        assert others == [CAT_REPLY, CAT_REPLY]
        assert [reply.reason for reply in await made.classify(pictures[:1])] == ["unreadable"]


async def test_a_refusal_says_when_to_come_back(pictures: list[Picture]) -> None:
    """429 and 503 are tried again after Retry-After."""
    problem = {"status": 429, "code": "queue_full", "detail": "512 jobs wait"}
    async with gateway(answering(problem, 429, **{"Retry-After": "3"})) as made:
        (reply,) = await made.classify(pictures[:1])
    assert reply == Reply(status=429, reason="queue_full", detail="512 jobs wait", retry_after_s=3.0)
    assert reply.is_retried


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_what_meets_every_picture_is_final(pictures: list[Picture], status: int) -> None:
    """Token, model and path are not tried again."""
    async with gateway(answering({"detail": "no"}, status)) as made:
        (reply,) = await made.classify(pictures[:1])
    assert reply.is_final
    assert not reply.is_retried


async def test_a_redirect_is_no_answer(pictures: list[Picture]) -> None:
    """It is not followed, since the token would go along, and its target is said."""
    async with gateway(answering({}, 307, Location="https://elsewhere.example/")) as made:
        (reply,) = await made.classify(pictures[:1])
    assert (reply.reason, reply.detail) == ("http_307", "https://elsewhere.example/")


async def test_a_page_that_is_not_json_is_shown(pictures: list[Picture]) -> None:
    """The beginning of what came instead, whether it calls itself a success or not."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html>welcome", content_type="text/html")

    async def failing(_request: web.Request) -> web.Response:
        return web.Response(text="bad gateway", status=502)

    async with gateway(page) as made:
        (reply,) = await made.classify(pictures[:1])
        assert (reply.reason, reply.status, reply.is_retried) == ("not_json", 200, False)
        assert "<html>welcome" in reply.detail
    async with gateway(failing) as made:
        (reply,) = await made.classify(pictures[:1])
        assert (reply.reason, reply.detail) == ("http_502", "bad gateway")


async def test_a_connection_that_breaks_is_tried_again(pictures: list[Picture]) -> None:
    """A server that closes instead of answering."""

    async def close(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with gateway(close) as made:
        replies = await made.classify(pictures)
    assert {reply.reason for reply in replies} <= {"closed", "reset"}
    assert all(reply.is_retried and not reply.is_final for reply in replies)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([CAT], ""),
        (CAT, ""),
        ([CAT, CAT], "bad_answer"),
        (7, "bad_answer"),
        ({"model": "echo", "bytes": 7}, "no_predictions"),
        ({"predictions": [{"index": "x", "label": "cat", "probability": 1}]}, "no_predictions"),
        ({"predictions": 7}, "no_predictions"),
    ],
)
def test_answers_of_every_shape(answer: object, reason: str) -> None:
    """What is no answer to one picture is a failure with a name."""
    (reply,) = replies_of(answer, 1)
    assert reply.reason == reason
