"""The way from a request to labels, around an engine that the test holds in its hand."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, ServedModel
from edge_worker.backends.engine import Engine
from edge_worker.backends.image_backend import ImageBackend
from edge_worker.backends.model_loading import MAX_FAILURE
from edge_worker.backends.question import TENSOR
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.spec import ModelSpec, SpecError
from tests.support import pictures
from tests.support.models import write_model

WAIT_S = 30.0
"""Ends a test that would hang; nothing waits that long."""

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def means(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, height, width, 3] -> the mean of each colour."""
    return batch.mean(axis=(1, 2))


class FakeEngine:
    def __init__(self, predict: Predict) -> None:
        self.predict = predict


class FakeLoader:
    """Loads `content` as a network that is the function given; refuses the content b"broken"."""

    name = "fake"
    formats: tuple[str, ...] = ("onnx",)
    shares_networks = False

    def __init__(self, predict: Predict = means) -> None:
        self._predict = predict
        self.threads: list[int] = []
        self.loaded: list[str] = []

    def prepare(self, threads: int) -> None:
        self.threads.append(threads)

    def describe(self) -> dict[str, object]:
        return {"device": "abacus"}

    def load(self, spec: ModelSpec, content: bytes) -> Engine:
        if content == b"broken":
            raise BackendFailed("the file is broken inside")
        self.loaded.append(spec.name)
        return FakeEngine(self._predict)


@asynccontextmanager
async def started(
    folder: Path, loader: FakeLoader, slots: int = 1
) -> AsyncIterator[tuple[ImageBackend, list[ServedModel]]]:
    settings = BackendSettings(slots=slots, model_dirs=(folder,), embedded=False, max_pixels=10_000)
    backend = ImageBackend(loader, settings, threads=2)
    models = list(await backend.start())
    try:
        yield backend, models
    finally:
        await backend.close()


def call(body: bytes | None = None, query: str = "", model: str = "colours") -> Call:
    body = pictures.encoded(".png") if body is None else body
    return Call(model, "POST", f"/inference/{model}{query}", (), body)


async def test_a_picture_gives_labels_and_the_time_of_each_step(tmp_path: Path) -> None:
    """The answer is JSON with the likeliest first; the durations are in the order of the steps."""
    async with started(write_model(tmp_path), FakeLoader()) as (backend, _):
        answer = await backend.answer(call())
    said = json.loads(answer.body)
    assert (said["model"], said["model_version"]) == ("colours", "3")
    assert [prediction["label"] for prediction in said["predictions"]] == ["green", "red", "blue"]
    assert sum(prediction["probability"] for prediction in said["predictions"]) == pytest.approx(1.0, abs=1e-5)
    assert list(answer.durations_s) == ["decode", "preprocess", "inference", "postprocess"]
    assert min(answer.durations_s.values()) >= 0.0


async def test_a_model_is_announced_with_what_it_takes_and_gives(tmp_path: Path) -> None:
    """Metadata are JSON values, and say engine, input, output, number of labels and weights."""
    async with started(write_model(tmp_path), FakeLoader(), slots=2) as (_, models):
        (model,) = models
    assert (model.name, model.version, model.slots, model.failure) == ("colours", "3", 2, "")
    assert json.loads(json.dumps(model.metadata)) == {
        "engine": "fake",
        "format": "onnx",
        "input": {
            "name": "picture",
            "datatype": "FP32",
            "shape": [-1, 3, 4, 6],
            "layout": "NCHW",
            "colour": "RGB",
            "mean": [0.0, 0.0, 0.0],
            "scale": [0.1, 0.1, 0.1],
            "resize": "stretch",
            "interpolation": "area",
        },
        "output": {"name": "means", "datatype": "FP32", "shape": [-1, 3]},
        "labels": 3,
        "groups": [],
        "weights": "made by hand",
        "device": "abacus",
    }


async def test_each_slot_has_a_network_and_each_is_warm(tmp_path: Path) -> None:
    """Before the worker is ready there is a network for each slot, and each has answered once."""
    batches: list[tuple[int, ...]] = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        batches.append(batch.shape)
        return means(batch)

    loader = FakeLoader(predict)
    async with started(write_model(tmp_path), loader, slots=3):
        assert loader.loaded == ["colours"] * 3
        assert batches == [(1, 4, 6, 3)] * 3
        assert loader.threads == [2]


async def test_memory_is_moved_into_huge_pages_once_all_networks_are_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        steps.append("warm")
        return means(batch)

    monkeypatch.setattr("edge_worker.backends.image_backend.use_huge_pages", lambda: steps.append("moved"))
    async with started(write_model(tmp_path), FakeLoader(predict), slots=2):
        assert steps == ["warm", "warm", "moved"]


