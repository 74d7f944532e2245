"""One model that is ready to answer: its threads, its networks, and the steps from a picture to an answer.

Without batching a picture is one piece of work on one thread, from decoding to the answer, and nothing of it runs on
the event loop. With batching the steps part: pictures are decoded one by one, so that a bad one is refused before it
meets others; a batch is one piece of work for a network; each answer is written apart again. A tensor of several
pictures is taken apart in both: a network is only ever given a size that was warmed up.
"""

from __future__ import annotations

import asyncio
import os
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from edge_worker.backends.answers import to_answer
from edge_worker.backends.base import Answer, BackendFailed, BadInput, NotReady, Tell
from edge_worker.backends.engine import Engine
from edge_worker.backends.image import decode_image
from edge_worker.backends.lanes import Lanes, Source, Work
from edge_worker.backends.preprocess import Batch, from_tensor, to_batch, to_probabilities
from edge_worker.backends.question import Question
from edge_worker.batch_rules import BatchRule
from edge_worker.batcher import Batched, Batcher, Clock
from edge_worker.models.spec import ModelSpec

Body = bytes | memoryview


class MakeLanes(Protocol):
    def __call__(self, model: str, work: str, count: int, source: Source | None = None, /) -> Lanes:
        """From the model's name, the work's, and a number of threads."""


class LoadedModel(Protocol):
    """What answers for one model."""

    spec: ModelSpec
    sample: bytes
    """A picture for probes."""

    async def run(self, body: Body, question: Question, deadline_at: float | None) -> Answer:
        """Raises BadInput, BackendFailed or NotReady."""

    def work(self, body: Body, question: Question, tell: Tell) -> Work | None:
        """See `ThreadedBackend`."""

    async def close(self) -> None:
        """Waits for the threads and lets the networks go."""


class Steps:
    """The steps themselves: for one thread at a time each, and for any number of threads together."""

    def __init__(self, spec: ModelSpec, labels: tuple[str, ...], engines: Sequence[Engine], max_pixels: int) -> None:
        self.spec = spec
        self.networks = len(engines)
        self._labels = labels
        self._max_pixels = max_pixels
        self._free: queue.SimpleQueue[Engine] = queue.SimpleQueue()  # never longer than the slots
        for engine in engines:
            self._free.put(engine)

    def read(self, body: Body, question: Question, watch: Watch) -> Batch:
        """[N, height, width, channels], 1 for a picture. Raises BadInput."""
        spec = self.spec.input
        if question.tensor_rows:
            return self._read_tensor(body, watch)
        pixels = decode_image(body, self._max_pixels, least=(spec.width, spec.height))
        watch.lap("decode")
        batch = to_batch(pixels, spec)
        watch.lap("preprocess")
        return batch

    def _read_tensor(self, body: Body, watch: Watch) -> Batch:
        watch.lap("decode")  # nothing was: the steps are the same for every call
        try:
            batch = from_tensor(body, self.spec.input)
        except ValueError as error:
            raise BadInput("bad_input", str(error)) from error
        watch.lap("preprocess")
        return batch

    def predict(self, batch: Batch) -> Batch:
        """On a network that no other thread has. Raises BackendFailed."""
        engine = self._free.get_nowait()  # there is one for each thread
        try:
            return engine.predict(batch)
        finally:
            self._free.put(engine)

    def write(self, outputs: Batch, question: Question, batch_size: int | None = None) -> Answer:
        """The answer, from the outputs for each of its pictures. Raises BackendFailed; BadInput for a tensor."""
        spec = self.spec
        try:
            rows = to_probabilities(outputs, spec.output.softmax)
        except ValueError as error:
            if question.tensor_rows:  # numbers that no picture has: the engine is not to blame
                raise BadInput("bad_input", f"{error}: the tensor's values are out of all bounds") from error
            raise BackendFailed(f"{spec.name}: {error}") from error
        return to_answer(rows, question, spec, self._labels, None if question.tensor_rows else batch_size)


