"""Connections and views of a worker that listens."""

from __future__ import annotations

import pytest

from edge_worker.backends.base import BackendFailed, ServedModel
from edge_worker.http import server
from edge_worker.http.readiness import FRESH_S
from tests.support.fake_backend import FakeBackend
from tests.support.worker_http import ANSWER, serving

MODELS = (ServedModel("broken", "1", 1, failure="no labels"), ServedModel("m", "1", 1))


async def test_health_is_the_process_alone() -> None:
    """The event loop turns, whatever the models do."""
    async with serving(FakeBackend(BackendFailed("x"))) as served, served.session.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})


async def test_ready_as_long_as_a_model_answers() -> None:
    """Freshly loaded it is ready without being asked; a model that could not be loaded says so."""
    async with serving(FakeBackend(ANSWER, MODELS)) as served:
        async with served.session.get("/readyz") as answer:
            assert answer.status == 200
            assert await answer.json() == {"status": "ready", "models": {"m": "ready", "broken": "broken"}}
        assert not served.backend.probes


async def test_a_silent_model_is_asked_before_it_is_called_ready() -> None:
    """When its last success is long ago, a real inference decides, and its success counts for a while."""
    now = [0.0]
    async with serving(FakeBackend(ANSWER), clock=lambda: now[0]) as served:
        now[0] = FRESH_S
        for _ in range(2):
            async with served.session.get("/readyz") as answer:
                assert answer.status == 200
        assert served.backend.probes == ["m"]
        now[0] = 2 * FRESH_S
        served.backend.outcome = BackendFailed("out of memory")
        async with served.session.get("/readyz") as answer:
            assert answer.status == 503
            assert await answer.json() == {"status": "not ready", "models": {"m": "not ready: out of memory"}}


async def test_an_answer_proves_the_model() -> None:
    """A request that was answered saves the probe; one that failed does not."""
    now = [0.0]
    async with serving(FakeBackend(ANSWER), clock=lambda: now[0]) as served:
        now[0] = FRESH_S
        async with served.session.post("/", data=b"x") as answer:
            assert answer.status == 200
        async with served.session.get("/readyz") as answer:
            assert answer.status == 200
        assert not served.backend.probes


async def test_not_ready_while_draining() -> None:
    """A balancer is told to send no more."""
    async with serving(FakeBackend(ANSWER)) as served:
        await served.inference.drain(0.0)
        async with served.session.get("/readyz") as answer:
            assert (answer.status, (await answer.json())["status"]) == (503, "draining")


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"nonsense\r\n\r\n", b" 400 ", b"bad_request"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 9000 + b"\r\n\r\n", b" 431 ", b"headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 70 + b"\r\n", b" 431 ", b"headers_too_large"),
    ],
)
async def test_what_is_no_request(request_bytes: bytes, status: bytes, code: bytes) -> None:
    """What cannot be read is answered with a problem like everything else, and its connection is closed."""
    async with serving(FakeBackend(ANSWER)) as served:
        text = await served.talk(request_bytes)
        assert status in text.partition(b"\r\n")[0]
        assert b'"' + code + b'"' in text
        assert b"X-Request-ID" in text


async def test_a_head_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that drips its head is cut off."""
    monkeypatch.setattr(server, "HEADER_TIMEOUT_S", 0.01)
    async with serving(FakeBackend(ANSWER)) as served:
        assert await served.talk(b"POST / HTTP/1.1\r\nHost: h") == b""


async def test_a_bug_is_told_by_its_id_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The traceback goes to the log, and the client gets the id under which it stands there."""
    async with serving(FakeBackend(ANSWER)) as served:
        monkeypatch.setattr(served.inference, "_order", None)
        async with served.session.post("/", data=b"x") as answer:
            document = await answer.json()
            assert (answer.status, document["code"]) == (500, "internal")
            assert "NoneType" not in await answer.text()
    (record,) = (record for record in caplog.records if record.exc_info)
    assert vars(record)["request_id"] == document["instance"]
