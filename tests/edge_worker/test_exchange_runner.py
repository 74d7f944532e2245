"""One request to one answer: what is computed, what it took, and what each failure is called."""

from __future__ import annotations

import asyncio
import logging

import pytest

from edge_worker.admission import Admission
from edge_worker.backends.base import Answer, BackendFailed, BadInput, NotReady
from edge_worker.exchange_runner import Answered, ExchangeRunner, NotAnswered, WholeRequest
from tests.support.fake_backend import FakeBackend
from tests.support.fake_clock import settle
from tests.support.memory_channel import run_jumping
from wire.errors import ExchangeCode
from wire.frames import RequestHead

NOW = 5.0
ANSWER = Answer(b'{"label":"7"}', "application/json", 200, {"decode": 0.001, "inference": 0.02})


def request(
    *, method: str = "POST", model: str = "m", deadline_ms: int = 0, began_at: float = NOW, received_at: float = NOW
) -> WholeRequest:
    head = RequestHead(method, "/inference/m?top=3", model, (("content-type", "image/png"),), deadline_ms)
    return WholeRequest(head, b"picture", began_at, received_at)


def runner(backend: FakeBackend, admission: Admission | None = None, now: float = NOW) -> ExchangeRunner:
    return ExchangeRunner(backend, {"m": admission or Admission(1)}, clock=lambda: now)


async def failure(outcome: Exception) -> NotAnswered:
    result = await runner(FakeBackend(outcome)).run(request())
    assert isinstance(result, NotAnswered)
    return result


async def test_a_request_is_answered() -> None:
    """The backend gets all of the request, and the answer carries its status, type, length, times and durations."""
    backend = FakeBackend(ANSWER)
    result = await runner(backend, now=7.0).run(request(received_at=6.5))
    assert isinstance(result, Answered)
    call = backend.calls[0]
    assert (call.model, call.method, call.path, call.body) == ("m", "POST", "/inference/m?top=3", b"picture")
    assert call.metadata == (("content-type", "image/png"),)
    assert result.body == ANSWER.body
    assert result.head.status == 200
    assert result.head.metadata == (("content-type", "application/json"),)
    assert result.head.body_bytes == len(ANSWER.body)
    assert (result.head.received_us, result.head.sent_us) == (6_500_000, 7_000_000)
    assert result.head.durations_us == (("worker_queue", 479_000), ("decode", 1000), ("inference", 20_000))


async def test_whole_microseconds_stay_what_they_are() -> None:
    """249 / 1e6 * 1e6 is a little less than 249."""
    result = await runner(FakeBackend(Answer(b"", durations_s={"inference": 249 / 1e6}))).run(request())
    assert isinstance(result, Answered)
    assert result.head.durations_us[-1] == ("inference", 249)


async def test_what_else_the_answer_says_goes_with_its_type() -> None:
    """A tensor's shape travels beside its media type."""
    result = await runner(FakeBackend(Answer(b"", "application/vnd.tensor", metadata=(("tensor-shape", "1,3"),)))).run(
        request()
    )
    assert isinstance(result, Answered)
    assert result.head.metadata == (("content-type", "application/vnd.tensor"), ("tensor-shape", "1,3"))


@pytest.mark.parametrize(("deadline_ms", "deadline_at"), [(0, None), (2500, 7.5)])
async def test_the_backend_is_told_the_deadline(deadline_ms: int, deadline_at: float | None) -> None:
    """Counted from when the request's head came; what waits in a batch must know it."""
    backend = FakeBackend(ANSWER)
    await runner(backend, now=6.0).run(request(deadline_ms=deadline_ms, began_at=5.0))
    assert backend.calls[0].deadline_at == deadline_at


async def test_a_probe_uses_the_backends_own_sample() -> None:
    """PROBE runs the backend's probe over the same slots, and no call."""
    backend = FakeBackend(ANSWER)
    assert isinstance(await runner(backend).run(request(method="PROBE")), Answered)
    assert backend.probes == ["m"]
    assert backend.calls == []


@pytest.mark.parametrize("code", BadInput.CODES)
async def test_bad_input_keeps_its_code(code: str) -> None:
    """Each of the client's mistakes that a backend can name has its code on the wire."""
    assert await failure(BadInput(code, "it is wrong")) == NotAnswered(ExchangeCode[code.upper()], "it is wrong")


