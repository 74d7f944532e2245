"""The bare engine for several threads: what a loop on this machine, a Flask app and a LitServe worker have in common.

It is the worker's own engine and steps, called one after the other: what differs between the systems is what stands
around them.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path

import cv2

from bench.local_cost import bare

TOP = 5
"""Labels of an answer, as a worker gives them by default."""


class Pool:
    """So many networks, each for one thread at a time."""

    def __init__(self, model: str, model_dirs: list[Path], slots: int, threads: int) -> None:
        """`threads` is of one inference. Loads and warms up nothing: the first blocks are not counted."""
        cv2.setNumThreads(threads)
        self._free: queue.SimpleQueue[Callable[[bytes], bytes]] = queue.SimpleQueue()
        for _ in range(slots):
            self._free.put(bare(model, model_dirs, TOP))

    def answer(self, image: bytes) -> bytes:
        """JSON, as a worker's. Waits for a network: each caller gives its own back in the end."""
        answer = self._free.get()
        try:
            return answer(image)
        finally:
            self._free.put(answer)
