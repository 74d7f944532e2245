"""What a model takes and gives, as its workers announce it: checked, and in the words of the standard APIs.

A worker's announcement is untrusted: what cannot be a tensor's name or shape is as if it had not been said. A model
that announces no tensors (an echo, another server behind a worker) is known to the native API alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.dispatch.model import Metadata, ModelOffer
from gateway.errors import BadRequest, NoWorker, UnknownModel, Unsupported
from gateway.http.exchange import TENSOR, TENSOR_DATATYPE, TENSOR_SHAPE
from gateway.http.head import shown
from gateway.http.ports import Dispatcher

FP32_BYTES = 4
MAX_DIMENSIONS = 8
MAX_ROW_VALUES = 1 << 28
"""1 GiB of one picture: whatever says more is wrong."""
MAX_CLASSES = 1_000_000
MAX_NAME_CHARS = 128
IMAGE_NAMES = ("image", "image_bytes", "image/encoded")
"""What encoded images may be called besides the input's own name, as exported models have it."""
RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Tensors:
    """One input and one output, each with the batch as its first dimension."""

    input_name: str
    shape: tuple[int, ...]
    """Of one picture, in the network's layout, without the batch."""
    layout: str
    """NHWC or NCHW; empty if not said."""
    output_name: str
    classes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one picture's FP32 values."""
        return FP32_BYTES * math.prod(self.shape)

    @property
    def row_metadata(self) -> Metadata:
        """What a worker is told of one picture's values."""
        shape = ",".join(map(str, (1, *self.shape)))
        return (("content-type", TENSOR), (TENSOR_DATATYPE, "FP32"), (TENSOR_SHAPE, shape))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model."""

    name: str
    version: str
    engine: str
    weights: str
    """Where they are from; begins with `random` for a network whose answers mean nothing."""
    tensors: Tensors | None

    @property
    def has_random_weights(self) -> bool:
        """True for a network made to measure with, whose answers mean nothing and say so."""
        return self.weights.startswith("random")

    def takes_tensors(self) -> Tensors:
        """Raises Unsupported for a model that announces none."""
        if self.tensors is None:
            raise Unsupported(f"{shown(self.name)} does not announce its input and output: use POST /inference/MODEL")
        return self.tensors


class Models:
    """The facts by name; reads an announcement once, not for every request."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._read: dict[str, tuple[ModelOffer, ModelFacts]] = {}

    def facts(self, model: str, version: str = "") -> ModelFacts:
        """Of a model that somebody announces now. `version` empty means any. Raises UnknownModel, NoWorker."""
        offer = self._dispatcher.offer(model)
        if offer is None:
            if model in self._dispatcher.models:
                raise NoWorker(f"no worker serves {shown(model)} at the moment", retry_after_s=RETRY_AFTER_S)
            raise UnknownModel(f"no worker ever announced a model named {shown(model)}: see GET /v1/workers")
        if version and version != offer.version:
            offer = self._other_version(model, version)
        known, facts = self._read.get(model, (None, None))
        if facts is None or known is not offer:
            facts = facts_of(offer)
            self._read[model] = (offer, facts)  # of announced models alone: bounded by dispatch.max_models
        return facts

    def for_jobs(self, model: str, version: str) -> ModelFacts:
        """The same for a request that will become jobs: dispatch chooses among workers, not among versions. Raises
        NoWorker besides."""
        facts = self.facts(model, version)
        if version and len(versions := self._dispatcher.versions(model)) > 1:
            among = ", ".join(map(shown, versions))
            detail = f"workers announce the versions {among} of it at the moment; leave the version out for any of them"
            raise NoWorker(detail, retry_after_s=RETRY_AFTER_S)
        return facts

    def version_at(self, model: str, workers: Mapping[str, None]) -> str:
        """The version that all these workers have; empty if they differ, or one has left."""
        offers = [self._dispatcher.offer(model, worker) for worker in workers]
        versions = {"" if offer is None else offer.version for offer in offers}
        return versions.pop() if len(versions) == 1 else ""

    def _other_version(self, model: str, version: str) -> ModelOffer:
        """The announcement of a version that the first worker at hand does not have."""
        if version in self._dispatcher.versions(model):
            for worker in self._dispatcher.workers_view():
                offer = self._dispatcher.offer(model, str(worker["worker"]))
                if offer is not None and offer.version == version:
                    return offer
        raise UnknownModel(f"no worker announces version {shown(version)} of {shown(model)}")


def facts_of(offer: ModelOffer) -> ModelFacts:
    """One announcement, checked."""
    said = offer.metadata
    return ModelFacts(offer.name, offer.version, _text(said, "engine", ""), _text(said, "weights", ""), _tensors(said))


def check_version(version: str) -> str:
    """A version as it stands in a path. Raises BadRequest."""
    if len(version) > MAX_NAME_CHARS or not version.isprintable() or not version.isascii():
        raise BadRequest(f"a version has up to {MAX_NAME_CHARS} printable characters; this one is {shown(version)}")
    return version


def _tensors(said: Mapping[str, object]) -> Tensors | None:
    given, given_out = said.get("input"), said.get("output")
    if not isinstance(given, Mapping) or not isinstance(given_out, Mapping) or given.get("datatype") != "FP32":
        return None
    shape, classes = _shape(given.get("shape")), _shape(given_out.get("shape"))
    if shape is None or classes is None or len(classes) != 1 or classes[0] > MAX_CLASSES:
        return None
    layout = _text(given, "layout", "")
    return Tensors(_text(given, "name", "input"), shape, layout, _text(given_out, "name", "output"), classes[0])


def _shape(said: object) -> tuple[int, ...] | None:
    """All dimensions but the batch."""
    if not isinstance(said, list | tuple) or not 2 <= len(said) <= MAX_DIMENSIONS or said[0] != -1:
        return None
    sides = tuple(said[1:])
    if not all(type(side) is int and 1 <= side <= MAX_ROW_VALUES for side in sides):
        return None
    return sides if math.prod(sides) <= MAX_ROW_VALUES else None


def _text(said: Mapping[str, object], key: str, default: str) -> str:
    """A name; a network's only input or output may have none."""
    text = said.get(key)
    is_usable = isinstance(text, str) and text and text.isprintable()
    return str(text)[:MAX_NAME_CHARS] if is_usable else default
