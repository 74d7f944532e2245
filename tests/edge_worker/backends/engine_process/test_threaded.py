"""An engine process with a real engine: its threads take calls from the stream, and answer them to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from demo.stack import REPOSITORY
from edge_worker.backends.base import BackendFailed, BadInput, Call
from edge_worker.backends.engine_process.messages import start
from edge_worker.backends.engine_process.process import EngineProcess
from edge_worker.backends.engine_process.server import EngineServer
from edge_worker.backends.question import TENSOR
from edge_worker.backends.settings import BackendSettings
from tests.support.engine_pair import LoopSpawn

WAIT_S = 60.0
"""Ends a test that would hang; nothing waits that long."""
SAMPLES = [(REPOSITORY / f"edge_worker/models/digits/samples/digit-{digit}.png").read_bytes() for digit in range(10)]


@asynccontextmanager
async def running(settings: BackendSettings) -> AsyncIterator[tuple[EngineProcess, EngineServer]]:
    spawn = LoopSpawn()
    engine = EngineProcess(spawn, lambda engine: None)
    async with asyncio.timeout(WAIT_S):
        await engine.start(start("opencv_dnn", settings))
        try:
            yield engine, spawn.children[0].server
        finally:
            await engine.close()


def call(body: bytes, query: str = "", metadata: tuple[tuple[str, str], ...] = (), model: str = "digits") -> Call:
    return Call(model, "POST", f"/inference/{model}{query}", metadata, body)


async def digit(engine: EngineProcess, body: bytes) -> str:
    label: str = json.loads((await engine.answer(call(body))).body)["predictions"][0]["label"]
    return label


@pytest.mark.parametrize("max_batch", [1, 4])
async def test_every_call_has_its_own_answer(max_batch: int) -> None:
    """More than there are threads, and again when they had nothing to do; with batches the event loop has them."""
    async with running(BackendSettings(slots=2, max_batch=max_batch)) as (engine, server):
        for _ in range(3):
            labels = await asyncio.gather(*[digit(engine, sample) for sample in SAMPLES * 2])
            assert labels == [str(label) for label in range(10)] * 2
        assert server._works == {}


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        (call(b"no picture"), "bad_input", "."),
        (call(SAMPLES[0], "?top=0"), "bad_request", "top = '0'"),
        (call(SAMPLES[0], model="other"), "unknown_model", "does not serve the model 'other'"),
    ],
)
async def test_what_cannot_be_answered_says_why(asked: Call, code: str, text: str) -> None:
    """And costs the next call nothing."""
    async with running(BackendSettings()) as (engine, server):
        with pytest.raises(BadInput, match=text) as raised:
            await engine.answer(asked)
        assert raised.value.code == code
        assert await digit(engine, SAMPLES[3]) == "3"
        assert server._works == {}


async def test_a_bug_on_the_way_to_a_thread_costs_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads, the stream goes on."""
    async with running(BackendSettings()) as (engine, server):
        with monkeypatch.context() as patch:
            patch.setattr(server._threaded, "work", lambda *_: 1 / 0)
            with pytest.raises(BackendFailed, match="the engine failed; the worker's log says why"):
                await engine.answer(call(SAMPLES[0]))
        assert await digit(engine, SAMPLES[3]) == "3"


async def test_a_tensor_of_several_pictures_is_answered_between_them() -> None:
    """It takes a thread for a picture at a time, so it goes over the event loop."""
    async with running(BackendSettings()) as (engine, _):
        (model,) = engine.models
        described = model.metadata["input"]
        assert isinstance(described, dict)
        shape = [3, *described["shape"][1:]]
        head = (("content-type", TENSOR), ("tensor-datatype", "FP32"), ("tensor-shape", ",".join(map(str, shape))))
        answering = engine.answer(call(np.zeros(shape, np.float32).tobytes(), "?output=raw", head))
        answer, *labels = await asyncio.gather(answering, *[digit(engine, sample) for sample in SAMPLES])
        assert dict(answer.metadata)["tensor-shape"] == "3,10"
        assert labels == [str(label) for label in range(10)]


async def test_calls_that_are_cancelled_leave_nothing_behind() -> None:
    """Those that had not begun never do; those behind them are answered."""
    async with running(BackendSettings()) as (engine, server):
        calls = [asyncio.create_task(digit(engine, sample)) for sample in SAMPLES]
        await asyncio.sleep(0)
        for gone in calls[1:]:
            gone.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert await digit(engine, SAMPLES[4]) == "4"
        assert server._works == {}


async def test_a_probe_goes_the_whole_way() -> None:
    """While its threads have nothing to do, and while they have."""
    async with running(BackendSettings()) as (engine, _):
        probed, *_ = await asyncio.gather(engine.probe("digits"), *[digit(engine, sample) for sample in SAMPLES])
        assert json.loads(probed.body)["model"] == "digits"
