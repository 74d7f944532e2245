"""From a model's folder to networks that are warm, and to what the worker announces of it.

Blocks: it belongs on a thread. Refuses a network whose answers do not fit its description before anybody can ask it.
"""

from __future__ import annotations

import numpy as np

from edge_worker.backends.base import BackendFailed, ServedModel
from edge_worker.backends.engine import Engine, EngineLoader
from edge_worker.backends.loaded_model import Steps
from edge_worker.backends.preprocess import Batch, to_batch, to_probabilities
from edge_worker.backends.question import FP32
from edge_worker.backends.settings import BackendSettings
from edge_worker.batch_rules import BatchRule
from edge_worker.models.registry import FoundModel, find_models, only, read_verified
from edge_worker.models.spec import ModelSpec, SpecError

LOAD_FAILURES = (SpecError, OSError, BackendFailed, ValueError, MemoryError)
"""What a model can be broken by."""
MAX_FAILURE = 1000
"""Characters of a reason: it travels in the worker's HELLO."""


class ModelLoading:
    """One engine's way to load, with one worker's settings."""

    def __init__(self, loader: EngineLoader, settings: BackendSettings, threads: int) -> None:
        """`threads` is for one inference."""
        self._loader = loader
        self._settings = settings
        self._threads = threads

    def find(self) -> list[FoundModel]:
        """Every model to be served, whole or broken. Called once, before any is loaded. Raises SpecError when a model
        dir itself cannot be read."""
        self._loader.prepare(self._threads)
        return only(find_models(self._settings.model_dirs, self._settings.embedded), self._settings.models)

    def load(self, model: FoundModel) -> Steps:
        """A network for each slot, warmed up in every size of batch. Raises one of LOAD_FAILURES."""
        spec = model.spec
        assert spec is not None, model.failure
        if spec.format not in self._loader.formats:
            allowed = ", ".join(self._loader.formats)
            raise SpecError(f"format = {spec.format!r}: {self._loader.name} loads {allowed}")
        content = read_verified(model)
        count = 1 if self._loader.shares_networks else self._settings.slots
        engines = [self._loader.load(spec, content) for _ in range(count)]
        blank = to_batch(np.zeros((spec.input.height, spec.input.width, 3), np.uint8), spec.input)
        for engine in engines:
            for size in self.rule(spec).sizes:
                _warm_up(engine, np.repeat(blank, size, axis=0), spec, len(model.labels))
        return Steps(spec, model.labels, engines * (self._settings.slots // count), self._settings.max_pixels)

    def rule(self, spec: ModelSpec) -> BatchRule:
        """The worker's own setting where it has one, else the model's."""
        settings = self._settings
        return BatchRule(settings.max_batch, settings.max_batch_wait_us) if settings.max_batch else spec.batching

    def served(self, spec: ModelSpec, labels: int) -> ServedModel:
        """A loaded model, as it is announced."""
        rule = self.rule(spec)
        metadata = {**_metadata(spec, labels, self._loader.name), **self._loader.describe()}
        if rule.is_on:
            metadata["batching"] = {"max_batch": rule.max_batch, "max_wait_us": rule.max_wait_us}
        slots = self._settings.slots
        ahead = 0 if rule.is_on else slots  # where there are batches, what gathers for the next one is ahead already
        return ServedModel(spec.name, spec.version, rule.calls_at_once(slots), metadata=metadata, ahead=ahead)

    def broken(self, model: FoundModel) -> ServedModel:
        """One whose description cannot be used."""
        return ServedModel(model.name, "", self._settings.slots, failure=model.failure[:MAX_FAILURE])

    def unloadable(self, model: FoundModel, error: Exception) -> ServedModel:
        """One that `load` raised for: its file and the reason."""
        assert model.spec is not None, model.failure
        failure = f"{model.folder / model.spec.file}: {str(error) or type(error).__name__}"
        return ServedModel(model.name, model.spec.version, self._settings.slots, failure=failure[:MAX_FAILURE])


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
