"""An engine that hangs: who is told, what is announced, and that a new one answers; or that nothing can help."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_worker.backends.base import BackendFailed, BackendLost, BadInput, Call, NotReady, ServedModel
from edge_worker.backends.engine import Engine
from edge_worker.backends.image_backend import MAX_HANGING, RELOAD_LIMIT_S, ImageBackend
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.spec import ModelSpec
from tests.support import pictures
from tests.support.fake_clock import FakeClock
from tests.support.models import write_model

WAIT_S = 30.0
"""Ends a test that would hang; nothing waits that long."""
LIMIT_S = 5.0

LIGHT = pictures.encoded(".png", np.full((4, 6, 3), 200, np.uint8))
DARK = pictures.encoded(".png", np.full((4, 6, 3), 5, np.uint8))
"""Its mean is 0.5 in the model's scale."""


class HangingLoader:
    """Its engines hang on a dark picture; every load is counted."""

    name = "fake"
    formats: tuple[str, ...] = ("onnx",)
    shares_networks = False

    def __init__(self) -> None:
        self.loads = 0
        self.failure: Exception | None = None
        self.may_load = threading.Event()
        self.may_load.set()
        self.hangs = threading.Event()
        """Set when an engine hangs."""
        self.release = threading.Event()

    def prepare(self, threads: int) -> None:
        pass

    def describe(self) -> dict[str, object]:
        return {}

    def load(self, spec: ModelSpec, content: object) -> Engine:
        self.loads += 1
        assert self.may_load.wait(WAIT_S)
        if self.failure is not None:
            raise self.failure
        return _Engine(self)


class _Engine:
    def __init__(self, loader: HangingLoader) -> None:
        self._loader = loader

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        means = batch.mean(axis=(1, 2))
        if 0.5 in means:
            self._loader.hangs.set()
            assert self._loader.release.wait(WAIT_S)
        return means


class Bench:
    def __init__(self, loader: HangingLoader, backend: ImageBackend, clock: FakeClock) -> None:
        self.loader, self.backend, self.clock = loader, backend, clock
        self.told: list[dict[str, str]] = []
        self.watching = asyncio.create_task(backend.watch(self._changed))

    def _changed(self, models: Sequence[ServedModel]) -> None:
        self.told.append({model.name: model.failure for model in models})

    async def ask(self, body: bytes = LIGHT, model: str = "colours") -> int:
        return (await self.backend.answer(Call(model, "POST", f"/inference/{model}", (), body))).status

    async def hang(self) -> asyncio.Task[int]:
        """A call whose engine hangs, past the limit."""
        self.loader.hangs.clear()
        call = asyncio.create_task(self.ask(DARK))
        assert await asyncio.to_thread(self.loader.hangs.wait, WAIT_S)
        await self.clock.advance(LIMIT_S)
        return call

    async def wait_told(self, times: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.told) < times:
                await asyncio.sleep(0)


@asynccontextmanager
async def bench(folder: Path, **changes: int) -> AsyncIterator[Bench]:
    loader, clock = HangingLoader(), FakeClock()
    settings = BackendSettings(model_dirs=(folder,), embedded=False, engine_limit_s=LIMIT_S, **changes)
    backend = ImageBackend(loader, settings, threads=1, limit_clock=clock)
    assert not any(model.failure for model in await backend.start())
    made = Bench(loader, backend, clock)
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        made.watching.cancel()
        loader.may_load.set()
        loader.release.set()
        await asyncio.gather(made.watching, return_exceptions=True)
        await backend.close()