class SingleModel:
    """Without batching: as many threads as networks."""

    def __init__(self, steps: Steps, make_lanes: MakeLanes, source: Source) -> None:
        """`source` is where its threads find their calls."""
        self._steps = steps
        self.spec, self.sample = steps.spec, sample_picture(steps.spec)
        self._threads = make_lanes(self.spec.name, "call", steps.networks, source)

    async def run(self, body: Body, question: Question, deadline_at: float | None) -> Answer:
        """The deadline is for whoever waits here: what a thread has begun it ends."""
        if question.tensor_rows > 1:
            return await self._run_rows(body, question)
        answer: Answer = await self._threads.run(self.run_here, body, question)
        return answer

    def work(self, body: Body, question: Question, tell: Tell) -> Work | None:
        """See `ThreadedBackend`."""
        if question.tensor_rows > 1:
            return None
        return Work(self._threads, lambda: self.run_here(body, question), tell)

    def run_here(self, body: Body, question: Question) -> Answer:
        """One picture on the calling thread. Raises BadInput or BackendFailed."""
        watch = Watch(time.perf_counter)
        batch = self._steps.read(body, question, watch)
        outputs = self._steps.predict(batch)
        watch.lap("inference")
        answer = self._steps.write(outputs, question)
        watch.lap("postprocess")
        return replace(answer, durations_s=watch.laps_s)

    async def _run_rows(self, body: Body, question: Question) -> Answer:
        """Each picture of a tensor is a piece of work of its own: a call that is cancelled stops at its next one."""
        watch = Watch(time.perf_counter)
        batch = await self._threads.run(self._steps.read, body, question, watch)
        rows = [await self._threads.run(self._steps.predict, batch[at : at + 1]) for at in range(len(batch))]
        watch.lap("inference")
        answer: Answer = await self._threads.run(self._steps.write, np.concatenate(rows), question)
        watch.lap("postprocess")
        return replace(answer, durations_s=watch.laps_s)

    async def close(self) -> None:
        await self._threads.close()


class BatchedModel:
    """With batching: threads that decode, threads that compute, and one that writes answers."""

    def __init__(self, steps: Steps, make_lanes: MakeLanes, rule: BatchRule, clock: Clock) -> None:
        self._steps = steps
        self._rule = rule
        self.spec, self.sample = steps.spec, sample_picture(steps.spec)
        name = self.spec.name
        self._readers = make_lanes(name, "read", os.cpu_count() or 1)
        self._computers = make_lanes(name, "compute", steps.networks)
        self._writers = make_lanes(name, "write", 1)
        self._batcher: Batcher[Batch, Batch] = Batcher(rule, steps.networks, self._compute, clock)

    async def run(self, body: Body, question: Question, deadline_at: float | None) -> Answer:
        batch, read_s = await self._readers.run(self._read, body, question)
        began = time.perf_counter()
        done = await self._rows(batch, deadline_at)
        waited_s = done[0].wait_s
        computed_s = done[0].compute_s if len(done) == 1 else time.perf_counter() - began - waited_s
        answer: Answer
        answer, write_s = await self._writers.run(self._write, done, question)
        steps_s = {**read_s, "batch_wait": waited_s, "inference": computed_s, **write_s}
        return replace(answer, durations_s=steps_s)

    def work(self, body: Body, question: Question, tell: Tell) -> Work | None:
        """Calls meet each other on the event loop."""
        return None

    async def _rows(self, batch: Batch, deadline_at: float | None) -> Sequence[Batched[Batch]]:
        """Each picture waits in the line for itself, and shares a batch with whoever is there."""
        if len(batch) == 1:
            return [await self._batcher.run(batch, deadline_at)]
        calls = [asyncio.create_task(self._batcher.run(batch[at : at + 1], deadline_at)) for at in range(len(batch))]
        try:
            return await asyncio.gather(*calls)
        finally:  # one that failed, or the caller that has gone, takes the others out of the line
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    def _read(self, body: Body, question: Question) -> tuple[Batch, dict[str, float]]:
        watch = Watch(time.perf_counter)
        return self._steps.read(body, question, watch), watch.laps_s

    def _write(self, done: Sequence[Batched[Batch]], question: Question) -> tuple[Answer, dict[str, float]]:
        watch = Watch(time.perf_counter)
        answer = self._steps.write(np.concatenate([row.result for row in done]), question, done[0].size)
        watch.lap("postprocess")
        return answer, watch.laps_s

    async def _compute(self, pictures: list[Batch]) -> Sequence[Batch | Exception]:
        try:
            outcomes: Sequence[Batch | Exception] = await self._computers.run(self._predict, pictures)
        except (BackendFailed, NotReady) as error:  # nobody knows at which of them the engine hangs
            return [error] * len(pictures)
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
        for lanes in (self._readers, self._computers, self._writers):
            await lanes.close()


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
