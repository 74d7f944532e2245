"""Images in, labels out over plain HTTP: one, many, and everything that a client can do wrong."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from edge_worker.backends.base import Answer, BackendFailed, BadInput, ServedModel
from edge_worker.http import body as bodies
from tests.support.fake_backend import FakeBackend
from tests.support.worker_http import ANSWER, MAX_BODY_BYTES, serving, until

MODELS = (ServedModel("broken", "1", 1, failure="/secret/file: no labels"), ServedModel("m", "1", 1))


async def test_one_image_is_answered() -> None:
    """The backend's object, with the request's id and where the time went; what the backend got is what was sent."""
    async with serving(FakeBackend(ANSWER)) as served:
        headers = {"Content-Type": "image/png", "X-Request-ID": "my id!"}
        async with served.session.post("/inference/m?top=3", data=b"picture", headers=headers) as answer:
            document = await answer.json()
            assert answer.status == 200
            assert answer.headers["X-Request-ID"] == document["request_id"] == "myid"
            stages = re.findall(r"(\w+);dur=[0-9.]+", answer.headers["Server-Timing"])
        assert stages == ["upload", "worker_queue", "decode", "inference", "total"]
        assert list(document["timing_ms"]) == stages[:-1]
        assert (document["predictions"], document["timing_ms"]["inference"]) == ([], 20.0)
        (call,) = served.backend.calls
        assert (call.model, call.path, bytes(call.body)) == ("m", "/inference/m?top=3", b"picture")
        assert call.metadata == (("content-type", "image/png"),)


async def test_the_root_is_the_first_model_that_can_be_served() -> None:
    """POST / asks the first model that was loaded, as the server did that had only one."""
    async with serving(FakeBackend(ANSWER, MODELS)) as served:
        async with served.session.post("/", data=b"picture") as answer:
            assert answer.status == 200
        assert served.backend.calls[0].model == "m"


async def test_a_form_is_a_list_in_the_order_sent() -> None:
    """Whatever the fields are called; a bad file fails alone, and each has its name and its own id."""

    class Backend(FakeBackend):
        async def answer(self, call: object) -> Answer:
            if call.body == b"bad":  # type: ignore[attr-defined]
                raise BadInput("bad_input", "not an image")
            return await super().answer(call)  # type: ignore[arg-type]

    async with serving(Backend(ANSWER), slots=4) as served:
        form = aiohttp.FormData()
        form.add_field("a", b"one", filename="one.jpg", content_type="image/jpeg")
        form.add_field("b", b"bad", filename="bad.jpg", content_type="image/jpeg")
        form.add_field("c", b"three", filename="page.html", content_type="text/html")
        form.add_field("d", b"", filename="empty.jpg", content_type="image/jpeg")
        form.add_field("e", bytes(MAX_BODY_BYTES + 1), filename="long.jpg", content_type="image/jpeg")
        form.add_field("f", b"six", filename="six.jpg", content_type="application/octet-stream")
        async with served.session.post("/inference/m", data=form, headers={"X-Request-ID": "r"}) as answer:
            assert answer.status == 200
            entries = await answer.json()
    assert [entry["file"] for entry in entries] == [
        "one.jpg", "bad.jpg", "page.html", "empty.jpg", "long.jpg", "six.jpg",
    ]  # fmt: skip
    assert [entry.get("code") for entry in entries] == [
        None, "bad_input", "unsupported_media_type", "bad_input", "payload_too_large", None,
    ]  # fmt: skip
    assert (entries[0]["request_id"], entries[5]["request_id"], entries[1]["instance"]) == ("r.0", "r.5", "r")
    assert served.inference._budget.held_bytes == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_request"),
        (b"--x--\r\n", "bad_request"),
        (b"nonsense", "bad_request"),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nabc", "bad_request"),
        (b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--\r\n", "bad_request"),
        (b"--x\r\n\r\na\r\n" * 257 + b"--x--\r\n", "payload_too_large"),
    ],
)
async def test_a_form_that_is_none(body: bytes, code: str) -> None:
    """Nothing in it, no boundary, a file that breaks off, a form in a form, too many files: the whole is refused."""
    async with serving(FakeBackend(ANSWER), slots=64) as served:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        async with served.session.post("/inference/m", data=body, headers=headers) as answer:
            assert (await answer.json())["code"] == code
        assert served.inference._budget.held_bytes == 0


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "code"),
    [
        ("/inference/none", {}, b"x", 404, "unknown_model"),
        ("/inference/broken", {}, b"x", 503, "no_worker"),
        ("/inference/m?top=0", {}, b"x", 400, "bad_request"),
        ("/inference/m?top=1001", {}, b"x", 400, "bad_request"),
        ("/inference/m?query=cat&top=1", {}, b"x", 400, "bad_request"),
        ("/inference/m?query=", {}, b"x", 400, "bad_request"),
        ("/inference/m", {"X-Request-Timeout": "301"}, b"x", 400, "bad_request"),
        ("/inference/m", {"X-Request-Timeout": "nan"}, b"x", 400, "bad_request"),
        ("/inference/m", {"Content-Type": "text/html"}, b"x", 415, "unsupported_media_type"),
        ("/inference/m", {"Content-Encoding": "gzip"}, b"x", 415, "unsupported_media_type"),
        ("/inference/m", {}, b"", 400, "bad_input"),
        ("/inference/m", {}, bytes(MAX_BODY_BYTES + 1), 413, "payload_too_large"),
        ("/nothing", {}, b"x", 404, "no_such_path"),
        ("/healthz", {}, b"x", 405, "method_not_allowed"),
        ("/inference/m", {"Expect": "tea"}, b"x", 417, "expectation_failed"),
    ],
)
async def test_what_is_refused(path: str, headers: dict[str, str], body: bytes, status: int, code: str) -> None:
    """Each with its status and a problem document, nothing of it reaches the backend, and no file name leaks."""
    async with serving(FakeBackend(ANSWER, MODELS)) as served:
        async with served.session.post(path, data=body, headers=headers) as answer:
            document = await answer.json()
            assert (answer.status, document["code"], document["status"]) == (status, code, status)
            assert answer.content_type == "application/problem+json"
            assert answer.headers["X-Request-ID"] == document["instance"]
            assert "total" in answer.headers["Server-Timing"]
            assert ("Retry-After" in answer.headers) == (status == 503)
            assert "secret" not in await answer.text()
        assert not served.backend.calls


async def test_a_group_is_asked_for_by_its_name() -> None:
    """The backend is given it as the gateway would."""
    async with serving(FakeBackend(ANSWER)) as served:
        async with served.session.post("/inference/m?query=big%20cat%26", data=b"x") as answer:
            assert answer.status == 200
        assert served.backend.calls[0].path == "/inference/m?query=big%20cat%26"


async def test_a_long_body_without_a_length_is_cut_off() -> None:
    """What does not say its length is counted as it comes, and given back."""

    async def pieces() -> object:
        for _ in range(3):
            yield bytes(MAX_BODY_BYTES // 2)

    async with serving(FakeBackend(ANSWER)) as served:
        async with served.session.post("/inference/m", data=pieces()) as answer:
            assert (answer.status, (await answer.json())["code"]) == (413, "payload_too_large")
        assert served.inference._budget.held_bytes == 0


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadInput("bad_input", "no image"), 400, "bad_input"),
        (BadInput("payload_too_large", "many pixels"), 413, "payload_too_large"),
        (BackendFailed("engine"), 502, "worker_failed"),
        (RuntimeError("a bug"), 502, "worker_failed"),
    ],
)
async def test_a_failure_of_the_backend(error: Exception, status: int, code: str) -> None:
    """The runner's failures have the statuses that a gateway gives them."""
    async with serving(FakeBackend(error)) as served, served.session.post("/inference/m", data=b"x") as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)


