"""What an image engine is to the worker: a file in, probabilities out. The rest of the way is the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_worker.models.registry import Content
from edge_worker.models.spec import ModelSpec


class Engine(Protocol):
    """One network in memory. Unless its loader shares networks it is for one slot, and never called by two threads at
    once."""

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, height, width, channels] -> the network's outputs [N, ...]. Raises BackendFailed."""


class EngineLoader(Protocol):
    """One library that runs networks."""

    name: str
    formats: tuple[str, ...]
    """Those of spec.FORMATS that it loads."""
    shares_networks: bool
    """Whether one network answers several threads at once: one in memory is then enough for all slots."""

    def prepare(self, threads: int) -> None:
        """Sets how many threads one inference may use. Called once, before the first load.
        Raises ValueError for a setting that this machine cannot fulfil."""

    def describe(self) -> Mapping[str, object]:
        """Where it computes, as JSON values for operators. Called once it is prepared."""

    def load(self, spec: ModelSpec, content: Content) -> Engine:
        """Makes a network from the verified content. Raises BackendFailed."""
