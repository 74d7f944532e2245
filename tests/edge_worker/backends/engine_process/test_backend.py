"""The backend that keeps an engine process running: what is announced while one is replaced, and what goes on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from edge_worker.backends.base import Answer, BackendFailed, BackendLost, Call, NotReady, ServedModel
from edge_worker.backends.engine_process import backend as under_test
from edge_worker.backends.engine_process.backend import EngineProcessBackend
from edge_worker.backends.engine_process.messages import start
from edge_worker.backends.settings import BackendSettings
from edge_worker.backoff import Backoff
from tests.support.engine_pair import LoopSpawn
from tests.support.fake_backend import FakeBackend
from tests.support.worker_http import until

WAIT_S = 30.0
"""Ends a test that would hang; nothing waits that long."""
CALL = Call("m", "POST", "/inference/m", (), b"picture", None)
KILLED = "its engine process was ended by SIGKILL: a system that is out of memory does that"
WELL = ServedModel("m", "1", 1)
HANGS = ServedModel("m", "1", 1, "its engine hangs")


class NoDelay(Backoff):
    """Counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__(random.Random())
        self.asked = 0

    def next_delay_s(self, retry_after_s: float | None = None, *, is_refusal: bool = False) -> float:
        self.asked += 1
        return 0.0


class Site:
    """The backend, watched; its engine processes have these backends in turn."""

    def __init__(self, *backends: FakeBackend | Exception) -> None:
        self.spawn = LoopSpawn(*backends)
        self.backoff = NoDelay()
        self.backend = EngineProcessBackend("fake", start("fake", BackendSettings()), self.spawn, 0.0, self.backoff)
        self.told: list[list[str]] = []
        self.watching: asyncio.Task[None]

    def _changed(self, models: Sequence[ServedModel]) -> None:
        self.told.append([model.failure for model in models])

    async def begin(self) -> Sequence[ServedModel]:
        models = await self.backend.start()
        self.watching = asyncio.create_task(self.backend.watch(self._changed))
        return models

    def strike(self, status: int = -9) -> None:
        """The newest engine process ends."""
        self.spawn.children[-1].end_with(status)

    async def wait_told(self, times: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.told) < times:
                await asyncio.sleep(0)


@asynccontextmanager
async def site(*backends: FakeBackend | Exception) -> AsyncIterator[Site]:
    made = Site(*backends)
    async with asyncio.timeout(WAIT_S):
        await made.begin()
        try:
            yield made
        finally:
            made.watching.cancel()
            await asyncio.wait((made.watching,))
            await made.backend.close()


async def test_calls_and_probes_go_to_the_engine_process() -> None:
    """And their answers come back."""
    inner = FakeBackend(Answer(b"answer"))
    async with site(inner) as on:
        assert (await on.backend.answer(CALL)).body == b"answer"
        assert (await on.backend.probe("m")).body == b"answer"
        assert inner.probes == ["m"]
    assert inner.is_closed


@pytest.mark.parametrize(("error", "raised"), [(ValueError("slots"), ValueError), (RuntimeError("x"), BackendLost)])
async def test_without_a_first_engine_process_it_does_not_start(error: Exception, raised: type[Exception]) -> None:
    """The two ends of it: settings that cannot be used, and a process that is gone."""
    with pytest.raises(raised):
        await Site(error).begin()


async def test_a_process_that_ends_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """Its models are announced as failed with the reason, then as ready; what was in flight fails, and the next call is
    answered by the new process."""
    first, second = FakeBackend(), FakeBackend(Answer(b"second"))
    second.may_start.clear()
    async with site(first, second) as on:
        call = asyncio.create_task(on.backend.answer(CALL))
        await until(lambda: first.waiting)
        on.strike()
        with pytest.raises(BackendFailed, match=f"^{KILLED}$"):
            await call
        await on.wait_told(1)
        with pytest.raises(NotReady, match=f"^{KILLED}$"):
            await on.backend.answer(CALL)
        second.may_start.set()
        await on.wait_told(2)
        assert (await on.backend.answer(CALL)).body == b"second"
    assert on.told == [[f"{KILLED}; another one is being started"], [""]]
    (line,) = [one for one in caplog.records if one.getMessage() == "engine process is unwell"]
    assert line.__dict__["reason"] == KILLED


async def test_a_model_that_never_could_be_served_keeps_its_reason() -> None:
    """The operator looks for what is wrong with its file, not with the process."""
    models = [WELL, ServedModel("broken", "", 1, "model.toml: no such file")]
    async with site(FakeBackend(models=models), FakeBackend(models=models)) as on:
        on.strike()
        await on.wait_told(2)
    assert [told[1] for told in on.told] == ["model.toml: no such file"] * 2