@pytest.mark.parametrize("max_batch", [1, 4])
async def test_the_call_is_told_and_a_new_engine_answers(
    tmp_path: Path, max_batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With and without batches: the call fails at its limit, one line says which model and how long, the model is
    announced as failed and, once a new engine is loaded and warm, as ready; then it answers."""
    caplog.set_level(logging.INFO, "edge_worker.image")
    async with bench(write_model(tmp_path), max_batch=max_batch) as on:
        with pytest.raises(BackendFailed, match=r"colours-\w+: the engine did not end within 5 s"):
            await (await on.hang())
        await on.wait_told(2)
        assert await on.ask() == 200
    assert on.told == [{"colours": "its engine did not end within 5 s and is being replaced"}, {"colours": ""}]
    assert on.loader.loads == 2
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [(one.getMessage(), one.__dict__["model"], one.__dict__["limit_s"]) for one in errors] == [
        ("engine hangs", "colours", LIMIT_S)
    ]


async def test_meanwhile_nothing_is_begun(tmp_path: Path) -> None:
    """Until the new engine is warm a call is refused as not begun, so that another worker may have it; a model that
    was never here is still unknown."""
    async with bench(write_model(tmp_path)) as on:
        on.loader.may_load.clear()
        await on.hang()
        for asked in (on.ask(), on.backend.probe("colours")):
            with pytest.raises(NotReady, match="colours: its engine is being replaced"):
                await asked
        with pytest.raises(BadInput, match="does not serve the model 'other'"):
            await on.ask(model="other")
        on.loader.may_load.set()
        await on.wait_told(2)
        assert await on.ask() == 200


async def test_another_model_goes_on(tmp_path: Path) -> None:
    """It is announced as ready all the time, and answers while the engine beside it is replaced."""
    write_model(tmp_path / "colours")
    write_model(tmp_path / "other", name='name = "other"')
    async with bench(tmp_path) as on:
        on.loader.may_load.clear()
        await on.hang()
        assert await on.ask(model="other") == 200
        assert on.told[0]["other"] == ""


async def test_a_call_beside_the_one_that_hangs_is_answered(tmp_path: Path) -> None:
    """Of two slots one hangs; what the other has begun it ends, with its own network."""
    async with bench(write_model(tmp_path), slots=2) as on:
        stuck = await on.hang()
        with pytest.raises(BackendFailed):
            await stuck
        await on.wait_told(2)
        assert on.loader.loads == 4
        assert await asyncio.gather(on.ask(), on.ask()) == [200, 200]


async def test_one_hanging_engine_too_many_is_the_end(tmp_path: Path) -> None:
    """Each keeps a thread and a network in memory: after so many, only a new process helps."""
    async with bench(write_model(tmp_path)) as on:
        for hangs in range(MAX_HANGING):
            await on.hang()
            await on.wait_told(2 * hangs + 2)
        await on.hang()
        with pytest.raises(BackendLost, match="colours: 3 engines hang, and none of them can be ended"):
            await on.watching


async def test_an_engine_that_came_back_late_is_no_longer_counted(tmp_path: Path) -> None:
    """A worker that runs for a year may have more than a few of them."""
    async with bench(write_model(tmp_path)) as on:
        for hangs in range(MAX_HANGING + 2):
            await on.hang()
            await on.wait_told(2 * hangs + 2)
            on.loader.release.set()
            await until(lambda: not any(lanes.stuck for model in on.backend._given_up for lanes in model))
            on.loader.release.clear()
        assert await on.ask() == 200


async def test_an_engine_that_cannot_be_loaded_again_is_the_end(tmp_path: Path) -> None:
    """Such as when the one that hangs has all the memory of a GPU."""
    async with bench(write_model(tmp_path)) as on:
        on.loader.failure = BackendFailed("out of memory")
        await on.hang()
        with pytest.raises(BackendLost, match="its engine hangs, and a new one cannot be loaded: out of memory"):
            await on.watching


async def test_a_load_that_hangs_too_is_the_end(tmp_path: Path) -> None:
    """Nobody waits for it for ever."""
    async with bench(write_model(tmp_path)) as on:
        on.loader.may_load.clear()
        await on.hang()
        await until(lambda: on.loader.loads == 2)
        await on.clock.advance(RELOAD_LIMIT_S)
        with pytest.raises(BackendLost, match="cannot be loaded: colours-reload: the engine did not end within 600 s"):
            await on.watching


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await asyncio.sleep(0)