async def test_a_deadline_passes() -> None:
    """A request that brings its own time limit is answered 504 when it is over, and its work is cancelled."""
    async with serving(FakeBackend()) as served:
        headers = {"X-Request-Timeout": "0.01"}
        async with served.session.post("/inference/m", data=b"x", headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (504, "deadline_exceeded")
        assert served.backend.cancelled == 1


async def test_the_line_behind_the_slots_is_bounded() -> None:
    """With a slot taken and a line that is full, the next request is answered 429 with a time to come back."""
    async with serving(FakeBackend(), max_waiting=0) as served:
        first = asyncio.create_task(served.session.post("/inference/m", data=b"x"))
        await until(lambda: served.backend.waiting)
        async with served.session.post("/inference/m", data=b"x") as answer:
            assert (answer.status, (await answer.json())["code"]) == (429, "queue_full")
            assert answer.headers["Retry-After"] == "1"
        served.backend.waiting[0].set_result(ANSWER)
        (await first).close()


async def test_a_client_that_leaves_cancels_its_work() -> None:
    """Nobody waits for the answer: the backend's call is cancelled, and the request is not counted open."""
    async with serving(FakeBackend()) as served:
        gone = asyncio.create_task(served.session.post("/inference/m", data=b"x"))
        await until(lambda: served.backend.waiting)
        gone.cancel()
        await until(lambda: served.backend.cancelled)
        assert await served.inference.drain(30.0) == 0


async def test_all_bodies_together_are_bounded() -> None:
    """When the server holds as many bytes as it may, the next body is answered 429."""
    async with serving(FakeBackend(ANSWER)) as served:
        served.inference._budget.take(8 * MAX_BODY_BYTES - 1)
        async with served.session.post("/inference/m", data=b"xx") as answer:
            assert (answer.status, (await answer.json())["code"]) == (429, "queue_full")


async def test_a_body_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends nothing more is answered 408 when patience is over, and holds nothing."""
    monkeypatch.setattr(bodies, "STALL_S", 0.01)
    async with serving(FakeBackend(ANSWER)) as served:
        text = await served.talk(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc")
        assert text.startswith(b"HTTP/1.1 408 ")
        assert b'"slow_body"' in text
        assert served.inference._budget.held_bytes == 0


async def test_a_draining_server_finishes_what_it_has() -> None:
    """New requests are answered 503 and their connections closed; the one that is here is answered."""
    async with serving(FakeBackend()) as served:
        first = asyncio.create_task(served.session.post("/inference/m", data=b"x"))
        await until(lambda: served.backend.waiting)
        draining = asyncio.create_task(served.inference.drain(30.0))
        await until(lambda: served.inference.is_draining)
        async with served.session.post("/inference/m", data=b"x") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "draining")
            assert answer.headers["Connection"] == "close"
        assert not draining.done()
        served.backend.waiting[0].set_result(ANSWER)
        async with await first as answer:
            assert answer.status == 200
        assert await draining == 0


async def test_a_grace_time_ends() -> None:
    """What does not end within it is counted."""
    async with serving(FakeBackend()) as served:
        request = asyncio.create_task(served.session.post("/inference/m", data=b"x"))
        await until(lambda: served.backend.waiting)
        assert await served.inference.drain(0.0) == 1
        request.cancel()
        await until(lambda: served.backend.cancelled)
