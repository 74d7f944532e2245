"""POST /inference/{model} with multipart/form-data."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from gateway import errors
from tests.support.http_gateway import LABELS, TOKEN, FakeDispatcher, Served, serving


def form(*files: bytes | tuple[str, bytes, str]) -> aiohttp.MultipartWriter:
    """A form of files, as curl makes it with -F NAME=@NAME."""
    writer = aiohttp.MultipartWriter("form-data")
    for number, file in enumerate(files):
        name, content, content_type = file if isinstance(file, tuple) else (f"{number}.jpg", file, "image/jpeg")
        part = writer.append(content, {"Content-Type": content_type})  # type: ignore[arg-type]
        part.set_content_disposition("form-data", name=name, filename=name)
    return writer


async def post(served: Served, *files: bytes | tuple[str, bytes, str]) -> tuple[int, Any]:
    async with served.session.post("/inference/digits", data=form(*files)) as answer:
        return answer.status, await answer.json()


async def test_answers_in_the_order_sent() -> None:
    """Each file's result stands in its place in the list, under its name, whichever was done first."""
    files = [f"picture {number}".encode() for number in range(20)]
    answers = {file: b'{"n":%d}' % number for number, file in enumerate(files)}
    async with serving(FakeDispatcher(answers=dict(answers))) as served:
        status, results = await post(served, *files)
        assert status == 200
        assert [result["n"] for result in results] == list(range(20))
        assert [result["file"] for result in results] == [f"{number}.jpg" for number in range(20)]
        ids = [result["request_id"] for result in results]
        assert len(set(ids)) == 20
        assert ids[3].endswith(".3")
        assert sorted(job.id for job in served.dispatcher.jobs) == sorted(ids)
        assert served.metrics.stages.count("inference") == 20


async def test_a_bad_file_fails_only_itself() -> None:
    """A file that a worker refuses, an empty one and one of another type are problems in the list; the rest is done."""
    answers: dict[bytes, bytes | Exception] = {b"bad": errors.BadInput("not an image"), b"bug": RuntimeError("oops")}
    async with serving(FakeDispatcher(answers=answers)) as served:
        status, results = await post(
            served, b"good", b"bad", b"", ("page.html", b"<html>", "text/html"), b"bug", b"good"
        )
        assert status == 200
        assert [result.get("status") for result in results] == [None, 400, 400, 415, 500, None]
        assert results[1]["error"] == "not an image"
        assert results[1]["code"] == "bad_input"
        assert "oops" not in str(results[4])
        assert served.metrics.failures.count("bad_input") == 2
        assert served.metrics.requests.count("/inference/{model}", "POST", "200") == 1


async def test_a_file_over_the_limit_fails_only_itself() -> None:
    """A file over max_body_bytes is a problem in the list, and its bytes are not kept."""
    async with serving(FakeDispatcher(), {"limits": {"max_body_bytes": 1024}}) as served:
        status, results = await post(served, b"x" * 1025, b"y" * 1024)
        assert status == 200
        assert [result.get("status") for result in results] == [413, None]
        assert served.dispatcher.bodies == [b"y" * 1024]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnknownModel("never announced"), 404),
        (errors.NoWorker("nobody", retry_after_s=1), 503),
        (errors.QueueFull("full", retry_after_s=1), 429),
    ],
)
async def test_what_every_file_met_is_the_answer(error: errors.GatewayError, status: int) -> None:
    """When all files failed for the same reason that is not about files, the request failed for it."""
    async with serving(FakeDispatcher(error=error)) as served:
        answered, problem = await post(served, b"one", b"two")
        assert answered == status
        assert problem["code"] == error.code


async def test_what_one_file_met_is_its_own() -> None:
    """When another file was answered, a full queue is the problem of those that met it."""
    answers: dict[bytes, bytes | Exception] = {b"one": errors.QueueFull("full", retry_after_s=1)}
    async with serving(FakeDispatcher(answers=answers)) as served:
        status, results = await post(served, b"one", b"two")
        assert status == 200
        assert [result.get("status") for result in results] == [429, None]


async def test_bad_files_alone_are_still_a_list() -> None:
    """When every file is bad the answer is a list of problems all the same: each failed by itself."""
    async with serving(FakeDispatcher(error=errors.BadInput("not an image"))) as served:
        status, results = await post(served, b"one")
        assert status == 200
        assert [result["status"] for result in results] == [400]