async def test_a_broken_model_leaves_the_others_alone(tmp_path: Path) -> None:
    """Each way to be broken is a failure with its reason, and the sound model among them answers."""
    write_model(tmp_path / "sound")
    write_model(tmp_path / "altered", name='name = "altered"')
    (tmp_path / "altered" / "colours.onnx").write_bytes(b"other bytes")
    write_model(tmp_path / "broken", b"broken", name='name = "broken"')
    write_model(tmp_path / "gone", name='name = "gone"')
    (tmp_path / "gone" / "colours.onnx").unlink()
    write_model(tmp_path / "labels", name='name = "labels"', names='names = ["red", "green"]')
    write_model(tmp_path / "other", name='name = "other"', format='format = "tf-frozen"')
    write_model(tmp_path / "wrong", layout="HWC")
    async with started(tmp_path, FakeLoader()) as (backend, models):
        reasons = {model.name: model.failure for model in models}
        assert json.loads((await backend.answer(call())).body)["predictions"][0]["label"] == "green"
        with pytest.raises(BadInput, match="does not serve the model 'broken'"):
            await backend.answer(call(model="broken"))
    assert reasons.pop("colours") == ""
    assert "its SHA-256 is" in reasons["altered"]
    assert "the file is broken inside" in reasons["broken"]
    assert "there is no such file" in reasons["gone"]
    assert "the network gives 3 numbers" in reasons["labels"]
    assert "format = 'tf-frozen': fake loads onnx" in reasons["other"]
    assert "input.layout = 'HWC'" in reasons["wrong"]


async def test_a_long_reason_is_cut(tmp_path: Path) -> None:
    """A reason travels to the gateway, so it has a bound."""

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise BackendFailed("x" * 5000)

    async with started(write_model(tmp_path), FakeLoader(predict)) as (_, models):
        assert len(models[0].failure) == MAX_FAILURE


async def test_a_folder_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """A model dir that holds nothing is not a broken model but a wrong setting."""
    settings = BackendSettings(model_dirs=(tmp_path,), embedded=False)
    with pytest.raises(SpecError, match=r"--model-dir"):
        await ImageBackend(FakeLoader(), settings, threads=1).start()


@pytest.mark.parametrize(
    ("query", "count"), [("", 3), ("?top=1", 1), ("?top=2", 2), ("?top=100000", 3), ("?a=b&top=1&top=2", 2)]
)
async def test_the_query_says_how_many_classes_to_name(tmp_path: Path, query: str, count: int) -> None:
    """Up to all of them; the last of several counts."""
    async with started(write_model(tmp_path), FakeLoader()) as (backend, _):
        assert len(json.loads((await backend.answer(call(query=query))).body)["predictions"]) == count


def tensor_call(rows: NDArray[np.float32], query: str = "?output=raw") -> Call:
    """`rows` [N, 4, 6, 3], as the model of these tests has it: channels first."""
    values = rows.transpose(0, 3, 1, 2)
    shape = ",".join(map(str, values.shape))
    head = (("content-type", TENSOR), ("tensor-datatype", "FP32"), ("tensor-shape", shape))
    return Call("colours", "POST", f"/inference/colours{query}", head, values.tobytes())


def numbers(answer: Answer) -> NDArray[np.float32]:
    shape = [int(side) for side in dict(answer.metadata)["tensor-shape"].split(",")]
    return np.frombuffer(answer.body, "<f4").reshape(shape)


async def test_a_tensor_is_answered_with_numbers(tmp_path: Path) -> None:
    """Row for row, each computed alone: the network only ever sees the size that was warmed up."""
    batches: list[tuple[int, ...]] = []

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        batches.append(batch.shape)
        return means(batch)

    rows = np.random.default_rng(7).random((3, 4, 6, 3), np.float32)
    async with started(write_model(tmp_path), FakeLoader(predict)) as (backend, _):
        answer = await backend.answer(tensor_call(rows))
    powers = np.exp(means(rows))
    np.testing.assert_allclose(numbers(answer), powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)
    assert batches == [(1, 4, 6, 3)] * 4
    assert list(answer.durations_s) == ["decode", "preprocess", "inference", "postprocess"]


async def test_a_tensor_that_a_picture_becomes_is_answered_alike(tmp_path: Path) -> None:
    """Labels for one row of numbers are those of the picture that they were made of; a picture gives numbers too."""
    pixels = np.random.default_rng(7).integers(0, 256, (4, 6, 3), np.uint8)
    picture = pictures.encoded(".png", pixels)
    async with started(write_model(tmp_path), FakeLoader()) as (backend, _):
        named = await backend.answer(call(picture))
        tensor = tensor_call(pixels[None].astype(np.float32) * np.float32(0.1), "")
        assert (await backend.answer(tensor)).body == named.body
        raw = numbers(await backend.answer(call(picture, "?output=raw")))
    likeliest = json.loads(named.body)["predictions"][0]
    assert raw.shape == (1, 3)
    assert raw[0, likeliest["index"]] == pytest.approx(likeliest["probability"], abs=1e-6)


