"""One engine process, as its worker sees it and from inside: what is asked, what is answered, and how it ends."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge_worker.backends.base import Answer, BackendFailed, BackendLost, BadInput, Call, NotReady, ServedModel
from edge_worker.backends.engine_process import process
from edge_worker.backends.engine_process.messages import start
from edge_worker.backends.engine_process.process import EngineProcess
from edge_worker.backends.settings import BackendSettings
from tests.support.engine_pair import LoopSpawn
from tests.support.fake_backend import FakeBackend
from tests.support.worker_http import until

WAIT_S = 30.0
"""Ends a test that would hang; nothing waits that long."""
TOLD = start("fake", BackendSettings(slots=3))
CALL = Call("m", "POST", "/inference/m", (("content-type", "image/png"),), b"picture" * 10_000, None)
KILLED = "its engine process was ended by SIGKILL: a system that is out of memory does that"


class Pair:
    """Both ends."""

    def __init__(self, backend: FakeBackend | Exception) -> None:
        self.backend = backend
        self.spawn = LoopSpawn(backend)
        self.changes: list[list[str]] = []
        self.engine = EngineProcess(self.spawn, self._changed)

    def _changed(self, engine: EngineProcess) -> None:
        self.changes.append([model.failure for model in engine.models])


@asynccontextmanager
async def running(backend: FakeBackend) -> AsyncIterator[Pair]:
    pair = Pair(backend)
    async with asyncio.timeout(WAIT_S):
        await pair.engine.start(TOLD)
        try:
            yield pair
        finally:
            await pair.engine.kill()


async def test_it_is_told_what_to_load_and_says_what_it_loaded() -> None:
    """The backend and its settings cross, and the models come back."""
    async with running(FakeBackend(models=[ServedModel("m", "2", 3, ahead=3)])) as pair:
        assert pair.spawn.opened == [("fake", BackendSettings(slots=3))]
        assert pair.engine.models == (ServedModel("m", "2", 3, ahead=3),)
        assert pair.engine.is_running


@pytest.mark.parametrize("error", [ValueError("there is no GPU"), ImportError("pip install opencv")], ids=repr)
async def test_settings_that_cannot_be_used_are_told_apart(error: Exception) -> None:
    """From a process that ended: nothing but other settings will help. Nothing is left running."""
    pair = Pair(error)
    with pytest.raises(ValueError, match=str(error)):
        await pair.engine.start(TOLD)
    assert not pair.engine.is_running


async def test_a_process_that_cannot_be_started_is_lost() -> None:
    """The system has no memory, or no place for one more."""
    pair = Pair(FakeBackend())
    pair.spawn.failure = BlockingIOError(11, "Resource temporarily unavailable")
    with pytest.raises(BackendLost, match=r"an engine process cannot be started: .* temporarily unavailable"):
        await pair.engine.start(TOLD)


async def test_a_process_that_ends_while_it_loads_is_lost() -> None:
    """With what ended it."""
    backend = FakeBackend()
    backend.may_start.clear()
    pair = Pair(backend)
    starting = asyncio.create_task(pair.engine.start(TOLD))
    await until(lambda: pair.spawn.opened)
    pair.spawn.children[0].end_with(-11)
    with pytest.raises(BackendLost, match="its engine process was ended by SIGSEGV"):
        await starting


async def test_a_backend_that_raises_what_it_must_not_ends_its_process(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the traceback, and its worker is told."""
    pair = Pair(RuntimeError("a bug"))
    with pytest.raises(BackendLost, match="its engine process ended with status 0"):
        await pair.engine.start(TOLD)
    assert "a bug" in caplog.text


async def test_a_start_that_is_cancelled_leaves_no_process() -> None:
    """A worker that is stopped while it loads leaves at once."""
    backend = FakeBackend()
    backend.may_start.clear()
    pair = Pair(backend)
    starting = asyncio.create_task(pair.engine.start(TOLD))
    await until(lambda: pair.spawn.opened)
    starting.cancel()
    await asyncio.wait((starting,))
    assert not pair.engine.is_running