async def test_one_that_hangs_serves_on_until_another_is_loaded() -> None:
    """Its other models are answered meanwhile; then it answers what it was asked, and is ended."""
    other = ServedModel("other", "1", 1)
    first, second = FakeBackend(Answer(b"first"), [WELL, other]), FakeBackend(Answer(b"second"), [WELL, other])
    second.may_start.clear()
    async with site(first, second) as on:
        assert first.changed is not None
        first.changed([HANGS, other])
        first.lose(BackendLost("m: its engine hangs"))
        await until(lambda: len(on.spawn.children) == 2)
        assert (await on.backend.answer(CALL)).body == b"first"
        second.may_start.set()
        await on.wait_told(2)
        assert (await on.backend.answer(CALL)).body == b"second"
        assert await on.spawn.children[0].wait() == -9
    assert on.told == [["its engine hangs", ""], ["", ""]]


async def test_what_an_old_process_says_is_no_news() -> None:
    """While it answers its last calls, its models are no longer the worker's."""
    first, second = FakeBackend(), FakeBackend()
    async with site(first, second) as on:
        on.backend._grace_s = WAIT_S
        call = asyncio.create_task(on.backend.answer(CALL))
        await until(lambda: first.waiting)
        first.lose(BackendLost("m: its engine hangs"))
        await on.wait_told(1)
        assert first.changed is not None
        first.changed([HANGS])
        first.waiting[0].set_result(Answer(b"late"))
        assert (await call).body == b"late"
    assert on.told == [[""]]


async def test_a_new_one_that_is_worse_is_tried_again_without_the_old() -> None:
    """As where the one that hangs has all the memory of a GPU."""
    worse = FakeBackend(models=[ServedModel("m", "1", 1, "out of memory")])
    first, third = FakeBackend(), FakeBackend(Answer(b"third"))
    async with site(first, worse, third) as on:
        first.lose(BackendLost("m: its engine hangs"))
        await on.wait_told(2)
        assert (await on.backend.answer(CALL)).body == b"third"
        assert [await child.wait() for child in on.spawn.children[:2]] == [-9, -9]
    reason = "a new engine process cannot load its models beside the old one; another one is being started"
    assert on.told == [[reason], [""]]


async def test_alone_it_may_be_worse() -> None:
    """A file that is gone by now fails its model, and the others are served."""
    worse = FakeBackend(models=[ServedModel("m", "1", 1, "no such file")])
    async with site(FakeBackend(), worse) as on:
        on.strike()
        await on.wait_told(2)
    assert on.told[1] == ["no such file"]


@pytest.mark.parametrize("failure", [ValueError("there is no GPU"), RuntimeError("a bug")], ids=repr)
async def test_it_tries_for_as_long_as_it_takes(failure: Exception) -> None:
    """Each time after a pause; the announced reason is the newest, and the worker stays to show it."""
    async with site(FakeBackend(), failure, failure, FakeBackend(Answer(b"at last"))) as on:
        on.strike()
        await on.wait_told(4)
        assert (await on.backend.answer(CALL)).body == b"at last"
        assert on.backoff.asked == 3
    assert on.told[0] == [f"{KILLED}; another one is being started"]
    assert on.told[1] == on.told[2]
    assert on.told[1][0].startswith("a new engine process cannot serve: ")
    assert on.told[3] == [""]


async def test_a_load_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver may hang as well; the next try may not."""
    monkeypatch.setattr(under_test, "RELOAD_LIMIT_S", 0.0)
    stuck = FakeBackend()
    stuck.may_start.clear()
    async with site(FakeBackend(), stuck, stuck) as on:
        on.strike()
        await on.wait_told(2)
        stuck.may_start.set()
        monkeypatch.setattr(under_test, "RELOAD_LIMIT_S", WAIT_S)
        await on.wait_told(3)
    assert "has not loaded its models within 0 s" in on.told[1][0]
    assert on.told[-1] == [""]


async def test_it_is_closed_while_it_replaces() -> None:
    """A worker that is told to stop then leaves no process behind."""
    second = FakeBackend()
    second.may_start.clear()
    async with site(FakeBackend(), second) as on:
        on.strike()
        await until(lambda: on.spawn.children[1:] and second.changed is None)
    assert [await child.wait() for child in on.spawn.children] == [-9, -9]
