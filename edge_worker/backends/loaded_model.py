"""One model that is ready to answer: its threads, its networks, and the steps from a picture to labels.

Without batching a call is one piece of work on one thread, from decoding to JSON, and nothing of it runs on the event
loop. With batching the steps part: pictures are decoded one by one, so that a bad one is refused before it meets
others; a batch is one piece of work for a network; each answer is written apart again.
"""

from __future__ import annotations

import asyncio
import os
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import cv2
import numpy as np

from edge_worker.backends.base import Answer, BackendFailed
from edge_worker.backends.engine import Engine
from edge_worker.backends.image import decode_image
from edge_worker.backends.preprocess import Batch, to_batch, to_json, to_probabilities
from edge_worker.batch_rules import BatchRule
from edge_worker.batcher import Batched, Batcher, Clock
from edge_worker.models.spec import ModelSpec


class LoadedModel(Protocol):
    """What answers for one model."""

    sample: bytes
    """A picture for probes."""

    async def run(self, body: bytes | memoryview, top: int, deadline_at: float | None) -> Answer:
        """The labels of one picture. Raises BadInput or BackendFailed."""

    async def close(self) -> None:
        """Waits for the threads and lets the networks go."""


class _Steps:
    """The steps themselves: for one thread at a time each, and for any number of threads together."""

    def __init__(self, spec: ModelSpec, labels: tuple[str, ...], engines: Sequence[Engine], max_pixels: int) -> None:
        self._spec = spec
        self._labels = labels
        self._max_pixels = max_pixels
        self._free: queue.SimpleQueue[Engine] = queue.SimpleQueue()  # never longer than the slots
        for engine in engines:
            self._free.put(engine)

    def read(self, body: bytes | memoryview, watch: Watch) -> Batch:
        """[1, height, width, channels]. Raises BadInput."""
        spec = self._spec.input
        pixels = decode_image(body, self._max_pixels, least=(spec.width, spec.height))
        watch.lap("decode")
        batch = to_batch(pixels, spec)
        watch.lap("preprocess")
        return batch

    def predict(self, batch: Batch) -> Batch:
        """On a network that no other thread has. Raises BackendFailed."""
        engine = self._free.get_nowait()  # there is one for each thread
        try:
            return engine.predict(batch)
        finally:
            self._free.put(engine)

    def write(self, outputs: Batch, top: int, batch_size: int | None = None) -> bytes:
        """The answer to the one picture in `outputs` [1, ...]. Raises BackendFailed."""
        spec = self._spec
        try:
            row = to_probabilities(outputs, spec.output.softmax)[0]
        except ValueError as error:
            raise BackendFailed(f"{spec.name}: {error}") from error
        return to_json(spec.name, spec.version, row, self._labels, top, batch_size)


class SingleModel:
    """Without batching: as many threads as networks."""

    def __init__(self, spec: ModelSpec, labels: tuple[str, ...], engines: Sequence[Engine], max_pixels: int) -> None:
        self._steps = _Steps(spec, labels, engines, max_pixels)
        self._threads = ThreadPoolExecutor(len(engines), thread_name_prefix=f"model-{spec.name}")
        self.sample = sample_picture(spec)

    async def run(self, body: bytes | memoryview, top: int, deadline_at: float | None) -> Answer:
        """The deadline is for whoever waits here: what a thread has begun it ends."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, body, top)

    def _run(self, body: bytes | memoryview, top: int) -> Answer:
        watch = Watch(time.perf_counter)
        batch = self._steps.read(body, watch)
        outputs = self._steps.predict(batch)
        watch.lap("inference")
        answer = self._steps.write(outputs, top)
        watch.lap("postprocess")
        return Answer(answer, durations_s=watch.laps_s)

    async def close(self) -> None:
        await asyncio.to_thread(_end, self._threads)


class BatchedModel:
    """With batching: threads that decode, threads that compute, and one that writes answers."""

    def __init__(
        self,
        spec: ModelSpec,
        labels: tuple[str, ...],
        engines: Sequence[Engine],
        max_pixels: int,
        rule: BatchRule,
        clock: Clock,
    ) -> None:
        self._steps = _Steps(spec, labels, engines, max_pixels)
        self._rule = rule
        self._readers, self._computers, self._writers = (
            ThreadPoolExecutor(count, thread_name_prefix=f"model-{spec.name}-{work}")
            for count, work in ((os.cpu_count() or 1, "read"), (len(engines), "compute"), (1, "write"))
        )
        self._batcher: Batcher[Batch, Batch] = Batcher(rule, len(engines), self._compute, clock)
        self.sample = sample_picture(spec)

    async def run(self, body: bytes | memoryview, top: int, deadline_at: float | None) -> Answer:
        batch, read_s = await _on(self._readers, self._read, body)
        done = await self._batcher.run(batch, deadline_at)
        answer, write_s = await _on(self._writers, self._write, done, top)
        computed_s = {"batch_wait": done.wait_s, "inference": done.compute_s}
        return Answer(answer, durations_s={**read_s, **computed_s, **write_s})

    def _read(self, body: bytes | memoryview) -> tuple[Batch, dict[str, float]]:
        watch = Watch(time.perf_counter)
        return self._steps.read(body, watch), watch.laps_s

    def _write(self, done: Batched[Batch], top: int) -> tuple[bytes, dict[str, float]]:
        watch = Watch(time.perf_counter)
        answer = self._steps.write(done.result, top, done.size)
        watch.lap("postprocess")
        return answer, watch.laps_s

    async def _compute(self, pictures: list[Batch]) -> Sequence[Batch | Exception]:
        outcomes: Sequence[Batch | Exception] = await _on(self._computers, self._predict, pictures)
        return outcomes

    def _predict(self, pictures: list[Batch]) -> Sequence[Batch | Exception]:
        """Padded to a size that is warm. A batch that fails is computed one by one: who is to blame fails alone."""
        count = len(pictures)
        blank = np.zeros_like(pictures[0])
        batch = np.concatenate([*pictures, *[blank] * (self._rule.padded(count) - count)])
        try:
            outputs = self._steps.predict(batch)
        except BackendFailed as error:
            return [error] if count == 1 else [self._predict([picture])[0] for picture in pictures]
        return [outputs[index : index + 1] for index in range(count)]

    async def close(self) -> None:
        await self._batcher.close()
        await asyncio.to_thread(_end, self._readers, self._computers, self._writers)


async def _on(threads: ThreadPoolExecutor, work: Callable[..., Any], *arguments: object) -> Any:
    """Any: what the work returns. A call that is cancelled before its thread began never runs."""
    return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)


def _end(*pools: ThreadPoolExecutor) -> None:
    for pool in pools:
        pool.shutdown(wait=True, cancel_futures=True)


class Watch:
    """Seconds between laps, by name, in order."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self.laps_s: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = self._clock()
        self.laps_s[name] = now - self._last
        self._last = now


def sample_picture(spec: ModelSpec) -> bytes:
    """A PNG of the input's size with light in it."""
    ramp = np.linspace(0, 255, spec.input.width, dtype=np.uint8)
    _, png = cv2.imencode(".png", np.tile(ramp, (spec.input.height, 1)))
    return png.tobytes()