async def test_calls_are_answered_in_any_order() -> None:
    """Each gets its own answer; body and metadata have crossed."""
    backend = FakeBackend()
    async with running(backend) as pair:
        calls = [asyncio.create_task(pair.engine.answer(CALL)) for _ in range(3)]
        await until(lambda: len(backend.waiting) == 3)
        for number in (2, 0, 1):
            backend.waiting[number].set_result(Answer(b"answer %d" % number, durations_s={"inference": 0.5}))
        assert [answer.body for answer in await asyncio.gather(*calls)] == [b"answer 0", b"answer 1", b"answer 2"]
    assert bytes(backend.calls[0].body) == CALL.body
    assert backend.calls[0].metadata == CALL.metadata


async def test_a_probe_is_answered() -> None:
    """Of the model that it is for."""
    backend = FakeBackend(Answer(b"probed"))
    async with running(backend) as pair:
        assert (await pair.engine.probe("m")).body == b"probed"
    assert backend.probes == ["m"]


@pytest.mark.parametrize("error", [BadInput("bad_input", "no picture"), BackendFailed("x"), NotReady("y")], ids=repr)
async def test_a_failure_is_raised_here(error: Exception) -> None:
    """As the backend raised it."""
    async with running(FakeBackend(error)) as pair:
        with pytest.raises(type(error), match=f"^{error}$"):
            await pair.engine.answer(CALL)


async def test_a_backends_bug_costs_one_call() -> None:
    """Its text stays in the log; the next call is answered."""
    backend = FakeBackend(RuntimeError("secret"))
    async with running(backend) as pair:
        with pytest.raises(BackendFailed, match=r"^the engine failed; the worker's log says why"):
            await pair.engine.answer(CALL)
        backend.outcome = Answer(b"well")
        assert (await pair.engine.answer(CALL)).body == b"well"


async def test_a_call_that_is_cancelled_here_is_cancelled_there() -> None:
    """So that it is not computed for nobody."""
    backend = FakeBackend()
    async with running(backend) as pair:
        call = asyncio.create_task(pair.engine.answer(CALL))
        await until(lambda: backend.waiting)
        call.cancel()
        await until(lambda: backend.cancelled)
        assert await asyncio.gather(call, return_exceptions=True) != [None]


async def test_models_that_change_are_told() -> None:
    """As the backend tells them, each time."""
    backend = FakeBackend()
    async with running(backend) as pair:
        await until(lambda: backend.changed)
        assert backend.changed is not None
        for failure in ("its engine hangs", ""):
            backend.changed([ServedModel("m", "1", 1, failure)])
        await until(lambda: len(pair.changes) == 2)
        assert pair.changes == [["its engine hangs"], [""]]


async def test_a_backend_that_is_lost_goes_on_with_what_it_can() -> None:
    """Whoever watches is told; a call in flight is answered."""
    backend = FakeBackend()
    async with running(backend) as pair:
        call = asyncio.create_task(pair.engine.answer(CALL))
        await until(lambda: backend.waiting)
        backend.lose(BackendLost("m: its engine hangs"))
        assert await pair.engine.wait_unwell() == "m: its engine hangs"
        backend.waiting[0].set_result(Answer(b"answered"))
        assert (await call).body == b"answered"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(-9, KILLED), (-11, "its engine process was ended by SIGSEGV"), (3, "its engine process ended with status 3")],
)
async def test_what_is_in_flight_when_it_ends_fails(status: int, reason: str) -> None:
    """With what ended it; from then on nothing is begun, and another worker may have the call."""
    backend = FakeBackend()
    async with running(backend) as pair:
        call = asyncio.create_task(pair.engine.answer(CALL))
        await until(lambda: backend.waiting)
        pair.spawn.children[0].end_with(status)
        with pytest.raises(BackendFailed, match=f"^{reason}$"):
            await call
        assert await pair.engine.wait_unwell() == reason
        with pytest.raises(NotReady, match=f"^{reason}$"):
            await pair.engine.answer(CALL)


