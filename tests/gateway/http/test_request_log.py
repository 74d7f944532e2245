"""One line for each request, and what is never in it."""

from __future__ import annotations

from typing import Any

from gateway import errors
from tests.support.http_gateway import TOKEN, FakeDispatcher, serving


async def test_one_line_says_what_happened(request_lines: list[dict[str, Any]]) -> None:
    """A request's line has who, what, how long, by which worker, and neither token nor body."""
    async with (
        serving(FakeDispatcher()) as served,
        served.session.post("/inference/digits", data=b"picture", headers={"X-Request-ID": "r-1"}),
    ):
        pass
    (line,) = request_lines
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "route": "/inference/{model}",
        "status": 200,
        "failure": "",
        "model": "digits",
        "worker": "w1",
        "received_bytes": 7,
        "request_id": "r-1",
        "subject": "alice",
        "client": "127.0.0.1",
    }
    assert TOKEN not in str(line)


async def test_a_refusal_is_a_line_and_no_traceback(request_lines: list[dict[str, Any]]) -> None:
    """A failure that was foreseen is its request's line, with the reason."""
    async with serving(FakeDispatcher(error=errors.NoWorker("nobody"))) as served:
        async with served.session.post("/inference/digits", data=b"picture"):
            pass
        async with served.session.get("/no/such/path"):
            pass
    assert [(line["status"], line["failure"]) for line in request_lines] == [(503, "no_worker"), (404, "no_such_path")]
    assert request_lines[1]["route"] == "none"


async def test_a_bug_is_logged_once_with_its_traceback(request_lines: list[dict[str, Any]]) -> None:
    """What nobody foresaw is a line with the traceback, under the id that the client was told, and the request's."""
    async with (
        serving(FakeDispatcher(error=RuntimeError("a bug"))) as served,
        served.session.post("/inference/digits", data=b"picture") as answer,
    ):
        told = answer.headers["X-Request-ID"]
    bug, request = request_lines
    assert (bug["event"], bug["exc_info"], bug["request_id"]) == ("request_failed", True, told)
    assert (request["event"], request["status"]) == ("request", 500)


async def test_the_lines_can_be_switched_off(request_lines: list[dict[str, Any]]) -> None:
    """log.requests false writes no line for requests."""
    async with serving(FakeDispatcher(), {"log": {"requests": False}}) as served, served.session.get("/healthz"):
        pass
    assert request_lines == []
