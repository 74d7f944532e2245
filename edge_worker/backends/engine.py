"""What an image engine is to the worker: a file in, probabilities out. The rest of the way is the same for all."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_worker.models.spec import ModelSpec


class Engine(Protocol):
    """One network in memory, for one slot: it is never called by two threads at once."""

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, height, width, channels] -> the network's outputs [N, ...]. Raises BackendFailed."""


class EngineLoader(Protocol):
    """One library that runs networks."""

    name: str
    formats: tuple[str, ...]
    """Those of spec.FORMATS that it loads."""

    def prepare(self, threads: int) -> None:
        """Sets how many threads one inference may use. Called once, before the first load."""

    def load(self, spec: ModelSpec, content: bytes) -> Engine:
        """Makes a network from the verified file. Raises BackendFailed."""
