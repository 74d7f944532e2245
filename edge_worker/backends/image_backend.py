"""A backend for pictures: the way from a request's bytes to labels, around any engine.

Finds, loads and warms up the models, and says which cannot be served and why; how one of them answers is in
loaded_model.py. Refuses nothing about admission or deadlines; a call that is cancelled before its thread began never
runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from edge_worker.backends.base import Answer, BackendFailed, BadInput, Call, ServedModel
from edge_worker.backends.engine import Engine, EngineLoader
from edge_worker.backends.image import quiet_decoders
from edge_worker.backends.loaded_model import BatchedModel, LoadedModel, SingleModel
from edge_worker.backends.preprocess import Batch, to_batch, to_probabilities
from edge_worker.backends.question import FP32, Question, read_question
from edge_worker.backends.settings import BackendSettings
from edge_worker.batch_rules import BatchRule
from edge_worker.fine_clock import FineClock
from edge_worker.models.registry import FoundModel, find_models, only, read_verified
from edge_worker.models.spec import ModelSpec, SpecError

MAX_FAILURE = 1000
"""Characters of a reason: it travels in the worker's HELLO."""


class ImageBackend:
    """Serves every model of its folders with one engine."""

    def __init__(self, loader: EngineLoader, settings: BackendSettings, threads: int) -> None:
        self.name = loader.name
        self._loader = loader
        self._settings = settings
        self._threads = threads
        self._models: dict[str, LoadedModel] = {}
        self._clock: FineClock | None = None

    async def start(self) -> Sequence[ServedModel]:
        """Finds, verifies, loads and warms up. Raises SpecError when a model dir itself cannot be read."""
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> list[ServedModel]:
        quiet_decoders()
        self._loader.prepare(self._threads)
        found = find_models(self._settings.model_dirs, self._settings.embedded)
        return [self._serve(model, loop) for model in only(found, self._settings.models)]

    def _serve(self, model: FoundModel, loop: asyncio.AbstractEventLoop) -> ServedModel:
        if model.spec is None:
            return self._failed(model.name, "", model.failure)
        try:
            engines = self._load(model, model.spec)
        except (SpecError, OSError, BackendFailed, ValueError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            return self._failed(model.name, model.spec.version, f"{model.folder / model.spec.file}: {reason}")
        self._models[model.name] = self._ready(model, model.spec, engines, loop)
        metadata = {**_metadata(model.spec, len(model.labels), self.name), **self._loader.describe()}
        rule = self._rule(model.spec)
        if rule.is_on:
            metadata["batching"] = {"max_batch": rule.max_batch, "max_wait_us": rule.max_wait_us}
        slots = rule.calls_at_once(self._settings.slots)
        return ServedModel(model.name, model.spec.version, slots, metadata=metadata)

    def _ready(
        self, model: FoundModel, spec: ModelSpec, engines: Sequence[Engine], loop: asyncio.AbstractEventLoop
    ) -> LoadedModel:
        rule, max_pixels = self._rule(spec), self._settings.max_pixels
        if not rule.is_on:
            return SingleModel(spec, model.labels, engines, max_pixels)
        self._clock = self._clock or FineClock(loop)
        return BatchedModel(spec, model.labels, engines, max_pixels, rule, self._clock)

    def _rule(self, spec: ModelSpec) -> BatchRule:
        settings = self._settings
        return BatchRule(settings.max_batch, settings.max_batch_wait_us) if settings.max_batch else spec.batching

    def _failed(self, name: str, version: str, failure: str) -> ServedModel:
        return ServedModel(name, version, self._settings.slots, failure=failure[:MAX_FAILURE])

    def _load(self, model: FoundModel, spec: ModelSpec) -> list[Engine]:
        """A network for each slot, warmed up in every size of batch. Raises what a broken model can raise."""
        if spec.format not in self._loader.formats:
            allowed = ", ".join(self._loader.formats)
            raise SpecError(f"format = {spec.format!r}: {self.name} loads {allowed}")
        content = read_verified(model)
        count = 1 if self._loader.shares_networks else self._settings.slots
        engines = [self._loader.load(spec, content) for _ in range(count)]
        blank = to_batch(np.zeros((spec.input.height, spec.input.width, 3), np.uint8), spec.input)
        for engine in engines:
            for size in self._rule(spec).sizes:
                _warm_up(engine, np.repeat(blank, size, axis=0), spec, len(model.labels))
        return engines * (self._settings.slots // count)

    async def answer(self, call: Call) -> Answer:
        """Raises BadInput or BackendFailed."""
        model = self._models.get(call.model)
        if model is None:
            raise BadInput("unknown_model", f"this worker does not serve the model {call.model!r}")
        return await model.run(call.body, read_question(call, model.spec), call.deadline_at)

    async def probe(self, model: str) -> Answer:
        """A picture of the input's size, made here, goes the whole way."""
        loaded = self._models.get(model)
        if loaded is None:
            raise BackendFailed(f"the model {model!r} is not loaded")
        return await loaded.run(loaded.sample, Question(), None)

    async def close(self) -> None:
        """Waits for the threads and lets the networks go."""
        models, self._models = self._models, {}
        for model in models.values():
            await model.close()
        if self._clock is not None:
            self._clock.close()


def _warm_up(engine: Engine, batch: Batch, spec: ModelSpec, labels: int) -> None:
    """Raises SpecError when what comes out is not one number a label for each picture, BackendFailed for the rest."""
    rows = to_probabilities(engine.predict(batch), spec.output.softmax)
    if len(rows) != len(batch):
        raise SpecError(f"the network answers a batch of {len(batch)} with {len(rows)} results: it takes one at a time")
    if rows.shape[1] != labels:
        raise SpecError(f"the network gives {rows.shape[1]} numbers, but there are {labels} labels")


def _metadata(spec: ModelSpec, labels: int, engine: str) -> dict[str, object]:
    """JSON values only: they travel in the worker's HELLO and answer clients' questions about the model."""
    inputs = spec.input
    return {
        "engine": engine,
        "format": spec.format,
        "input": {
            "name": inputs.name,
            "datatype": FP32,
            "shape": list(inputs.shape),
            "layout": inputs.layout,
            "colour": inputs.colour,
            "mean": list(inputs.mean),
            "scale": list(inputs.scale),
            "resize": inputs.resize,
            "interpolation": inputs.interpolation,
        },
        "output": {"name": spec.output.name, "datatype": FP32, "shape": [-1, labels]},
        "labels": labels,
        "groups": list(spec.groups),
        "weights": spec.weights,
    }
