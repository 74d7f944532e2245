"""`edge-worker` with an OpenCV whose networks hang for ever on one picture: a real process around an engine's bug.

    python -m tests.support.hanging_worker python -m edge_worker connect ...

What stands before the command of `edge_worker` is passed over, so that a stack can run its own command by way of this.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
from numpy.typing import NDArray

from edge_worker.backends.engine import Engine
from edge_worker.backends.opencv_dnn import OpenCVLoader
from edge_worker.cli import main
from edge_worker.models.registry import Content
from edge_worker.models.spec import ModelSpec
from tests.support import pictures

POISON = pictures.encoded(".png", np.full((8, 8, 3), 77, np.uint8))
"""A picture of one grey, which no probe and no sample is."""


class _Hanging:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if np.any(np.all(np.isclose(batch, 77 / 255), axis=(1, 2, 3))):
            threading.Event().wait()
        return self._engine.predict(batch)


class HangingLoader(OpenCVLoader):
    def load(self, spec: ModelSpec, content: Content) -> Engine:
        return _Hanging(super().load(spec, content))


if __name__ == "__main__":
    from edge_worker.backends import opencv_dnn

    opencv_dnn.OpenCVLoader = HangingLoader  # type: ignore[misc]
    sys.exit(main(sys.argv[sys.argv.index("edge_worker") + 1 :]))
