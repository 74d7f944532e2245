"""A backend for pictures: the way from a request's bytes to labels, around any engine.

The event loop only waits here: each model has as many threads as slots, and each thread takes a network of its own
for the time of one call. Refuses nothing about admission or deadlines; a call that is cancelled before its thread
began never runs.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import cv2
import numpy as np

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, ServedModel
from edge_worker.backends.engine import Engine, EngineLoader
from edge_worker.backends.image import decode_image, quiet_decoders
from edge_worker.backends.preprocess import Batch, to_batch, to_json, to_probabilities
from edge_worker.backends.settings import BackendSettings
from edge_worker.models.registry import FoundModel, find_models, read_verified
from edge_worker.models.spec import ModelSpec, SpecError

DEFAULT_TOP = 5
MAX_TOP = 100_000
"""A larger `top` is a mistake; one over the number of classes gives all of them."""
MAX_FAILURE = 1000
"""Characters of a reason: it travels in the worker's HELLO."""


class ImageBackend:
    """Serves every model of its folders with one engine."""

    def __init__(self, loader: EngineLoader, settings: BackendSettings, threads: int) -> None:
        self.name = loader.name
        self._loader = loader
        self._settings = settings
        self._threads = threads
        self._models: dict[str, _Loaded] = {}

    async def start(self) -> Sequence[ServedModel]:
        """Finds, verifies, loads and warms up. Raises SpecError when a model dir itself cannot be read."""
        return await asyncio.to_thread(self._start)

    def _start(self) -> list[ServedModel]:
        quiet_decoders()
        self._loader.prepare(self._threads)
        found = find_models(self._settings.model_dirs, self._settings.embedded)
        return [self._serve(model) for model in found]

    def _serve(self, model: FoundModel) -> ServedModel:
        if model.spec is None:
            return self._failed(model.name, "", model.failure)
        try:
            engines = self._load(model, model.spec)
        except (SpecError, OSError, BackendFailed, ValueError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            return self._failed(model.name, model.spec.version, f"{model.folder / model.spec.file}: {reason}")
        self._models[model.name] = _Loaded(model.spec, model.labels, engines, self._settings.max_pixels)
        metadata = {**_metadata(model.spec, len(model.labels), self.name), **self._loader.describe()}
        return ServedModel(model.name, model.spec.version, self._settings.slots, metadata=metadata)

    def _failed(self, name: str, version: str, failure: str) -> ServedModel:
        return ServedModel(name, version, self._settings.slots, failure=failure[:MAX_FAILURE])

    def _load(self, model: FoundModel, spec: ModelSpec) -> list[Engine]:
        """A network for each slot, each warmed up with a real inference. Raises what a broken model can raise."""
        if spec.format not in self._loader.formats:
            allowed = ", ".join(self._loader.formats)
            raise SpecError(f"format = {spec.format!r}: {self.name} loads {allowed}")
        content = read_verified(model)
        count = 1 if self._loader.shares_networks else self._settings.slots
        engines = [self._loader.load(spec, content) for _ in range(count)]
        blank = to_batch(np.zeros((spec.input.height, spec.input.width, 3), np.uint8), spec.input)
        for engine in engines:
            row = to_probabilities(engine.predict(blank), spec.output.softmax)
            if row.shape != (1, len(model.labels)):
                raise SpecError(f"the network gives {row.shape[-1]} numbers, but there are {len(model.labels)} labels")
        return engines * (self._settings.slots // count)

    async def answer(self, call: Call) -> Answer:
        """The labels of one picture. Raises BadInput or BackendFailed."""
        model = self._models.get(call.model)
        if model is None:
            raise BadInput("unknown_model", f"this worker does not serve the model {call.model!r}")
        return await model.run(call.body, parse_top(call.path))

    async def probe(self, model: str) -> Answer:
        """A picture of the input's size, made here, goes the whole way."""
        loaded = self._models.get(model)
        if loaded is None:
            raise BackendFailed(f"the model {model!r} is not loaded")
        return await loaded.run(loaded.sample, DEFAULT_TOP)

    async def close(self) -> None:
        """Waits for the threads and lets the networks go."""
        models, self._models = self._models, {}
        for model in models.values():
            await asyncio.to_thread(model.close)


def parse_top(path: str) -> int:
    """The `top` of a path's query; DEFAULT_TOP if there is none. Raises BadInput."""
    text = parse_qs(path.partition("?")[2], keep_blank_values=True).get("top", [str(DEFAULT_TOP)])[-1]
    if text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_TOP:
        return int(text)
    raise BadInput("bad_request", f"top = {text[:40]!r}: must be a whole number from 1 to {MAX_TOP}")


class _Loaded:
    """One model ready to answer: its threads, and the networks that they take and give back."""

    def __init__(self, spec: ModelSpec, labels: tuple[str, ...], engines: list[Engine], max_pixels: int) -> None:
        self._spec = spec
        self._labels = labels
        self._max_pixels = max_pixels
        self._free: queue.SimpleQueue[Engine] = queue.SimpleQueue()  # never longer than the slots
        for engine in engines:
            self._free.put(engine)
        self._threads = ThreadPoolExecutor(len(engines), thread_name_prefix=f"model-{spec.name}")
        self.sample = _sample(spec)

    async def run(self, body: bytes | memoryview, top: int) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, body, top)

    def _run(self, body: bytes | memoryview, top: int) -> Answer:
        watch = _Watch(time.perf_counter)
        spec = self._spec
        size = (spec.input.width, spec.input.height)
        pixels = decode_image(body, self._max_pixels, least=size)
        watch.lap("decode")
        batch = to_batch(pixels, spec.input)
        watch.lap("preprocess")
        outputs = self._predict(batch)
        watch.lap("inference")
        try:
            row = to_probabilities(outputs, spec.output.softmax)[0]
        except ValueError as error:
            raise BackendFailed(f"{spec.name}: {error}") from error
        answer = to_json(spec.name, spec.version, row, self._labels, top)
        watch.lap("postprocess")
        return Answer(answer, durations_s=watch.laps_s)

    def _predict(self, batch: Batch) -> Batch:
        engine = self._free.get_nowait()  # there is one for each thread
        try:
            return engine.predict(batch)
        finally:
            self._free.put(engine)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


class _Watch:
    """Seconds between laps, by name, in order."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self.laps_s: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = self._clock()
        self.laps_s[name] = now - self._last
        self._last = now


def _sample(spec: ModelSpec) -> bytes:
    """A PNG of the input's size with light in it."""
    ramp = np.linspace(0, 255, spec.input.width, dtype=np.uint8)
    _, png = cv2.imencode(".png", np.tile(ramp, (spec.input.height, 1)))
    return png.tobytes()


def _metadata(spec: ModelSpec, labels: int, engine: str) -> dict[str, object]:
    """JSON values only: they travel in the worker's HELLO and answer clients' questions about the model."""
    inputs = spec.input
    return {
        "engine": engine,
        "format": spec.format,
        "input": {
            "name": inputs.name,
            "datatype": "FP32",
            "shape": list(inputs.shape),
            "layout": inputs.layout,
            "colour": inputs.colour,
            "mean": list(inputs.mean),
            "scale": list(inputs.scale),
            "resize": inputs.resize,
            "interpolation": inputs.interpolation,
        },
        "output": {"name": spec.output.name, "datatype": "FP32", "shape": [-1, labels]},
        "labels": labels,
        "weights": spec.weights,
    }