@pytest.mark.parametrize(("value", "text"), [(np.nan, "not finite"), (np.float32(3e38), "out of all bounds")])
async def test_numbers_that_no_picture_has_are_the_clients_fault(tmp_path: Path, value: float, text: str) -> None:
    """Whether they are no numbers, or make none in the network: the engine is not blamed, and the worker stays."""

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            return batch.sum(axis=(1, 2))

    async with started(write_model(tmp_path), FakeLoader(predict)) as (backend, _):
        with pytest.raises(BadInput, match=text) as caught:
            await backend.answer(tensor_call(np.full((1, 4, 6, 3), value, np.float32)))
    assert caught.value.code == "bad_input"


async def test_a_tensor_whose_caller_is_gone_is_not_computed_further(tmp_path: Path) -> None:
    """Its next row never begins."""
    held = HeldPredict(warm_ups=1)
    async with started(write_model(tmp_path), FakeLoader(held)) as (backend, _):
        asked = asyncio.create_task(backend.answer(tensor_call(np.zeros((5, 4, 6, 3), np.float32))))
        await held.wait_begun()
        asked.cancel()
        await asyncio.wait([asked])
        held.end.set()
        await backend.answer(call())
    assert held.calls == 2


@pytest.mark.parametrize(
    ("body", "code"), [(b"not an image", "bad_input"), (b"", "bad_input"), (pictures.encoded(".png")[:-9], "bad_input")]
)
async def test_a_bad_picture_is_refused(tmp_path: Path, body: bytes, code: str) -> None:
    """The one who sent it is told; the next picture is answered."""
    async with started(write_model(tmp_path), FakeLoader()) as (backend, _):
        with pytest.raises(BadInput) as caught:
            await backend.answer(call(body))
        assert caught.value.code == code
        assert (await backend.answer(call())).status == 200


async def test_the_limit_of_pixels_is_the_one_of_the_settings(tmp_path: Path) -> None:
    """A picture of more pixels than configured is too large."""
    async with started(write_model(tmp_path), FakeLoader()) as (backend, _):
        with pytest.raises(BadInput, match="at most 10000 pixels") as caught:
            await backend.answer(call(pictures.encoded(".png", np.zeros((101, 100), np.uint8))))
        assert caught.value.code == "payload_too_large"


async def test_an_engine_that_fails_fails_for_that_picture_only(tmp_path: Path) -> None:
    """Its network goes back to its slot, and the next picture is answered."""
    outcomes: list[Exception | None] = [None, BackendFailed("no memory left"), None]

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return means(batch)

    async with started(write_model(tmp_path), FakeLoader(predict)) as (backend, _):
        with pytest.raises(BackendFailed, match="no memory left"):
            await backend.answer(call())
        assert (await backend.answer(call())).status == 200


async def test_a_network_that_answers_no_numbers_has_failed(tmp_path: Path) -> None:
    """Not a number is the engine's fault, not the picture's."""
    answers = [np.zeros((1, 3), np.float32), np.full((1, 3), np.nan, np.float32)]
    async with started(write_model(tmp_path), FakeLoader(lambda batch: answers.pop(0))) as (backend, _):
        with pytest.raises(BackendFailed, match="colours: the network's output is not finite"):
            await backend.answer(call())


class HeldPredict:
    """An engine that computes until the test lets it; the warm-up passes."""

    def __init__(self, warm_ups: int) -> None:
        self._warm_ups = warm_ups
        self.begun = threading.Semaphore(0)
        self.end = threading.Event()
        self.calls = 0

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self._warm_ups -= 1
        if self._warm_ups < 0:
            self.calls += 1
            self.begun.release()
            assert self.end.wait(WAIT_S)
        return means(batch)

    async def wait_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=WAIT_S)


async def test_slots_compute_at_the_same_moment_and_the_loop_goes_on(tmp_path: Path) -> None:
    """Two slots are both inside their engine while the event loop still answers."""
    held = HeldPredict(warm_ups=2)
    async with started(write_model(tmp_path), FakeLoader(held), slots=2) as (backend, _):
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            tasks = [group.create_task(backend.answer(call())) for _ in range(3)]
            await held.wait_begun()
            await held.wait_begun()
            assert held.calls == 2
            held.end.set()
        assert [task.result().status for task in tasks] == [200] * 3


async def test_a_cancelled_call_that_has_not_begun_never_does(tmp_path: Path) -> None:
    """Only the call that holds the slot computes; the one behind it is dropped."""
    held = HeldPredict(warm_ups=1)
    async with started(write_model(tmp_path), FakeLoader(held)) as (backend, _):
        running = asyncio.create_task(backend.answer(call()))
        await held.wait_begun()
        waiting = asyncio.create_task(backend.answer(call()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        held.end.set()
        await running
        assert (await backend.answer(call())).status == 200
        assert held.calls == 2


async def test_a_probe_takes_the_whole_way(tmp_path: Path) -> None:
    """A picture of the worker's own is decoded and answered; a model that is not there cannot be probed."""
    async with started(write_model(tmp_path), FakeLoader()) as (backend, _):
        assert list((await backend.probe("colours")).durations_s) == [
            "decode",
            "preprocess",
            "inference",
            "postprocess",
        ]
        with pytest.raises(BadInput, match="does not serve the model 'other'"):
            await backend.probe("other")
