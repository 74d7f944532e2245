"""An engine process with an OpenCV whose networks cannot bear some pictures: real processes around an engine's bugs.

The program that a worker starts in the place of its own; see troubled_worker.py.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_worker.backends import opencv_dnn
from edge_worker.backends.engine import Engine
from edge_worker.backends.engine_process.__main__ import main
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.models.registry import Content
from edge_worker.models.spec import ModelSpec
from tests.support import pictures


def grey(level: int) -> bytes:
    """A picture of one grey, which no probe and no sample is."""
    return pictures.encoded(".png", np.full((8, 8, 3), level, np.uint8))


HANGS, CRASHES, HOLDS_THE_LOCK = 77, 99, 121

TROUBLES: Mapping[int, Callable[[], object]] = {
    HANGS: lambda: threading.Event().wait(),
    CRASHES: lambda: ctypes.string_at(0),
    HOLDS_THE_LOCK: lambda: ctypes.PyDLL(None).pause(),  # a PyDLL does not let go of Python's lock
}
"""By the grey that brings it about."""


class _Troubled:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        for level, trouble in TROUBLES.items():
            if np.any(np.all(np.isclose(batch, level / 255), axis=(1, 2, 3))):
                trouble()
        return self._engine.predict(batch)


class TroubledLoader(OpenCVLoader):
    def load(self, spec: ModelSpec, content: Content) -> Engine:
        return _Troubled(super().load(spec, content))


if __name__ == "__main__":
    opencv_dnn.OpenCVLoader = TroubledLoader  # type: ignore[misc]
    main(*sys.argv[1:])
