"""How many images each model answered and where their time went: what the Open Inference Protocol's clients ask for.

Every exchange is counted, whichever API asked for it. The numbers begin at zero with the gateway, and there is one
entry for each model that a worker announced, so their number is bounded by dispatch.max_models.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.http.timing import MAX_KNOWN_ROWS, Stages

QUEUE = ("queue", "worker_queue", "batch_wait")
"""Waiting for a worker, in the worker, and for a batch."""
COMPUTE_INPUT = ("tunnel_out", "decode", "preprocess")
COMPUTE_INFER = ("inference",)
COMPUTE_OUTPUT = ("postprocess", "tunnel_back")
PHASES = {
    "queue": QUEUE,
    "compute_input": COMPUTE_INPUT,
    "compute_infer": COMPUTE_INFER,
    "compute_output": COMPUTE_OUTPUT,
}
"""The protocol's phases, and which stages of Server-Timing each is made of. Receiving the client's body is in none."""

_PHASE_OF = {stage: index for index, stages in enumerate(PHASES.values()) for stage in stages}


@dataclass(slots=True)
class Phases:
    """Sums over answered images."""

    count: int = 0
    seconds: list[float] = field(default_factory=lambda: [0.0] * len(PHASES))
    """In the order of PHASES."""

    def add(self, stages: Stages) -> None:
        """One more image."""
        self.count += 1
        sums = self.seconds
        for index, phase in _phases_of(stages.names):
            sums[phase] += stages.seconds[index]

    def documents(self) -> dict[str, dict[str, int]]:
        """`{"queue": {"count", "ns"}, ...}`."""
        return {name: duration(self.count, total_s) for name, total_s in zip(PHASES, self.seconds, strict=True)}


@dataclass(slots=True)
class ModelStatistics:
    """One model's."""

    success_s: float = 0.0
    failed: int = 0
    failed_s: float = 0.0
    by_batch: defaultdict[int, Phases] = field(default_factory=lambda: defaultdict(Phases))
    """By how many images the worker computed together: at most timing.MAX_BATCH_SIZE entries."""
    last_inference_ms: int = 0
    """Unix milliseconds; 0 before the first."""

    @property
    def success(self) -> Phases:
        """Over the batches of every size."""
        every = self.by_batch.values()
        sums = [sum(column) for column in zip(*(phases.seconds for phases in every), strict=True)]
        return Phases(sum(phases.count for phases in every), sums) if sums else Phases()


class Statistics:
    """All models'."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        """`wall_clock` gives Unix seconds."""
        self._wall_clock = wall_clock
        self._models: defaultdict[str, ModelStatistics] = defaultdict(ModelStatistics)

    def answered(self, model: str, stages: Stages, total_s: float, batch_size: int | None) -> None:
        """An image was answered, `total_s` after it was given to the dispatcher."""
        one = self._models[model]
        one.success_s += total_s
        one.by_batch[batch_size or 1].add(stages)
        one.last_inference_ms = int(self._wall_clock() * 1000)

    def failed(self, model: str, total_s: float) -> None:
        """An image of a model that there is was not answered."""
        one = self._models[model]
        one.failed += 1
        one.failed_s += total_s

    def of(self, model: str) -> ModelStatistics:
        """A model's statistics; all zero for one that nobody asked yet."""
        return self._models.get(model) or ModelStatistics()


def duration(count: int, total_s: float) -> dict[str, int]:
    """The protocol's `{"count", "ns"}`."""
    return {"count": count, "ns": round(total_s * 1e9)}


@lru_cache(maxsize=MAX_KNOWN_ROWS)
def _phases_of(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """(index of a name, index of its phase) of the stages that are in one."""
    return tuple((index, _PHASE_OF[name]) for index, name in enumerate(names) if name in _PHASE_OF)