async def test_an_engine_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """BackendFailed is the worker's fault: its code and reason go to the gateway and into the log."""
    assert await failure(BackendFailed("out of memory")) == NotAnswered(ExchangeCode.BACKEND_FAILED, "out of memory")
    assert caplog.records[0].reason == "out of memory"  # type: ignore[attr-defined]


@pytest.mark.parametrize("bug", [KeyError("secret path"), TimeoutError("a socket's"), OSError("no")])
async def test_a_backends_bug_costs_one_exchange(bug: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Any other exception is INTERNAL; its text stays in the worker's log. A TimeoutError of the backend's own is no
    deadline."""
    result = await failure(bug)
    assert result.code is ExchangeCode.INTERNAL
    assert str(bug) not in result.text
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info is not None


async def test_an_unknown_model_is_not_begun() -> None:
    """A model that is not served here is named, and another worker may have the job."""
    result = await runner(FakeBackend(ANSWER)).run(request(model="other"))
    assert isinstance(result, NotAnswered)
    assert result.code is ExchangeCode.UNKNOWN_MODEL
    assert result.code.was_not_begun
    assert "'other'" in result.text


async def test_an_engine_that_is_being_replaced_begins_nothing() -> None:
    """Another worker may have the job at no risk."""
    result = await failure(NotReady("m: its engine is being replaced"))
    assert result == NotAnswered(ExchangeCode.OVERLOADED, "m: its engine is being replaced")
    assert result.code.was_not_begun


async def test_too_many_are_refused_at_once() -> None:
    """With no slot and no room to wait the answer is OVERLOADED, and what runs goes on."""
    backend, admission = FakeBackend(), Admission(1, max_waiting=0)
    subject = runner(backend, admission)
    running = asyncio.create_task(subject.run(request()))
    await settle()
    refused = await subject.run(request())
    assert isinstance(refused, NotAnswered)
    assert refused.code is ExchangeCode.OVERLOADED
    backend.waiting[0].set_result(ANSWER)
    assert isinstance(await running, Answered)


def test_the_deadline_ends_the_work() -> None:
    """At the deadline, counted from the request's head and not from its last byte, the call is cancelled and its slot
    is free."""

    async def main() -> None:
        loop, backend, admission = asyncio.get_running_loop(), FakeBackend(), Admission(1)
        subject = ExchangeRunner(backend, {"m": admission}, clock=loop.time)
        began = loop.time()
        result = await subject.run(request(deadline_ms=3000, began_at=began - 2.0, received_at=began))
        assert result == NotAnswered(ExchangeCode.DEADLINE, "the deadline passed at the worker")
        assert loop.time() - began == pytest.approx(1.0)
        assert backend.cancelled == 1
        assert admission.running == 0

    run_jumping(main)


def test_the_deadline_ends_the_waiting() -> None:
    """A request whose time is up before it has a slot is never computed."""

    async def main() -> None:
        loop, backend, admission = asyncio.get_running_loop(), FakeBackend(ANSWER), Admission(1)
        subject = ExchangeRunner(backend, {"m": admission}, clock=loop.time)
        async with admission:
            result = await subject.run(request(deadline_ms=100, began_at=loop.time()))
        assert isinstance(result, NotAnswered)
        assert result.code is ExchangeCode.DEADLINE
        assert backend.calls == []

    run_jumping(main)


async def test_what_is_too_late_is_not_begun() -> None:
    """A deadline that passed while the body came needs no slot."""
    backend = FakeBackend(ANSWER)
    result = await runner(backend).run(request(deadline_ms=1000, began_at=NOW - 1.0))
    assert isinstance(result, NotAnswered)
    assert result.code is ExchangeCode.DEADLINE
    assert backend.calls == []


def test_no_deadline_means_none() -> None:
    """deadline_ms 0 lets a call take an hour."""

    async def main() -> None:
        loop, backend = asyncio.get_running_loop(), FakeBackend()
        loop.call_later(3600, lambda: backend.waiting[0].set_result(ANSWER))
        subject = ExchangeRunner(backend, {"m": Admission(1)}, clock=loop.time)
        assert isinstance(await subject.run(request(deadline_ms=0, began_at=loop.time())), Answered)

    run_jumping(main)


async def test_cancelling_is_not_answered() -> None:
    """A cancelled run raises CancelledError, cancels the backend's call and gives its slot back."""
    backend, admission = FakeBackend(), Admission(1)
    task = asyncio.create_task(runner(backend, admission).run(request()))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.cancelled == 1
    assert admission.running == 0
