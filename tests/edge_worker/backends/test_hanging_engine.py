"""An engine that hangs: who is told, what is announced, and what goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_worker.backends.base import BackendFailed, BackendLost, BadInput, Call, NotReady, ServedModel
from edge_worker.backends.engine import Engine
from edge_worker.backends.image_backend import ImageBackend
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
HANGS = "its engine did not end within 5 s and is being replaced"


class HangingLoader:
    """Its engines hang on a dark picture."""

    name = "fake"
    formats: tuple[str, ...] = ("onnx",)
    shares_networks = False

    def __init__(self) -> None:
        self.hangs = threading.Event()
        """Set when an engine hangs."""
        self.release = threading.Event()

    def prepare(self, threads: int) -> None:
        pass

    def describe(self) -> dict[str, object]:
        return {}

    def load(self, spec: ModelSpec, content: object) -> Engine:
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

    async def begin(self, model: str = "colours") -> asyncio.Task[int]:
        """A call whose engine hangs."""
        self.loader.hangs.clear()
        call = asyncio.create_task(self.ask(DARK, model))
        assert await asyncio.to_thread(self.loader.hangs.wait, WAIT_S)
        return call

    async def hang(self, model: str = "colours") -> asyncio.Task[int]:
        """The same, past its limit."""
        call = await self.begin(model)
        await self.clock.advance(LIMIT_S)
        return call


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
        loader.release.set()
        await asyncio.gather(made.watching, return_exceptions=True)
        await backend.close()


@pytest.mark.parametrize("max_batch", [1, 4])
async def test_the_call_and_whoever_watches_are_told(
    tmp_path: Path, max_batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With and without batches: the call fails at its limit, one line says which model and how long, the model is
    announced as failed, and that only a new process can help."""
    caplog.set_level(logging.INFO, "edge_worker.image")
    async with bench(write_model(tmp_path), max_batch=max_batch) as on:
        with pytest.raises(BackendFailed, match=r"colours-\w+: the engine did not end within 5 s"):
            await (await on.hang())
        with pytest.raises(BackendLost, match=f"^colours: {HANGS}$"):
            await on.watching
    assert on.told == [{"colours": HANGS}]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [(one.getMessage(), one.__dict__["model"], one.__dict__["limit_s"]) for one in errors] == [
        ("engine hangs", "colours", LIMIT_S)
    ]


async def test_from_then_on_nothing_is_begun(tmp_path: Path) -> None:
    """A call is refused as not begun, so that another worker may have it; a model that was never here is still
    unknown."""
    async with bench(write_model(tmp_path)) as on:
        await on.hang()
        for asked in (on.ask(), on.backend.probe("colours")):
            with pytest.raises(NotReady, match=f"colours: {HANGS}"):
                await asked
        with pytest.raises(BadInput, match="does not serve the model 'other'"):
            await on.ask(model="other")


async def test_another_model_goes_on(tmp_path: Path) -> None:
    """It is announced as ready all the time, and answers; should it hang as well, that is told too."""
    write_model(tmp_path / "colours")
    write_model(tmp_path / "other", name='name = "other"')
    async with bench(tmp_path) as on:
        await on.hang()
        assert on.told == [{"colours": HANGS, "other": ""}]
        assert await on.ask(model="other") == 200
        await on.hang("other")
        assert on.told[1:] == [{"colours": HANGS, "other": HANGS}]


async def test_a_call_beside_the_one_that_hangs_is_answered(tmp_path: Path) -> None:
    """Of two slots one hangs; what the other has begun it ends, with its own network."""
    async with bench(write_model(tmp_path), slots=2) as on:
        stuck = await on.begin()
        await on.clock.advance(LIMIT_S / 2)
        beside = await on.begin()
        await on.clock.advance(LIMIT_S / 2)
        with pytest.raises(BackendFailed):
            await stuck
        on.loader.release.set()
        assert await beside == 200
