"""POST /inference/{model} with one image as its body."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from gateway import errors
from gateway.dispatch.model import Priority
from tests.support.http_gateway import FakeDispatcher, serving

STAGES = "auth upload queue tunnel_out worker_queue decode preprocess inference postprocess tunnel_back total"


async def test_answers_labels_with_worker_and_id() -> None:
    """One image gives the worker's object, completed with the worker's name, the request's id and the times."""
    async with serving(FakeDispatcher()) as served:
        async with served.session.post(
            "/inference/digits?top=3", data=b"picture", headers={"Content-Type": "image/png", "X-Request-ID": "r-1"}
        ) as answer:
            assert answer.status == 200
            result = await answer.json()
        assert result["predictions"] == [{"label": "7", "probability": 0.9}]
        assert (result["worker"], result["request_id"]) == ("w1", "r-1")
        assert result["timing_ms"]["inference"] == 4.0
        job = served.dispatcher.jobs[0]
        assert served.dispatcher.bodies == [b"picture"]
        assert (job.id, job.model, job.method, job.path) == ("r-1", "digits", "POST", "/inference/digits?top=3")
        assert list(job.metadata) == [("content-type", "image/png")]
        assert job.queued_bytes == 7
        assert served.metrics.requests.count("/inference/{model}", "POST", "200") == 1
        assert served.metrics.received.count() == 7


async def test_asks_by_meaning() -> None:
    """A group's name travels to the worker, whose yes or no is the answer; it is checked first, and stands alone."""
    answer_text = b'{"model":"digits","query":"round ones","answer":true,"probability":0.75}'
    async with serving(FakeDispatcher(answers={b"picture": answer_text})) as served:
        async with served.session.post("/inference/digits?query=round%20ones", data=b"picture") as answer:
            result = await answer.json()
        assert (result["answer"], result["probability"], result["worker"]) == (True, 0.75, "w1")
        assert served.dispatcher.jobs[0].path == "/inference/digits?query=round%20ones"
        for wrong in ("query=", "query=" + "x" * 101, "query=%00", "query=a&top=3"):
            async with served.session.post(f"/inference/digits?{wrong}", data=b"picture") as answer:
                assert answer.status == 400
        assert len(served.dispatcher.jobs) == 1


async def test_names_every_stage_in_server_timing() -> None:
    """Server-Timing has every stage in the order in which they happen, in milliseconds with three decimals."""
    async with serving(FakeDispatcher()) as served:
        async with served.session.post("/inference/digits", data=b"picture") as answer:
            parts = answer.headers["Server-Timing"].split(", ")
        assert [part.partition(";dur=")[0] for part in parts] == STAGES.split()
        assert "tunnel_out;dur=30.000" in parts
        assert served.metrics.stages.count("inference") == 1


async def test_says_how_large_the_batch_was() -> None:
    """Where the worker makes batches: in the answer, in Server-Timing after the stages, and in a metric."""
    dispatcher = FakeDispatcher(answers={b"picture": b'{"predictions": [], "batch_size": 4}'})
    async with serving(dispatcher) as served:
        async with served.session.post("/inference/digits", data=b"picture") as answer:
            assert answer.headers["Server-Timing"].endswith(', batch;desc="4"')
            assert (await answer.json())["batch_size"] == 4
        assert served.metrics.batched.count("4") == 1


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded", None]
)
async def test_takes_bytes_of_no_particular_type(content_type: str | None) -> None:
    """What curl --data-binary and other clients say of a picture when they are not told is taken as one."""
    skip = ["Content-Type"] if content_type is None else []
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with (
        serving(FakeDispatcher()) as served,
        served.session.post("/inference/digits", data=b"picture", headers=headers, skip_auto_headers=skip) as answer,
    ):
        assert answer.status == 200


async def test_passes_on_deadline_priority_and_trace() -> None:
    """X-Request-Timeout, X-Priority and traceparent reach the job; the answer names the same trace."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-Timeout": "2.5", "X-Priority": "high", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with serving(FakeDispatcher()) as served:
        async with served.session.post("/inference/digits", data=b"picture", headers=headers) as answer:
            assert answer.headers["traceparent"].split("-")[1] == trace
        job = served.dispatcher.jobs[0]
        assert job.priority is Priority.HIGH
        assert job.traceparent == answer.headers["traceparent"]


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (errors.BadInput("not an image"), 400, None),
        (errors.UnknownModel("never announced"), 404, None),
        (errors.QueueFull("full", retry_after_s=2.2), 429, "3"),
        (errors.WorkerLost("gone"), 502, None),
        (errors.NoWorker("nobody", retry_after_s=0.1), 503, "1"),
        (errors.Draining("going", retry_after_s=5), 503, "5"),
        (errors.DeadlineExceeded("too late"), 504, None),
        (RuntimeError("secret detail"), 500, None),
    ],
)
async def test_answers_every_failure_as_a_problem(error: Exception, status: int, retry_after: str | None) -> None:
    """Each failure has its status, a problem document with `error`, Retry-After where it helps, and is counted."""
    async with serving(FakeDispatcher(error=error)) as served:
        async with served.session.post("/inference/digits", data=b"picture") as answer:
            assert answer.status == status
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers.get("Retry-After") == retry_after
            assert "total;dur=" in answer.headers["Server-Timing"]
            problem = await answer.json()
        assert problem["status"] == status
        assert problem["instance"] == answer.headers["X-Request-ID"]
        assert problem["error"] == problem["detail"]
        assert "secret" not in json.dumps(problem)
        code = error.code if isinstance(error, errors.GatewayError) else "internal"
        assert problem["code"] == code
        assert served.metrics.failures.count(code) == 1


@pytest.mark.parametrize("reply", [b"not json", b"[1]", b"\xff", b"[" * 100_000])
async def test_blames_a_worker_for_nonsense(reply: bytes) -> None:
    """A worker that answers something else than a JSON object is a 502, and none of it reaches the client."""
    async with (
        serving(FakeDispatcher(answers={b"picture": reply})) as served,
        served.session.post("/inference/digits", data=b"picture") as answer,
    ):
        assert answer.status == 502
        assert (await answer.json())["code"] == "worker_failed"


async def test_a_gone_client_cancels_the_work() -> None:
    """A client that closes its connection cancels the exchange, and is counted."""
    async with serving(FakeDispatcher()) as served:
        served.dispatcher.may_answer.clear()
        async with aiohttp.ClientSession(headers=served.session.headers) as leaving:
            request = asyncio.create_task(
                leaving.post(f"http://127.0.0.1:{served.port}/inference/digits", data=b"picture")
            )
            await served.dispatcher.started.acquire()
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        await served.dispatcher.cancelled.acquire()
        while not served.metrics.failures.count("client_gone"):
            await asyncio.sleep(0)
        assert served.metrics.requests.count("/inference/{model}", "POST", "499") == 1