@pytest.mark.parametrize(
    "said",
    [
        struct.pack("!II", 1 << 31, 0),
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 19, 0) + b'{"kind":"answered"}',
    ],
)
async def test_a_process_that_talks_nonsense_is_ended(said: bytes) -> None:
    """A picture may have got the better of a decoder: nothing more is believed, and nothing waits for ever."""
    backend = FakeBackend()
    async with running(backend) as pair:
        call = asyncio.create_task(pair.engine.answer(CALL))
        await until(lambda: backend.waiting)
        pair.spawn.children[0].say(said)
        with pytest.raises(BackendFailed, match="its engine process said what makes no sense"):
            await call
        assert not pair.engine.is_running


async def test_silence_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose Python lock is never let go is killed; one that shows signs of life is not."""
    backend = FakeBackend()
    async with running(backend) as pair:
        await until(lambda: backend.changed)
        for _ in range(process.SILENCE_S - 1):
            pair.engine._look()
        assert (await asyncio.wait((asyncio.create_task(pair.engine.wait_unwell()),), timeout=0))[0] == set()
        call = asyncio.create_task(pair.engine.answer(CALL))
        await until(lambda: backend.waiting)
        backend.waiting[0].set_result(Answer(b""))
        await call
        for _ in range(process.SILENCE_S):
            pair.engine._look()
        assert await pair.engine.wait_unwell() == "its engine process said nothing for 30 s"


async def test_closing_closes_the_backend() -> None:
    """The process has ended then."""
    backend = FakeBackend()
    pair = Pair(backend)
    await pair.engine.start(TOLD)
    await pair.engine.close()
    assert backend.is_closed
    assert not pair.engine.is_running


async def test_a_process_that_does_not_close_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is stuck keeps nobody waiting for long."""
    monkeypatch.setattr(process, "CLOSE_S", 0.0)
    pair = Pair(FakeBackend())
    await pair.engine.start(TOLD)
    await pair.engine.close()
    assert await pair.engine.wait_unwell() == "its engine process was ended by its worker"


async def test_a_process_that_cannot_be_killed_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that waits inside a GPU's driver does not keep its worker from leaving; the log says so."""
    monkeypatch.setattr(process, "KILL_S", 0.0)
    pair = Pair(FakeBackend())
    await pair.engine.start(TOLD)
    (child,) = pair.spawn.children
    child.can_be_killed = False
    await pair.engine.kill()
    assert "engine process does not end" in caplog.text
    child.can_be_killed = True
    child.kill()
    await pair.engine.wait_unwell()


@pytest.mark.parametrize("grace_s", [0.0, WAIT_S])
async def test_one_that_retires_answers_what_it_was_asked(grace_s: float) -> None:
    """Within the grace time; what takes longer fails."""
    backend = FakeBackend()
    async with running(backend) as pair:
        call = asyncio.create_task(pair.engine.answer(CALL))
        await until(lambda: backend.waiting)
        retiring = asyncio.create_task(pair.engine.retire(grace_s))
        await asyncio.sleep(0)
        if grace_s:
            backend.waiting[0].set_result(Answer(b"answered"))
            assert (await call).body == b"answered"
        else:
            with pytest.raises(BackendFailed, match="was ended by its worker"):
                await call
        await retiring
        assert not pair.engine.is_running


async def test_an_engine_process_does_not_outlive_its_worker() -> None:
    """Where the stream ends, so does the server, though a call is open."""
    backend = FakeBackend()
    async with running(backend) as pair:
        (child,) = pair.spawn.children
        child.can_be_killed = False
        call = asyncio.create_task(pair.engine.answer(CALL))
        await until(lambda: backend.waiting)
        pair.engine._stream.close()
        assert await child.wait() == 0
        assert backend.cancelled == 1
        with pytest.raises(BackendFailed, match="its engine process ended with status 0"):
            await call