async def test_refuses_an_empty_form() -> None:
    """A form without a file is a bad request."""
    boundary = {"Content-Type": "multipart/form-data; boundary=B"}
    async with (
        serving(FakeDispatcher()) as served,
        served.session.post("/inference/digits", data=b"--B--\r\n", headers=boundary) as answer,
    ):
        assert answer.status == 400
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["error"] == "the multipart body holds no file"


async def test_refuses_a_form_that_breaks_off() -> None:
    """A form that ends before its last boundary is a bad request, and what was begun is cancelled."""
    body = b"--B\r\n\r\none\r\n--B\r\n\r\ntwo"
    async with serving(FakeDispatcher()) as served:
        served.dispatcher.may_answer.clear()
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        async with served.session.post("/inference/digits", data=body, headers=headers) as answer:
            assert answer.status == 400
        assert served.dispatcher.running == 0
        assert served.metrics.failures.count("bad_request") == 1


async def test_refuses_ten_thousand_parts() -> None:
    """The part over the limit ends the request with 413, and cancels the jobs that it started."""
    part = b"--B\r\n\r\npicture\r\n"
    async with serving(FakeDispatcher(), {"limits": {"max_parallel_parts": 1000}}) as served:
        served.dispatcher.may_answer.clear()

        async def body() -> Any:
            yield part * 100
            await served.dispatcher.started.acquire()
            yield part * 9_900 + b"--B--"

        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        async with served.session.post("/inference/digits", data=body(), headers=headers) as answer:
            assert answer.status == 413
            assert answer.content_type == "application/problem+json"
            assert "256" in (await answer.json())["error"]
        assert len(served.dispatcher.jobs) >= 1
        assert served.dispatcher.running == 0
        assert served.metrics.failures.count("payload_too_large") == 1


async def test_refuses_too_much_together() -> None:
    """Over max_multipart_bytes the request is refused: before reading if its length is said, else when it is there."""
    limits = {"limits": {"max_multipart_bytes": 2048, "max_body_bytes": 1024}}

    async def body() -> Any:
        yield b"--B\r\n\r\n" + b"x" * 2048 + b"\r\n--B--"

    async with serving(FakeDispatcher(), limits) as served:
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        async with served.session.post("/inference/digits", data=body(), headers=headers) as answer:
            assert answer.status == 413
        status, _ = await post(served, b"x" * 1000, b"x" * 1000, b"x" * 1000)
        assert status == 413


async def test_works_on_a_bounded_number_at_a_time() -> None:
    """No more files than max_parallel_parts are with workers at once, and the next is not even read."""
    async with serving(FakeDispatcher(), {"limits": {"max_parallel_parts": 3}}) as served:
        served.dispatcher.may_answer.clear()
        request = asyncio.create_task(post(served, *[b"%d" % number for number in range(10)]))
        for _ in range(3):
            await served.dispatcher.started.acquire()
        served.dispatcher.may_answer.set()
        status, results = await request
        assert status == 200
        assert len(results) == 10
        assert served.dispatcher.most_running == 3


async def test_a_gone_client_cancels_every_file() -> None:
    """When the client leaves, every file's work is cancelled and its memory is given back."""
    async with serving(FakeDispatcher()) as served:
        served.dispatcher.may_answer.clear()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as leaving:
            url = f"http://127.0.0.1:{served.port}/inference/digits"
            request = asyncio.create_task(leaving.post(url, data=form(b"one", b"two")))
            await served.dispatcher.started.acquire()
            await served.dispatcher.started.acquire()
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        await served.dispatcher.cancelled.acquire()
        await served.dispatcher.cancelled.acquire()
        assert served.dispatcher.running == 0


async def test_memory_is_bounded_across_requests() -> None:
    """Files that find no room among all requests' bodies end the request with 429; afterwards the room is free."""
    limits = {"limits": {"max_held_bytes": 4096, "max_body_bytes": 2048}}
    async with serving(FakeDispatcher(), limits) as served:
        served.dispatcher.may_answer.clear()
        status, problem = await post(served, b"x" * 2000, b"y" * 2000, b"z" * 2000)
        assert status == 429
        assert problem["code"] == "queue_full"
        served.dispatcher.may_answer.set()
        status, _ = await post(served, b"x" * 2000, b"y" * 2000)
        assert status == 200


async def test_answers_are_whole_objects() -> None:
    """What the worker said of a file is in its entry, unchanged."""
    async with serving(FakeDispatcher(answers={b"one": LABELS})) as served:
        _, results = await post(served, b"one")
        assert results[0]["predictions"] == [{"label": "7", "probability": 0.9}]
        assert results[0]["worker"] == "w1"
        assert results[0]["timing_ms"]["decode"] == 2.0
