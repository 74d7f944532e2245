"""Batches by way of the whole backend: who shares one, what each is told, and who fails alone.

Only full batches are waited for, and those that a call's cancellation makes: no test depends on a time.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_worker.backends.base import Answer, Backend, BackendFailed, BadInput, Call, ServedModel
from edge_worker.backends.engine import Engine
from edge_worker.backends.factory import open_backend
from edge_worker.backends.image_backend import ImageBackend
from edge_worker.backends.question import TENSOR
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import EMBEDDED
from edge_worker.models.spec import ModelSpec
from tests.support import pictures
from tests.support.models import write_model
from tests.support.networks import THREADS, needs_tensorflow

LONG_US = 1_000_000
SAMPLES = sorted((EMBEDDED / "samples").glob("*.png"))
WAIT_S = 30.0
"""Ends a test that would hang; nothing waits that long."""


class Means:
    """Answers the mean of each colour; notes the sizes; fails for a batch with a black picture in it."""

    name = "fake"
    formats: tuple[str, ...] = ("onnx",)
    shares_networks = True

    def __init__(self, only_one: bool = False) -> None:
        self.sizes: list[int] = []
        self.may_compute = threading.Event()
        self.may_compute.set()
        self._only_one = only_one
        self._is_warm = False

    def prepare(self, threads: int) -> None:
        pass

    def describe(self) -> dict[str, object]:
        return {}

    def load(self, spec: ModelSpec, content: object) -> Engine:
        return self

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(batch))
        assert self.may_compute.wait(WAIT_S)
        means = batch.mean(axis=(1, 2))
        if self._is_warm and 0.5 in means[:, 0]:
            raise BackendFailed("a dark picture in the batch")
        return means[:1] if self._only_one else means

    def warmed(self) -> list[int]:
        """The sizes of the warm-up, which are forgotten."""
        sizes, self.sizes, self._is_warm = self.sizes, [], True
        return sizes


@asynccontextmanager
async def started(folder: Path, loader: Means, **changes: int) -> AsyncIterator[tuple[Backend, ServedModel]]:
    settings = BackendSettings(model_dirs=(folder,), embedded=False, **changes)
    backend = ImageBackend(loader, settings, threads=1)
    (model,) = await backend.start()
    try:
        yield backend, model
    finally:
        loader.may_compute.set()
        await backend.close()


def colour(index: int) -> bytes:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., index] = 200
    return pictures.encoded(".png", pixels)


DARK = pictures.encoded(".png", np.full((4, 6, 3), 5, np.uint8))
"""Its mean is 0.5 in the model's scale."""


async def ask(backend: Backend, body: bytes, model: str = "colours", top: int = 1) -> Answer:
    return await backend.answer(Call(model, "POST", f"/inference/{model}?top={top}", (), body))


async def ask_rows(backend: Backend, levels: Sequence[float]) -> Answer:
    """A tensor with a row for each level, which is its red."""
    rows = np.zeros((len(levels), 3, 4, 6), np.float32)
    rows[:, 0] = np.asarray(levels, np.float32)[:, None, None]
    shape = ",".join(map(str, rows.shape))
    head = (("content-type", TENSOR), ("tensor-datatype", "FP32"), ("tensor-shape", shape))
    return await backend.answer(Call("colours", "POST", "/inference/colours?output=raw", head, rows.tobytes()))


def label(answer: Answer) -> str:
    return str(json.loads(answer.body)["predictions"][0]["label"])


async def test_calls_that_fill_a_batch_share_it(tmp_path: Path) -> None:
    """Each gets its own answer, with the size of its batch and its wait among the steps."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=3, max_batch_wait_us=LONG_US) as (backend, _):
        loader.warmed()
        answers = await asyncio.gather(*[ask(backend, colour(index)) for index in (2, 0, 1)])
    assert [label(answer) for answer in answers] == ["blue", "red", "green"]
    assert loader.sizes == [3]
    assert [json.loads(answer.body)["batch_size"] for answer in answers] == [3, 3, 3]
    steps = ["decode", "preprocess", "batch_wait", "inference", "postprocess"]
    assert [list(answer.durations_s) for answer in answers] == [steps] * 3


async def test_every_size_is_warm_before_the_worker_is_ready(tmp_path: Path) -> None:
    """And the slots that are announced are a batch for each network and one that gathers."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=6, slots=2) as (_, model):
        assert sorted(set(loader.warmed())) == [1, 2, 4, 6]
        assert model.slots == 6 * 3
        assert model.metadata["batching"] == {"max_batch": 6, "max_wait_us": 0}


async def test_the_description_batches_unless_the_worker_says_otherwise(tmp_path: Path) -> None:
    """[batching] of the model holds, --max-batch beats it, and 1 turns it off."""
    folder = write_model(tmp_path)
    text = (folder / "model.toml").read_text(encoding="utf-8")
    (folder / "model.toml").write_text(f"{text}\n[batching]\nmax_batch = 4\n", encoding="utf-8")
    for max_batch, slots in {0: 8, 2: 4, 1: 1}.items():
        async with started(folder, Means(), max_batch=max_batch) as (_, model):
            assert model.slots == slots
    assert "batching" not in model.metadata


async def test_without_batching_nothing_of_it_shows(tmp_path: Path) -> None:
    """Off is the default: the answer has no batch in it, and one call is one inference."""
    loader = Means()
    async with started(write_model(tmp_path), loader) as (backend, model):
        assert loader.warmed() == [1]
        answer = await ask(backend, colour(0))
    assert model.slots == 1
    assert "batch_size" not in json.loads(answer.body)
    assert "batch_wait" not in answer.durations_s


