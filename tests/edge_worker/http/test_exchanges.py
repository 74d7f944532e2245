"""What a gateway asks of a worker that it reaches itself."""

from __future__ import annotations

import asyncio
import logging

import pytest

from edge_worker.backends.base import Answer, BackendFailed, BadInput, ServedModel
from tests.support.fake_backend import FakeBackend
from tests.support.worker_http import ANSWER, serving, until

TENSOR = Answer(b"\x00\x00\x80\x3f", "application/vnd.tensor", metadata=(("tensor-shape", "1,1"),))


async def test_models_are_told_as_in_a_hello() -> None:
    """Name, version, slots, metadata, and why one cannot be served; the session is this process's."""
    models = (ServedModel("m", "7", 2, metadata={"labels": 10}), ServedModel("b", "1", 1, failure="no labels"))
    async with serving(FakeBackend(ANSWER, models)) as served, served.session.get("/v1/models") as answer:
        said = await answer.json()
    assert said["models"] == [
        {"name": "m", "version": "7", "slots": 2, "failure": "", "metadata": {"labels": 10}},
        {"name": "b", "version": "1", "slots": 1, "failure": "no labels", "metadata": {}},
    ]
    assert (len(said["session"]), said["draining"]) == (32, False)
    assert said["software"].startswith("edge-worker/")


async def test_a_heartbeat_is_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway asks every two seconds; an inference, and a heartbeat for who wants every detail, is one."""
    caplog.set_level(logging.DEBUG, "edge_worker.http")
    async with serving(FakeBackend(ANSWER)) as served:
        await served.session.get("/v1/models")
        await served.session.post("/v1/probe/m")
    said = [(one.levelname, one.__dict__["route"]) for one in caplog.records if one.message == "request"]
    assert said == [("DEBUG", "/v1/models"), ("INFO", "/v1/probe/{model}")]


async def test_a_probe_is_a_real_inference() -> None:
    """Of the backend's own sample, with the steps that it took."""
    async with serving(FakeBackend(ANSWER)) as served, served.session.post("/v1/probe/m") as answer:
        assert answer.status == 200
        assert "inference;dur=20.000" in answer.headers["Server-Timing"]
        assert served.backend.probes == ["m"]


async def test_an_exchange_passes_as_it_is() -> None:
    """Path with its query, content type, metadata and body there; status, content type, metadata and body back."""
    headers = {"Content-Type": "application/vnd.tensor", "X-Exchange-tensor-shape": "1,2", "X-Other": "no"}
    async with serving(FakeBackend(TENSOR)) as served:
        url = "/v1/exchange/inference/m?output=raw"
        async with served.session.post(url, data=b"numbers", headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, TENSOR.body)
            assert answer.headers["Content-Type"] == "application/vnd.tensor"
            assert answer.headers["X-Exchange-tensor-shape"] == "1,1"
        (call,) = served.backend.calls
    assert (call.model, call.method, call.path) == ("m", "POST", "/inference/m?output=raw")
    assert list(call.metadata) == [("content-type", "application/vnd.tensor"), ("tensor-shape", "1,2")]
    assert bytes(call.body) == b"numbers"


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (BadInput("bad_input", "not an image"), 400, "bad_input"),
        (BackendFailed("out of memory"), 502, "worker_failed"),
    ],
)
async def test_failures_have_their_code(outcome: Exception, status: int, code: str) -> None:
    """As problems, which is how the gateway tells them from answers."""
    async with serving(FakeBackend(outcome)) as served:
        for url in ("/v1/exchange/inference/m", "/v1/probe/m"):
            async with served.session.post(url, data=b"x") as answer:
                assert (answer.status, answer.content_type) == (status, "application/problem+json")
                assert (await answer.json())["code"] == code


async def test_what_is_not_served_or_asked_wrongly_is_refused() -> None:
    """Another model, and a deadline that is none."""
    async with serving(FakeBackend(ANSWER)) as served:
        async with served.session.post("/v1/exchange/inference/other", data=b"x") as answer:
            assert (await answer.json())["code"] == "unknown_model"
        wrong = {"X-Request-Timeout": "soon"}
        async with served.session.post("/v1/exchange/inference/m", data=b"x", headers=wrong) as answer:
            assert (await answer.json())["code"] == "bad_request"


async def test_a_drain_is_told_and_refuses() -> None:
    """The models say so, so that the gateway sends no more; what comes all the same is refused unbegun."""
    async with serving(FakeBackend(ANSWER)) as served:
        await served.inference.drain(0)
        async with served.session.get("/v1/models") as answer:
            assert (await answer.json())["draining"] is True
        async with served.session.post("/v1/exchange/inference/m", data=b"x") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "draining")


async def test_a_gateway_that_leaves_cancels_its_exchange() -> None:
    """Closing the connection is how an exchange is cancelled: the work does not go on."""
    backend = FakeBackend()
    async with serving(backend) as served:
        asking = asyncio.create_task(served.session.post("/v1/exchange/inference/m", data=b"x").__aenter__())
        await until(lambda: backend.calls)
        asking.cancel()
        await until(lambda: backend.cancelled)