async def test_a_batch_is_filled_up_to_a_warm_size(tmp_path: Path) -> None:
    """Three calls that wait for the engine go as four; each is told that it was one of three."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=4) as (backend, _):
        loader.warmed()
        loader.may_compute.clear()
        first = asyncio.create_task(ask(backend, colour(0)))
        await computing(loader, 1)
        rest = [asyncio.create_task(ask(backend, colour(1))) for _ in range(3)]
        await waiting(backend, 3)
        loader.may_compute.set()
        sizes = [json.loads((await call).body)["batch_size"] for call in (first, *rest)]
    assert loader.sizes == [1, 4]
    assert sizes == [1, 3, 3, 3]


async def test_a_bad_picture_is_refused_alone(tmp_path: Path) -> None:
    """It never reaches the batch, which the others fill."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=2, max_batch_wait_us=LONG_US) as (backend, _):
        loader.warmed()
        bodies = (colour(0), b"not a picture", colour(1))
        red, bad, green = await asyncio.gather(*[ask(backend, body) for body in bodies], return_exceptions=True)
    assert isinstance(bad, BadInput)
    assert isinstance(red, Answer)
    assert isinstance(green, Answer)
    assert (label(red), label(green), loader.sizes) == ("red", "green", [2])


async def test_a_picture_on_which_the_engine_fails_fails_alone(tmp_path: Path) -> None:
    """The batch is computed again, one by one; the next batch is whole."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=3, max_batch_wait_us=LONG_US) as (backend, _):
        loader.warmed()
        bodies = (colour(0), DARK, colour(2))
        red, dark, blue = await asyncio.gather(*[ask(backend, body) for body in bodies], return_exceptions=True)
        assert loader.sizes == [3, 1, 1, 1]
        await asyncio.gather(*[ask(backend, colour(0)) for _ in range(3)])
    assert isinstance(dark, BackendFailed)
    assert isinstance(red, Answer)
    assert isinstance(blue, Answer)
    assert (label(red), label(blue), loader.sizes[4:]) == ("red", "blue", [3])


async def test_a_cancelled_call_is_not_computed(tmp_path: Path) -> None:
    """The batch of those behind it has no place for it."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=2, max_batch_wait_us=LONG_US) as (backend, _):
        loader.warmed()
        gone = asyncio.create_task(ask(backend, colour(0)))
        await waiting(backend, 1)
        gone.cancel()
        answers = await asyncio.gather(*[ask(backend, colour(1)) for _ in range(2)])
    assert [label(answer) for answer in answers] == ["green", "green"]
    assert loader.sizes == [2]


async def test_the_rows_of_a_tensor_share_batches(tmp_path: Path) -> None:
    """Two calls together fill two of four; every row comes back in its own place, and no size is new."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=4, max_batch_wait_us=LONG_US) as (backend, _):
        loader.warmed()
        answers = await asyncio.gather(*[ask_rows(backend, levels) for levels in ((1, 2, 3, 4, 5), (6, 7, 8))])
    assert loader.sizes == [4, 4]
    for answer, levels in zip(answers, ((1, 2, 3, 4, 5), (6, 7, 8)), strict=True):
        assert dict(answer.metadata)["tensor-shape"] == f"{len(levels)},3"
        rows = np.frombuffer(answer.body, "<f4").reshape(-1, 3)
        expected = [np.exp(level) / (np.exp(level) + 2) for level in levels]
        np.testing.assert_allclose(rows[:, 0], expected, rtol=1e-5)
        assert list(answer.durations_s) == ["decode", "preprocess", "batch_wait", "inference", "postprocess"]


async def test_a_row_on_which_the_engine_fails_fails_its_tensor(tmp_path: Path) -> None:
    """And the tensor's other rows leave the line."""
    loader = Means()
    async with started(write_model(tmp_path), loader, max_batch=2, max_batch_wait_us=LONG_US) as (backend, _):
        loader.warmed()
        with pytest.raises(BackendFailed, match="dark"):
            await ask_rows(backend, (0.5, 1.0, 2.0))
        assert [label(one) for one in await asyncio.gather(*[ask(backend, colour(2)) for _ in range(2)])] == [
            "blue"
        ] * 2


async def test_a_network_that_takes_one_picture_only_is_not_served_in_batches(tmp_path: Path) -> None:
    """The warm-up shows it, and says so."""
    async with started(write_model(tmp_path), Means(only_one=True), max_batch=2) as (_, model):
        assert "answers a batch of 2 with 1 results: it takes one at a time" in model.failure


@pytest.mark.parametrize("engine", ["opencv_dnn", pytest.param("tensorflow", marks=needs_tensorflow)])
async def test_in_a_batch_the_answers_are_the_same(engine: str) -> None:
    """Ten digits, one again, and a probe, in three batches of four: each is read as it is when it is alone."""
    settings = BackendSettings(threads=THREADS, device="cpu", max_batch=4, max_batch_wait_us=LONG_US)
    backend = open_backend(engine, settings)
    (model,) = await backend.start()
    assert (model.failure, model.slots) == ("", 8)
    samples = [*SAMPLES, SAMPLES[0]]
    asked = [ask(backend, one.read_bytes(), "digits") for one in samples]
    answers = await asyncio.gather(*asked, backend.probe("digits"))
    await backend.close()
    assert [f"digit-{label(answer)}" for answer in answers[:-1]] == [one.stem for one in samples]
    assert [json.loads(answer.body)["batch_size"] for answer in answers] == [4] * 12


async def computing(loader: Means, batches: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(loader.sizes) < batches:
            await asyncio.sleep(0)


async def waiting(backend: Backend, calls: int) -> None:
    assert isinstance(backend, ImageBackend)
    line = backend._models["colours"]._batcher._line  # type: ignore[attr-defined]
    async with asyncio.timeout(WAIT_S):
        while len(line) < calls:
            await asyncio.sleep(0)
